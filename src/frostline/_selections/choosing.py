"""Selections by value: `smallest`, `largest`, `n_of_m`, `changed`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from frostline._errors import SelectionError
from frostline._selections.algebra import Selection
from frostline._selections.differing import Differing
from frostline._selections.groups import checked_of, checked_reduce
from frostline._selections.index import shorten
from frostline._selections.patterned import Patterned
from frostline._selections.ranked import Ranked
from frostline._selections.scored import Given, checked_by, checked_seed

By: TypeAlias = "Literal['magnitude', 'random'] | Mapping[str, Any] | Callable[[np.ndarray], Any]"
Scope: TypeAlias = Literal["weight", "layer", "model"]
Of: TypeAlias = "Literal['entries', 'rows', 'columns', 'units', 'heads'] | tuple[int, ...]"
Reduce: TypeAlias = "Literal['mean', 'sum', 'min', 'max'] | Callable[..., Any]"

_SCOPES = ("weight", "layer", "model")


def smallest(
    n: int | float,
    *,
    by: By = "magnitude",
    scope: Scope = "weight",
    of: Of = "entries",
    reduce: Reduce = "mean",
    seed: int = 0,
) -> Selection:
    """Select the `n` entries with the smallest scores.

    If scores are equal, the weight that comes first in the model wins, then the smaller flat index.
    NaN comes last. Frozen entries count too, and a shared weight counts once.

    Args:
        n: How many to select in each `scope`: a share (a float above 0 and up to 1.0, rounded to
            the nearest number) or a number (an int from 0).
        by: The scores: `"magnitude"` (the absolute value), `"random"`, a mapping from paths to
            arrays of the weights' shapes such as `fl.scores` returns, or a function from the value
            (a read-only array) to an array of the same shape. Absolute values are taken for
            `"magnitude"` only. 64-bit numbers are compared as float64.
        scope: Where `n` is counted: in each `"weight"`, in each `"layer"`, or in the `"model"`,
            which means all weights that the call uses this selection for.
        of: What to select: `"entries"`; `"rows"` (along the first axis) or `"columns"` (along the
            last); `"units"` or `"heads"` as in `fl.units` and `fl.heads`; or blocks of a shape such
            as `(4, 4)` along the last axes. A unit or head is selected as a whole, in all named
            weights of its layer, so for these scope `"weight"` means `"layer"`.
        reduce: How to combine the scores of such a group: `"mean"`, `"sum"`, `"min"`, `"max"`, or a
            function `reduce(array, axis)` like `np.median`.
        seed: Makes `"random"` repeatable. Random scores are drawn weight by weight, in the order of
            the model.

    Returns:
        A selection. It is evaluated once, when it is used. Later changes of the weights do not
        change what is frozen.

    Raises:
        SelectionError: An argument is invalid. When used: `n` is larger than the number there is, a
            weight has no scores, blocks do not divide it evenly, or the positions of its units or
            heads are unknown.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 2))
        >>> layer.kernel.assign(np.array([[1, -5, 2], [-3, 4, 0]])) is None
        False
        >>> _ = fl.freeze(layer, "kernel", fl.smallest(0.5))
        >>> fl.frozen_mask(layer.kernel).tolist()
        [[True, False, True], [False, False, True]]
        >>> fl.smallest(1, of="columns", scope="model")
        smallest(1, scope='model', of='columns')
    """
    return _ranked("smallest", n, by, scope, of, reduce, seed)


def largest(
    n: int | float,
    *,
    by: By = "magnitude",
    scope: Scope = "weight",
    of: Of = "entries",
    reduce: Reduce = "mean",
    seed: int = 0,
) -> Selection:
    """Select the `n` entries with the largest scores.

    Args:
        n: How many to select, as in `smallest`.
        by: The scores, as in `smallest`.
        scope: Where `n` is counted, as in `smallest`.
        of: What to select, as in `smallest`.
        reduce: How to combine the scores of a group, as in `smallest`.
        seed: Makes `"random"` repeatable, as in `smallest`.

    Returns:
        A selection. If scores are equal, the weight that comes first in the model wins, then the
        smaller flat index. NaN comes last. So it is not always the complement of `smallest`.

    Raises:
        SelectionError: As for `smallest`.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 2))
        >>> importance = {"kernel": np.array([[1, 5, 2], [3, 4, 0]])}
        >>> fl.train_only(layer, "kernel", fl.largest(2, by=importance))
        kernel: 2 of 6 entries train
        everything else is frozen: 1 weight, 3 entries
    """
    return _ranked("largest", n, by, scope, of, reduce, seed)


def n_of_m(n: int, m: int, *, by: By = "magnitude", axis: int = -1, seed: int = 0) -> Selection:
    """Select the `n` smallest of every `m` consecutive entries along an axis, for N:M sparsity.

    If scores are equal, the smaller index wins. NaN comes last.

    Args:
        n: How many to select in each group, an integer from 0 to `m`.
        m: The number of consecutive entries in a group.
        by: The scores, as in `smallest`.
        axis: The axis along which entries are grouped. Hardware for 2:4 sparsity needs the axis of
            the inputs, which is axis 0 of the kernel of a `Dense`.
        seed: Makes `"random"` repeatable, as in `smallest`.

    Raises:
        SelectionError: An argument is invalid. When used: the weight has no such axis, or `m` does
            not divide its length.

    References:
        Mishra et al. 2021, "Accelerating sparse deep neural networks", arXiv:2104.08378.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(1)
        >>> layer.build((None, 4))
        >>> layer.kernel.assign(np.array([[3], [-1], [2], [4]])) is None
        False
        >>> _ = fl.freeze(layer, "kernel", fl.n_of_m(2, 4, axis=0))
        >>> fl.frozen_mask(layer.kernel)[:, 0].tolist()
        [False, True, True, False]
    """
    number, every = _integer(n), _integer(m)
    if number is None or every is None or not 0 <= number <= every or every < 1:
        raise SelectionError(
            f"n_of_m: n and m must be integers with 0 <= n <= m and m > 0; got n={n!r}, m={m!r}. "
            "Use for example fl.n_of_m(2, 4)."
        )
    along = _integer(axis)
    if along is None:
        raise SelectionError(f"n_of_m: axis must be an integer; got axis={axis!r}. Use axis=-1.")
    return Patterned(
        n=number,
        m=every,
        by=checked_by(by, "n_of_m"),
        axis=along,
        seed=checked_seed(seed, "n_of_m"),
    )


def changed(before: Mapping[str, Any], *, tolerance: float | None = None) -> Selection:
    """Select the entries that differ from those of a snapshot.

    Args:
        before: A mapping from paths to arrays of the weights' shapes and dtypes, such as
            `fl.snapshot` returns.
        tolerance: Select only entries with |now - before| > `tolerance`, a number from 0. An entry
            that stays NaN is not selected. By default each entry with a different bit is selected,
            also where `0.0` became `-0.0`.

    Raises:
        SelectionError: An argument is invalid. When used: `before` lacks a weight, has it with
            another shape or dtype, or contains the weight itself instead of a copy.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 2))
        >>> before = fl.snapshot(layer)
        >>> layer.kernel.assign(layer.kernel + [[0.0, 1.0], [0.0, 0.0]]) is None
        False
        >>> fl.freeze(layer, "kernel", ~fl.changed(before))
        kernel: 3 entries changed, 3 of 4 frozen
    """
    if not isinstance(before, Mapping):
        raise SelectionError(
            "changed: before must be a mapping from paths to arrays; got "
            f"before={type(before).__name__}. Take `before = fl.snapshot(model)` before training."
        )
    if tolerance is not None and not (_is_number(tolerance) and tolerance >= 0):
        raise SelectionError(
            f"changed: tolerance must be a number from 0; got tolerance={tolerance!r}. "
            "Leave it out to compare bits."
        )
    return Differing(Given(before), None if tolerance is None else float(tolerance))


def _ranked(name: str, n: Any, by: Any, scope: Any, of: Any, reduce: Any, seed: Any) -> Selection:
    count = _integer(n)
    share = float(n) if count is None and _is_number(n) else None
    if not (0 < share <= 1 if share is not None else count is not None and count >= 0):
        raise SelectionError(
            f"{name}: n must be a share (a float above 0 and up to 1.0) or a number (an int from "
            f"0); got n={shorten(repr(n))}. Use for example 0.9 for 90 %."
        )
    if not isinstance(scope, str) or scope not in _SCOPES:
        raise SelectionError(
            f"{name}: scope must be one of {', '.join(map(repr, _SCOPES))}; got "
            f"scope={shorten(repr(scope))}. Use 'model' for one threshold over all weights."
        )
    return Ranked(
        n=share if count is None else count,  # pyright: ignore[reportArgumentType]  # checked above
        share=count is None,
        largest=name == "largest",
        by=checked_by(by, name),
        scope=scope,
        of=checked_of(of, name),
        reduce=checked_reduce(reduce, name),
        seed=checked_seed(seed, name),
    )


def _integer(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
