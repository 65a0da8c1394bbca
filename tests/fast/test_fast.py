"""Fast paths equal the generic path, are used where possible, and leave other layers alone."""

import keras
import numpy as np
import pytest
from keras import ops

import frostline as fl
from frostline._arrays.plan import EntriesPlan
from frostline._backends.current import backend
from frostline._fast.paths import FAST_PATHS, generic, has_fast_path
from frostline._weights import view
from frostline._weights.view import plan_of
from helpers import (
    array,
    assert_same_bits,
    assert_script_ends,
    gradients,
    gradients_of_penalty,
    value,
    weights,
)
from models import TiedEmbedding

pytestmark = pytest.mark.usefixtures("quickly_compiled")

L = keras.layers

# Name -> how to make the layer, the input shape without the batch, and the number of ids or 0.
LAYERS = {
    "Dense": (lambda: L.Dense(6, activation="tanh"), (5,), 0),
    "Dense-3d": (lambda: L.Dense(6), (3, 5), 0),
    "EinsumDense": (
        lambda: L.EinsumDense("abc,cde->abde", output_shape=(None, 4, 3), bias_axes="de"),
        (4, 5),
        0,
    ),
    "EinsumDense-contracts-two": (
        lambda: L.EinsumDense("abcd,cde->abe", output_shape=(2, 6)),
        (2, 4, 5),
        0,
    ),
    "EinsumDense-ellipsis": (
        lambda: L.EinsumDense("...bc,cd->...bd", output_shape=(4, 6)),
        (4, 5),
        0,
    ),
    "EinsumDense-elementwise": (
        lambda: L.EinsumDense("abc,bcd->abd", output_shape=(4, 6)),
        (4, 5),
        0,
    ),
    "EinsumDense-sums": (lambda: L.EinsumDense("abc,cd->ad", output_shape=6), (4, 5), 0),
    "MultiHeadAttention": (lambda: _self_attention(L.MultiHeadAttention(4, 3)), (5, 6), 0),
    "GroupedQueryAttention": (lambda: _self_attention(L.GroupQueryAttention(4, 4, 2)), (5, 6), 0),
    "Embedding": (lambda: L.Embedding(9, 6), (4,), 9),
    "ReversibleEmbedding": (lambda: TiedEmbedding(9, 6), (4,), 9),
    "ReversibleEmbedding-untied": (lambda: TiedEmbedding(9, 6, {"tie_weights": False}), (4,), 9),
    "ReversibleEmbedding-float32": (
        lambda: TiedEmbedding(9, 6, {"reverse_dtype": "float32"}),
        (4,),
        9,
    ),
    "Conv1D-causal": (lambda: L.Conv1D(6, 3, padding="causal"), (9, 4), 0),
    "Conv2D": (lambda: L.Conv2D(6, 3, padding="same", strides=2, activation="relu"), (6, 6, 4), 0),
    "Conv2D-groups": (lambda: L.Conv2D(6, 3, groups=2), (6, 6, 6), 0),
    "Conv3D": (lambda: L.Conv3D(6, 3), (4, 4, 4, 4), 0),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(3), (6, 5), 0),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3), (5, 5, 5), 0),
    "DepthwiseConv2D-multiplier": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 5), 0),
    "SeparableConv1D": (lambda: L.SeparableConv1D(6, 3), (6, 5), 0),
    "SeparableConv2D": (lambda: L.SeparableConv2D(6, 3, dilation_rate=2), (6, 6, 5), 0),
}


def _self_attention(attention):
    inputs = keras.Input((5, 6))
    return keras.Model(inputs, attention(inputs, inputs))


def some(axis, which):
    """A selection that freezes some positions along an axis of any weight."""

    def select(weight):
        if which == "entries":
            mask = np.random.default_rng(0).random(weight.shape) < 0.5
            mask.flat[0], mask.flat[-1] = True, False
            return mask
        at = axis % weight.ndim
        n = weight.shape[at]
        along = {
            "first": np.arange(n) < n // 2,
            "one": np.arange(n) < 1,
            "edges": (np.arange(n) < 1) | (np.arange(n) > n - 2),
            "every other": np.arange(n) % 2 == 1,
        }[which]
        shape = [-1 if a == at else 1 for a in range(weight.ndim)]
        return np.broadcast_to(along.reshape(shape), weight.shape)

    return select


