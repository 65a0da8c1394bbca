"""Freezing warns first if a constraint would shrink the trainable entries to nothing."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import assert_same_bits, value

C = keras.constraints
KERNEL = np.asarray([[3, 0.1, 0.1], [0.1, 0.1, 4], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]], "float32")


def dense(constraint, **options):
    layer = keras.layers.Dense(3, kernel_constraint=constraint, name="dense", **options)
    model = keras.Sequential([keras.Input((4,)), layer], name="model")
    layer.kernel.assign(KERNEL)
    return model, layer


def ours(caught):
    """The files that our warnings point at; Keras's warnings about NumPy 2 are left out."""
    return [one.filename for one in caught if one.category is UserWarning]


CROSSING = {
    "max norm": (C.MaxNorm(2), fl.at[0], r"got MaxNorm\(max_value=2, axis=0\).* norm of 3 \(of 1 "),
    "unit norm": (C.UnitNorm(0), fl.at[:2], r"norm of 4.001 \(of 2 vectors along axis 0\)"),
    "between": (
        C.MinMaxNorm(0.5, 1.0, 0.9),
        fl.at[0, 0],
        r"got MinMaxNorm\(min_value=0.5, max_val",
    ),
    "along rows": (C.MaxNorm(1, axis=1), fl.at[:, 0], r"norm of 3 \(of 1 vectors along axis 1\)"),
    "along all": (C.MaxNorm(4.5, axis=[0, 1]), fl.at[:2], r"norm of 5.004 .*along axis \[0, 1\]"),
    "negative axis": (C.UnitNorm(-1), fl.at[:, 2], r"norm of 4 \(of 1 vectors along axis -1\)"),
}


@pytest.mark.parametrize(("constraint", "where", "text"), CROSSING.values(), ids=CROSSING)
def test_a_frozen_norm_above_the_limit_is_warned_of(constraint, where, text):
    model, layer = dense(constraint)
    with pytest.warns(UserWarning, match=rf"kernel: the frozen entries alone .*{text}") as caught:
        fl.freeze(model, "*/kernel", where)
    assert ours(caught) == [__file__]
    assert fl.is_frozen(layer.kernel)


HARMLESS = {
    "larger": (C.MaxNorm(3.5), fl.at[0]),
    "just as large": (C.MaxNorm(3), fl.at[0]),
    "whole columns": (C.MaxNorm(2), fl.at[:, 0]),
    "small entries": (C.UnitNorm(0), fl.at[2:]),
    "all of it": (C.UnitNorm(0), None),
    "rate of zero": (C.MinMaxNorm(0.5, 1.0, rate=0.0), fl.at[0]),
    "no norm": (C.NonNeg(), fl.at[0]),
    "none": (None, fl.at[0]),
    "an axis that there is not": (C.MaxNorm(1, axis=[0, 1, 2]), fl.at[0]),
}


@pytest.mark.parametrize(("constraint", "where"), HARMLESS.values(), ids=HARMLESS)
def test_no_word_where_nothing_shrinks(constraint, where):
    model, layer = dense(constraint)
    fl.freeze(model, "*/kernel", where)
    assert fl.is_frozen(layer.kernel)


def test_what_the_warning_says_is_so():
    model, layer = dense(C.MaxNorm(2))
    with pytest.warns(UserWarning, match="shrink the trainable entries"):
        fl.freeze(model, "*/kernel", fl.at[0])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    for _ in range(20):
        model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    after = value(layer.kernel)
    assert_same_bits(after[0], KERNEL[0])
    assert (after[1:, 0] < 1e-3 * KERNEL[1:, 0]).all()
    np.testing.assert_allclose(after[2:, 1], KERNEL[2:, 1], rtol=1e-3)


def test_with_warnings_as_errors_nothing_has_changed():
    model, layer = dense(C.MaxNorm(2))
    kernel, kind = layer.kernel, type(layer.kernel)
    with pytest.raises(UserWarning, match="the frozen entries alone"):
        fl.freeze(model, "*", fl.at[1])
    assert layer.kernel is kernel
    assert type(layer.kernel) is kind
    assert not fl.is_frozen(layer.bias)
    layer.kernel.constraint = None  # the fix that the warning suggests
    fl.freeze(model, "*/kernel", fl.at[0])


def test_an_unfreeze_beside_a_large_norm_warns_too():
    model, _ = dense(C.MaxNorm(2))
    fl.freeze(model, "*/kernel")
    with pytest.warns(UserWarning, match="the frozen entries alone"):
        fl.unfreeze(model, "*/kernel", fl.at[1])


def test_a_block_puts_back_what_it_found_without_a_word():
    model, layer = dense(C.MaxNorm(2))
    with pytest.warns(UserWarning, match="the frozen entries alone"):
        fl.freeze(model, "*/kernel", fl.at[0])
    with fl.thawed(model):
        assert not fl.is_frozen(layer.kernel)
    assert fl.frozen_mask(layer.kernel)[0].all()


def test_one_warning_for_all_weights_in_half_precision():
    layers = [
        keras.layers.Dense(3, kernel_constraint=C.UnitNorm(0), dtype="bfloat16") for _ in range(3)
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    for layer in layers:
        layer.kernel.assign(np.full(layer.kernel.shape, 2.0))
    with pytest.warns(
        UserWarning, match=r"^sequential/dense/kernel.* norm of 2 \(of 3 .* 2 more\)"
    ) as caught:
        fl.freeze(model, "*/kernel", fl.at[0])
    assert len(ours(caught)) == 1
