"""What on a map is too small to be seen, and is marked. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frostline._plots.colors import BANDS, EXACT, RINGS
from frostline._plots.maps import Panel

THIN = 2  # pixels below which a mark is needed
SHORT = 12  # pixels below which a mark goes around it; along what is longer there are lines


def boxes(cells: np.ndarray) -> np.ndarray:
    """`int[n, 4]`: the True cells as boxes `top, bottom, left, right`, the ends exclusive.

    Runs along rows, equal ones below one another in one box.
    """
    changes = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, left = np.nonzero(changes == 1)
    right = np.nonzero(changes == -1)[1]
    order = np.lexsort((row, right, left))
    row, left, right = row[order], left[order], right[order]
    begins = np.ones(len(row), bool)
    begins[1:] = (np.diff(left) != 0) | (np.diff(right) != 0) | (np.diff(row) != 1)
    first = np.flatnonzero(begins)
    bottom = row[np.append(first, len(row))[1:] - 1] + 1 if len(row) else row
    return np.stack([row[first], bottom, left[first], right[first]], 1)


def placed(panel: Panel, found: np.ndarray) -> np.ndarray:
    """`float[n, 4]`: boxes of cells where they lie on the axes of the map, in entries."""
    rows, columns = panel.grid.rows, panel.grid.columns
    sides = [rows[found[:, :2]], columns[found[:, 2:]]]
    return np.concatenate(sides, 1) - 0.5


@dataclass(frozen=True)
class Small:
    """What is less than two pixels of a map: boxes of cells, as `boxes` gives them.

    Attributes:
        spots: What is short both ways.
        bands: What is long one way.
        most: What most cells are: 0 trains or bit-identical, 1 frozen in part or moved, 2 frozen,
            or NaN or infinite.
    """

    spots: np.ndarray
    bands: np.ndarray
    most: int

    def __bool__(self) -> bool:
        return bool(len(self.spots) or len(self.bands))


def small(panel: Panel, high: float, wide: float) -> Small:
    """What differs from most of a map of `high` x `wide` pixels, and is less than two of them.

    Leaks, which have rings, are not among them; nor what there is so much of that it is seen.
    """
    if not panel.row.size:
        return Small(np.zeros((0, 4), int), np.zeros((0, 4), int), 0)
    most, part = _differing(panel)
    found = boxes(part > 0)
    lengths = placed(panel, found)[:, 1::2] - placed(panel, found)[:, ::2]
    lengths = lengths * (high / panel.rows.size, wide / panel.columns.size)
    short = (lengths < SHORT).all(axis=1)
    # Of a cell that differs in part less is to be seen.
    seen = [part[top:bottom, left:right].max() for top, bottom, left, right in found]
    thin = (lengths.min(axis=1) * seen if len(found) else lengths.min(axis=1, initial=1)) < THIN
    spots, bands = found[thin & short], found[thin & ~short]
    return Small(
        spots[: len(spots) * (len(spots) <= RINGS)],
        bands[: len(bands) * (len(bands) <= BANDS)],
        most,
    )


def _differing(panel: Panel) -> tuple[int, np.ndarray]:
    """What most cells are, and how much of each is something else; 0 for leaks."""
    if panel.drift is None:
        states = np.digitize(panel.share, [EXACT, 1 - EXACT])
        most = int(np.bincount(states.ravel()).argmax())
        # Where most cells are frozen in part, some that are not are chance.
        return most, np.abs(panel.share - most / 2) if most != 1 else np.zeros_like(panel.share)
    drift = panel.drift
    states = np.where(drift.nonfinite > 0, 2, drift.moved > 0)
    most = int(np.bincount(states.ravel()).argmax())
    part = drift.moved / panel.grid.sizes if most == 0 else (states != most).astype(float)
    return most, np.where(drift.leaked > 0, 0, part)
