"""The earlier value of each weight: an array in a mapping, or a weight of another model.

Values are read one by one, and refused if comparing their bits would be meaningless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from frostline._arrays.naming import named_by
from frostline._errors import FrostlineError, PathError, TargetError
from frostline._weights import values
from frostline._weights.tree import Found, unique, walk, weights_of

_LISTED = 3  # paths in a message


class Words(NamedTuple):
    """The texts of errors about an earlier state."""

    name: str  # the name of the argument
    refusal: type[FrostlineError]  # the class of the error for a value that cannot be compared
    same: str  # the rule for a weight that would be compared with itself
    unlike: str  # the rule for a value with another `{what}`, shape or dtype
    missing: str  # what to do if a weight is missing


class Earlier:
    """An earlier state of some weights.

    Args:
        given: A mapping from the paths of the weights, or their other names, to arrays or other
            variables; or a model with weights of the same paths.
        chosen: The weights as they are now. The earlier value of state may be missing.
        words: The texts of errors.

    Raises:
        TargetError: `given` is neither a mapping nor a model.
        PathError: It lacks a weight or names one twice, or two weights have the same path.
    """

    def __init__(self, given: Any, chosen: Sequence[Found], words: Words) -> None:
        name = words.name
        refuse_twice(chosen)
        model = isinstance(given, keras.layers.Layer)
        if model:
            given = _by_path(given, chosen)
        if not isinstance(given, Mapping):
            raise TargetError(
                f"{name}: must be a model or a mapping from paths to arrays; got {name}="
                f"{type(given).__name__}. Take `{name} = fl.snapshot(model)` before training."
            )
        self._keys = (
            {id(weight.variable): weight.path for weight in chosen if weight.path in given}
            if model
            else keys_of(given, chosen, name)
        )
        missing = [w.path for w in chosen if w not in self and not w.state]
        if missing:
            more = f", and {len(missing) - 1} more are missing" if len(missing) > 1 else ""
            has = ", ".join(repr(path) for path in list(given)[:_LISTED])
            raise PathError(
                f"{missing[0]}: not in `{name}`{more}; got {name} with {len(given)} weights "
                f"({has}{', ...' * (len(given) > _LISTED)}). {words.missing}"
            )
        self._known: Mapping[str, Any] = given
        self._words = words

    def __contains__(self, weight: Found) -> bool:
        return id(weight.variable) in self._keys

    def value(self, weight: Found, now: np.ndarray) -> np.ndarray:
        """The earlier value of a weight, as an array whose bits can be compared with `now`.

        Raises:
            words.refusal: It is the weight itself or shares its memory, or has another shape or
                dtype.
        """
        name, refusal, same, unlike, _ = self._words
        before = self._known[self._keys[id(weight.variable)]]
        before = before.variable if isinstance(before, Found) else before
        if before is weight.variable:
            raise refusal(
                f"{weight.path}: {same}; got {name} with {weight.variable.path}. "
                f"Take `{name} = fl.snapshot(model)` before training."
            )
        before = values.as_array(before, now.dtype)
        got = f"got {name} (shape {before.shape}, dtype {before.dtype})"
        for what in ("shape", "dtype"):
            if getattr(before, what) != getattr(now, what):
                raise refusal(
                    f"{weight.path}: {unlike.format(what=what)}; {got}, after (shape {now.shape}, "
                    f"dtype {now.dtype}). Take `{name} = fl.snapshot(model)` from the same model."
                )
        # JAX shares read-only memory, which never changes.
        if before.flags.writeable and np.may_share_memory(before, now):
            raise refusal(
                f"{weight.path}: this array shares the memory of the weight, so it changes with "
                f"it; {got}. Copy it before training, as `fl.snapshot(model)` does."
            )
        return before


def keys_of(given: Mapping[str, Any], chosen: Sequence[Found], name: str) -> dict[int, str]:
    """The key in `given` for each chosen weight, by the id of the variable.

    A weight may be named by its path below the target, by that path after the name of the target,
    or by the path of its variable. A key may name a weight that is not chosen.

    Raises:
        PathError: Two keys name the same weight, or one key names two.
    """
    target, wanted = chosen[0].layers[0], {id(weight.variable) for weight in chosen}
    below = ((id(weight.variable), weight.names) for weight in walk(target, state=True))
    keys: dict[int, str] = {}
    for key, named in named_by(given, below).items():
        for weight in wanted.intersection(named):
            if len(named) > 1:
                raise PathError(
                    f"{key}: {len(named)} different weights have this name; got {name} with "
                    f"{key!r}. Use the paths of `fl.weights(model)`."
                )
            if weight in keys:
                raise PathError(
                    f"{key}: the same weight is named twice; got {name} with {keys[weight]!r} and "
                    f"{key!r}. Leave one of them out."
                )
            keys[weight] = key
    return keys


def refuse_twice(weights: Sequence[Found]) -> None:
    """Raise an error if two weights have the same path: a mapping can hold only one."""
    seen: set[str] = set()
    for weight in weights:
        if weight.path in seen:
            raise PathError(
                f"{weight.path}: two different weights have this path, and arrays are stored by "
                f"path; got weights of {weight.layers[0].name}. Give its layers different names."
            )
        seen.add(weight.path)


def _by_path(model: Any, chosen: Sequence[Found]) -> dict[str, Found]:
    earlier, wanted = unique(weights_of(model)), {weight.path for weight in chosen}
    refuse_twice([weight for weight in earlier if weight.path in wanted])
    return {weight.path: weight for weight in earlier}
