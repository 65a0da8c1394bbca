"""Units, tokens and heads of real layers, on the current backend."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from frostline._errors import SelectionError
from frostline._freezing import request
from frostline._selections import structure
from frostline._selections.algebra import Selection
from frostline._selections.simple import at, everything
from frostline._selections.structure import heads, tokens, units
from frostline._selections.weight import Weight
from frostline._weights.tree import Found, walk

pytestmark = pytest.mark.once

layers = keras.layers
NAMESPACE = vars(structure) | {"everything": everything, "at": at}

# Keras 3.12 is also supported, and does not have these.
HAS_REVERSIBLE = hasattr(layers, "ReversibleEmbedding")
HAS_GATE = "use_gate" in inspect.signature(layers.MultiHeadAttention.__init__).parameters


def asked(variable: Any, path: str, *owners: Any) -> Weight:
    """The description of `variable` that a selection gets."""
    return request.asked(Found(path, variable, owners))


def masks(layer: Any, selection: Selection) -> dict[str, np.ndarray | None]:
    """The mask for each weight of `layer`, by its path."""
    return {
        found.path: selection.mask(asked(found.variable, found.path, *found.layers))
        for found in walk(layer)
    }


def fill(layer: Any, selection: Selection, value: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write `value(old)` where `selection` selects."""
    for found in walk(layer):
        mask = selection.mask(asked(found.variable, found.path, *found.layers))
        if mask is not None:
            old = keras.ops.convert_to_numpy(found.variable)
            found.variable.assign(np.where(mask, value(old), old))


