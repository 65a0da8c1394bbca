"""Breaks of `_backends`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="a loop that tells all parameters to train reaches what is frozen",
        invariant=1,
        file="_backends/torch.py",
        old="        torch_parameter.lock(_keras.storage(variable), path)",
        new="        del variable, path",
        tests=(
            "freezing/test_native_loops.py::test_parameters_that_are_all_told_to_train_stay_frozen[module]",
        ),
    ),
    Mutation(
        name="a loop that sets the flag itself reaches what is frozen",
        invariant=1,
        file="_backends/torch_parameter.py",
        old="    requires_grad = property(torch.Tensor.requires_grad.__get__, _refuse)  # type: ignore[assignment]",
        new="",
        tests=(
            "freezing/test_native_loops.py::test_parameters_that_are_all_told_to_train_stay_frozen[attribute]",
        ),
    ),
    Mutation(
        name="a weight put together is a constant to a trace",
        invariant=3,
        file="_backends/torch.py",
        old="        or is_tracing()\n        # No",
        new="        # No",
        tests=(
            "freezing/test_export.py::test_exporters_of_pytorch_take_every_kind_of_freeze[Conv2D-columns-onnx]",
        ),
    ),
    Mutation(
        name="a gradient from before the freeze stays",
        invariant=1,
        file="_backends/torch.py",
        old="        gradient, storage.grad = storage.grad, None\n",
        new="        gradient = storage.grad\n",
        tests=(
            "freezing/test_native_loops.py::test_a_gradient_from_before_does_not_decay_a_frozen_weight",
        ),
    ),
    Mutation(
        name="a constraint in a compiled step reads a frozen part that is not there",
        invariant=2,
        file="_backends/jax.py",
        old="            if seen._trace is part._trace:\n                return seen",
        new="            del part",
        tests=(
            "freezing/test_training.py::test_a_constraint_sees_the_whole_weight_and_writes_what_trains[rows-graph]",
        ),
        backend="jax",
    ),
    Mutation(
        name="a gradient taken out at the entries of the transpose",
        invariant=2,
        file="_backends/torch.py",
        old="gradient.movedim(plan.axis, 0) if by_axis else gradient.reshape(-1)",
        new="gradient.movedim(plan.axis, 0) if by_axis else gradient.mT.reshape(-1)",
        tests=(
            "freezing/test_native_loops.py::test_adam_of_pytorch_moves_the_rest_as_a_reference_with_masks_does",
        ),
    ),
    Mutation(
        name="the old parameter stays in `model.parameters()`",
        invariant=2,
        file="_backends/torch.py",
        old="                layer._track_variables()",
        new="                pass",
        tests=(
            "freezing/test_native_loops.py::test_optimizers_of_pytorch_move_the_rest_alone[adamw-plain-none]",
        ),
    ),
    Mutation(
        name="an unfrozen weight lies in memory in another order",
        invariant=3,
        file="_backends/torch.py",
        old="            return tensor.contiguous()",
        new="            return tensor",
        tests=("freezing/test_freeze.py::test_an_unfrozen_weight_lies_in_memory_as_before",),
    ),
    Mutation(
        name="a checkpoint of TensorFlow leaves the parts out",
        invariant=5,
        file="_backends/tensorflow.py",
        old='return {f"trainable_{told}": parts.trainable, f"frozen_{told}": parts.frozen}',
        new="return {} if told else {}",
        tests=(
            "freezing/test_files.py::test_a_checkpoint_of_tensorflow_restores_a_partly_frozen_weight",
        ),
        backend="tensorflow",
    ),
    Mutation(
        name="a function is taken to write all that it reads",
        invariant=3,
        file="_backends/tensorflow.py",
        old="enumerate(captured, start) if i not in read}",
        new="enumerate(captured, start) if read or i}",
        tests=("freezing/test_stale_functions.py::test_what_tensorflow_keeps_private",),
        backend="tensorflow",
    ),
    Mutation(
        name="the gradient of the input is that of what is frozen",
        invariant=8,
        file="_backends/jax.py",
        old="                moved = moved + product.apply(d_x, weight)",
        new=(
            "                still = merge(parts.plan, jnp.zeros_like(trainable), frozen)\n"
            "                moved = moved + product.apply(d_x, still)"
        ),
        tests=(
            "fast/test_fast.py::test_scattered_positions_equal_the_generic_path_for_few_and_for_many_rows[Dense--1-many rows]",
        ),
        backend="jax",
    ),
    Mutation(
        name="the gradient of scattered positions is a mean over the batch",
        invariant=8,
        file="_backends/torch.py",
        old="            by_part = ctx.product.gradient_part(x, part, gradient)",
        new="            by_part = ctx.product.gradient_part(x, part, gradient) / len(x)",
        tests=("fast/test_fast.py::test_a_fast_path_equals_the_generic_one[Dense-every other--1]",),
    ),
    Mutation(
        name="a second derivative does not reach what trains",
        invariant=8,
        file="_backends/torch.py",
        old="            weight = ctx.again() if torch.is_grad_enabled() else ctx.whole",
        new="            weight = ctx.whole",
        tests=(
            "fast/test_fast.py::test_second_derivatives_equal_the_generic_ones[-1-every other-many rows]",
        ),
    ),
    Mutation(
        name="single entries are read as they were when frozen",
        invariant=8,
        file="_backends/torch.py",
        old="    rows.index_copy_(0, _positions(plan, base), part)\n",
        new='    if plan.kind == "positions":\n        rows.index_copy_(0, _positions(plan, base), part)\n',
        tests=("fast/test_fast.py::test_what_changes_without_notice_is_seen",),
    ),
    Mutation(
        name="one list of positions for another of the same plan",
        invariant=8,
        file="_backends/torch.py",
        old="    key = name, beside.device",
        new="    key = beside.device",
        tests=(
            "fast/test_fast.py::test_a_fast_path_equals_the_generic_one[Embedding-every other--2]",
        ),
    ),
    Mutation(
        name="a function compiled for an earlier freeze is run for a later one",
        invariant=2,
        file="_backends/jax.py",
        old="            jax.clear_caches()",
        new="            pass",
        tests=(
            "freezing/test_native_loops.py::test_a_function_compiled_before_a_freeze_moved_follows_it",
        ),
        backend="jax",
    ),
    Mutation(
        name="devices add the whole gradient of a weight of which some entries train",
        invariant=4,
        file="_backends/jax.py",
        old="        if shares == 1 or axes is None:",
        new="        if shares:",
        tests=("engines/test_jax_sharding.py::test_weights_stay_shared_among_devices[jax_memory]",),
        backend="jax",
    ),
    Mutation(
        name="each device puts a weight together that they share",
        invariant=4,
        file="_backends/jax.py",
        old="        return value if layout is None else keras.distribution.distribute_tensor(value, layout)",
        new="        return value",
        tests=("engines/test_jax_sharding.py::test_weights_stay_shared_among_devices[jax_memory]",),
        backend="jax",
    ),
    Mutation(
        name="what several devices share is flattened on each",
        invariant=4,
        file="_weights/split.py",
        old="        if plan.sharded:\n            return backend.put(frozen, plan, trainable)",
        new="        if plan.sharded:\n            at = np.asarray(plan.trainable)\n            return ops.reshape(ops.scatter_update(ops.reshape(frozen, (-1,)), at[:, None], trainable), plan.shape)",
        tests=("engines/test_jax_sharding.py::test_weights_stay_shared_among_devices[jax_memory]",),
        backend="jax",
    ),
    Mutation(
        name="a warning of a wrapper that does without the gradient",
        invariant=3,
        file="_backends/torch_engines.py",
        old=" and not skips\n",
        new="\n",
        tests=("engines/test_torch_wrappers.py::test_no_word_of_a_wrapper_that_is_right",),
    ),
    Mutation(
        name="a warning of a wrapper of another model",
        invariant=3,
        file="_backends/torch_engines.py",
        old="        return id(_keras.storage(variable)) in made_with\n",
        new="        return _keras.storage(variable) is not None\n",
        tests=(
            "engines/test_torch_wrappers.py::test_no_word_of_a_wrapper_of_another_model_or_of_what_it_ignores",
        ),
    ),
    Mutation(
        name="a gather between processes rounds bits",
        invariant=12,
        file="_backends/jax.py",
        old="return gathered(_bits(tensor), of).view(tensor.dtype)",
        new="return gathered(tensor, of)",
        backend="jax",
        tests=(
            "engines/test_jax_engines.py::test_weights_that_span_processes_are_read_in_all_of_them",
        ),
    ),
    Mutation(
        name="an audit gathers what is in other processes",
        invariant=7,
        file="_backends/jax.py",
        old="return local(tensor) if spans(tensor) else super().local(tensor)",
        new="return super().local(tensor)",
        backend="jax",
        tests=(
            "engines/test_jax_engines.py::test_weights_that_span_processes_are_read_in_all_of_them",
        ),
    ),
]
