"""Link every public name on the site, such as `fl.freeze`, to its entry in the reference.

MkDocs calls the functions below by their names. A name without an entry gives a warning, and a
warning fails a strict build, so no page can name a function that does not exist.
"""

import logging
import re

from mkdocs.utils import get_relative_url

LOG = logging.getLogger("mkdocs.hooks.names")  # strict builds count warnings below `mkdocs`
REFERENCE = ("api.md", "errors.md")
CHANGES = "changelog.md"  # this page writes names without `fl.`
# An entry is a mkdocstrings directive or, for selections, which are objects, a heading.
DIRECTIVE = re.compile(r"^::: frostline\.([\w.]+)$", re.M)
HEADING = re.compile(r"^### ([a-z]+(?:, [a-z]+)*)$", re.M)

NAME = re.compile(r"\bfl\.([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)")
# Links stay as they are, and so do headings, which the table of contents repeats.
IN_TEXT = re.compile(r"<(?P<tag>a|h[1-6])\b.*?</(?P=tag)>|(?P<code><code>[^<]*</code>)", re.DOTALL)
# The highlighter puts each word of a code block into a tag of its own.
IN_BLOCK = re.compile(
    r'(?P<head><span class="n">fl</span><span class="o">\.</span>'
    r'<span class="n">(?P<first>\w+)</span>)'
    r'(?:<span class="o">\.</span><span class="n">(?P<second>\w+)</span>)?'
)

_places: dict[str, str] = {}  # a public name -> its entry, as a URL from the root of the site


def on_files(files, config):
    """Note where the entry of each name is."""
    _places.clear()
    for file in (files.get_file_from_path(page) for page in REFERENCE):
        text = file.content_string
        for name in DIRECTIVE.findall(text):
            _places[name] = f"{file.url}#frostline.{name}"
        for names in HEADING.findall(text):
            for name in names.split(", "):
                _places.setdefault(name, f"{file.url}#{names.replace(', ', '-')}")
    _places.setdefault("callbacks", f"{files.get_file_from_path('api.md').url}#callbacks")
    return files


def on_page_content(html, page, config, files):
    """Put the links into a page."""

    def link(name, shown):
        # For a name like `fl.Delta.save`, take the entry of the longest prefix that has one.
        known = name
        while known not in _places and "." in known:
            known = known.rpartition(".")[0]
        if known not in _places:
            LOG.warning("%s: fl.%s has no entry in the reference", page.file.src_uri, name)
            return shown
        return f'<a class="name" href="{get_relative_url(_places[known], page.url)}">{shown}</a>'

    def in_text(found):
        if not found["code"]:
            return found[0]
        bare = found[0][len("<code>") : -len("</code>")]
        if page.file.src_uri == CHANGES and bare in _places:
            return f"<code>{link(bare, bare)}</code>"
        return NAME.sub(lambda one: link(one[1], one[0]), found[0])

    def in_block(found):
        head, first, second = found["head"], found["first"], found["second"]
        if f"{first}.{second}" in _places:
            return link(f"{first}.{second}", found[0])
        return link(first, head) + found[0].removeprefix(head)

    return IN_BLOCK.sub(in_block, IN_TEXT.sub(in_text, html))
