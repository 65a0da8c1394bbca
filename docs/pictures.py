"""Make the pictures of the documentation: `python docs/pictures.py [name ...]`, all by default.

A name is the name of a file without its suffix. The picture of a report is a screenshot from the
browser that `make test` uses. Pictures of measurements are drawn from stored ones if there are any.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

BY_COMMANDS = {"benchmarks": "make bench"}
"""Pictures that need new measurements, and the command that makes each of them."""


def run_page(page: str) -> Path:
    """Run the code of a page in a folder of its own, as the tests do."""
    import matplotlib as mpl

    text = (DOCS / page).read_text(encoding="utf-8")
    folder, here = Path(tempfile.mkdtemp()), Path.cwd()
    os.chdir(folder)
    try:
        with mpl.rc_context({"savefig.dpi": 180}):
            exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})
    finally:
        os.chdir(here)
    return folder


def shrink(path: Path) -> None:
    """Reduce a picture to 256 colours, which takes less than half of the bytes."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)


def plots() -> None:
    """The pictures of `plots.md`, from the code on that page."""
    folder = run_page("plots.md")
    for name in ("frozen", "large", "drift", "leak"):
        (folder / f"{name}.png").replace(DOCS / f"plots_{name}.png")
        shrink(DOCS / f"plots_{name}.png")


def report() -> None:
    """A page of `fl.report`, with the maps of one weight open."""
    import keras
    import numpy as np
    from playwright.sync_api import ViewportSize

    import frostline as fl
    from pages import launched

    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Embedding(3000, 64, name="tokens"),
        keras.layers.LSTM(16, name="lstm"),
        keras.layers.Dense(10, name="out"),
    ]
    model = keras.Sequential([keras.Input((12,), dtype="int32"), *layers], name="model")
    fl.freeze(model, "tokens/*", ~fl.tokens([2998, 2999]))
    fl.freeze(model, "lstm/*", fl.units(range(8)))
    before = fl.snapshot(model)
    model.compile(keras.optimizers.AdamW(0.01), "mse")
    random = np.random.default_rng(0)
    x, y = random.integers(2900, 3000, (64, 12)), random.normal(size=(64, 10))
    model.fit(x, y, epochs=2, verbose=0)
    path = fl.report(model, before, path=Path(tempfile.mkdtemp()) / "report.html")
    with launched() as browser:
        size = ViewportSize(width=1080, height=1180)
        page = browser.new_page(viewport=size, device_scale_factor=1.5)
        page.goto(path.as_uri())
        page.get_by_role("button", name="tokens/embeddings").first.click()
        page.wait_for_timeout(1500)  # the maps are drawn when they come into sight
        page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
        box = page.locator("canvas").last.bounding_box() or {"y": 0, "height": 0}
        size["height"] = round(box["y"] + box["height"]) + 120
        page.set_viewport_size(size)
        page.wait_for_timeout(500)
        page.screenshot(path=DOCS / "report.png")
    shrink(DOCS / "report.png")


def one_row() -> None:
    """The kernel of the README before and after training, drawn by its example."""
    runpy.run_path(str(ROOT / "examples" / "picture.py"))["main"](DOCS / "one_row.svg")


def packnet() -> None:
    """The accuracy on three tasks and the task that owns each entry, drawn by its example."""
    runpy.run_path(str(ROOT / "examples" / "packnet.py"))["main"](DOCS / "packnet.png")


def reproduced() -> None:
    """The results of the papers, drawn from their stored runs."""
    from benchmarks.papers import run

    for name, result in run.stored().items():
        run.figure(run.load(name), result, DOCS / f"reproduced_{name}.png")


