"""Deliberate breaks of the library, each with the tests of which one at least must fail.

They are the mistakes that one could make: a mask the wrong way round, a state that is not carried
over, a list that is not put back. `make faults` applies them one at a time, see `faults.py`.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

SOURCE = pathlib.Path(__file__).parent.parent / "src" / "frostline"

INVARIANTS = {
    1: "frozen entries keep their bits",
    2: "the others move as if those were constant",
    3: "freezing changes no bit, no object, no output",
    4: "optimizers keep state for what trains, and keep it",
    5: "files and copies bring the freeze back",
    6: "a failed call changes nothing",
    7: "callbacks and contexts do what they say",
    8: "a fast path equals the generic one",
    9: "stock layers are the same model, and the way back is exact",
    10: "a map hides no entry",
    11: "a summary adds up and says what it folds",
    12: "base and delta are the trained model, and nothing else is taken for the base",
    13: "a report says what leaked, of a model and of files",
    14: "files are compared in every bit of every entry",
    15: "a bar is for a terminal and what takes long, and leaves nothing",
}


@dataclass(frozen=True)
class Mutation:
    """One break, and where it must be noticed.

    Attributes:
        name: What is broken, in a few words.
        invariant: The number of the promise that it breaks, see `INVARIANTS`.
        file: The file that is changed, below `src/frostline`.
        old: A piece of it that occurs there once.
        new: What takes its place.
        tests: Node ids below `tests`, as few and as quick as will do.
        backend: On which backend they run.
    """

    name: str
    invariant: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    backend: str = "jax"

    def mutated(self) -> str:
        """The text of the file with the break in it."""
        text = (SOURCE / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: what is replaced must occur once in {self.file}; got "
                f"{text.count(self.old)} times {self.old!r}. Bring the mutation up to date."
            )
        return text.replace(self.old, self.new)


BITS = [
    Mutation(
        "the mask of positions the wrong way round",
        1,
        "_plan.py",
        "if np.array_equal(along, mask.any(axis=others)):\n"
        "            return AxisPlan(shape, axis, tuple(np.flatnonzero(~along).tolist()))",
        "if np.array_equal(along, mask.any(axis=others)):\n"
        "            return AxisPlan(shape, axis, tuple(np.flatnonzero(along).tolist()))",
        ("test_plan.py::test_a_plan_freezes_just_the_mask",),
    ),
    Mutation(
        "the mask of entries the wrong way round",
        1,
        "_plan.py",
        "return EntriesPlan(shape, _flat_positions(~mask))",
        "return EntriesPlan(shape, _flat_positions(mask))",
        ("test_freeze.py::test_freeze_adds_and_unfreeze_takes_away",),
    ),
    Mutation(
        "a frozen part that `layer.trainable` thaws",
        1,
        "_view.py",
        "        _swap_class(parts.frozen, FrozenVariable)\n",
        "",
        ("test_freeze.py::test_a_layer_toggled_keeps_its_partial_freeze",),
    ),
    Mutation(
        "a whole frozen variable trains with its layer",
        1,
        "_view.py",
        "    def trainable(self) -> bool:\n        return False",
        "    def trainable(self) -> bool:\n        return self._trainable",
        ("test_freeze.py::test_a_whole_variable_stays_frozen_whatever_its_layer_is_told",),
    ),
    Mutation(
        "a frozen part that PyTorch differentiates",
        1,
        "_parts.py",
        'take_frozen(plan, whole), "frozen", False, plan)',
        'take_frozen(plan, whole), "frozen", trainable, plan)',
        ("test_native_loops.py::test_optimizers_of_pytorch[adamw-plain-none]",),
        "torch",
    ),
    Mutation(
        "a gradient from before the freeze stays",
        1,
        "_backends/torch.py",
        "        _keras.storage(variable).grad = None",
        "        del variable",
        ("test_native_loops.py::test_a_gradient_from_before_does_not_decay_a_frozen_weight",),
        "torch",
    ),
    Mutation(
        "a layer that writes its weight in its call writes frozen entries",
        1,
        "_view.py",
        "        if _keras.in_call():\n            return self.value",
        "        if False:\n            return self.value",
        (
            "test_training.py::test_a_layer_that_writes_its_own_weight_while_training",
            "test_training.py::test_a_whole_frozen_weight_is_safe_from_a_layer_that_writes_it",
        ),
        "torch",
    ),
]

REST = [
    Mutation(
        "a constraint sees the trainable part alone",
        2,
        "_view.py",
        "        return _split.take_trainable(parts.plan, self.view.constraint(whole))",
        "        del whole\n        return self.view.constraint(part)",
        (
            "test_training.py::"
            "test_a_constraint_sees_the_whole_weight_and_writes_what_trains[rows-graph]",
        ),
    ),
    Mutation(
        "a constraint in a compiled step reads a frozen part that is not there",
        2,
        "_backends/jax.py",
        "            if seen._trace is part._trace:\n                return seen",
        "            del part",
        (
            "test_training.py::"
            "test_a_constraint_sees_the_whole_weight_and_writes_what_trains[rows-graph]",
        ),
    ),
    Mutation(
        "a regularizer sees the trainable part alone",
        2,
        "_view.py",
        "        return self.view.regularizer("
        "_split.merge(parts.plan, _tensor(part), parts.frozen.value))",
        "        del parts\n        return self.view.regularizer(_tensor(part))",
        ("test_training.py::test_a_regularizer_sees_the_whole_weight",),
    ),
    Mutation(
        "a tied weight counts twice",
        2,
        "_tree.py",
        "        first.setdefault(id(weight.variable), weight)",
        "        first.setdefault(id(weight), weight)",
        ("test_shared.py::test_both_uses_see_the_freeze[model]",),
        "torch",
    ),
    Mutation(
        "a gradient taken out at the entries of the transpose",
        2,
        "_backends/torch.py",
        "        return gradient.reshape(-1).index_select(0, positions), None",
        "        return gradient.mT.reshape(-1).index_select(0, positions), None",
        ("test_native_loops.py::test_they_move_the_rest_as_a_reference_with_masks_does",),
        "torch",
    ),
    Mutation(
        "the old parameter stays in `model.parameters()`",
        2,
        "_backends/torch.py",
        "                layer._track_variables()",
        "                pass",
        ("test_native_loops.py::test_optimizers_of_pytorch[adamw-plain-none]",),
        "torch",
    ),
    Mutation(
        "no word of a native optimizer that trains nothing now",
        2,
        "_apply.py",
        "    if native:\n",
        "    if native and within:\n",
        ("test_native_loops.py::test_an_optimizer_made_before_a_freeze_is_told_of",),
        "torch",
    ),
]

SAME = [
    Mutation(
        "blocks put together in the other order",
        3,
        "_split.py",
        "        for run in plan.runs\n    ]",
        "        for run in reversed(plan.runs)\n    ]",
        ("test_split.py::test_merge_is_right_for_each_way_of_doing_it",),
    ),
    Mutation(
        "parts put together by adding them",
        3,
        "_split.py",
        '        return backend.put(frozen, plan, "positions", trainable)',
        "        zeros = ops.zeros_like(frozen)\n"
        '        return frozen + backend.put(zeros, plan, "positions", trainable)',
        ("test_split.py::test_merge_is_right_for_each_way_of_doing_it",),
    ),
    Mutation(
        "a layer without frozen weights keeps its class",
        3,
        "_layer.py",
        "        if not any(map(plan_of, inside)) or (\n",
        "        if not inside or (\n",
        ("test_freeze.py::test_freeze_and_unfreeze_any_kind_of_model[sequential]",),
    ),
    Mutation(
        "a write reaches the trainable part alone",
        3,
        "_view.py",
        "        parts.frozen.assign(_split.take_frozen(parts.plan, value))\n",
        "",
        ("test_freeze.py::test_writing_a_weight_writes_both_parts",),
    ),
    Mutation(
        "a write takes what is a tensor already",
        3,
        "_view.py",
        "        value = ops.convert_to_tensor(value, dtype=dtype)\n",
        "",
        ("test_freeze.py::test_writing_a_weight_writes_both_parts",),
    ),
    Mutation(
        "a write in a layer's call is read in the next one",
        3,
        "_view.py",
        "        if (key := _key(self)) in held:\n            held[key] = self._merged()\n",
        "",
        ("test_calls.py::test_what_a_layer_writes_in_its_call_is_read_in_it",),
    ),
    Mutation(
        "a weight put together serves layers of another precision",
        3,
        "_view.py",
        "    return (id(view), _keras.current_autocast(), *map(id, handed))",
        "    return (id(view), *map(id, handed))",
        ("test_calls.py::test_a_layer_of_another_precision_inside_a_layer",),
    ),
    Mutation(
        "a weight put together serves calls with other values",
        3,
        "_view.py",
        "    return (id(view), _keras.current_autocast(), *map(id, handed))",
        "    return (id(view), _keras.current_autocast())",
        ("test_calls.py::test_values_handed_in_while_a_layer_is_called",),
    ),
    Mutation(
        "an unfrozen weight lies in memory in another order",
        3,
        "_backends/torch.py",
        "            return tensor.contiguous()",
        "            return tensor",
        ("test_freeze.py::test_an_unfrozen_weight_lies_in_memory_as_before",),
        "torch",
    ),
]

SLOTS = [
    Mutation(
        "slots start anew for all entries",
        4,
        "_optimizer.py",
        "        whole = slot\n",
        "        whole = ops.zeros_like(slot)\n",
        ("test_optimizer.py::test_slots_of_kept_entries_stay_and_thawed_ones_start_at_zero",),
    ),
    Mutation(
        "slots of thawed entries start at one",
        4,
        "_optimizer.py",
        "_split.merge(plan, slot, _split.take_frozen(plan, start))",
        "_split.merge(plan, slot, _split.take_frozen(plan, ops.ones_like(start)))",
        ("test_optimizer.py::test_slots_of_kept_entries_stay_and_thawed_ones_start_at_zero",),
    ),
    Mutation(
        "slots of other weights start anew",
        4,
        "_optimizer.py",
        "    if source and tuple(source[0].shape) == tuple(slot.shape):\n"
        "        slot.assign(source.pop(0))",
        "    if source and not slot.ndim and tuple(source[0].shape) == tuple(slot.shape):\n"
        "        slot.assign(source.pop(0))",
        ("test_optimizer.py::test_what_still_trains_goes_on_as_if_nothing_happened[AdamW-plain]",),
    ),
    Mutation(
        "what is excluded from decay is lost",
        4,
        "_optimizer.py",
        "            after.__dict__[name] = set(value) | now",
        "            after.__dict__[name] = now",
        ("test_optimizer.py::test_variables_excluded_from_decay_stay_excluded",),
    ),
    Mutation(
        "variables of an optimizer without a name are lost",
        4,
        "_optimizer.py",
        "                counterpart.assign(value)",
        "                pass",
        ("test_optimizer.py::test_a_variable_of_an_optimizer_without_a_name_is_kept",),
    ),
    Mutation(
        "the average of thawed entries starts at zero",
        4,
        "_optimizer.py",
        "        average.assign(ops.copy(variable))",
        "        del variable, average",
        ("test_optimizer.py::test_freezing_and_thawing_are_what_masks_would_do[Adam-average]",),
    ),
    Mutation(
        "the compiled step of training stays as it was",
        4,
        "_optimizer.py",
        '        if getattr(model, f"{stage}_function", None) is not None:',
        '        if stage != "train" and getattr(model, f"{stage}_function", None) is not None:',
        ("test_training.py::test_fit_after_freezing_a_compiled_model_needs_no_compile",),
        "tensorflow",
    ),
    Mutation(
        "the compiled step of prediction stays as it was",
        4,
        "_optimizer.py",
        '        if getattr(model, f"{stage}_function", None) is not None:',
        '        if stage != "predict" and getattr(model, f"{stage}_function", None) is not None:',
        ("test_training.py::test_evaluation_and_prediction_follow_a_freeze",),
        "tensorflow",
    ),
]

FILES = [
    Mutation(
        "a config without the plans",
        5,
        "_layer.py",
        '            "weights": weights if outermost else [],',
        '            "weights": [],',
        ("test_files.py::test_copies[functional-deepcopy]",),
        "torch",
    ),
    Mutation(
        "weight files list the parts",
        5,
        "_layer.py",
        "    own[:] = originals(listed)",
        "    own[:] = listed",
        ("test_files.py::test_sharded_weight_files",),
    ),
    Mutation(
        "a clone that is not built yet forgets its freeze",
        5,
        "_layer.py",
        'weights = self.__dict__.get("_frostline_waiting") or describe(self)',
        "weights = describe(self)",
        ("test_files.py::test_a_clone_not_yet_built_keeps_its_freeze_when_cloned_again",),
        "torch",
    ),
    Mutation(
        "a clone loads weights before it is frozen",
        5,
        "_layer.py",
        "            _restore(self, last=True)\n            self.load_own_variables(store)",
        "            super().load_own_variables(store)",
        ("test_files.py::test_weights_loaded_before_the_first_call_find_the_freeze_there",),
        "torch",
    ),
    Mutation(
        "a freeze that the file would lose is lost",
        5,
        "_layer.py",
        "        if frozen and not described:",
        "        if frozen and described:",
        ("test_files.py::test_a_freeze_that_the_file_would_lose_is_refused",),
        "torch",
    ),
    Mutation(
        "a shared weight is counted twice where freezes are numbered",
        5,
        "_description.py",
        "    for index, weight in enumerate(unique(walk(layer))):",
        "    for index, weight in enumerate(walk(layer)):",
        ("test_files.py::test_a_freeze_after_a_layer_that_is_held_twice",),
        "torch",
    ),
    Mutation(
        "a file names a module inside of frostline",
        5,
        "_layer.py",
        '            "__module__": "frostline",\n',
        "",
        ("test_files.py::test_without_frostline_a_frozen_file_does_not_open[functional]",),
    ),
    Mutation(
        "a checkpoint of TensorFlow leaves the parts out",
        5,
        "_backends/tensorflow.py",
        'return {"trainable": self._frostline.trainable, "frozen": self._frostline.frozen}',
        "return {}",
        ("test_files.py::test_a_checkpoint_of_tensorflow",),
        "tensorflow",
    ),
]

FAILED = [
    Mutation(
        "a variable of Flax is divided",
        6,
        "_freeze.py",
        "    if keras.config.is_nnx_enabled():",
        "    if False:",
        ("test_messages.py::test_variables_of_flax_are_refused",),
    ),
    Mutation(
        "a weight that LoRA stands in for is frozen",
        6,
        "_freeze.py",
        '    for state in ("quantization_mode", "lora_enabled"):',
        '    for state in ("quantization_mode",):',
        ("test_messages.py::test_quantize_and_lora_are_refused_while_frozen",),
    ),
    Mutation(
        "weights before the one that fails stay changed",
        6,
        "_freeze.py",
        "            plans.append((weight.variable, after))",
        "            apply_plans([(weight.variable, after)])",
        ("test_messages.py::test_bad_input_changes_nothing[second weight too small-freeze]",),
    ),
    Mutation(
        "variables are not restored",
        6,
        "_apply.py",
        "            restore(variable, state)",
        "            del state",
        ("test_messages.py::test_a_failure_in_the_middle_of_a_freeze_changes_nothing",),
    ),
    Mutation(
        "classes of layers are not restored",
        6,
        "_apply.py",
        "        _refresh(holders + above)\n        raise",
        "        raise",
        ("test_messages.py::test_a_failure_in_the_optimizer_changes_nothing",),
    ),
    Mutation(
        "parameters of modules are not restored",
        6,
        "_apply.py",
        "        _refresh(holders + above)\n        raise",
        "        refresh_classes(holders + above)\n        raise",
        ("test_messages.py::test_a_failure_in_the_optimizer_changes_nothing",),
        "torch",
    ),
    Mutation(
        "what PyTorch differentiates is not restored",
        6,
        "_view.py",
        "        plain.trainable.fset(variable, variable.trainable)\n",
        "        del plain\n",
        ("test_freeze.py::test_a_whole_variable_that_could_not_be_changed_trains_as_before",),
        "torch",
    ),
    Mutation(
        "the first optimizer has changed when the second fails",
        6,
        "_optimizer.py",
        "    fresh = [\n"
        "        (optimizer, _rebuilt(optimizer, variables, moved))\n"
        "        for optimizer, variables in wanted.values()\n"
        "        if id(optimizer) not in inner\n"
        "    ]",
        "    fresh = (\n"
        "        (optimizer, _rebuilt(optimizer, variables, moved))\n"
        "        for optimizer, variables in wanted.values()\n"
        "        if id(optimizer) not in inner\n"
        "    )",
        ("test_messages.py::test_a_failure_in_the_second_optimizer_changes_nothing",),
    ),
]

CALLBACKS = [
    Mutation(
        "an audit compares nothing",
        7,
        "_audit.py",
        "            if record is not None and (changed or not changed_only):",
        "            if record is not None and changed and not changed_only:",
        ("test_callbacks.py::test_an_audit_finds_the_entry_that_changed[rows]",),
        "torch",
    ),
    Mutation(
        "an audit does not look when an epoch begins",
        7,
        "_audit.py",
        "        self._seen = 0\n        self._compare(changed_only=True)",
        "        self._seen = 0",
        ("test_callbacks.py::test_an_audit_notes_what_is_frozen_when_an_epoch_begins",),
        "torch",
    ),
    Mutation(
        "a context restores nothing after an error",
        7,
        "_contexts.py",
        "    try:\n        yield\n    finally:\n        apply_plans(before)\n        adopt(target)",
        "    yield\n    apply_plans(before)\n    adopt(target)",
        ("test_callbacks.py::test_a_block_that_fails_restores_what_was_frozen",),
        "torch",
    ),
    Mutation(
        "a run that goes on does not take its freeze up",
        7,
        "callbacks.py",
        "        restore_description(self.model, described)\n",
        "        del described\n",
        ("test_callbacks.py::test_a_run_that_was_stopped_goes_on_as_it_was[schedule]",),
        "torch",
    ),
    Mutation(
        "gradual unfreezing thaws what was frozen before",
        7,
        "callbacks.py",
        "        apply_plans([(v, self._before[id(v)]) for v in self._groups[place]])",
        "        apply_plans([(v, None) for v in self._groups[place]])",
        ("test_callbacks.py::test_gradual_unfreezing[top_down]",),
        "torch",
    ),
]

_EQUAL = "test_fast.py::test_a_fast_path_equals_the_generic_one"
_SCATTERED = "test_fast.py::test_scattered_positions_of_few_and_of_many_rows"

PATHS = [
    Mutation(
        "blocks of columns side by side in the other order",
        8,
        "_fast/_product.py",
        "    return _join([next(pieces[run.trainable]) for run in runs], product.y_axis)",
        "    return _join([next(pieces[run.trainable]) for run in runs[::-1]], product.y_axis)",
        (f"{_EQUAL}[Dense-first--1]",),
    ),
    Mutation(
        "a block of rows meets the input of the other",
        8,
        "_fast/_product.py",
        "zip(pieces, runs, strict=True) if run.trainable is part],",
        "zip(pieces[::-1], runs, strict=True) if run.trainable is part],",
        (f"{_EQUAL}[EinsumDense-elementwise-every other--2]", f"{_EQUAL}[Dense-first-0]"),
    ),
    Mutation(
        "the gradient of the input is that of what is frozen",
        8,
        "_backends/jax.py",
        "                moved = moved + product.apply(d_x, weight)",
        "                still = merge(parts.plan, jnp.zeros_like(trainable), frozen)\n"
        "                moved = moved + product.apply(d_x, still)",
        (f"{_SCATTERED}[Dense--1-many rows]",),
    ),
    Mutation(
        "the gradient of scattered positions is a mean over the batch",
        8,
        "_backends/torch.py",
        "            by_part = ctx.product.gradient_part(x, part, gradient)",
        "            by_part = ctx.product.gradient_part(x, part, gradient) / len(x)",
        (f"{_EQUAL}[Dense-every other--1]",),
        "torch",
    ),
    Mutation(
        "the gradient of an einsum is a mean over the batch",
        8,
        "_fast/_einsum.py",
        '            ops.einsum(f"{of_x},{of_y}->{of_weight}", x, upstream), weight\n',
        '            ops.einsum(f"{of_x},{of_y}->{of_weight}", x, upstream) / len(x), weight\n',
        (f"{_EQUAL}[EinsumDense-every other--2]",),
        "torch",
    ),
    Mutation(
        "the gradient of filters is a mean over the batch",
        8,
        "_fast/_conv.py",
        "            lambda weight: apply(x, weight), weight, upstream\n",
        "            lambda weight: apply(x, weight), weight, upstream / len(x)\n",
        (f"{_EQUAL}[Conv2D-every other--1]",),
        "tensorflow",
    ),
    Mutation(
        "a second derivative does not reach what trains",
        8,
        "_backends/torch.py",
        "            weight = ctx.again() if torch.is_grad_enabled() else ctx.whole",
        "            weight = ctx.whole",
        ("test_fast.py::test_second_derivatives[-1-every other-many rows]",),
        "torch",
    ),
    Mutation(
        "the gradient of the input takes trained positions for frozen ones",
        8,
        "_fast/_product.py",
        "        kept = self._blank(upstream, self.y_axis)",
        "        kept = upstream",
        ("test_fast.py::test_what_the_places_of_trained_positions_hold_does_not_count",),
        "tensorflow",
    ),
    Mutation(
        "a product takes trained positions for frozen ones",
        8,
        "_fast/_product.py",
        "            kept = self._blank(x, self.x_axis)",
        "            kept = x",
        ("test_fast.py::test_what_the_places_of_trained_positions_hold_does_not_count",),
    ),
    Mutation(
        "single entries are read as they were when frozen",
        8,
        "_backends/torch.py",
        '        base.view(-1).index_copy_(0, _positions(plan, "trainable", base), part)',
        "        del part",
        ("test_fast.py::test_what_changes_without_notice_is_seen",),
        "torch",
    ),
    Mutation(
        "few entries have the gradient of their neighbours",
        8,
        "_plan.py",
        "        return (self.trainable % self.shape[1]).astype(self.trainable.dtype)",
        "        return (self.trainable % self.shape[0]).astype(self.trainable.dtype)",
        ("test_fast.py::test_few_entries",),
        "torch",
    ),
    Mutation(
        "few entries meet what their neighbours meet",
        8,
        "_plan.py",
        "        return padded // self.shape[1], padded % self.shape[1]",
        "        return padded // self.shape[0], padded % self.shape[1]",
        ("test_fast.py::test_few_entries",),
        "tensorflow",
    ),
    Mutation(
        "one list of positions for another of the same plan",
        8,
        "_backends/torch.py",
        "    key = name, beside.device",
        "    key = beside.device",
        (f"{_EQUAL}[Embedding-every other--2]",),
        "torch",
    ),
    Mutation(
        "an equation that sums over an axis of one operand has a plain gradient",
        8,
        "_fast/_einsum.py",
        "        if len(set(one)) < len(one) or set(one) - set(others):",
        "        if len(set(one)) < len(one):",
        (f"{_EQUAL}[EinsumDense-sums-every other--1]",),
        "torch",
    ),
    Mutation(
        "rows of a table looked up where they lay before",
        8,
        "_fast/_embedding.py",
        '    if plan.kind == "slab":\n',
        '    if plan.kind == "indices":\n',
        ("test_fast.py::test_ids_that_count_from_the_end",),
    ),
]

_THERE = "test_stock.py::test_outputs_parameters_and_training_are_the_same"
_BACK = "test_stock_back.py::test_the_way_back_is_exact"

TRACES = [
    Mutation(
        "a function compiled for an earlier freeze is run for a later one",
        2,
        "_backends/jax.py",
        "            jax.clear_caches()",
        "            pass",
        ("test_native_loops.py::test_a_function_compiled_before_the_freeze_moved",),
    ),
]

STOCK = [
    Mutation(
        "parts that lie side by side in the order of the parts",
        9,
        "_stock/_pieces.py",
        "    return ops.take(whole, order, axis=axis)",
        "    return whole",
        (f"{_THERE}[dense, scattered columns]",),
        "torch",
    ),
    Mutation(
        "each part has the bias of the other",
        9,
        "_stock/_linear.py",
        "        status = not frozen.flat[0]",
        "        status = bool(frozen.flat[0])",
        (f"{_THERE}[dense, rows and bias]",),
        "torch",
    ),
    Mutation(
        "the numbers of a weight are put together in the order of the parts",
        9,
        "_stock/_graph.py",
        "    return np.take(whole, np.argsort(np.concatenate(places)), axis)",
        "    return whole",
        (f"{_BACK}[dense, scattered columns]",),
        "torch",
    ),
    Mutation(
        "a frozen part that was set free is frozen again in silence",
        9,
        "_stock/_merge.py",
        "            if layer.name.endswith(named) and (not trainable) in flags:",
        "            if False:",
        ("test_stock_back.py::test_what_was_set_free_is_not_frozen_in_silence",),
        "torch",
    ),
    Mutation(
        "what looks like a split is taken for one",
        9,
        "_stock/_merge.py",
        "        if _config(again) != _config(self.part):",
        "        if False:",
        ("test_stock_back.py::test_what_was_changed_by_hand_is_told",),
        "torch",
    ),
    Mutation(
        "a softmax over each part is one over the whole",
        9,
        "_stock/_find.py",
        "    return whole.shape == x.shape and bool(np.allclose(whole[:, :3], part, rtol=1e-5))",
        "    return True",
        ("test_stock_back.py::test_what_one_layer_would_not_do_is_not_listed[softmax]",),
        "torch",
    ),
]

PLOTS = [
    Mutation(
        "a leak is an entry that moved by some distance",
        10,
        "_plots/_maps.py",
        "        differs = differ(before, after)",
        "        differs = before != after",
        ("test_plots.py::test_a_frozen_entry_that_moved_is_a_leak",),
        "torch",
    ),
    Mutation(
        "a cell is the average of its entries",
        10,
        "_plots/_cells.py",
        "np.maximum.reduceat(block.max(axis=0)",
        "np.maximum.reduceat(block.mean(axis=0)",
        ("test_plots_cells.py::test_a_cell_says_what_is_true_of_its_entries",),
        "torch",
    ),
    Mutation(
        "a cell that is frozen nearly whole has the colour of a whole one",
        10,
        "_plots/_panel.py",
        "[-1, *SHARES, 2]",
        "[-1, 0.1, 0.25, 0.5, 0.75, 0.9, 2]",
        ("test_plots.py::test_one_entry_of_a_large_weight_has_a_colour_of_its_own",),
        "torch",
    ),
    Mutation(
        "cells smaller than a pixel",
        10,
        "_plots/_maps.py",
        "(min(most, MOST) for most in pixels(self.laid.rows, self.laid.columns))",
        "(MOST, MOST)",
        ("test_plots.py::test_flat_weights_have_no_more_cells_than_pixels",),
        "torch",
    ),
    Mutation(
        "a leak beyond the limit is not drawn",
        10,
        "_plots/_maps.py",
        "kept = self._leaking if panel.leaked else self._others",
        "kept = self._others",
        ("test_plots.py::test_a_leak_is_drawn_before_others",),
        "torch",
    ),
    Mutation(
        "what leaked is drawn as what moved",
        10,
        "_plots/_panel.py",
        """        ("leaked", drift.leaked, LEAK),
