"""Turn a layer's variable into a view of its two parts, or into a frozen variable, and back.

`layer.kernel` stays the same object. Only its class changes, to a subclass that is made once for
each class of Keras variables. A wholly frozen variable keeps its storage and never becomes
trainable. A partly frozen variable passes its storage to two variables, and reads and writes them.

Another thread may read a variable while it changes. So attributes that a class needs are set before
the object gets the class, and deleted only after it gets another class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from frostline import _keras
from frostline._arrays.plan import Plan, SplitPlan, WholePlan
from frostline._backends.current import backend
from frostline._weights import held, split
from frostline._weights.given import give, given_value
from frostline._weights.parts import Parts, make_parts, parts_of
from frostline._weights.penalties import WholeConstraint, WholeRegularizer


class FrozenVariable:
    """Mixin: a variable that does not train, whatever `trainable` is set to.

    The value that `trainable` is set to takes effect when the variable is unfrozen.
    """

    @property
    def trainable(self) -> bool:
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)

    def assign(self, value: Any) -> Any:
        """Write the whole variable, but do nothing inside a layer's call: that is training."""
        if _keras.in_call():
            return self.value  # type: ignore[attr-defined]
        return super().assign(value)  # type: ignore[misc]


class View:
    """Mixin: a variable of the full shape that merges its two parts when it is read."""

    _frostline: Parts[SplitPlan]
    _constraint: Any
    _regularizer: Any
    _trainable: bool

    @property
    def value(self) -> Any:
        """The whole weight, cast as Keras casts variables in a mixed-precision call."""
        value = given_value(self)
        if value is not None:
            return value
        value = held.value(self)
        return _merged(self) if value is None else value

    @property
    def _value(self) -> Any:
        # Keras reads a variable's storage through this name, for example in `repr`.
        return self.value

    @property
    def trainable(self) -> bool:
        parts = parts_of(self)
        return self._trainable if parts is None else parts.trainable.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._frostline.trainable.trainable = value

    # If these are set while the weight is divided, they apply to the trainable part.
    @property
    def constraint(self) -> Any:
        return self._constraint

    @constraint.setter
    def constraint(self, value: Any) -> None:
        keras.Variable.constraint.fset(self, value)  # type: ignore[attr-defined]
        self._update_part()

    @property
    def regularizer(self) -> Any:
        return self._regularizer

    @regularizer.setter
    def regularizer(self, value: Any) -> None:
        keras.Variable.regularizer.fset(self, value)  # type: ignore[attr-defined]
        self._update_part()

    def _update_part(self) -> None:
        part = self._frostline.trainable
        part.regularizer = None if self.regularizer is None else WholeRegularizer(self)
        part.constraint = None if self.constraint is None else WholeConstraint(self)

    def assign(self, value: Any) -> Any:
        """Write the whole weight, including the frozen part.

        Inside a layer's call (`SpectralNormalization` does this) the frozen part is not written,
        because that is a way of training.
        """
        shape, dtype = tuple(self.shape), self._frostline.frozen.dtype  # type: ignore[attr-defined]
        value = ops.convert_to_tensor(value, dtype=dtype)
        if tuple(value.shape) != shape:
            raise ValueError(
                "The shape of the target variable and the shape of the target value in "
                f"`variable.assign(value)` must match. variable.shape={shape}, "
                f"Received: value.shape={tuple(value.shape)}. Target variable: {self.path}"  # type: ignore[attr-defined]
            )
        if give(self, value):
            return self.value
        parts = self._frostline
        parts.trainable.assign(split.take_trainable(parts.plan, value))
        parts.frozen.assign(split.take_frozen(parts.plan, value))
        held.renew(self)
        # `value` itself need not be merged again, if all of it was written.
        return self.value if _keras.in_call() else value


# Not methods: another thread may change the class before they are looked up.


def _merged(variable: Any) -> Any:
    parts = _read(variable)
    return variable.value if parts is None else backend.whole(parts, split.merge)


def _read(variable: Any) -> Parts[SplitPlan] | None:
    parts = parts_of(variable)
    if parts is not None and variable.constraint is not None:
        backend.remember(parts.frozen, parts.frozen.value)
    return parts


def plan_of(variable: Any) -> Plan | None:
    """The plan of a variable, None if nothing of it is frozen."""
    parts = parts_of(variable)
    if parts is not None:
        return parts.plan
    if isinstance(variable, FrozenVariable):
        return WholePlan(tuple(variable.shape))  # type: ignore[attr-defined]
    return None


def tracked(variable: Any) -> list[Any]:
    """The variables that a layer lists for `variable`: itself, or its two parts."""
    parts = parts_of(variable)
    return [variable] if parts is None else [parts.trainable, parts.frozen]


def made_of(variable: Any) -> list[Any] | None:
    """The variables that a layer lists for a frozen or partly frozen variable; else None."""
    frozen = isinstance(variable, (View, FrozenVariable)) and not hasattr(
        variable, "_frostline_view"
    )
    return tracked(variable) if frozen else None


