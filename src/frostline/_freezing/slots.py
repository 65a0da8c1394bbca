"""The slots of one optimizer for another list of variables, made beside it and put in at once.

A Keras optimizer makes its slots once, for a fixed list of variables, through
`add_variable_from_reference`. A copy of it, made from its config, is built for the new list; where
it asks for the slot of a weight that has not changed it is handed the one that is there. What the
copy then holds in lists and dictionaries is what the optimizer itself is to hold; all else, its
counters and its learning rate among it, it keeps. So this works for any optimizer, without a list
of its attributes, and costs what changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from frostline import _keras
from frostline._arrays.plan import Plan, SplitPlan, WholePlan
from frostline._backends.current import backend
from frostline._freezing.change import PlanChange
from frostline._freezing.copies import KNOWN, copy_of, inner_optimizers, known, original
from frostline._weights import split
from frostline._weights.view import tracked

_CONTAINERS = (list, tuple, dict, set)


@dataclass(eq=False)
class Rebuilt:
    """An optimizer, and the attributes that it is to have."""

    optimizer: Any
    after: dict[str, Any]
    before: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.optimizer.__dict__

    def put_in(self) -> None:
        """Give the optimizer its new attributes, all in one step."""
        object.__setattr__(self.optimizer, "__dict__", self.after)

    def take_out(self) -> None:
        """Give it the old ones back, the very same objects."""
        object.__setattr__(self.optimizer, "__dict__", self.before)


def rebuilt(
    optimizer: Any, variables: list[Any], wanted: list[Any], changes: Sequence[PlanChange]
) -> list[Rebuilt]:
    """An optimizer for another list, and the optimizers inside it for their parts of that.

    Nothing that is in use changes.

    Args:
        optimizer: A built one.
        variables: What it is to train.
        wanted: What it is to know, see `known`: the same, and what is wholly frozen for now.
        changes: What has changed, and is divided already.

    Raises:
        UnsupportedError: It can not be made again from its config.
    """
    # The first variable of an optimizer counts its steps, and lives where its slots do.
    with backend.creating(optimizer.variables[0]):
        fresh = copy_of(optimizer)
        pairs = list(_pairs(optimizer, fresh))
        made = [_Build(old, new, changes) for old, new in pairs]
        with ExitStack() as stack:
            for one in made:
                stack.enter_context(one.hooked())
            fresh.build(variables)
        for one in made:
            one.carry()
        found = [Rebuilt(one.old, one.attributes()) for one in made]
    found[0].after[KNOWN] = wanted
    return found


def let_go(optimizers: Iterable[Any]) -> None:
    """End the hold on slots that are handed to a copy while it is built."""
    for optimizer in optimizers:
        for slot in optimizer.variables:
            slot.__dict__.pop("assign", None)


def _pairs(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    yield old, new
    for inner in zip(inner_optimizers(old), inner_optimizers(new), strict=True):
        yield from _pairs(*inner)


class _Build:
    """One optimizer and its copy, while that is built."""

    def __init__(self, old: Any, new: Any, changes: Sequence[PlanChange]) -> None:
        self.old, self.new, self.changes = old, new, changes
        self.change_of = {id(tracked(change.variable)[0]): change for change in changes}
        listed = _keras.optimized(old)
        self.places = {id(variable): place for place, variable in enumerate(listed)}
        self.parallel = {
            name: value
            for name, value in vars(old).items()
            if name not in _keras.BUILT and _is_parallel(value, len(listed))
        }
        self.slots: list[tuple[Any, Any, PlanChange]] = []
        self.kept: dict[int, Any] = {}
        self.before = {name: (value, _content(value)) for name, value in vars(new).items()}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """While the copy is built, it is handed the slots that stay, and writes to none of them."""
        asked = ("assign", "assign_add", "assign_sub")
        hooks: dict[str, Any] = {name: self._sparing(getattr(self.new, name)) for name in asked}
        make = self.new.add_variable_from_reference
        hooks["add_variable_from_reference"] = lambda reference_variable, *args, **kwargs: (
            self._slot(make, reference_variable, *args, **kwargs)
        )
        self.new.__dict__.update(hooks)
        try:
            yield
        finally:
            let_go([self.old])
            for name in hooks:
                del self.new.__dict__[name]

    def _slot(
        self, make: Callable[..., Any], reference: Any, name: Any = None, initializer: Any = "zeros"
    ) -> Any:
        change = self.change_of.get(id(reference))
        before = reference if change is None else change.listed[0]
        place = self.places.get(id(before))
        found = None if place is None else self._find(place, _keras.slot_name(reference, name))
        if found is None or change is not None:
            slot = make(reference, name=name, initializer=initializer)
            if found is not None and change is not None:
                self.slots.append((slot, found, change))
            return slot
        self._keep(found)
        _keras.track_slot(self.new, found)
        return found

    def _find(self, place: int, name: str) -> Any:
        """The slot of the variable at a place that has this name: two may have one path."""
        for values in self.parallel.values():
            if getattr(values[place], "name", None) == name:
                return values[place]
        named = [slot for slot in _keras.slots(self.old) if slot.name == name]
        return named[0] if len(named) == 1 else None

    def _keep(self, slot: Any) -> None:
        # Some optimizers begin a slot with the weight. On the object, since it is only for now.
        self.kept[id(slot)] = slot
        slot.__dict__["assign"] = lambda value: value

    def _sparing(self, assign: Callable[..., Any]) -> Callable[..., Any]:
        def spare(variable: Any, value: Any) -> None:
            if id(variable) not in self.kept:
                assign(variable, value)

        return spare

    def carry(self) -> None:
        """Fill the slots of what has changed from those that it had."""
        for variable, average in _keras.averages([self.new]):
            if id(average) not in self.kept or not backend.is_alive(average):
                # Made as zeros, which only the very first step of all replaces by the weight. A
                # copy, since JAX takes the memory of both away in one step. One whose memory is
                # gone was the weight's: Keras gave the model the averages when `fit` ended.
                average.assign(ops.copy(variable))
        for slot, source, change in self.slots:
            before, after = change.listed[0], tracked(change.variable)[0]
            if not backend.is_alive(source):
                continue
            if (source.shape, slot.shape) == (before.shape, after.shape):
                slot.assign(_carried(change, backend.read(source), backend.read(slot)))
            elif source.shape == slot.shape:
                slot.assign(source)

    def attributes(self) -> dict[str, Any]:
        """What the optimizer is to hold: what its copy built, and all else of its own."""
        self._adopt()
        found = dict(vars(self.old))
        new = vars(self.new)
        for name in _keras.BUILT:
            found[name] = new[name]
        for name, value in new.items():
            if isinstance(value, _CONTAINERS) and self._was_built(name, value):
                found[name] = value
            else:
                found.setdefault(name, value)
        if not self.new.built:
            for name in [name for name, value in found.items() if _holds_slots(value)]:
                if name not in new:
                    del found[name]
        joined = [*known(self.old), *map(original, _keras.optimized(self.new))]
        found[KNOWN] = list({id(variable): variable for variable in joined}.values())
        return {**found, **_exclusions(found, self.changes)}

    def _was_built(self, name: str, value: Any) -> bool:
        was = self.before.get(name)
        if was is not None and was[0] is value and was[1] == _content(value):
            return False
        # What the optimizer has noted since in a list that begins as an empty one is its own.
        return bool(value) or _holds_slots(vars(self.old).get(name, value))

    def _adopt(self) -> None:
        """Put what the optimizer keeps in the place of what its copy made of that."""
        order, taken = list(_keras.slots(self.new)), {}
        self._adopt_unreferenced(taken)
        for name, value in list(vars(self.new).items()):
            if name in _keras.BUILT:
                continue
            kept = vars(self.old).get(name)
            if isinstance(value, keras.Variable) and kept is not None:
                taken[id(value)] = kept if isinstance(kept, keras.Variable) else None
                setattr(self.new, name, kept)
            elif isinstance(value, keras.optimizers.Optimizer) and kept is not None:
                setattr(self.new, name, kept)
            elif name == _keras.INNER and kept is not None:
                setattr(self.new, name, [*kept, *value[len(kept) :]])
        order = [taken.get(id(slot), slot) for slot in order]
        order += [v for v in vars(self.old).values() if isinstance(v, keras.Variable)]
        slots = {id(slot): slot for slot in order if slot is not None}
        _keras.set_slots(self.new, list(slots.values()))

    def _adopt_unreferenced(self, taken: dict[int, Any]) -> None:
        """Keep the slots too that were not made from a reference, as the factors of Adafactor."""
        listed = _keras.optimized(self.new)
        for name, were in self.parallel.items():
            values = vars(self.new).get(name)
            if values is None or not _is_parallel(values, len(listed)):
                continue
            kept = list(values)
            for i, variable in enumerate(listed):
                place = self.places.get(id(variable))
                same = place is not None and id(variable) not in self.change_of
                if same and values[i] is not None and were[place] is not None:
                    kept[i] = taken[id(values[i])] = were[place]
            if any(a is not b for a, b in zip(kept, values, strict=True)):
                setattr(self.new, name, kept)


def _content(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: id(one) for key, one in value.items()}
    return [id(one) for one in value] if isinstance(value, _CONTAINERS) else None


def _is_parallel(value: Any, length: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == length
        and all(one is None or isinstance(one, keras.Variable) for one in value)
    )


def _holds_slots(value: Any) -> bool:
    held = value.values() if isinstance(value, dict) else value
    return isinstance(value, _CONTAINERS) and any(isinstance(v, keras.Variable) for v in held)


def _exclusions(found: Mapping[str, Any], changes: Sequence[PlanChange]) -> dict[str, Any]:
    """What `exclude_from_weight_decay` was told of a weight holds for its trainable part."""
    if _keras.EXCLUSIONS not in found:
        return {_keras.EXCLUSIONS_CACHE: {}}
    told = found[_keras.EXCLUSIONS]
    keys = {_keras.variable_key(tracked(c.variable)[0]) for c in changes if c.key in told}
    return {_keras.EXCLUSIONS: {*told, *keys}, _keras.EXCLUSIONS_CACHE: {}}


def _carried(change: PlanChange, slot: Any, new: Any) -> Any:
    """A slot of the old trainable part, for the new one; thawed entries keep what `new` has."""
    before, after = _splitting(change.before), _splitting(change.after)
    whole = slot
    if before is not None:
        start = new if after is None else split.scatter_trainable(after, new)
        whole = split.merge(before, slot, split.take_frozen(before, start))
    return whole if after is None else split.take_trainable(after, whole)


def _splitting(plan: Plan | None) -> SplitPlan | None:
    # A wholly frozen variable has slots only where somebody built an optimizer for it by hand.
    return None if isinstance(plan, WholePlan) else plan
