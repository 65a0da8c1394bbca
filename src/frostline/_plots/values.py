"""Weights of a model to be looked at: what is frozen of each, and two values of it, piece by piece.

Values are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from frostline._arrays.frozen import frozen_of
from frostline._errors import PlotError
from frostline._plots.layers import arrangement_of
from frostline._plots.maps import Subject, in_pieces
from frostline._summaries import Row
from frostline._weights.earlier import Earlier, Words
from frostline._weights.tree import Found, read_value
from frostline._weights.view import plan_of

BEFORE = Words(
    name="before",
    refusal=PlotError,
    same="before and after are the same weight",
    unlike="bits are compared, so shape and dtype must be the same",
    missing="Name those that both have: `weights=[...]`.",
)


def subject_of(weight: Found, row: Row) -> Subject:
    """A weight of a model, and its numbers."""
    plan = plan_of(weight.variable)
    return Subject(row, arrangement_of(weight), None if plan is None else frozen_of(plan))


def pairs(weight: Found, earlier: Earlier) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The pieces of a weight: where each starts, as it was and as it is."""
    after = read_value(weight)
    yield from in_pieces(earlier.value(weight, after), after)
