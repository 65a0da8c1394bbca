"""An HTML page about a model: what is frozen, what moved, and whether a frozen entry did."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras

from frostline._console import meter
from frostline._errors import ReportError
from frostline._plots import drift_panel, frozen_panel
from frostline._reports import Report, cells_each, pixels_of, write_page
from frostline._summaries import Row, itemsize
from frostline._weights.earlier import Earlier
from frostline._weights.tree import Found, select, weights_of
from frostline._writing import check_target
from frostline.plots import BEFORE, pairs, subject_of
from frostline.summaries import row_of, slots_of


def report(
    model: Any,
    before: Any = None,
    weights: Any = "*",
    *,
    path: str | os.PathLike[str] = "report.html",
) -> Path:
    """Write an HTML page about what is frozen and what moved, weight by weight.

    With `before`, the page first says whether a frozen entry moved, compared bit for bit. It has
    the numbers of `summary` and a table of all weights, partly frozen and moved ones first, with
    equal blocks folded. A weight opens to the maps of `plot` and `plot_drift`. The page is a single
    file that loads nothing, so it can be mailed or kept with a run.

    Args:
        model: A built layer or model.
        before: The earlier values, as in `plot_drift`: a `snapshot`, any mapping from paths to
            arrays, or another model with weights of the same paths.
        weights: Which weights, as in `freeze`.
        path: The file to write. An existing file is replaced once the new one is complete.

    Returns:
        The path of the file.

    Raises:
        ReportError: There is no such folder, `path` is a folder, or it cannot be written.
        TargetError: `model` is not a layer or model, or `before` is not a model or mapping.
        NotBuiltError: A model has no weights yet.
        PathError: `weights` matches no weight, `before` lacks a weight or names it twice, or two
            weights have the same path.
        PlotError: An array of `before` has another shape or dtype than its weight, or shares its
            memory.

    Note:
        The maps of a page share a million cells, at most 512 along a side. With 500 weights each
        map has about two thousand, and the page says that its maps are coarser. The numbers are
        exact, and a single leaked entry makes its cell a leak. Weights are read one at a time;
        without `before` none is read.

    Examples:
        >>> import keras, frostline as fl, tempfile
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel", fl.at[0])
        >>> before = fl.snapshot(layer)
        >>> folder = tempfile.mkdtemp()
        >>> page = fl.report(layer, before, path=f"{folder}/report.html")
        >>> "no frozen entry moved" in page.read_text(encoding="utf-8")
        True
    """
    out = Path(path)
    check_target(out, ".html", ".htm", refusal=ReportError)
    chosen = select(model, weights_of(model), weights)
    earlier = None if before is None else Earlier(before, chosen, BEFORE)
    versions = [("keras", keras.version()), ("backend", keras.config.backend())]
    made = Report(model.name, earlier is not None, versions)
    slots = slots_of(model)
    _fill(made, chosen, [row_of(weight, slots) for weight in chosen], earlier)
    write_page(made, out)
    return out


def _fill(made: Report, chosen: list[Found], rows: list[Row], earlier: Earlier | None) -> None:
    pixels = pixels_of(cells_each([row.size for row in rows]))
    read = [row.size * itemsize(row.dtype) for row in rows]
    with meter("reading", sum(read), quiet=False) as advance:
        for weight, row, done in zip(chosen, rows, read, strict=True):
            subject = subject_of(weight, row)
            grid = subject.grid(pixels)
            if earlier is None:
                made.add(frozen_panel(subject, grid))
            else:
                made.add(drift_panel(subject, grid, pairs(weight, earlier)))
            advance(done)
