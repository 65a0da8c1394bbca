"""Methods of Keras that this package has to hear of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras.src.utils.tracking import Tracker

from frostline._keras.living import live


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """Put a function around a method of a class of Keras, once: more calls do nothing.

    Args:
        owner: The class.
        name: The method's name.
        around: Called with the method, and with the arguments of each of its calls.
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
    """Have a layer that takes a variable over, `self.w = other.kernel`, list what it is made of.

    A layer notes variables in its tracker when an attribute is set, without a hook.

    Args:
        made_of: What to list for a variable, None for the variable itself.
        taken: Called with a layer that has taken one over, in a list.
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