def noise(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Random numbers far from zero, for `fill`."""
    rng = np.random.default_rng(seed)
    return lambda old: rng.uniform(0.5, 1.5, old.shape) * rng.choice([-1, 1], old.shape)


def run(layer: Any, *inputs: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(layer(*inputs)))


# --- units --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A layer, the shape of its input, and the axis and number of units in its output."""

    make: Callable[[], Any]
    inputs: tuple[int, ...]
    count: int
    axis: int = -1
    alone: Any = ...  # the outputs (units last) from before any unit reads another


def einsum(equation: str, shape: Any, bias_axes: str | None) -> Callable[[], Any]:
    return lambda: layers.EinsumDense(equation, shape, bias_axes=bias_axes)


CASES = {
    "Dense": Case(lambda: layers.Dense(4), (2, 3), 4),
    "Dense on a sequence": Case(lambda: layers.Dense(4), (2, 5, 3), 4),
    "EinsumDense": Case(einsum("abc,cd->abd", (None, 4), "d"), (2, 5, 3), 4),
    "EinsumDense, bias over all": Case(einsum("abc,cd->abd", (5, 4), "bd"), (2, 5, 3), 4),
    "EinsumDense, kernel turned": Case(einsum("abc,dc->abd", (None, 4), "d"), (2, 5, 3), 4),
    "EinsumDense, output turned": Case(einsum("abc,cd->adb", (4, None), "d"), (2, 5, 3), 4, axis=1),
    "EinsumDense, left dots": Case(einsum("...x,xy->...y", 4, "y"), (2, 5, 3), 4),
    "EinsumDense, right dots": Case(einsum("ab...,bc->ac...", 4, "c"), (2, 3, 5), 4, axis=1),
    "EinsumDense, two inputs": Case(einsum("abcd,cde->abe", (None, 4), "e"), (2, 5, 3, 2), 4),
    "Conv1D": Case(lambda: layers.Conv1D(4, 2), (2, 5, 3), 4),
    "Conv2D": Case(lambda: layers.Conv2D(4, 2), (2, 5, 5, 3), 4),
    "Conv2D, groups": Case(lambda: layers.Conv2D(4, 2, groups=2), (2, 5, 5, 6), 4),
    "Conv3D": Case(lambda: layers.Conv3D(4, 2), (2, 3, 3, 3, 2), 4),
    "Conv1DTranspose": Case(lambda: layers.Conv1DTranspose(4, 2), (2, 5, 3), 4),
    "Conv2DTranspose": Case(lambda: layers.Conv2DTranspose(4, 2), (2, 5, 5, 3), 4),
    "Conv3DTranspose": Case(lambda: layers.Conv3DTranspose(4, 2), (2, 3, 3, 3, 2), 4),
    "DepthwiseConv1D": Case(lambda: layers.DepthwiseConv1D(2, depth_multiplier=2), (2, 5, 3), 6),
    "DepthwiseConv2D": Case(lambda: layers.DepthwiseConv2D(2, depth_multiplier=3), (2, 5, 5, 2), 6),
    "SeparableConv1D": Case(lambda: layers.SeparableConv1D(4, 2), (2, 5, 3), 4),
    "SeparableConv2D": Case(
        lambda: layers.SeparableConv2D(4, 2, depth_multiplier=2), (2, 5, 5, 3), 4
    ),
    "Embedding": Case(lambda: layers.Embedding(3, 4), (2, 5), 4),
    "BatchNormalization": Case(lambda: layers.BatchNormalization(), (2, 4), 4),
    "LayerNormalization": Case(lambda: layers.LayerNormalization(), (2, 4), 4),
    "GroupNormalization": Case(lambda: layers.GroupNormalization(2), (2, 5, 4), 4),
    "RMSNormalization": Case(lambda: layers.RMSNormalization(), (2, 4), 4),
    "SimpleRNN": Case(
        lambda: layers.SimpleRNN(4, return_sequences=True), (2, 5, 3), 4, alone=np.s_[:, 0]
    ),
    "GRU": Case(lambda: layers.GRU(4, return_sequences=True), (2, 5, 3), 4, alone=np.s_[:, 0]),
    "GRU, reset before": Case(
        lambda: layers.GRU(4, reset_after=False, return_sequences=True),
        (2, 5, 3),
        4,
        alone=np.s_[:, 0],
    ),
    "LSTM": Case(lambda: layers.LSTM(4, return_sequences=True), (2, 5, 3), 4, alone=np.s_[:, 0]),
    "stacked cells": Case(
        lambda: layers.RNN([layers.LSTMCell(4), layers.LSTMCell(4)], return_sequences=True),
        (2, 1, 3),
        4,
        alone=np.s_[:0],
    ),
    "ConvLSTM1D": Case(
        lambda: layers.ConvLSTM1D(4, 2, return_sequences=True), (2, 3, 5, 3), 4, alone=np.s_[:, 0]
    ),
    "ConvLSTM2D": Case(
        lambda: layers.ConvLSTM2D(4, 2, return_sequences=True),
        (2, 3, 5, 5, 3),
        4,
        alone=np.s_[:, 0],
    ),
    "ConvLSTM3D": Case(
        lambda: layers.ConvLSTM3D(4, 2, return_sequences=True),
        (2, 2, 3, 3, 3, 2),
        4,
        alone=np.s_[:, 0],
    ),
}
if HAS_REVERSIBLE:
    CASES["ReversibleEmbedding"] = Case(lambda: layers.ReversibleEmbedding(3, 4), (2, 5), 4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_units_are_what_computes_these_outputs(case):
    """Setting the selected entries to zero silences the named units, and no others."""
    layer = case.make()
    inputs = np.random.default_rng(0).uniform(1, 2, case.inputs).astype("float32")
    if isinstance(layer, layers.Embedding):
        inputs = inputs.astype("int32")
    layer(inputs)
    fill(layer, everything, noise(0))
    before = np.moveaxis(run(layer, inputs), case.axis, -1)
    fill(layer, units([0, -2]), np.zeros_like)
    after = np.moveaxis(run(layer, inputs), case.axis, -1)

    assert before.shape[-1] == case.count
    named = np.isin(np.arange(case.count), [0, case.count - 2])
    np.testing.assert_array_equal(after[..., named], 0)
    others, others_before = after[case.alone][..., ~named], before[case.alone][..., ~named]
    np.testing.assert_allclose(others, others_before, rtol=1e-5)
    assert np.abs(before).min() > 0


def shares(layer: Any, selection: Selection) -> dict[str, tuple[int, ...] | None]:
    """For each weight the axes along which its mask varies, or `None` if it has no mask."""
    return {
        path: None if mask is None else tuple(np.flatnonzero(_varies(mask)).tolist())
        for path, mask in masks(layer, selection).items()
    }


def _varies(mask: np.ndarray) -> list[bool]:
    return [bool((mask != mask.take([0], axis)).any()) for axis in range(mask.ndim)]


@pytest.mark.parametrize(
    ("make", "gates", "biases"),
    [(layers.SimpleRNN, 1, 1), (layers.GRU, 3, 2), (layers.LSTM, 4, 1)],
    ids=["SimpleRNN", "GRU", "LSTM"],
)
def test_a_recurrent_unit_is_its_columns_in_every_gate(make, gates, biases):
    layer = make(4)
    layer.build((None, 5, 3))
    columns = [False, True, False, False] * gates
    for_cell = masks(layer, units(1))
    names = sorted(path.rsplit("/", 1)[-1] for path in for_cell)
    assert names == ["bias", "kernel", "recurrent_kernel"]
    rows = [mask.reshape(-1, 4 * gates) for mask in for_cell.values() if mask is not None]
    np.testing.assert_array_equal(np.concatenate(rows), [columns] * (3 + 4 + biases))


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (lambda: layers.Dense(4), (None, 3), {"kernel": (1,), "bias": (0,)}),
        (lambda: layers.Dense(4, use_bias=False), (None, 3), {"kernel": (1,)}),
        (lambda: layers.Conv2D(4, 2), (None, 5, 5, 3), {"kernel": (3,), "bias": (0,)}),
        (lambda: layers.Conv2DTranspose(4, 2), (None, 5, 5, 3), {"kernel": (2,), "bias": (0,)}),
        (
            lambda: layers.SeparableConv1D(4, 2),
            (None, 5, 3),
            {"depthwise_kernel": None, "pointwise_kernel": (2,), "bias": (0,)},
        ),
        (
            einsum("abc,cd->abd", (5, 4), "b"),
            (None, 5, 3),
            {"kernel": (1,), "bias": None},
        ),
    ],
    ids=["dense", "no bias", "conv", "transpose", "separable", "bias of another axis"],
)
def test_units_along_the_axis_of_the_outputs(make, shape, expected):
    layer = make()
    layer.build(shape)
    assert shares(layer, units(1)) == expected


