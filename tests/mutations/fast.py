"""Breaks of `_fast`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="blocks of columns side by side in the other order",
        invariant=8,
        file="_fast/product.py",
        old="    return _join([next(pieces[run.trainable]) for run in runs], product.y_axis)",
        new="    return _join([next(pieces[run.trainable]) for run in runs[::-1]], product.y_axis)",
        tests=("fast/test_fast.py::test_a_fast_path_equals_the_generic_one[Dense-first--1]",),
    ),
    Mutation(
        name="a block of rows meets the input of the other",
        invariant=8,
        file="_fast/product.py",
        old="zip(pieces, runs, strict=True) if run.trainable is part],",
        new="zip(pieces[::-1], runs, strict=True) if run.trainable is part],",
        tests=(
            "fast/test_fast.py::test_a_fast_path_equals_the_generic_one[EinsumDense-elementwise-every other--2]",
            "fast/test_fast.py::test_a_fast_path_equals_the_generic_one[Dense-first-0]",
        ),
    ),
    Mutation(
        name="the gradient of an einsum is a mean over the batch",
        invariant=8,
        file="_fast/einsum.py",
        old='            ops.einsum(f"{of_x},{of_y}->{of_weight}", x, upstream), weight\n',
        new='            ops.einsum(f"{of_x},{of_y}->{of_weight}", x, upstream) / len(x), weight\n',
        tests=(
            "fast/test_fast.py::test_a_fast_path_equals_the_generic_one[EinsumDense-every other--2]",
        ),
    ),
    Mutation(
        name="the gradient of filters is a mean over the batch",
        invariant=8,
        file="_fast/conv.py",
        old="            lambda weight: apply(x, weight), weight, upstream\n",
        new="            lambda weight: apply(x, weight), weight, upstream / len(x)\n",
        tests=(
            "fast/test_fast.py::test_a_fast_path_equals_the_generic_one[Conv2D-every other--1]",
        ),
        backend="tensorflow",
    ),
    Mutation(
        name="the gradient of the input takes trained positions for frozen ones",
        invariant=8,
        file="_fast/product.py",
        old="        kept = self._blank(upstream, self.y_axis)",
        new="        kept = upstream",
        tests=("fast/test_fast.py::test_what_the_places_of_trained_positions_hold_does_not_count",),
        backend="tensorflow",
    ),
    Mutation(
        name="a product takes trained positions for frozen ones",
        invariant=8,
        file="_fast/product.py",
        old="            kept = self._blank(x, self.x_axis)",
        new="            kept = x",
        tests=("fast/test_fast.py::test_what_the_places_of_trained_positions_hold_does_not_count",),
        backend="jax",
    ),
    Mutation(
        name="an equation that sums over an axis of one operand has a plain gradient",
        invariant=8,
        file="_fast/einsum.py",
        old="        if len(set(one)) < len(one) or set(one) - set(others):",
        new="        if len(set(one)) < len(one):",
        tests=(
            "fast/test_fast.py::test_a_fast_path_equals_the_generic_one[EinsumDense-sums-every other--1]",
        ),
    ),
    Mutation(
        name="rows of a table looked up where they lay before",
        invariant=8,
        file="_fast/embedding.py",
        old="    if not plan.keeps_length:\n",
        new="    if plan.keeps_length:\n",
        tests=("fast/test_fast.py::test_ids_that_count_from_the_end_find_their_rows",),
    ),
    Mutation(
        name="a product over one position stays one, and XLA repeats it in each later layer",
        invariant=8,
        file="_fast/product.py",
        old="    if not product.alone or weight.shape[axis] > 1",
        new="    if True",
        tests=(
            "engines/test_jax_compiling.py::test_three_times_as_many_layers_compile_to_three_times_as_much",
        ),
        backend="jax",
    ),
    Mutation(
        name="the second position of a product over one stays in the output",
        invariant=8,
        file="_fast/product.py",
        old="    return slice_along(product.apply(x, weight), product.y_axis, 0, 1)",
        new="    return product.apply(x, weight)",
        tests=("fast/test_fast.py::test_a_fast_path_equals_the_generic_one[Dense-one--1]",),
        backend="jax",
    ),
]
