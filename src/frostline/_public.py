"""The public names of `frostline`; this imports Keras and registers the loader of frozen models."""

from frostline import callbacks
from frostline._errors import (
    AuditError,
    DependencyError,
    EmptySelectionWarning,
    FileError,
    FrostlineError,
    NotBuiltError,
    PathError,
    PlotError,
    ProcessError,
    ReportError,
    RestoreError,
    RestoreWarning,
    ScheduleError,
    ScoreError,
    SelectionError,
    SummaryError,
    TargetError,
    UnsupportedError,
)
from frostline._freezing.changes import Change, Changes
from frostline._freezing.contexts import frozen, thawed
from frostline._freezing.questions import frozen_mask, is_frozen
from frostline._freezing.verbs import freeze, train_only, unfreeze
from frostline._scores import scores
from frostline._selections.choosing import changed, largest, n_of_m, smallest
from frostline._selections.simple import Selection, at, everything, mask, nothing, zeros
from frostline._selections.structure import heads, tokens, units
from frostline._stock import Split, find_splits, from_stock, merge_stock, to_stock
from frostline.deltas import (
    Delta,
    DeltaWeight,
    applied,
    applied_deltas,
    apply_delta,
    extract_delta,
    load_delta,
    remove_delta,
    switch_delta,
)
from frostline.plots import plot, plot_drift
from frostline.reports import report
from frostline.snapshots import Restored, RestoredWeight, copy_weights, restore, snapshot, weights
from frostline.summaries import Row, Summary, summary

__all__ = [
    "AuditError",
    "Change",
    "Changes",
    "Delta",
    "DeltaWeight",
    "DependencyError",
    "EmptySelectionWarning",
    "FileError",
    "FrostlineError",
    "NotBuiltError",
    "PathError",
    "PlotError",
    "ProcessError",
    "ReportError",
    "RestoreError",
    "RestoreWarning",
    "Restored",
    "RestoredWeight",
    "Row",
    "ScheduleError",
    "ScoreError",
    "Selection",
    "SelectionError",
    "Split",
    "Summary",
    "SummaryError",
    "TargetError",
    "UnsupportedError",
    "applied",
    "applied_deltas",
    "apply_delta",
    "at",
    "callbacks",
    "changed",
    "copy_weights",
    "everything",
    "extract_delta",
    "find_splits",
    "freeze",
    "from_stock",
    "frozen",
    "frozen_mask",
    "heads",
    "is_frozen",
    "largest",
    "load_delta",
    "mask",
    "merge_stock",
    "n_of_m",
    "nothing",
    "plot",
    "plot_drift",
    "remove_delta",
    "report",
    "restore",
    "scores",
    "smallest",
    "snapshot",
    "summary",
    "switch_delta",
    "thawed",
    "to_stock",
    "tokens",
    "train_only",
    "unfreeze",
    "units",
    "weights",
    "zeros",
]