def built(name, batch=4):
    """A layer, an input for it, and a target for its output."""
    make, shape, ids = LAYERS[name]
    keras.utils.set_random_seed(1)
    layer = make()
    random = np.random.default_rng(0)
    x = random.integers(0, ids, (batch, *shape)) if ids else random.normal(size=(batch, *shape))
    x = ops.convert_to_tensor(x, dtype="int32" if ids else "float32")
    return layer, x, random.normal(size=layer(x).shape).astype("float32")


def outcome(layer, x, towards):
    """The output of a layer, a loss of it, and the gradients of that loss."""
    loss, found = gradients(layer, x, lambda y: ops.sum(ops.square(ops.subtract(y, towards))))
    return [array(layer(x)), array(loss), *map(array, found)]


def assert_equal_paths(layer, x, towards):
    with generic():
        expected = outcome(layer, x, towards)
    for one, other in zip(outcome(layer, x, towards), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


# Each kind of plan along the last axis, and positions along other axes.
CASES = [("first", -1), ("edges", -1), ("every other", -1), ("every other", -2), ("first", 0)]


# Single entries are left to Keras, so a few layers are enough. `test_layer_matrix.py` trains all.
CELLS = [(name, *case) for name in LAYERS for case in CASES]
CELLS += [(name, "one", axis) for name in LAYERS if "Dense" in name for axis in (0, -1)]
CELLS += [(name, "entries", 0) for name in ("Dense", "EinsumDense", "Embedding", "Conv2D")]


@pytest.mark.parametrize(
    ("name", "which", "axis"), CELLS, ids=["-".join(map(str, cell)) for cell in CELLS]
)
def test_a_fast_path_equals_the_generic_one(name, which, axis):
    layer, x, towards = built(name)
    if name.startswith("Depthwise") and axis == -1:
        axis = -2  # the last axis is short: the one or two filters of a channel
    fl.freeze(layer, divisible(layer, axis), some(axis, which))
    assert_equal_paths(layer, x, towards)


PRODUCTS = ["Dense", "Dense-3d", *(name for name in LAYERS if "EinsumDense" in name)]
FEW, MANY = 1, 24


@pytest.mark.parametrize("batch", [FEW, MANY], ids=["few rows", "many rows"])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", [*PRODUCTS, "MultiHeadAttention", "ReversibleEmbedding"])
def test_scattered_positions_equal_the_generic_path_for_few_and_for_many_rows(
    name, axis, batch, monkeypatch
):
    layer, x, towards = built(name, batch)
    fl.freeze(layer, divisible(layer, axis), some(axis, "every other"))
    taken = []
    patched = type(backend).patched
    monkeypatch.setattr(type(backend), "patched", lambda *args: taken.append(1) or patched(*args))
    assert_equal_paths(layer, x, towards)
    kinds = {getattr(plan_of(v), "kind", None) for v in divisible(layer, axis)}
    otherwise = name.endswith(("elementwise", "sums"))
    if name in PRODUCTS and not otherwise and kinds == {"positions"}:
        assert bool(taken) is (batch == FEW and not backend.merges_in_place)


@pytest.mark.parametrize("axis", [0, 1])
def test_what_lay_in_the_place_of_a_trained_position_does_not_spread(axis):
    layer, x, towards = built("Dense", FEW)
    good = value(layer.kernel)
    spoilt = good.copy()
    spoilt[(slice(None),) * axis + (slice(None, None, 2),)] = np.nan
    layer.kernel.assign(spoilt)
    fl.freeze(layer, "kernel", fl.at[(slice(None),) * axis + (slice(1, None, 2),)])
    layer.trainable_variables[0].assign(np.moveaxis(good, axis, 0)[::2])
    assert_same_bits(value(layer.kernel), good)
    assert np.isfinite(array(layer(x))).all()
    assert_equal_paths(layer, x, towards)


@pytest.mark.parametrize("batch", [FEW, MANY], ids=["few rows", "many rows"])
@pytest.mark.parametrize("axis", [0, -1])
def test_what_the_places_of_trained_positions_hold_does_not_count(axis, batch):
    """Weights taken from a PyTorch model hold trained values at those places of a frozen part."""
    layer, x, towards = built("Dense", batch)
    fl.freeze(layer, "kernel", some(axis, "every other"))
    expected = outcome(layer, x, towards)
    (frozen,) = layer.non_trainable_variables
    numbers = value(frozen)
    numbers[::2] = 7
    frozen.assign(numbers)
    for one, other in zip(outcome(layer, x, towards), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


if keras.backend.backend() == "torch":

    def test_a_beta_of_pytorch_is_not_the_users_concern():
        script = (
            "import warnings, keras, torch, frostline as fl\n"
            "layer = keras.layers.Dense(8)\n"
            "layer.build((None, 8))\n"
            "fl.freeze(layer, 'kernel', ~fl.at[0, [1, 5]])\n"
            "with warnings.catch_warnings(record=True) as told:\n"
            "    warnings.simplefilter('always')\n"
            "    layer(torch.ones(4, 8)).sum().backward()\n"
            "    warnings.warn('another')\n"
            "assert layer.trainable_variables[0].value.grad.tolist() == [4.0, 4.0]\n"
            "assert [str(one.message) for one in told] == ['another'], told\n"
        )
        assert_script_ends(script)


def divisible(layer, axis):
    """The kernels and tables of a layer that have more than two positions along an axis."""
    found = [weight.variable for weight in weights(layer) if "bias" not in weight.path]
    return [variable for variable in found if variable.shape[axis] > 2]


# No backend puts these weights together.
TAKEN = [
    ("Dense", "first", 0),
    ("Dense", "every other", -1),
    ("EinsumDense", "edges", -2),
    ("MultiHeadAttention", "every other", -2),
    ("Embedding", "first", 0),
    ("Embedding", "every other", -2),
    ("ReversibleEmbedding", "first", -2),
]


@pytest.mark.parametrize(("name", "which", "axis"), TAKEN)
def test_a_fast_path_does_not_put_the_weight_together(name, which, axis, monkeypatch):
    layer, x, _ = built(name)
    fl.freeze(layer, divisible(layer, axis), some(axis, which))
    monkeypatch.setattr(view, "_merged", _never)
    array(layer(x))


CONVOLUTIONS = ["Conv1D-causal", "Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv1D"]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_fast_where_the_backend_divides_them(name, monkeypatch):
    layer, x, _ = built(name)
    axis = -2 if name == "DepthwiseConv2D" else -1
    fl.freeze(layer, divisible(layer, axis), some(axis, "every other"))
    asked = []
    product = type(backend).product
    monkeypatch.setattr(type(backend), "product", lambda *args: asked.append(1) or product(*args))
    array(layer(x))
    assert bool(asked) is backend.divides_convolutions


class Doubled(L.Dense):
    """Calls the inherited `call`."""

    def call(self, inputs):
        return 2 * super().call(inputs)


class OwnProduct(L.Dense):
    """Multiplies in its own way."""

    def call(self, inputs):
        return ops.matmul(inputs, ops.square(self.kernel)) + self.bias


@pytest.mark.parametrize("kind", [Doubled, OwnProduct])
def test_a_subclass_keeps_its_own_call(kind, monkeypatch):
    layer = kind(6)
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(4, 5)).astype("float32"))
    before = array(layer(x))
    fl.freeze(layer, "kernel", fl.at[:, ::2])
    np.testing.assert_allclose(array(layer(x)), before, rtol=1e-5, atol=1e-6)
    assert_equal_paths(layer, x, np.ones((4, 6), "float32"))
    if kind is Doubled:
        monkeypatch.setattr(view, "_merged", _never)
        array(layer(x))


