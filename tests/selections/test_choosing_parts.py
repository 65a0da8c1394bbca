"""Ranks of whole units and heads in real layers equal those of means computed by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._errors import SelectionError

pytestmark = pytest.mark.once

layers = keras.layers


def built(layer: Any, *shapes: Any) -> Any:
    layer.build(*shapes)
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(rng.standard_normal(tuple(variable.shape)))
    return layer


def values(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)


def test_a_unit_is_one_thing_in_all_weights_of_its_layer() -> None:
    layer = built(layers.Dense(6), (None, 4))
    entries = np.concatenate([values(layer.kernel), values(layer.bias)[None]]).T
    fl.freeze(layer, "*", fl.smallest(2, of="units"))
    right = np.argsort(np.abs(entries).mean(axis=1), kind="stable")[:2]
    assert set(np.flatnonzero(fl.frozen_mask(layer.bias))) == set(right)
    np.testing.assert_array_equal(
        fl.frozen_mask(layer.kernel), np.tile(fl.frozen_mask(layer.bias), (4, 1))
    )


def test_units_of_all_gates_of_a_cell() -> None:
    layer = built(layers.LSTM(5), (None, 3, 2))
    cell = layer.cell
    entries = np.concatenate(
        [values(v).reshape(-1, 4, 5) for v in (cell.kernel, cell.recurrent_kernel, cell.bias)]
    )
    entries = entries.reshape(-1, 5).T
    fl.freeze(layer, "*", fl.largest(0.4, of="units", scope="layer"))
    right = np.zeros(5, bool)
    right[np.argsort(-np.abs(entries).mean(axis=1), kind="stable")[:2]] = True
    for variable in (cell.kernel, cell.recurrent_kernel, cell.bias):
        mask = fl.frozen_mask(variable)
        np.testing.assert_array_equal(mask, np.broadcast_to(np.tile(right, 4), mask.shape))


def test_units_are_ranked_by_the_weights_that_are_named() -> None:
    layer = built(layers.Dense(6), (None, 4))
    fl.freeze(layer, "kernel", fl.smallest(1, of="units"))
    means = np.abs(values(layer.kernel)).mean(axis=0)
    assert fl.frozen_mask(layer.kernel)[:, means.argmin()].all()
    assert not fl.is_frozen(layer.bias)


def test_units_of_all_layers_compete() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(3)])
    for scale, layer in zip((1.0, 100.0), model.layers, strict=True):
        layer.kernel.assign(np.full(layer.kernel.shape, scale))
    fl.freeze(model, "*", fl.smallest(7, of="units", scope="model"))
    first, last = model.layers
    assert fl.frozen_mask(first.kernel).all()
    assert fl.frozen_mask(first.bias).all()
    assert fl.frozen_mask(last.kernel).any(axis=0).tolist() == [True, False, False]
    assert fl.frozen_mask(last.bias).tolist() == [True, False, False]


def test_a_head_is_one_thing_in_all_projections() -> None:
    layer = built(layers.MultiHeadAttention(4, 3), (None, 5, 6), (None, 5, 6))
    dense = [getattr(layer, f"{name}_dense") for name in ("query", "key", "value")]
    entries = [values(d.kernel).transpose(1, 0, 2).reshape(4, -1) for d in dense]
    entries += [values(d.bias) for d in dense]
    entries += [values(layer.output_dense.kernel).reshape(4, -1)]
    fl.freeze(layer, "*", fl.smallest(1, of="heads", scope="layer"))
    head = np.abs(np.concatenate(entries, axis=1)).mean(axis=1).argmin()
    for d in dense:
        assert np.flatnonzero(fl.frozen_mask(d.kernel).any(axis=(0, 2))).tolist() == [head]
        assert np.flatnonzero(fl.frozen_mask(d.bias).all(axis=1)).tolist() == [head]
    assert np.flatnonzero(fl.frozen_mask(layer.output_dense.kernel).all(axis=(1, 2))) == head
    assert not fl.is_frozen(layer.output_dense.bias)


def test_a_shared_key_head_goes_with_the_last_head_that_reads_it() -> None:
    layer = built(layers.GroupQueryAttention(3, 4, 2), (None, 5, 6), (None, 5, 6))
    layer._query_dense.kernel.assign(np.ones((6, 4, 3)) * np.array([9, 1, 2, 1])[:, None])
    for name in ("_key_dense", "_value_dense", "_output_dense"):
        kernel = getattr(layer, name).kernel
        kernel.assign(np.ones(kernel.shape))
    fl.freeze(layer, "*/kernel", fl.smallest(2, of="heads", scope="layer"))
    assert fl.frozen_mask(layer._query_dense.kernel).all(axis=(0, 2)).tolist() == [0, 1, 0, 1]
    assert not fl.is_frozen(layer._key_dense.kernel)
    fl.unfreeze(layer)
    fl.freeze(layer, "*/kernel", fl.smallest(3, of="heads", scope="layer"))
    assert fl.frozen_mask(layer._key_dense.kernel).all(axis=(0, 2)).tolist() == [False, True]


def test_a_threshold_over_the_model() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(3)])
    built(model, (None, 4))
    kernels = [layer.kernel for layer in model.layers]
    fl.freeze(model, "*/kernel", fl.smallest(0.5, scope="model"))
    flat = np.concatenate([np.abs(values(kernel)).ravel() for kernel in kernels])
    mask = np.concatenate([fl.frozen_mask(kernel).ravel() for kernel in kernels])
    assert mask.sum() == 21
    assert flat[mask].max() < flat[~mask].min()


def test_places_are_shared_within_a_combination() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(3)])
    built(model, (None, 4))
    fl.freeze(model, "*/kernel", ~fl.largest(5, scope="model") & fl.at[:2])
    free = [~fl.frozen_mask(layer.kernel)[:2] for layer in model.layers]
    flat = np.concatenate([np.abs(values(layer.kernel)).ravel() for layer in model.layers])
    limit = np.sort(flat)[-5]
    for layer, open_ in zip(model.layers, free, strict=True):
        np.testing.assert_array_equal(open_, np.abs(values(layer.kernel)[:2]) >= limit)
        assert not fl.frozen_mask(layer.kernel)[2:].any()


def test_a_shared_weight_counts_once() -> None:
    shared = layers.Dense(4, use_bias=False)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, use_bias=False)(shared(shared(inputs))))
    changes = fl.freeze(model, "*", fl.smallest(0.5, scope="model"))
    assert sum(change.entries for change in changes) == 12


def test_units_that_do_not_exist_in_a_weight() -> None:
    layer = built(layers.SeparableConv2D(4, 2), (None, 5, 5, 3))
    fl.freeze(layer, "*", fl.smallest(1, of="units", scope="layer"))
    assert not fl.is_frozen(layer.depthwise_kernel)
    assert fl.frozen_mask(layer.pointwise_kernel).all(axis=(0, 1, 2)).sum() == 1
    with pytest.raises(SelectionError, match=r"where=smallest\(1, of='units'\)"):
        fl.freeze(layer, "depthwise_kernel", fl.smallest(1, of="units"))


@pytest.mark.once(False)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_threshold_and_what_has_changed_on_each_backend(dtype: str) -> None:
    stack = [layers.Dense(6, dtype=dtype, name="a"), layers.Dense(3, dtype=dtype, name="b")]
    model = built(keras.Sequential([keras.Input((4,)), *stack]), (None, 4))
    before = fl.snapshot(model)
    kernels = fl.weights(model, "*/kernel")
    flat = np.concatenate([before[path].astype("float64").ravel() for path in kernels])
    fl.freeze(model, "*/kernel", fl.smallest(0.5, scope="model"))
    mask = np.concatenate([fl.frozen_mask(kernel).ravel() for kernel in kernels.values()])
    np.testing.assert_array_equal(
        np.sort(np.flatnonzero(mask)), np.sort(np.abs(flat).argsort(kind="stable")[:21])
    )
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
    changes = fl.freeze(model, "*/kernel", fl.changed(before))
    after = fl.snapshot(model)
    for path, kernel in kernels.items():
        moved = before[path] != after[path]
        now = fl.frozen_mask(kernel)
        np.testing.assert_array_equal(now, moved | mask[: now.size].reshape(now.shape))
        assert not (moved & mask[: now.size].reshape(now.shape)).any()
        mask = mask[now.size :]
    assert changes
