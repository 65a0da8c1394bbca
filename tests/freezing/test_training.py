"""Training with `fit` and by hand: frozen entries keep their bits, others move as expected."""

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._fast.paths import generic
from helpers import (
    FAILING,
    array,
    assert_same_bits,
    compile_for_test,
    train_restoring,
    value,
    values,
)
from models import data, dense_layers

X, Y = data(16, 6)
BACKEND = keras.backend.backend()


def small(**hidden):
    return dense_layers(hidden={"units": 5, **hidden}, out=3)


SELECTIONS = {
    "rows": fl.at[:2],
    "columns": fl.at[:, [0, 3]],
    "entries": fl.mask(np.random.default_rng(1).random((6, 5)) < 0.5),
}
selections = pytest.mark.parametrize("where", SELECTIONS.values(), ids=SELECTIONS.keys())

OPTIMIZERS = {
    "sgd-momentum": lambda **k: keras.optimizers.SGD(0.05, momentum=0.9, **k),
    "adamw": lambda **k: keras.optimizers.AdamW(0.01, **{"weight_decay": 0.1, **k}),
    "lion": lambda **k: keras.optimizers.Lion(0.01, **k),
}
if "Muon" not in FAILING:
    OPTIMIZERS["muon"] = lambda **k: keras.optimizers.Muon(0.01, **k)
SETTINGS = {
    "plain": {},
    "weight-decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.1},
    "global-clipnorm": {"global_clipnorm": 0.1},
    "ema": {"use_ema": True},
    "ema-overwrite": {"use_ema": True, "ema_overwrite_frequency": 2},
    "accumulation": {"gradient_accumulation_steps": 2},
}


# Each optimizer and each setting once. `test_matrix.py` runs AdamW with every setting, and all
# combinations in `make test-full`.
CELLS = [
    *(("sgd-momentum", setting) for setting in ("plain", "weight-decay", "accumulation")),
    *(("lion", setting) for setting in ("clipnorm", "ema")),
    *((list(OPTIMIZERS)[-1], setting) for setting in ("global-clipnorm", "ema-overwrite")),
]


@pytest.mark.parametrize(("name", "setting"), CELLS, ids=map("-".join, CELLS))
def test_frozen_entries_keep_their_bits(name, setting):
    model = small()
    kernel = model.get_layer("hidden").kernel
    before = value(kernel)
    fl.freeze(model, "hidden/kernel", SELECTIONS["entries"])
    fl.freeze(model, "out/kernel", fl.at[:2])
    mask, bias = fl.frozen_mask(kernel), value(model.get_layer("out").kernel)
    compile_for_test(model, OPTIMIZERS[name](**SETTINGS[setting]))
    model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
    assert_same_bits(value(kernel), before, where=mask)
    assert_same_bits(value(model.get_layer("out").kernel)[:2], bias[:2])
    assert (value(kernel) != before)[~mask].any()


@selections
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_frozen_entries_keep_their_bits_in_mixed_precision(policy, where):
    keras.config.set_dtype_policy(policy)
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    kernel = model.get_layer("hidden").kernel
    before, outputs = value(kernel), array(model(X))
    fl.freeze(model, "hidden/kernel", where)
    with generic():
        np.testing.assert_array_equal(array(model(X)), outputs)
    np.testing.assert_allclose(model.predict(X, verbose=0), outputs, rtol=0.02, atol=1e-2)
    compile_for_test(model)
    model.fit(X, Y, verbose=0, epochs=2)
    mask = fl.frozen_mask(kernel)
    assert_same_bits(value(kernel), before, where=mask)
    assert (value(kernel) != before)[~mask].any()


# The other tests already train with XLA on JAX and eagerly on PyTorch.
@selections
@pytest.mark.parametrize("how", {"tensorflow": ["eager", "jit"]}.get(BACKEND, ["eager"]))
def test_frozen_entries_keep_their_bits_eagerly_and_compiled(how, where):
    model = small()
    kernel = model.get_layer("hidden").kernel
    before = value(kernel)
    fl.freeze(model, "hidden/kernel", where)
    mask = fl.frozen_mask(kernel)
    model.compile("adam", "mse", run_eagerly=how == "eager", jit_compile=how == "jit")
    model.fit(X, Y, verbose=0, epochs=2)
    assert_same_bits(value(kernel), before, where=mask)
    assert (value(kernel) != before)[~mask].all()


