"""What `freeze`, `unfreeze` and `train_only` return and print."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from frostline._arrays.plan import Plan, WholePlan
from frostline._errors import visible
from frostline._weights.tree import Found


@dataclass(frozen=True)
class Change:
    """What a call changed in one weight.

    Attributes:
        path: The path of the weight below the target.
        entries: The number of entries that this call froze or unfroze.
        frozen: The number of entries that are frozen now.
        size: The number of entries of the weight.
    """

    path: str
    entries: int
    frozen: int
    size: int


class Changes(tuple[Change, ...]):
    """What a call changed: one `Change` for each changed weight, empty if nothing changed."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self:
            return "nothing changed"
        return "\n".join(
            f"{visible(c.path)}: {_entries(c.entries)} changed, {c.frozen:,} of {c.size:,} frozen"
            for c in self
        )


class TrainOnlyChanges(Changes):
    """The `Changes` of `train_only`, which print what trains now and how much is frozen."""

    text: str

    def __new__(
        cls, changes: Iterable[Change] = (), named: Iterable[State] = (), rest: Iterable[int] = ()
    ) -> TrainOnlyChanges:
        """Collect the result of a call.

        Args:
            changes: The weights that changed.
            named: The state of each weight that the call names.
            rest: The number of entries of each other weight.
        """
        made = super().__new__(cls, changes)
        made.text = _trains(tuple(named), tuple(rest))
        return made

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class State:
    """How much of a weight trains after a call; `on` is False if its layer does not train."""

    path: str
    trainable: int
    size: int
    on: bool


def change_of(weight: Found, before: Plan | None, after: Plan | None) -> Change:
    """The `Change` of a weight from one plan to another."""
    size = size_of(weight)
    was, now = (0 if plan is None else plan.frozen_count for plan in (before, after))
    if any(plan is None or isinstance(plan, WholePlan) for plan in (before, after)):
        entries = abs(now - was)
    else:
        assert before is not None
        assert after is not None
        entries = int(np.count_nonzero(before.mask() ^ after.mask()))
    return Change(weight.path, entries, now, size)


def state_of(weight: Found, after: Plan | None) -> State:
    """How much of a weight trains under a plan."""
    size = size_of(weight)
    frozen = 0 if after is None else after.frozen_count
    return State(weight.path, size - frozen, size, weight.layer_trainable)


def size_of(weight: Found) -> int:
    """The number of entries of a weight."""
    return int(np.prod(tuple(weight.variable.shape), dtype=np.int64))


def _trains(named: tuple[State, ...], rest: tuple[int, ...]) -> str:
    lines = [
        f"{visible(s.path)}: {s.trainable if s.on else 0:,} of {s.size:,} entries train"
        + ("" if s.on else ", trainable=False")
        for s in named
        if s.trainable
    ]
    frozen = [*rest, *(s.size for s in named if not s.trainable)]
    if frozen:
        what = "everything else is frozen" if lines else "nothing trains, everything is frozen"
        weights = "1 weight" if len(frozen) == 1 else f"{len(frozen):,} weights"
        lines.append(f"{what}: {weights}, {_entries(sum(frozen))}")
    return "\n".join(lines)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"
