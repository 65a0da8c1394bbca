"""Selections and their algebra, `a & b`, `a | b`, `~a`; boolean arrays and functions as selections.

Selections are small immutable values. In every boolean mask `True` means frozen. Pure NumPy.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from frostline._errors import SelectionError
from frostline._selections.index import described, in_message, shorten, shown
from frostline._selections.weight import Weight

_LISTED = 64  # a mask with more entries prints in packed form


class Selection(ABC):
    """Which entries of a weight to freeze.

    Selections are immutable and hashable. They compare by content and print as the expression that
    makes them. `a & b`, `a | b` and `~a` combine them entry by entry; one side may be a boolean
    array or a callable.

    Note:
        A selection by structure (units, tokens, heads) does not apply to weights that have no such
        parts, and neither does its complement. For such a weight, `a | b` selects what the other
        side selects, and `a & b` does not apply either.

    Examples:
        >>> import frostline as fl
        >>> ~(fl.at[0] | fl.zeros)
        ~(at[0] | zeros)
        >>> fl.at[0, :] == fl.at[0, :]
        True
    """

    # How tightly the printed form binds: | is 1, & is 2, ~ is 3, anything else 4.
    _binds: ClassVar[int] = 4
    _reads_data: ClassVar[bool] = False
    # Without this, `array | selection` would build an object array of selections.
    __array_ufunc__: ClassVar[None] = None

    @abstractmethod
    def mask(self, weight: Weight) -> np.ndarray | None:
        """Return the entries of `weight` to freeze.

        Returns:
            Boolean array of exactly `weight.shape`, `True` = frozen; or `None` if the selection
            does not apply to this weight.

        Raises:
            SelectionError: The selection does not fit the weight.
        """

    def among(self, weights: Sequence[Weight]) -> Selection:
        """Prepare the selection for one call of `freeze` or `unfreeze` with all these weights.

        Returns the selection itself, unless it compares entries of several weights.

        Args:
            weights: All weights that the call applies this selection to, in the model's order.
        """
        del weights
        return self

    def leaves(self) -> Iterator[Selection]:
        """The selections that this one combines; only itself if it combines none."""
        yield self

    def __and__(self, other: Any) -> Selection:
        other = operand(other)
        return NotImplemented if other is None else And(self, other)

    def __or__(self, other: Any) -> Selection:
        other = operand(other)
        return NotImplemented if other is None else Or(self, other)

    def __rand__(self, other: Any) -> Selection:
        other = operand(other)
        return NotImplemented if other is None else And(other, self)

    def __ror__(self, other: Any) -> Selection:
        other = operand(other)
        return NotImplemented if other is None else Or(other, self)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise an error, for users who write `fl.zeros()`."""
        raise SelectionError(f"{shown(self)}: a selection cannot be called. Pass it without ().")

    def __invert__(self) -> Selection:
        return Not(self)

    def __bool__(self) -> bool:
        # `a and b` would silently be `b`, and `not a` would be `False`.
        raise SelectionError(
            f"{shown(self)}: a selection has no truth value. "
            "Use &, | and ~ instead of and, or and not."
        )

    def _shown(self, binds: int) -> str:
        return repr(self) if self._binds >= binds else f"({self!r})"


@dataclass(frozen=True, repr=False)
class And(Selection):
    """Entries that both sides select."""

    left: Selection
    right: Selection
    _binds: ClassVar[int] = 2

    def mask(self, weight: Weight) -> np.ndarray | None:
        left, right = self.left.mask(weight), self.right.mask(weight)
        if left is None or right is None:
            return None
        return np.asarray(left & right)  # NumPy turns 0-d arrays into scalars

    def among(self, weights: Sequence[Weight]) -> Selection:
        return And(self.left.among(weights), self.right.among(weights))

    def leaves(self) -> Iterator[Selection]:
        yield from self.left.leaves()
        yield from self.right.leaves()

    def __repr__(self) -> str:
        return f"{self.left._shown(2)} & {self.right._shown(3)}"


@dataclass(frozen=True, repr=False)
class Or(Selection):
    """Entries that at least one side selects."""

    left: Selection
    right: Selection
    _binds: ClassVar[int] = 1

    def mask(self, weight: Weight) -> np.ndarray | None:
        left, right = self.left.mask(weight), self.right.mask(weight)
        if left is None or right is None:
            return right if left is None else left
        return np.asarray(left | right)

    def among(self, weights: Sequence[Weight]) -> Selection:
        return Or(self.left.among(weights), self.right.among(weights))

    def leaves(self) -> Iterator[Selection]:
        yield from self.left.leaves()
        yield from self.right.leaves()

    def __repr__(self) -> str:
        return f"{self.left._shown(1)} | {self.right._shown(2)}"


@dataclass(frozen=True, repr=False)
class Not(Selection):
    """Entries that the operand does not select."""

    operand: Selection
    _binds: ClassVar[int] = 3

    def mask(self, weight: Weight) -> np.ndarray | None:
        mask = self.operand.mask(weight)
        return None if mask is None else np.asarray(~mask)

    def among(self, weights: Sequence[Weight]) -> Selection:
        return Not(self.operand.among(weights))

    def leaves(self) -> Iterator[Selection]:
        yield from self.operand.leaves()

    def __repr__(self) -> str:
        return f"~{self.operand._shown(3)}"


