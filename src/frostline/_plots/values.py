"""Weights of a model to be looked at: what is frozen of each, and two values of it, piece by piece.

Values are read one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import stock_of
from frostline._errors import PlotError, SelectionError
from frostline._freezing.request import asked
from frostline._plots.arrange import Arrangement, arrangement
from frostline._plots.maps import Subject, in_pieces
from frostline._selections.heads import head_parts
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
    return Subject(row, arrangement_of(weight), plan_of(weight.variable))


def arrangement_of(weight: Found) -> Arrangement:
    """How to show a weight of a model."""
    owner: Any = weight.owner
    seen, stock = asked(weight), stock_of(owner)
    if stock.product != "einsum" or len(seen.shape) < 2:
        return arrangement(seen.name, seen.shape, stock)
    heads = None
    # An axis that may or may not be the heads is an axis like another.
    with contextlib.suppress(SelectionError):
        heads = head_parts(seen, "plot")
    axis = None if heads is None or heads.width > 1 else heads.axes[0]
    return arrangement(seen.name, seen.shape, stock, Equation.parse(owner.equation), axis)


def pairs(weight: Found, earlier: Earlier) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The pieces of a weight: where each starts, as it was and as it is."""
    after = read_value(weight)
    yield from in_pieces(earlier.value(weight, after), after)
