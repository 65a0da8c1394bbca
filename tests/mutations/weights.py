"""Breaks of `_weights`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="an unfrozen parameter that no loop can tell to train",
        invariant=3,
        file="_weights/view.py",
        old="        _restore_class(variable)\n        backend.unlock(variable)\n",
        new="        _restore_class(variable)\n",
        tests=(
            "freezing/test_native_loops.py::test_an_unfrozen_weight_is_an_ordinary_parameter_again",
        ),
    ),
    Mutation(
        name="a failed unfreeze leaves a parameter that a loop can thaw",
        invariant=6,
        file="_weights/view.py",
        old="            backend.lock(variable, variable.path)\n",
        new="            pass\n",
        tests=(
            "freezing/test_freeze.py::test_a_whole_variable_that_could_not_be_changed_trains_as_before[unfreeze]",
        ),
    ),
    Mutation(
        name="a frozen part that `layer.trainable` thaws",
        invariant=1,
        file="_weights/view.py",
        old="        _swap_class(parts.frozen, FrozenVariable)\n",
        new="",
        tests=("freezing/test_freeze.py::test_a_layer_toggled_keeps_its_partial_freeze",),
    ),
    Mutation(
        name="a whole frozen variable trains with its layer",
        invariant=1,
        file="_weights/view.py",
        old="    def trainable(self) -> bool:\n        return False",
        new="    def trainable(self) -> bool:\n        return self._trainable",
        tests=(
            "freezing/test_freeze.py::test_a_whole_variable_stays_frozen_whatever_its_layer_is_told",
        ),
    ),
    Mutation(
        name="a frozen part that PyTorch differentiates",
        invariant=1,
        file="_weights/parts.py",
        old='take_frozen(plan, whole), "frozen", False, plan)',
        new='take_frozen(plan, whole), "frozen", trainable, plan)',
        tests=(
            "freezing/test_native_loops.py::test_optimizers_of_pytorch_move_the_rest_alone[adamw-plain-none]",
        ),
    ),
    Mutation(
        name="a layer that writes its weight in its call writes frozen entries",
        invariant=1,
        file="_weights/view.py",
        old="        if _keras.in_call():\n            return self.value",
        new="        if False:\n            return self.value",
        tests=(
            "freezing/test_training.py::test_a_layer_that_writes_its_own_weight_leaves_what_is_frozen",
            "freezing/test_training.py::test_a_whole_frozen_weight_is_safe_from_a_layer_that_writes_it",
        ),
    ),
    Mutation(
        name="a constraint sees the trainable part alone",
        invariant=2,
        file="_weights/penalties.py",
        old="        return split.take_trainable(parts.plan, self.view.constraint(whole))",
        new="        del whole\n        return self.view.constraint(part)",
        tests=(
            "freezing/test_training.py::test_a_constraint_sees_the_whole_weight_and_writes_what_trains[rows-graph]",
        ),
    ),
    Mutation(
        name="a regularizer sees the trainable part alone",
        invariant=2,
        file="_weights/penalties.py",
        old=(
            "        return self.view.regularizer("
            "split.merge(parts.plan, _tensor(part), parts.frozen.value))"
        ),
        new="        del parts\n        return self.view.regularizer(_tensor(part))",
        tests=("freezing/test_training.py::test_a_regularizer_sees_the_whole_weight",),
    ),
    Mutation(
        name="a tied weight counts twice",
        invariant=2,
        file="_weights/tree.py",
        old="        first.setdefault(id(weight.variable), weight)",
        new="        first.setdefault(id(weight), weight)",
        tests=("freezing/test_shared.py::test_both_uses_see_the_freeze[model]",),
    ),
    Mutation(
        name="blocks put together in the other order",
        invariant=3,
        file="_weights/split.py",
        old="        for run in plan.runs\n    ]",
        new="        for run in reversed(plan.runs)\n    ]",
        tests=("weights/test_split.py::test_merge_is_right_for_each_way_of_doing_it",),
    ),
    Mutation(
        name="parts put together by adding them",
        invariant=3,
        file="_weights/split.py",
        old="        return backend.put(frozen, plan, trainable)",
        new=(
            "        zeros = ops.zeros_like(frozen)\n"
            "        return frozen + backend.put(zeros, plan, trainable)"
        ),
        tests=("weights/test_split.py::test_merge_is_right_for_each_way_of_doing_it",),
    ),
    Mutation(
        name="a write reaches the trainable part alone",
        invariant=3,
        file="_weights/view.py",
        old="        parts.frozen.assign(split.take_frozen(parts.plan, value))\n",
        new="",
        tests=("freezing/test_freeze.py::test_writing_a_weight_writes_both_parts",),
    ),
    Mutation(
        name="a write takes what is a tensor already",
        invariant=3,
        file="_weights/view.py",
        old="        value = ops.convert_to_tensor(value, dtype=dtype)\n",
        new="",
        tests=("freezing/test_freeze.py::test_writing_a_weight_writes_both_parts",),
    ),
    Mutation(
        name="a write in a layer's call is read in the next one",
        invariant=3,
        file="_weights/view.py",
        old="        held.renew(self)\n",
        new="",
        tests=("freezing/test_calls.py::test_what_a_layer_writes_in_its_call_is_read_in_it",),
    ),
    Mutation(
        name="a weight put together serves layers of another precision",
        invariant=3,
        file="_weights/held.py",
        old="    return (id(view), _keras.current_autocast(), *map(id, handed))",
        new="    return (id(view), *map(id, handed))",
        tests=(
            "freezing/test_calls.py::test_a_layer_of_another_precision_inside_a_layer_computes_the_same",
        ),
    ),
    Mutation(
        name="a weight put together serves calls with other values",
        invariant=3,
        file="_weights/held.py",
        old="    return (id(view), _keras.current_autocast(), *map(id, handed))",
        new="    return (id(view), _keras.current_autocast())",
        tests=("freezing/test_calls.py::test_values_handed_in_while_a_layer_is_called_are_used",),
    ),
    Mutation(
        name="what PyTorch differentiates is not restored",
        invariant=6,
        file="_weights/view.py",
        old="        plain.trainable.fset(variable, variable.trainable)\n",
        new="        del plain\n",
        tests=(
            "freezing/test_freeze.py::test_a_whole_variable_that_could_not_be_changed_trains_as_before",
        ),
    ),
    Mutation(
        name="a restore that fails keeps what it has written",
        invariant=6,
        file="_weights/values.py",
        old="                undo.callback(_put_back, variable, np.array(now))\n",
        new="",
        tests=("weights/test_snapshots.py::test_a_write_that_fails_takes_back_what_was_written",),
    ),
    Mutation(
        name="a restore leaves what is frozen",
        invariant=3,
        file="_weights/values.py",
        old="    parts.frozen.assign(backend.from_numpy(frozen, parts.frozen))\n",
        new="    del frozen\n",
        tests=("weights/test_snapshots.py::test_every_bit_comes_back_and_the_freeze_stays",),
    ),
    Mutation(
        name="a snapshot of bfloat16 goes through float32",
        invariant=3,
        file="_backends/torch.py",
        old="        if tensor.dtype != torch.bfloat16:\n            return super()",
        new="        if tensor.dtype:\n            return super()",
        tests=("weights/test_snapshots.py::test_every_bit_comes_back_and_the_freeze_stays",),
    ),
    Mutation(
        name="a weight restored from memory that was overwritten",
        invariant=3,
        file="snapshots.py",
        old="    return array if array.flags.owndata else np.array(array)",
        new="    return array",
        tests=("weights/test_snapshots.py::test_arrays_that_are_memory_of_the_weights",),
    ),
    Mutation(
        name="the path of one weight taken for the other name of another",
        invariant=3,
        file="_arrays/naming.py",
        old="            if rank < best:\n                known[name] = rank, [weight]",
        new="            if False:\n                pass",
        tests=(
            "weights/test_snapshots.py::"
            "test_the_path_of_one_weight_is_not_taken_for_the_other_name_of_another",
        ),
    ),
    Mutation(
        name="a recurrent kernel copied without regard to its gates",
        invariant=18,
        file="_weights/copied.py",
        old="    if stock.gates and any(own.name",
        new="    if False and any(own.name",
        tests=("weights/test_copy_weights.py::test_old_units_among_zeros_give_what_they_gave",),
    ),
    Mutation(
        name="moving statistics that are not copied",
        invariant=18,
        file="_weights/copied.py",
        old="    found = list(walk(target, state=True))",
        new="    found = list(walk(target))",
        tests=(
            "weights/test_copy_weights.py::test_moving_statistics_are_copied_and_the_new_ones_are_left",
        ),
    ),
    Mutation(
        name="a block of a weight that devices share is held whole by each",
        invariant=3,
        file="_weights/layouts.py",
        old="    return dataclasses.replace(plan, sharded=sharded)",
        new="    return plan",
        tests=(
            "engines/test_jax_sharding.py::test_weights_stay_shared_among_devices[jax_sharded]",
        ),
        backend="jax",
    ),
    Mutation(
        name="each device holds all that trains of a weight that they share",
        invariant=4,
        file="_weights/layouts.py",
        old="            if axes[axis] is None and devices > 1 and shape[axis] % devices == 0:",
        new="            if shape[axis] < 0:",
        tests=(
            "engines/test_jax_sharding.py::test_weights_stay_shared_among_devices[jax_sharded]",
        ),
        backend="jax",
    ),
    Mutation(
        name="the places of what trains in a shared frozen part are not its places along the axis",
        invariant=3,
        file="_weights/split.py",
        old="        return put_along(frozen, plan, trainable, plan.stored_axis)",
        new="        return put_along(frozen, plan, trainable, 0)",
        tests=(
            "engines/test_jax_sharding.py::test_weights_stay_shared_among_devices[jax_sharded]",
        ),
        backend="jax",
    ),
    Mutation(
        name="a weight gives its storage up before it is read from its parts",
        invariant=19,
        file="_weights/view.py",
        old='        _swap_class(variable, View)\n        variable.__dict__.pop("_value", None)\n',
        new='        variable.__dict__.pop("_value", None)\n        _swap_class(variable, View)\n',
        tests=(
            "freezing/test_threads.py::test_a_model_reads_the_same_at_each_step_of_a_change[entries]",
        ),
    ),
    Mutation(
        name="a thawed weight loses its parts before it is read from its storage",
        invariant=19,
        file="_weights/view.py",
        old="        _restore_class(variable)\n        del variable._frostline\n",
        new="        del variable._frostline\n        _restore_class(variable)\n",
        tests=(
            "freezing/test_threads.py::test_a_model_reads_the_same_at_each_step_of_a_change[entries]",
        ),
    ),
    Mutation(
        name="a weight has nothing for a moment while a change is taken back",
        invariant=19,
        file="_weights/view.py",
        old="    variable.__dict__.update(attributes)\n    variable.__class__ = kind\n",
        new="    variable.__dict__.clear()\n    variable.__dict__.update(attributes)\n    variable.__class__ = kind\n",
        tests=(
            "freezing/test_threads.py::test_a_model_reads_the_same_while_a_change_is_taken_back[whole]",
        ),
    ),
    Mutation(
        name="a read looks its weight up in a class that may be gone",
        invariant=19,
        file="_weights/view.py",
        old="    return None if given_value(weight) is not None else _read(weight)\n",
        new="    return None if given_value(weight) is not None else _read(weight) if weight._frostline else None\n",
        tests=(
            "freezing/test_threads.py::test_a_model_that_changes_between_any_two_lines_of_its_call_gives_the_same",
        ),
    ),
    Mutation(
        name="no change waits for another one",
        invariant=19,
        file="_weights/changing.py",
        old="        with CHANGING:\n            return",
        new="        if True:\n            return",
        tests=(
            "freezing/test_threads.py::test_a_call_waits_for_a_change_by_another_thread[freeze]",
        ),
    ),
    Mutation(
        name="a forked process waits for a thread that it has not",
        invariant=19,
        file="_weights/changing.py",
        old='if hasattr(os, "register_at_fork"):',
        new='if hasattr(os, "no fork"):',
        tests=(
            "freezing/test_threads.py::test_a_forked_process_does_not_wait_for_a_thread_that_it_has_not",
        ),
    ),
]