@dataclass(frozen=True, init=False, repr=False)
class Mask(Selection):
    """Select the entries where a boolean array is `True`: `True` = frozen.

    Args:
        array: Boolean array of exactly the shape of the weight, or a nested list of booleans. It is
            copied.

    Raises:
        SelectionError: The array is not boolean; or, when used, its shape is not the weight's.

    Examples:
        >>> import frostline as fl
        >>> fl.mask([[True, False]]) | fl.at[:, 1]
        mask([[True, False]]) | at[:, 1]
        >>> fl.mask.packed((1, 2), "eNprAAAAgQCB")
        mask([[True, False]])
    """

    shape: tuple[int, ...]
    _reads_data: ClassVar[bool] = True
    bits: bytes  # np.packbits of the entries in C order: immutable, an eighth of the array

    def __init__(self, array: Any) -> None:
        try:
            value = np.asarray(array)
        except ValueError:
            raise SelectionError(
                f"mask: the rows must have the same length; got {shorten(repr(array))}. "
                "Use rows of one length."
            ) from None
        if value.size == 0 and isinstance(array, list):
            value = value.astype(bool)
        if value.dtype != np.bool_:
            raise SelectionError(
                f"mask: the array must be boolean; got dtype={value.dtype} (shape {value.shape}). "
                "Use fl.mask(array != 0)."
            )
        self._hold(value.shape, np.packbits(value.ravel()).tobytes())

    def _hold(self, shape: tuple[int, ...], bits: bytes) -> None:
        object.__setattr__(self, "shape", shape)  # the dataclass is frozen
        object.__setattr__(self, "bits", bits)

    @classmethod
    def packed(cls, shape: tuple[int, ...], data: str) -> Mask:
        """Make a mask from the text that a large mask prints.

        Args:
            shape: Shape of the mask.
            data: Base64 of the zlib-compressed `np.packbits` of the entries in C order.

        Raises:
            SelectionError: `data` is damaged, or its number of entries does not fit `shape`.
        """
        size = math.prod(shape)
        wanted = -(-size // 8)
        try:
            # Limited: a damaged or hostile text must not unpack to more than the shape allows.
            inflate = zlib.decompressobj()
            bits = inflate.decompress(base64.b64decode(data, validate=True), wanted + 1)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise SelectionError(
                f"mask.packed: the data cannot be unpacked ({error}); got data={data[:20]!r}... "
                f"(shape {shape}). Use the text that repr(fl.mask(array)) prints."
            ) from None
        if len(bits) != wanted or not inflate.eof or min(shape, default=0) < 0:
            raise SelectionError(
                f"mask.packed: the data does not hold {size} entries; got data={data[:20]!r}... "
                f"(shape {shape}). Use the text that repr(fl.mask(array)) prints."
            )
        selection = cls.__new__(cls)
        bits = np.packbits(np.unpackbits(np.frombuffer(bits, np.uint8), count=size)).tobytes()
        selection._hold(tuple(int(n) for n in shape), bits)
        return selection

    def _array(self) -> np.ndarray:
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=math.prod(self.shape))
        return flat.astype(bool).reshape(self.shape)

    def mask(self, weight: Weight) -> np.ndarray:
        if self.shape != weight.shape:
            raise weight.error(
                "a mask must have exactly the shape of the weight",
                f"a mask of shape {self.shape}",
                fitting_hint(self.shape, weight.shape),
            )
        return self._array()

    def __repr__(self) -> str:
        if in_message():
            return described(self._array())
        if 0 < math.prod(self.shape) <= _LISTED or self.shape == (0,):
            return f"mask({self._array().tolist()})"
        data = base64.b64encode(zlib.compress(self.bits, 9)).decode("ascii")
        return f"mask.packed({self.shape}, {data!r})"


def fitting_hint(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Advice for a boolean array whose shape is not the weight's."""
    if shape and shape == wanted[: len(shape)]:
        return "Use fl.at[array], an index along the first axes."
    try:
        fits = np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        fits = False
    if fits:
        return f"Use fl.mask(np.broadcast_to(array, {wanted}))."
    return f"Make it an array of shape {wanted}."


@dataclass(frozen=True, repr=False)
class Where(Selection):
    """Entries that a function of the value selects; `as_selection` makes it from a callable."""

    function: Callable[[np.ndarray], Any]
    _reads_data: ClassVar[bool] = True

    def mask(self, weight: Weight) -> np.ndarray:
        picked = weight.ask(self.function, "selecting")
        array = np.asarray(picked)
        if array.dtype != np.bool_:
            got = f"dtype={array.dtype}" if hasattr(picked, "dtype") else type(picked).__name__
            raise weight.error(
                f"{self} must return a boolean array, True = frozen", got, "Return `array != 0`."
            )
        if array.shape != weight.shape:
            raise weight.error(
                f"{self} must return an array of the weight's shape",
                f"an array of shape {array.shape}",
                f"Return a boolean array of shape {weight.shape}.",
            )
        return array

    def __repr__(self) -> str:
        return f"where({getattr(self.function, '__qualname__', repr(self.function))})"


def operand(other: Any) -> Selection | None:
    """The selection for one side of an operator; None if `other` cannot be one.

    Raises:
        SelectionError: `other` is an array that is not boolean: it could be an index or a mask.
    """
    if isinstance(other, Selection):
        return other
    uncalled = getattr(other, "__module__", None) == "frostline._selections.choosing"
    if uncalled or (isinstance(other, type) and issubclass(other, Selection)):
        name = other.__name__.lower()
        raise SelectionError(f"{name}: must be called; got fl.{name}. Use fl.{name}(...).")
    if hasattr(other, "__array__") and getattr(other, "ndim", 0) > 0 and not callable(other):
        if np.asarray(other).dtype != np.bool_:
            raise SelectionError(
                "where: only boolean arrays can be combined with a selection; got an array "
                f"(shape {tuple(other.shape)}, dtype {other.dtype}). "
                "Write fl.at[array] or fl.mask(array != 0)."
            )
        return Mask(other)
    return Where(other) if callable(other) else None
