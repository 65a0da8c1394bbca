"""Update optimizers and compiled steps after a change of what trains; they stay the same objects.

Each optimizer keeps the list of variables it was built for, in order, whatever a model lists now:
two models may share a layer and be compiled with different `trainable` flags. Changed variables are
exchanged in this list, and variables that were frozen whole get back their place.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from frostline import _keras
from frostline._arrays.plan import WholePlan
from frostline._freezing.change import PlanChange
from frostline._freezing.copies import copy_of, known, original
from frostline._freezing.replay import Owned, let_go
from frostline._freezing.slots import Rebuilt, rebuilt
from frostline._weights.tree import Layer, unique, walk
from frostline._weights.view import plan_of, tracked

_STAGES = ("train", "test", "predict")
_HIDDEN = "_frostline_hidden_from"


@contextmanager
def followed(
    layers: Sequence[Layer],
    changes: Sequence[PlanChange],
    optimizers: Sequence[Any],
    owned: Owned,
) -> Iterator[None]:
    """Update optimizers and compiled steps after changes; after a failure all are restored.

    Args:
        layers: All layers that contain changed variables, including models.
        changes: The changes, which are already applied to the variables.
        optimizers: Every built optimizer that is not inside another.
        owned: The result of `slots_by_reference` from before the changes.
    """
    siblings = Siblings(layers, changes)
    made: list[Rebuilt] = []
    try:
        for optimizer in optimizers:
            made += _exchanged(optimizer, siblings, changes, owned)
        for change in changes:
            if isinstance(change.after, WholePlan):
                note_hidden(change.variable, optimizers)
        for one in made:
            one.put_in()
        with steps_remade([layer for layer in layers if isinstance(layer, keras.Model)]):
            yield
    except BaseException:
        for one in made:
            one.take_out()
        let_go(optimizers)
        raise


@contextmanager
def steps_remade(models: Iterable[Any]) -> Iterator[None]:
    """Drop compiled steps, so that they are made again; after a failure they are restored.

    Args:
        models: The models whose steps are dropped.
    """
    before: list[tuple[Any, dict[str, Any]]] = []
    try:
        for model in models:
            before.append((model, compiled_steps(model)))
            _remake(model)
        yield
    except BaseException:
        for model, steps in before:
            vars(model).update(steps)
        raise


def _remake(model: Any) -> None:
    for stage in _STAGES:
        if getattr(model, f"{stage}_function", None) is not None:
            getattr(model, f"make_{stage}_function")(force=True)
    # Other libraries have similar functions, such as `generate_function` in KerasHub, and make
    # them if they are missing.
    for name, kept in compiled_steps(model).items():
        other = name.removesuffix("_function") not in _STAGES and kept is not None
        if other and hasattr(model, f"make_{name}"):
            setattr(model, name, None)


def compiled_steps(model: Any) -> dict[str, Any]:
    """The functions of a model that are compiled for its variables, by attribute."""
    return {name: value for name, value in vars(model).items() if name.endswith("_function")}


def slots_per_weight(optimizer: Any) -> int | None:
    """The number of slot values for each trained value, found by building a copy on tiny variables.

    None if it depends on more than the number of trained values: on the shape (Adafactor), on the
    shape and the name (Muon), or on the path (MultiOptimizer).
    """
    if getattr(optimizer, "optimizers", None):
        return None
    fresh = copy_of(optimizer)
    probes = {(2,): "probe", (3, 4): "probe", (5, 6): "embeddings"}
    fresh.build([keras.Variable(ops.zeros(shape), name=name) for shape, name in probes.items()])
    shapes = [shape for slot in fresh.variables if (shape := tuple(slot.shape))]
    counts = {shapes.count(probe) for probe in probes}
    return counts.pop() if len(counts) == 1 and set(shapes) <= set(probes) else None


def _exchanged(
    optimizer: Any, siblings: Siblings, changes: Sequence[PlanChange], owned: Owned
) -> list[Rebuilt]:
    """New attributes for an optimizer and those inside it, for its list with changes applied."""
    listed = {id(original(variable)): variable for variable in _keras.optimized(optimizer)}
    changed = {id(change.variable): change for change in changes}
    wanted = known(optimizer)
    there = {id(variable) for variable in wanted}
    back = [
        change.variable
        for change in changes
        if isinstance(change.before, WholePlan) and id(change.variable) not in there
    ]
    if back:
        wanted = siblings.taken_in(optimizer, wanted, back)
    if not any(id(variable) in changed for variable in wanted):
        return []
    variables = []
    for variable in wanted:
        if id(variable) not in changed:
            variables += [listed[id(variable)]] if id(variable) in listed else []
        elif not isinstance(changed[id(variable)].after, WholePlan):
            variables.append(tracked(variable)[0])
    return rebuilt(optimizer, variables, wanted, changes, owned)


class Siblings:
    """The siblings of weights, by which an optimizer gets weights that were frozen at its build."""

    def __init__(self, layers: Sequence[Layer], changes: Sequence[PlanChange]) -> None:
        self._layers = layers
        self._before = {id(change.variable): change.before for change in changes}

    @functools.cached_property
    def _ways(self) -> list[list[Any]]:
        """For each layer, all weights in it, the smallest layers first."""
        ways = [[weight.variable for weight in unique(walk(layer))] for layer in self._layers]
        return sorted(ways, key=len)

    def taken_in(
        self, optimizer: Any, wanted: Sequence[Any], variables: Iterable[Any]
    ) -> list[Any]:
        """The list of an optimizer with variables added that were wholly frozen at its build.

        Otherwise it would have been built with each of them and its siblings: the weights of its
        own layer, or else of a layer around it, with the same `trainable`. If the optimizer has all
        siblings, the variable is added between them. It is not added if the optimizer lacks some,
        or was built before the freeze without the variable.
        """
        order = _Order(wanted)
        left = [one for one in variables if optimizer not in vars(one).get(_HIDDEN, ())]
        left = {id(one): one for one in left}
        for way in self._ways:
            here = [one for one in way if id(one) in left]
            beside = [one for one in way if self._trained_before(one)] if here else []
            there = {
                on: [id(one) in order for one in beside if bool(one.trainable) == on]
                for on in (True, False)
            }
            decided = [one for one in here if there[bool(one.trainable)]]
            for one in decided:
                del left[id(one)]
            order.take_in([one for one in decided if all(there[bool(one.trainable)])], way)
        # If nothing trained, the model's own optimizer was built without variables.
        if any(getattr(layer, "optimizer", None) is optimizer for layer in self._layers):
            for way in reversed(self._ways):
                order.take_in([left.pop(id(one)) for one in way if id(one) in left], way)
        return order.listed()

    def _trained_before(self, variable: Any) -> bool:
        before = self._before.get(id(variable), plan_of(variable))
        return not isinstance(before, WholePlan)


class _Order:
    """A list into which variables are inserted between their siblings."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._first = list(variables)
        self._places = {id(one): place for place, one in enumerate(variables)}
        self._ahead: dict[int, list[Any]] = {}
        self._after: dict[int, list[Any]] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._places

    def take_in(self, variables: Iterable[Any], way: Sequence[Any]) -> None:
        """Insert variables after those before them in `way`, or before those after them."""
        left, last = {id(one) for one in variables}, None
        for at, one in enumerate(way):
            if id(one) in left:
                self._put(one, last, way[at:])
            if id(one) in self._places:
                last = one

    def _put(self, one: Any, last: Any, rest: Sequence[Any]) -> None:
        if last is not None:
            self._after.setdefault(id(last), []).append(one)
            self._places[id(one)] = self._places[id(last)]
            return
        there = [other for other in rest if id(other) in self._places]
        if there:
            first = min(there, key=lambda other: self._places[id(other)])
            self._ahead.setdefault(id(first), []).append(one)
            self._places[id(one)] = self._places[id(first)]
        else:
            self._first.insert(0, one)
            self._places[id(one)] = -1

    def listed(self) -> list[Any]:
        """All variables, in order."""
        found, pending = [], [(one, False) for one in reversed(self._first)]
        while pending:
            one, reached = pending.pop()
            if reached:
                found.append(one)
                continue
            pending += [(other, False) for other in self._after.get(id(one), ())]
            pending.append((one, True))
            pending += [(other, False) for other in reversed(self._ahead.get(id(one), ()))]
        return found


def note_hidden(variable: Any, optimizers: Iterable[Any]) -> None:
    """Record which optimizers exist when a variable becomes wholly frozen.

    Of these, only those that have the variable get it back later. An optimizer that is built while
    the variable is frozen may get it too.
    """
    variable.__dict__[_HIDDEN] = weakref.WeakSet(optimizers)