def test_depthwise_units_are_numbered_as_the_outputs():
    layer = layers.DepthwiseConv1D(2, depth_multiplier=2)
    layer.build((None, 5, 3))
    mask = masks(layer, units([1, 4]))["kernel"]
    assert mask is not None
    assert mask[0].tolist() == [[False, True], [False, False], [True, False]]


def test_moving_statistics_have_no_units():
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    assert units(0).mask(asked(layer.moving_mean, "norm/moving_mean", layer)) is None


def test_a_subclass_counts_as_its_base():
    class Scaled(layers.Dense):
        pass

    layer = Scaled(2)
    layer.build((None, 3))
    assert shares(layer, units(0)) == {"kernel": (1,), "bias": (0,)}


def attention(**arguments: Any) -> Any:
    layer = layers.MultiHeadAttention(num_heads=3, key_dim=2, **arguments)
    layer.build((None, 5, 6), (None, 5, 6))
    return layer


def grouped(**arguments: Any) -> Any:
    layer = layers.GroupQueryAttention(
        head_dim=2, num_query_heads=6, num_key_value_heads=3, **arguments
    )
    layer.build((None, 5, 6), (None, 5, 6))
    return layer


def built(layer: Any, *shape: int | None) -> Any:
    layer.build(shape)
    return layer


