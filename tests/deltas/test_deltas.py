"""A delta turns the base into the trained model and back, bit for bit."""

import json
import struct

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import frostline as fl
from frostline import _keras
from frostline._arrays.plan import plan_from_mask
from frostline._deltas import compose, held
from frostline._deltas.extract import Origin, extract
from frostline._deltas.model import ModelWeight, weights_in
from frostline._deltas.on_files import extract_from_file
from frostline._files import open_file
from helpers import assert_all_same_bits, assert_same_bits, everything_in, train, value
from models import (
    MAKERS,
    frozen_variously,
    large,
    rewritten,
    small,
    subclassed,
    twin,
    two_of_one_path,
)

layers = keras.layers


@pytest.fixture
def tuned():
    """A trained model, its base, and the delta between them."""
    model = frozen_variously(small())
    base = twin(small, model)
    rewritten(model)
    return model, base, fl.extract_delta(model)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_base_and_a_delta_are_the_trained_model_to_the_bit(make, tmp_path):
    model = frozen_variously(make())
    base = twin(make, model)
    rewritten(model)
    fl.extract_delta(model).save(tmp_path / "tuned.safetensors")
    before = everything_in(base)
    applied = fl.apply_delta(base, tmp_path / "tuned.safetensors")
    assert_all_same_bits(everything_in(base), everything_in(model))
    fl.remove_delta(base, applied)
    assert_all_same_bits(everything_in(base), before)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_any_dtype_of_weights(dtype, tmp_path):
    def make():
        return keras.Sequential([keras.Input((4,)), layers.Dense(6, dtype=dtype, name="hidden")])

    model = frozen_variously(make())
    base = twin(make, model)
    rewritten(model)
    fl.extract_delta(model).save(tmp_path / "tuned.safetensors")
    fl.apply_delta(base, str(tmp_path / "tuned.safetensors"))
    assert_all_same_bits(everything_in(base), everything_in(model))


def test_training_with_moving_statistics_and_a_layer_that_is_off():
    def make():
        return keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(6, name="hidden"),
                layers.BatchNormalization(name="norm"),
                layers.Dropout(0.5, name="drop"),
                layers.Dense(2, name="out"),
            ]
        )

    model = make()
    base = twin(make, model)
    fl.freeze(model, "hidden/kernel", fl.at[:2])
    fl.freeze(model, "norm/gamma")
    model.get_layer("out").trainable = False
    random = np.random.default_rng(0)
    train(model, random.normal(size=(16, 4)), random.normal(size=(16, 2)))
    delta = fl.extract_delta(model)
    held = {w.path: (w.held, w.kind, w.state) for w in delta.weights}
    assert held == {
        "hidden/kernel": (12, "block", False),
        "hidden/bias": (6, "whole", False),
        "norm/gamma": (0, "", False),
        "norm/beta": (6, "whole", False),
        "norm/moving_mean": (6, "whole", True),
        "norm/moving_variance": (6, "whole", True),
        "out/kernel": (0, "", False),
        "out/bias": (0, "", False),
    }
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))
    x = random.normal(size=(5, 4)).astype("float32")
    outputs = [keras.ops.convert_to_numpy(made(x)) for made in (base, model)]
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)


def test_it_costs_what_the_summary_says_and_the_state():
    model = frozen_variously(large())
    delta = fl.extract_delta(model)
    state = sum(weight.nbytes for weight in delta.weights if weight.state)
    assert state == 2 * 8 * 4
    assert delta.nbytes == fl.summary(model).delta_bytes + state


def test_rows_cost_an_index_of_four_bytes_each_and_entries_too(tuned):
    model, _, delta = tuned
    by_path = {weight.path: weight for weight in delta.weights}
    out = by_path["out/kernel"]
    assert (out.kind, out.held, out.nbytes) == ("block", 10, 10 * 4 + 5 * 4)
    hidden = by_path["hidden/kernel"]
    assert (hidden.kind, hidden.held, hidden.nbytes) == ("entries", 19, 19 * (4 + 4))
    assert fl.frozen_mask(model.get_layer("hidden").kernel).sum() == 24 - 19


def test_a_delta_gives_its_values_and_masks(tuned):
    model, _, delta = tuned
    kernel = model.get_layer("hidden").kernel
    mask = delta.frozen_mask("hidden/kernel")
    np.testing.assert_array_equal(mask, fl.frozen_mask(kernel))
    assert_same_bits(delta.values("hidden/kernel"), value(kernel)[~mask])
    values = delta.values("out/kernel")
    values[:] = 0  # changes only a copy
    assert_same_bits(delta.values("out/kernel"), value(model.get_layer("out").kernel)[1:])
    with pytest.raises(fl.PathError, match=r"hidden/bias: nothing of this weight is in the delta"):
        delta.values("hidden/bias")
    with pytest.raises(fl.PathError, match=r"kernel: the model of this delta has no such weight"):
        delta.frozen_mask("kernel")


