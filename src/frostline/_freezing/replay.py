"""Find the variable of each slot of an optimizer, by building a copy for the same variables."""

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
"""For the id of each optimizer, its slots by variable."""


def slots_by_reference(optimizers: Iterable[Any], changes: Sequence[PlanChange]) -> Owned:
    """The slots by variable, for optimizers that have a variable that will change.

    Called before the change, while a copy can still be built for the same variables.
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
    """The slots of an optimizer, by variable, name, and number for repeated names.

    A copy is built for the same variables and gets the slots in their order. Two variables may have
    the same path, and two slots the same name.
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
        raise UnsupportedError(refusal(optimizer, f"no slot named {full}"))

    if optimizer.built:
        with handed(optimizer, probe, again, kept):
            _build_alone(probe, _keras.optimized(optimizer))
    return found


def let_go(optimizers: Iterable[Any]) -> None:
    """Make slots writable again that were protected while a copy was built."""
    for optimizer in optimizers:
        for slot in optimizer.variables:
            slot.__dict__.pop("assign", None)


@contextmanager
def handed(
    old: Any, copy: Any, slot: Callable[..., Any], kept: Mapping[int, Any]
) -> Iterator[None]:
    """Inside the block, a copy gets its slots from `slot` and cannot write to those in `kept`."""

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
    # Protect the slot: some optimizers initialize slots with the weight. See `let_go`.
    kept[id(slot)] = slot
    slot.__dict__["assign"] = lambda value: value


def refusal(optimizer: Any, got: str) -> str:
    return (
        f"{optimizer.name}: the slots of this optimizer cannot be updated, because a copy of "
        f"{type(optimizer).__name__} has other slots; got {got}. Freeze before it is built, or "
        "call `model.compile(...)` with a new one first."
    )


def _build_alone(optimizer: Any, variables: list[Any]) -> None:
    """Build an optimizer without those inside it, which are built separately."""
    inner = inner_optimizers(optimizer)
    for one in inner:
        one.__dict__["build"] = lambda variables: None
    optimizer.build(variables)
