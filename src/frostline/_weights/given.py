"""Whole values that views are read as for a while, such as those that a gradient is taken by.

`keras.StatelessScope` does that for a variable. A view has no storage of its own that a scope could
stand in for, and its two parts are not what the gradient is asked by.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from frostline import _keras

_reads = threading.local()


@contextmanager
def given(values: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Inside, each view reads as the tensor of its shape that it is paired with, in this thread."""
    before = _reads.__dict__.get("given", {})
    _reads.given = {**before, **{id(view): value for view, value in values}}
    try:
        yield
    finally:
        _reads.given = before


def given_value(view: Any) -> Any:
    """What a view reads as, cast as Keras casts variables in a mixed-precision call; or None."""
    found = _reads.__dict__.get("given")
    value = found.get(id(view)) if found else None
    return None if value is None else _keras.cast_as_read(view, value)


def give(view: Any, value: Any) -> bool:
    """Take a new value for a view that is given one; whether it is."""
    is_given = id(view) in _reads.__dict__.get("given", {})
    if is_given:
        _reads.given[id(view)] = value
    return is_given