def test_equal_deltas_are_equal(tuned):
    model, _, delta = tuned
    again = fl.extract_delta(model)
    assert again == delta
    assert hash(again) == hash(delta)
    assert fl.extract_delta(rewritten(model, 1)) != delta
    assert delta != "delta"
    assert repr(delta) == (
        f"<Delta of 2 of 4 weights: 29 entries, 212 bytes, base {delta.base[:16]}>"
    )


# Checking the base


def test_another_base_is_refused_with_both_fingerprints(tuned):
    model, base, delta = tuned
    kernel = base.get_layer("out").kernel
    array = value(kernel)
    array[0, 0] = np.nextafter(array[0, 0], np.float32(9))
    kernel.assign(array)
    before = everything_in(base)
    ours = fl.extract_delta(frozen_variously(twin(small, base))).base[:16]
    with pytest.raises(
        fl.RestoreError,
        match=rf"out/kernel: this is not .*base={ours}, the delta is for base={delta.base[:16]}",
    ):
        fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), before)
    fl.apply_delta(base, delta, check=False)
    array[1:] = value(model.get_layer("out").kernel)[1:]
    assert_same_bits(value(kernel), array)


@pytest.mark.parametrize("zero", ["weights", "statistics"])
def test_a_signed_zero_is_another_base(zero):
    model = large()
    fl.freeze(model, "*")
    model.get_layer("norm").trainable = False
    base = twin(large, model)
    delta = fl.extract_delta(model)
    assert delta.size == 0
    layer = base.get_layer("norm")
    variable = layer.beta if zero == "weights" else layer.moving_mean
    assert not value(variable).any()
    variable.assign(-value(variable))
    with pytest.raises(fl.RestoreError, match="not the base that the delta was trained on"):
        fl.apply_delta(base, delta)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"units": 5},
            r"hidden/kernel: its shape differs .*shape=\(4, 5\), the delta has \(4, 6\)",
        ),
        (
            {"dtype": "float16"},
            r"hidden/kernel: its dtype differs .*float16, the delta has float32",
        ),
        ({"name": "other"}, r"hidden/kernel: .*another architecture.*Nearest"),
        ({"use_bias": False}, r"hidden/bias: .*another architecture.*got 3 weights"),
    ],
)
def test_another_architecture_is_refused(tuned, change, told):
    _, _, delta = tuned
    options = {"units": 6, "name": "hidden", **change}
    other = keras.Sequential(
        [keras.Input((4,)), layers.Dense(**options), layers.Dense(2, name="out")]
    )
    before = everything_in(other)
    with pytest.raises(fl.RestoreError, match=told):
        fl.apply_delta(other, delta)
    assert_all_same_bits(everything_in(other), before)


def test_automatic_names_count_on_and_places_stay():
    def make():
        return keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)])

    model = make()
    fl.freeze(model, "*/kernel", fl.at[0])
    base = twin(make, model)
    rewritten(model)
    assert [w.path for w in weights_in(base)] != [w.path for w in weights_in(model)]
    fl.apply_delta(base, fl.extract_delta(model))
    assert_all_same_bits(everything_in(base), everything_in(model))


def test_automatic_names_of_several_classes_from_a_file(tmp_path):
    def make():
        middle = layers.BatchNormalization()
        return keras.Sequential([keras.Input((4,)), layers.Dense(4), middle, layers.Dense(4)])

    model = make()
    fl.freeze(model, "*/kernel", fl.at[0])
    base = twin(make, model)
    rewritten(model).save_weights(tmp_path / "tuned.weights.h5")
    model.save(tmp_path / "tuned.keras")
    with (
        open_file(tmp_path / "tuned.weights.h5") as tuned,
        open_file(tmp_path / "tuned.keras") as freeze,
    ):
        delta = extract_from_file(tuned, None, freeze, "0", lambda done: None)
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))
    assert fl.extract_delta(model, base=twin(make, model)).size == 0


def test_weights_that_a_file_does_not_name(tmp_path):
    model = frozen_variously(subclassed())
    base = twin(subclassed, model)
    rewritten(model).save(tmp_path / "tuned.keras")
    with open_file(tmp_path / "tuned.keras") as tuned:
        delta = extract_from_file(tuned, None, None, "0", lambda done: None)
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))


