"""Breaks of the modules at the root of the package."""

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
    Mutation(
        name="what a killed process left stays",
        invariant=20,
        file="_writing.py",
        old="    _sweep(folder)\n",
        new="",
        tests=(
            "ground/test_writing.py::test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one",
        ),
    ),
    Mutation(
        name="a write removes the file of a process that still writes",
        invariant=20,
        file="_writing.py",
        old="pid == os.getpid() else not _is_alive(pid)",
        new="pid == os.getpid() else True",
        tests=(
            "ground/test_writing.py::test_the_file_of_a_process_that_still_writes_is_left_alone",
        ),
    ),
    Mutation(
        name="a thread removes the file of another one",
        invariant=20,
        file="_writing.py",
        old="    _ours.add(name)\n",
        new="",
        tests=(
            "ground/test_writing.py::test_threads_of_one_process_leave_the_files_of_each_other_alone",
        ),
    ),
    Mutation(
        name="a write removes what another machine writes",
        invariant=20,
        file="_writing.py",
        old="st_mtime > _OLD",
        new="st_mtime > -_OLD",
        tests=("ground/test_writing.py::test_what_is_swept[of another machine]",),
    ),
    Mutation(
        name="a full disk leaves the half of a file",
        invariant=20,
        file="_writing.py",
        old="        path.unlink(missing_ok=True)\n",
        new="",
        tests=("ground/test_writing.py::test_a_full_disk_leaves_the_old_file[freeze]",),
    ),
    Mutation(
        name="a link is replaced by a file",
        invariant=20,
        file="_writing.py",
        old="    target = Path(os.path.realpath(out))\n",
        new="    target = Path(os.path.abspath(out))\n",
        tests=(
            "ground/test_writing.py::test_a_link_stays_one_and_leads_to_the_new_file[to a file]",
        ),
    ),
    Mutation(
        name="a link to itself is replaced by a file",
        invariant=20,
        file="_writing.py",
        old="        if target.is_symlink():",
        new="        if False:",
        tests=(
            "ground/test_writing.py::test_a_link_that_leads_nowhere_is_refused_and_stays[itself]",
        ),
    ),
    Mutation(
        name="a device is replaced by a file",
        invariant=20,
        file="_writing.py",
        old="not out.is_file() and not out.is_dir()",
        new="not out.is_symlink() and False",
        tests=("ground/test_writing.py::test_a_device_or_a_pipe_is_refused_and_stays",),
    ),
    Mutation(
        name="a secret file can be read by all while it is written",
        invariant=20,
        file="_writing.py",
        old="0o600 if private else 0o666",
        new="0o666",
        tests=(
            "ground/test_writing.py::test_a_new_file_is_as_open_as_any_and_an_old_one_stays_as_it_was",
        ),
    ),
]
