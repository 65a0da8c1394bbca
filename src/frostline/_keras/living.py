"""Objects of Keras that are alive: no layer knows who uses its weights."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable
from typing import Any

import keras


def constructed_layers(living: Iterable[Any]) -> list[keras.layers.Layer]:
    """Of living objects the layers that are past their constructor."""
    return [
        one
        for one in living
        if issubclass(type(one), keras.layers.Layer) and "_tracker" in vars(one)
    ]


def built_optimizers(living: Iterable[Any]) -> list[keras.optimizers.Optimizer]:
    """Of living objects the optimizers that have made their slots."""
    return [
        one
        for one in living
        if issubclass(type(one), keras.optimizers.Optimizer) and vars(one).get("built")
    ]


def live(*kinds: type) -> list[Any]:
    """Every living object of some classes.

    A layer does not know the layers, models and optimizers that use it, and a change of its
    variables must reach all of them. There may be millions of objects, so this is one pass, without
    a step of Python for each. By their `type`: some objects do anything when they are asked for
    their `__class__`.
    """
    objects = gc.get_objects()
    wanted = _Wanted(kinds)
    return list(itertools.compress(objects, map(wanted.__getitem__, map(type, objects))))


class _Wanted(dict[type, bool]):
    """Whether a class is one of `kinds`, each asked once."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        super().__init__()
        self.kinds = kinds

    def __missing__(self, kind: type) -> bool:
        self[kind] = found = issubclass(kind, self.kinds)
        return found
