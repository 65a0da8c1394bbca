"""Find the weights of a layer or model: paths, owners, and the layers between."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np

from frostline import _keras
from frostline._arrays.plan import WholePlan
from frostline._errors import NotBuiltError, PathError, TargetError
from frostline._weights import values
from frostline._weights.suggest import suggestion
from frostline._weights.view import originals, plan_of

Layer: TypeAlias = keras.layers.Layer

K = TypeVar("K", bound=Hashable)

_SHOWN = 100  # characters of a pattern in a message


@dataclass(frozen=True)
class Found:
    """A weight below a target: its `path` from there, and the `layers` down to its owner.

    `state` is True if its layer updates it, not an optimizer.
    """

    path: str
    variable: Any
    layers: tuple[Layer, ...]
    state: bool = False

    @property
    def owner(self) -> Layer:
        return self.layers[-1]

    @property
    def layer_trainable(self) -> bool:
        """Whether training changes its unfrozen entries."""
        # `trainable` of a wholly frozen variable is always False, so the layer's flag is used.
        whole = isinstance(plan_of(self.variable), WholePlan)
        on = self.owner.trainable if whole or self.state else self.variable.trainable
        return bool(on and self.layers[0].trainable)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a pattern may match: the path, with the target's name, Keras's path."""
        return (self.path, f"{self.layers[0].name}/{self.path}", self.variable.path)


def walk(target: Layer, *, state: bool = False) -> Iterator[Found]:
    """Every weight below `target` that a layer made as trainable, once for each path to it.

    With `state` also the variables that a layer updates itself, such as moving statistics.
    """
    yield from _walk(target, "", (), state)


def unique(found: Iterable[Found]) -> list[Found]:
    """The first path to each variable; a shared one counts once."""
    first: dict[int, Found] = {}
    for weight in found:
        first.setdefault(id(weight.variable), weight)
    return list(first.values())


def sublayers(layer: Layer) -> list[Layer]:
    """A layer and all layers in it, each once."""
    found: dict[int, Layer] = {}
    pending = [layer]
    while pending:
        layer = pending.pop()
        if id(layer) not in found:
            found[id(layer)] = layer
            pending.extend(reversed(_keras.children(layer)))
    return list(found.values())


def weights_of(target: Any) -> list[Found]:
    """Every weight below `target`; an error if there is none."""
    if not isinstance(target, Layer):
        do = "Pass a layer or a model; load a file with `keras.saving.load_model(path)` first."
        if isinstance(target, keras.Variable):
            do = "Pass its layer, and the variable second: `fl.freeze(layer, variable, fl.at[0])`."
        elif isinstance(target, dict):
            do = "Pass the model here. A snapshot is `before`, for `report` and `plot_drift`."
        elif isinstance(target, (list, tuple)):
            do = "Pass one at a time: `for layer in layers: fl.freeze(layer, ...)`."
        raise TargetError(
            f"target: not a Keras layer or model; got target={type(target).__name__}. {do}"
        )
    found = list(walk(target))
    if not found:
        if not all(layer.built for layer in sublayers(target)):
            do = "Call it once on data."
            if not target.built:
                do = f"Build it first: `{target.name}.build(input_shape)`, or call it once on data."
            raise NotBuiltError(f"{target.name}: no weights yet; got built={target.built}. {do}")
        raise PathError(
            f"{target.name}: this {type(target).__name__} has no trainable weights; "
            "got target without weights. Pass a layer or a model that has some."
        )
    return found


