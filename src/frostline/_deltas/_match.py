"""Which weight of a target each weight of a delta is of: by path, else by place. Pure NumPy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NoReturn, Protocol, TypeVar

from frostline._deltas._held import DeltaWeight
from frostline._errors import RestoreError


class Named(Protocol):
    """What can be matched."""

    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


Target = TypeVar("Target", bound=Named)


def match(
    weights: Sequence[DeltaWeight],
    targets: Sequence[Target],
    name: str,
    *,
    by_place: bool = True,
) -> list[Target]:
    """The target of each weight, or the error that says which has none.

    Layers that were not given a name have one that counts on while Python runs, `dense_7`. Where
    all that differs is such a number, weights are matched by their places.

    Args:
        weights: Those of a delta.
        targets: Those of a model or file.
        name: Of that, for messages.
        by_place: Whether their order tells anything.

    Raises:
        RestoreError: The target is of another architecture.
    """
    found = _by_path(weights, targets)
    if found is None and by_place:
        found = _by_place(weights, targets)
    if found is None:
        _refuse(weights, targets, name)
    for weight, target in zip(weights, found, strict=True):
        for what in ("shape", "dtype"):
            had, has = getattr(weight, what), getattr(target, what)
            if str(had) != str(has):
                raise RestoreError(
                    f"{target.path}: another {what} than the delta was trained with; got {what}="
                    f"{has}, the delta has {had}. Apply it to the model that it was taken from."
                )
    return found


def _by_path(weights: Sequence[DeltaWeight], targets: Sequence[Target]) -> list[Target] | None:
    known = {target.path: target for target in targets}
    if len(known) != len(targets) or known.keys() != {weight.path for weight in weights}:
        return None
    return [known[weight.path] for weight in weights]


def _by_place(weights: Sequence[DeltaWeight], targets: Sequence[Target]) -> list[Target] | None:
    alike = [_stem(weight.path) for weight in weights] == [_stem(t.path) for t in targets]
    return list(targets) if alike else None


def _stem(path: str) -> str:
    """`dense` and `dense_1` are alike."""
    return re.sub(r"_\d+(?=/|$)", "", path)


def _refuse(weights: Sequence[DeltaWeight], targets: Sequence[Target], name: str) -> NoReturn:
    mine, theirs = [weight.path for weight in weights], [target.path for target in targets]
    missing = [path for path in mine if path not in set(theirs)]
    more = [path for path in theirs if path not in set(mine)]
    path = (missing or more or theirs)[0]
    what = "the delta is of a model that has it" if missing else "the delta's model has none"
    near = difflib.get_close_matches(path, more if missing else missing, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
    raise RestoreError(
        f"{path}: {name} is of another architecture, {what}; got {len(theirs)} weights, the delta "
        f"has {len(mine)}.{hint} Apply it to the model that it was taken from."
    )
