"""Wrap methods of Keras whose calls this package must know about."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras.src.utils.tracking import Tracker

from frostline._keras.living import live


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """Wrap a method of a Keras class in a function, once: more calls do nothing.

    Args:
        owner: The class.
        name: The method's name.
        around: Called in place of the method, with the method and its arguments.
    """
    method = vars(owner)[name]
    if not hasattr(method, "_frostline_method"):

        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            return around(method, self, *args, **kwargs)

        vars(wrapped)["_frostline_method"] = method
        setattr(owner, name, wrapped)


def watch_takers(
    made_of: Callable[[Any], Sequence[Any] | None], taken: Callable[..., None]
) -> None:
    """Make a layer that takes over a variable (`self.w = other.kernel`) list its parts.

    A layer tracks variables when an attribute is set, and Keras has no hook for that.

    Args:
        made_of: Returns what to list for a variable, None for the variable itself.
        taken: Called with a list of the layer that has taken over a variable.
    """

    def add_to_store(add: Any, tracker: Any, store: str, value: Any) -> None:
        parts = made_of(value) if "trainable_variables" in tracker.config else None
        if parts is None:
            add(tracker, store, value)
            return
        for part in parts:
            if not tracker.is_in_store("trainable_variables", part):
                add(tracker, "trainable_variables", part)
        tracker.stored_ids["trainable_variables"].add(id(value))
        taken([one for one in live(keras.layers.Layer) if vars(one).get("_tracker") is tracker])

    def untrack(method: Any, tracker: Any, value: Any) -> None:
        for one in (value, *(made_of(value) or ())):
            method(tracker, one)

    wrap(Tracker, "add_to_store", add_to_store)
    wrap(Tracker, "untrack", untrack)
