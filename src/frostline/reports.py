"""One page in HTML about a model: what is frozen, what moved, and whether anything frozen did."""

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
    """Write one HTML page about what is frozen and what moved, weight by weight.

    The page is one file that asks for nothing from anywhere: it can be mailed, kept with a run, or
    opened in a year. It has the numbers of `summary`, and with `before` says first of all whether a
    frozen entry moved, counted bit for bit. All weights are in a table that can be sorted, searched
    and filtered; a row opens to the maps of `plot` and `plot_drift`.

    Args:
        model: A built layer or model.
        before: What its weights were, as in `plot_drift`: what `snapshot` gave, any mapping from
            paths to arrays, or another model with weights of the same paths.
        weights: Which weights, as in `freeze`.
        path: The file to write. One that is there is replaced once the new one is whole.

    Returns:
        The path of the file.

    Raises:
        ReportError: There is no such folder, `path` is a folder, or it can not be written.
        TargetError: `model` is not a layer or model, or `before` neither that nor a mapping.
        NotBuiltError: A model has no weights yet.
        PathError: No weight is named by `weights`, `before` lacks one or names one twice, or two
            weights have one path.
        PlotError: An array of `before` has another shape or dtype than its weight, or is its very
            memory.

    Note:
        The maps of a page share a million cells, at most 512 along a side: of 500 weights each has
        some thousand, and the page says that its maps are coarser. Numbers are exact, and a single
        leaked entry makes its cell a leak. Weights are read one at a time, without `before` not at
        all.

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