@pytest.mark.parametrize(
    ("make", "selection", "message"),
    [
        (
            lambda: built(layers.Dense(4), None, 3),
            units([0, 7]),
            r"^kernel: unit 7 is out of range for 4 units; got units\(\[0, 7\]\) "
            r"\(shape \(3, 4\), dtype float32\)\. Use an index from -4 to 3\.$",
        ),
        (
            lambda: built(layers.LSTM(4), None, 5, 3),
            units(4),
            r"unit 4 is out of range for 4 units",
        ),
        (
            lambda: built(layers.Dense(4), None, 3),
            units(-5),
            r"unit -5 is out of range for 4 units",
        ),
        (
            lambda: built(layers.DepthwiseConv1D(2, depth_multiplier=2), None, 5, 3),
            units(6),
            r"unit 6 is out of range for 6 units",
        ),
        (
            lambda: built(layers.PReLU(), None, 3),
            units(0),
            r"^alpha: fl\.units does not know the units of PReLU; got units\(0\) .*"
            r"Use fl\.at\[\.\.\.\]\. fl\.units knows BatchNormalization, .*, LSTMCell, .*Dense",
        ),
        (
            lambda: built(layers.LayerNormalization(axis=[1, 2]), None, 5, 3),
            units(0),
            r"^gamma: a normalization over several axes .*Use fl\.at",
        ),
        (
            attention,
            units(0),
            r"^query/kernel: the kernel of abc,cde->abde has 2 axes of output units, not one; "
            r"got units\(0\) .*Use fl\.heads\(\.\.\.\) in an attention layer, or fl\.at",
        ),
        (
            lambda: built(layers.EinsumDense("ab,b->ab", 3), None, 3),
            units(0),
            r"^kernel: the kernel of ab,b->ab has 0 axes of output units",
        ),
        (
            lambda: built(layers.Embedding(5, 2), None, 3),
            tokens([0, 50257]),
            r"^embeddings: token 50257 is out of range for 5 tokens; got tokens\(\[0, 50257\]\) .*"
            r"Use an index from -5 to 4\.",
        ),
        (attention, heads(3), r"^query/kernel: head 3 is out of range for 3 heads; got heads\(3\)"),
        (grouped, heads(6), r"^query/kernel: head 6 is out of range for 6 heads"),
    ],
    ids=[
        "Dense",
        "LSTM",
        "negative",
        "DepthwiseConv1D",
        "unknown class",
        "several axes",
        "attention",
        "no axis",
        "token",
        "head",
        "query head",
    ],
)
def test_what_does_not_fit_the_layer_is_refused(make, selection, message):
    layer = make()
    with pytest.raises(SelectionError, match=message):
        masks(layer, selection)


def test_a_weight_without_a_layer_has_no_units():
    weight = Weight("kernel", "kernel", (2, 3), "float32", lambda: np.ones((2, 3)))
    assert tokens(0).mask(weight) is None
    assert heads(0).mask(weight) is None
    with pytest.raises(SelectionError, match=r"does not know the units of NoneType"):
        units(0).mask(weight)


# --- tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picked", "expected"),
    [
        (1, [1]),
        (-1, [3]),
        ([0, 0, -2], [0, 2]),
        ((0, 2), [0, 2]),
        (range(1, 3), [1, 2]),
        (slice(2, None), [2, 3]),
        (slice(None, None, -3), [0, 3]),
        (np.array([3, 1], "uint8"), [1, 3]),
        ([], []),
    ],
    ids=repr,
)
def test_tokens_are_rows(picked, expected):
    layer = built(layers.Embedding(4, 2), None, 3)
    (mask,) = masks(layer, tokens(picked)).values()
    assert mask is not None
    assert np.flatnonzero(mask.all(axis=1)).tolist() == expected
    assert mask.sum() == 2 * len(expected)


REVERSIBLE = [True, False] if HAS_REVERSIBLE else []


@pytest.mark.parametrize("tied", REVERSIBLE, ids=["tied", "untied"][: len(REVERSIBLE)])
def test_tokens_and_units_of_a_reversible_embedding(tied):
    layer = built(layers.ReversibleEmbedding(4, 2, tie_weights=tied), None, 3)
    reverse = {} if tied else {"reverse_embeddings": (1,)}
    assert shares(layer, tokens(1)) == {"embeddings": (0,), **reverse}
    reverse = {} if tied else {"reverse_embeddings": (0,)}
    assert shares(layer, units(1)) == {"embeddings": (1,), **reverse}


@pytest.mark.parametrize("selection", [tokens(0), ~tokens(0), heads(0), ~heads(0)], ids=str)
def test_layers_without_such_parts_are_left_alone(selection):
    assert masks(built(layers.Dense(4), None, 3), selection) == {"kernel": None, "bias": None}


def test_only_the_tables_of_an_embedding_have_tokens():
    layer = built(layers.Embedding(4, 2), None, 3)
    rank_one = asked(keras.Variable(np.zeros((4, 1)), name="lora_embeddings_a"), "a", layer)
    assert tokens(0).mask(rank_one) is None


# --- heads --------------------------------------------------------------------------------------


def projection(equation: str, shape: Any, bias_axes: str, name: str) -> Any:
    return layers.EinsumDense(equation, shape, bias_axes=bias_axes, name=name)


