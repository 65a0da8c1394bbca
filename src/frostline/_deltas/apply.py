"""What applying a delta to a model takes: its base compared, the rest frozen, layers turned off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from frostline import _console
from frostline._arrays.plan import Plan
from frostline._deltas.compose import base_below, fits
from frostline._deltas.delta import Delta, base_of, other_base
from frostline._deltas.held import DeltaWeight, fingerprint_of
from frostline._deltas.model import ModelWeight, size_of
from frostline._freezing.optimizer import steps_remade
from frostline._freezing.verbs import combined, refuse_unsupported
from frostline._weights.view import plan_of

Pairs = Sequence[tuple[DeltaWeight, ModelWeight]]


def check_base(delta: Delta, pairs: Pairs, name: str) -> None:
    """The error for a base that is not the one of a delta."""
    other = None
    with _console.meter("comparing", size_of(t for _, t in pairs), unit="entries") as advance:
        for weight, target in pairs:
            if other is None and not fits(weight, target.read(), target.patches):
                other = target.path
            advance(target.size)
    if other is None:
        return
    base = base_of(
        (
            target.shape,
            target.dtype,
            fingerprint_of(weight.plan, base_below(target.read(), target.patches)),
        )
        for weight, target in pairs
    )
    raise other_base(other, name, base, delta)


def plans_of(pairs: Pairs) -> list[tuple[Any, Plan | None]]:
    """What freezes all that is not in the delta, and nothing less than is frozen."""
    plans = []
    for weight, target in pairs:
        if weight.plan is None or target.state:
            continue
        before = plan_of(target.found.variable)
        after = combined(before, weight.mask(), freezing=True)
        if after != before:
            refuse_unsupported(target.found, divides=weight.held > 0)
            plans.append((target.found.variable, after))
    return plans


@contextmanager
def switched_off(model: Any, pairs: Pairs) -> Iterator[None]:
    """Turn layers off that were, and that would update what is not in the delta by themselves.

    They are on again, and what was compiled is there again, where the block or this fails.
    """
    owners = [t.found.owner for weight, t in pairs if weight.state and not weight.layer_trainable]
    switched = [owner for owner in owners if owner.trainable]
    models = [model] if switched and isinstance(model, keras.Model) else []
    try:
        for owner in switched:
            owner.trainable = False
        with steps_remade(models):
            yield
    except BaseException:
        for owner in switched:
            owner.trainable = True
        raise
