"""Deliberate breaks of the library, one file for each of its wings.

They are mistakes that one could make: an inverted mask, a state that is not carried over, a list
that is not restored. `make faults` applies them one at a time, see `faults.py`.
"""

from mutations import (
    arrays,
    backends,
    callbacks,
    deltas,
    fast,
    files,
    freezing,
    ground,
    plots,
    reports,
    scores,
    selections,
    stock,
    summaries,
    weights,
)
from mutations.mutation import INVARIANTS, SOURCE, Mutation

__all__ = ["INVARIANTS", "MUTATIONS", "SOURCE", "Mutation"]

MUTATIONS = [
    *arrays.MUTATIONS,
    *backends.MUTATIONS,
    *callbacks.MUTATIONS,
    *deltas.MUTATIONS,
    *fast.MUTATIONS,
    *files.MUTATIONS,
    *freezing.MUTATIONS,
    *ground.MUTATIONS,
    *plots.MUTATIONS,
    *reports.MUTATIONS,
    *scores.MUTATIONS,
    *selections.MUTATIONS,
    *stock.MUTATIONS,
    *summaries.MUTATIONS,
    *weights.MUTATIONS,
]
