"""Replace the values of views temporarily, for example to compute gradients for whole weights.

`keras.StatelessScope` does this for variables. A view has no storage that a scope could replace,
and replacing its two parts would give gradients for the parts.
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
    """Inside the block, each view has the given value (a tensor of its shape), in this thread."""
    before = _reads.__dict__.get("given", {})
    _reads.given = {**before, **{id(view): value for view, value in values}}
    try:
        yield
    finally:
        _reads.given = before


def given_value(view: Any) -> Any:
    """The given value of a view, cast as Keras casts variables in mixed precision; or None."""
    found = _reads.__dict__.get("given")
    value = found.get(id(view)) if found else None
    return None if value is None else _keras.cast_as_read(view, value)


def give(view: Any, value: Any) -> bool:
    """Replace the given value of a view, if it has one; return whether it has."""
    is_given = id(view) in _reads.__dict__.get("given", {})
    if is_given:
        _reads.given[id(view)] = value
    return is_given
