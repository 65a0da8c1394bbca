"""Breaks of `_deltas`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="delta: the hash of a base leaves out the first frozen entry",
        invariant=12,
        file="_deltas/held.py",
        old="block = block[mask[start : start + step]]",
        new="block = block[mask[start : start + step]][1:]",
        tests=("deltas/test_deltas.py::test_another_base_is_refused_with_both_fingerprints",),
    ),
    Mutation(
        name="delta: a changed zero is not among the changed",
        invariant=12,
        file="_deltas/extract.py",
        old="changed = differ(value, earlier)",
        new="changed = value != earlier",
        tests=("deltas/test_deltas.py::test_with_a_base_a_signed_zero_is_a_change",),
    ),
    Mutation(
        name="a layer that is off is in a delta",
        invariant=12,
        file="_deltas/extract.py",
        old="plan = origin.plan if origin.layer_trainable else WholePlan(origin.shape)",
        new="plan = origin.plan",
        tests=(
            "deltas/test_deltas.py::test_training_with_moving_statistics_and_a_layer_that_is_off",
        ),
    ),
    Mutation(
        name="moving statistics are not in a delta",
        invariant=12,
        file="_deltas/model.py",
        old="unique(walk(model, state=True))",
        new="unique(walk(model))",
        tests=(
            "deltas/test_deltas.py::test_training_with_moving_statistics_and_a_layer_that_is_off",
        ),
    ),
    Mutation(
        name="delta: a file is taken as it comes",
        invariant=12,
        file="_deltas/load.py",
        old="if delta.fingerprint != given or",
        new="if given is None or",
        tests=("deltas/test_deltas.py::test_every_changed_byte_is_refused",),
    ),
    Mutation(
        name="delta: of two values the later is always taken",
        invariant=12,
        file="_deltas/compose.py",
        old="both &= differ(one, other)",
        new="both &= False",
        tests=(
            "deltas/test_deltas.py::test_overlapping_deltas_are_refused_unless_told_which_wins",
        ),
    ),
    Mutation(
        name="a delta that is removed takes another with it",
        invariant=12,
        file="_deltas/compose.py",
        old="if left else None",
        new="if False else None",
        tests=(
            "deltas/test_deltas.py::test_overlapping_deltas_are_refused_unless_told_which_wins",
        ),
    ),
    Mutation(
        name="training after a delta is lost",
        invariant=12,
        file="_deltas/compose.py",
        old="    if not force:\n        _refuse_moved",
        new="    if delta is None:\n        _refuse_moved",
        tests=("deltas/test_deltas.py::test_training_after_a_delta_is_not_lost_silently",),
    ),
    Mutation(
        name="delta: what was written before a failure stays",
        invariant=12,
        file="_deltas/model.py",
        old="            held.put(value, old)\n",
        new="",
        tests=("deltas/test_deltas.py::test_a_failure_half_way_changes_nothing",),
    ),
    Mutation(
        name="delta: another base in a file is written all the same",
        invariant=12,
        file="_deltas/on_files.py",
        old="    if fits(weights[stored.key], value, patches):\n        return\n    marks = []",
        new="    return\n    marks = []",
        tests=("cli/test_cli_deltas.py::test_another_base_is_refused_and_nothing_is_written",),
    ),
]
