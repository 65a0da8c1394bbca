"""Find the Keras objects that are alive: a layer does not know what uses its weights."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable
from typing import Any

import keras


def constructed_layers(living: Iterable[Any]) -> list[keras.layers.Layer]:
    """The layers among living objects whose constructor has run."""
    return [
        one
        for one in living
        if issubclass(type(one), keras.layers.Layer) and "_tracker" in vars(one)
    ]


def built_optimizers(living: Iterable[Any]) -> list[keras.optimizers.Optimizer]:
    """The optimizers among living objects that have made their slots."""
    return [
        one
        for one in living
        if issubclass(type(one), keras.optimizers.Optimizer) and vars(one).get("built")
    ]


def live(*kinds: type) -> list[Any]:
    """Every living object of some classes.

    A layer does not know the layers, models and optimizers that use it, but a change of its
    variables must reach all of them. There may be millions of objects, so no Python code runs for
    each. The `type` is used because reading `__class__` of some objects runs arbitrary code.

    No list of all objects is kept beyond a call: if another thread is filling a tuple, one more
    reference to it makes CPython raise a `SystemError` there (tests/freezing/test_interrupts.py).
    Referrers are enough because an instance refers to its class.
    """
    everything = itertools.chain.from_iterable(map(gc.get_objects, (None,)))
    classes = {kind for kind in set(map(type, everything)) if issubclass(kind, kinds)}
    return [one for one in gc.get_referrers(*classes) if type(one) in classes]
