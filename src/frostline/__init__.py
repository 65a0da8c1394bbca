"""Freeze any part of a Keras weight, in place and exactly."""

from typing import TYPE_CHECKING, Any

from frostline import _start

# In the process of the command alone it is not: what needs no Keras there starts at once.
if _start.with_keras():
    from frostline import callbacks
    from frostline._errors import (
        AuditError,
        DependencyError,
        FileError,
        FrostlineError,
        NotBuiltError,
        PathError,
        PlotError,
        ReportError,
        RestoreError,
        ScheduleError,
        SelectionError,
        SummaryError,
        TargetError,
        UnsupportedError,
    )
    from frostline._freezing.contexts import frozen, thawed
    from frostline._freezing.verbs import Change, Changes, freeze, frozen_mask, is_frozen, unfreeze
    from frostline._selections.simple import Selection, at, everything, mask, nothing, zeros
    from frostline._selections.structure import heads, tokens, units
    from frostline._stock import Split, find_splits, from_stock, merge_stock, to_stock
    from frostline.deltas import (
        Delta,
        DeltaWeight,
        applied_deltas,
        apply_delta,
        extract_delta,
        load_delta,
        remove_delta,
    )
    from frostline.plots import plot, plot_drift, snapshot
    from frostline.reports import report
    from frostline.summaries import Row, Summary, summary

__version__ = "0.1.0"

__all__ = [
    "AuditError",
    "Change",
    "Changes",
    "Delta",
    "DeltaWeight",
    "DependencyError",
    "FileError",
    "FrostlineError",
    "NotBuiltError",
    "PathError",
    "PlotError",
    "ReportError",
    "RestoreError",
    "Row",
    "ScheduleError",
    "Selection",
    "SelectionError",
    "Split",
    "Summary",
    "SummaryError",
    "TargetError",
    "UnsupportedError",
    "applied_deltas",
    "apply_delta",
    "at",
    "callbacks",
    "everything",
    "extract_delta",
    "find_splits",
    "freeze",
    "from_stock",
    "frozen",
    "frozen_mask",
    "heads",
    "is_frozen",
    "load_delta",
    "mask",
    "merge_stock",
    "nothing",
    "plot",
    "plot_drift",
    "remove_delta",
    "report",
    "snapshot",
    "summary",
    "thawed",
    "to_stock",
    "tokens",
    "unfreeze",
    "units",
    "zeros",
]


if not TYPE_CHECKING:  # a type checker would believe any name

    def __getattr__(name: str) -> Any:
        if name in __all__ and not _start.with_keras():
            _start.whole_library()
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
