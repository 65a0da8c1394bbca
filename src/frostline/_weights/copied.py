"""Plan how to copy the weights of a model into a larger one, and check everything first.

By default the block of a weight begins at 0 along each axis. If an axis has several parts side by
side, such as the gates of an LSTM, there is a block in each part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from frostline._arrays.block import STARTS, Block, Shape
from frostline._arrays.naming import paired
from frostline._catalogue import stock_of
from frostline._errors import PathError, RestoreError, SelectionError
from frostline._selections.index import broken_rule, parse, shown, to_numpy
from frostline._selections.simple import At, Selection
from frostline._weights import values
from frostline._weights.earlier import refuse_twice
from frostline._weights.suggest import nearest
from frostline._weights.tree import Found, read_value, select, unique, walk, weights_of

Fill: TypeAlias = str | Callable[[np.ndarray, Shape], Any] | None

# The axis of query heads in the sublayers of attention layers, counted from the end.
_QUERY_HEADS = {
    ("query", "kernel"): -2,
    ("query", "bias"): -2,
    ("attention_output", "kernel"): -3,
}
_NUMBERS = "biufV"  # the kinds of numeric dtypes; `V` is bfloat16


@dataclass(frozen=True, eq=False)
class Copy:
    """A weight of the old model and its place in a weight of the new model."""

    old: Found
    new: Found
    block: Block
    fill: Fill
    seed: Any

    def mask(self) -> np.ndarray:
        """The entries of the new weight that come from the old one."""
        return self.block.mask(_shape(self.new))

    def value(self) -> np.ndarray:
        """The new weight with the old one in it."""
        old, now = read_value(self.old), read_value(self.new)
        start = now
        if isinstance(self.fill, str):
            start = self.block.start(self.fill, old, now, self.seed)
        elif self.fill is not None:
            start = _called(self.fill, self.new, np.array(old), now)
        return self.block.put(old.astype(now.dtype, copy=False), start)


def plan(old: Any, new: Any, at: Any, fill: Any, missing: str, seed: int) -> list[Copy]:
    """What to copy, in the order of the new model, after checking everything.

    Raises:
        TargetError: One of the two is not a layer or model.
        NotBuiltError: One of the two has no weights yet.
        PathError: A weight has no counterpart, or a key names none.
        RestoreError: A weight does not fit its place.
        SelectionError: An argument is malformed, or an index does not fit.
    """
    if missing not in ("error", "skip"):
        raise SelectionError(
            f"missing: must be 'error' or 'skip'; got missing={missing!r}. Write `missing='skip'` "
            "to skip weights that only one of the two models has."
        )
    before, after = _ways(old), _ways(new)
    sources = _sources(old, before, after)
    targets, olds = unique(after), {id(weight.variable) for weight in before}
    places = _by_weight(new, targets, at, "at")
    fills = _fills(new, [weight for weight in targets if not weight.state], fill)
    left_out = {key for key, index in places.items() if index is None}
    if missing == "error":
        _refuse_missing(old, new, unique(before), targets, sources, left_out)
    copies = []
    for number, weight in enumerate(targets):
        key = id(weight.variable)
        if key not in sources or key in left_out:
            continue
        source = sources[key]
        if key in olds and source.variable is not weight.variable:
            raise RestoreError(
                f"{weight.path}: this weight also belongs to the old model, under another path; "
                f"got old with {source.path} for it. Build `new` with its own layers."
            )
        _refuse_dtype(source, weight)
        placed = _placed(source, weight, places[key]) if key in places else _led(source, weight)
        copies.append(Copy(source, weight, placed, fills.get(key), (seed, number)))
    if not copies:
        raise PathError(
            f"{new.name}: no weight has the path of a weight of {old.name}; got new with "
            f"{targets[0].path}, old with {before[0].path}. Give the layers the same names."
        )
    return copies


def _ways(target: Any) -> list[Found]:
    """All weights and state below a target, once for each path."""
    weights_of(target)  # raises an error for a target without weights
    found = list(walk(target, state=True))
    refuse_twice(unique(found))
    return found


def _sources(old: Any, before: Sequence[Found], after: Sequence[Found]) -> dict[int, Found]:
    """The old weight for each new variable, by its id. A tied weight has one."""
    first = {id(weight.variable): weight for weight in unique(before)}
    sources: dict[int, Found] = {}
    order = paired([weight.path for weight in before], [weight.path for weight in after])
    for weight, place in zip(before, order, strict=True):
        if place is None:
            continue
        source = first[id(weight.variable)]
        known = sources.setdefault(id(after[place].variable), source)
        if known.variable is not source.variable:
            raise RestoreError(
                f"{after[place].path}: this weight is tied in the new model, but two weights in "
                f"the old one; got {old.name} with {known.path} and {source.path}. Tie them in "
                "`old`, or build `new` without tying them."
            )
    return sources


def _by_weight(new: Any, found: Sequence[Found], given: Any, name: str) -> dict[int, Any]:
    """The value of a mapping for each weight, by the id of the variable; the last key counts."""
    if given is not None and not isinstance(given, Mapping):
        raise SelectionError(
            f"{name}: must be a mapping from paths; got {name}={shown(given)}. "
            f"Write the path of the weight: `{name}={{'head/kernel': ...}}`."
        )
    chosen: dict[int, Any] = {}
    for names, value in (given or {}).items():
        try:
            weights = select(new, found, names)
        except PathError as error:
            error.add_note(f"in {name}={{{names!r}: ...}}, whose keys are paths of the new model")
            raise
        chosen |= {id(weight.variable): value for weight in weights}
    return chosen


def _fills(new: Any, found: Sequence[Found], fill: Any) -> dict[int, Fill]:
    chosen = (
        _by_weight(new, found, fill, "fill")
        if isinstance(fill, Mapping)
        else {id(weight.variable): fill for weight in found}
    )
    for value in chosen.values():
        known_start = isinstance(value, str) and value in STARTS
        if not (value is None or known_start or callable(value)):
            known = ", ".join(map(repr, STARTS))
            close = nearest(value, STARTS) if isinstance(value, str) else []
            raise SelectionError(
                f"fill: must be None, {known}, a function of the old array and the new shape, or "
                f"a mapping from paths to these; got fill={shown(value)}. Write "
                f"`fill={close[0] if close else 'mean'!r}`."
            )
    return chosen


def _refuse_missing(
    old: Any,
    new: Any,
    before: Sequence[Found],
    after: Sequence[Found],
    sources: Mapping[int, Found],
    left_out: set[int],
) -> None:
    used = {id(source.variable) for source in sources.values()}
    lost = [weight for weight in before if id(weight.variable) not in used]
    known = sources.keys() | left_out
    bare = [weight for weight in after if id(weight.variable) not in known]
    for missing, model, name, others in ((lost, new, "old", bare), (bare, old, "new", lost)):
        if missing:
            weight = missing[0]
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            near = nearest(weight.path, [other.path for other in others])
            hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
            raise PathError(
                f"{weight.path}: {model.name} has no weight with this path; got {name} with "
                f"{weight.path} (shape {_shape(weight)}){more}.{hint} Give the layers the same "
                "names, or write `missing='skip'` to skip weights that only one model has."
            )


def _refuse_dtype(old: Found, new: Found) -> None:
    names = [keras.backend.standardize_dtype(weight.variable.dtype) for weight in (old, new)]
    exact = names[0] == names[1] or (
        all(map(keras.backend.is_float_dtype, names))
        and np.can_cast(np.dtype(names[0]), np.dtype(names[1]))
    )
    if not exact:
        raise RestoreError(
            f"{new.path}: the dtype of the new weight cannot hold every value of the old one; "
            f"{_got(old, new)}. Build `new` with the dtype of `old`."
        )


def _led(old: Found, new: Found) -> Block:
    """The leading block."""
    before, after = _divided(old), _divided(new)
    if len(before) != len(after):
        rule = "its rank differs from that of the old weight"
    elif any(size < needed for size, needed in zip(after, before, strict=True)):
        rule = "it is smaller than the old weight"
    else:
        return Block.leading(before, after)
    raise RestoreError(
        f"{new.path}: {rule}; {_got(old, new)}. Give its place with `at={{{new.path!r}: index}}`, "
        f"or skip it with `at={{{new.path!r}: None}}`."
    )


def _placed(old: Found, new: Found, index: Any) -> Block:
    """The block that an index selects."""
    if isinstance(index, Selection) and not isinstance(index, At):
        raise SelectionError(
            f"{new.path}: a place must be a NumPy index or `fl.at[...]`; got at={shown(index)}. "
            "Write `np.s_[:, 3:]`, or a list of positions along the first axis."
        )
    items = index.items if isinstance(index, At) else parse(index)
    shape = _shape(new)
    broken = broken_rule(items, shape)
    if broken is not None:
        raise SelectionError(
            f"{new.path}: {broken[0]}; got at={shown(index)} (shape {shape}). {broken[1]}"
        )
    block = Block(_shape(old), shape, to_numpy(items))
    if block.region != block.old:
        raise RestoreError(
            f"{new.path}: the place must have the shape of the old weight; got at={shown(index)} "
            f"(shape {block.region}), {_got(old, new)}. Select a region of shape {block.old}."
        )
    if np.count_nonzero(block.mask(shape)) != np.prod(block.old, dtype=int):
        raise SelectionError(
            f"{new.path}: a place must select each entry once; got at={shown(index)} (shape "
            f"{shape}). Remove repeated positions."
        )
    return block


def _divided(weight: Found) -> Shape:
    """The shape of a weight; an axis with several parts side by side is divided into two axes.

    Then an entry has the same position in its part in a layer with more units.
    """
    shape, name = _shape(weight), weight.variable.name
    stock = stock_of(weight.owner)
    if stock.gates and any(own.name == name for own in stock.variables):
        return (*shape[:-1], len(stock.gates), shape[-1] // len(stock.gates))
    split: tuple[int, int] | None = None  # an axis from the end, and the size of its inner part
    if (stock.product, name) == ("depthwise_conv", "bias"):
        split = -1, weight.owner.depth_multiplier
    elif (stock.product, name) == ("separable_conv", "pointwise_kernel"):
        split = -2, weight.owner.depth_multiplier
    elif len(weight.layers) > 1 and stock_of(weight.layers[-2]).makes[1] == "EinsumDense":
        # In grouped-query attention, the number of query heads for each key/value head.
        readers = getattr(weight.layers[-2], "num_repeats", None)
        axis = _QUERY_HEADS.get((weight.owner.name, name))
        split = None if readers is None or axis is None else (axis, readers)
    if split is None:
        return shape
    place = len(shape) + split[0]
    return (*shape[:place], shape[place] // split[1], split[1], *shape[place + 1 :])


def _called(fill: Callable[..., Any], weight: Found, old: np.ndarray, now: np.ndarray) -> Any:
    given = values.as_array(fill(old, now.shape), now.dtype)
    try:
        if given.dtype.kind in _NUMBERS:
            return np.broadcast_to(given, now.shape).astype(now.dtype)
    except ValueError:
        pass
    raise RestoreError(
        f"{weight.path}: the array from the function `fill` does not fit the weight; got fill with "
        f"an array (shape {given.shape}, dtype {given.dtype}), new (shape {now.shape}, dtype "
        f"{now.dtype}). Return an array of the new shape."
    )


def _shape(weight: Found) -> Shape:
    return tuple(map(int, weight.variable.shape))


def _got(old: Found, new: Found) -> str:
    named = (("old", old), ("new", new))
    return "got " + ", ".join(
        f"{name} (shape {_shape(weight)}, dtype {weight.variable.dtype})" for name, weight in named
    )