class Attending(layers.Layer):
    """Attention of another class, which gives its number of heads and projects in any way.

    The letters are batch, times, features (d), query heads (n), key/value heads (k) and the size
    of a head (h).
    """

    def __init__(
        self,
        query: str = "btd,ndh->btnh",
        keys: str = "bsd,kdh->bskh",
        out: str = "btnh,nhd->btd",
        *,
        counts: tuple[int, int, int] = (4, 2, 3),
        called: tuple[str, str] = ("num_query_heads", "num_key_value_heads"),
        names: str = "query key value output",
    ) -> None:
        super().__init__()
        self.counts = heads, shared, size = counts
        setattr(self, called[0], heads)
        setattr(self, called[1], shared)
        q, k, v, o = names.split()
        self.query_dense = projection(query, (None, heads, size), "nh", q)
        self.key_dense = projection(keys, (None, shared, size), "kh", k)
        self.value_dense = projection(keys, (None, shared, size), "kh", v)
        self.output_dense = projection(out, (None, 6), "d", o)

    def build(self, query_shape: Any, value_shape: Any = None) -> None:
        del value_shape
        for layer in (self.query_dense, self.key_dense, self.value_dense):
            layer.build(query_shape)
        heads, _, size = self.counts
        divided = self.output_dense.equation.startswith("btnh")
        self.output_dense.build((None, None, *((heads, size) if divided else (heads * size,))))

    def call(self, query: Any, value: Any) -> Any:
        groups = self.counts[0] // self.counts[1]
        keys = keras.ops.repeat(self.key_dense(value), groups, axis=2)
        values = keras.ops.repeat(self.value_dense(value), groups, axis=2)
        attended = keras.ops.dot_product_attention(self.query_dense(query), keys, values)
        return self.output_dense(attended)


class Partial(layers.Layer):
    """Attention of three heads with a single projection."""

    num_heads = 3

    def __init__(self, name: str) -> None:
        super().__init__()
        fused = name == "qkv"
        equation = "btd,dnh->btnh" if fused else "btnh,nhd->btd"
        shape = (None, 3, 6) if fused else (None, 6)
        self.one = layers.EinsumDense(equation, shape, name=name)

    def build(self, shape: Any) -> None:
        self.one.build(shape)


class TurnedOutput(layers.MultiHeadAttention):
    """A subclass with the axes of a kernel in another order, as in KerasHub's XLNet."""

    def _make_output_dense(self, *_: Any, **__: Any) -> Any:
        return layers.EinsumDense("btnh,dnh->btd", (None, 6), name="attention_output")


def attending(*equations: str, **arguments: Any) -> Any:
    return built(Attending(*equations, **arguments), None, 5, 6)


def turned_output() -> Any:
    layer = TurnedOutput(num_heads=3, key_dim=2)
    layer.build((None, 5, 6), (None, 5, 6))
    return layer


def as_many_heads_as_features() -> Any:
    layer = layers.MultiHeadAttention(num_heads=3, key_dim=3, output_shape=(3, 2))
    layer.build((None, 5, 6), (None, 5, 6))
    return layer


TURNED = ("btd,hnd->btnh", "bsd,dhk->bskh", "btnh,dhn->btd")
ATTENTION = {
    "MultiHeadAttention": (attention, [0, -1]),
    "MultiHeadAttention without bias": (lambda: attention(use_bias=False), [0, -1]),
    "MultiHeadAttention, square heads": (as_many_heads_as_features, [0, -1]),
    "GroupQueryAttention": (grouped, [0, 1, -1]),
    "another": (attending, [0, 1, -1]),
    "another, kernels turned": (lambda: attending(*TURNED), [0, 1, -1]),
    "another, shared by all": (lambda: attending(counts=(4, 1, 3)), [0, -1]),
    "another, not grouped": (lambda: attending(counts=(4, 4, 3)), [0, 1, -1]),
    "another, counts in private": (
        lambda: attending(called=("_num_query_heads", "_num_key_value_heads")),
        [0, 1, -1],
    ),
    "another, names of its own": (lambda: attending(names="q k v o"), [0, 1, -1]),
    "another, counts by short names": (
        lambda: attending(called=("num_heads", "n_kv_heads"), names="wq wk wv wo"),
        [0, 1, -1],
    ),
    "a subclass with its own output": (turned_output, [0, -1]),
}
if HAS_GATE:
    ATTENTION["MultiHeadAttention with gate"] = (lambda: attention(use_gate=True), [0, -1])
    ATTENTION["GroupQueryAttention with gate"] = (lambda: grouped(use_gate=True), [0, 1, -1])


