"""The verbs: freeze and unfreeze, and the questions is_frozen and frozen_mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from frostline import _keras
from frostline._arrays.plan import Plan, WholePlan, plan_from_mask
from frostline._console import each
from frostline._errors import (
    EmptySelectionWarning,
    NotBuiltError,
    SelectionError,
    TargetError,
    UnsupportedError,
    warn,
)
from frostline._freezing.apply import apply_plans
from frostline._freezing.description import AWAITED
from frostline._selections.algebra import Selection
from frostline._selections.simple import as_selection, everything, nothing
from frostline._selections.weight import Weight
from frostline._weights.tree import Found, select, sublayers, weights_of
from frostline._weights.view import plan_of


@dataclass(frozen=True)
class Change:
    """What a call did to one weight.

    Attributes:
        path: The path of the weight below the target.
        entries: How many of its entries this call froze or unfroze.
        frozen: How many are frozen now.
        size: How many there are.
    """

    path: str
    entries: int
    frozen: int
    size: int


class Changes(tuple[Change, ...]):
    """What a call changed, one `Change` a weight; empty where all was so already."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self:
            return "nothing changed"
        return "\n".join(
            f"{c.path}: {c.entries:,} {'entry' if c.entries == 1 else 'entries'} changed, "
            f"{c.frozen:,} of {c.size:,} frozen"
            for c in self
        )


def freeze(target: Any, weights: Any = "*", where: Any = None) -> Changes:
    """Freeze a part of the weights of a layer or model, in place.

    What is frozen is in no trainable variable any more: no optimizer, weight decay, momentum,
    clipping, averaging or loop can move it. Freezing changes no bit of any weight, and no output
    but by a rounding where a fast path adds in another order; it adds to what is frozen already,
    and returns what it changed.

    Args:
        target: A built layer or model of any kind: Sequential, functional, subclassed, nested.
        weights: A glob on the path of a weight below `target` (`"kernel"`, `"hidden/kernel"`,
            `"*/bias"`; `*` crosses slashes), a compiled regex (searched in the path), a variable,
            or a list of these. Everything below `target` by default.
        where: The entries to freeze: a selection (`fl.at[0, :]`, `fl.units([0, 1])`), a NumPy
            index expression, a boolean array of the weight's shape (True = frozen), or a
            `callable(array) -> boolean array`. The whole variable by default: it then does not
            train whatever `layer.trainable` says, until it is unfrozen.

    Returns:
        A sequence with a `Change` for each weight that changed.

    Raises:
        TargetError: `target` is not a layer or model.
        NotBuiltError: `target` has no weights yet.
        PathError: No weight, or an ambiguous one, is named by `weights`.
        SelectionError: `where` does not fit a weight.
        UnsupportedError: A weight can not be divided (quantized, or with LoRA).

    After any of these the model is as it was. A selection that holds no entry of any weight named
    changes nothing and warns.

    Note:
        Only weights that an optimizer trains can be frozen. The moving statistics of a
        `BatchNormalization` are updated by the layer itself; freezing its `gamma` and `beta`
        leaves them as they are.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")])
        >>> fl.freeze(model, "hidden/kernel", fl.at[0, :])
        hidden/kernel: 3 entries changed, 3 of 12 frozen
        >>> [tuple(v.shape) for v in model.trainable_variables]
        [(3, 3), (3,)]
    """
    return _change(target, weights, where, freezing=True)


def unfreeze(target: Any, weights: Any = "*", where: Any = None) -> Changes:
    """Give frozen entries back to training, in place.

    Changes no bit of any weight. A variable without frozen entries is its stock class again, and
    so is a layer without frozen weights; both stay the same objects.

    Args:
        target: A layer or model, as for `freeze`.
        weights: Which weights, as for `freeze`. Everything below `target` by default.
        where: The entries to unfreeze, as for `freeze`. All by default.

    Returns:
        A sequence with a `Change` for each weight that changed.

    Raises:
        TargetError, NotBuiltError, PathError, SelectionError: As for `freeze`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel")
        >>> fl.unfreeze(layer, "kernel", fl.at[:, 0])
        kernel: 4 entries changed, 8 of 12 frozen
        >>> fl.unfreeze(layer)
        kernel: 8 entries changed, 0 of 12 frozen
        >>> type(layer) is keras.layers.Dense
        True
    """
    return _change(target, weights, where, freezing=False)


def is_frozen(variable: Any) -> bool:
    """Whether any entry of a variable is frozen.

    Args:
        variable: A variable of a layer, `layer.kernel`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "bias")
        >>> fl.is_frozen(layer.bias), fl.is_frozen(layer.kernel)
        (True, False)
    """
    return plan_of(_variable(variable, "is_frozen")) is not None


def frozen_mask(variable: Any) -> np.ndarray:
    """A boolean array of the variable's shape, True where frozen.

    It says what this library froze. A layer with `trainable = False` trains nothing either, and
    none of it is frozen in this sense.

    Args:
        variable: A variable of a layer, `layer.kernel`.

    Returns:
        A new boolean array of `variable.shape`.

    Raises:
        TargetError: Not a variable.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 2))
        >>> _ = fl.freeze(layer, "kernel", fl.at[:, 0])
        >>> fl.frozen_mask(layer.kernel)
        array([[ True, False],
               [ True, False]])
    """
    plan = plan_of(_variable(variable, "frozen_mask"))
    return np.zeros(tuple(variable.shape), dtype=bool) if plan is None else plan.mask()


