"""Freezing and thawing a half-trained model keeps the slots of entries that still train."""

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._freezing.optimizer import slots_per_weight
from helpers import (
    FAILING,
    STOCK_OPTIMIZERS,
    WHOLE_MATRIX,
    array,
    assert_only_the_rest_moved,
    assert_same_bits,
    compile_for_test,
    frozen_masks,
    value,
    values,
    weights,
)
from models import data, dense_layers

pytestmark = pytest.mark.usefixtures("quickly_compiled")

X, Y = data(16, 6)


def small():
    return dense_layers(hidden=5, out=3)


def make(name, **settings):
    return getattr(keras.optimizers, name)(learning_rate=0.01, **settings)


def run(model, steps):
    for _ in range(steps):
        model.train_on_batch(X, Y)


def test_an_optimizer_that_is_left_out_fails_with_nothing_frozen():
    for name in FAILING:
        model = small()
        compile_for_test(model, make(name))
        with pytest.raises(AttributeError, match="no attribute 'path'"):
            run(model, 1)


@pytest.mark.parametrize("settings", [{}, {"use_ema": True}], ids=["plain", "ema"])
def test_what_still_trains_goes_on_as_if_nothing_happened(settings):
    model, plain = small(), small()
    for one in (model, plain):
        compile_for_test(one, make("AdamW", **settings))
        run(one, 3)
    optimizer = model.optimizer
    fl.freeze(model, "hidden/kernel", fl.at[:, ::2])
    fl.freeze(model, "out/kernel", fl.at[0, 1])
    fl.freeze(model, "out/bias")
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 3
    frozen = [(layer.kernel, layer.bias) for layer in model.layers]
    references = [(layer.kernel, layer.bias) for layer in plain.layers]
    before = [[value(v) for v in pair] for pair in references]
    run(model, 3)
    for _ in range(3):
        plain.train_on_batch(X, Y)
        for views, pair, kept in zip(frozen, references, before, strict=True):
            for view, variable, start in zip(views, pair, kept, strict=True):
                variable.assign(np.where(fl.frozen_mask(view), start, value(variable)))
    for views, pair in zip(frozen, references, strict=True):
        for view, variable in zip(views, pair, strict=True):
            np.testing.assert_allclose(value(view), value(variable), rtol=2e-5, atol=2e-6)


class Masked:
    """A plain model that does the same with masks as frostline does.

    After each step, frozen entries get their old values back and their slots are reset to those of
    a new optimizer.
    """

    def __init__(self, name, **settings):
        self.model = small()
        self.make = lambda: make(name, **settings)
        compile_for_test(self.model, self.make())
        self.variables = [weight.variable for weight in weights(self.model)]

    def run(self, steps, masks):
        before = [value(v) for v in self.variables]
        places = {mask.shape: place for place, mask in enumerate(masks)}  # all shapes differ
        fresh = self.make()
        fresh.build(self.model.trainable_variables)
        for _ in range(steps):
            self.model.train_on_batch(X, Y)
            for variable, mask, start in zip(self.variables, masks, before, strict=True):
                variable.assign(np.where(mask, start, value(variable)))
            for slot, new in zip(self.model.optimizer.variables, fresh.variables, strict=True):
                place = places.get(tuple(slot.shape))
                if place is not None:
                    # The average of an entry that does not change is its value.
                    start = before[place] if slot.name.endswith("_average") else value(new)
                    slot.assign(np.where(masks[place], start, value(slot)))


def freeze_three(model):
    fl.freeze(model, "hidden/kernel", fl.at[:3])
    fl.freeze(model, "out/kernel", fl.at[0, 1])
    fl.freeze(model, "out/bias")


def thaw_one_and_freeze_another(model):
    fl.unfreeze(model, "hidden/kernel", fl.at[0])
    fl.unfreeze(model, "out/bias")
    fl.freeze(model, "hidden/bias")


BY_ENTRY = {name: {} for name in sorted(STOCK_OPTIMIZERS.keys() - WHOLE_MATRIX)}
AVERAGE = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}


