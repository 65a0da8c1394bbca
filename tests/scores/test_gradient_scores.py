"""Scores from gradients equal those computed one example at a time in NumPy alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import frostline as fl
from helpers import value

BY = ("gradient", "fisher", "snip")

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def differences(loss, weights):
    """The gradient of a function of float64 arrays, by central differences."""
    found = {}
    for path, weight in weights.items():
        gradient = np.zeros_like(weight)
        for at in np.ndindex(weight.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {**weights, path: weight.copy()}
                moved[path][at] += step
                ends.append(loss(moved))
            gradient[at] = (ends[0] - ends[1]) / 2e-5
        found[path] = gradient
    return found


def expected(by, loss, model, examples):
    """The scores, computed from their definition."""
    weights = {path: np.float64(array) for path, array in fl.snapshot(model).items()}
    each = [differences(lambda moved, one=one: loss(moved, *one), weights) for one in examples]
    scores = {}
    for path, weight in weights.items():
        gradients = np.stack([gradients[path] for gradients in each])
        scores[path] = {
            "gradient": lambda g=gradients, w=weight: np.abs(g).mean(0),
            "fisher": lambda g=gradients, w=weight: np.square(g).mean(0),
            "snip": lambda g=gradients, w=weight: np.abs(w * g.mean(0)),
        }[by]()
    return scores


def assert_scores(found, wanted, rtol=2e-3, atol=1e-5):
    assert found.keys() == wanted.keys()
    for path, score in found.items():
        assert score.dtype == np.float32
        np.testing.assert_allclose(score, wanted[path], rtol=rtol, atol=atol, err_msg=path)


def softmax_loss(logits, label):
    return np.log(np.exp(logits).sum(-1)) - logits[..., label]


def perceptron():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="tanh", name="hidden"),
            layers.Dense(2, name="head"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def perceptron_loss(w, x, label):
    hidden = np.tanh(x @ w["hidden/kernel"] + w["hidden/bias"])
    return softmax_loss(hidden @ w["head/kernel"] + w["head/bias"], label)


def perceptron_data(count=7):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 3)).astype("float32"), rng.integers(0, 2, count)


@pytest.mark.parametrize("by", BY)
def test_scores_are_those_of_the_definition(by):
    model, (x, y) = perceptron(), perceptron_data()
    wanted = expected(by, perceptron_loss, model, list(zip(x.astype("float64"), y, strict=True)))
    assert_scores(fl.scores(model, x, y, by=by, batch_size=3), wanted)


@pytest.mark.parametrize("by", BY)
def test_a_shared_weight_has_the_sum_of_its_gradients(by):
    table = keras.layers.ReversibleEmbedding(5, 3, name="table")
    tokens = keras.Input((4,), dtype="int32")
    mixed = keras.layers.GlobalAveragePooling1D()(table(tokens))
    model = keras.Model(tokens, table(mixed, reverse=True))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (6, 4)), rng.integers(0, 5, 6)

    def loss(w, x, label):
        table = w["table/embeddings"]
        return softmax_loss(table[x].mean(0) @ table.T, label)

    wanted = expected(by, loss, model, list(zip(x, y, strict=True)))
    assert_scores(fl.scores(model, x, y, by=by, batch_size=4), wanted)
    fl.freeze(model, "table/embeddings", fl.tokens([0, 3]))
    assert_scores(fl.scores(model, x, y, by=by, batch_size=4), wanted)


@given(
    inputs=st.integers(1, 4),
    units=st.integers(1, 3),
    count=st.integers(1, 6),
    batch=st.integers(1, 7),
    seed=st.integers(0, 99),
)
@settings(max_examples=4)
def test_scores_of_a_linear_model_are_in_closed_form(inputs, units, count, batch, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(count, inputs)), rng.normal(size=(count, units))
    layer = keras.layers.Dense(units)
    layer.build((None, inputs))
    errors = 2 * (x @ value(layer.kernel) + value(layer.bias) - y) / units
    gradients = x[:, :, None] * errors[:, None, :]
    wanted = {
        "gradient": (np.abs(gradients).mean(0), np.abs(errors).mean(0)),
        "fisher": (np.square(gradients).mean(0), np.square(errors).mean(0)),
        "snip": (np.abs(value(layer.kernel) * gradients.mean(0)), 0 * errors[0]),
    }
    for by, (kernel, bias) in wanted.items():
        found = fl.scores(layer, x, y, by=by, batch_size=batch, loss="mse")
        assert_scores(found, {"kernel": kernel, "bias": bias}, rtol=1e-3, atol=1e-4)


ZOO = keras.layers


def zoo_model():
    """Layers that loop, normalize, draw random numbers, are called twice, or have penalties."""
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    features = keras.Input((4, 6), name="features")
    x = ZOO.Embedding(7, 6, name="table")(tokens) + features
    x = ZOO.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = ZOO.BatchNormalization(name="norm")(x)
    x = ZOO.Dropout(0.5)(x)
    twice = ZOO.Dense(6, activation="tanh", kernel_regularizer="l2", name="twice")
    x = ZOO.Conv1D(6, 2, padding="causal", name="conv")(twice(twice(x)))
    x = ZOO.LSTM(3, name="lstm")(x)
    model = keras.Model({"tokens": tokens, "features": features}, ZOO.Dense(2, name="head")(x))
    model.compile("adam", "mse", metrics=["mae"])
    return model


def zoo_data(count=5):
    rng = np.random.default_rng(1)
    x = {
        "tokens": rng.integers(0, 7, (count, 4)),
        "features": rng.normal(size=(count, 4, 6)).astype("float32"),
    }
    return x, rng.normal(size=(count, 2)).astype("float32")


@pytest.mark.parametrize("by", ["fisher", "snip", "wanda"])
def test_what_is_frozen_changes_no_score(by):
    model, (x, y) = zoo_model(), zoo_data()
    wanted = fl.scores(model, x, y, by=by)
    fl.freeze(model, "twice/kernel", fl.at[:2])
    fl.freeze(model, "table/embeddings", fl.at[3])
    fl.freeze(model, "*/bias", lambda array: np.arange(array.size).reshape(array.shape) % 2 == 0)
    fl.freeze(model, "lstm/*/recurrent_kernel", fl.at[0, 1])
    fl.freeze(model, "conv/kernel", fl.units([1]))
    fl.freeze(model, "head/kernel")
    model.get_layer("conv").trainable = False
    assert_scores(fl.scores(model, x, y, by=by, batch_size=3), wanted, 1e-4, 1e-6)


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    seen = [value(variable) for variable in variables]
    layers = model._flatten_layers()
    # A Keras cell sets two such attributes to None in its first call that is not symbolic.
    names = [sorted(name for name in vars(one) if "dropout_mask" not in name) for one in layers]
    return seen, names, [list(layer._losses) for layer in layers]


@pytest.mark.parametrize("trained", [False, True], ids=["compiled", "trained"])
def test_the_model_is_as_it_was(trained):
    model, (x, y) = zoo_model(), zoo_data()
    fl.freeze(model, "twice/kernel", fl.at[:2])
    if trained:
        model.fit(x, y, verbose=0)
    built = model._compile_loss.built
    before = state_of(model)
    for by in ("fisher", "wanda"):
        fl.scores(model, x, y, by=by, batch_size=5)
    after = state_of(model)
    for was, now in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(was, now)
    assert after[1:] == before[1:]
    assert model._compile_loss.built == built


class Adding(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def test_losses_that_layers_add_count_and_stay():
    x = np.array([[1, 2], [3, 4], [0, 1]], "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="one"), Adding()])
    model.compile("adam")
    kept = model(x), model.losses
    found = fl.scores(model, x, by="fisher")
    kernel, bias = value(model.layers[0].kernel), value(model.layers[0].bias)
    errors = 2 * (x @ kernel + bias)
    np.testing.assert_allclose(
        found["one/kernel"][:, 0], np.square(x * errors).mean(0), rtol=1e-4, atol=1e-5
    )
    assert all(one is other for one, other in zip(model.losses, kept[1], strict=True))


def test_weights_of_examples_are_those_of_the_loss():
    model, (x, y) = perceptron(), perceptron_data(4)
    weighted = fl.scores(model, x, y, by="fisher", sample_weight=np.array([1, 0, 2, 0], "float32"))
    first, third = (fl.scores(model, x[i : i + 1], y[i : i + 1], by="fisher") for i in (0, 2))
    wanted = {path: (first[path] + 4 * third[path]) / 4 for path in first}
    assert_scores(weighted, wanted, 1e-4, 1e-7)


def test_several_outputs_have_one_loss():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(1, name="a")(inputs), keras.layers.Dense(2, name="b")(inputs)]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mae"], loss_weights=[1.0, 0.5])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3)).astype("float32")
    y = [rng.normal(size=(4, n)).astype("float32") for n in (1, 2)]
    found = fl.scores(model, x, y, by="snip", batch_size=3)
    alone = keras.Model(inputs, outputs[0])
    wanted = fl.scores(alone, x, y[0], by="snip", loss="mse")
    assert_scores({path: found[path] for path in wanted}, wanted, 1e-4, 1e-7)
    assert not model._compile_loss.built
    model.fit(x, y, verbose=0)
    fl.scores(model, x, y, by="snip")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_rounds_and_loses_nothing_small(policy):
    model, (x, y) = perceptron(), perceptron_data()
    rounded = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), "dtype": policy}
        ),
    )
    rounded.set_weights(model.get_weights())
    fl.freeze(rounded, "hidden/kernel", fl.at[0])

    def small(y, logits):
        # In float16 the gradient with respect to the logits would be zero.
        each = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return each * 2.0**-24

    exact = fl.scores(model, x, y, by="gradient", loss=small)
    found = fl.scores(rounded, x, y, by="gradient", loss=small)
    for path, score in exact.items():
        np.testing.assert_allclose(found[path], score, rtol=0.1, atol=0.02 * score.max())


def test_a_loss_that_overflows_in_float16_is_scaled_by_less():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, dtype="mixed_float16", name="one")]
    )
    x = np.array([[1, 2], [3, 4]], "float32")
    found = fl.scores(model, x, x[:, :1], by="snip", loss=lambda y, y_pred: 40.0 * y_pred)
    wanted = np.abs(value(model.layers[0].kernel)[:, 0] * 40.0 * x.mean(0))
    np.testing.assert_allclose(found["one/kernel"][:, 0], wanted, rtol=1e-2)
