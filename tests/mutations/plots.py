"""Breaks of `_plots`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="a leak is an entry that moved by some distance",
        invariant=10,
        file="_plots/maps.py",
        old="        differs = differ(before, after)",
        new="        differs = before != after",
        tests=("plots/test_plots.py::test_a_frozen_entry_that_moved_is_a_leak",),
    ),
    Mutation(
        name="a cell is the average of its entries",
        invariant=10,
        file="_plots/cells.py",
        old="np.maximum.reduceat(block.max(axis=0)",
        new="np.maximum.reduceat(block.mean(axis=0)",
        tests=("plots/test_plots_cells.py::test_a_cell_says_what_is_true_of_its_entries",),
    ),
    Mutation(
        name="a cell that is frozen nearly whole has the colour of a whole one",
        invariant=10,
        file="_plots/panel.py",
        old="[-1, *SHARES, 2]",
        new="[-1, 0.1, 0.25, 0.5, 0.75, 0.9, 2]",
        tests=("plots/test_plots.py::test_one_entry_of_a_large_weight_has_a_colour_of_its_own",),
    ),
    Mutation(
        name="cells smaller than a pixel",
        invariant=10,
        file="_plots/maps.py",
        old="(min(most, MOST) for most in pixels(self.laid.rows, self.laid.columns))",
        new="(MOST, MOST)",
        tests=("plots/test_plots.py::test_flat_weights_have_no_more_cells_than_pixels",),
    ),
    Mutation(
        name="a leak beyond the limit is not drawn",
        invariant=10,
        file="_plots/maps.py",
        old="kept = self._leaking if panel.leaked else self._others",
        new="kept = self._others",
        tests=("plots/test_plots.py::test_a_leak_is_drawn_before_others",),
    ),
    Mutation(
        name="what leaked is drawn as what moved",
        invariant=10,
        file="_plots/panel.py",
        old=(
            """        ("leaked", drift.leaked, LEAK),
"""
        ),
        new="",
        tests=("plots/test_plots.py::test_one_leaked_entry_of_a_large_weight_is_in_the_image",),
    ),
    Mutation(
        name="heads lie across each other",
        invariant=10,
        file="_plots/arrange.py",
        old="key=lambda axis: (axis != heads, axis)",
        new="key=lambda axis: axis",
        tests=("plots/test_plots_cells.py::test_heads_of_a_kernel_that_has_features_first",),
    ),
    Mutation(
        name="a piece lies beside its place",
        invariant=13,
        file="_plots/maps.py",
        old="places = (places[:, None] * size + along).reshape(-1)",
        new="places = (places[:, None] * size + along - along[0]).reshape(-1)",
        tests=("plots/test_plots_cells.py::test_a_cell_says_what_is_true_of_its_entries",),
    ),
]