@pytest.mark.parametrize(("make", "picked"), ATTENTION.values(), ids=ATTENTION.keys())
def test_heads_are_what_the_output_reads_through_them(make, picked):
    """If the output rows of some heads are zero, their other entries do not matter."""
    layer = make()
    inputs = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    fill(layer, everything, noise(0))
    full = run(layer, inputs, inputs)
    selection = heads(picked)
    output = layer.output_dense if hasattr(layer, "output_dense") else layer._output_dense
    rows = selection.mask(asked(output.kernel, "output/kernel", layer, output))
    assert rows is not None
    kernel = keras.ops.convert_to_numpy(output.kernel)
    output.kernel.assign(np.where(rows, 0, kernel))
    silent = run(layer, inputs, inputs)

    fill(layer, selection, noise(1))
    output.kernel.assign(np.where(rows, 0, kernel))
    np.testing.assert_allclose(run(layer, inputs, inputs), silent, rtol=1e-5)
    assert np.abs(full - silent).max() > 1e-3
    fill(layer, ~selection, noise(2))
    assert np.abs(run(layer, inputs, inputs) - silent).max() > 1e-3


@pytest.mark.parametrize(("make", "picked"), ATTENTION.values(), ids=ATTENTION.keys())
def test_every_projection_has_heads_but_for_the_bias_of_the_output(make, picked):
    selected = masks(make(), heads(picked))
    silent = {path for path, mask in selected.items() if mask is None}
    assert silent == selected.keys() & {"attention_output/bias", "output/bias", "o/bias", "wo/bias"}


NO_AXIS = (
    r"^{}/kernel: the 4 heads of this Attending share an axis .*; got heads\(0\) "
    r".*Use fl\.at\[\.\.\.\] for this weight and fl\.heads for the others\.$"
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: attending(counts=(4, 2, 4)),
            r"^query/kernel: the heads of this Attending could be axis 0 \(4\) or 2 \(4\) of the "
            r"kernel of btd,ndh->btnh; got heads\(0\) \(shape \(4, 6, 4\), dtype float32\)\. "
            r"Use fl\.at\[\.\.\.\]\.$",
        ),
        (
            lambda: attending(counts=(4, 2, 2), names="q k v o"),
            r"^q/kernel: the heads of this Attending could be axis 0 \(4\) or 2 \(2\)",
        ),
        (
            lambda: attending(counts=(4, 2, 2)),  # a projection named query has query heads
            r"^key/kernel: the heads of this Attending could be axis 0 \(2\) or 2 \(2\)",
        ),
        (
            lambda: attending(counts=(4, 3, 5)),
            r"^key/kernel: 4 query heads cannot share 3 key/value heads evenly; got heads\(0\)",
        ),
        (lambda: attending(out="btc,cd->btd"), NO_AXIS.format("output")),
        (
            lambda: attending(called=("num_heads", "num_others"), counts=(4, 2, 3)),
            NO_AXIS.format("key"),
        ),
        (
            lambda: attending(called=("num_heads", "others"), names="wq wk wv wo"),
            NO_AXIS.format("wk"),
        ),
        (
            lambda: built(Partial("qkv"), None, 5, 6),
            r"axis 1 \(3\) could be queries, keys and values",
        ),
        (
            lambda: built(Partial("out"), None, 5, 3, 6),
            r"cannot find the layers that make the heads",
        ),
    ],
    ids=[
        *("square", "a or b", "named key", "uneven", "output in one axis", "unknown number"),
        *("unknown number and names", "three heads or q, k and v", "made elsewhere"),
    ],
)
def test_heads_that_nothing_tells_are_refused(make, message):
    with pytest.raises(SelectionError, match=message):
        masks(make(), heads(0))