def test_standardized_weights_go_the_generic_way():
    class Standardized(L.Conv2D):
        def convolution_op(self, inputs, kernel):
            centred = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
            return super().convolution_op(inputs, centred)

    layer = Standardized(6, 3)
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype("float32"))
    before = array(layer(x))
    fl.freeze(layer, "kernel", fl.units([0, 2, 4]))
    np.testing.assert_allclose(array(layer(x)), before, rtol=1e-5, atol=1e-6)
    assert_equal_paths(layer, x, np.ones((2, 3, 3, 6), "float32"))


@pytest.mark.parametrize("which", ["first", "every other"])
@pytest.mark.parametrize("name", ["Dense", "Dense-3d", "Embedding", "Conv1D-causal"])
def test_a_vectorized_map_over_a_partly_frozen_layer_equals_the_batch(name, which):
    layer, x, towards = built(name)
    if name == "Dense-3d":  # many rows in each example
        x = ops.repeat(x, 8, axis=1)
        towards = np.repeat(towards, 8, axis=1)
    fl.freeze(layer, divisible(layer, -1), some(-1, which))
    before = array(layer(x))

    def mapped(x):
        return ops.vectorized_map(lambda one: layer(one[None])[0], x)

    np.testing.assert_allclose(array(mapped(x)), before, rtol=1e-5, atol=1e-5)
    _, expected = gradients(layer, x, lambda y: ops.sum(ops.square(ops.subtract(y, towards))))
    _, found = gradients(
        layer, x, lambda y: ops.sum(ops.square(ops.subtract(y, towards))), call=mapped
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(array(one), array(other), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("which", ["first", "every other"])
def test_a_layer_in_a_loop_computes_the_same(which):
    layer = L.Dense(5)
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(4, 5)).astype("float32"))
    before = array(layer(layer(layer(x))))
    fl.freeze(layer, "kernel", some(-1, which))

    def loop(x):
        return ops.fori_loop(0, 3, lambda _, state: layer(state), x)

    np.testing.assert_allclose(array(loop(x)), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [FEW, MANY], ids=["few rows", "many rows"])