class Scaled(layers.Layer):
    """A layer with a scalar weight."""

    def build(self, input_shape):
        self.scale = self.add_weight((), name="scale")

    def call(self, inputs):
        return inputs * self.scale


def test_scalars_and_weights_of_a_class_of_your_own_travel(tmp_path):
    def make():
        return keras.Sequential([keras.Input((2,)), Scaled(name="scaled"), layers.Dense(1)])

    model = make()
    fl.freeze(model, "dense*/kernel", fl.at[0])
    base = twin(make, model)
    rewritten(model).save(tmp_path / "tuned.keras")
    fl.extract_delta(model).save(tmp_path / "scalar.safetensors")
    fl.apply_delta(base, tmp_path / "scalar.safetensors")
    assert_all_same_bits(everything_in(base), everything_in(model))
    with open_file(tmp_path / "tuned.keras") as tuned:
        delta = extract_from_file(tuned, None, None, "0", lambda done: None)
    assert delta.weights[0].path == "scaled/0"
    fl.apply_delta(twin(make, model), delta)


def test_a_model_that_is_not_built_has_no_delta():
    model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    model.layers[0].build((None, 4))
    with pytest.raises(fl.NotBuiltError, match=r"some layers may not have their weights yet"):
        fl.extract_delta(model)


def test_what_it_holds_cannot_be_changed(tuned):
    _, _, delta = tuned
    for name in ("weights", "fingerprint"):
        with pytest.raises(AttributeError):
            setattr(delta, name, ())
    with pytest.raises(ValueError, match="read-only"):
        delta.weights[0].values[:] = 7
    assert delta.weights[0] != fl.extract_delta(tuned[0]).weights[0]
    assert len({*delta.weights}) == 4


def test_weights_of_one_path_are_refused():
    model = two_of_one_path()
    with pytest.raises(fl.PathError, match="2 different weights have this path"):
        fl.extract_delta(model)


def test_seeds_do_not_count():
    def make():
        return keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(2, name="d")])

    model = make()
    fl.freeze(model, "d/bias")
    base = twin(make, model)
    base(np.ones((1, 4)), training=True)  # advances the seed of the dropout
    fl.apply_delta(base, fl.extract_delta(rewritten(model)))
    assert_all_same_bits(everything_in(base), everything_in(model))


def test_shared_weights_are_in_it_once():
    def make():
        layer = layers.Dense(4, name="shared")
        return keras.Sequential([keras.Input((4,)), layer, layer])

    model = make()
    fl.freeze(model, "shared/kernel", fl.at[0])
    base = twin(make, model)
    delta = fl.extract_delta(rewritten(model))
    assert [weight.path for weight in delta.weights] == ["shared/kernel", "shared/bias"]
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))


# Only changed entries


def test_with_a_base_only_what_changed_is_in_it():
    model = small()
    before = fl.snapshot(model)
    kernel = model.get_layer("hidden").kernel
    array = value(kernel)
    array[2] += 1
    array[0, 0] = array[0, 0]
    kernel.assign(array)
    delta = fl.extract_delta(model, base=before)
    assert [(w.path, w.held, w.kind) for w in delta.weights if w.held] == [
        ("hidden/kernel", 6, "block")
    ]
    assert delta == fl.extract_delta(model, base=with_weights(small(), before))
    base = with_weights(small(), before)
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))


def with_weights(model, snapshot):
    for weight in weights_in(model):
        weight.found.variable.assign(snapshot[weight.path])
    return model


def test_with_a_base_a_frozen_entry_that_moved_is_an_error():
    model = small()
    before = fl.snapshot(model)
    fl.freeze(model, "out/kernel", fl.at[0])
    kernel = model.get_layer("out").kernel
    kernel.assign(value(kernel) + 1)
    with pytest.raises(
        fl.AuditError,
        match=r"out/kernel: a frozen entry differs from the base.*weight\[0, 0\].*2 such",
    ):
        fl.extract_delta(model, base=before)


def test_a_base_that_moves_along_is_refused():
    model = small()
    with pytest.raises(
        fl.RestoreError, match=r"hidden/kernel: the base contains the weight itself"
    ):
        fl.extract_delta(model, base=model)
    arrays = {w.path: w.read() for w in weights_in(model)}
    if not arrays["out/bias"].flags.writeable:  # a copy, or memory that never changes
        assert fl.extract_delta(model, base=arrays).size == 0
    elif np.may_share_memory(arrays["out/bias"], weights_in(model)[-1].read()):
        with pytest.raises(fl.RestoreError, match="changes with training"):
            fl.extract_delta(model, base=arrays)