def test_a_block_around_attention_says_nothing_of_its_other_layers():
    class Block(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads = 3
            self.attention = layers.MultiHeadAttention(3, 2, name="attention")
            self.up = layers.EinsumDense("btd,df->btf", (None, 3), name="up")
            self.down = layers.Dense(6, name="down")

        def call(self, x: Any) -> Any:
            return self.down(self.up(self.attention(x, x)))

    block = Block()
    block(np.ones((2, 5, 6), "float32"))
    selected = masks(block, heads(0))
    assert {path.split("/")[0] for path, mask in selected.items() if mask is not None} == {
        "attention"
    }


def test_heads_are_an_axis_of_each_projection():
    selected = masks(attention(), heads([0, 2]))
    shapes = {path: mask.shape for path, mask in selected.items() if mask is not None}
    assert shapes == {
        "query/kernel": (6, 3, 2),
        "query/bias": (3, 2),
        "key/kernel": (6, 3, 2),
        "key/bias": (3, 2),
        "value/kernel": (6, 3, 2),
        "value/bias": (3, 2),
        "attention_output/kernel": (3, 2, 6),
    }


@pytest.mark.parametrize(
    ("picked", "expected"),
    [([0], []), ([0, 1], [0]), ([1, 2], []), ([0, 2, 3], [1]), (slice(None), [0, 1, 2])],
    ids=repr,
)
@pytest.mark.parametrize("projection", ["key", "value"])
def test_a_shared_head_is_selected_when_all_who_read_it_are(projection, picked, expected):
    selected = masks(grouped(), heads(picked))
    kernel, bias = selected[f"{projection}/kernel"], selected[f"{projection}/bias"]
    assert kernel is not None
    assert bias is not None
    assert np.flatnonzero(kernel.all(axis=(0, 2))).tolist() == expected
    assert np.flatnonzero(bias.all(axis=1)).tolist() == expected
    assert kernel.sum() == 6 * 2 * len(expected)


def test_heads_are_found_inside_a_model():
    inputs = keras.Input((5, 6))
    hidden = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(4, name="head")(hidden))
    selected = masks(model, heads(1))
    assert selected["head/kernel"] is None
    query = selected["attention/query/kernel"]
    assert query is not None
    assert query[0, :, 0].tolist() == [False, True]


def test_attention_without_heads_says_nothing():
    layer = layers.Attention(use_scale=True)
    layer.build([(None, 5, 6), (None, 5, 6)])
    assert masks(layer, heads(0)) == {"scale": None}


# --- all three ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picked", "text"),
    [
        (0, "(0)"),
        (np.int32(-1), "(-1)"),
        ([0, 1], "([0, 1])"),
        ((0, 1), "([0, 1])"),
        (range(3), "([0, 1, 2])"),
        (range(100), "(range(0, 100))"),
        (range(100, 0, -2), "(range(100, 1, -2))"),
        ([5] * 9, "([5, 5, 5, 5, 5, 5, 5, 5, 5])"),
        (slice(0, 8), "(slice(0, 8, None))"),
        (np.array([2, 1]), "([2, 1])"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("make", [units, tokens, heads])
def test_a_structure_prints_the_call_that_makes_it(make, picked, text):
    selection = make(picked)
    again = eval(repr(selection), NAMESPACE)
    assert repr(selection) == make.__name__.lower() + text
    assert again == selection
    assert hash(again) == hash(selection)


@pytest.mark.parametrize(
    "picked",
    [None, True, 1.5, "0", ..., [True, False], [[0, 1]], [0.5], {0: 1}, np.eye(2, dtype=int)],
    ids=repr,
)
@pytest.mark.parametrize("make", [units, tokens, heads])
def test_numbers_only(make, picked):
    name = make.__name__.lower()
    part = name.removesuffix("s")
    message = (
        rf"^{name}: {part} numbers must be an integer, a slice, or a flat list or array of integers"
        rf"; got .*\. Write fl\.{name}\(\[0, 1\]\), or fl\.{name}\(np\.flatnonzero\(array\)\) for "
        r"a boolean array\.$"
    )
    with pytest.raises(SelectionError, match=rf"(?s){message}"):
        make(picked)


@pytest.mark.parametrize("make", [units, tokens, heads])
def test_several_numbers_are_a_list(make):
    name = make.__name__.lower()
    with pytest.raises(
        SelectionError, match=rf"one list; got 3, 7\. Write `fl\.{name}\(\[3, 7\]\)`"
    ):
        make(3, 7)


def test_the_algebra_takes_them():
    layer = built(layers.Dense(3), None, 2)
    kernel = masks(layer, ~units([0, 1]) | at[0])["kernel"]
    assert kernel is not None
    assert kernel.tolist() == [[True, True, True], [False, False, True]]


def test_heads_of_another_kind_are_no_attention_heads():
    assert set(masks(attending(called=("heads", "kv_heads")), heads(0)).values()) == {None}
