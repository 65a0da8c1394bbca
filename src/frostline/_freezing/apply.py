"""Bring weights to their plans, and everything that depends on them: layers, optimizers, steps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from frostline import _keras
from frostline._backends.current import backend
from frostline._freezing.change import Plans, changed, changes_to
from frostline._freezing.layer import refresh_classes
from frostline._freezing.optimizer import followed
from frostline._weights.tree import Layer, sublayers


def apply_plans(target: Layer, plans: Plans, *, doing: str = "freezing") -> None:
    """Give each variable its plan; after a failure everything is as it was.

    Every living layer and optimizer is asked, since a layer does not know who shares its weights.

    Args:
        target: The layer or model that the variables are in.
        plans: Variables and their new plans. Those that have theirs already are left alone.
        doing: What a progress bar says is done, where this takes long.
    """
    with plans_applied(target, plans, doing=doing):
        pass


@contextmanager
def plans_applied(target: Layer, plans: Plans, *, doing: str = "freezing") -> Iterator[None]:
    """The same, and everything is as it was too where the block fails."""
    changes = changes_to(plans)
    if not changes:
        update_parents(target)
        yield
        return
    living = _keras.live(
        keras.layers.Layer, keras.optimizers.Optimizer, *backend.native_optimizer_kinds
    )
    # All that may be refused, warnings among it, comes before anything is changed.
    given_up = [change.listed[0] for change in changes if change.replaces_trained]
    native = backend.native_optimizers(given_up, living)
    if native:
        _warn_of(native)
    layers, optimizers = _keras.constructed_layers(living), _keras.built_optimizers(living)
    around = sublayers(target)
    with (
        changed(changes, layers, refresh_classes, doing) as affected,
        followed(affected, changes, optimizers),
    ):
        refresh_classes(around)
        yield


def update_parents(target: Layer) -> None:
    """Give every layer in `target` the class that fits what is frozen in it now."""
    refresh_classes(sublayers(target))


def _warn_of(native: list[tuple[str, str]]) -> None:
    kind, path = native[0]
    warnings.warn(
        f"{path}: a native optimizer was made before this change and would train nothing of "
        f"this weight; got {kind} with {len(native)} such parameters. Make it again now: "
        f"`{kind}(model.parameters(), ...)`.",
        stacklevel=8,
    )
