"""The value that each weight had before: an array of a mapping, or a weight of another model.

Values are read one by one, and refused where a comparison of their bits would say nothing.
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
    """What errors say of an earlier state."""

    name: str  # the argument that it is given as
    refusal: type[FrostlineError]  # the class for a value that cannot be compared
    same: str  # the rule for a weight that is compared with itself
    unlike: str  # the rule for a value of another `{what}`, shape or dtype
    missing: str  # what to do about a weight that it lacks


class Earlier:
    """An earlier state of some weights.

    Args:
        given: A mapping from the paths of the weights, or their other names, to arrays or to other
            weights, or a model, whose weights of the same paths are taken.
        chosen: The weights as they are now. Of state the earlier value may be missing.
        words: What errors say.

    Raises:
        TargetError: `given` is neither a mapping nor a model.
        PathError: It lacks a weight or names one twice, or two weights have one path.
    """

    def __init__(self, given: Any, chosen: Sequence[Found], words: Words) -> None:
        name = words.name
        refuse_twice(chosen)
        model = isinstance(given, keras.layers.Layer)
        if model:
            given = _by_path(given, chosen)
        if not isinstance(given, Mapping):
            raise TargetError(
                f"{name}: neither a model nor a mapping from paths to arrays; got {name}="
                f"{type(given).__name__}. Take `{name} = fl.snapshot(model)` before training."
            )
        self._keys = (
            {id(weight.variable): weight.path for weight in chosen if weight.path in given}
            if model
            else keys_of(given, chosen, name)
        )
        missing = [w.path for w in chosen if w not in self and not w.state]
        if missing:
            more = f", and {len(missing) - 1} more are not either" if len(missing) > 1 else ""
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
        """What a weight was, as an array whose bits can be compared with those of `now`.

        Raises:
            words.refusal: It is the very weight or its memory, or of another shape or dtype.
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
        # JAX shares what can not be written to, and that never moves.
        if before.flags.writeable and np.may_share_memory(before, now):
            raise refusal(
                f"{weight.path}: this array is the memory of the weight itself and moves along "
                f"with it; {got}. Copy it before training, as `fl.snapshot(model)` does."
            )
        return before


def keys_of(given: Mapping[str, Any], chosen: Sequence[Found], name: str) -> dict[int, str]:
    """The key in `given` of each chosen weight that it names, by the id of the variable.

    A weight may go by its path below the target, that with the name of the target before it, or the
    path of its variable. A key may name a weight that is not chosen.

    Raises:
        PathError: Two keys name one of the weights, or one key names two.
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
    """The error for weights of one path, of which a mapping holds one."""
    seen: set[str] = set()
    for weight in weights:
        if weight.path in seen:
            raise PathError(
                f"{weight.path}: two different weights have this path, and arrays are kept by "
                f"path; got weights of {weight.layers[0].name}. Give its layers different names."
            )
        seen.add(weight.path)


def _by_path(model: Any, chosen: Sequence[Found]) -> dict[str, Found]:
    earlier, wanted = unique(weights_of(model)), {weight.path for weight in chosen}
    refuse_twice([weight for weight in earlier if weight.path in wanted])
    return {weight.path: weight for weight in earlier}
