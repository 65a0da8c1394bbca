"""A change warns about a user's `tf.function` that it makes stale, and about nothing else."""

import gc
import re

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import value
from models import data, dense_layers

X, Y = data(16, 6)
BACKEND = keras.backend.backend()


def small():
    return dense_layers(entries=5, scattered=6, whole=3)


def test_no_word_of_what_keras_compiles_itself():
    model = small()
    model.compile("adam", "mse", jit_compile=False)
    for weights, where in [("*/kernel", fl.at[0]), ("whole/bias", None), ("*/kernel", fl.at[1])]:
        model.fit(X, Y, verbose=0)
        model.evaluate(X, Y, verbose=0)
        model.predict(X, verbose=0)
        fl.freeze(model, weights, where)
    model.fit(X, Y, verbose=0)
    fl.unfreeze(model)


if BACKEND == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.framework import auto_control_deps_utils

    from frostline._backends import tensorflow as ours

    FREEZES = {
        "a part": (fl.at[0], r"keeps using the old variables of this weight"),
        "whole": (None, r"would still train this weight, which is frozen now"),
    }

    def traced(model, **options):
        """A train step that has run once."""
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)

        def step(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)

        function = tf.function(step, **options)
        function(X, Y)
        return function

    @pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=["graph", "xla"])
    @pytest.mark.parametrize(("where", "effect"), FREEZES.values(), ids=FREEZES)
    def test_a_function_traced_before_a_freeze_is_warned_of(where, effect, options):
        model = small()
        step = traced(model, **options)
        kernel = model.get_layer("entries").kernel
        with pytest.warns(UserWarning, match="a tf.function was traced") as caught:
            fl.freeze(model, "entries/kernel", where)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        text = rf"^{kernel.path}: a tf.function was traced .* {effect}; got step with this weight"
        assert re.search(text, str(caught[0].message))
        # The fix that the warning suggests works.
        step = tf.function(step.python_function)
        before = value(kernel)
        step(X, Y)
        mask = fl.frozen_mask(kernel)
        assert ((value(kernel) != before) == ~mask).all()

    def test_what_the_warning_says_is_so():
        model = small()
        step = traced(model)
        kernel, bias = model.get_layer("entries").kernel, model.get_layer("entries").bias
        with pytest.warns(UserWarning, match="a tf.function was traced"):
            fl.freeze(model, "entries/kernel", fl.at[0])
        with pytest.warns(UserWarning, match="a tf.function was traced"):
            fl.freeze(model, "entries/bias")
        before = value(kernel), value(bias)
        step(X, Y)
        assert (value(kernel) == before[0]).all()
        assert (value(bias) != before[1]).all()

    @pytest.mark.parametrize("where", [fl.at[0], fl.mask(np.eye(6, 5, dtype=bool)), None])
    def test_a_function_traced_before_an_unfreeze_is_warned_of(where):
        model = small()
        fl.freeze(model, "entries/kernel", where)
        step = traced(model)
        effect = "would not train this weight, which" if where is None else "keeps using the old"
        with pytest.warns(UserWarning, match=effect):
            fl.unfreeze(model)
        del step

    def test_one_warning_counts_all_weights_of_a_function():
        model = small()
        step, other = traced(model), traced(model)
        with pytest.warns(UserWarning, match="got step with this weight and 2 more") as caught:
            fl.freeze(model, "*/kernel", fl.at[0])
        assert len(caught) == 2
        del step, other

    def test_a_function_that_trains_nothing_goes_on_after_a_whole_freeze():
        model = small()
        function = tf.function(model)
        function(X)
        fl.freeze(model, "whole/*")
        np.testing.assert_allclose(function(X), model(X), rtol=1e-4, atol=1e-6)
        fl.unfreeze(model)
        with pytest.warns(UserWarning, match="got Sequential with this weight"):
            fl.freeze(model, "whole/bias", fl.at[0])

    def test_a_method_under_tf_function_is_warned_of():
        class Own(keras.layers.Dense):
            @tf.function
            def call(self, inputs):
                return super().call(inputs)

        model = keras.Sequential([keras.Input((6,)), Own(3, name="own")])
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0)
        with pytest.warns(UserWarning, match="got call with this weight"):
            fl.freeze(model, "own/kernel", fl.at[0])

    def test_a_step_that_loops_and_calls_others_is_looked_through():
        model = small()
        inner = traced(model)

        @tf.function
        def epoch(x, y):
            for _ in tf.range(2):
                inner(x, y)

        epoch(X, Y)
        with pytest.warns(UserWarning, match="a tf.function was traced") as caught:
            fl.freeze(model, "whole/bias")
        assert sorted(str(one.message).split("; got ")[1].split()[0] for one in caught) == [
            "epoch",
            "step",
        ]

    def test_no_word_of_functions_that_know_nothing_of_it():
        model, other = small(), small()
        step = traced(other)
        untraced = tf.function(model, input_signature=[tf.TensorSpec((None, 6))])
        fl.freeze(model, "*/kernel", fl.at[0])
        fl.freeze(model, "*/bias")
        assert not ours._traces(untraced)
        del step

    def test_no_word_of_functions_that_nobody_can_call(tmp_path):
        class Trainer:
            def __init__(self, model):
                self.model = model
                self.step = tf.function(self.run)
                self.step(X)

            def run(self, x):
                self.model.layers[0].kernel.assign_sub(self.model.layers[0].kernel)
                return self.model(x)

        model = small()
        model.export(tmp_path / "exported", verbose=False)
        tf.saved_model.save(model, tmp_path / "saved")
        loaded = tf.saved_model.load(tmp_path / "saved")
        gc.disable()
        try:
            Trainer(model)
            fl.freeze(model, "*/kernel", fl.at[0])
        finally:
            gc.enable()
        del loaded

    def test_a_warning_that_is_an_error_changes_nothing():
        model = small()
        step = traced(model)
        before = [id(variable) for variable in model.trainable_variables]
        with pytest.raises(UserWarning, match="was traced before this change"):
            fl.freeze(model, "entries/kernel", fl.at[0])  # the suite turns warnings into errors
        assert [id(variable) for variable in model.trainable_variables] == before
        assert not fl.is_frozen(model.get_layer("entries").kernel)
        del step

    def test_what_tensorflow_keeps_private():
        read, written = tf.Variable(tf.constant(1.0)), tf.Variable(tf.constant(2.0))

        @tf.function
        def function(x):
            for _ in tf.range(2):
                tf.cond(x > 0, lambda: written.assign_add(read), lambda: written)
            return x

        assert isinstance(function, tf.types.experimental.PolymorphicFunction)
        assert not ours._traces(function)
        function(tf.ones(()))
        (trace,) = ours._traces(function)
        captured = {id(one) for one in trace.captured_inputs}
        assert captured == {id(read.handle), id(written.handle)}
        assert ours._written(trace) == {id(written.handle)}
        assert "ReadVariableOp" in auto_control_deps_utils.RESOURCE_READ_OPS
