"""Breaks of `_freezing`."""

from mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        name="no word of a native optimizer that trains nothing now",
        invariant=2,
        file="_freezing/apply.py",
        old="    if native:\n",
        new="    if native and within:\n",
        tests=(
            "freezing/test_native_loops.py::test_an_optimizer_made_before_a_freeze_is_warned_of",
        ),
    ),
    Mutation(
        name="a layer without frozen weights keeps its class",
        invariant=3,
        file="_freezing/layer.py",
        old="            not any(plan_of(weight.variable) for weight in inside)\n",
        new="            not inside\n",
        tests=("freezing/test_freeze.py::test_freeze_and_unfreeze_any_kind_of_model[sequential]",),
    ),
    Mutation(
        name="slots start anew for all entries",
        invariant=4,
        file="_freezing/optimizer.py",
        old="    whole = slot\n",
        new="    whole = ops.zeros_like(slot)\n",
        tests=(
            "freezing/test_optimizer.py::test_slots_of_kept_entries_stay_and_thawed_ones_start_at_zero",
        ),
    ),
    Mutation(
        name="slots of thawed entries start at one",
        invariant=4,
        file="_freezing/optimizer.py",
        old="split.merge(before, slot, split.take_frozen(before, start))",
        new="split.merge(before, slot, split.take_frozen(before, ops.ones_like(start)))",
        tests=(
            "freezing/test_optimizer.py::test_slots_of_kept_entries_stay_and_thawed_ones_start_at_zero",
        ),
    ),
    Mutation(
        name="slots of other weights start anew",
        invariant=4,
        file="_freezing/optimizer.py",
        old=(
            "    if tuple(source[0].shape) == tuple(slot.shape):\n"
            "        slot.assign(source.pop(0))"
        ),
        new=(
            "    if not slot.ndim and tuple(source[0].shape) == tuple(slot.shape):\n"
            "        slot.assign(source.pop(0))"
        ),
        tests=(
            "freezing/test_optimizer.py::test_what_still_trains_goes_on_as_if_nothing_happened[plain]",
        ),
    ),
    Mutation(
        name="what is excluded from decay is lost",
        invariant=4,
        file="_freezing/optimizer.py",
        old="            after.__dict__[name] = set(value) | {",
        new="            after.__dict__[name] = {",
        tests=("freezing/test_optimizer.py::test_variables_excluded_from_decay_stay_excluded",),
    ),
    Mutation(
        name="variables of an optimizer without a name are lost",
        invariant=4,
        file="_freezing/optimizer.py",
        old="                counterpart.assign(value)",
        new="                pass",
        tests=(
            "freezing/test_optimizer.py::test_a_variable_of_an_optimizer_without_a_name_is_kept",
        ),
    ),
    Mutation(
        name="the average of thawed entries starts at zero",
        invariant=4,
        file="_freezing/optimizer.py",
        old="        average.assign(ops.copy(variable))",
        new="        del variable, average",
        tests=(
            "freezing/test_optimizer.py::test_freezing_and_thawing_are_what_masks_would_do[Adam-average]",
        ),
    ),
    Mutation(
        name="the compiled step of training stays as it was",
        invariant=4,
        file="_freezing/optimizer.py",
        old='        if getattr(model, f"{stage}_function", None) is not None:',
        new='        if stage != "train" and getattr(model, f"{stage}_function", None) is not None:',
        tests=(
            "freezing/test_training.py::test_fit_after_freezing_a_compiled_model_needs_no_compile",
        ),
        backend="tensorflow",
    ),
    Mutation(
        name="the compiled step of prediction stays as it was",
        invariant=4,
        file="_freezing/optimizer.py",
        old='        if getattr(model, f"{stage}_function", None) is not None:',
        new='        if stage != "predict" and getattr(model, f"{stage}_function", None) is not None:',
        tests=("freezing/test_training.py::test_evaluation_and_prediction_follow_a_freeze",),
        backend="tensorflow",
    ),
    Mutation(
        name="a config without the plans",
        invariant=5,
        file="_freezing/classes.py",
        old="            weights=weights if outermost else [],",
        new="            weights=[],",
        tests=(
            "freezing/test_files.py::test_a_copied_model_keeps_its_freeze[functional-deepcopy]",
        ),
    ),
    Mutation(
        name="weight files list the parts",
        invariant=5,
        file="_freezing/layer.py",
        old="    own[:] = originals(listed)",
        new="    own[:] = listed",
        tests=("freezing/test_files.py::test_sharded_weight_files_load_into_a_plain_model",),
    ),
    Mutation(
        name="a clone that is not built yet forgets its freeze",
        invariant=5,
        file="_freezing/description.py",
        old="            for weight in chain[-1].__dict__[AWAITED].weights:",
        new="            for weight in ():",
        tests=(
            "freezing/test_files.py::test_a_clone_not_yet_built_keeps_its_freeze_when_cloned_again",
        ),
    ),
    Mutation(
        name="a frozen entry of a clone is rounded to half precision",
        invariant=5,
        file="_freezing/awaited.py",
        old="            with _keras.no_autocast():\n                self._freeze(self._layer, plans)",
        new="            self._freeze(self._layer, plans)",
        tests=(
            "freezing/test_made_on_call.py::test_fit_straight_after_cloning_moves_no_frozen_entry[half-from_config]",
        ),
    ),
    Mutation(
        name="a clone is frozen after its first call and not in it",
        invariant=5,
        file="_freezing/awaited.py",
        old="            if outermost and self.weights:",
        new="            if False:",
        tests=(
            "freezing/test_made_on_call.py::test_an_eager_first_call_freezes_each_weight_before_the_next_layer",
        ),
    ),
    Mutation(
        name="a freeze that the file would lose is lost",
        invariant=5,
        file="_freezing/layer.py",
        old="        if frozen and not described:",
        new="        if frozen and described:",
        tests=("freezing/test_files.py::test_a_freeze_that_the_file_would_lose_is_refused",),
    ),
    Mutation(
        name="sublayers of one class are taken for one another",
        invariant=5,
        file="_weights/routes.py",
        old="                counts[kind] += 1",
        new="                pass",
        tests=(
            "freezing/test_made_on_call.py::test_a_clone_that_is_called_is_frozen_alike[subclassed-from_config]",
        ),
    ),
    Mutation(
        name="a file names a module inside of frostline",
        invariant=5,
        file="_freezing/classes.py",
        old='            "__module__": "frostline",\n',
        new="",
        tests=("freezing/test_files.py::test_without_frostline_a_frozen_file_does_not_open",),
    ),
    Mutation(
        name="a variable of Flax is divided",
        invariant=6,
        file="_freezing/verbs.py",
        old="    if keras.config.is_nnx_enabled():",
        new="    if False:",
        tests=("freezing/test_messages.py::test_variables_of_flax_are_refused",),
    ),
    Mutation(
        name="a weight that LoRA stands in for is frozen",
        invariant=6,
        file="_freezing/verbs.py",
        old='    for state in ("quantization_mode", "lora_enabled"):',
        new='    for state in ("quantization_mode",):',
        tests=("freezing/test_messages.py::test_quantize_and_lora_are_refused_while_frozen",),
    ),
    Mutation(
        name="weights before the one that fails stay changed",
        invariant=6,
        file="_freezing/verbs.py",
        old="            plans.append((weight.variable, after))",
        new="            apply_plans([(weight.variable, after)])",
        tests=(
            "freezing/test_messages.py::test_bad_input_changes_nothing[second weight too small-freeze]",
        ),
    ),
    Mutation(
        name="variables are not restored",
        invariant=6,
        file="_freezing/change.py",
        old="            change.undo()",
        new="            pass",
        tests=(
            "freezing/test_messages.py::test_a_failure_in_the_middle_of_a_freeze_changes_nothing",
        ),
    ),
    Mutation(
        name="classes of layers are not restored",
        invariant=6,
        file="_freezing/change.py",
        old="        refresh(affected)\n        backend.refresh_parameters(affected)\n        raise",
        new="        backend.refresh_parameters(affected)\n        raise",
        tests=("freezing/test_messages.py::test_a_failure_in_the_optimizer_changes_nothing",),
    ),
    Mutation(
        name="parameters of modules are not restored",
        invariant=6,
        file="_freezing/change.py",
        old="        refresh(affected)\n        backend.refresh_parameters(affected)\n        raise",
        new="        refresh(affected)\n        raise",
        tests=("freezing/test_messages.py::test_a_failure_in_the_optimizer_changes_nothing",),
    ),
    Mutation(
        name="the first optimizer has changed when the second fails",
        invariant=6,
        file="_freezing/optimizer.py",
        old=(
            "    fresh = [\n"
            "        (optimizer, _rebuilt(optimizer, variables, changes))\n"
            "        for optimizer, variables in wanted.values()\n"
            "        if id(optimizer) not in inner\n"
            "    ]"
        ),
        new=(
            "    fresh = (\n"
            "        (optimizer, _rebuilt(optimizer, variables, changes))\n"
            "        for optimizer, variables in wanted.values()\n"
            "        if id(optimizer) not in inner\n"
            "    )"
        ),
        tests=(
            "freezing/test_messages.py::test_a_failure_in_the_second_optimizer_changes_nothing",
        ),
    ),
    Mutation(
        name="a context restores nothing after an error",
        invariant=7,
        file="_freezing/contexts.py",
        old="    try:\n        yield\n    finally:\n        apply_plans(target, before)",
        new="    yield\n    apply_plans(target, before)",
        tests=("callbacks/test_callbacks.py::test_a_block_that_fails_restores_what_was_frozen",),
    ),
]
