"""The base of all selections and their algebra: `a & b`, `a | b`, `~a`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from frostline import _index
from frostline._errors import SelectionError


@dataclass(frozen=True)
class Weight:
    """What a selection is asked about: a weight, described without its framework.

    Args:
        path: Path below the target, for messages, such as `"hidden/kernel"`.
        name: Name of the variable, such as `"kernel"`.
        shape: Static shape.
        dtype: Name of the dtype, such as `"float32"`.
        read: Gives the current value as a NumPy array. Only selections that need it call it.
        layers: Keras layers from the target down to the owner of the weight, the owner last.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    layers: tuple[Any, ...] = ()

    def error(self, rule: str, got: str, do: str) -> SelectionError:
        """A `SelectionError` about this weight, in the format of `frostline._errors`."""
        got = _index.shorten(got)
        return SelectionError(
            f"{self.path}: {rule}; got {got} (shape {self.shape}, dtype {self.dtype}). {do}"
        )


class Selection(ABC):
    """Which entries of a weight to freeze.

    Selections are immutable, hashable, compare by what they say, and print as the expression that
    makes them. `a & b`, `a | b` and `~a` combine them entry by entry; one side may be
    a boolean array or a callable.

    Note:
        A selection by structure (units, tokens, heads) says nothing about weights that have no such
        parts, and neither does its complement. In `a | b` the other side then decides alone;
        `a & b` says nothing either.

    Examples:
        >>> import frostline as fl
        >>> ~(fl.at[0] | fl.zeros)
        ~(at[0] | zeros)
        >>> fl.at[0, :] == fl.at[0, :]
        True
    """

    # How tightly the printed form binds: | is 1, & is 2, ~ is 3, anything else 4.
    _binds: ClassVar[int] = 4
    # Without this, `array | selection` would build an object array of selections.
    __array_ufunc__: ClassVar[None] = None

    @abstractmethod
    def mask(self, weight: Weight) -> np.ndarray | None:
        """The entries of `weight` to freeze.

        Returns:
            Boolean array of exactly `weight.shape`, `True` = frozen; or `None` if the selection
            says nothing about this weight.

        Raises:
            SelectionError: The selection does not fit the weight.
        """

    def __and__(self, other: Any) -> Selection:
        other = _selection(other)
        return NotImplemented if other is None else And(self, other)

    def __or__(self, other: Any) -> Selection:
        other = _selection(other)
        return NotImplemented if other is None else Or(self, other)

    def __rand__(self, other: Any) -> Selection:
        other = _selection(other)
        return NotImplemented if other is None else And(other, self)

    def __ror__(self, other: Any) -> Selection:
        other = _selection(other)
        return NotImplemented if other is None else Or(other, self)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused, for who writes `fl.zeros()`."""
        raise SelectionError(
            f"{_index.shorten(repr(self))}: a selection is not called. Pass it as it is."
        )

    def __invert__(self) -> Selection:
        return Not(self)

    def __bool__(self) -> bool:
        # `a and b` would silently be `b`, and `not a` would be `False`.
        raise SelectionError(
            f"{_index.shorten(repr(self))}: a selection is neither true nor false. "
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
        return np.asarray(left & right)  # NumPy turns arrays without axes into scalars

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

    def __repr__(self) -> str:
        return f"~{self.operand._shown(3)}"


def _selection(other: Any) -> Selection | None:
    """What stands on the other side of an operator; None for what is no set of entries."""
    # Here, because selections are made of these classes.
    from frostline._selections import as_selection

    if isinstance(other, Selection):
        return other
    is_array = hasattr(other, "__array__") and getattr(other, "ndim", 0) > 0
    return as_selection(other) if is_array or callable(other) else None
