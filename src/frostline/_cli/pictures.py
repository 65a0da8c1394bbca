"""The pages about files, and the picture of what differs between two of them. No Keras."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from frostline._arrays.equation import Equation
from frostline._arrays.frozen import Frozen
from frostline._catalogue import stock_named
from frostline._console import meter
from frostline._errors import FileError, ReportError
from frostline._files import ModelFile, Stored
from frostline._files.boundary import reading
from frostline._files.compare import Comparison, See, freeze_sources, frozen_by_key
from frostline._plots import (
    Arrangement,
    Comparing,
    Gallery,
    Panel,
    Pixels,
    Subject,
    arrangement,
    drawing,
    frozen_panel,
)
from frostline._reports import Report, cells_each, pixels_of, write_page
from frostline._summaries import Row
from frostline._writing import check_target, replacing

UNKNOWN_FREEZE = "what is frozen is not known"
_DRAWN = 48  # weights on a picture, as in `frostline.plot_drift`


class Pictures:
    """The page and the picture of two files, made while they are compared.

    Keeps only the cells of the maps of each weight, however large it is.

    Args:
        before: The first file.
        after: The second file.
        html: The page to write, None for no page.
        png: The picture to write, None for no picture.

    Raises:
        ReportError: A path cannot be written to.
        DependencyError: matplotlib is not installed, and a picture is wanted.
        FileError: A picture is wanted, and the files have no weights.
    """

    def __init__(
        self, before: ModelFile, after: ModelFile, html: Path | None, png: Path | None
    ) -> None:
        if html is not None:
            check_target(html, ".html", ".htm", refusal=ReportError)
        if png is not None:
            check_target(png, ".png", refusal=ReportError)
        self._name = after.path.name
        self._html, self._png = html, png
        self._takers: list[tuple[Pixels, Callable[[Panel], None]]] = []
        sizes = [weight.size for weight in after.weights]
        if html is not None:
            facts = [("before", str(before.path)), ("after", str(after.path))]
            self._report = Report(self._name, True, facts, from_files=True)
            self._takers.append((pixels_of(cells_each(sizes)), self._report.add))
        if png is not None:
            if not sizes:
                raise FileError(
                    f"{after.path}: no weights to draw; got a file with none. Leave --png out."
                )
            self._drawing = drawing("--png")
            self._gallery = Gallery(_DRAWN)
            drawn = min(len(sizes), _DRAWN)
            pixels = functools.partial(self._drawing.pixels, axes=None, weights=drawn)
            self._takers.append((pixels, self._gallery.add))

    @contextmanager
    def watch(self, weight: Stored, frozen: Frozen | None) -> Iterator[See]:
        """See a weight while it is compared."""
        with reading(self._name, f"{weight.path} cannot be drawn"):
            subject = subject_in_file(weight, frozen)
        seen = [(Comparing(subject, subject.grid(pixels)), take) for pixels, take in self._takers]

        def see(start: int, before: np.ndarray, after: np.ndarray) -> None:
            for comparing, _ in seen:
                comparing.add(start, before, after)

        yield see
        for comparing, take in seen:
            take(comparing.panel())

    def write(self, comparison: Comparison) -> list[Path]:
        """Write the page and the picture, and return their paths.

        Raises:
            ReportError: A path cannot be written to.
        """
        known = bool(comparison.freeze_from)
        if self._html is not None:
            self._report.freeze_known = known
            write_page(self._report, self._html)
        if self._png is not None:
            self._draw(self._png, known)
        return [path for path in (self._html, self._png) if path is not None]

    def _draw(self, png: Path, known: bool) -> None:
        said = self._gallery.said if known else UNKNOWN_FREEZE
        gallery = self._gallery
        notes = self._drawing.notes(
            gallery.left, gallery.seen, "All of them are on the page of --html."
        )
        title = f"{self._name}: {said}"
        figure = self._drawing.page(gallery.shown, title, notes, gallery.lines, known)
        with replacing(png, ReportError) as beside:
            figure.savefig(beside, format="png")


def write_frozen(opened: ModelFile, freeze: ModelFile | None, out: Path, *, quiet: bool) -> str:
    """Write a page of what is frozen in one file. Reads no weight.

    Args:
        opened: The file.
        freeze: The file that says what is frozen, None for `opened`.
        out: The page to write.
        quiet: Whether there is no progress bar.

    Returns:
        What is frozen, in a line.

    Raises:
        ReportError: The page cannot be written.
        FileError: `freeze` holds no freeze, or is of another architecture.
    """
    says = freeze_sources([opened], freeze)
    both = [(weight, weight) for weight in opened.weights]
    frozen = frozen_by_key(both, opened, says)
    known = says[0].can_hold_a_freeze
    facts = [("file", str(opened.path))]
    report = Report(opened.path.name, False, facts, from_files=True, freeze_known=known)
    pixels = pixels_of(cells_each([weight.size for weight in opened.weights]))
    with meter("drawing", opened.size, quiet=quiet, unit="entries") as advance:
        for weight in opened.weights:
            with reading(opened.path, f"{weight.path} cannot be drawn"):
                subject = subject_in_file(weight, frozen.get(weight.key))
                report.add(frozen_panel(subject, subject.grid(pixels)))
            advance(weight.size)
    write_page(report, out)
    counts = f"{opened.path}: {len(opened.weights):,} weights, {opened.size:,} entries"
    return f"{counts}, {report.totals.frozen:,} frozen" if known else f"{counts}; {UNKNOWN_FREEZE}"


def subject_in_file(weight: Stored, frozen: Frozen | None) -> Subject:
    """A weight of a file, and its frozen entries.

    A file does not say what trains, so every entry that is not frozen counts as trainable.
    """
    kind = "" if frozen is None else frozen.kind
    row = Row(
        path=weight.path,
        shape=weight.shape,
        dtype=str(weight.dtype),
        size=weight.size,
        frozen=0 if frozen is None else frozen.frozen_count,
        kind=kind,
        slots_saved=None,
        trains=kind != "whole",
    )
    return Subject(row, _arrangement(weight), frozen)


def _arrangement(weight: Stored) -> Arrangement:
    owner, name = weight.owner, weight.path.rpartition("/")[2]
    stock = stock_named(owner.kind)
    if not owner.equation.count(",") == owner.equation.count("->") == 1:
        return arrangement(name, weight.shape, stock)
    equation = Equation.parse(owner.equation)
    axes = equation.kernel if name == "kernel" else equation.produced
    heads = axes.find(owner.heads) if owner.heads else -1
    return arrangement(name, weight.shape, stock, equation, heads if heads >= 0 else None)
