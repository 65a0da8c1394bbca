"""Find variables in the attributes of an object, also in nested lists and dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

CONTAINERS = (list, tuple, dict, set)


def flat(value: Any) -> Iterator[Any]:
    """All variables in an attribute, also in nested lists and dictionaries."""
    if isinstance(value, keras.Variable):
        yield value
    elif isinstance(value, CONTAINERS):
        for one in list(value.values()) if isinstance(value, dict) else list(value):
            yield from flat(one)


def holds(value: Any) -> bool:
    return next(flat(value), None) is not None


def content(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: id(one) for key, one in value.items()}
    return [id(one) for one in value] if isinstance(value, CONTAINERS) else None
