"""The public selections that need no layer structure, and what users may pass as a selection."""

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
    """Select the entries that equal zero, also `-0.0`: keeps pruned weights pruned.

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
    """Entries selected by a NumPy index; made by `at[...]`."""

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
    """Select entries by a NumPy index: `at[0, :]` is row 0, `at[..., -1]` the last column.

    An index can contain integers (also negative), slices with steps, `...`, and lists or arrays of
    integers or booleans. It is checked against the shape of the weight when the selection is used.

    Note:
        Two index lists are combined entry by entry, as in NumPy: `at[[0, 1], [0, 1]]` is the two
        entries `(0, 0)` and `(1, 1)`. `at[[0, 1], :]` is two rows, `at[:, [0, 1]]` two columns, and
        `at[[0, 1], :] & at[:, [0, 1]]` the four entries where they cross.

    Raises:
        SelectionError: The index contains `None`, a float or a single boolean. When used: an index
            is out of range, there are too many, or a boolean array does not fit the weight's axes.

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
        """Raise an error, for users who write `fl.at(0)`."""
        raise SelectionError("at: the index must be in square brackets. Write fl.at[0, :].")

    def __repr__(self) -> str:
        return "at"


at = Indexer()


mask = Mask


def as_selection(where: Any) -> Selection:
    """Make a selection from the third argument of `freeze`.

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
    do = "Use for example fl.at[0, :] or fl.mask(array != 0)."
    if isinstance(where, str):
        do = "Write a selection without quotes, for example fl.at[0, :]."
    raise SelectionError(
        "where: must be None, a selection, an index, a boolean mask, or a function from the value "
        f"to a mask; got where={shorten(repr(where))} ({type(where).__name__}). {do}"
    )


def holds_data(selection: Selection) -> bool:
    """Whether a selection contains or reads data: a boolean array, a function, a ranking.

    Data may well select no entry of a weight. An index that selects none is probably a mistake.
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
    except ValueError:  # ragged: `at` raises the error
        return at[where]
    if array.dtype == np.bool_:
        return Mask(array)
    # An index and a mask of numbers look alike; taking one for the other freezes wrong entries.
    repeated = array.ndim == 1 and np.unique(array).size < array.size
    if np.issubdtype(array.dtype, np.integer) and (array.ndim > 1 or repeated):
        raise SelectionError(
            "where: an array of integers could be a mask or an index; got "
            f"where={shorten(repr(where))} (shape {array.shape}, dtype {array.dtype}). "
            "Write fl.mask(array != 0) or fl.at[array]."
        )
    return at[where]
