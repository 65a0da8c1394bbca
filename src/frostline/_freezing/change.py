"""A record for each variable whose freeze changes, and a transaction that changes all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from frostline import _keras
from frostline._arrays.plan import Plan, SplitPlan, WholePlan
from frostline._backends.current import backend
from frostline._console import each
from frostline._errors import UnsupportedError
from frostline._freezing.lists import watch_lists
from frostline._freezing.optimizer_files import watch_optimizer_files
from frostline._weights.layouts import stored_plan
from frostline._weights.tree import Layer
from frostline._weights.view import (
    apply_plan,
    made_of,
    plan_of,
    restore_state,
    saved_state,
    tracked,
)

Plans = Iterable[tuple[Any, Plan | None]]
"""Variables with their new plans; None for a plain variable."""


@dataclass(eq=False)
class PlanChange:
    """The change of a variable's plan.

    Attributes:
        variable: The original variable of the layer.
        before: Its plan before the change, None if nothing was frozen.
        after: Its plan after the change.
        listed: What its layer listed for it before: the variable itself, or its two parts.
        key: The key that optimizers used for it before.
    """

    variable: Any
    before: Plan | None
    after: Plan | None
    listed: list[Any] = field(init=False)
    key: Any = field(init=False)
    _saved: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.listed = tracked(self.variable)
        self.key = _keras.variable_key(self.listed[0])
        self._saved = saved_state(self.variable)

    @property
    def split(self) -> SplitPlan | None:
        """The new plan, if it divides the variable; else None."""
        return None if isinstance(self.after, WholePlan) else self.after

    @property
    def replaces_trained(self) -> bool:
        """Whether another variable replaces the one that has been trained.

        A variable keeps its storage when it changes between plain and wholly frozen, and a wholly
        frozen variable is not trained.
        """
        stays = self.before is None and isinstance(self.after, WholePlan)
        return not (stays or isinstance(self.before, WholePlan))

    @property
    def trains(self) -> bool:
        """Whether anything of the variable trains after the change, if its layer does."""
        # For a frozen variable, this is the flag that it gets back.
        return not isinstance(self.after, WholePlan) and bool(self.listed[0]._trainable)

    def apply(self, holders: Iterable[Layer]) -> None:
        """Divide the variable or merge it, and update the lists of its layers."""
        apply_plan(self.variable, self.after)
        for layer in holders:
            lists = [list(own) for own in _keras.own_lists(layer)]
            for own in lists:
                place = next((i for i, one in enumerate(own) if one is self.listed[0]), None)
                if place is not None:
                    own[place : place + len(self.listed)] = tracked(self.variable)
            _keras.set_own_lists(layer, lists)

    def undo(self) -> None:
        """Restore the variable, bit for bit."""
        restore_state(self.variable, self._saved)


def changes_to(plans: Plans) -> list[PlanChange]:
    """A record for each variable that does not have its new plan already."""
    states = (
        (variable, plan_of(variable), stored_plan(variable, plan)) for variable, plan in plans
    )
    return [PlanChange(*state) for state in states if state[1] != state[2]]


@contextmanager
def changed(
    changes: Sequence[PlanChange],
    layers: Sequence[Layer],
    refresh: Callable[[Iterable[Layer]], None],
    doing: str = "freezing",
) -> Iterator[list[Layer]]:
    """Carry out changes; after a failure here or in the block, everything is restored.

    Args:
        changes: The changes.
        layers: Every layer that may hold one of the variables.
        refresh: Updates layers to what is frozen in them. Also called after a failure.
        doing: The text of the progress bar, if this takes long.

    Yields:
        The layers that list one of the variables, and all layers that contain those.
    """
    holders, around = _affected(layers, changes)
    affected, held_by = [*holders, *around], _held_by(holders)
    _check_all_held(held_by, changes)
    lists = [(layer, [list(own) for own in _keras.own_lists(layer)]) for layer in holders]
    _keras.watch_takers(made_of, refresh)
    watch_lists()
    watch_optimizer_files()
    given_back: list[Callable[[], None]] = []
    try:
        let_go = backend.letting_go(affected)
        for change in each(doing, changes):
            change.apply(held_by[id(change.listed[0])])
            let_go(change.variable)
        refresh(affected)
        backend.refresh_parameters(affected)
        for change in changes:
            if isinstance(change.after, WholePlan):
                given_back.append(backend.forget_gradient(change.variable))
        backend.drop_traces(
            (change.variable, change.split, tracked(change.variable))
            for change in changes
            if change.split is not None
        )
        yield affected
    except BaseException:
        for change in changes:
            change.undo()
        for layer, listed in lists:
            _keras.set_own_lists(layer, listed)
        for give_back in given_back:
            give_back()
        refresh(affected)
        backend.refresh_parameters(affected)
        raise


def _affected(
    layers: Sequence[Layer], changes: Sequence[PlanChange]
) -> tuple[list[Layer], list[Layer]]:
    """The layers that list one of the variables, and all layers that contain those."""
    wanted = {id(entry) for change in changes for entry in change.listed}
    holders = [
        layer
        for layer in layers
        if any(id(listed) in wanted for own in _keras.own_lists(layer) for listed in own)
    ]
    parents: dict[int, list[Layer]] = {}
    for layer in layers:
        for child in _keras.children(layer):
            parents.setdefault(id(child), []).append(layer)
    seen = {id(layer) for layer in holders}
    around, pending = [], list(holders)
    while pending:
        for parent in parents.get(id(pending.pop()), ()):
            if id(parent) not in seen:
                seen.add(id(parent))
                around.append(parent)
                pending.append(parent)
    return holders, around


def _held_by(holders: Iterable[Layer]) -> dict[int, list[Layer]]:
    """The layers that list a variable, by its id."""
    held_by: dict[int, list[Layer]] = {}
    for layer in holders:
        for listed in {id(one) for own in _keras.own_lists(layer) for one in own}:
            held_by.setdefault(listed, []).append(layer)
    return held_by


def _check_all_held(held_by: Mapping[int, Any], changes: Sequence[PlanChange]) -> None:
    for change in changes:
        if id(change.listed[0]) not in held_by:
            raise UnsupportedError(
                f"{change.variable.path}: cannot find the layer of this weight, because "
                "`gc.freeze()` hid it from Python's garbage collector; got a hidden object. Call "
                "`gc.unfreeze()` first."
            )
