"""The page and the picture of what differs between two files, made while these are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from frostline._errors import FileError
from frostline._files import ModelFile, Stored
from frostline._files._compare import Comparison, See
from frostline._files._frozen import Frozen
from frostline._plots._maps import Comparing, Gallery, Panel, Pixels
from frostline._plots._need import drawing
from frostline._plots._stored import subject_of
from frostline._replace import replacing
from frostline._reports import _data
from frostline._reports._page import page
from frostline._reports._write import refuse_place, unwritable, write

_DRAWN = 48  # weights on a picture, as in `frostline.plot_drift`


class Pictures:
    """What is asked for of a comparison besides its numbers. No Keras.

    Of each weight the cells of its maps are kept, however large it is.

    Args:
        before: The one file.
        after: The other.
        html: Where the page goes, if there is to be one.
        png: Where the picture goes, if there is to be one.

    Raises:
        ReportError: A path can not be written to.
        DependencyError: matplotlib is not installed, and there is to be a picture.
        FileError: There is to be a picture, of no weights.
    """

    def __init__(
        self, before: ModelFile, after: ModelFile, html: Path | None, png: Path | None
    ) -> None:
        if html is not None:
            refuse_place(html, ".html", ".htm")
        if png is not None:
            refuse_place(png, ".png")
        self._name = after.path.name
        self._html, self._png = html, png
        self._takers: list[tuple[Pixels, Callable[[Panel], None]]] = []
        sizes = [weight.size for weight in after.weights]
        if html is not None:
            facts = [("before", str(before.path)), ("after", str(after.path))]
            self._report = _data.Report(self._name, True, facts, from_files=True)
            self._takers.append((_data.pixels(_data.cells_each(sizes)), self._report.add))
        if png is not None:
            if not sizes:
                raise FileError(
                    f"{after.path}: no weights to draw; got a file of none. Leave --png out."
                )
            self._drawing = drawing("--png")
            self._gallery = Gallery(_DRAWN)
            drawn = min(len(sizes), _DRAWN)
            pixels = functools.partial(self._drawing.pixels, axes=None, weights=drawn)
            self._takers.append((pixels, self._gallery.add))

    @contextmanager
    def watch(self, weight: Stored, frozen: Frozen | None) -> Iterator[See]:
        """Look at a weight while it is compared."""
        if not self._takers:
            yield lambda start, before, after: None
            return
        subject = subject_of(weight, frozen)
        seen = [(Comparing(subject, subject.grid(pixels)), take) for pixels, take in self._takers]

        def see(start: int, before: np.ndarray, after: np.ndarray) -> None:
            for comparing, _ in seen:
                comparing.add(start, before, after)

        yield see
        for comparing, take in seen:
            take(comparing.panel())

    def write(self, comparison: Comparison) -> list[Path]:
        """Write what is asked for, and say where it is.

        Raises:
            ReportError: A path can not be written to.
        """
        known = bool(comparison.freeze_from)
        if self._html is not None:
            self._report.freeze_known = known
            write(page(self._report, datetime.now()), self._html)
        if self._png is not None:
            self._draw(self._png, self._gallery.said if known else "what is frozen is not known")
        return [path for path in (self._html, self._png) if path is not None]

    def _draw(self, png: Path, said: str) -> None:
        shown = self._gallery.shown
        notes = self._drawing.notes(
            len(shown), self._gallery.seen, "All of them are on the page of --html."
        )
        figure = self._drawing.page(shown, f"{self._name}: {said}", notes)
        try:
            with replacing(png) as beside:
                figure.savefig(beside, format="png")
        except OSError as error:
            raise unwritable(png, error) from None
