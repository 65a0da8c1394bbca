"""Build the slots of an optimizer for another list of variables, and exchange them in one step.

A Keras optimizer makes its slots once, for a fixed list of variables, through
`add_variable_from_reference`. A copy, made from its config, is built for the new list. If the copy
asks for the slot of an unchanged weight, it gets the existing one. The optimizer then takes over
the lists and dictionaries of slots from the copy, and keeps everything else, such as its counters
and its learning rate. So this works for any optimizer, without a list of its attributes, and its
cost depends only on what changes.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from frostline import _keras
from frostline._arrays.plan import WholePlan
from frostline._backends.current import backend
from frostline._errors import UnsupportedError
from frostline._freezing.change import PlanChange
from frostline._freezing.containers import CONTAINERS, content, flat, holds
from frostline._freezing.copies import KNOWN, all_inside, copy_of, known, original
from frostline._freezing.replay import Owned, handed, keep, refusal, replayed
from frostline._weights import split
from frostline._weights.view import tracked


@dataclass(eq=False)
class Rebuilt:
    """An optimizer and its new attributes."""

    optimizer: Any
    after: dict[str, Any]
    before: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.optimizer.__dict__

    def put_in(self) -> None:
        """Give the optimizer its new attributes, all in one step."""
        object.__setattr__(self.optimizer, "__dict__", self.after)

    def take_out(self) -> None:
        """Give it back the old attributes, the same objects."""
        object.__setattr__(self.optimizer, "__dict__", self.before)


def rebuilt(
    optimizer: Any,
    variables: list[Any],
    wanted: list[Any],
    changes: Sequence[PlanChange],
    owned: Owned,
) -> list[Rebuilt]:
    """New attributes for an optimizer and those inside it, for another list of variables.

    The optimizers themselves do not change yet.

    Args:
        optimizer: A built optimizer.
        variables: The variables that it will train.
        wanted: The new result of `known`: these, and variables that are wholly frozen now.
        changes: The changes, which are already applied to the variables.
        owned: The result of `slots_by_reference`.

    Raises:
        UnsupportedError: It cannot be copied from its config.
    """
    # The first variable of an optimizer is its step count, which is placed like its slots.
    with backend.creating(optimizer.variables[0]):
        fresh = copy_of(optimizer)
        pairs = zip(all_inside(optimizer), all_inside(fresh), strict=True)
        made = [
            _Build(old, new, changes, owned[id(old)] if id(old) in owned else replayed(old))
            for old, new in pairs
        ]
        with ExitStack() as stack:
            for one in made:
                stack.enter_context(one.hooked())
            fresh.build(variables)
        found = [Rebuilt(one.old, one.attributes()) for one in made]
    found[0].after[KNOWN] = wanted
    return found


class _Build:
    """An optimizer and its copy, while the copy is built."""

    def __init__(
        self, old: Any, new: Any, changes: Sequence[PlanChange], were: dict[Any, Any]
    ) -> None:
        self.old, self.new, self.changes = old, new, changes
        self.were = were  # the slots of the optimizer, as returned by `replayed`
        self.whose = {id(slot) for slot in were.values()}
        self.change_of = {id(tracked(change.variable)[0]): change for change in changes}
        self.places = {id(one): place for place, one in enumerate(_keras.optimized(old))}
        self.before = {name: (value, content(value)) for name, value in vars(new).items()}
        self.carried: list[tuple[Any, Any, PlanChange]] = []  # new slot, old slot, change
        self.made: dict[int, Any] = {}
        self.kept: dict[int, Any] = {}
        self._asked: Counter[Any] = Counter()

    @functools.cached_property
    def _going(self) -> set[int]:
        """The ids of slots of changed variables that were made without a reference."""
        going = {self.places.get(id(change.listed[0])) for change in self.changes}
        return {
            id(one)
            for value in vars(self.old).values()
            if isinstance(value, list | tuple) and len(value) == len(self.places)
            for place, one in enumerate(value)
            if place in going
        }

    def hooked(self) -> AbstractContextManager[None]:
        """Inside the block, the copy gets the slots that stay, and cannot write to them."""
        make = self.new.add_variable_from_reference

        def slot(reference_variable: Any, name: Any = None, initializer: Any = "zeros") -> Any:
            change = self.change_of.get(id(reference_variable))
            before = reference_variable if change is None else change.listed[0]
            key = (id(before), name)
            found = self.were.get((*key, self._asked[key]))
            self._asked[key] += 1
            if found is not None and change is None:
                keep(found, self.kept)
                _keras.track_slot(self.new, found)
                return found
            made = make(reference_variable, name=name, initializer=initializer)
            self.made[id(made)] = made
            if found is not None and change is not None:
                self.carried.append((made, found, change))
            return made

        return handed(self.old, self.new, slot, self.kept)

    def attributes(self) -> dict[str, Any]:
        """The new attributes: what the copy built, and everything else of the optimizer."""
        self._adopt()
        self._carry()
        new, found = vars(self.new), dict(vars(self.old))
        for name, value in vars(self.old).items():
            variables = [id(one) for one in flat(value)]
            mine = not self.whose.isdisjoint(variables) or (variables and not self.new.built)
            if name not in new and mine:
                del found[name]
        for name, value in new.items():
            if name in _keras.BUILT or self._is_slot(value) or self._was_built(name, value):
                found[name] = value
            else:
                found.setdefault(name, value)
        self._check(found)
        joined = [*known(self.old), *map(original, _keras.optimized(self.new))]
        found[KNOWN] = list({id(variable): variable for variable in joined}.values())
        return {**found, **_exclusions(found, self.changes)}

    def _is_slot(self, value: Any) -> bool:
        return id(value) in self.made or id(value) in self.kept

    def _was_built(self, name: str, value: Any) -> bool:
        was = self.before.get(name)
        same = was is not None and was[0] is value and was[1] == content(value)
        if same or not isinstance(value, CONTAINERS):
            return False
        # If the list is empty in the copy, the optimizer keeps its own content.
        return bool(value) or holds(vars(self.old).get(name))

    def _adopt(self) -> None:
        """Replace what the copy made by what the optimizer keeps."""
        order, taken, given_up = list(_keras.slots(self.new)), {}, set()
        for name, value in list(vars(self.new).items()):
            kept = vars(self.old).get(name)
            if name in _keras.BUILT or kept is None or self._is_slot(value):
                continue
            if isinstance(value, keras.Variable) and not isinstance(kept, keras.Variable):
                given_up.add(id(value))  # the dummy rate of the copy, instead of a schedule
                setattr(self.new, name, kept)
            elif isinstance(value, keras.Variable):
                if len(value.shape) and name not in self.before:
                    raise UnsupportedError(self._refusal(f"one variable {name} for all weights"))
                taken[id(value)] = kept
                setattr(self.new, name, kept)
            elif isinstance(value, keras.optimizers.Optimizer):
                setattr(self.new, name, kept)
            elif name == _keras.INNER:
                setattr(self.new, name, [*kept, *value[len(kept) :]])
            elif self._was_built(name, value) and not name.startswith(_keras.TRACKABLE):
                setattr(self.new, name, self._with_kept(value, kept, taken))
        order = [taken.get(id(slot), slot) for slot in order if id(slot) not in given_up]
        order += [v for v in vars(self.old).values() if isinstance(v, keras.Variable)]
        order = [slot for slot in order if self._is_slot(slot) or id(slot) not in self.whose]
        _keras.set_slots(self.new, list({id(slot): slot for slot in order}.values()))

    def _with_kept(self, value: Any, kept: Any, taken: dict[int, Any]) -> Any:
        """What the copy built, but with the optimizer's own entries that are not slots."""
        listed = _keras.optimized(self.new)
        if isinstance(value, dict) and isinstance(kept, dict):
            changed = {key for v in listed if id(v) in self.change_of for key in _keys(v)}
            return {
                key: kept[key] if key in kept and key not in changed and not holds(one) else one
                for key, one in value.items()
            }
        both = isinstance(value, list | tuple) and isinstance(kept, list | tuple)
        if not both or (len(value), len(kept)) != (len(listed), len(self.places)):
            return value
        mixed = list(value)
        for i, variable in enumerate(listed):
            change = self.change_of.get(id(variable))
            before = variable if change is None else change.listed[0]
            was = kept[self.places[id(before)]] if id(before) in self.places else None
            if was is None or self._is_slot(value[i]) or content(value[i]):
                continue
            shape = tuple(getattr(was, "shape", ()))
            if change is None:
                taken[id(value[i])] = mixed[i] = was
            elif isinstance(was, keras.Variable):
                # Muon may have no such slot for the weight now.
                if shape == tuple(before.shape) and value[i] is not None:
                    self.carried.append((value[i], was, change))
            elif shape and shape == tuple(before.shape):
                raise UnsupportedError(self._refusal(f"a {type(was).__name__} for each weight"))
        return type(value)(mixed) if isinstance(value, tuple) else mixed

    def _carry(self) -> None:
        """Fill the slots of changed variables from their old slots."""
        for variable, average in _keras.averages(self.new):
            if id(average) not in self.kept or not backend.is_alive(average):
                # New averages are zeros, which Keras replaces by the weight only in the very first
                # step. Copied, because a step on JAX takes the memory of both. An average whose
                # memory is gone became the weight: Keras does that when `fit` ends.
                average.assign(ops.copy(variable))
        for slot, source, change in self.carried:
            before, after = change.listed[0], tracked(change.variable)[0]
            if not backend.is_alive(source):
                continue
            if (source.shape, slot.shape) == (before.shape, after.shape):
                slot.assign(_carried(change, backend.read(source), backend.read(slot)))
            elif source.shape == slot.shape:
                slot.assign(source)

    def _check(self, found: dict[str, Any]) -> None:
        """Raise an error if the optimizer would lose a slot, or not find one."""
        going = {id(change.listed[0]) for change in self.changes}
        there = {id(slot) for slot in found[_keras.SLOTS]}
        there |= {id(slot) for key, slot in self.were.items() if key[0] in going}
        for slot in _keras.slots(self.old):
            # Slots made without a reference, such as the factors of Adafactor, have no name.
            if id(slot) not in there and id(slot) not in self._going:
                raise UnsupportedError(self._refusal(f"a slot {slot.name} of its own making"))
        attributes = [
            value
            for name, value in found.items()
            if name not in _keras.BUILT and not name.startswith(_keras.TRACKABLE)
        ]
        held = {id(slot) for value in attributes for slot in flat(value)}
        for slot in (*self.made.values(), *self.kept.values()):
            if id(slot) not in held:
                raise UnsupportedError(self._refusal(f"{slot.name} in an object of its own"))

    def _refusal(self, got: str) -> str:
        return refusal(self.old, got)