def test_with_a_base_a_signed_zero_is_a_change():
    model = small()
    bias = model.get_layer("out").bias
    before = fl.snapshot(model)
    bias.assign(-value(bias))
    delta = fl.extract_delta(model, base=before)
    assert [(w.path, w.held) for w in delta.weights if w.held] == [("out/bias", 2)]


def test_bad_bases_are_refused():
    model = small()
    with pytest.raises(fl.TargetError, match="base: must be a model or a mapping"):
        fl.extract_delta(model, base=[1])
    with pytest.raises(fl.PathError, match=r"hidden/kernel: not in `base`"):
        fl.extract_delta(model, base={})
    arrays = {**fl.snapshot(model), "out/bias": np.zeros(3, "float32")}
    with pytest.raises(fl.RestoreError, match=r"out/bias: its shape differs"):
        fl.extract_delta(model, base=arrays)
    arrays["out/bias"] = np.zeros(2)
    with pytest.raises(fl.RestoreError, match=r"out/bias: its dtype differs"):
        fl.extract_delta(model, base=arrays)


# Several deltas


def deltas_of(make, masks):
    """A base, and a delta for each mask of trained entries."""
    base = make()
    made = []
    for seed, mask in enumerate(masks):
        model = twin(make, base)
        fl.freeze(model, "hidden/bias")
        fl.freeze(model, "out/*")
        fl.freeze(model, "hidden/kernel", ~fl.mask(mask))
        made.append(fl.extract_delta(rewritten(model, seed)))
    return base, made


ROWS = [np.arange(4)[:, None] == rows for rows in ([0], [1], [3])]
DISJOINT = [np.repeat(row, 6, axis=1) for row in ROWS]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("removal", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_disjoint_deltas_compose_and_go_in_any_order(order, removal):
    base, deltas = deltas_of(small, DISJOINT)
    before = everything_in(base)
    for place in order:
        fl.apply_delta(base, deltas[place])
    assert fl.applied_deltas(base) == tuple(deltas[place] for place in order)
    kernel = value(base.get_layer("hidden").kernel)
    for mask, delta in zip(DISJOINT, deltas, strict=True):
        assert_same_bits(kernel[mask], delta.values("hidden/kernel").reshape(-1))
    for place in removal:
        fl.remove_delta(base, deltas[place])
        gone = value(base.get_layer("hidden").kernel)[DISJOINT[place]]
        assert_same_bits(gone, before[0][DISJOINT[place]])
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == ()


def test_overlapping_deltas_are_refused_unless_told_which_wins():
    base, (one, other) = deltas_of(small, [DISJOINT[0] | DISJOINT[1], DISJOINT[1] | DISJOINT[2]])
    before = everything_in(base)
    fl.apply_delta(base, one)
    with_one = everything_in(base)
    with pytest.raises(
        fl.RestoreError,
        match=rf"hidden/kernel: two deltas .*got 6 such entries, weight\[1, 0\]=.* in delta "
        rf"{one.fingerprint[:16]} and .* in {other.fingerprint[:16]}.*overlap='last'",
    ):
        fl.apply_delta(base, other)
    assert_all_same_bits(everything_in(base), with_one)
    assert fl.applied_deltas(base) == (one,)
    kernel = base.get_layer("hidden").kernel
    mine, yours = one.values("hidden/kernel"), other.values("hidden/kernel")

    fl.apply_delta(base, other, overlap="last")
    assert_same_bits(value(kernel)[1], yours[0])
    fl.remove_delta(base, other)
    assert_all_same_bits(everything_in(base), with_one)

    fl.apply_delta(base, other, overlap="first")
    assert fl.applied_deltas(base) == (other, one)
    assert_same_bits(value(kernel)[1], mine[1])
    assert_same_bits(value(kernel)[3], yours[1])
    fl.remove_delta(base, one)
    assert_same_bits(value(kernel)[1], yours[0])
    fl.remove_delta(base, other)
    assert_all_same_bits(everything_in(base), before)


def test_equal_values_are_no_conflict():
    base, (one, other) = deltas_of(small, [DISJOINT[0], DISJOINT[0] | DISJOINT[1]])
    model = twin(small, base)
    fl.apply_delta(model, other)
    same = fl.Delta(
        tuple(
            held.DeltaWeight(
                w.path, w.shape, w.dtype, w.fingerprint, w.state, w.layer_trainable, w.plan,
                w.take(value(model.get_layer("hidden").kernel)) if w.held else None,
            )
            for w in one.weights
        ),
        fl.__version__,
    )  # fmt: skip
    fl.apply_delta(base, same)
    fl.apply_delta(base, other)
    assert_all_same_bits(everything_in(base), everything_in(model))


def test_one_that_is_applied_stays_as_it_is(tuned):
    _, base, delta = tuned
    fl.apply_delta(base, delta)
    after = everything_in(base)
    fl.apply_delta(base, delta)
    assert fl.applied_deltas(base) == (delta,)
    assert_all_same_bits(everything_in(base), after)


def test_a_delta_that_was_trained_on_another_delta():
    base, (one,) = deltas_of(small, DISJOINT[:1])
    before = everything_in(base)
    model = twin(small, base)
    fl.apply_delta(model, one)
    fl.freeze(model, "*")
    fl.unfreeze(model, "out/kernel", fl.at[0])
    two = fl.extract_delta(rewritten(model, 7))
    with pytest.raises(fl.RestoreError, match="not the base that the delta was trained on"):
        fl.apply_delta(base, two)
    fl.apply_delta(base, one)
    fl.apply_delta(base, two)
    assert_all_same_bits(everything_in(base), everything_in(model))
    fl.remove_delta(base, one)
    fl.remove_delta(base, two)
    assert_all_same_bits(everything_in(base), before)


def test_training_after_a_delta_is_not_lost_silently(tuned):
    _, base, delta = tuned
    before = everything_in(base)
    fl.apply_delta(base, delta)
    rewritten(base, 5)
    after = everything_in(base)
    with pytest.raises(fl.RestoreError, match=r"has changed since a delta was applied.*force=True"):
        fl.remove_delta(base, delta)
    assert_all_same_bits(everything_in(base), after)
    fl.remove_delta(base, delta, force=True)
    kernel = value(base.get_layer("out").kernel)
    assert_same_bits(kernel[1:], before[2][1:])
    assert_same_bits(kernel[0], after[2][0])


def test_a_delta_that_other_means_took_away_is_put_on_again(tuned):
    model, base, delta = tuned
    before = everything_in(base)
    fl.apply_delta(base, delta)
    for weight, array in zip(weights_in(base), before, strict=True):
        weight.found.variable.assign(array)  # like `load_weights`
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))
    fl.remove_delta(base, delta)
    assert_all_same_bits(everything_in(base), before)


