"""Breaks of `_selections` and of the ranking that it uses."""

from mutations.mutation import Mutation

ENTRIES = "selections/test_choosing.py::test_entries_by_magnitude"
SIGNED = "selections/test_choosing.py::test_scores_are_compared_with_their_sign"
GROUPS = "selections/test_choosing.py::test_groups"

MUTATIONS = [
    Mutation(
        name="queries, keys and values are taken for three heads",
        invariant=1,
        file="_selections/heads.py",
        old="    if role is not None and 1 < role.runs == found.count:",
        new="    if role is not None and 1 < role.runs < 0:",
        tests=("selections/test_structure.py::test_heads_that_nothing_tells_are_refused",),
    ),
    Mutation(
        name="your own subclass of KerasHub's attention counts as that",
        invariant=1,
        file="_catalogue.py",
        old="    return _inherited_attention(layer) if next(own).__module__.startswith(_HUB) else None",
        new="    return _inherited_attention(layer) if next(own) else None",
        tests=(
            "selections/test_hub_heads.py::test_a_subclass_of_your_own_may_divide_an_axis_in_another_way",
        ),
    ),
    Mutation(
        name="what is not a number is the largest",
        invariant=16,
        file="_arrays/ranking.py",
        old="    keys[missing] = ~word(0)\n",
        new="",
        tests=(ENTRIES, SIGNED),
    ),
    Mutation(
        name="a zero with a sign is smaller than one without",
        invariant=16,
        file="_arrays/ranking.py",
        old="(values + number(0)).view(word)",
        new="values.copy().view(word)",
        tests=("selections/test_choosing.py::test_a_sign_makes_no_zero_smaller",),
    ),
    Mutation(
        name="of equal scores the last ones are taken",
        invariant=16,
        file="_arrays/ranking.py",
        old="[:ties] if ties else []",
        new="[-ties:] if ties else []",
        tests=(ENTRIES,),
    ),
    Mutation(
        name="each weight takes all places that are left to equal scores",
        invariant=16,
        file="_selections/ranked.py",
        old="        known = which\n        while known not in self._ties_left:\n            known -= 1\n",
        new="        known = which = 0\n",
        tests=(ENTRIES, GROUPS),
    ),
    Mutation(
        name="a sample that says too little is trusted",
        invariant=16,
        file="_arrays/ranking.py",
        old="    if not 0 < count <= collected:\n        return None\n",
        new="    count = min(max(count, 1), collected)\n",
        tests=("selections/test_choosing.py::test_a_sample_changes_no_choice",),
    ),
    Mutation(
        name="each weight has a threshold of its own",
        invariant=16,
        file="_selections/ranked.py",
        old='"model": None}[scope]',
        new='"model": place}[scope]',
        tests=(ENTRIES,),
    ),
    Mutation(
        name="half a unit is chosen",
        invariant=16,
        file="_selections/ranked.py",
        old='contest = layer if of in ("units", "heads") else place',
        new="contest = place",
        tests=(
            "selections/test_choosing_parts.py::test_a_unit_is_one_thing_in_all_weights_of_its_layer",
        ),
    ),
    Mutation(
        name="all weights draw the same random numbers",
        invariant=16,
        file="_selections/scored.py",
        old="(said.seed, place)",
        new="(said.seed, 0)",
        tests=("selections/test_choosing.py::test_random_is_repeatable_and_even",),
    ),
    Mutation(
        name="a function that scores is asked in each pass",
        invariant=16,
        file="_selections/scored.py",
        old="    @cached_property\n    def _held",
        new="    @property\n    def _held",
        tests=("selections/test_choosing.py::test_a_function_is_asked_once",),
    ),
    Mutation(
        name="heads in one axis take turns",
        invariant=16,
        file="_selections/parts.py",
        old="once = np.repeat(picked, self.width)",
        new="once = np.tile(picked, self.width)",
        tests=(
            "freezing/test_hub_backbones.py::test_heads_are_what_the_output_reads_through_them[T5]",
        ),
    ),
    Mutation(
        name="queries, keys and values of a head lie side by side",
        invariant=16,
        file="_selections/heads.py",
        old="divmod(size - beside, role.runs * count)",
        new="divmod(size - beside, count)",
        tests=(
            "freezing/test_hub_backbones.py::test_heads_are_what_the_output_reads_through_them[SwinTransformer]",
        ),
    ),
    Mutation(
        name="what is beside the heads counts as heads",
        invariant=16,
        file="_selections/heads.py",
        old="    if known.beside:",
        new="    if not known.beside:",
        tests=(
            "freezing/test_hub_backbones.py::test_heads_are_what_the_output_reads_through_them[Flux]",
        ),
    ),
    Mutation(
        name="a key/value head goes with the first head that reads it",
        invariant=16,
        file="_selections/parts.py",
        old="picked = np.all(picked.reshape(-1, self.readers), axis=1)",
        new="picked = np.any(picked.reshape(-1, self.readers), axis=1)",
        tests=(
            "selections/test_choosing_parts.py::test_a_shared_key_head_goes_with_the_last_head_that_reads_it",
        ),
    ),
    Mutation(
        name="infinity that stays has changed",
        invariant=16,
        file="_selections/differing.py",
        old="stays | (was == here)",
        new="stays",
        tests=("selections/test_choosing.py::test_changed",),
    ),
]
