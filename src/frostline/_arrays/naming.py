"""Which key of a mapping names a weight, and which weights of two models are one by their paths."""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Iterable, Sequence
from typing import Any, TypeVar

H = TypeVar("H", bound=Hashable)


def key_in(mapping: Container[str], names: Sequence[str]) -> str | None:
    """The first of the names of a weight that is a key of `mapping`; None if none is."""
    return next((name for name in names if name in mapping), None)


def kind_of(name: str) -> str:
    """A name without the number that Keras adds where a name is given by itself.

    >>> kind_of("dense_3/"), kind_of("variable")
    ('dense/', 'variable')
    """
    return re.sub(r"_\d+(?=/?$)", "", name)


def named_by(keys: Iterable[Any], weights: Iterable[tuple[H, Sequence[str]]]) -> dict[Any, list[H]]:
    """The weights that each key names: none for an unknown key, several for an ambiguous one.

    Names count in their order. A key that is the first name of one weight and the last name of
    another names the former alone.

    Args:
        keys: What names weights.
        weights: An identity for each weight and its names. A weight that is shared comes once for
            each way to it.

    >>> weights = [("inner", ["inner/kernel", "kernel"]), ("own", ["kernel", "kernel"])]
    >>> named_by(["kernel", "inner/kernel", "bias"], weights)
    {'kernel': ['own'], 'inner/kernel': ['inner'], 'bias': []}
    """
    known: dict[str, tuple[int, list[H]]] = {}
    for weight, names in weights:
        for rank, name in enumerate(names):
            best, named = known.get(name, (rank, []))
            if rank < best:
                known[name] = rank, [weight]
            elif rank == best:
                known[name] = best, [*named, *([] if weight in named else [weight])]
    return {key: known[key][1] if key in known else [] for key in keys}


def paired(
    paths: Sequence[str], targets: Sequence[str], *, by_place: bool = True
) -> list[int | None]:
    """The place in `targets` of each path; None for one that has none there.

    Layers that were not given a name have one that counts on while Python runs, `dense_7`. So the
    names at each level of the paths are compared by kind, which is a name without its number. If
    all of one kind are among the targets, they are matched by name, else by place among their kind.

    Args:
        paths: Those of one model, in its order.
        targets: Those of another.
        by_place: Whether their order means anything.

    >>> paired(["dense/kernel", "dense_1/kernel"], ["dense_4/kernel", "dense_5/kernel"])
    [0, 1]
    >>> paired(["out/kernel", "dense_1/bias"], ["dense_1/kernel", "out/kernel", "dense_2/bias"])
    [1, None]
    """
    found: list[int | None] = [None] * len(paths)

    def pair(mine: Sequence[int], theirs: Sequence[int], depth: int) -> None:
        ours, others = _by_name(paths, mine, depth), _by_name(targets, theirs, depth)
        theirs_by_kind = _by_kind(others)
        for kind, names in _by_kind(ours).items():
            there = theirs_by_kind.get(kind, [])
            if not by_place or set(names) <= set(there):
                there = names
            for name, other in zip(names, there, strict=False):
                if name.endswith("/"):
                    pair(ours[name], others.get(other, []), depth + 1)
                else:  # several weights of one path are told apart by place alone
                    both = zip(ours[name], others.get(other, []), strict=False)
                    for one, target in both:
                        found[one] = target

    pair(range(len(paths)), range(len(targets)), 0)
    return found


def _by_name(paths: Sequence[str], places: Iterable[int], depth: int) -> dict[str, list[int]]:
    """The places of the paths below each name at this depth; that of a layer ends in a slash."""
    below: dict[str, list[int]] = {}
    for place in places:
        *layers, own = paths[place].split("/")
        name = f"{layers[depth]}/" if depth < len(layers) else own
        below.setdefault(name, []).append(place)
    return below


def _by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(kind_of(name), []).append(name)
    return kinds
