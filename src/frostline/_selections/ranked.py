"""Selections by rank: the smallest or largest entries, or groups of entries, of some weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from frostline._arrays.ranking import Cut, Keys, find_cut, key_bits, sort_keys
from frostline._selections.algebra import Selection
from frostline._selections.groups import REDUCTIONS, parts_by
from frostline._selections.scored import ByScore, InCall, Scored, arguments
from frostline._selections.weight import Weight


@dataclass(frozen=True, repr=False)
class Ranked(ByScore):
    """The entries, or groups of entries, with the smallest or largest scores."""

    n: int | float
    share: bool  # whether `n` is a share: the type of `n` is not compared, 1.0 == 1
    largest: bool
    scope: str
    of: str | tuple[int, ...]
    reduce: str | Callable[..., Any]

    def among(self, weights: Sequence[Weight]) -> Selection:
        return Among(self, tuple(weights))

    @property
    def _reads_data(self) -> bool:  # type: ignore[override]
        return self.n == 0  # on purpose; a share that rounds to 0 is a mistake

    def __repr__(self) -> str:
        named = {name: getattr(self, name) for name in ("by", "scope", "of", "reduce", "seed")}
        return f"{'largest' if self.largest else 'smallest'}({arguments(self.n, **named)})"


class Among(InCall[Ranked]):
    """A ranking for the weights of one call."""

    def mask(self, weight: Weight) -> np.ndarray | None:
        place = self.place(weight)
        pool = self._pool_of.get(place)
        return None if pool is None else pool.mask(place)

    @cached_property
    def _pool_of(self) -> dict[int, _Pool]:
        return {place: pool for pool in self._pools for place in pool.contest_of}

    @cached_property
    def _pools(self) -> list[_Pool]:
        of, scope = self.said.of, self.said.scope
        contests: dict[Any, _Contest] = {}
        pools: dict[Any, _Pool] = {}
        for place, weight in enumerate(self.weights):
            parts = None
            if of != "entries":
                parts = parts_by(of, weight, repr(self.said))
                if parts is None:
                    continue
            # The heads of an attention layer are in its projections.
            layers = weight.layers[:-1] if of == "heads" else weight.layers
            layer = id(layers[-1]) if layers else None
            # A unit or head is one thing in all weights of its layer.
            contest = layer if of in ("units", "heads") else place
            pool = {"weight": contest, "layer": layer, "model": None}[scope]
            if contest not in contests:
                contests[contest] = _Contest(self.said)
                pools.setdefault(pool, _Pool(self.said)).contests.append(contests[contest])
            contests[contest].add(place, self.scored(place), parts)
        return list(pools.values())


class _Contest:
    """What is ranked together: the entries or parts of a weight, or the parts of a layer."""

    def __init__(self, ranking: Ranked) -> None:
        self._ranking = ranking
        self.members: dict[int, tuple[Scored, Any]] = {}

    def add(self, place: int, scored: Scored, parts: Any) -> None:
        self.members[place] = (scored, parts)
        counts = {one.count for _, one in self.members.values() if one is not None}
        if len(counts) > 1:
            raise scored.weight.error(
                f"the weights of its layer must have the same number of {self._ranking.of}",
                f"{self._ranking!r} with {' and '.join(map(str, sorted(counts)))}",
                "Use a separate call for each of them.",
            )

    @property
    def first(self) -> Scored:
        return next(iter(self.members.values()))[0]

    @property
    def size(self) -> int:
        """The number to choose from."""
        scored, parts = next(iter(self.members.values()))
        return math.prod(scored.weight.shape) if parts is None else parts.count

    @property
    def bits(self) -> int:
        return self.first.bits if self._ranking.of == "entries" else 64

    def keys(self, bits: int) -> Keys:
        largest = self._ranking.largest
        if self._ranking.of == "entries":
            return self.first.keys(bits, largest=largest)
        return lambda every: [
            sort_keys(self._scores[::every], bits, largest=largest, magnitude=False)
        ]

    @cached_property
    def _scores(self) -> np.ndarray:
        rows = [scored.rows(parts) for scored, parts in self.members.values()]
        every = rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
        reduce = self._ranking.reduce
        if every.shape[1] == 0:
            return np.zeros(len(every))
        try:
            function = REDUCTIONS[reduce] if isinstance(reduce, str) else reduce
            scores = np.asarray(function(every, 1))
        except Exception as error:
            error.add_note(f"while reducing the scores of {self.first.weight.path}")
            raise
        if scores.shape != (len(every),) or key_bits(scores.dtype) is None:
            raise self.first.weight.error(
                "`reduce` must return a real number for each row",
                f"dtype {scores.dtype}, shape {scores.shape} for an array of shape {every.shape}",
                "Use a function like np.mean, which is called as reduce(array, 1).",
            )
        return scores

    def mask(self, place: int, picked: np.ndarray) -> np.ndarray:
        scored, parts = self.members[place]
        if parts is None:
            return picked.reshape(scored.weight.shape)
        return parts.mask(scored.weight, picked)


class _Pool:
    """The contests whose `n` is counted together."""

    def __init__(self, ranking: Ranked) -> None:
        self._ranking = ranking
        self.contests: list[_Contest] = []

    @cached_property
    def contest_of(self) -> dict[int, int]:
        """Which of the contests each weight is in."""
        return {place: i for i, contest in enumerate(self.contests) for place in contest.members}

    def mask(self, place: int) -> np.ndarray:
        which = self.contest_of[place]
        contest = self.contests[which]
        if self._count in (0, self._size):
            return contest.mask(place, np.full(contest.size, self._count > 0))
        picked = np.empty(contest.size, bool)
        left, start = self._left(which), 0
        for keys in contest.keys(self._bits)(1):
            left = self._cut.take(keys, left, picked[start : start + keys.size])
            start += keys.size
        self._ties_left[which + 1] = left
        return contest.mask(place, picked)

    @cached_property
    def _size(self) -> int:
        return sum(contest.size for contest in self.contests)

    @cached_property
    def _count(self) -> int:
        n = self._ranking.n
        count = round(n * self._size) if self._ranking.share else int(n)
        if count > self._size:
            raise self.contests[0].first.weight.error(
                f"there are only {self._size:,} {_named(self._ranking.of)} to choose from",
                f"{self._ranking!r}",
                "Use a smaller number, or a share: 0.9 for 90 %.",
            )
        return count

    @cached_property
    def _bits(self) -> int:
        return max(contest.bits for contest in self.contests)

    @cached_property
    def _cut(self) -> Cut:
        return find_cut(
            [one.keys(self._bits) for one in self.contests], self._count, self._size, self._bits
        )

    @cached_property
    def _ties_left(self) -> dict[int, int]:
        return {0: self._cut.ties}

    def _left(self, which: int) -> int:
        """How many scores equal to the cut are still to be taken when this contest begins."""
        if self._cut.ties == self._cut.tied:
            return 0  # all of them are taken
        # If the masks are read in order, this is known without counting.
        known = which
        while known not in self._ties_left:
            known -= 1
        left = self._ties_left[known]
        for contest in self.contests[known:which]:
            left -= min(left, sum(map(self._cut.equal, contest.keys(self._bits)(1))))
        return left


def _named(of: str | tuple[int, ...]) -> str:
    return of if isinstance(of, str) else f"blocks of {of}"
