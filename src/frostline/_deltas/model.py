"""The weights of a Keras model that a delta may hold, and the deltas applied to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from frostline._arrays.plan import WholePlan
from frostline._deltas.compose import Patch
from frostline._deltas.extract import Before, Origin, check_paths
from frostline._deltas.held import DeltaWeight
from frostline._deltas.match import match
from frostline._errors import NotBuiltError, RestoreError
from frostline._weights import entries
from frostline._weights.earlier import Earlier, Words
from frostline._weights.tree import Found, read_value, unique, walk, weights_of
from frostline._weights.view import plan_of

_RECORD = "_frostline_deltas"
_BASE = Words(
    name="base",
    refusal=RestoreError,
    same="the base contains the weight itself, not a copy, so it changes with training",
    unlike="its {what} differs from that in the base",
    missing="Take `base = fl.snapshot(model)` of this model before training.",
)


@dataclass(frozen=True)
class ModelWeight(Origin):
    """A weight of a model."""

    found: Found = None  # type: ignore[assignment]

    @property
    def patches(self) -> Sequence[Patch]:
        """The deltas applied to it; the last one wins."""
        return getattr(self.found.variable, _RECORD, ())

    def record(self, patches: Sequence[Patch]) -> None:
        """Record the deltas that are applied to it."""
        if patches:
            setattr(self.found.variable, _RECORD, tuple(patches))
        elif self.patches:
            delattr(self.found.variable, _RECORD)

    def take(self, held: DeltaWeight) -> np.ndarray:
        """A copy of its entries that are in a delta; no others are read."""
        assert not isinstance(held.plan, WholePlan)
        return entries.read(self.found.variable, held.plan)

    def write(self, held: DeltaWeight, values: np.ndarray) -> None:
        """Write entries, in the order of `take`; no others are written."""
        assert not isinstance(held.plan, WholePlan)
        entries.write(self.found.variable, held.plan, values)


def weights_in(model: Any) -> list[ModelWeight]:
    """Every weight of a model that training may change: trainable weights, and state.

    Raises:
        TargetError, NotBuiltError, PathError: As for `summary`; two weights have the same path.
    """
    weights_of(model)  # raises for unsuitable targets
    if not model.built:
        raise NotBuiltError(
            f"{model.name}: some layers may not have their weights yet; got built={model.built}. "
            "Call it once on data."
        )
    found = [_weight(found) for found in unique(walk(model, state=True))]
    check_paths(model.name, found)
    return found


def _weight(found: Found) -> ModelWeight:
    variable = found.variable
    return ModelWeight(
        path=found.path,
        shape=tuple(int(n) for n in variable.shape),
        dtype=str(variable.dtype),
        read=lambda: read_value(found),
        plan=plan_of(variable),
        layer_trainable=found.layer_trainable,
        state=found.state,
        found=found,
    )


@contextmanager
def all_or_none() -> Iterator[Callable[..., None]]:
    """Write entries weight by weight, and restore all of them if anything fails.

    Yields:
        A function of a weight, what a delta holds of it, the old and the new values of these
        entries, and the patches that the weight has afterwards.
    """
    undo: list[tuple[ModelWeight, DeltaWeight, np.ndarray, Sequence[Patch]]] = []

    def write(
        target: ModelWeight,
        held: DeltaWeight,
        old: np.ndarray,
        new: np.ndarray,
        patches: Sequence[Patch],
    ) -> None:
        undo.append((target, held, old, target.patches))
        target.write(held, new)
        target.record(patches)

    try:
        yield write
    except BaseException:
        for target, held, old, patches in reversed(undo):
            target.write(held, old)
            target.record(patches)
        raise


def base_values(base: Any, found: Sequence[ModelWeight]) -> Before:
    """A function for the value of a weight in a base; None for state that the base lacks."""
    if isinstance(base, keras.layers.Layer):
        theirs = match(found, weights_in(base), base.name, who="model")
        base = {mine.path: other.found for mine, other in zip(found, theirs, strict=True)}
    earlier = Earlier(base, [weight.found for weight in found], _BASE)
    return lambda weight, now: earlier.value(weight.found, now) if weight.found in earlier else None


def size_of(weights: Iterable[Origin]) -> int:
    """The total number of entries of weights."""
    return sum(weight.size for weight in weights)
