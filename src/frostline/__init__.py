"""Freeze any part of a Keras weight, in place and exactly."""

from frostline._errors import (
    FrostlineError,
    NotBuiltError,
    PathError,
    RestoreError,
    SelectionError,
    TargetError,
    UnsupportedError,
)
from frostline._freeze import Change, Changes, freeze, frozen_mask, is_frozen, unfreeze
from frostline._selections import Selection, at, everything, mask, nothing, zeros
from frostline._structure import heads, tokens, units
from frostline.report import Row, Summary, summary

__version__ = "0.1.0"

__all__ = [
    "Change",
    "Changes",
    "FrostlineError",
    "NotBuiltError",
    "PathError",
    "RestoreError",
    "Row",
    "Selection",
    "SelectionError",
    "Summary",
    "TargetError",
    "UnsupportedError",
    "at",
    "everything",
    "freeze",
    "frozen_mask",
    "heads",
    "is_frozen",
    "mask",
    "nothing",
    "summary",
    "tokens",
    "unfreeze",
    "units",
    "zeros",
]
