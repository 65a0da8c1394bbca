"""The groups of entries that a ranking can select instead of single entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from frostline._errors import SelectionError
from frostline._selections.heads import head_parts
from frostline._selections.index import shorten
from frostline._selections.parts import Blocks, Parts
from frostline._selections.structure import unit_parts
from frostline._selections.weight import Weight

REDUCTIONS = {"mean": np.mean, "sum": np.sum, "min": np.min, "max": np.max}
"""How the scores of a group are combined: functions of an array and an axis."""

_OF = ("entries", "rows", "columns", "units", "heads")


def checked_of(of: Any, name: str) -> str | tuple[int, ...]:
    """Check `of`: what is ranked, a word or the shape of a block.

    Raises:
        SelectionError: It is neither. `name` is the selection, for the message.
    """
    if isinstance(of, str) and of in _OF:
        return of
    if isinstance(of, tuple | list) and of and all(_is_size(n) for n in of):
        return tuple(int(n) for n in of)
    raise SelectionError(
        f"{name}: of must be one of {', '.join(map(repr, _OF))}, or the shape of a block; got "
        f"of={shorten(repr(of))}. Use for example of='rows' or of=(4, 4)."
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value > 0)


def checked_reduce(reduce: Any, name: str) -> Any:
    """Check `reduce`: how the scores of a group are combined, a word or a function.

    Raises:
        SelectionError: It is neither. `name` is the selection, for the message.
    """
    if callable(reduce) or (isinstance(reduce, str) and reduce in REDUCTIONS):
        return reduce
    raise SelectionError(
        f"{name}: reduce must be one of {', '.join(map(repr, REDUCTIONS))}, or a function of an "
        f"array and an axis; got reduce={shorten(repr(reduce))}. Use for example np.median."
    )


def parts_by(of: str | tuple[int, ...], weight: Weight, got: str) -> Parts | Blocks | None:
    """The groups of a weight; None if it has no such groups.

    Raises:
        SelectionError: The weight cannot be divided like this. `got` is the selection, for the
            message.
    """
    if of == "units":
        return unit_parts(weight, got)
    if of == "heads":
        return head_parts(weight, got)
    if isinstance(of, tuple):
        return _blocks(of, weight, got)
    if not weight.shape:
        raise weight.error(f"a scalar has no {of}", got, "Leave it out, or use of='entries'.")
    axis = 0 if of == "rows" else -1
    return Parts((axis,), weight.shape[axis])


def _blocks(block: tuple[int, ...], weight: Weight, got: str) -> Blocks:
    sizes = (
        weight.shape[len(weight.shape) - len(block) :] if len(block) <= len(weight.shape) else ()
    )
    if len(sizes) != len(block):
        raise weight.error(
            f"a block with {len(block)} axes needs a weight with at least as many",
            got,
            "Leave this weight out.",
        )
    if any(size % length for size, length in zip(sizes, block, strict=True)):
        raise weight.error(
            f"blocks of {block} do not divide its last axes {sizes} evenly",
            got,
            "Use a block whose sizes divide them, or leave this weight out.",
        )
    return Blocks(weight.shape, block)