@pytest.mark.parametrize("which", ["first", "every other"])
@pytest.mark.parametrize("axis", [0, -1])
def test_second_derivatives_equal_the_generic_ones(axis, which, batch):
    """A gradient penalty: the gradient of the input depends on the trained entries."""
    layer = L.Dense(6, activation="tanh")
    x = np.random.default_rng(0).normal(size=(batch, 5)).astype("float32")
    layer.build(x.shape)
    fl.freeze(layer, "kernel", some(axis, which))
    with generic():
        expected = gradients_of_penalty(layer, x)
    for one, other in zip(gradients_of_penalty(layer, x), expected, strict=True):
        assert np.abs(array(other)).max() > 1e-3
        np.testing.assert_allclose(array(one), array(other), rtol=1e-4, atol=1e-5)


def few_entries(shape, count, inputs):
    """A kernel with so few trained entries that the gradient is computed only at those."""
    layer = L.Dense(shape[1])
    random = np.random.default_rng(0)
    x = ops.convert_to_tensor(random.normal(size=inputs).astype("float32"))
    layer.build(inputs)
    trains = np.zeros(shape, bool)
    trains.flat[random.choice(trains.size, count, replace=False)] = True
    fl.freeze(layer, "kernel", fl.mask(~trains))
    plan = plan_of(layer.kernel)
    assert isinstance(plan, EntriesPlan)
    assert backend.multiplies_at_entries(plan, x) is (keras.backend.backend() != "jax")
    return layer, x, random.normal(size=(*inputs[:-1], shape[1])).astype("float32")


@pytest.mark.parametrize(
    ("shape", "count", "inputs"),
    [((12, 20), 3, (4, 12)), ((12, 20), 3, (2, 3, 12)), ((700, 600), 4200, (2, 700))],
    ids=["matrix", "3d", "more than a block"],
)
def test_few_trained_entries_equal_the_generic_path(shape, count, inputs):
    layer, x, towards = few_entries(shape, count, inputs)
    assert_equal_paths(layer, x, towards)


