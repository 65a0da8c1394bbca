"""Match the weights of a delta with those of a target, by path or by order. Pure NumPy."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from frostline._arrays.naming import paired
from frostline._errors import RestoreError


class Named(Protocol):
    """A weight that can be matched."""

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
    """The target of each weight; an error if a weight has none.

    Paths that differ only in automatic numbers are matched by order, see `paired`. A weight that
    has no name in a file, such as `head/0`, is the first weight of `head`.

    Args:
        weights: The weights of a delta.
        targets: The weights of a model or file.
        name: The name of that model or file, for messages.
        by_place: Whether the order of the weights may be used.
        who: What the weights belong to, for messages.

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
                    f"{target.path}: its {what} differs from that in the {who}; got {what}={has}, "
                    f"the {who} has {had}. Pass the model that it was made from."
                )
    return found


def _named(paths: Sequence[str], others: Sequence[str]) -> list[str]:
    """Replace a number at the end of a path by the name that `others` has at that place.

    In files and models, the variables of a layer are in the order in which Keras writes them.
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
    what = f"only the {who} has this weight" if missing else f"the {who} lacks this weight"
    near = difflib.get_close_matches(path, more if missing else missing, n=3, cutoff=0.4)
    hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
    raise RestoreError(
        f"{path}: {name} has another architecture, {what}; got {len(theirs)} weights, the {who} "
        f"has {len(mine)}.{hint} Pass the model that it was made from."
    )