ROWS = {"cold": "frozen part", "warm": "trainable part"}
STYLE = """
    text { fill: #1f2328; font: 15px sans-serif } .box { fill: #ffffff; stroke: #d0d7de }
    .bold { font-weight: bold } .quiet { fill: #59636e }
    .cell { stroke: #1f2328; stroke-width: 0.6 }
    .cold { fill: #b6dcf5 } .warm { fill: #fbdba7 }
    .line { stroke: #59636e; fill: none; stroke-width: 1.5 } .tip { fill: #59636e }
    @media (prefers-color-scheme: dark) {
      .box { fill: #151b23; stroke: #3d444d } text { fill: #f0f6fc } .quiet { fill: #b1bac4 }
      .line { stroke: #9198a1 } .tip { fill: #9198a1 }
    }"""


def how_it_works(path: Path = DOCS / "how-it-works.svg") -> None:
    """A kernel of five rows, its two parts, and the view that reads both."""

    def words(x: int, y: int, text: str, kind: str = "") -> str:
        return f'<text x="{x}" y="{y}" class="{kind}">{text}</text>'

    def rows(x: int, y: int, kinds: str) -> list[str]:
        return [
            f'<rect class="cell {"cold" if kind == "c" else "warm"}" x="{x}" y="{y + 24 * row}" '
            'width="110" height="24"/>'
            for row, kind in enumerate(kinds)
        ]

    def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
        (x, y), (to_x, to_y) = start, end
        away = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
        back = to_x - 10 * away[0], to_y - 10 * away[1]
        side = 5 * away[1], 5 * away[0]
        tip = f"M{back[0] - side[0]} {back[1] - side[1]} L{to_x} {to_y} "
        tip += f"L{back[0] + side[0]} {back[1] + side[1]} Z"
        line = f"M{x} {y} L{back[0]} {back[1]}"
        return f'<path class="line" d="{line}"/><path class="tip" d="{tip}"/>'

    parts = [
        '<rect class="box" x="0.5" y="0.5" width="719" height="299" rx="8"/>',
        words(24, 32, "before", "bold"),
        words(24, 54, "layer.kernel: one variable", "quiet"),
        *rows(60, 70, "wwwww"),
        words(24, 222, "optimizer: slots for 5 rows"),
        arrow((196, 130), (280, 130)),
        words(200, 116, "fl.freeze"),
        words(310, 32, "after", "bold"),
        words(310, 54, "layer.kernel: the same object, now a view", "quiet"),
        *rows(330, 70, "ccwww"),
        arrow((560, 94), (446, 94)),
        arrow((560, 178), (446, 178)),
        words(462, 140, "reads both"),
        words(566, 86, ROWS["cold"]),
        *rows(566, 94, "cc"),
        words(566, 170, ROWS["warm"]),
        *rows(566, 178, "www"),
        arrow((621, 272), (621, 256)),
        words(290, 286, "optimizer: slots for these 3 rows"),
        '<path class="line" d="M580 281 L621 281 L621 272"/>',
    ]
    title = "A kernel of five rows: two in the frozen part, three in the trainable part"
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 300" role="img">'
    text = "\n  ".join([head, f"<title>{title}</title>", f"<style>{STYLE}\n  </style>", *parts])
    path.write_text(text + "\n</svg>\n", encoding="utf-8")


MAKERS: dict[str, Callable[[], None]] = {
    "plots_*": plots,
    "report": report,
    "one_row": one_row,
    "packnet": packnet,
    "reproduced_*": reproduced,
    "how-it-works": how_it_works,
}
"""The function for each picture, by file name without the suffix; `*` stands for several."""


def main(names: list[str]) -> None:
    """Make the pictures with these names, or all pictures if there are no names."""
    known = [*MAKERS, *BY_COMMANDS]
    for name in names or list(MAKERS):
        found = [one for one in known if re.fullmatch(one.replace("*", ".*"), name)]
        if name in BY_COMMANDS:
            sys.exit(f"{name}: {BY_COMMANDS[name]} measures and draws it")
        if not found:
            sys.exit(f"{name}: no such picture; there are {', '.join(known)}")
        print(f"{name} ...", flush=True)
        MAKERS[found[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
