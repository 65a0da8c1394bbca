"""Which weight of a target each weight of a delta is of: by path, else by place. Pure NumPy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from frostline._arrays.naming import paired
from frostline._errors import RestoreError


class Named(Protocol):
    """What can be matched."""

    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...


Weight = TypeVar("Weight", bound=Named)
Target = TypeVar("Target", bound=Named)


def match(
    weights: Sequence[Weight],
    targets: Sequence[Target],
    name: str,
    *,
    by_place: bool = True,
    who: str = "delta",
) -> list[Target]:
    """The target of each weight, or the error that says which has none.

    Paths that differ only in automatic numbers are matched by place, see `paired`. A weight that a
    file has no name for, `head/0`, is the first of those of `head`.

    Args:
        weights: Those of a delta.
        targets: Those of a model or file.
        name: Of that, for messages.
        by_place: Whether their order tells anything.
        who: What the weights are of, for messages.

    Raises:
        RestoreError: The target is of another architecture.
    """
    mine, theirs = [w.path for w in weights], [t.path for t in targets]
    mine, theirs = _named(mine, theirs), _named(theirs, mine)
    order = [place for place in paired(mine, theirs, by_place=by_place) if place is not None]
    if not len(order) == len(mine) == len(theirs):
        _refuse(mine, theirs, name, who)
    found = [targets[place] for place in order]
    for weight, target in zip(weights, found, strict=True):
        for what in ("shape", "dtype"):
            had, has = getattr(weight, what), getattr(target, what)
            if had != has:
                raise RestoreError(
                    f"{target.path}: another {what} than the {who} has; got {what}={has}, the "
                    f"{who} has {had}. Pass the model that it was taken from."
                )
    return found


def _named(paths: Sequence[str], others: Sequence[str]) -> list[str]:
    """Paths that end in a number with the names that others have in their place.

    Files and models have the variables of a layer in the order in which Keras writes them.
    """
    owned: dict[str, list[str]] = {}
    for other in others:
        owned.setdefault(other.rpartition("/")[0], []).append(other)

    def named(path: str) -> str:
        owner, _, number = path.rpartition("/")
        known = owned.get(owner, [])
        numbered = number.isdecimal() and int(number) < len(known)
        return known[int(number)] if numbered else path

    return [named(path) for path in paths]


def _refuse(mine: Sequence[str], theirs: Sequence[str], name: str, who: str) -> NoReturn:
    missing = [path for path in mine if path not in set(theirs)]
    more = [path for path in theirs if path not in set(mine)]
    path = (missing or more or theirs)[0]
    what = f"the {who} is of a model that has it" if missing else f"the {who} has none"
    near = difflib.get_close_matches(path, more if missing else missing, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
    raise RestoreError(
        f"{path}: {name} is of another architecture, {what}; got {len(theirs)} weights, the {who} "
        f"has {len(mine)}.{hint} Pass the model that it was taken from."
    )