@pytest.mark.parametrize(
    ("name", "settings"),
    [*BY_ENTRY.items(), ("Adam", AVERAGE)],
    ids=[*BY_ENTRY, "Adam-average"],
)
def test_freezing_and_thawing_are_what_masks_would_do(name, settings):
    model, masked = small(), Masked(name, **settings)
    compile_for_test(model, make(name, **settings))
    for change in (lambda model: None, freeze_three, thaw_one_and_freeze_another, fl.unfreeze):
        change(model)
        run(model, 2)
        masked.run(2, frozen_masks(model))
    for weight, reference in zip(weights(model), masked.variables, strict=True):
        np.testing.assert_allclose(value(weight.variable), value(reference), rtol=2e-5, atol=2e-6)


WHERE = {
    "block": ~fl.at[:, 1:3],
    "scattered": ~fl.at[:, [0, 2, 3]],
    "rows": ~fl.at[::2],
    "entries": fl.mask(np.arange(30).reshape(6, 5) % 3 != 1),
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", sorted(WHOLE_MATRIX))
def test_an_optimizer_of_whole_matrices_is_given_the_trainable_part_alone(name, where):
    layer = keras.layers.Dense(5, use_bias=False)
    layer.build((None, 6))
    whole = value(layer.kernel)
    fl.freeze(layer, "kernel", WHERE[where])
    trains = ~fl.frozen_mask(layer.kernel)
    # The part is a matrix for whole rows or columns, a vector for single entries.
    shape = (-1,) if where == "entries" else (trains.any(1).sum(), trains.any(0).sum())
    optimizers = make(name), make(name)
    # In Keras 3.12 the result of Muon depends on which axis comes first.
    minds = name == "Muon" and "rms_rate" not in optimizers[0].get_config()
    turned = minds and where == "scattered"

    def as_given(array):
        part = array[trains].reshape(shape)
        return part.T if turned else part

    part = keras.Variable(as_given(whole), name="part")
    for step in range(3):
        gradient = np.random.default_rng(step).normal(size=whole.shape).astype("float32")
        (trainable,) = layer.trainable_variables
        of_part = as_given(gradient)
        optimizers[0].apply([keras.ops.convert_to_tensor(of_part)], [part])
        lies = of_part if tuple(trainable.shape) == of_part.shape else of_part.T
        optimizers[1].apply([keras.ops.convert_to_tensor(lies)], [trainable])
    moved = value(part).T if turned else value(part)
    np.testing.assert_allclose(value(layer.kernel)[trains], moved.flat, rtol=1e-4, atol=1e-5)
    assert_same_bits(value(layer.kernel), whole, where=~trains)


@pytest.mark.parametrize("where", [fl.at[:3], lambda array: array > 0], ids=["rows", "entries"])
@pytest.mark.parametrize("name", sorted(WHOLE_MATRIX))
def test_optimizers_of_whole_matrices_train_through_freezing_and_thawing(name, where):
    model = small()
    compile_for_test(model, make(name))
    run(model, 2)
    fl.freeze(model, "hidden/kernel", where)
    before = values(model)
    run(model, 2)
    assert_only_the_rest_moved(model, before)
    fl.unfreeze(model, "hidden/kernel", fl.at[0])
    before = values(model)
    run(model, 2)
    assert_only_the_rest_moved(model, before)
    fl.unfreeze(model)
    run(model, 1)
    assert not fl.is_frozen(model.get_layer("hidden").kernel)


def slot(model, path):
    (found,) = [v for v in model.optimizer.variables if v.name.startswith(path) and "mom" in v.name]
    return value(found)


def test_slots_of_kept_entries_stay_and_thawed_ones_start_at_zero():
    model = small()
    compile_for_test(model, keras.optimizers.SGD(0.01, momentum=0.9))
    run(model, 3)
    before = slot(model, "sequential_hidden_kernel")
    fl.freeze(model, "hidden/kernel", fl.at[:2])
    assert_same_bits(slot(model, "sequential_hidden_kernel"), before[2:])
    fl.unfreeze(model, "hidden/kernel", fl.at[1])
    expected = np.concatenate([np.zeros((1, 5), "float32"), before[2:]])
    assert_same_bits(slot(model, "sequential_hidden_kernel"), expected)
    fl.unfreeze(model)
    expected = np.concatenate([np.zeros((2, 5), "float32"), before[2:]])
    assert_same_bits(slot(model, "sequential_hidden_kernel"), expected)


def test_slots_exist_only_for_what_trains():
    model = small()
    fl.freeze(model, "hidden/kernel", fl.at[:4])
    fl.freeze(model, "out/*")
    compile_for_test(model, keras.optimizers.Adam())
    run(model, 1)
    shapes = sorted(tuple(v.shape) for v in model.optimizer.variables if v.ndim)
    assert shapes == [(2, 5), (2, 5), (5,), (5,)]


def test_settings_that_no_config_holds_are_kept():
    model = small()
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    compile_for_test(model, optimizer)
    run(model, 1)
    optimizer.learning_rate = 0.0
    fl.freeze(model, "*/kernel", fl.at[0])
    assert float(optimizer.learning_rate) == 0.0
    optimizer.learning_rate = 0.1
    assert not optimizer._use_weight_decay(model.get_layer("hidden").bias)
    assert optimizer._use_weight_decay(model.trainable_variables[0])


def test_variables_excluded_from_decay_stay_excluded():
    model = small()
    hidden = model.get_layer("hidden")
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[hidden.kernel, hidden.bias])
    compile_for_test(model, optimizer)
    run(model, 1)
    fl.freeze(model, "*/kernel", fl.at[0])
    assert not any(map(optimizer._use_weight_decay, hidden.trainable_variables))
    assert all(map(optimizer._use_weight_decay, model.get_layer("out").trainable_variables))


