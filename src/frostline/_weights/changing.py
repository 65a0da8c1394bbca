"""One change of a model at a time: a thread that changes another one waits for the first.

One lock for all models. Layers and optimizers may be shared between models, and which ones use a
weight is only known once a change has begun. The lock may be taken again by the thread that holds
it, as by a callable selection that freezes something else.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

CHANGING = threading.RLock()
"""Held from the first look at what is frozen to the last step of a change."""

# A process that is forked meanwhile would start with a lock that nobody gives back.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=CHANGING.acquire,
        after_in_parent=CHANGING.release,
        after_in_child=CHANGING.release,
    )


def alone(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function while no other thread changes a model."""

    @functools.wraps(function)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> R:
        with CHANGING:
            return function(*args, **kwargs)

    return waiting