def test_few_trained_entries_are_right_in_a_vectorized_map_and_in_second_derivatives():
    layer, x, towards = few_entries((12, 20), 3, (4, 12))

    def loss(y):
        return ops.sum(ops.square(ops.subtract(y, towards)))

    def mapped(x):
        return ops.vectorized_map(lambda one: layer(one[None])[0], x)

    _, expected = gradients(layer, x, loss)
    _, found = gradients(layer, x, loss, call=mapped)
    layer.activation = ops.tanh
    with generic():
        expected += gradients_of_penalty(layer, array(x))
    found += gradients_of_penalty(layer, array(x))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(array(other)).max() > 1e-3
        np.testing.assert_allclose(array(one), array(other), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("where", [fl.at[:2], fl.at[:, ::2]], ids=["block", "positions"])
def test_inputs_of_another_dtype_are_left_to_keras(where):
    layer = L.Dense(6)
    x = ops.convert_to_tensor(np.arange(20).reshape(4, 5), dtype="int32")
    before = array(layer(x))
    fl.freeze(layer, "kernel", where)
    assert_same_bits(array(layer(x)), before)


@pytest.mark.parametrize("where", [fl.at[:2], fl.at[:, ::2], ~fl.at[0, 0]], ids=str)
def test_what_changes_without_notice_is_seen(where):
    """A value written to the trainable part, in any way, shows in the next output."""
    layer = L.Dense(6)
    x = ops.ones((4, 5))
    layer(x)
    fl.freeze(layer, "kernel", where)
    array(layer(x))
    part = layer.trainable_variables[0]
    part.assign(np.full(part.shape, 7, "float32"))
    np.testing.assert_allclose(array(layer(x)), array(x) @ value(layer.kernel), rtol=1e-5)
    assert (value(layer.kernel) == 7).sum() == np.prod(part.shape)


@pytest.mark.parametrize("name", ["Embedding", "Dense"])
def test_an_empty_batch_has_an_empty_output(name):
    layer, x, _ = built(name)
    fl.freeze(layer, divisible(layer, 0), some(0, "every other"))
    assert layer(x[:0]).shape == (0, *layer(x).shape[1:])


@pytest.mark.parametrize("where", [fl.at[::2], fl.at[5:]], ids=str)
def test_ids_that_count_from_the_end_find_their_rows(where):
    layer, _, _ = built("Embedding")
    ids = ops.convert_to_tensor([[-1, -2, 0], [-9, 8, 7]])
    before = array(layer(ids))
    fl.freeze(layer, "embeddings", where)
    assert_same_bits(array(layer(ids)), before)


class Kept(L.Layer):
    """Returns a weight that mixed precision does not cast, like gamma of a normalization."""

    def build(self, shape):
        self.w = self.add_weight((6,), "random_normal", autocast=False, name="w")

    def call(self, x):
        return ops.convert_to_tensor(self.w) + ops.zeros((6,), "float32")


@pytest.mark.parametrize("which", ["first", "every other", "entries"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_weights_that_mixed_precision_leaves_alone_keep_their_precision(policy, which):
    layer = Kept(dtype=policy)
    before = array(layer(np.ones((2, 6))))
    fl.freeze(layer, "w", some(0, which))
    assert_same_bits(array(layer(np.ones((2, 6)))), before)


@pytest.mark.parametrize("which", ["first", "every other"])
def test_a_tied_table_computes_the_same_in_mixed_precision(which):
    table = L.ReversibleEmbedding(9, 6, dtype="mixed_float16")
    hidden = ops.ones((4, 6), dtype="float16")
    table.build((None, 3))
    before = table(hidden, reverse=True)
    fl.freeze(table, "embeddings", some(0, which))
    after = table(hidden, reverse=True)
    assert after.dtype == before.dtype
    np.testing.assert_allclose(array(after), array(before), rtol=1e-2)


def _sparse(dense):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.sparse.from_dense(dense)
    if keras.backend.backend() == "jax":
        from jax.experimental import sparse

        return sparse.BCOO.fromdense(dense)
    import torch

    return torch.as_tensor(dense).to_sparse()


@pytest.mark.parametrize("where", [fl.at[:2], fl.at[:, ::2]], ids=["block", "positions"])
def test_sparse_inputs_are_left_to_keras(where):
    layer = L.Dense(6)
    x = _sparse(np.eye(5, dtype="float32"))
    assert not backend.is_dense(x)
    before = array(layer(x))
    fl.freeze(layer, "kernel", where)
    np.testing.assert_allclose(array(layer(x)), before, rtol=1e-6)


@pytest.mark.parametrize("path", FAST_PATHS, ids=lambda path: path.layer.__name__)
def test_each_fast_path_finds_the_operation_it_replaces(path):
    """Fails if Keras changes how a layer multiplies: the layer then takes the generic path."""
    names = getattr(path.layer, path.method).__code__.co_names
    assert set(path.replaced) - {"convert_to_tensor", "cast"} <= set(names)
    assert "ops" in names


def _never(self):
    raise AssertionError(f"{self.path} was put together")


def test_a_kernel_that_a_subclass_names_otherwise_has_a_fast_path():
    class Renamed(L.Dense):
        def build(self, input_shape):
            self._kernel = self.add_weight(name="matrix", shape=(input_shape[-1], self.units))
            self.bias = self.add_weight(name="bias", shape=(self.units,))
            self.built = True

    layer = Renamed(4)
    layer.build((None, 3))
    fast = {weight.path: has_fast_path(weight) for weight in weights(layer)}
    assert fast == {"matrix": True, "bias": False}