def test_applying_again_after_training_is_refused_too(tuned):
    _, base, delta = tuned
    fl.apply_delta(base, delta, freeze=True)
    rewritten(base, 5)
    with pytest.raises(fl.RestoreError, match="has changed since"):
        fl.apply_delta(base, delta)


def test_one_that_lies_can_be_laid_on_top():
    base, (one, other) = deltas_of(small, [DISJOINT[0] | DISJOINT[1], DISJOINT[1] | DISJOINT[2]])
    before = everything_in(base)
    fl.apply_delta(base, one)
    fl.apply_delta(base, other, overlap="last")
    fl.apply_delta(base, one, overlap="last")
    assert fl.applied_deltas(base) == (other, one)
    kernel = base.get_layer("hidden").kernel
    assert_same_bits(value(kernel)[1], one.values("hidden/kernel")[1])
    fl.remove_delta(base, other)
    fl.remove_delta(base, one)
    assert_all_same_bits(everything_in(base), before)


def test_a_model_with_other_weights_since_is_refused(tuned):
    _, base, delta = tuned
    fl.apply_delta(base, delta)
    with pytest.raises(fl.RestoreError, match=r"some weights .* are missing; got 1 of 2 weights"):
        fl.remove_delta(base.get_layer("out"), delta)
    base.get_layer("hidden").quantize("int8")
    after = [np.array(keras.ops.convert_to_numpy(v.value)) for v in base.variables]
    with pytest.raises(fl.RestoreError, match=r"some weights .* are missing; got 1 of 2 weights"):
        fl.remove_delta(base, delta)
    for variable, array in zip(base.variables, after, strict=True):
        assert_same_bits(np.array(keras.ops.convert_to_numpy(variable.value)), array)


def test_removing_what_is_not_there(tuned):
    _, base, delta = tuned
    with pytest.raises(fl.RestoreError, match=r"is not applied to this model.*applied: none"):
        fl.remove_delta(base, delta)


def test_on_a_part_of_a_model(tuned):
    model, base, _ = tuned
    delta = fl.extract_delta(model.get_layer("out"))
    assert [weight.path for weight in delta.weights] == ["kernel", "bias"]
    fl.apply_delta(base.get_layer("out"), delta)
    assert fl.applied_deltas(base) == (delta,)
    assert_same_bits(value(base.get_layer("out").kernel), value(model.get_layer("out").kernel))