def _change(target: Any, weights: Any, where: Any, *, freezing: bool) -> Changes:
    found = weights_of(target)
    if isinstance(weights, Selection):
        first = "target" if where is None else f"target, {_named(where)}"
        raise SelectionError(
            "weights: a selection of entries is the third argument; got "
            f"weights={weights!r}. Write `fl.freeze({first}, where=selection)`."
        )
    selection = as_selection(where)
    if not freezing:
        _refuse_awaited(target)
    plans = []
    changes = []
    said_nothing = []
    matched = select(target, found, weights)
    selects = False
    for weight in each("selecting", matched):
        before = plan_of(weight.variable)
        if selection is everything:
            after = WholePlan(tuple(weight.variable.shape)) if freezing else None
            selects = True
        else:
            mask = selection.mask(asked(weight))
            if mask is None:
                said_nothing.append(weight)
                continue
            after = combined(before, mask, freezing=freezing)
            selects = selects or bool(mask.any()) or mask.size == 0
        if after != before:
            refuse_unsupported(weight, divides=after is not None and after.kind != "whole")
            plans.append((weight.variable, after))
            changes.append(_report(weight, before, after))
    if len(said_nothing) == len(matched):
        raise SelectionError(
            f"{matched[0].path}: this selection says nothing about any of the weights named; "
            f"got where={selection!r} (layer {type(matched[0].owner).__name__}). "
            "Select entries by position: `fl.at[...]`."
        )
    if not selects and selection is not nothing:
        warn(
            f"{matched[0].path}: this selection holds no entry of the weights named; got "
            f"where={selection!r}. Nothing changed.",
            EmptySelectionWarning,
        )
    apply_plans(target, plans, doing="freezing" if freezing else "unfreezing")
    return Changes(changes)


def _refuse_awaited(target: Any) -> None:
    """The error for a freeze that would come back after it was taken away."""
    for layer in sublayers(target):
        if AWAITED in layer.__dict__:
            waiting = layer.__dict__[AWAITED].weights
            raise NotBuiltError(
                f"{layer.name}: its freeze, made from a config or a file, waits for weights that "
                f"do not exist yet; got {len(waiting)} of them, {waiting[0]['path']} first. Call "
                "the model once on data, then unfreeze it."
            )


def _named(weights: Any) -> str:
    return repr(weights) if isinstance(weights, str) else "weights"


def asked(weight: Found) -> Weight:
    """A weight as selections see it, without its framework."""
    variable = weight.variable
    return Weight(
        path=weight.path,
        name=variable.name,
        shape=tuple(variable.shape),
        dtype=str(variable.dtype),
        read=lambda: keras.ops.convert_to_numpy(variable.value),
        layers=weight.layers,
        children=_keras.children,
        names=weight.names,
    )


def combined(before: Plan | None, mask: np.ndarray, *, freezing: bool) -> Plan | None:
    """The plan that freezes a mask too, or no longer freezes it."""
    if before is None:
        return plan_from_mask(mask) if freezing else None
    frozen = before.mask()
    return plan_from_mask(frozen | mask if freezing else frozen & ~mask)


def _report(weight: Found, before: Plan | None, after: Plan | None) -> Change:
    was, now = (0 if plan is None else plan.frozen_count for plan in (before, after))
    size = int(np.prod(tuple(weight.variable.shape), dtype=np.int64))
    return Change(weight.path, abs(now - was), now, size)


def refuse_unsupported(weight: Found, *, divides: bool) -> None:
    """The error for a weight that can not be frozen, or not in part."""
    if keras.config.is_nnx_enabled():
        raise UnsupportedError(
            f"{weight.path}: Flax NNX variables keep their value in another place; got "
            "keras.config.is_nnx_enabled()=True. Start Python without KERAS_NNX_ENABLED."
        )
    owner = weight.owner
    if divides and isinstance(owner, (keras.layers.TorchModuleWrapper, keras.layers.TFSMLayer)):
        raise UnsupportedError(
            f"{weight.path}: its layer computes with the tensors of another framework's module, "
            f"not with this variable; got layer={type(owner).__name__}. Freeze the whole "
            f"variable, `fl.freeze(model, {weight.path!r})`, or write the layer in Keras."
        )
    for state in ("quantization_mode", "lora_enabled"):
        if getattr(owner, state, None):
            raise UnsupportedError(
                f"{weight.path}: its layer computes with other weights than this one; got "
                f"{owner.name}.{state}={getattr(owner, state)!r}. "
                "Leave this layer out, or take the model as it was before that."
            )


def _variable(variable: Any, question: str) -> Any:
    if not isinstance(variable, keras.Variable):
        raise TargetError(
            f"variable: not a Keras variable; got variable={type(variable).__name__}. "
            f"Pass one that a layer holds, `fl.{question}(layer.kernel)`; "
            "`fl.summary(model)` tells of all."
        )
    if hasattr(variable, "_frostline_view"):
        raise TargetError(
            f"{variable.path}: this is one part of a divided weight; got variable=its part. "
            f"Pass the variable that the layer holds: `fl.{question}(layer.kernel)`."
        )
    return variable
