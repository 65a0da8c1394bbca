"""Freeze or unfreeze for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from frostline._freezing.apply import apply_plans
from frostline._freezing.changes import Changes
from frostline._freezing.verbs import freeze, unfreeze
from frostline._weights.changing import CHANGING
from frostline._weights.tree import unique, weights_of
from frostline._weights.view import plan_of


@contextmanager
def frozen(target: Any, weights: Any = "*", where: Any = None) -> Iterator[Changes]:
    """Freeze a part of `target` for the length of a `with` block.

    When the block ends, also with an exception, the freeze of `target` is as before: every
    `freeze`, `unfreeze` and `train_only` inside is undone. Values that were trained are kept.
    Entries that train again start with new optimizer slots.

    Args:
        target: A built layer or model, as for `freeze`.
        weights: Which weights, as for `freeze`; may also be a mapping from these to selections.
        where: Which entries, as for `freeze`.

    Yields:
        The changes, as `freeze` returns them.

    Raises:
        FrostlineError: As for `freeze`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> with fl.frozen(layer, "kernel", fl.at[0]) as changes:
        ...     print(changes)
        kernel: 3 entries changed, 3 of 12 frozen
        >>> with fl.frozen(layer, {"kernel": fl.at[0], "bias": fl.at[:2]}) as changes:
        ...     print(changes)
        kernel: 3 entries changed, 3 of 12 frozen
        bias: 2 entries changed, 2 of 3 frozen
        >>> fl.is_frozen(layer.kernel)
        False
    """
    with _as_before(target, lambda: freeze(target, weights, where)) as changes:
        yield changes


@contextmanager
def thawed(target: Any, weights: Any = "*", where: Any = None) -> Iterator[Changes]:
    """Unfreeze a part of `target` for the length of a `with` block.

    When the block ends, also with an exception, the freeze of `target` is as before: every
    `freeze`, `unfreeze` and `train_only` inside is undone. Values that were trained are kept.

    Args:
        target: A built layer or model, as for `unfreeze`.
        weights: Which weights, as for `unfreeze`; may also be a mapping from these to selections.
        where: Which entries, as for `unfreeze`.

    Yields:
        The changes, as `unfreeze` returns them.

    Raises:
        FrostlineError: As for `unfreeze`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel", fl.at[0])
        >>> with fl.thawed(layer, {"kernel": fl.at[0]}):
        ...     print(fl.is_frozen(layer.kernel))
        False
        >>> fl.is_frozen(layer.kernel)
        True
    """
    with _as_before(target, lambda: unfreeze(target, weights, where)) as changes:
        yield changes


@contextmanager
def _as_before(target: Any, change: Callable[[], Changes]) -> Iterator[Changes]:
    before = None
    try:
        with CHANGING:
            before = [(w.variable, plan_of(w.variable)) for w in unique(weights_of(target))]
            changes = change()
        yield changes
    finally:
        if before is not None:
            apply_plans(target, before, restoring=True)
