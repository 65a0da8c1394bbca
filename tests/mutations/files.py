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
    Mutation(
        name="a boundary lets some errors through",
        invariant=21,
        file="_files/boundary.py",
        old="    except Exception as error:",
        new="    except ValueError as error:",
        tests=("files/test_strangers.py::test_configs_that_no_model_has[deep]",),
    ),
    Mutation(
        name="a group is gone into as often as it has names",
        invariant=21,
        file="_files/hdf5_child.py",
        old="        if address in self._seen:",
        new="        if False:",
        tests=("files/test_strangers.py::test_objects_that_no_weight_file_has[weights.h5-shared]",),
    ),
    Mutation(
        name="an array may claim more than the file holds",
        invariant=21,
        file="_files/hdf5_child.py",
        old="        if size > max(SMALL, held * shrunk):",
        new="        if size < 0:",
        tests=(
            "files/test_strangers.py::test_objects_that_no_weight_file_has[weights.h5-nothing_written]",
        ),
    ),
    Mutation(
        name="sorted positions are known by their differences",
        invariant=21,
        file="_deltas/load.py",
        old="(positions[1:] <= positions[:-1]).any()",
        new="(np.diff(positions) <= 0).any()",
        tests=("files/test_strangers.py::test_positions_that_32_bits_cannot_subtract",),
    ),
    Mutation(
        name="names from a file reach the terminal as they are",
        invariant=21,
        file="_errors.py",
        old="    return _UNSEEN.sub(",
        new="    return text if text else _UNSEEN.sub(",
        tests=("files/test_strangers.py::test_names_are_printed_as_text",),
    ),
    Mutation(
        name="the size that a part claims is not looked at",
        invariant=21,
        file="_files/archive.py",
        old="        elif info.file_size > _PACKED[info.compress_type] * info.compress_size:",
        new="        elif info.file_size < 0:",
        tests=("files/test_strangers.py::test_headers_of_an_archive_are_checked[size]",),
    ),
    Mutation(
        name="a plan takes memory before its shape is compared",
        invariant=21,
        file="_files/freezes.py",
        old='    shape = shape_from(weight["plan"].get("shape"))\n',
        new='    shape = frozen_from_config(weight["plan"]).shape\n',
        tests=("files/test_strangers.py::test_memory_is_bounded_by_what_a_file_holds",),
    ),
]
