"""`freeze`, `unfreeze` and `train_only`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from frostline._arrays.plan import Plan, WholePlan, plan_from_mask
from frostline._errors import NotBuiltError, UnsupportedError, warn
from frostline._freezing.apply import apply_plans
from frostline._freezing.changes import (
    Change,
    Changes,
    TrainOnlyChanges,
    change_of,
    size_of,
    state_of,
)
from frostline._freezing.description import AWAITED
from frostline._freezing.request import Picked, Request
from frostline._weights.changing import alone
from frostline._weights.tree import Found, sublayers, unique, weights_of
from frostline._weights.view import plan_of


def freeze(target: Any, weights: Any = "*", where: Any = None) -> Changes:
    """Freeze a part of the weights of a layer or model, in place.

    Frozen entries are in no trainable variable, so no optimizer, weight decay, momentum, clipping,
    averaging or loop can change them. Freezing itself changes no bit of any weight. Outputs may
    change by rounding if a fast path adds in another order. What was frozen before stays frozen.

    Args:
        target: A built layer or model of any kind: Sequential, functional, subclassed, nested.
        weights: A glob on the path of a weight below `target` (`"kernel"`, `"hidden/kernel"`,
            `"*/bias"`; `*` crosses slashes), a compiled regex (searched in the path), a variable,
            or a list of these. Everything below `target` by default. Or a mapping from a glob or
            regex to a value for `where`: `{"tokens/embeddings": mask, "head/*": fl.units([0])}`.
            Entries of a mapping that match the same weight add up. Keras variables have no hash,
            so they cannot be keys.
        where: The entries to freeze: a selection (`fl.at[0, :]`, `fl.units([0, 1])`), a NumPy
            index expression, a boolean array of the weight's shape (True = frozen), or a
            `callable(array) -> boolean array`. The whole weight by default; then it does not train
            until you unfreeze it, whatever `layer.trainable` says. Not with a mapping.

    Returns:
        A sequence with a `Change` for each weight that changed.

    Raises:
        TargetError: `target` is not a layer or model.
        NotBuiltError: `target` has no weights yet.
        PathError: `weights` names no weight, or is ambiguous.
        SelectionError: `where` does not fit a weight, or is given together with a mapping.
        UnsupportedError: A weight cannot be frozen (quantized, or with LoRA).

    After any of these errors the model is unchanged. A selection that contains no entry of the
    named weights changes nothing and warns. A boolean array, a function, `fl.nothing`,
    `fl.changed` and `fl.smallest(0)` may be empty without a warning.

    Note:
        Only weights that an optimizer trains can be frozen. A `BatchNormalization` updates its
        moving statistics itself, even if its `gamma` and `beta` are frozen.

        If several processes train one model, make the same call in each of them. A selection that
        depends on values gathers the weight, and must select the same entries in each process.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")])
        >>> fl.freeze(model, "hidden/kernel", fl.at[0, :])
        hidden/kernel: 3 entries changed, 3 of 12 frozen
        >>> [tuple(v.shape) for v in model.trainable_variables]
        [(3, 3), (3,)]
        >>> fl.freeze(model, {"*/kernel": fl.at[1], "*/bias": [True, False, False]})
        hidden/kernel: 3 entries changed, 6 of 12 frozen
        hidden/bias: 1 entry changed, 1 of 3 frozen
    """
    return _change(target, weights, where, "freeze", _frozen_too)


def unfreeze(target: Any, weights: Any = "*", where: Any = None) -> Changes:
    """Let frozen entries train again, in place.

    This changes no bit of any weight. A variable without frozen entries gets back its own class,
    and so does a layer without frozen weights; both stay the same objects.

    Args:
        target: A layer or model, as for `freeze`.
        weights: Which weights, as for `freeze`; may also be a mapping. Everything below `target`
            by default.
        where: The entries to unfreeze, as for `freeze`. All by default.

    Returns:
        A sequence with a `Change` for each weight that changed.

    Raises:
        TargetError, PathError, SelectionError: As for `freeze`.
        NotBuiltError: As for `freeze`; or a loaded freeze waits for weights that do not exist yet.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel")
        >>> fl.unfreeze(layer, "kernel", fl.at[:, 0])
        kernel: 4 entries changed, 8 of 12 frozen
        >>> fl.unfreeze(layer, {"kernel": fl.at[:, 1], "bias": None})
        kernel: 4 entries changed, 4 of 12 frozen
        >>> fl.unfreeze(layer)
        kernel: 4 entries changed, 0 of 12 frozen
        >>> type(layer) is keras.layers.Dense
        True
    """
    return _change(target, weights, where, "unfreeze", _thawed)


@alone
def train_only(target: Any, weights: Any, where: Any = None) -> Changes:
    """Train these weights, or entries of them, and freeze everything else below `target`.

    What was frozen before does not matter: named entries are unfrozen, all others are frozen. This
    changes no bit of any weight. Entries that still train keep their optimizer slots.

    Args:
        target: A layer or model, as for `freeze`.
        weights: Which weights train, as for `freeze`; may also be a mapping.
        where: The entries that train, in any form that `freeze` accepts; in a boolean array True
            means that the entry trains. All by default. A named weight to which the selection does
            not apply, such as a bias for `fl.tokens`, is frozen.

    Returns:
        A sequence with a `Change` for each weight that changed. It prints what trains now, even if
        nothing changed.

    Raises:
        TargetError, PathError, SelectionError: As for `freeze`.
        NotBuiltError: As for `unfreeze`.
        UnsupportedError: A trainable weight that is not named cannot be frozen (quantized, or with
            LoRA), or a named weight cannot be partly frozen.

    Note:
        `trainable` of layers does not change. A warning says if a named weight does not train
        because its layer has `trainable=False`. Weights that cannot be frozen and do not train
        anyway, such as the kernel under LoRA, are skipped.

    Examples:
        >>> import keras, frostline as fl
        >>> layers = [keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2, name="out")]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> fl.train_only(model, "hidden/kernel", fl.at[0])
        hidden/kernel: 3 of 12 entries train
        everything else is frozen: 3 weights, 11 entries
        >>> fl.train_only(model, {"out/*": fl.units(1)})
        out/kernel: 3 of 6 entries train
        out/bias: 1 of 2 entries train
        everything else is frozen: 2 weights, 15 entries
    """
    found = weights_of(target)
    _refuse_awaited(target)
    request, draft = Request(target, found, weights, where, "train_only"), _Draft()
    named = []
    for picked in request.picked():
        after = _all_but(picked)
        if picked.whole or picked.mask is not None:
            draft.add(picked.weight, after)
        else:
            draft.add_whole(picked.weight)
        named.append((picked.weight, after))
    request.check("Nothing trains now.")
    rest = [w for w in unique(found) if id(w.variable) not in request.named]
    for weight in rest:
        draft.add_whole(weight)
    _warn_of_idle([weight for weight, after in named if not isinstance(after, WholePlan)])
    apply_plans(target, draft.plans, doing="freezing")
    states = [state_of(weight, after) for weight, after in named]
    return TrainOnlyChanges(draft.changes, states, map(size_of, rest))


class _Draft:
    """The plans of a call and the resulting changes, before anything is changed."""

    def __init__(self) -> None:
        self.plans: list[tuple[Any, Plan | None]] = []
        self.changes: list[Change] = []

    def add(self, weight: Found, after: Plan | None, do: str = "") -> None:
        before = plan_of(weight.variable)
        if after != before:
            refuse_unsupported(weight, divides=after is not None and after.kind != "whole", do=do)
            self.plans.append((weight.variable, after))
            self.changes.append(change_of(weight, before, after))

    def add_whole(self, weight: Found) -> None:
        """Freeze the whole weight, unless it cannot be frozen and does not train anyway."""
        do = f"Let it train too: `fl.train_only(model, [..., {weight.path!r}])`."
        try:
            self.add(weight, WholePlan(tuple(weight.variable.shape)), do)
        except UnsupportedError:
            if weight.variable.trainable:
                raise


@alone
def _change(
    target: Any,
    weights: Any,
    where: Any,
    verb: str,
    plan: Callable[[Plan | None, Picked], Plan | None],
) -> Changes:
    found = weights_of(target)
    if verb == "unfreeze":
        _refuse_awaited(target)
    request, draft = Request(target, found, weights, where, verb), _Draft()
    for picked in request.picked():
        if picked.whole or picked.mask is not None:
            draft.add(picked.weight, plan(plan_of(picked.weight.variable), picked))
    request.check("Nothing changed.")
    apply_plans(target, draft.plans, doing=f"{verb[:-1]}ing")
    return Changes(draft.changes)


def _frozen_too(before: Plan | None, picked: Picked) -> Plan | None:
    if picked.mask is None or picked.whole:
        return WholePlan(tuple(picked.weight.variable.shape))
    return combined(before, picked.mask, freezing=True)


def _thawed(before: Plan | None, picked: Picked) -> Plan | None:
    if picked.mask is None or picked.whole:
        return None
    return combined(before, picked.mask, freezing=False)


def _all_but(picked: Picked) -> Plan | None:
    """The plan that lets only the picked entries train."""
    if picked.whole:
        return None
    if picked.mask is None:
        return WholePlan(tuple(picked.weight.variable.shape))
    return plan_from_mask(np.asarray(~picked.mask))


def _warn_of_idle(named: list[Found]) -> None:
    """Warn of named weights that do not train although they are not frozen."""
    idle = [w for w in named if not w.layer_trainable and not _replaced(w.owner)]
    if not idle:
        return
    weight, others = idle[0], len(idle) - 1
    off = next((layer for layer in weight.layers if not layer.trainable), None)
    name = "variable" if off is None else off.name
    more = f", and {others} more {'weight' if others == 1 else 'weights'} like it" if others else ""
    warn(
        f"{weight.path}: this weight is named but does not train; got "
        f"{name}.trainable=False{more}. "
        f"Set `trainable = True` on the {'variable' if off is None else 'layer'}."
    )


def _refuse_awaited(target: Any) -> None:
    """Raise an error if a freeze still waits for its weights: it would come back later."""
    for layer in sublayers(target):
        if AWAITED in layer.__dict__:
            waiting = layer.__dict__[AWAITED].weights
            raise NotBuiltError(
                f"{layer.name}: its freeze, from a config or a file, waits for weights that do not "
                f"exist yet; got {len(waiting)} of them, {waiting[0]['path']} first. Call the "
                "model once on data, then try again."
            )


def combined(before: Plan | None, mask: np.ndarray, *, freezing: bool) -> Plan | None:
    """The plan with a mask added to what is frozen, or removed from it."""
    if before is None:
        return plan_from_mask(mask) if freezing else None
    frozen = before.mask()
    return plan_from_mask(frozen | mask if freezing else frozen & ~mask)


def refuse_unsupported(weight: Found, *, divides: bool, do: str = "") -> None:
    """Raise an error for a weight that cannot be frozen, or cannot be divided."""
    if keras.config.is_nnx_enabled():
        raise UnsupportedError(
            f"{weight.path}: Flax NNX variables are not supported; got "
            "keras.config.is_nnx_enabled()=True. Start Python without KERAS_NNX_ENABLED."
        )
    if divides:
        whole = f"`fl.freeze(model, {weight.path!r})`"
        refuse_wrapped(weight, f"Freeze the whole variable, {whole}, or write the layer in Keras.")
    owner = weight.owner
    state = _replaced(owner)
    if state:
        raise UnsupportedError(
            f"{weight.path}: its layer is quantized or has LoRA and does not use this weight; got "
            f"{owner.name}.{state}={getattr(owner, state)!r}. "
            f"{do or 'Leave this layer out, or use the model from before that.'}"
        )


def refuse_wrapped(weight: Found, do: str) -> None:
    """Raise an error for a weight of a layer that wraps another framework's module."""
    owner = weight.owner
    if isinstance(owner, (keras.layers.TorchModuleWrapper, keras.layers.TFSMLayer)):
        raise UnsupportedError(
            f"{weight.path}: its layer uses the tensors of another framework's module, "
            f"not this variable; got layer={type(owner).__name__}. {do}"
        )


def _replaced(owner: Any) -> str | None:
    """The attribute that shows that a layer is quantized or has LoRA; None if neither."""
    for state in ("quantization_mode", "lora_enabled"):
        if getattr(owner, state, None):
            return state
    return None
