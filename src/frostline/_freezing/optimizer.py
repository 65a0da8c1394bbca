"""Optimizers after a change of what trains: the same object, slots kept where entries still train.

A Keras optimizer makes its slots once, for a fixed list of variables. When that list changes a
fresh optimizer of the same config is built on the new one, the old state is carried over by the
names that `add_variable_from_reference` documents (`{path}_{slot}`), and the old object takes the
place of the fresh one. So this holds for any optimizer, without a list of its attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from frostline import _keras
from frostline._arrays.plan import Plan, SplitPlan, WholePlan
from frostline._backends.current import backend
from frostline._errors import UnsupportedError
from frostline._freezing.change import PlanChange
from frostline._weights import split
from frostline._weights.view import tracked

_STAGES = ("train", "test", "predict")


def follow(
    models: Sequence[keras.Model], changes: Sequence[PlanChange], optimizers: Sequence[Any]
) -> None:
    """Bring those of `optimizers` and compiled steps up to date that know a moved variable."""
    wanted: dict[int, tuple[Any, list[Any]]] = {}
    for model in models:
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and optimizer.built:
            wanted[id(optimizer)] = (optimizer, list(model.trainable_variables))
    for optimizer in optimizers:
        variables = _replaced(_keras.optimized(optimizer), changes)
        if variables is not None and id(optimizer) not in wanted:
            wanted[id(optimizer)] = (optimizer, variables)
    inner = {id(one) for optimizer, _ in wanted.values() for one in _inner(optimizer)}
    fresh = [
        (optimizer, _rebuilt(optimizer, variables, changes))
        for optimizer, variables in wanted.values()
        if id(optimizer) not in inner
    ]
    for optimizer, state in fresh:
        optimizer.__dict__.clear()
        optimizer.__dict__.update(state)
    for model in models:
        remake_steps(model)


def remake_steps(model: Any) -> None:
    """Let go of all that was compiled for what trained before."""
    for stage in _STAGES:
        if getattr(model, f"{stage}_function", None) is not None:
            getattr(model, f"make_{stage}_function")(force=True)
    # What other libraries keep in the same way, as KerasHub does `generate_function`, they make
    # when it is missing.
    for name in [name for name in vars(model) if name.endswith("_function")]:
        kept = name.removesuffix("_function") not in _STAGES and vars(model)[name] is not None
        if kept and hasattr(model, f"make_{name}"):
            setattr(model, name, None)


def slots_per_weight(optimizer: Any) -> int | None:
    """How many values an optimizer keeps for each trained one, read off tiny variables.

    None where that depends on more than how many are trained: on the shape (Adafactor), on the
    shape and the name (Muon), on the path (MultiOptimizer).
    """
    if getattr(optimizer, "optimizers", None):
        return None
    fresh = _copy(optimizer)
    probes = {(2,): "probe", (3, 4): "probe", (5, 6): "embeddings"}
    fresh.build([keras.Variable(ops.zeros(shape), name=name) for shape, name in probes.items()])
    shapes = [shape for slot in fresh.variables if (shape := tuple(slot.shape))]
    counts = {shapes.count(probe) for probe in probes}
    return counts.pop() if len(counts) == 1 and set(shapes) <= set(probes) else None


def _replaced(variables: Sequence[Any], changes: Sequence[PlanChange]) -> list[Any] | None:
    """`variables` with moved ones in the place of what they were, None where there is none."""
    after = {
        id(change.listed[0]): [v for v in tracked(change.variable) if v.trainable]
        for change in changes
    }
    if not any(id(variable) in after for variable in variables):
        return None
    return [new for old in variables for new in after.get(id(old), [old])]


def _inner(optimizer: Any) -> list[Any]:
    """The optimizers inside one: of a loss scale, or for groups of variables."""
    single = getattr(optimizer, "inner_optimizer", None)
    return [single] if single is not None else list(getattr(optimizer, "optimizers", ()))


def _rebuilt(optimizer: Any, variables: list[Any], changes: Sequence[PlanChange]) -> dict[str, Any]:
    fresh = _copy(optimizer)
    fresh.build(variables)
    for variable, average in _keras.averages([fresh, *_inner(fresh)]):
        # Made as zeros, which only the very first step of all replaces by the weight. A copy, since
        # JAX takes the memory of both away in one step.
        average.assign(ops.copy(variable))
    old: dict[str, list[Any]] = {}
    for slot in optimizer.variables:
        old.setdefault(slot.name, []).append(slot)
    for slot in fresh.variables:
        _carry_slot(slot, old, changes)
    for before, after in zip([optimizer, *_inner(optimizer)], [fresh, *_inner(fresh)], strict=True):
        _carry_attributes(before, after, changes)
    return dict(fresh.__dict__)


def _carry_slot(slot: Any, old: dict[str, list[Any]], changes: Sequence[PlanChange]) -> None:
    source = old.get(slot.name)
    if not source:
        return
    for change in changes:
        before, after = change.listed[0], tracked(change.variable)[0]
        shapes = tuple(source[0].shape), tuple(slot.shape)
        of_it = slot.name.startswith(change.variable.path.replace("/", "_") + "_")
        if of_it and shapes == (tuple(before.shape), tuple(after.shape)):
            slot.assign(_carried(change, backend.read(source.pop(0)), backend.read(slot)))
            return
    # Two variables may share a path; their slots come in the same order in both.
    if tuple(source[0].shape) == tuple(slot.shape):
        slot.assign(source.pop(0))


def _carried(change: PlanChange, slot: Any, new: Any) -> Any:
    """A slot of the old trainable part, for the new one; thawed entries keep what `new` has."""
    before, after = _splitting(change.before), _splitting(change.after)
    whole = slot
    if before is not None:
        start = new if after is None else split.scatter_trainable(after, new)
        whole = split.merge(before, slot, split.take_frozen(before, start))
    return whole if after is None else split.take_trainable(after, whole)


def _splitting(plan: Plan | None) -> SplitPlan | None:
    if isinstance(plan, WholePlan):
        raise TypeError("a wholly frozen variable has no slots")
    return plan


def _carry_attributes(before: Any, after: Any, changes: Sequence[PlanChange]) -> None:
    """State that no list of variables and no config holds."""
    for name, value in before.__dict__.items():
        if name == _keras.EXCLUSIONS_CACHE:
            continue
        if name == _keras.EXCLUSIONS:
            after.__dict__[name] = set(value) | {
                _keras.variable_key(tracked(change.variable)[0])
                for change in changes
                if change.key in value
            }
        elif name not in after.__dict__:
            after.__dict__[name] = value
        elif isinstance(value, keras.Variable):
            counterpart = after.__dict__[name]
            if isinstance(counterpart, keras.Variable) and counterpart.shape == value.shape:
                counterpart.assign(value)


def _copy(optimizer: Any) -> Any:
    try:
        return type(optimizer).from_config(optimizer.get_config())
    except Exception as error:
        raise UnsupportedError(
            f"{optimizer.name}: this optimizer can not be made again from its config, so its "
            f"slots can not follow the freeze; got optimizer={type(optimizer).__name__}. "
            "Freeze before it is built, or call `model.compile(...)` with a new one first."
        ) from error
