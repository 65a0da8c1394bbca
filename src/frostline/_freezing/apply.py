"""Bring weights to their plans, and everything that depends on them: layers, optimizers, steps."""

from __future__ import annotations

import warnings

import keras

from frostline import _keras
from frostline._backends.current import backend
from frostline._freezing.change import Plans, changed, changes_to
from frostline._freezing.constraints import warn_of_constraints
from frostline._freezing.layer import refresh_classes
from frostline._freezing.optimizer import follow
from frostline._freezing.stale import stale_functions, warn_of_stale
from frostline._weights.tree import Layer, sublayers


def apply_plans(
    target: Layer, plans: Plans, *, doing: str = "freezing", restoring: bool = False
) -> None:
    """Give each variable its plan; after a failure everything is as it was.

    Every living layer and optimizer is asked, since a layer does not know who shares its weights.

    Args:
        target: The layer or model that the variables are in.
        plans: Variables and their new plans. Those that have theirs already are left alone.
        doing: What a progress bar says is done, where this takes long.
        restoring: Whether a freeze of before is put back, which must not fail for a warning.
    """
    changes = changes_to(plans)
    if changes:
        if not restoring:
            warn_of_constraints(changes)
        living = _keras.live(
            keras.layers.Layer,
            keras.optimizers.Optimizer,
            *backend.native_optimizer_kinds,
            *backend.function_kinds,
        )
        given_up = [change.listed[0] for change in changes if change.replaces_trained]
        native = backend.native_optimizers(given_up, living)
        stale = stale_functions(changes, living)
        with changed(
            changes, _keras.constructed_layers(living), refresh_classes, doing
        ) as affected:
            models = [layer for layer in affected if isinstance(layer, keras.Model)]
            follow(models, changes, _keras.built_optimizers(living))
        if native:
            _warn_of(native)
        del living  # functions that `follow` made again end here
        warn_of_stale(stale)
    update_parents(target)


def update_parents(target: Layer) -> None:
    """Give every layer in `target` the class that fits what is frozen in it now."""
    refresh_classes(sublayers(target))


def _warn_of(native: list[tuple[str, str]]) -> None:
    kind, path = native[0]
    warnings.warn(
        f"{path}: a native optimizer was made before this change and would train nothing of "
        f"this weight; got {kind} with {len(native)} such parameters. Make it again now: "
        f"`{kind}(model.parameters(), ...)`.",
        stacklevel=5,
    )
