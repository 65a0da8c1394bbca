"""Find the key of a weight in a mapping, and match the weights of two models by their paths."""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Iterable, Sequence
from typing import Any, TypeVar

H = TypeVar("H", bound=Hashable)


def key_in(mapping: Container[str], names: Sequence[str]) -> str | None:
    """The first name of a weight that is a key of `mapping`; None if none is."""
    return next((name for name in names if name in mapping), None)


def kind_of(name: str) -> str:
    """A name without the number that Keras adds to automatic names.

    >>> kind_of("dense_3/"), kind_of("variable")
    ('dense/', 'variable')
    """
    return re.sub(r"_\d+(?=/?$)", "", name)


def named_by(keys: Iterable[Any], weights: Iterable[tuple[H, Sequence[str]]]) -> dict[Any, list[H]]:
    """The weights that each key names: none for an unknown key, several for an ambiguous one.

    Earlier names of a weight take precedence. A key that is the first name of one weight and the
    last name of another names only the first weight.

    Args:
        keys: The keys that name weights.
        weights: An identity and the names of each weight. A shared weight occurs once for each of
            its paths.

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
    """The place in `targets` of each path; None if it has none.

    Automatic names of layers have numbers that keep counting while Python runs, such as `dense_7`.
    So the names at each level of the paths are compared by kind: the name without its number. If
    all names of a kind are among the targets, they are matched by name, else by their order.

    Args:
        paths: The paths of one model, in order.
        targets: The paths of another model, in order.
        by_place: Whether the order may be used.

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
                else:  # weights with the same path are matched by their order
                    both = zip(ours[name], others.get(other, []), strict=False)
                    for one, target in both:
                        found[one] = target

    pair(range(len(paths)), range(len(targets)), 0)
    return found


def _by_name(paths: Sequence[str], places: Iterable[int], depth: int) -> dict[str, list[int]]:
    """The places of the paths by their name at this depth; names of layers end in a slash."""
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
