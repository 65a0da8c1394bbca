"""The scores of a ranking: magnitudes, given arrays, a function of the value, or random numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from frostline._arrays.bits import differ
from frostline._arrays.ranking import PIECE, Keys, key_bits, sort_keys
from frostline._errors import SelectionError
from frostline._selections.algebra import Selection
from frostline._selections.index import shorten
from frostline._selections.weight import Weight

_BY = ("magnitude", "random")
_LISTED = 3  # paths in a message


class Given:
    """Arrays of scores by path, which compare by content.

    Args:
        arrays: A mapping from paths to arrays, which are neither copied nor changed.
    """

    def __init__(self, arrays: Mapping[Any, Any]) -> None:
        self.arrays = dict(arrays)

    def find(self, weight: Weight, argument: str) -> np.ndarray:
        """The array for a weight.

        Raises:
            SelectionError: There is none, or it has another shape. `argument` is its name.
        """
        key = weight.key_in(self.arrays)
        if key is None:
            listed = ", ".join(map(repr, list(self.arrays)[:_LISTED]))
            raise weight.error(
                f"`{argument}` has no array for this weight",
                f"{argument} for {len(self.arrays)} weights ({listed}"
                f"{', ...' * (len(self.arrays) > _LISTED)})",
                f"Name only weights in it: `list({argument})`.",
            )
        try:
            array = weight.array(self.arrays[key])
        except (TypeError, ValueError, RuntimeError) as error:
            raise weight.error(
                f"a value in `{argument}` must be an array of numbers",
                f"{type(self.arrays[key]).__name__} ({error})",
                "Make it a NumPy array.",
            ) from None
        if array.shape != weight.shape:
            raise weight.error(
                f"the array in `{argument}` must have the shape of the weight",
                f"an array of shape {array.shape}",
                f"Make it an array of shape {weight.shape}.",
            )
        return array

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Given) or self.arrays.keys() != other.arrays.keys():
            return False
        pairs = ((one, other.arrays[key]) for key, one in self.arrays.items())
        return all(one is two or _equal(one, two) for one, two in pairs)

    def __hash__(self) -> int:
        return hash(frozenset(self.arrays))

    def __repr__(self) -> str:
        count = len(self.arrays)
        return f"<{count} array{'s' * (count != 1)}>"


def _equal(one: Any, other: Any) -> bool:
    try:
        one, other = np.asarray(one), np.asarray(other)
    except (TypeError, ValueError, RuntimeError):
        return False  # not an array, or a tensor with a dtype that NumPy lacks
    same = one.shape == other.shape and one.dtype == other.dtype and not one.dtype.hasobject
    # By bits: for `changed`, -0.0 is not 0.0.
    return same and not differ(one, other).any()


def checked_by(by: Any, name: str) -> Any:
    """Check `by`, and return a word, `Given` scores or a function.

    Raises:
        SelectionError: It is none of these. `name` is the selection, for the message.
    """
    if isinstance(by, Mapping):
        if not by:
            raise SelectionError(
                f"{name}: by must not be empty; got by={by!r}. Use fl.scores(...)."
            )
        return Given(by)
    if callable(by) or (isinstance(by, str) and by in _BY):
        return by
    raise SelectionError(
        f"{name}: by must be 'magnitude', 'random', a mapping from paths to arrays, or a function "
        f"of the value; got by={shorten(repr(by))}. For scores from data use "
        "`by=fl.scores(model, x, y, by='fisher')`."
    )


_USUAL = {
    "by": "magnitude", "scope": "weight", "of": "entries", "reduce": "mean", "seed": 0, "axis": -1
}  # fmt: skip


def arguments(*numbers: int | float, **named: Any) -> str:
    """The arguments of a selection by scores as text, without those that have their default.

    >>> arguments(2, 4, by="random", axis=-1)
    "2, 4, by='random'"
    """
    said = [repr(number) for number in numbers]
    for name, value in named.items():
        if value != _USUAL[name]:
            said.append(f"{name}={getattr(value, '__qualname__', None) or repr(value)}")
    return ", ".join(said)


def checked_seed(seed: Any, name: str) -> int:
    """Check a seed, an integer from 0.

    Raises:
        SelectionError: It is something else. `name` is the selection, for the message.
    """
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0:
        return int(seed)
    raise SelectionError(f"{name}: seed must be an integer from 0; got seed={seed!r}. Use seed=0.")


class Scored:
    """The scores of one weight in a ranking.

    Args:
        weight: The weight.
        by: How its entries are scored, as returned by `checked_by`.
        seed: The seed of the random numbers, and the place of the weight in the ranking.
        got: The selection, for messages.
    """

    def __init__(self, weight: Weight, by: Any, seed: tuple[int, int], got: str) -> None:
        self.weight = weight
        self._by = by
        self._seed = seed
        self._got = got

    @property
    def bits(self) -> int:
        """The number of bits that the key of a score needs."""
        if self._by == "random":
            return 32
        magnitude = self._by == "magnitude"  # its dtype is known without reading the weight
        dtype = np.dtype(self.weight.dtype if magnitude else self.scores.dtype)
        bits = key_bits(dtype)
        if bits is None:
            raise self.weight.error(
                "scores must be real numbers", f"{self._got} of dtype {dtype}", "Use fl.at[...]."
            )
        return bits

    @property
    def scores(self) -> np.ndarray:
        """The array to compare; for `"magnitude"`, by its absolute values."""
        if self._by == "magnitude":
            return np.asarray(self.weight.read())
        return self._held

    @cached_property
    def _held(self) -> np.ndarray:
        # Cached: a function may return something else the next time.
        if isinstance(self._by, Given):
            return self._by.find(self.weight, "by")
        by = self._by
        scores = self.weight.ask(lambda value: self.weight.array(by(value)), "scoring the")
        if scores.shape != self.weight.shape:
            raise self.weight.error(
                "`by` must return an array of the weight's shape",
                f"an array of shape {scores.shape}",
                f"Return a score for each entry, shape {self.weight.shape}.",
            )
        return scores

    def keys(self, bits: int, *, largest: bool) -> Keys:
        """The sort keys of the entries."""
        if self._by == "random":
            return self._random
        magnitude = self._by == "magnitude"

        def keys(every: int) -> Iterator[np.ndarray]:
            flat = np.ascontiguousarray(self.scores).reshape(-1)[::every]
            for start in range(0, flat.size, PIECE):
                piece = flat[start : start + PIECE]
                yield sort_keys(piece, bits, largest=largest, magnitude=magnitude)

        return keys

    def rows(self, parts: Any) -> np.ndarray:
        """The scores of the parts of the weight, `(count, entries of a part)`."""
        if self._by == "random":
            return np.random.default_rng(self._seed).random((parts.count, 1))
        _ = self.bits  # raises if scores are not real numbers
        # The score of a part is computed in full precision.
        rows = parts.matrix(self.scores).astype(np.float64)
        return np.abs(rows, out=rows) if self._by == "magnitude" else rows

    def _random(self, every: int) -> Iterator[np.ndarray]:
        random = np.random.default_rng(self._seed)
        size = int(np.prod(self.weight.shape, dtype=np.int64)) // every
        for start in range(0, size, PIECE):
            yield random.integers(0, 1 << 32, min(PIECE, size - start), np.uint32)


@dataclass(frozen=True, repr=False)
class ByScore(Selection):
    """Base: a selection that compares scores, over all weights of a call."""

    by: str | Given | Callable[[np.ndarray], Any]
    seed: int

    def mask(self, weight: Weight) -> np.ndarray | None:
        return self.among([weight]).mask(weight)

    @abstractmethod
    def among(self, weights: Sequence[Weight]) -> Selection:
        """The selection for a call, an `InCall`."""


S = TypeVar("S", bound=ByScore)


@dataclass(frozen=True, eq=False, repr=False)
class InCall(Selection, Generic[S]):
    """Base: a selection by scores for the weights of one call."""

    said: S
    weights: tuple[Weight, ...]

    def place(self, weight: Weight) -> int:
        """The place of a weight in `weights`."""
        return self._places[id(weight)]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {id(weight): place for place, weight in enumerate(self.weights)}

    def scored(self, place: int) -> Scored:
        """The scores of a weight. Random numbers depend on its place."""
        said = self.said
        return Scored(self.weights[place], said.by, (said.seed, place), repr(said))

    def __repr__(self) -> str:
        return repr(self.said)
