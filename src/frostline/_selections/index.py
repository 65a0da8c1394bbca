"""NumPy index expressions as immutable values, checked against a shape when they are used.

Pure functions on plain data; `frostline._selections.simple.at` is their public interface.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np

from frostline._errors import SelectionError


@dataclass(frozen=True)
class Slice:
    """A `slice` that can be hashed (Python's own cannot before 3.12)."""

    start: int | None
    stop: int | None
    step: int | None

    def __str__(self) -> str:
        start, stop, step = (
            "" if n is None else str(n) for n in (self.start, self.stop, self.step)
        )
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"

    def numpy(self) -> slice:
        """The NumPy slice."""
        return slice(self.start, self.stop, self.step)


@dataclass(frozen=True)
class Array:
    """An integer (int64) or boolean array, stored as bytes so that it is immutable."""

    shape: tuple[int, ...]
    data: bytes
    boolean: bool

    def __str__(self) -> str:
        array = self.numpy()
        return described(array) if self.boolean and in_message() else str(array.tolist())

    def numpy(self) -> np.ndarray:
        """The NumPy array, read-only."""
        return np.frombuffer(self.data, bool if self.boolean else np.int64).reshape(self.shape)


Item = int | EllipsisType | Slice | Array

_in_message: ContextVar[bool] = ContextVar("_in_message", default=False)


def shorten(text: str, limit: int = 100) -> str:
    """Cut `text` in the middle, for messages: an index list may contain a whole vocabulary."""
    return text if len(text) <= limit else f"{text[: limit - 40]} ... {text[-30:]}"


def shown(value: Any) -> str:
    """The text of a selection for a message, with boolean arrays described in a few words."""
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return described(value)
    token = _in_message.set(True)
    try:
        return shorten(repr(value))
    finally:
        _in_message.reset(token)


def described(array: np.ndarray) -> str:
    """Describe a boolean array in a few words."""
    return f"boolean array of shape {array.shape}, {np.count_nonzero(array):,} True"


def in_message() -> bool:
    """Whether a selection is printed for a message, which nobody parses."""
    return _in_message.get()


def parse(index: object) -> tuple[Item, ...]:
    """Parse the index in `at[...]` into items.

    Raises:
        SelectionError: The index contains `None`, a single boolean, a float, a ragged list, more
            than one `...`, or an object that cannot index an array.
    """
    parts: Iterable[object] = index if isinstance(index, tuple) else (index,)
    items = tuple(parse_item(part) for part in parts)
    if sum(item is Ellipsis for item in items) > 1:
        raise SelectionError(
            f"at: an index can have only one `...`; got at[{show(items)}]. Use `:` for single axes."
        )
    return items


def parse_item(part: object) -> Item:
    """Parse one part of an index, between two commas; errors as in `parse`."""
    if isinstance(part, EllipsisType):
        return part
    if part is None:
        raise SelectionError(
            "at: a new axis selects no entries; got None (np.newaxis). Leave it out of fl.at[...]."
        )
    if isinstance(part, bool | np.bool_):
        raise SelectionError(
            f"at: a single boolean is not an index; got {part}. "
            "Use fl.everything, fl.nothing, or an integer."
        )
    if isinstance(part, slice):
        return _parse_slice(part)
    try:
        return operator.index(part)  # pyright: ignore[reportArgumentType]  # any __index__ works
    except TypeError:
        return parse_array(part, "at")


def _parse_slice(part: slice) -> Slice:
    try:
        bounds = [
            None if n is None else operator.index(n) for n in (part.start, part.stop, part.step)
        ]
    except TypeError:
        raise SelectionError(
            f"at: the bounds of a slice must be integers; got {part}. Use int(...) on each."
        ) from None
    if bounds[2] == 0:
        raise SelectionError(f"at: the step of a slice must not be zero; got {part}. Use 1 or -1.")
    return Slice(*bounds)


def parse_array(part: Any, caller: str) -> Array:
    """Turn a list or an array of integers or booleans into an `Array`.

    Args:
        part: Nested list, range, or array with `__array__`, of any integer dtype or of booleans.
        caller: Name at the start of the messages.

    Raises:
        SelectionError: `part` has floats or strings, is ragged, or is a boolean array without axes
            or entries.
    """
    try:
        array = np.asarray(part)
    except ValueError:
        raise SelectionError(
            f"{caller}: the rows of an index list must have the same length; got "
            f"{shorten(repr(part))}. Use one fl.at[...] for each and join them with |."
        ) from None
    if array.size == 0 and not hasattr(part, "dtype"):
        array = array.astype(np.int64)  # np.asarray([]) is float64, but NumPy accepts [] as index
    if array.dtype.kind == "b":
        if array.size == 0 or array.ndim == 0:
            raise SelectionError(
                f"{caller}: a boolean index must not be empty or 0-d; got shape {array.shape}. "
                "Use fl.mask(array), fl.everything or fl.nothing."
            )
        return Array(array.shape, array.tobytes(), boolean=True)
    if array.dtype.kind not in "iu":
        got = f"dtype={array.dtype}" if array.dtype.kind in "fc" else type(part).__name__
        raise SelectionError(
            f"{caller}: an index can contain integers, slices, `...`, and arrays of integers or "
            f"booleans; got {got} ({shorten(repr(part))}). Use integers, or fl.mask(array != 0)."
        )
    if array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise SelectionError(
            f"{caller}: an index must fit in 64 bits; got {array.max()}. Use a smaller index."
        )
    if array.size == 0:
        array = array.reshape(0)  # no list prints as (0, 2); every empty index selects nothing
    return Array(array.shape, array.astype(np.int64).tobytes(), boolean=False)


def show(items: tuple[Item, ...]) -> str:
    """The text between the brackets; parsing it gives equal items again."""
    if not items:
        return "()"
    return ", ".join("..." if item is Ellipsis else str(item) for item in items)


def to_numpy(items: tuple[Item, ...]) -> tuple[Any, ...]:
    """The index as a tuple for NumPy."""
    return tuple(item.numpy() if isinstance(item, Slice | Array) else item for item in items)


def broken_rule(items: tuple[Item, ...], shape: tuple[int, ...]) -> tuple[str, str] | None:
    """The rule of NumPy indexing that `items` break on a weight of `shape`, and what to do.

    Checked here because the texts of NumPy's errors change between versions.
    """
    used = sum(_axes(item) for item in items)
    if used > len(shape):
        do = f"Use fl.at with {len(shape)} or fewer." if shape else "Use fl.everything."
        axes = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
        return f"too many indices, {used} for a weight with {axes}", do
    axis = 0
    for item in items:
        if isinstance(item, EllipsisType):
            axis += len(shape) - used
            continue
        broken = _broken_item(item, shape, axis)
        if broken is not None:
            return broken
        axis += _axes(item)
    return _broken_broadcast(items)


def _axes(item: Item) -> int:
    """The number of axes of the weight that an item indexes."""
    if isinstance(item, Array) and item.boolean:
        return len(item.shape)
    return 0 if item is Ellipsis else 1


def _broken_item(
    item: int | Slice | Array, shape: tuple[int, ...], axis: int
) -> tuple[str, str] | None:
    if isinstance(item, Slice):
        return None
    if isinstance(item, Array) and item.boolean:
        wanted = shape[axis : axis + len(item.shape)]
        if item.shape == wanted:
            return None
        return (
            f"the boolean index at axis {axis} has shape {item.shape}, the weight has {wanted}",
            f"Use a boolean array of shape {wanted}.",
        )
    rule = f"index {{}} is out of range for axis {axis} of size {{}}"
    broken = out_of_range(item, shape[axis], rule)
    if broken and isinstance(item, int) and axis == 0 < item < shape[-1]:
        # A row where a column is meant: the unit, filter or feature of this number.
        return broken[0], f"{broken[1]} For the last axis write fl.at[..., {item}]."
    return broken


def out_of_range(item: int | Array, size: int, rule: str) -> tuple[str, str] | None:
    """The broken rule if an integer, or an integer of an array, is not in `-size..size-1`."""
    values = item.numpy() if isinstance(item, Array) else np.array([item], dtype=object)
    if values.size == 0:
        return None
    low, high = int(values.min()), int(values.max())
    if -size <= low and high < size:
        return None
    do = f"Use an index from {-size} to {size - 1}." if size else "Use fl.nothing: it is empty."
    return rule.format(high if high >= size else low, size), do


def _broken_broadcast(items: tuple[Item, ...]) -> tuple[str, str] | None:
    arrays = [item for item in items if isinstance(item, Array)]
    shapes = [(int(item.numpy().sum()),) if item.boolean else item.shape for item in arrays]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(map(str, shapes))
        return (
            f"index arrays are combined entry by entry, so their shapes must fit, not {listed}",
            "Use one fl.at[...] for each axis and join them with &.",
        )
    return None
