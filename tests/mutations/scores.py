"""Breaks of `_scores`."""

from mutations.mutation import Mutation

DATA = "scores/test_score_data.py::"
GRADIENTS = "scores/test_gradient_scores.py::"
WANDA = "scores/test_wanda_scores.py::"

MUTATIONS = [
    Mutation(
        name="the Fisher squares the gradient of a batch",
        invariant=17,
        file="_scores/gradients.py",
        old='    "fisher": Term(ops.square, True,',
        new='    "fisher": Term(ops.square, False,',
        tests=(GRADIENTS + "test_scores_are_those_of_the_definition[fisher]",),
    ),
    Mutation(
        name="a smaller batch counts as much as a whole one",
        invariant=17,
        file="_scores/gradients.py",
        old="factor = arrays[0].shape[0] / scale",
        new="factor = 3 / scale",
        tests=(GRADIENTS + "test_scores_are_those_of_the_definition[snip]",),
    ),
    Mutation(
        name="a gradient of float16 stays scaled",
        invariant=17,
        file="_scores/gradients.py",
        old="factor = arrays[0].shape[0] / scale",
        new="factor = arrays[0].shape[0]",
        tests=(GRADIENTS + "test_mixed_precision_rounds_and_loses_nothing_small[mixed_float16]",),
    ),
    Mutation(
        name="a view reads its parts and not what it is given",
        invariant=17,
        file="_weights/given.py",
        old="    value = found.get(id(view)) if found else None",
        new="    value = None",
        tests=(GRADIENTS + "test_what_is_frozen_changes_no_score[fisher]",),
    ),
    Mutation(
        name="a compiled loss is built by scoring",
        invariant=17,
        file="_keras/stateless.py",
        old='            vars(model)["_compile_loss"] = loss\n',
        new="            pass\n",
        tests=(GRADIENTS + "test_the_model_is_as_it_was[compiled]",),
    ),
    Mutation(
        name="losses that layers added are forgotten",
        invariant=17,
        file="_keras/stateless.py",
        old="            layer._losses[:] = losses\n",
        new="",
        tests=(GRADIENTS + "test_losses_that_layers_add_count_and_stay",),
    ),
    Mutation(
        name="a layer goes on telling of its inputs",
        invariant=17,
        file="_scores/wanda.py",
        old='            vars(layer).pop("call", None)',
        new="            pass",
        tests=(WANDA + "test_a_failing_call_leaves_no_layer_changed",),
    ),
    Mutation(
        name="a causal convolution is padded without its dilation",
        invariant=17,
        file="_scores/wanda.py",
        old="left = (layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0)",
        new="left = (layer.kernel_size[0] - 1, 0)",
        tests=(WANDA + "test_scores_are_those_of_the_definition[conv1d_causal]",),
    ),
    Mutation(
        name="workers of the data are not stopped",
        invariant=17,
        file="_keras/data.py",
        old="            self._adapter.on_epoch_end()",
        new="            pass",
        tests=(DATA + "test_it_stops_after_as_many_batches_as_are_asked_for[2]",),
    ),
]
