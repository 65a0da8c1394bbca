"""Apply plans to weights, and update everything that uses them: layers, optimizers, steps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from frostline import _keras
from frostline._backends.current import backend
from frostline._errors import UnsupportedError, warn
from frostline._freezing.change import PlanChange, Plans, changed, changes_to
from frostline._freezing.constraints import warn_of_constraints
from frostline._freezing.copies import outermost
from frostline._freezing.layer import refresh_classes
from frostline._freezing.optimizer import followed
from frostline._freezing.replay import slots_by_reference
from frostline._freezing.stale import stale_functions, warn_of_stale
from frostline._freezing.undivided import warn_of_undivided
from frostline._freezing.wrapped import outdated, warn_of_outdated
from frostline._weights.changing import alone
from frostline._weights.tree import Layer, sublayers

WATCHERS: weakref.WeakSet[Any] = weakref.WeakSet()
"""Objects with `freeze_will_change(variables)`, called before a change, and `freeze_changed()`."""


@alone
def apply_plans(
    target: Layer, plans: Plans, *, doing: str = "freezing", restoring: bool = False
) -> None:
    """Give each variable its plan; if anything fails, everything is restored.

    All living layers and optimizers are searched, because a layer does not know what shares its
    weights.

    Args:
        target: The layer or model that contains the variables.
        plans: Variables and their new plans. Variables that have their plan already are skipped.
        doing: The text of the progress bar, if this takes long.
        restoring: Whether an earlier freeze is restored, which must not fail because of a warning.
    """
    with plans_applied(target, plans, doing=doing, restoring=restoring):
        pass


@contextmanager
def plans_applied(
    target: Layer, plans: Plans, *, doing: str = "freezing", restoring: bool = False
) -> Iterator[None]:
    """The same; if the block fails, everything is restored too."""
    changes = changes_to(plans)
    if not changes:
        update_parents(target)
        yield
        return
    # All errors and warnings come before anything is changed.
    for change in changes:
        backend.check_changeable(change.listed[0])
    _refuse_taken(changes)
    if not restoring:
        warn_of_constraints(changes)
        warn_of_undivided(changes)
    backend.agree([(change.listed[0], change.after) for change in changes])
    living = _living()
    stale, wrapped = stale_functions(changes, living), outdated(changes, living)
    if stale or wrapped:
        del living
        # Some of these may be unreachable but in a reference cycle, such as the step of a deleted
        # trainer. Nothing can call them.
        gc.collect()
        warn_of_stale(stale)
        warn_of_outdated(wrapped)
        living = _living()
    for watcher in list(WATCHERS):
        watcher.freeze_will_change([change.variable for change in changes])
    given_up = [change.listed[0] for change in changes if change.replaces_trained]
    _warn_of_native(backend.native_optimizers(given_up, living))
    layers = _keras.constructed_layers(living)
    optimizers = outermost(_keras.built_optimizers(living))
    owned = slots_by_reference(optimizers, changes)
    with (
        changed(changes, layers, refresh_classes, doing) as affected,
        followed(affected, changes, optimizers, owned),
    ):
        update_parents(target)
        yield
    for watcher in list(WATCHERS):
        watcher.freeze_changed()


def update_parents(target: Layer) -> None:
    """Give every layer in `target` the class that fits what is frozen in it."""
    refresh_classes(sublayers(target))


def _refuse_taken(changes: Sequence[PlanChange]) -> None:
    for change in changes:
        if not all(map(backend.is_alive, change.listed)):
            raise UnsupportedError(
                f"{change.variable.path}: a compiled step has taken its value until `fit`, "
                "`evaluate` or `predict` ends; got a change while it runs. Make the change before "
                "or after that, or in `on_epoch_begin`."
            )


def _living() -> list[Any]:
    return _keras.live(
        keras.layers.Layer,
        keras.optimizers.Optimizer,
        *backend.native_optimizer_kinds,
        *backend.wrapper_kinds(),
        *backend.function_kinds,
    )


def _warn_of_native(native: list[tuple[str, str]]) -> None:
    if not native:
        return
    kind, path = native[0]
    more = f", and {len(native) - 1} more" if len(native) > 1 else ""
    warn(
        f"{path}: a native optimizer was made before this change and would train nothing of "
        f"this weight; got {kind} of torch.optim{more}. Create it again now: "
        f"`{kind}(model.parameters(), ...)`."
    )