def read_value(weight: Found) -> np.ndarray:
    """The current value of a weight, without a copy if possible."""
    return values.read(weight.variable)


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match several paths."""
    return any(sign in pattern for sign in "*?[")


def select(target: Layer, found: Sequence[Found], patterns: Any) -> list[Found]:
    """The weights that `patterns` name: a glob, a regex, a variable, or a list of these."""
    return Names(target, found).select(patterns)


def _walk(layer: Layer, prefix: str, above: tuple[Layer, ...], state: bool) -> Iterator[Found]:
    chain = (*above, layer)
    for variable in originals(_keras.own_variables(layer)):
        yield Found(prefix + variable.name, variable, chain)
    if state:
        for variable in originals(_keras.own_state(layer)):
            yield Found(prefix + variable.name, variable, chain, state=True)
    for child in _keras.children(layer):
        if not any(child is ancestor for ancestor in chain):
            yield from _walk(child, f"{prefix}{child.name}/", chain, state)


class Names:
    """The weights below a target by name; complete names and variables need no search."""

    def __init__(self, target: Layer, found: Sequence[Found]) -> None:
        self._target = target
        self._found = found

    def select(self, patterns: Any) -> list[Found]:
        """The weights that a glob, a regex, a variable, or a list of these name."""
        if isinstance(patterns, (list, tuple, Mapping)) and not patterns:
            raise PathError(
                f"{self._target.name}: no weight is named; got weights={patterns!r}. "
                "Write `'*'` for all weights."
            )
        several = isinstance(patterns, (list, tuple))
        each = patterns if several else [patterns]
        return unique(weight for pattern in each for weight in self._matching(pattern))

    def _matching(self, pattern: Any) -> Sequence[Found]:
        target = self._target
        if isinstance(pattern, keras.Variable):
            # The trainable part of a weight names the weight.
            pattern = getattr(pattern, "_frostline_view", pattern)
            matched = self._by_variable.get(id(pattern), [])
            if not matched:
                raise PathError(
                    f"{pattern.path}: not a trainable weight of {target.name}; "
                    f"got weights={_short(pattern)}. Pass the layer that owns it as the target."
                )
            return matched
        if isinstance(pattern, re.Pattern):
            matched = _first_named(self._found, pattern.search)
        elif isinstance(pattern, str):
            # A name may itself have the signs of a glob.
            matched = self._by_path.get(pattern, [])
            if not matched and is_glob(pattern):
                matched = _first_named(self._found, lambda n: fnmatch.fnmatchcase(n, pattern))
            else:
                matched = matched or self._by_name.get(pattern, [])
                _refuse_ambiguous(target, matched, pattern)
        else:
            name = pattern.name if isinstance(pattern, Layer) else "name"
            raise PathError(
                f"{target.name}: weights must be a glob on the path, a compiled regex, a variable "
                f"or a list of these; got weights={_short(pattern)}. Write `'{name}/*'` for all "
                "weights of a layer; a selection of entries is the third argument, "
                "`where=fl.at[0, :]`."
            )
        if not matched:
            raise PathError(_no_match(target, self._found, pattern))
        return matched

    @functools.cached_property
    def _by_variable(self) -> dict[int, list[Found]]:
        return _grouped((id(weight.variable), weight) for weight in self._found)

    @functools.cached_property
    def _by_path(self) -> dict[str, list[Found]]:
        return _grouped((weight.path, weight) for weight in self._found)

    @functools.cached_property
    def _by_name(self) -> dict[str, list[Found]]:
        return _grouped((name, weight) for weight in self._found for name in set(weight.names))


def _grouped(pairs: Iterable[tuple[K, Found]]) -> dict[K, list[Found]]:
    groups: dict[K, list[Found]] = {}
    for key, weight in pairs:
        groups.setdefault(key, []).append(weight)
    return groups


def _first_named(found: Sequence[Found], fits: Callable[[str], Any]) -> list[Found]:
    """The weights whose path below the target fits, or else those whose longer names do.

    A layer may be called as the model is: `head/*` are then the weights of the layer.
    """
    below = [weight for weight in found if fits(weight.path)]
    return below or [weight for weight in found if any(map(fits, weight.names))]


def _refuse_ambiguous(target: Layer, matched: Sequence[Found], pattern: str) -> None:
    if len(unique(matched)) < 2:
        return
    raise PathError(
        f"{target.name}: {len(unique(matched))} different weights have this path; "
        f"got weights={pattern!r}. Pass the variable itself, `fl.freeze(model, layer.kernel, ...)`,"
        " or give the layers different names."
    )


def _no_match(target: Layer, found: Sequence[Found], pattern: Any) -> str:
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    fixed = [v for v in target.weights if getattr(v, "_frostline_view", None) is None]
    trainable = {id(weight.variable) for weight in found}
    for variable in fixed:
        if id(variable) not in trainable and fnmatch.fnmatchcase(variable.path, f"*{text}"):
            return (
                f"{variable.path}: this is state, which its layer updates itself, so it cannot be "
                f"frozen; got weights={text!r}. Name a weight that an optimizer trains."
            )
    for layer in sublayers(target)[1:]:
        if fnmatch.fnmatchcase(layer.name, text):
            do = f"Name its weights: `'{layer.name}/*'`."
            if not any(True for _ in walk(layer)):
                do = f"This {type(layer).__name__} has no trainable weights."
            return f"{layer.name}: a layer, not the path of a weight; got weights={text!r}. {do}"
    paths = [weight.path for weight in unique(found)]
    regex = isinstance(pattern, re.Pattern)
    if "," in text and not regex:
        meant = f"For several weights pass a list: {[one.strip() for one in text.split(',')]}."
    else:
        meant = suggestion(text, paths, regex=regex)
    built = all(layer.built for layer in sublayers(target))
    unbuilt = "" if built else " Some of its layers are not built yet: call it first."
    got = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
    return f"{target.name}: no weight has this path; got weights={got!r}. {meant}{unbuilt}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__}(...)"
