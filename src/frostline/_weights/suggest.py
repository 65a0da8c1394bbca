"""Suggest a pattern for one that matches no weight. Works on text only.

Variants of the pattern are tried until one matches: slashes instead of backslashes, without the
first name, with `*` around it. Case, underscores and hyphens are ignored, and the letters of the
result are those of real paths. Only a pattern that matches is suggested.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections import Counter
from collections.abc import Iterator, Sequence

_LISTED = 3  # paths in a message
_LONG = 200  # maximum characters of a pattern that is compared with all paths
_STARS = 8  # maximum `*` in such a pattern: the time to compare grows with each
_SIGNS = re.compile(r"(\*+|\?|\[[^\]]*\])")
_REGEX = re.compile(r"\.[*+]|^\^|\$$|\\[./dw]|\(.*\)")


def suggestion(text: str, paths: Sequence[str], *, regex: bool = False) -> str:
    """A sentence that suggests what to write instead of a pattern that matches no path.

    Args:
        text: A glob, or the text of a compiled regex.
        paths: The paths of the weights.
        regex: Whether `text` is a regex.

    >>> paths = ["hidden/kernel", "hidden/bias", "out/kernel", "out/bias"]
    >>> suggestion("kernel", paths)
    "Did you mean '*/kernel' (2 weights)?"
    >>> suggestion("Out/Kernel/", paths)
    "Did you mean 'out/kernel'?"
    >>> suggestion("hidden/kernal", paths)
    "Nearest: 'hidden/kernel', 'hidden/bias', 'out/kernel'."
    """
    if not regex and len(text) <= _LONG:
        looks = _REGEX.search(text)
        glob, count = _meant(_as_glob(text) if looks else text, paths)
        if glob:
            many = f" ({count:,} weights)" if count > 1 else ""
            hint = f" A regex must be compiled: `re.compile({text!r})`." if looks else ""
            return f"Did you mean {glob!r}{many}?{hint}"
        if looks and _searched(text, paths):
            return f"A regex must be compiled: `re.compile({text!r})`."
    near = ", ".join(map(repr, nearest(text, paths)))
    if near:
        return f"Nearest: {near}."
    listed = ", ".join(map(repr, paths[:_LISTED]))
    return f"It has {len(paths):,} weights: {listed}{', ...' * (len(paths) > _LISTED)}."


def nearest(text: str, paths: Sequence[str]) -> list[str]:
    """The paths that are most similar to `text`, at most three."""
    literal = _SIGNS.sub("", _REGEX.sub("", text))[:_LONG]
    return difflib.get_close_matches(literal, paths, n=_LISTED, cutoff=0.4)


def _searched(text: str, paths: Sequence[str]) -> bool:
    try:
        return any(map(re.compile(text).search, paths))
    except re.error:
        return False


def _meant(text: str, paths: Sequence[str]) -> tuple[str, int]:
    """The glob that was probably meant and the number of paths it matches, or an empty one."""
    clean = re.sub("/+", "/", text.replace("\\", "/")).strip("/ ")
    for spelled in _spellings(clean):
        found = _respelled(spelled, paths)
        if found:
            return found
    # Correct word by word. For a full path, the nearest paths are listed instead.
    words = {word for path in paths for word in path.split("/")}
    mended = "".join(map(lambda piece: _mended(piece, words), re.split(r"([/*?])", clean)))
    if mended != clean:
        for spelled in _spellings(mended):
            found = _respelled(spelled, paths)
            if found and found != (mended, 1):
                return found
    return "", 0


def _spellings(text: str) -> Iterator[str]:
    """Variants of a glob, the most likely first."""
    if not text.strip("*/?"):
        return
    yield text
    rest = text
    while "/" in rest:  # the first name may be that of an outer model
        rest = rest.partition("/")[2]
        if not rest.startswith(("*", "?")):
            yield rest
            if "/" in rest:
                yield f"*/{rest}"
    yield f"*/{text}"
    yield f"{text}/*"
    yield f"*/{text}/*"
    yield text.replace("/", "/*/")
    yield f"*{text}*".replace("**", "*")


def _respelled(pattern: str, paths: Sequence[str]) -> tuple[str, int] | None:
    """The pattern with the letters of the paths that it matches, and how many it matches."""
    if pattern.count("*") > _STARS:
        return None
    pieces = [piece for piece in _SIGNS.split(pattern) if piece]
    loose = re.compile("".join(map(_loose, pieces)), re.IGNORECASE | re.DOTALL)
    globs: Counter[str] = Counter()
    for path in paths:
        match = loose.fullmatch(path)
        if match:
            literal = iter(match.groups())
            globs["".join(p if _SIGNS.fullmatch(p) else next(literal) for p in pieces)] += 1
    for glob, _ in globs.most_common():
        matched = [path for path in paths if fnmatch.fnmatchcase(path, glob)]
        if matched:
            return (glob, len(matched)) if len(matched) > 1 else (matched[0], 1)
    return None


def _loose(piece: str) -> str:
    """A regex for a piece of a glob; a literal piece is a group."""
    if _SIGNS.fullmatch(piece):
        return ".*" if piece.startswith("*") else "."
    letters = re.sub(r"[_\-]", "", piece)
    return "(" + r"[_\-]*".join(map(re.escape, letters or piece)) + ")"


def _as_glob(text: str) -> str:
    """The glob that probably means the same as a regex."""
    return re.sub(r"\.[*+]\??", "*", text.strip("^$")).replace("\\.", ".").replace("\\/", "/")


def _mended(word: str, words: set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.75) if word else []
    return near[0] if near else word