def originals(listed: Iterable[Any]) -> list[Any]:
    """A layer's list of variables with views instead of their parts."""
    found = []
    for variable in listed:
        view = getattr(variable, "_frostline_view", None)
        if view is None:
            found.append(variable)
        elif not isinstance(variable, FrozenVariable):
            found.append(view)
    return found


def apply_plan(variable: Any, plan: Plan | None) -> None:
    """Apply a plan to a variable; the object and every bit of its value stay the same.

    New storage is made before the old one is dropped, so that a failure changes nothing.
    """
    if plan is not None and not isinstance(plan, WholePlan):
        frozen = isinstance(variable, FrozenVariable)
        trainable = bool(variable._trainable if frozen else variable.trainable)
        parts = make_parts(variable, plan, trainable=trainable)
        _swap_class(parts.frozen, FrozenVariable)
        backend.lock(parts.frozen, variable.path)
        if not isinstance(variable, View):
            _become_plain(variable)
        _become_view(variable, parts, trainable=trainable)
    else:
        _become_plain(variable)
        if plan is not None:
            _become_frozen(variable)


def saved_state(variable: Any) -> tuple[type, dict[str, Any]]:
    """The state of a variable object, for `restore_state`.

    If the backend allows, it does not keep the storage alive. Then freezing a model needs the
    memory of one additional weight, not of all.
    """
    attributes = dict(variable.__dict__)
    if attributes.get("_value") is not None:
        attributes["_value"] = backend.reference(attributes["_value"])
    return type(variable), attributes


def restore_state(variable: Any, state: tuple[type, dict[str, Any]]) -> None:
    """Restore a saved state of a variable object, bit for bit.

    It gets back the same storage, if anything else still holds it.
    """
    kind, attributes = state
    attributes = dict(attributes)
    reference = attributes.get("_value")
    if reference is not None:
        attributes["_value"] = reference()
        if attributes["_value"] is None:
            attributes |= _with_storage(variable, attributes)
    variable.__dict__.update(attributes)
    variable.__class__ = kind
    for name in variable.__dict__.keys() - attributes.keys():
        del variable.__dict__[name]
    if "_value" in attributes:
        # PyTorch also keeps the flag in the storage.
        backend.unlock(variable)
        plain = getattr(kind, "_frostline_base", kind)
        plain.trainable.fset(variable, variable.trainable)
        variable._trainable = attributes["_trainable"]
        if issubclass(kind, FrozenVariable):
            backend.lock(variable, variable.path)


def readable_parts(weight: Any) -> Parts[SplitPlan] | None:
    """The parts of a view, for a product that does not need the merged weight.

    None for anything else, for a view that is held merged during a call, for example in a loop, and
    for a view whose value is replaced temporarily.
    """
    if not isinstance(weight, View) or held.value(weight) is not None:
        return None
    return None if given_value(weight) is not None else _read(weight)


def _become_view(variable: Any, parts: Parts[SplitPlan], *, trainable: bool) -> None:
    variable._frostline = parts
    if not isinstance(variable, View):
        _swap_class(variable, View)
        variable.__dict__.pop("_value", None)
    variable._trainable = trainable
    variable._update_part()


def _become_frozen(variable: Any) -> None:
    trainable = variable.trainable
    variable.trainable = False
    _swap_class(variable, FrozenVariable)
    variable._trainable = bool(trainable)
    backend.lock(variable, variable.path)


def _become_plain(variable: Any) -> None:
    if isinstance(variable, FrozenVariable):
        _restore_class(variable)
        backend.unlock(variable)
        variable.trainable = variable._trainable
    elif isinstance(variable, View):
        attributes = {**variable.__dict__, "_trainable": variable.trainable}
        variable.__dict__.update(_with_storage(variable, attributes))
        _restore_class(variable)
        del variable._frostline


def _with_storage(view: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a plain variable with its own storage for the whole weight of a view.

    They are made on a separate object, because a view cannot have storage.
    """
    plain = view._frostline_base
    beside = plain.__new__(plain)
    beside.__dict__.update(attributes, _value=None, _trainable=True)  # see `make_parts`
    stored = view._frostline.trainable
    with backend.creating(stored), backend.naming(view), _keras.untracked():
        _keras.initialize(beside, _whole(view))
        beside.trainable = attributes["_trainable"]
    return vars(beside)


def _whole(view: Any) -> Any:
    """The merged weight of a view in its own memory."""
    parts = view._frostline
    with backend.creating(parts.trainable):
        trainable, frozen = backend.read(parts.trainable), backend.read(parts.frozen)
        return backend.in_order(split.merge(parts.plan, trainable, frozen), parts.order)


_classes: dict[tuple[type, type], type] = {}


def _swap_class(variable: Any, mixin: type) -> None:
    base = type(variable)
    if (mixin, base) not in _classes:
        bases = (mixin, backend.view_mixin, base) if mixin is View else (mixin, base)
        bases = tuple(b for b in bases if b is not object)
        namespace = {"__module__": base.__module__, "_frostline_base": base}
        _classes[mixin, base] = type(base.__name__, bases, namespace)
    variable.__class__ = _classes[mixin, base]


def _restore_class(variable: Any) -> None:
    variable.__class__ = variable._frostline_base
