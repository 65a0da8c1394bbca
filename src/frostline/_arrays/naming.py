"""Which key of a mapping names a weight, where a weight has several names."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Sequence
from typing import Any, TypeVar

H = TypeVar("H", bound=Hashable)


def key_in(mapping: Container[str], names: Sequence[str]) -> str | None:
    """The first of the names of a weight that is a key of `mapping`; None if none is."""
    return next((name for name in names if name in mapping), None)


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