class Counting(keras.optimizers.SGD):
    """Keeps a variable that was given no name."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = keras.Variable(0.0, trainable=False)


def test_a_variable_of_an_optimizer_without_a_name_is_kept():
    model = small()
    optimizer = Counting(0.01)
    compile_for_test(model, optimizer)
    run(model, 1)
    optimizer.seen.assign(5.0)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    assert float(array(optimizer.seen)) == 5.0


def test_an_optimizer_of_a_loop_by_hand_follows_a_freeze():
    model = small()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    shapes = [tuple(v.shape) for v in optimizer.variables if v.ndim]
    assert shapes == [(5, 5), (5,), (5, 3), (3,)]


def assert_follows_a_freeze(model):
    """Freezing a half-trained model keeps its slots; in further training frozen rows stay."""
    run(model, 2)
    before = slot(model, "sequential_hidden_kernel")
    fl.freeze(model, "hidden/kernel", fl.at[:2])
    assert_same_bits(slot(model, "sequential_hidden_kernel"), before[2:])
    kernel = value(model.get_layer("hidden").kernel)
    run(model, 1)
    assert_same_bits(value(model.get_layer("hidden").kernel)[:2], kernel[:2])


def test_a_loss_scale_optimizer_follows_a_freeze():
    model = small()
    inner = keras.optimizers.SGD(0.01, momentum=0.9)
    compile_for_test(model, keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0))
    assert_follows_a_freeze(model)


if hasattr(keras.optimizers, "MultiOptimizer"):  # not in Keras 3.12

    def test_optimizers_for_groups_of_variables_follow_a_freeze():
        groups = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.01))
        groups["sequential/hidden/kernel"] = keras.optimizers.Nadam(0.01)
        model = small()
        compile_for_test(model, keras.optimizers.MultiOptimizer(groups))
        assert_follows_a_freeze(model)


def test_a_learning_rate_schedule_goes_on_after_a_freeze():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.5, 0.25])
    model = small()
    compile_for_test(model, keras.optimizers.SGD(schedule))
    run(model, 4)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    assert float(model.optimizer.learning_rate) == 0.25
    assert int(model.optimizer.iterations) == 4


@pytest.mark.parametrize(
    ("name", "slots"), [("SGD", 0), ("RMSprop", 1), ("Adam", 2), ("AdamW", 2), ("Nadam", 2)]
)
def test_slots_per_weight_are_counted(name, slots):
    assert slots_per_weight(make(name)) == slots


def test_what_another_library_compiled_is_made_anew():
    """KerasHub reuses `generate_function` unless it is None; other attributes do not change."""
    model = small()
    kept = {"generate_function": print, "make_generate_function": print, "score_function": print}
    for name, function in kept.items():
        setattr(model, name, function)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    assert {name: getattr(model, name) for name in kept} == kept | {"generate_function": None}
