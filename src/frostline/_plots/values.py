"""Weights of a model to be looked at: what is frozen of each, and two values of it, piece by piece.

Values are read one by one, and refused where bits would not tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import stock_of
from frostline._errors import PathError, PlotError, SelectionError, TargetError
from frostline._freezing.verbs import asked
from frostline._plots.arrange import Arrangement, arrangement
from frostline._plots.maps import Subject, in_pieces
from frostline._selections.heads import head_axis
from frostline._summaries.rows import row_of
from frostline._weights.tree import Found, unique, weights_of
from frostline._weights.view import plan_of

_LISTED = 3  # paths in a message


def subject_of(weight: Found, slots: int | None = None) -> Subject:
    """A weight of a model; `slots` is how many values an optimizer keeps for each entry."""
    return Subject(row_of(weight, slots), arrangement_of(weight), plan_of(weight.variable))


def arrangement_of(weight: Found) -> Arrangement:
    """How to show a weight of a model."""
    owner: Any = weight.owner
    seen, stock = asked(weight), stock_of(owner)
    if stock.product != "einsum" or len(seen.shape) < 2:
        return arrangement(seen.name, seen.shape, stock)
    heads = None
    # An axis that may or may not be the heads is an axis like another.
    with contextlib.suppress(SelectionError):
        heads = head_axis(seen, "plot")
    axis = None if heads is None else heads.axis
    return arrangement(seen.name, seen.shape, stock, Equation.parse(owner.equation), axis)


def pairs(
    weight: Found, earlier: Callable[[Found], np.ndarray]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The pieces of a weight: where each starts, as it was and as it is."""
    after = read_value(weight)
    yield from in_pieces(fitting(weight, earlier(weight), after), after)


def refuse_twice(model: Any, chosen: Sequence[Found]) -> None:
    """The error for weights of one path, of which a mapping holds one."""
    seen: set[str] = set()
    for weight in chosen:
        if weight.path in seen:
            raise PathError(
                f"{weight.path}: two different weights have this path, and arrays are kept by "
                f"path; got weights of {model.name}. Give its layers different names."
            )
        seen.add(weight.path)


def reader(before: Any, chosen: Iterable[Found]) -> Callable[[Found], np.ndarray]:
    """What gives the earlier value of a weight; checked for all of them, read one by one."""
    if isinstance(before, keras.layers.Layer):
        earlier = unique(weights_of(before))
        wanted = {weight.path for weight in chosen}
        refuse_twice(before, [weight for weight in earlier if weight.path in wanted])
        found: Mapping[str, Any] = {weight.path: weight for weight in earlier}
    elif isinstance(before, Mapping):
        found = before
    else:
        raise TargetError(
            f"before: neither a model nor a mapping from paths to arrays; got "
            f"before={type(before).__name__}. Take `before = fl.snapshot(model)` before training."
        )
    missing = [weight.path for weight in chosen if weight.path not in found]
    if missing:
        more = f", and {len(missing) - 1} more are not either" if len(missing) > 1 else ""
        has = ", ".join(repr(path) for path in list(found)[:_LISTED])
        raise PathError(
            f"{missing[0]}: not in `before`{more}; got before with {len(found)} weights "
            f"({has}{', ...' * (len(found) > _LISTED)}). Name those that both have: "
            "`weights=[...]`."
        )

    def read(weight: Found) -> np.ndarray:
        value = found[weight.path]
        if not isinstance(value, Found):
            return np.asarray(value)
        if value.variable is weight.variable:
            raise PlotError(
                f"{weight.path}: before and after are the same weight; got before with "
                f"{value.variable.path}. Take `before = fl.snapshot(model)` before training."
            )
        return read_value(value)

    return read


def read_value(weight: Found) -> np.ndarray:
    """What a weight holds now, not copied if the backend can do without."""
    return np.asarray(keras.ops.convert_to_numpy(weight.variable.value))


def fitting(weight: Found, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`before`, where its bits can be compared with those of `after`; else the error."""
    if before.dtype.kind == "V" and before.dtype.itemsize == after.dtype.itemsize:
        before = before.view(after.dtype)  # a file of NumPy knows no bfloat16
    if before.shape != after.shape or before.dtype != after.dtype:
        raise PlotError(
            f"{weight.path}: bits are compared, so shape and dtype must be the same; got before "
            f"(shape {before.shape}, dtype {before.dtype}), after (shape {after.shape}, dtype "
            f"{after.dtype}). Take `before = fl.snapshot(model)` from the same model."
        )
    # JAX shares what can not be written to, and that never moves.
    if before.flags.writeable and np.may_share_memory(before, after):
        raise PlotError(
            f"{weight.path}: this array is the memory of the weight itself and moves with it; got "
            f"before (shape {before.shape}, dtype {before.dtype}). Copy it before training, as "
            "`fl.snapshot(model)` does."
        )
    return before