def test_signed_zeros_and_nan_payloads_are_bits_too():
    model = small()
    kernel = model.get_layer("hidden").kernel
    odd = value(kernel)
    odd[0] = np.array([0x80000000, 0x00000001, 0x7FC00123, 0xFF812345, 0x7F800000], "uint32").view(
        "float32"
    )
    kernel.assign(odd)
    stored = value(kernel)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    compile_for_test(model)
    model.fit(X, np.full_like(Y, np.inf), verbose=0)
    assert_same_bits(value(kernel)[0], stored[0])


def test_a_regularizer_sees_the_whole_weight():
    model = small(kernel_regularizer=keras.regularizers.L2(0.1))
    plain = small(kernel_regularizer=keras.regularizers.L2(0.1))
    before = float(array(sum(model.losses)))
    fl.freeze(model, "hidden/kernel", fl.at[:, :3])
    assert float(array(sum(model.losses))) == pytest.approx(before, rel=1e-6)
    masks = [fl.frozen_mask(v) for layer in model.layers for v in (layer.kernel, layer.bias)]
    compile_for_test(model, keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-3))
    losses = [float(model.train_on_batch(X, Y)) for _ in range(3)]
    compile_for_test(plain)
    assert losses[0] == pytest.approx(float(plain.test_on_batch(X, Y)), rel=1e-5)
    train_restoring(plain, masks, X, Y)
    for one, other in zip(values(model), values(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# PyTorch trains eagerly in both cases.
GRAPHS = {"graph": False} if BACKEND == "torch" else {"graph": False, "eager": True}


@pytest.mark.parametrize("eager", GRAPHS.values(), ids=GRAPHS)
@selections
def test_a_constraint_sees_the_whole_weight_and_writes_what_trains(where, eager):
    model = small(kernel_constraint=keras.constraints.UnitNorm(axis=0))
    plain = small()
    kernel = model.get_layer("hidden").kernel
    before = value(kernel)
    fl.freeze(model, "hidden/kernel", where)
    mask = fl.frozen_mask(kernel)
    for one in (model, plain):
        jit = keras.backend.backend() == "jax" and not eager
        compile_for_test(one, keras.optimizers.SGD(0.1), run_eagerly=eager, jit_compile=jit)
    model.fit(X, Y, batch_size=16, verbose=0, shuffle=False)
    plain.fit(X, Y, batch_size=16, verbose=0, shuffle=False)
    stepped = np.where(mask, before, value(plain.get_layer("hidden").kernel))
    expected = stepped / np.sqrt((stepped**2).sum(axis=0, keepdims=True))
    after = value(kernel)
    assert_same_bits(after, before, where=mask)
    np.testing.assert_allclose(after[~mask], expected[~mask], rtol=1e-4, atol=1e-6)


def test_a_global_norm_is_over_what_trains():
    model = small()
    fl.freeze(model, "hidden/*")
    fl.freeze(model, "out/kernel", fl.at[1:])
    kernel, bias = model.get_layer("out").kernel, model.get_layer("out").bias
    before = np.concatenate([value(kernel)[0], value(bias)])
    compile_for_test(model, keras.optimizers.SGD(1.0, global_clipnorm=1e-3))
    model.train_on_batch(X, Y)
    moved = np.concatenate([value(kernel)[0], value(bias)]) - before
    assert np.linalg.norm(moved) == pytest.approx(1e-3, rel=1e-3)


def test_batch_normalization_statistics_go_on():
    keras.utils.set_random_seed(0)
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(3)])
    fl.freeze(layer, "gamma", fl.at[:3])
    fl.freeze(layer, "beta")
    gamma, mean = value(layer.gamma), value(layer.moving_mean)
    compile_for_test(model)
    model.fit(X, Y, verbose=0)
    assert_same_bits(value(layer.gamma)[:3], gamma[:3])
    assert (value(layer.moving_mean) != mean).all()


def test_a_layer_that_writes_its_own_weight_leaves_what_is_frozen():
    keras.utils.set_random_seed(0)
    inner = keras.layers.Dense(4)
    wrapper = keras.layers.SpectralNormalization(inner)
    model = keras.Sequential([keras.Input((6,)), wrapper])
    fl.freeze(inner, "kernel", fl.at[:3])
    fl.freeze(inner, "bias")
    before = value(inner.kernel)
    compile_for_test(model)
    model.fit(X, np.ones((16, 4)), verbose=0, epochs=2)
    assert_same_bits(value(inner.kernel)[:3], before[:3])
    assert (value(inner.kernel)[3:] != before[3:]).all()


