"""Breaks of `_callbacks`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="an audit compares nothing",
        invariant=7,
        file="_callbacks/audit.py",
        old="            if record is not None and (changed or not changed_only):",
        new="            if record is not None and changed and not changed_only:",
        tests=("callbacks/test_callbacks.py::test_an_audit_finds_the_entry_that_changed[rows]",),
    ),
    Mutation(
        name="an audit does not look when a freeze changes",
        invariant=7,
        file="_freezing/apply.py",
        old="        watcher.freeze_changed()",
        new="        del watcher",
        tests=(
            "callbacks/test_callbacks.py::test_an_audit_notes_what_is_frozen_when_an_epoch_begins",
        ),
    ),
    Mutation(
        name="an audit does not compare before a freeze changes",
        invariant=7,
        file="_freezing/apply.py",
        old="        watcher.freeze_will_change([change.variable for change in changes])",
        new="        del watcher",
        tests=(
            "callbacks/test_callbacks.py::test_an_audit_finds_what_any_callback_writes_when_an_epoch_ends",
        ),
    ),
    Mutation(
        name="an audit does not compare when training ends",
        invariant=7,
        file="_callbacks/audit.py",
        old="            elif self._folder:",
        new="            elif False:",
        tests=(
            "callbacks/test_callbacks.py::test_an_audit_finds_what_any_callback_writes_when_an_epoch_ends",
        ),
    ),
    Mutation(
        name="a run that goes on does not take its freeze up",
        invariant=7,
        file="callbacks.py",
        old="        restore_description(self.model, described)\n",
        new="        del described\n",
        tests=(
            "callbacks/test_callbacks.py::test_a_run_that_was_stopped_goes_on_as_it_was[schedule]",
        ),
    ),
    Mutation(
        name="gradual unfreezing thaws what was frozen before",
        invariant=7,
        file="callbacks.py",
        old="[(v, self._before[id(v)]) for v in self._groups[place]]",
        new="[(v, None) for v in self._groups[place]]",
        tests=(
            "callbacks/test_callbacks.py::test_gradual_unfreezing_thaws_one_layer_after_another[top_down]",
        ),
    ),
    Mutation(
        name="an audit looks at the first device alone",
        invariant=7,
        file="_callbacks/audit.py",
        old=" or _unlike_copy(weight.variable)",
        new="",
        tests=("engines/test_tensorflow_engines.py::test_mirrored",),
        backend="tensorflow",
    ),
]
