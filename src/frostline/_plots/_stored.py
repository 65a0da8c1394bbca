"""Weights of a file to be looked at: what the file tells of each. No Keras."""

from __future__ import annotations

from frostline._equation import Equation
from frostline._files import Stored
from frostline._files._frozen import Frozen
from frostline._plots._arrange import KINDS, Known, arrangement
from frostline._plots._maps import Subject
from frostline._summaries._numbers import Row


def subject_of(weight: Stored, frozen: Frozen | None) -> Subject:
    """A weight of a file, of which `frozen` is frozen.

    A file does not tell what trains: what is not frozen counts as if it did.
    """
    kind = "" if frozen is None else frozen.kind
    row = Row(
        path=weight.path,
        shape=weight.shape,
        dtype=str(weight.dtype),
        size=weight.size,
        frozen=0 if frozen is None else frozen.count,
        kind=kind,
        slots_saved=None,
        trains=kind != "whole",
    )
    name = weight.path.rpartition("/")[2]
    return Subject(row, arrangement(name, weight.shape, _known(weight, name)), frozen)


def _known(weight: Stored, name: str) -> Known:
    owner = weight.owner
    kind = owner.kind if owner.kind in KINDS else ""
    if not owner.equation.count(",") == owner.equation.count("->") == 1:
        return Known(kind)
    equation = Equation.parse(owner.equation)
    axes = equation.kernel if name == "kernel" else equation.made
    heads = axes.find(owner.heads) if owner.heads else -1
    return Known(kind, equation, heads if heads >= 0 else None)
