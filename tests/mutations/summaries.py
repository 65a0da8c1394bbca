"""Breaks of `_summaries`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="a block that repeats counts once",
        invariant=11,
        file="_summaries/layers.py",
        old="for block in _across(nodes))",
        new="for block in _across(nodes[:length]))",
        tests=("summaries/test_summary_tree.py::test_everything_adds_up",),
    ),
    Mutation(
        name="blocks with another freeze are folded together",
        invariant=11,
        file="_summaries/layers.py",
        old="row.dtype, row.kind, row.trains)",
        new="row.dtype)",
        tests=("summaries/test_summary_tree.py::test_only_what_is_alike_is_folded",),
    ),
    Mutation(
        name="equal blocks have the counts of the first",
        invariant=11,
        file="_summaries/table.py",
        old="    of = line.alike or (line.totals,)\n",
        new="    of = (line.totals,)\n",
        tests=(
            "summaries/test_summary_tree.py::test_blocks_that_differ_in_counts_are_one_with_ranges",
        ),
    ),
    Mutation(
        name="what is folded is not counted",
        invariant=11,
        file="_summaries/table.py",
        old="    if hidden:\n",
        new="    if False:\n",
        tests=("summaries/test_summary_tree.py::test_what_is_hidden_is_counted",),
    ),
    Mutation(
        name="two layers of one name are one",
        invariant=11,
        file="_summaries/layers.py",
        old="[(id(layer), layer.name) for layer",
        new="[(layer.name, layer.name) for layer",
        tests=("summaries/test_summary_tree.py::test_two_layers_of_one_name_stay_two",),
    ),
    Mutation(
        name="a layer that is off trains",
        invariant=11,
        file="_summaries/numbers.py",
        old="return self.size - self.frozen if self.trains else 0",
        new="return self.size - self.frozen",
        tests=("summaries/test_summary_tree.py::test_bytes_kept_are_those_of_the_optimizer",),
    ),
    Mutation(
        name="an index for each entry of a row",
        invariant=11,
        file="_summaries/numbers.py",
        old="return plan.trainable.nbytes if isinstance(plan, AxisPlan | EntriesPlan) else 0",
        new="return 4 * (plan.size - plan.frozen_count) if isinstance(plan, AxisPlan) else 0",
        tests=("summaries/test_summary_tree.py::test_bytes_of_a_delta",),
    ),
    Mutation(
        name="a column that does not fit is cut",
        invariant=11,
        file="_summaries/table.py",
        old="<= width:\n            break",
        new="<= width + 20:\n            break",
        tests=(
            "summaries/test_summaries.py::test_large_numbers_are_never_cut",
            "summaries/test_summary_tree.py::test_a_folded_table",
        ),
    ),
    Mutation(
        name="a notebook does not say that blocks are folded",
        invariant=11,
        file="summaries.py",
        old="for _, line in printed(self._lines, closed=True)]",
        new="for row in self.rows for line in [Line('', self, row)]]",
        tests=("summaries/test_summary_tree.py::test_html_of_what_is_folded",),
    ),
]
