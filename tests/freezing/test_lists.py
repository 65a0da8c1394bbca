"""Lists of weights fit every freeze; state trees and checkpoints of another one are refused."""

import keras
import pytest

import frostline as fl
from helpers import assert_all_same_bits, values

FREEZES = {
    "block": (fl.at[:, :2], fl.at[:, 2:]),
    "positions": (fl.at[[0, 2]], fl.at[[0, 3]]),
    "entries": (fl.at[[0, 1], [1, 0]], fl.at[[0, 1], [0, 1]]),
    "whole": (None, fl.nothing),
}


def net():
    layers = [keras.layers.Dense(4, name="body"), keras.layers.Dense(4, name="head")]
    return keras.Sequential([keras.Input((6,)), *layers], name="net")


def pair(kind):
    models = []
    for where in FREEZES[kind]:
        model = net()
        fl.freeze(model, "head/kernel", where)
        for number, weight in enumerate(model.weights):
            weight.assign(weight + number + len(models))
        models.append(model)
    return models


@pytest.mark.parametrize("kind", FREEZES)
def test_lists_of_weights_fit_every_freeze(kind):
    first, second = pair(kind)
    plain = net()
    around = keras.Sequential([keras.Input((6,)), second])  # wraps the model after the freeze
    assert [w.shape for w in first.get_weights()] == [tuple(w.shape) for w in plain.weights]
    for one in (plain, around):
        one.set_weights(first.get_weights())
        assert_all_same_bits(values(one), values(first))
    masks = [fl.frozen_mask(layer.kernel) for layer in second.layers]
    first.set_weights([2 * array for array in plain.get_weights()])
    second.set_weights(first.get_weights())
    assert_all_same_bits(values(second), values(first))
    assert_all_same_bits([fl.frozen_mask(layer.kernel) for layer in second.layers], masks)


@pytest.mark.parametrize("kind", FREEZES)
def test_parts_of_another_freeze_are_refused(kind):
    first, second = pair(kind)
    for model in (first, second):
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
    before = values(first)
    with pytest.raises(fl.RestoreError, match="with another freeze"):
        first.set_state_tree(second.get_state_tree("numpy_array"))
    assert_all_same_bits(values(first), before)
    third, _ = pair(kind)
    third.compile("adam", "mse")
    third.optimizer.build(third.trainable_variables)
    third.set_state_tree(first.get_state_tree("numpy_array"))
    assert_all_same_bits(values(third), before)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="state_dict is of PyTorch")
@pytest.mark.parametrize("kind", sorted(FREEZES.keys() - {"whole"}))
def test_a_state_dict_of_another_freeze_is_refused(kind):
    first, second = pair(kind)
    with pytest.raises(RuntimeError, match="kernel_frozen_"):
        first.load_state_dict(second.state_dict())
    third, _ = pair(kind)
    third.load_state_dict(first.state_dict())
    assert_all_same_bits(values(third), values(first))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="checkpoints of TensorFlow")
@pytest.mark.parametrize("kind", sorted(FREEZES.keys() - {"whole"}))
def test_a_checkpoint_of_another_freeze_is_refused(kind, tmp_path):
    import tensorflow as tf

    first, second = pair(kind)
    path = tf.train.Checkpoint(model=second).save(tmp_path / "checkpoint")
    before = values(first)[2]
    status = tf.train.Checkpoint(model=first).restore(path)
    with pytest.raises(AssertionError, match="frozen_"):
        status.assert_existing_objects_matched()
    assert_all_same_bits([values(first)[2]], [before])


def fitted(where):
    model = net()
    if where is not None:
        fl.freeze(model, "head/kernel", where)
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    for number, slot in enumerate(model.optimizer.variables):
        slot.assign(slot + number)
    return model


@pytest.mark.parametrize(
    ("first", "second", "read"),
    [
        (fl.at[0], fl.at[0], True),
        (fl.at[0], fl.at[1], False),
        (None, fl.at[0], False),
        (fl.at[0], None, False),
        (None, None, True),
    ],
    ids=["same", "another", "plain-into-frozen", "frozen-into-plain", "plain"],
)
def test_a_weight_file_with_the_state_of_an_optimizer(first, second, read, tmp_path):
    one, other = fitted(first), fitted(second)
    one.optimizer.iterations.assign(41)
    one.save_weights(tmp_path / "net.weights.h5")
    before = [slot.numpy() for slot in other.optimizer.variables]
    if read:
        other.load_weights(tmp_path / "net.weights.h5")
        before = [slot.numpy() for slot in one.optimizer.variables]
    else:
        with pytest.warns(fl.RestoreWarning, match="has slots for other entries and was not read"):
            other.load_weights(tmp_path / "net.weights.h5")
    assert_all_same_bits(values(other), values(one))
    assert_all_same_bits([slot.numpy() for slot in other.optimizer.variables], before)


def test_a_tree_of_what_trains_alone_is_refused():
    first, second = pair("block")
    for model in (first, second):
        model.compile("adam", "mse")
    tree = second.get_state_tree("numpy_array")
    with pytest.raises(fl.RestoreError, match="with another freeze"):
        first.set_state_tree({"trainable_variables": tree["trainable_variables"]})