# Applying with `freeze=True`, and to a base that is partly frozen


def test_freeze_takes_up_the_training_where_it_was(tuned):
    model, base, delta = tuned
    fl.apply_delta(base, delta, freeze=True)
    assert_all_same_bits(everything_in(base), everything_in(model))
    assert fl.summary(base).to_dict()["weights"] == fl.summary(model).to_dict()["weights"]
    assert fl.extract_delta(base) == delta
    fl.remove_delta(base, delta)
    assert fl.summary(base).frozen == fl.summary(model).frozen


def test_freeze_turns_off_what_was_off():
    def make():
        return keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(6, name="hidden"),
                layers.BatchNormalization(name="norm"),
                layers.Dense(2, name="out"),
            ]
        )

    model = make()
    model.get_layer("norm").trainable = False
    fl.freeze(model, "hidden/*")
    base, again = twin(make, model), twin(make, model)
    x, y = np.random.default_rng(0).normal(size=(2, 8, 4)), np.ones((8, 2))
    train(model, x[0], y)
    delta = fl.extract_delta(model)
    base.compile("sgd", "mse", jit_compile=False)
    base.train_on_batch(x[0], y)  # traces the step with a trainable layer
    for weight, array in zip(weights_in(base), everything_in(again), strict=True):
        weight.found.variable.assign(array)
    fl.apply_delta(base, delta, freeze=True)
    assert not base.get_layer("norm").trainable
    base.train_on_batch(x[1], y)
    norm, unmoved = base.get_layer("norm"), again.get_layer("norm")
    assert_same_bits(value(norm.moving_mean), value(unmoved.moving_mean))
    assert not np.array_equal(value(base.get_layer("out").bias), everything_in(model)[-1])


def test_freeze_adds_to_what_is_frozen(tuned):
    _, base, delta = tuned
    fl.freeze(base, "out/kernel", fl.at[:, 0])
    fl.apply_delta(base, delta, freeze=True)
    expected = np.zeros((6, 2), bool)
    expected[0], expected[:, 0] = True, True
    np.testing.assert_array_equal(fl.frozen_mask(base.get_layer("out").kernel), expected)


@pytest.mark.parametrize("kind", ["whole", "rows", "entries"])
def test_what_is_frozen_in_the_base_does_not_matter(tuned, kind):
    model, base, delta = tuned
    where = {"whole": None, "rows": fl.at[1], "entries": lambda w: w > 0}[kind]
    fl.freeze(base, "*/kernel", where)
    before, frozen = everything_in(base), fl.summary(base).to_dict()
    fl.apply_delta(base, delta)
    assert_all_same_bits(everything_in(base), everything_in(model))
    assert fl.summary(base).to_dict() == frozen
    fl.unfreeze(base)
    fl.remove_delta(base, delta)
    assert_all_same_bits(everything_in(base), before)


