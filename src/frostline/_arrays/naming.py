"""Which key of a mapping names a weight, where a weight has several names."""

from __future__ import annotations

from collections.abc import Container, Sequence


def key_in(mapping: Container[str], names: Sequence[str]) -> str | None:
    """The first of the names of a weight that is a key of `mapping`; None if none is."""
    return next((name for name in names if name in mapping), None)
