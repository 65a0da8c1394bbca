"""Breaks of `the ground`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="the kernel of a transposed convolution has the axes of another",
        invariant=9,
        file="_catalogue.py",
        old='_TRANSPOSED = {"kernel": (OUTPUT_CHANNEL, INPUT_CHANNEL)}',
        new='_TRANSPOSED = {"kernel": (INPUT_CHANNEL, OUTPUT_CHANNEL)}',
        tests=(
            "stock/test_stock.py::test_outputs_parameters_and_training_are_the_same[conv, transposed]",
            "selections/test_structure.py::test_units_are_what_computes_these_outputs[Conv2DTranspose]",
        ),
    ),
    Mutation(
        name="a page is written over the old one",
        invariant=13,
        file="_writing.py",
        old="        yield unfinished\n",
        new="        yield target\n",
        tests=("reports/test_reports.py::test_a_disk_that_is_full_leaves_the_old_file",),
    ),
    Mutation(
        name="a bar goes into a pipe",
        invariant=15,
        file="_console.py",
        old="or not _is_terminal(sys.stderr) or",
        new="or",
        tests=("ground/test_progress.py::test_nothing_is_written_where_there_is_no_terminal",),
    ),
    Mutation(
        name="a bar does not ask Keras whether to be silent",
        invariant=15,
        file="_console.py",
        old=" or _keras_is_silent():",
        new=":",
        tests=("ground/test_progress.py::test_what_is_quick_or_told_to_be_silent_shows_no_bar",),
    ),
    Mutation(
        name="a bar stays when all is done",
        invariant=15,
        file="_console.py",
        old="transient=True",
        new="transient=False",
        tests=("ground/test_progress.py::test_bars_are_shown_in_a_terminal_and_leave_nothing",),
    ),
    Mutation(
        name="a bar within another is shown",
        invariant=15,
        file="_console.py",
        old="quiet or _running or",
        new="quiet or",
        tests=("ground/test_progress.py::test_a_bar_within_another_is_not_shown",),
    ),
]