def _keys(variable: Any) -> tuple[Any, Any]:
    return variable.path, _keras.variable_key(variable)


def _exclusions(found: Mapping[str, Any], changes: Sequence[PlanChange]) -> dict[str, Any]:
    """Apply the exclusions from weight decay of changed weights to their trainable parts."""
    if _keras.EXCLUSIONS not in found:
        return {_keras.EXCLUSIONS_CACHE: {}} if _keras.EXCLUSIONS_CACHE in found else {}
    excluded = found[_keras.EXCLUSIONS]
    keys = {_keras.variable_key(tracked(c.variable)[0]) for c in changes if c.key in excluded}
    return {_keras.EXCLUSIONS: {*excluded, *keys}, _keras.EXCLUSIONS_CACHE: {}}


def _carried(change: PlanChange, slot: Any, new: Any) -> Any:
    """The old slot, for the new trainable part; unfrozen entries keep the values of `new`."""
    # A wholly frozen variable has slots only if a user built an optimizer for it.
    before = None if isinstance(change.before, WholePlan) else change.before
    after = change.split
    whole = slot
    if before is not None:
        start = new if after is None else split.scatter_trainable(after, new)
        whole = split.merge(before, slot, split.take_frozen(before, start))
    return whole if after is None else split.take_trainable(after, whole)