def test_a_whole_frozen_weight_is_safe_from_a_layer_that_writes_it():
    keras.utils.set_random_seed(0)
    inner = keras.layers.Dense(4)
    model = keras.Sequential([keras.Input((6,)), keras.layers.SpectralNormalization(inner)])
    fl.freeze(inner, "kernel")
    before = value(inner.kernel)
    compile_for_test(model)
    model.fit(X, np.ones((16, 4)), verbose=0, epochs=2)
    assert_same_bits(value(inner.kernel), before)


def test_a_weight_is_put_together_once_a_call(monkeypatch):
    from frostline._weights import split

    layer = keras.layers.SimpleRNN(4, unroll=True)
    model = keras.Sequential([keras.Input((7, 3)), layer])
    fl.freeze(model, "*kernel", fl.at[0])
    merged = []
    merge = split.merge
    monkeypatch.setattr(split, "merge", lambda *a: merged.append(a[0].shape) or merge(*a))
    model(np.zeros((2, 7, 3), "float32"))
    assert sorted(merged) == [(3, 4), (4, 4)]


def test_fit_after_freezing_a_compiled_model_needs_no_compile():
    model = small()
    kernel = model.get_layer("hidden").kernel
    compile_for_test(model)
    model.fit(X, Y, verbose=0)
    fl.freeze(model.get_layer("hidden"), "kernel", fl.at[0])
    before = value(kernel)
    model.fit(X, Y, verbose=0)
    assert_same_bits(value(kernel)[0], before[0])
    assert (value(kernel)[1:] != before[1:]).all()
    fl.unfreeze(model)
    before = value(kernel)
    model.fit(X, Y, verbose=0)
    assert (value(kernel) != before).all()


def test_evaluation_and_prediction_follow_a_freeze():
    model = small()
    compile_for_test(model)
    model.predict(X, verbose=0)
    model.evaluate(X, Y, verbose=0)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    model.fit(X, Y, verbose=0)
    outputs = array(model(X))
    np.testing.assert_allclose(model.predict(X, verbose=0), outputs, rtol=1e-5, atol=1e-6)
    loss = model.evaluate(X, Y, verbose=0)
    assert loss == pytest.approx(((outputs - Y) ** 2).mean(), rel=1e-5)


def test_nothing_left_to_train_moves_nothing():
    model = small()
    fl.freeze(model)
    before = values(model)
    compile_for_test(model)
    if keras.backend.backend() == "jax":
        model.fit(X, Y, verbose=0)
    else:
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            model.fit(X, Y, verbose=0)
    for one, other in zip(values(model), before, strict=True):
        assert_same_bits(one, other)


def test_embedding_gradient_is_whole():
    """The gradients of a token that occurs several times are summed before they are squared."""
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(6, 3)])
    table = model.layers[0].embeddings
    fl.freeze(model, "*", fl.at[[1, 4]])
    compile_for_test(model, keras.optimizers.Adam(0.1, epsilon=1e-12))
    before = value(table)
    model.train_on_batch(np.array([[3, 1]] * 4), np.ones((4, 2, 3), "float32"))
    # Adam's first step equals the learning rate, whatever the gradient.
    np.testing.assert_allclose(abs(value(table) - before)[3], 0.1, rtol=1e-3)
    assert_same_bits(value(table)[[0, 1, 2, 4, 5]], before[[0, 1, 2, 4, 5]])


def test_a_constraint_and_a_penalty_that_are_set_on_a_divided_weight():
    model = dense_layers(hidden=4, out=3)
    kernel = model.layers[0].kernel
    fl.freeze(model, "hidden/kernel", fl.at[0])
    before = value(kernel)
    kernel.constraint = keras.constraints.NonNeg()
    kernel.regularizer = keras.regularizers.L2(10.0)
    compile_for_test(model)
    model.train_on_batch(*data(8, 6))
    assert_same_bits(value(kernel)[0], before[0])
    assert (value(kernel)[1:] >= 0).all()
    assert len(model.losses) == 1
    kernel.constraint = kernel.regularizer = None
    kernel.assign(-keras.ops.ones((6, 4)))
    compile_for_test(model)
    model.train_on_batch(*data(8, 6))
    assert (value(kernel)[1:] < 0).all()
    assert model.losses == []
    fl.unfreeze(model)
    assert kernel.constraint is None
