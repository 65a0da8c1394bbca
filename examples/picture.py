"""The picture of the README: a kernel before and after training, one row of it frozen.

Run it: `python examples/picture.py` writes docs/one_row.svg (KERAS_BACKEND picks the backend).
"""

from pathlib import Path

import keras
import numpy as np

import frostline as fl

WIDE, HIGH, LEFT, TOP, GAP = 46, 30, 24, 96, 28  # a cell, the margins, the gap between kernels
STYLE = """
    .card { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328; font: 13px sans-serif }
    .code { font: 14px monospace } .quiet { fill: #59636e }
    .cold { fill: #b6dcf5 } .warm { fill: #fbdba7 } .cell { stroke: #1f2328; stroke-width: 0.6 }
    .number { fill: #1f2328; font: 12px monospace; text-anchor: middle }
    @media (prefers-color-scheme: dark) {
      .card { fill: #151b23; stroke: #3d444d } text { fill: #f0f6fc } .quiet { fill: #9198a1 }
      .number { fill: #1f2328 }
    }"""


def trained():
    """The kernel of a layer before and after a `fit` with its first row frozen."""
    keras.utils.set_random_seed(1)
    hidden = keras.layers.Dense(5, activation="tanh", name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(1, name="out")])
    fl.freeze(hidden, "kernel", fl.at[0, :])
    before = fl.snapshot(model)["hidden/kernel"]
    x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1), "mse")
    model.fit(x, np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3], epochs=20, verbose=0)
    return before, fl.snapshot(model)["hidden/kernel"], fl.frozen_mask(hidden.kernel)


def text(x, y, words, kind=""):
    return f'<text x="{x}" y="{y}" class="{kind}">{words}</text>'


def grid(left, title, values, frozen, form):
    """One kernel as a table of numbers, with frozen cells in blue."""
    yield text(left, TOP - 12, title)
    for (row, column), value in np.ndenumerate(values):
        x, y = left + column * WIDE, TOP + row * HIGH
        kind = "cold" if frozen[row, column] else "warm"
        yield f'<rect class="cell {kind}" x="{x}" y="{y}" width="{WIDE}" height="{HIGH}"/>'
        yield text(x + WIDE / 2, y + HIGH / 2 + 4, form(value), "number")


def legend(left, bottom, kind, words):
    yield f'<rect class="cell {kind}" x="{left}" y="{bottom + 20}" width="14" height="14"/>'
    yield text(left + 22, bottom + 32, words)


def draw(before, after, frozen):
    """The picture as SVG: the kernel before, after, and the difference."""
    rows, columns = before.shape
    step, bottom = columns * WIDE + GAP, TOP + rows * HIGH
    width, height = LEFT + 3 * step - GAP + LEFT, bottom + 50

    def number(value):
        return f"{value:.2f}"

    def change(value):
        return "0" if value == 0 else f"{value:+.2f}"

    parts = [
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        text(LEFT, 34, "fl.freeze(layer, &quot;kernel&quot;, fl.at[0, :])", "code"),
        text(LEFT, 56, "then fit: 20 epochs of AdamW, weight decay 0.1", "quiet"),
        *grid(LEFT, "the kernel before", before, frozen, number),
        *grid(LEFT + step, "after", after, frozen, number),
        *grid(LEFT + 2 * step, "after - before", after - before, frozen, change),
        *legend(LEFT, bottom, "cold", "frozen: bit-identical, as it is in no trainable variable"),
        *legend(LEFT + 2 * step, bottom, "warm", "trains"),
    ]
    title = (
        "<title>A kernel of four rows before and after training: its first row did not move</title>"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n  ".join([head, title, f"<style>{STYLE}\n  </style>", *parts]) + "\n</svg>\n"


def main(path=Path(__file__).parents[1] / "docs" / "one_row.svg"):
    before, after, frozen = trained()
    path.write_text(draw(before, after, frozen), encoding="utf-8")
    print(f"written to {path}")
    return {"before": before, "after": after, "frozen": frozen}


if __name__ == "__main__":
    main()