def test_it_trains_and_computes_with_the_values_of_the_delta(tuned):
    model, base, delta = tuned
    x, y = np.ones((4, 4), "float32"), np.ones((4, 2), "float32")
    base.compile("sgd", "mse", jit_compile=False)
    base.predict(x, verbose=0)
    fl.apply_delta(base, delta)
    np.testing.assert_allclose(base.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    base.train_on_batch(x, y)
    assert not np.array_equal(everything_in(base)[2], everything_in(model)[2])


# A failed call changes nothing


@pytest.mark.parametrize("fails", ["write", "freeze"])
def test_a_failure_half_way_changes_nothing(tuned, monkeypatch, fails):
    _, base, delta = tuned
    before, frozen = everything_in(base), fl.summary(base).to_dict()
    if fails == "write":
        write, calls = ModelWeight.write, []

        def failing(self, held, array):
            calls.append(self.path)
            if len(calls) == 2:
                raise MemoryError("no room")
            write(self, held, array)

        monkeypatch.setattr(ModelWeight, "write", failing)
    else:
        monkeypatch.setattr("frostline.deltas.plans_applied", lambda model, plans: 1 / 0)
    with pytest.raises((MemoryError, ZeroDivisionError)):
        fl.apply_delta(base, delta, freeze=True)
    assert_all_same_bits(everything_in(base), before)
    assert fl.summary(base).to_dict() == frozen
    assert fl.applied_deltas(base) == ()


BAD = {
    "target": (lambda d: fl.apply_delta(3, d), fl.TargetError, "target: not a Keras layer"),
    "delta": (lambda d: fl.apply_delta(small(), 3), fl.TargetError, "delta: must be a Delta or"),
    "swapped": (lambda d: fl.apply_delta(d, small()), fl.TargetError, "The model comes first: `fl"),
    "overlap": (
        lambda d: fl.apply_delta(small(), d, overlap="mine"),
        fl.RestoreError,
        r"overlap: must be one of 'error', 'last', 'first'; got overlap='mine'",
    ),
    "not built": (
        lambda d: fl.apply_delta(layers.Dense(2), d),
        fl.NotBuiltError,
        "no weights yet",
    ),
    "no file": (
        lambda d: fl.apply_delta(small(), "absent.safetensors"),
        fl.FileError,
        "cannot be read",
    ),
    "suffix": (lambda d: d.save("tuned.h5"), fl.FileError, r"got suffix='.h5'"),
    "folder": (lambda d: d.save("no/such/x.safetensors"), fl.FileError, "does not exist"),
    "no path": (lambda d: d.save(None), fl.TargetError, "path: not the path of a file"),
    "bytes": (lambda d: fl.load_delta(b"x"), fl.TargetError, "path: not the path of a file"),
}


@pytest.mark.parametrize(("call", "error", "match"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error(tuned, call, error, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=match):
        call(tuned[2])


# Files


@pytest.fixture
def saved(tuned, tmp_path):
    path = tmp_path / "tuned.safetensors"
    tuned[2].save(path)
    return path


@pytest.mark.once
def test_a_file_is_a_plain_safetensors_file(tuned, saved):
    from safetensors.numpy import load_file

    held = load_file(saved)
    assert sorted(held) == [
        *("positions/hidden/kernel", "positions/out/kernel"),
        *("values/hidden/kernel", "values/out/kernel"),
    ]
    assert_same_bits(held["values/out/kernel"], tuned[2].values("out/kernel"))
    np.testing.assert_array_equal(held["positions/out/kernel"], np.arange(1, 6, dtype="int32"))


@pytest.mark.once
def test_a_file_that_is_there_is_replaced_or_left_alone(tuned, saved, monkeypatch):
    model, _, delta = tuned
    other = fl.extract_delta(rewritten(model, 9))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(fl.FileError, match="cannot be written"):
        other.save(saved)
    monkeypatch.undo()
    assert fl.load_delta(saved) == delta
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    other.save(saved)
    assert fl.load_delta(saved) == other


@pytest.mark.once
def test_every_cut_is_refused(saved, tuned):
    base = tuned[1]
    before, data = everything_in(base), saved.read_bytes()
    for length in [0, 4, 8, 100, len(data) // 2, len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(fl.FileError):
            fl.apply_delta(base, saved)
    assert_all_same_bits(everything_in(base), before)


@pytest.mark.once
def test_every_changed_byte_is_refused(saved, tuned):
    _, base, delta = tuned
    before, data = everything_in(base), saved.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    random = np.random.default_rng(0)
    for place in [*range(start, len(data)), *random.integers(8, start, 150)]:
        changed = bytearray(data)
        changed[place] ^= 1 << int(random.integers(8))
        saved.write_bytes(changed)
        try:
            # Only a change of white space, or in the version of frostline, is accepted.
            assert fl.load_delta(saved) == delta
        except fl.FileError:
            continue
        assert chr(data[place]).isspace() or chr(changed[place]).isspace(), place
    assert_all_same_bits(everything_in(base), before)


def with_description(path, change):
    """Change the description in a file."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["frostline_delta"])
    change(description)
    header["__metadata__"]["frostline_delta"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


MALFORMED = {
    "no weights": lambda d: d.pop("weights"),
    "a list": lambda d: d.update(weights=[[]]),
    "kind": lambda d: d["weights"][0].update(held="most"),
    "no tensor": lambda d: d["weights"][1].update(held="all"),
    "shape": lambda d: d["weights"][0].update(shape=[4, 4]),
    "dtype": lambda d: d["weights"][0].update(dtype="float16"),
    "axis": lambda d: d["weights"][2].update(axis=5),
    "negative axis": lambda d: d["weights"][2].update(axis=-1),
    "short axis": lambda d: d["weights"][2].update(axis=1),
    "path": lambda d: d["weights"][2].update(path=["out", "kernel"]),
    "hash": lambda d: d.update(fingerprint="0" * 32),
    "no hash": lambda d: d.pop("fingerprint"),
    "forgotten": lambda d: d["weights"].pop(2),
    "deep": lambda d: d["weights"][0].update(shape={"a": 1}),
    "rounded": lambda d: d["weights"][2].update(rounded_to="bfloat16"),
    "rounded to no dtype": lambda d: d["weights"][2].update(rounded_to=["bfloat16"]),
    "rounded to itself": lambda d: d["weights"][2].update(rounded_to="float32"),
}


@pytest.mark.once
@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_description_is_refused(saved, change):
    with_description(saved, change)
    with pytest.raises(fl.FileError, match=r"malformed|damaged"):
        fl.load_delta(saved)


@pytest.mark.once
def test_a_newer_version_is_told(saved):
    with_description(saved, lambda d: d.update(version=3))
    with pytest.raises(fl.FileError, match="version=3, this frostline reads 1 and 2"):
        fl.load_delta(saved)


@pytest.mark.once
def test_another_safetensors_file_is_no_delta(tmp_path):
    from safetensors.numpy import save_file

    save_file({"kernel": np.zeros(3, "float32")}, tmp_path / "weights.safetensors")
    with pytest.raises(fl.FileError, match="not a delta"):
        fl.load_delta(tmp_path / "weights.safetensors")


@pytest.mark.once
def test_random_selections_travel_as_indices(tmp_path):
    model = small()
    random = np.random.default_rng(0)
    fl.freeze(model, "*/kernel", lambda w: random.random(w.shape) < 0.5)
    base = twin(small, model)
    fl.extract_delta(rewritten(model)).save(tmp_path / "random.safetensors")
    fl.apply_delta(base, tmp_path / "random.safetensors", freeze=True)
    for name in ("hidden", "out"):
        np.testing.assert_array_equal(
            fl.frozen_mask(base.get_layer(name).kernel),
            fl.frozen_mask(model.get_layer(name).kernel),
        )


# Extracting and composing, with any mask


@st.composite
def masked(draw):
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    mask = np.array(draw(st.lists(st.booleans(), min_size=np.prod(shape, dtype=int).item(),
                                  max_size=np.prod(shape, dtype=int).item())), bool)  # fmt: skip
    return mask.reshape(shape)


@pytest.mark.once
@given(masked(), st.integers(0, 100))
def test_take_and_put_are_inverse_on_any_mask(mask, seed):
    random = np.random.default_rng(seed)
    whole, base = (random.normal(size=mask.shape).astype("float32") for _ in range(2))
    plan = plan_from_mask(mask)
    origin = Origin("w", mask.shape, "float32", lambda: whole, plan)
    delta = extract([origin], None, "0")
    (weight,) = delta.weights
    assert weight.held == mask.size - np.count_nonzero(mask)
    np.testing.assert_array_equal(weight.mask(), mask)
    if weight.values is None:
        return
    put = np.where(mask, whole, base)
    assert compose.fits(weight, put, [])
    on_it, value = compose.added("w", put, [], delta, weight, "error")
    assert_same_bits(value, whole)
    left, again = compose.removed("w", value, on_it, delta, force=False)
    assert left == []
    assert_same_bits(again, put)


def test_nans_and_signed_zeros_are_bits_like_others():
    payload = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0], "uint32").view("float32")
    other = np.array([0x7FC00002, 0xFFC12345, 0, 0], "uint32").view("float32")
    plan = plan_from_mask(np.array([True, True, True, False]))
    assert held.fingerprint_of(plan, payload) != held.fingerprint_of(plan, other)


def test_state_is_what_keras_lists_beside_the_trainable_variables():
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    assert [v.name for v in _keras.own_state(layer)] == ["moving_mean", "moving_variance"]
    drop = layers.Dropout(0.5, seed=1)
    assert _keras.own_state(drop) == []


def test_the_hashes_of_a_file_stay_what_they_were():
    """If any of these hashes changes, files of earlier releases are refused."""
    entries = np.array([[True, False, True], [False, False, True]])
    rows = np.array([[True, True], [False, False]])
    values = {
        "gain": (np.array(1.5, "float32"), None),
        "kernel": (np.arange(6, dtype="float32").reshape(2, 3), plan_from_mask(entries)),
        "rows": (np.arange(4, dtype="float16").reshape(2, 2), plan_from_mask(rows)),
    }
    origins = [
        Origin(path, value.shape, str(value.dtype), lambda value=value: value, plan)
        for path, (value, plan) in values.items()
    ]
    delta = extract(origins, None, "0.1.0")
    assert delta.fingerprint == "afe1b998e639c2615c929698e54a6054"
    assert delta.base == "2d62defcedba17f47eda68c690f29b7c"
