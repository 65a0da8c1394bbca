"""Which slot of an optimizer is whose, found out by building a copy for the same list again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from frostline import _keras
from frostline._backends.current import backend
from frostline._errors import UnsupportedError
from frostline._freezing.change import PlanChange
from frostline._freezing.copies import all_inside, copy_of, inner_optimizers

Owned: TypeAlias = dict[int, dict[Any, Any]]
"""For each optimizer, by its id, which slot is whose."""


def slots_by_reference(optimizers: Iterable[Any], changes: Sequence[PlanChange]) -> Owned:
    """Which slot is whose, for optimizers that have a variable that is to change.

    Asked before it changes, while the list that an optimizer was built for can be built again.
    """
    changing = {id(change.listed[0]) for change in changes}
    owned: Owned = {}
    try:
        for optimizer in optimizers:
            if any(id(variable) in changing for variable in _keras.optimized(optimizer)):
                with backend.creating(optimizer.variables[0]):
                    for one in all_inside(optimizer):
                        owned[id(one)] = replayed(one)
    except BaseException:
        let_go(optimizers)
        raise
    return owned


def replayed(optimizer: Any) -> dict[Any, Any]:
    """The slots of an optimizer, by the variable, the name, and how often that was asked for.

    A copy is built for the same list, and handed the slots in their order. Two variables may have
    one path, and two slots one name.
    """
    probe, slots = copy_of(optimizer), _keras.slots(optimizer)
    found: dict[Any, Any] = {}
    kept: dict[int, Any] = {}
    asked: Counter[Any] = Counter()
    reached = 0

    def again(reference_variable: Any, name: Any = None, initializer: Any = "zeros") -> Any:
        del initializer
        nonlocal reached
        full = _keras.slot_name(reference_variable, name)
        for place in range(reached, len(slots)):
            if slots[place].name == full:
                reached = place + 1
                key = (id(reference_variable), name)
                found[(*key, asked[key])] = slots[place]
                asked[key] += 1
                keep(slots[place], kept)
                return slots[place]
        raise UnsupportedError(refusal(optimizer, f"no slot called {full}"))

    if optimizer.built:
        with handed(optimizer, probe, again, kept):
            _build_alone(probe, _keras.optimized(optimizer))
    return found


def let_go(optimizers: Iterable[Any]) -> None:
    """End the hold on slots that are handed to a copy while it is built."""
    for optimizer in optimizers:
        for slot in optimizer.variables:
            slot.__dict__.pop("assign", None)


@contextmanager
def handed(
    old: Any, copy: Any, slot: Callable[..., Any], kept: Mapping[int, Any]
) -> Iterator[None]:
    """While a copy is built, `slot` gives it its slots, and it writes to none that are `kept`."""

    def sparing(assign: Callable[..., Any]) -> Callable[..., Any]:
        def spare(variable: Any, value: Any) -> None:
            if id(variable) not in kept:
                assign(variable, value)

        return spare

    asked = ("assign", "assign_add", "assign_sub")
    hooks: dict[str, Any] = {name: sparing(getattr(copy, name)) for name in asked}
    copy.__dict__.update(hooks, add_variable_from_reference=slot)
    try:
        yield
    finally:
        let_go([old])
        for name in (*hooks, "add_variable_from_reference"):
            copy.__dict__.pop(name, None)


def keep(slot: Any, kept: dict[int, Any]) -> None:
    # Some optimizers begin a slot with the weight. On the object, since it is only for now.
    kept[id(slot)] = slot
    slot.__dict__["assign"] = lambda value: value


def refusal(optimizer: Any, got: str) -> str:
    return (
        f"{optimizer.name}: the slots of this optimizer can not follow a freeze, since what "
        f"{type(optimizer).__name__} builds for a copy is not what it holds; got {got}. Freeze "
        "before it is built, or call `model.compile(...)` with a new one first."
    )


def _build_alone(optimizer: Any, variables: list[Any]) -> None:
    """Build an optimizer without those inside it, which are built by themselves."""
    inner = inner_optimizers(optimizer)
    for one in inner:
        one.__dict__["build"] = lambda variables: None
    optimizer.build(variables)