""",
        "",
        ("test_plots.py::test_one_leaked_entry_of_a_large_weight_is_in_the_image",),
        "torch",
    ),
    Mutation(
        "heads lie across each other",
        10,
        "_plots/_arrange.py",
        "key=lambda axis: (axis != heads, axis)",
        "key=lambda axis: axis",
        ("test_plots_cells.py::test_heads_of_a_kernel_that_has_features_first",),
        "torch",
    ),
]

REPORTS = [
    Mutation(
        "a leak is called no leak",
        13,
        "_reports/_verdict.py",
        "    if found is not None:",
        "    if False:",
        ("test_reports.py::test_the_verdict",),
        "torch",
    ),
    Mutation(
        "a name of a layer ends the script element",
        13,
        "_reports/_page.py",
        """.replace("<", "\\\\u003c")""",
        "",
        ("test_reports.py::test_no_name_ends_the_script_element",),
        "torch",
    ),
    Mutation(
        "a piece lies beside its place",
        13,
        "_plots/_maps.py",
        "places = (places[:, None] * size + along).reshape(-1)",
        "places = (places[:, None] * size + along - along[0]).reshape(-1)",
        ("test_plots_cells.py::test_a_cell_says_what_is_true_of_its_entries",),
        "torch",
    ),
    Mutation(
        "a page is written over the old one",
        13,
        "_replace.py",
        "        yield Path(name)\n",
        "        yield target\n",
        ("test_reports.py::test_a_disk_that_is_full_leaves_the_old_file",),
        "torch",
    ),
    Mutation(
        "a leak on a map of a page has the colour of what moved",
        13,
        "_reports/maps.js",
        "    drawLeaks(context, unit, cell, cells);\n",
        "",
        ("test_reports_browser.py::test_colours_and_words_of_each_kind_of_cell",),
        "torch",
    ),
    Mutation(
        "the gates of a file are those of another cell",
        13,
        "_files/_names.py",
        """_CELLS = {4: "LSTMCell", 3: "GRUCell",""",
        """_CELLS = {3: "LSTMCell", 4: "GRUCell",""",
        ("test_cli_pictures.py::test_a_weight_lies_on_the_map_of_a_file_as_on_that_of_its_model",),
        "torch",
    ),
]

SUMMARY = [
    Mutation(
        "a block that repeats counts once",
        11,
        "_summaries/_layers.py",
        "    totals = _totals(nodes)\n",
        "    totals = _totals(first)\n",
        ("test_summary_tree.py::test_everything_adds_up",),
        "torch",
    ),
    Mutation(
        "blocks with another freeze are folded together",
        11,
        "_summaries/_layers.py",
        "own = tuple(replace(row, path=_last(row.path)) for row in self.own)",
        "own = tuple((_last(row.path), row.shape) for row in self.own)",
        ("test_summary_tree.py::test_only_what_is_alike_is_folded",),
        "torch",
    ),
    Mutation(
        "what is folded is not counted",
        11,
        "_summaries/_table.py",
        "    if hidden:\n",
        "    if False:\n",
        ("test_summary_tree.py::test_what_is_hidden_is_counted",),
        "torch",
    ),
    Mutation(
        "two layers of one name are one",
        11,
        "_summaries/_layers.py",
        "[(id(layer), layer.name) for layer",
        "[(layer.name, layer.name) for layer",
        ("test_summary_tree.py::test_two_layers_of_one_name_stay_two",),
        "torch",
    ),
    Mutation(
        "a layer that is off trains",
        11,
        "_summaries/_numbers.py",
        "return self.size - self.frozen if self.trains else 0",
        "return self.size - self.frozen",
        ("test_summary_tree.py::test_bytes_kept_are_those_of_the_optimizer",),
        "torch",
    ),
    Mutation(
        "an index for each entry of a row",
        11,
        "_summaries/_numbers.py",
        "return 4 * len(plan.trainable)",
        "return 4 * (plan.size - plan.frozen_count)",
        ("test_summary_tree.py::test_bytes_of_a_delta",),
        "torch",
    ),
    Mutation(
        "a column that does not fit is cut",
        11,
        "_summaries/_table.py",
        "<= width:\n            break",
        "<= width + 20:\n            break",
        (
            "test_summaries.py::test_large_numbers_are_never_cut",
            "test_summary_tree.py::test_a_folded_table",
        ),
        "torch",
    ),
    Mutation(
        "a notebook does not say that blocks are folded",
        11,
        "summaries.py",
        "sum(line.row is not None for _, line in printed(self._lines, closed=True))",
        "len(self.rows)",
        ("test_summary_tree.py::test_html_of_what_is_folded",),
        "torch",
    ),
]

DELTAS = [
    Mutation(
        "delta: the hash of a base leaves out the first frozen entry",
        12,
        "_deltas/_held.py",
        "block = block[mask[start : start + step]]",
        "block = block[mask[start : start + step]][1:]",
        ("test_deltas.py::test_another_base_is_refused_with_both_fingerprints",),
        "torch",
    ),
    Mutation(
        "delta: a changed zero is not among the changed",
        12,
        "_deltas/_extract.py",
        "changed = differ(value, earlier)",
        "changed = value != earlier",
        ("test_deltas.py::test_with_a_base_a_signed_zero_is_a_change",),
        "torch",
    ),
    Mutation(
        "a layer that is off is in a delta",
        12,
        "_deltas/_extract.py",
        "plan = origin.plan if origin.on else WholePlan(origin.shape)",
        "plan = origin.plan",
        ("test_deltas.py::test_training_with_moving_statistics_and_a_layer_that_is_off",),
        "torch",
    ),
    Mutation(
        "moving statistics are not in a delta",
        12,
        "_deltas/_model.py",
        "unique(walk(model, state=True))",
        "unique(walk(model))",
        ("test_deltas.py::test_training_with_moving_statistics_and_a_layer_that_is_off",),
        "torch",
    ),
    Mutation(
        "delta: a file is taken as it comes",
        12,
        "_deltas/_format.py",
        "if delta.fingerprint != given or",
        "if given is None or",
        ("test_deltas.py::test_every_changed_byte_is_refused",),
        "torch",
    ),
    Mutation(
        "delta: of two values the later is always taken",
        12,
        "_deltas/_compose.py",
        "both &= differ(one, other)",
        "both &= False",
        ("test_deltas.py::test_overlapping_deltas_are_refused_unless_told_which_wins",),
        "torch",
    ),
    Mutation(
        "a delta that is removed takes another with it",
        12,
        "_deltas/_compose.py",
        "if left else None",
        "if False else None",
        ("test_deltas.py::test_overlapping_deltas_are_refused_unless_told_which_wins",),
        "torch",
    ),
    Mutation(
        "training after a delta is lost",
        12,
        "_deltas/_compose.py",
        "    if not force:\n        _refuse_moved",
        "    if delta is None:\n        _refuse_moved",
        ("test_deltas.py::test_training_after_a_delta_is_not_lost_silently",),
        "torch",
    ),
    Mutation(
        "delta: what was written before a failure stays",
        12,
        "_deltas/_model.py",
        "            held.put(value, old)\n",
        "",
        ("test_deltas.py::test_a_failure_half_way_changes_nothing",),
        "torch",
    ),
    Mutation(
        "delta: another base in a file is written all the same",
        12,
        "_deltas/_on_files.py",
        "    if fits(weights[stored.key], value, patches):\n        return\n    marks = []",
        "    return\n    marks = []",
        ("test_cli_deltas.py::test_another_base_is_refused_and_nothing_is_written",),
        "torch",
    ),
    Mutation(
        "delta: a layer that is off in a file counts as trained",
        12,
        "_files/_names.py",
        'return layer is None or layer.config.get("trainable", True) is not False',
        "return True",
        ("test_cli_deltas.py::test_moving_statistics_and_layers_that_are_off",),
        "torch",
    ),
]

_AS_NUMPY = "test_bits.py::test_two_files_are_compared_as_plain_numpy_does"

COMPARED = [
    Mutation(
        "numbers are compared, not bits",
        14,
        "_bits.py",
        "np.not_equal(one.view(word), other.view(word), out=out)",
        "np.not_equal(one, other, out=out)",
        ("test_bits.py::test_bits_differ_where_bytes_do",),
        "torch",
    ),
    Mutation(
        "an infinite half is widened to a number",
        14,
        "_bits.py",
        ".max() <= _LARGEST_HALF",
        ".max() <= 0x7FFF",
        ("test_bits.py::test_every_half_is_widened_exactly",),
        "torch",
    ),
    Mutation(
        "equal infinities count as odd",
        14,
        "_bits.py",
        "np.flatnonzero(differs & ~finite)",
        "np.flatnonzero(~finite)",
        ("test_bits.py::test_the_largest_difference_is_that_of_plain_numpy",),
        "torch",
    ),
    Mutation(
        "the last pieces are not looked at",
        14,
        "_files/_through.py",
        "    if batch:\n        yield batch",
        "    if False:\n        yield batch",
        ("test_model_files.py::test_every_entry_of_two_files_is_seen_once",),
        "torch",
    ),
    Mutation(
        "threads read into the same memory",
        14,
        "_files/_through.py",
        "    for _ in range(threads):\n"
        "        desks.put((np.empty((2, PIECE), np.uint8), workspace()))",
        "    same = np.empty((2, PIECE), np.uint8), workspace()\n"
        "    for _ in range(threads):\n        desks.put(same)",
        ("test_model_files.py::test_every_entry_of_two_files_is_seen_once",),
        "torch",
    ),
    Mutation(
        "the first leak is the last one",
        14,
        "_files/_compare.py",
        "start + place < self._first[0]",
        "start + place > self._first[0]",
        (_AS_NUMPY,),
        "torch",
    ),
]

BARS = [
    Mutation(
        "a bar goes into a pipe",
        15,
        "_output.py",
        "or not _is_terminal(sys.stderr) or",
        "or",
        ("test_progress.py::test_nothing_is_written_where_there_is_no_terminal",),
        "torch",
    ),
    Mutation(
        "a bar does not ask Keras whether to be silent",
        15,
        "_output.py",
        " or _keras_is_silent():",
        ":",
        ("test_progress.py::test_what_is_quick_or_told_to_be_silent_shows_no_bar",),
        "torch",
    ),
    Mutation(
        "a bar stays when all is done",
        15,
        "_output.py",
        "transient=True",
        "transient=False",
        ("test_progress.py::test_bars_are_shown_in_a_terminal_and_leave_nothing",),
        "torch",
    ),
    Mutation(
        "a bar within another is shown",
        15,
        "_output.py",
        "quiet or _running or",
        "quiet or",
        ("test_progress.py::test_a_bar_within_another_is_not_shown",),
        "torch",
    ),
]

MUTATIONS = [
    *(*BITS, *REST, *TRACES, *SAME, *SLOTS, *FILES, *FAILED, *CALLBACKS, *PATHS),
    *(*STOCK, *PLOTS, *REPORTS, *SUMMARY, *DELTAS, *COMPARED, *BARS),
]
