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
    variables must reach all of them. There may be millions of objects, so this takes no step of
    Python for each. By their `type`: some objects do anything when they are asked for their
    `__class__`.

    No list of all objects lasts longer than a call: a tuple that another thread is filling has to
    be that thread's alone, and with one reference more CPython raises a `SystemError` there
    (tests/freezing/test_interrupts.py). An instance refers to its class.
    """
    everything = itertools.chain.from_iterable(map(gc.get_objects, (None,)))
    classes = {kind for kind in set(map(type, everything)) if issubclass(kind, kinds)}
    return [one for one in gc.get_referrers(*classes) if type(one) in classes]
