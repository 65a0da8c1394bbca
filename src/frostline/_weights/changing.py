"""Change one model at a time: a thread that changes another model waits.

There is one lock for all models, because they may share layers and optimizers, and it is known only
during a change which of these use a weight. The thread that holds the lock may take it again, for
example in a callable selection that freezes something else.
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
"""Held from the first read of what is frozen to the last step of a change."""

# A process that is forked during a change would start with a lock that is never released.
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
