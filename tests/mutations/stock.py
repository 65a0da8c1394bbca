"""Breaks of `_stock`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="parts that lie side by side in the order of the parts",
        invariant=9,
        file="_stock/pieces.py",
        old="    return ops.take(whole, order, axis=axis)",
        new="    return whole",
        tests=(
            "stock/test_stock.py::test_outputs_parameters_and_training_are_the_same[dense, scattered columns]",
        ),
    ),
    Mutation(
        name="each part has the bias of the other",
        invariant=9,
        file="_stock/linear.py",
        old="        status = not frozen.flat[0]",
        new="        status = bool(frozen.flat[0])",
        tests=(
            "stock/test_stock.py::test_outputs_parameters_and_training_are_the_same[dense, rows and bias]",
        ),
    ),
    Mutation(
        name="the numbers of a weight are put together in the order of the parts",
        invariant=9,
        file="_stock/graph.py",
        old="    return np.take(whole, np.argsort(np.concatenate(places)), axis)",
        new="    return whole",
        tests=("stock/test_stock_back.py::test_the_way_back_is_exact[dense, scattered columns]",),
    ),
    Mutation(
        name="a frozen part that was set free is frozen again in silence",
        invariant=9,
        file="_stock/merge.py",
        old="            if layer.name.endswith(named) and (not trainable) in flags:",
        new="            if False:",
        tests=("stock/test_stock_back.py::test_what_was_set_free_is_not_frozen_in_silence",),
    ),
    Mutation(
        name="what looks like a split is taken for one",
        invariant=9,
        file="_stock/merge.py",
        old="        if _config(again) != _config(self.part):",
        new="        if False:",
        tests=("stock/test_stock_back.py::test_what_was_changed_by_hand_is_told",),
    ),
    Mutation(
        name="a softmax over each part is one over the whole",
        invariant=9,
        file="_stock/find.py",
        old="    return whole.shape == x.shape and bool(np.allclose(whole[:, :3], part, rtol=1e-5))",
        new="    return True",
        tests=(
            "stock/test_stock_back.py::test_what_one_layer_would_not_do_is_not_listed[softmax]",
        ),
    ),
]
