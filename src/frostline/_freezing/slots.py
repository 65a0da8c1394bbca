"""The slots of one optimizer for another list of variables, made beside it and put in at once.

A Keras optimizer makes its slots once, for a fixed list of variables, through
`add_variable_from_reference`. A copy of it, made from its config, is built for the new list; where
it asks for the slot of a weight that has not changed it is handed the one that is there. What the
copy then holds in lists and dictionaries is what the optimizer itself is to hold; all else, its
counters and its learning rate among it, it keeps. So this works for any optimizer, without a list
of its attributes, and costs what changes.
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
    optimizer: Any,
    variables: list[Any],
    wanted: list[Any],
    changes: Sequence[PlanChange],
    owned: Owned,
) -> list[Rebuilt]:
    """An optimizer for another list, and the optimizers inside it for their parts of that.

    Nothing that is in use changes.

    Args:
        optimizer: A built one.
        variables: What it is to train.
        wanted: What it is to know, see `known`: the same, and what is wholly frozen for now.
        changes: What has changed, and is divided already.
        owned: What `slots_by_reference` gave.

    Raises:
        UnsupportedError: It can not be made again from its config.
    """
    # The first variable of an optimizer counts its steps, and lives where its slots do.
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
    """One optimizer and its copy, while that is built."""

    def __init__(
        self, old: Any, new: Any, changes: Sequence[PlanChange], were: dict[Any, Any]
    ) -> None:
        self.old, self.new, self.changes = old, new, changes
        self.were = were  # the slots of the optimizer, by what asked for them
        self.whose = {id(slot) for slot in were.values()}
        self.change_of = {id(tracked(change.variable)[0]): change for change in changes}
        self.places = {id(one): place for place, one in enumerate(_keras.optimized(old))}
        self.before = {name: (value, content(value)) for name, value in vars(new).items()}
        self.carried: list[tuple[Any, Any, PlanChange]] = []  # slot, the one it was, why
        self.made: dict[int, Any] = {}
        self.kept: dict[int, Any] = {}
        self._asked: Counter[Any] = Counter()

    @functools.cached_property
    def _going(self) -> set[int]:
        """The ids of the slots of what changes that were made without a reference."""
        going = {self.places.get(id(change.listed[0])) for change in self.changes}
        return {
            id(one)
            for value in vars(self.old).values()
            if isinstance(value, list | tuple) and len(value) == len(self.places)
            for place, one in enumerate(value)
            if place in going
        }

    def hooked(self) -> AbstractContextManager[None]:
        """While the copy is built, it is handed the slots that stay, and writes to none of them."""
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
        """What the optimizer is to hold: what its copy built, and all else of its own."""
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
        # What the optimizer has noted since in a list that begins as an empty one is its own.
        return bool(value) or holds(vars(self.old).get(name))

    def _adopt(self) -> None:
        """Put what the optimizer keeps in the place of what its copy made of that."""
        order, taken, given_up = list(_keras.slots(self.new)), {}, set()
        for name, value in list(vars(self.new).items()):
            kept = vars(self.old).get(name)
            if name in _keras.BUILT or kept is None or self._is_slot(value):
                continue
            if isinstance(value, keras.Variable) and not isinstance(kept, keras.Variable):
                given_up.add(id(value))  # the rate of the copy, in the place of a schedule
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
        """What the copy built, with what was not asked for as a slot as the optimizer has it."""
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
                # Muon has no such slot for a weight that it treats in another way now.
                if shape == tuple(before.shape) and value[i] is not None:
                    self.carried.append((value[i], was, change))
            elif shape and shape == tuple(before.shape):
                raise UnsupportedError(self._refusal(f"a {type(was).__name__} for each weight"))
        return type(value)(mixed) if isinstance(value, tuple) else mixed

    def _carry(self) -> None:
        """Fill the slots of what has changed from those that it had."""
        for variable, average in _keras.averages(self.new):
            if id(average) not in self.kept or not backend.is_alive(average):
                # Made as zeros, which only the very first step of all replaces by the weight. A
                # copy, since JAX takes the memory of both away in one step. One whose memory is
                # gone was the weight's: Keras gave the model the averages when `fit` ended.
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
        """The error for an optimizer that would lose a slot, or not find one."""
        going = {id(change.listed[0]) for change in self.changes}
        there = {id(slot) for slot in found[_keras.SLOTS]}
        there |= {id(slot) for key, slot in self.were.items() if key[0] in going}
        for slot in _keras.slots(self.old):
            # One that was made without a reference, as the factors of Adafactor, has no name.
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
    """What `exclude_from_weight_decay` was told of a weight holds for its trainable part."""
    if _keras.EXCLUSIONS not in found:
        return {_keras.EXCLUSIONS_CACHE: {}} if _keras.EXCLUSIONS_CACHE in found else {}
    told = found[_keras.EXCLUSIONS]
    keys = {_keras.variable_key(tracked(c.variable)[0]) for c in changes if c.key in told}
    return {_keras.EXCLUSIONS: {*told, *keys}, _keras.EXCLUSIONS_CACHE: {}}


def _carried(change: PlanChange, slot: Any, new: Any) -> Any:
    """A slot of the old trainable part, for the new one; thawed entries keep what `new` has."""
    # A wholly frozen variable has slots only where somebody built an optimizer for it by hand.
    before = None if isinstance(change.before, WholePlan) else change.before
    after = change.split
    whole = slot
    if before is not None:
        start = new if after is None else split.scatter_trainable(after, new)
        whole = split.merge(before, slot, split.take_frozen(before, start))
    return whole if after is None else split.take_trainable(after, whole)
