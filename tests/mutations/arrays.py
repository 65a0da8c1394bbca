"""Breaks of `_arrays`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="the mask of positions the wrong way round",
        invariant=1,
        file="_arrays/plan.py",
        old=(
            "if np.array_equal(along, mask.any(axis=others)):\n"
            "            return AxisPlan(shape, axis, where_false(along))"
        ),
        new=(
            "if np.array_equal(along, mask.any(axis=others)):\n"
            "            return AxisPlan(shape, axis, where_false(~along))"
        ),
        tests=("arrays/test_plan.py::test_a_plan_freezes_just_the_mask",),
    ),
    Mutation(
        name="the mask of entries the wrong way round",
        invariant=1,
        file="_arrays/plan.py",
        old="return EntriesPlan(shape, where_false(mask.reshape(-1)))",
        new="return EntriesPlan(shape, where_false(~mask.reshape(-1)))",
        tests=("freezing/test_freeze.py::test_freeze_adds_and_unfreeze_takes_away",),
    ),
    Mutation(
        name="few entries have the gradient of their neighbours",
        invariant=8,
        file="_arrays/plan.py",
        old="        return (self.trainable % self.shape[1]).astype(self.trainable.dtype)",
        new="        return (self.trainable % self.shape[0]).astype(self.trainable.dtype)",
        tests=("fast/test_fast.py::test_few_trained_entries_equal_the_generic_path",),
    ),
    Mutation(
        name="few entries meet what their neighbours meet",
        invariant=8,
        file="_arrays/plan.py",
        old="        return padded // self.shape[1], padded % self.shape[1]",
        new="        return padded // self.shape[0], padded % self.shape[1]",
        tests=("fast/test_fast.py::test_few_trained_entries_equal_the_generic_path",),
        backend="tensorflow",
    ),
    Mutation(
        name="numbers are compared, not bits",
        invariant=14,
        file="_arrays/bits.py",
        old="np.not_equal(one.view(word), other.view(word), out=out)",
        new="np.not_equal(one, other, out=out)",
        tests=("arrays/test_bits.py::test_bits_differ_where_bytes_do",),
    ),
    Mutation(
        name="an infinite half is widened to a number",
        invariant=14,
        file="_arrays/bits.py",
        old=".max() <= _LARGEST_HALF",
        new=".max() <= 0x7FFF",
        tests=("arrays/test_bits.py::test_every_half_is_widened_exactly",),
    ),
    Mutation(
        name="equal infinities count as odd",
        invariant=14,
        file="_arrays/bits.py",
        old="np.flatnonzero(differs & ~finite)",
        new="np.flatnonzero(~finite)",
        tests=("arrays/test_bits.py::test_the_largest_difference_is_that_of_plain_numpy",),
    ),
    Mutation(
        name="a mask of all that is in the larger weight",
        invariant=18,
        file="_arrays/block.py",
        old="        mask[self.index] = True",
        new="        mask[...] = True",
        tests=(
            "weights/test_copy_weights.py::test_a_model_grown_three_times_keeps_its_first_weights",
        ),
    ),
    Mutation(
        name="a mean of the whole old weight",
        invariant=18,
        file="_arrays/block.py",
        old=" if old_size != size)",
        new=")",
        tests=("weights/test_copy_weights.py::test_what_new_entries_start_with",),
    ),
    Mutation(
        name="automatic names that must be the same",
        invariant=18,
        file="_arrays/naming.py",
        old="            if not by_place or set(names) <= set(there):",
        new="            if names:",
        tests=("weights/test_copy_weights.py::test_random_pairs_of_models_against_an_oracle",),
    ),
]
