"""Breaks of `_files`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="the gates of a file are those of another cell",
        invariant=13,
        file="_files/names.py",
        old="_CELLS.get(columns // rows if",
        new="_CELLS.get(columns // rows - 1 if",
        tests=(
            "cli/test_cli_pictures.py::test_a_weight_lies_on_the_map_of_a_file_as_on_that_of_its_model",
        ),
    ),
    Mutation(
        name="delta: a layer that is off in a file counts as trained",
        invariant=12,
        file="_files/names.py",
        old='return layer is None or layer.config.get("trainable", True) is not False',
        new="return True",
        tests=("cli/test_cli_deltas.py::test_moving_statistics_and_layers_that_are_off",),
    ),
    Mutation(
        name="the last pieces are not looked at",
        invariant=14,
        file="_files/through.py",
        old="    if batch:\n        yield batch",
        new="    if False:\n        yield batch",
        tests=("files/test_model_files.py::test_every_entry_of_two_files_is_seen_once",),
    ),
    Mutation(
        name="threads read into the same memory",
        invariant=14,
        file="_files/through.py",
        old=(
            "    for _ in range(threads):\n"
            "        desks.put((np.empty((2, PIECE), np.uint8), workspace()))"
        ),
        new=(
            "    same = np.empty((2, PIECE), np.uint8), workspace()\n"
            "    for _ in range(threads):\n        desks.put(same)"
        ),
        tests=("files/test_model_files.py::test_every_entry_of_two_files_is_seen_once",),
    ),
    Mutation(
        name="the first leak is the last one",
        invariant=14,
        file="_files/compare.py",
        old="start + place < self._first[0]",
        new="start + place > self._first[0]",
        tests=("arrays/test_bits.py::test_two_files_are_compared_as_plain_numpy_does",),
    ),
]
