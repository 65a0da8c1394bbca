"""The selections of the public API that need no structure, and what stands for a selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from frostline._errors import SelectionError
from frostline._selections.algebra import Mask, Selection, operand
from frostline._selections.index import (
    Array,
    Item,
    broken_rule,
    parse,
    shorten,
    show,
    shown,
    to_numpy,
)
from frostline._selections.scored import Given
from frostline._selections.weight import Weight


@dataclass(frozen=True, repr=False)
class Everything(Selection):
    """Every entry."""

    def mask(self, weight: Weight) -> np.ndarray:
        return np.ones(weight.shape, bool)

    def __repr__(self) -> str:
        return "everything"


@dataclass(frozen=True, repr=False)
class Nothing(Selection):
    """No entry."""

    def mask(self, weight: Weight) -> np.ndarray:
        return np.zeros(weight.shape, bool)

    def __repr__(self) -> str:
        return "nothing"


@dataclass(frozen=True, repr=False)
class Zeros(Selection):
    """Selects the entries that equal zero, `-0.0` too: keeps pruned weights pruned.

    The value is read once, when the selection is used.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(3, use_bias=False)
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.array([[0.0, 1.0, -0.0], [2.0, 0.0, 3.0]])])
        >>> _ = fl.freeze(layer, "kernel", fl.zeros)
        >>> fl.frozen_mask(layer.kernel).tolist()
        [[True, False, True], [False, True, False]]
    """

    def mask(self, weight: Weight) -> np.ndarray:
        return np.asarray(weight.read() == 0, bool)

    def __repr__(self) -> str:
        return "zeros"


everything = Everything()
nothing = Nothing()
zeros = Zeros()


@dataclass(frozen=True, repr=False)
class At(Selection):
    """Entries under a NumPy index; made by `at[...]`."""

    items: tuple[Item, ...]

    def mask(self, weight: Weight) -> np.ndarray:
        broken = broken_rule(self.items, weight.shape)
        if broken is not None:
            rule, do = broken
            raise weight.error(rule, shown(self), do)
        mask = np.zeros(weight.shape, bool)
        mask[to_numpy(self.items)] = True
        return mask

    def __repr__(self) -> str:
        return f"at[{show(self.items)}]"


class Indexer:
    """Selects the entries under a NumPy index: `at[0, :]` is row 0, `at[..., -1]` the last column.

    Takes integers, negative ones too, slices with steps, `...`, and lists or arrays of integers or
    booleans. Entries named twice count once. The index is checked against the shape of the weight
    when the selection is used.

    Note:
        Two index lists are read together, as in NumPy: `at[[0, 1], [0, 1]]` is the two entries
        `(0, 0)` and `(1, 1)`. `at[[0, 1], :]` is two rows, `at[:, [0, 1]]` two columns, and
        `at[[0, 1], :] & at[:, [0, 1]]` the four entries where they cross.

    Raises:
        SelectionError: When written: `None`, a float, a single boolean. When used: an index out of
            range, too many indices, or a boolean array of another shape than the weight's axes.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 2))
        >>> _ = fl.freeze(layer, "kernel", fl.at[0, :])
        >>> fl.frozen_mask(layer.kernel).tolist()
        [[True, True, True], [False, False, False]]
    """

    def __getitem__(self, index: Any) -> Selection:
        return At(parse(index))

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused, for who writes `fl.at(0)`."""
        raise SelectionError("at: takes an index in square brackets. Write fl.at[0, :].")

    def __repr__(self) -> str:
        return "at"


at = Indexer()


mask = Mask


def as_selection(where: Any) -> Selection:
    """The selection that the third argument of `freeze` stands for.

    Args:
        where: `None` (everything), a selection, an index as in `at[...]`, a boolean mask as an
            array or nested list, or a function from the value (a read-only copy) to such a mask.

    Raises:
        SelectionError: `where` is none of these.
    """
    if where is None:
        return everything
    if isinstance(where, list) or (hasattr(where, "__array__") and not callable(where)):
        return _from_array(where)
    if isinstance(where, int | np.integer | slice | tuple | range) or where is Ellipsis:
        return at[where]
    selection = None if where is at else operand(where)
    if selection is not None:
        return selection
    raise SelectionError(
        "where: expected None, a selection, an index, a boolean mask, or a function from the value "
        f"to a mask; got where={shorten(repr(where))} ({type(where).__name__}). "
        "Use for example fl.at[0, :] or fl.mask(array != 0)."
    )


def holds_data(selection: Selection) -> bool:
    """Whether a selection holds data or reads it: a boolean array, a function, a rank.

    Such data may well pick no entry of one weight of many, where a written index that picks none is
    a slip.
    """
    return any(
        any(isinstance(item, Array) and item.boolean for item in leaf.items)
        if isinstance(leaf, At)
        else leaf._reads_data
        for leaf in selection.leaves()
    )


def holds_paths(selection: Selection) -> bool:
    """Whether a selection looks weights up by their paths."""
    given = (getattr(leaf, "by", getattr(leaf, "before", None)) for leaf in selection.leaves())
    return any(isinstance(one, Given) for one in given)


def _from_array(where: Any) -> Selection:
    try:
        array = np.asarray(where)
    except ValueError:  # ragged: `at` says so
        return at[where]
    if array.dtype == np.bool_:
        return Mask(array)
    # An index and a mask of numbers look alike, and one read as the other freezes wrong entries.
    repeated = array.ndim == 1 and np.unique(array).size < array.size
    if np.issubdtype(array.dtype, np.integer) and (array.ndim > 1 or repeated):
        raise SelectionError(
            "where: an array of integers that may be meant as a mask or as an index; got "
            f"where={shorten(repr(where))} (shape {array.shape}, dtype {array.dtype}). "
            "Write fl.mask(array != 0) or fl.at[array]."
        )
    return at[where]
