"""Freezing and unfreezing many times leaves no objects behind."""

import gc
import weakref
from collections import Counter

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._freezing import classes, copies
from frostline._weights import view

X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
ROUNDS = 8
SELECTIONS = [
    fl.at[0],
    fl.at[:, 1:3],
    fl.at[[0, 2, 5]],
    fl.at[0, 0] | fl.at[3, 2],
    None,
]


def trained():
    made = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(6, name="a"), keras.layers.Dense(6, name="b")]
    )
    made.compile(keras.optimizers.Adam(), "mse", run_eagerly=keras.backend.backend() != "jax")
    made.train_on_batch(X, X)
    return made


def in_turn(made, i, folder):
    fl.freeze(made, "*/kernel", SELECTIONS[i % len(SELECTIONS)])
    fl.unfreeze(made)


def more_and_more(made, i, folder):
    for row in range(6):
        fl.freeze(made, "a/kernel", fl.at[row])
    fl.unfreeze(made, "a/kernel", fl.at[:3])
    fl.train_only(made, "b/*")
    fl.unfreeze(made)


def for_a_while(made, i, folder):
    with fl.frozen(made, "*", fl.at[0]), fl.thawed(made, "a/kernel"):
        pass


def trained_meanwhile(made, i, folder):
    with fl.frozen(made, "a/kernel", fl.at[i % 2]):
        made.train_on_batch(X, X)
    made.train_on_batch(X, X)


def refused(made, i, folder):
    with pytest.raises(fl.SelectionError):
        fl.freeze(made, {"a/kernel": fl.at[0], "b/kernel": fl.at[9]})


def deltas(made, i, folder):
    with fl.frozen(made, "a/kernel", fl.at[1:]):
        delta = fl.extract_delta(made)
    fl.remove_delta(made, fl.apply_delta(made, delta))


def files(made, i, folder):
    with fl.frozen(made, "a/kernel", fl.at[1:]):
        made.save(folder / "frozen.keras")
    keras.saving.load_model(folder / "frozen.keras")


def copied(made, i, folder):
    with fl.frozen(made, "a/kernel", fl.at[1:]):
        keras.models.clone_model(made)
        fl.summary(made).to_dict()
        fl.snapshot(made)


ROUTINES = [in_turn, more_and_more, for_a_while, trained_meanwhile, refused, deltas, files, copied]


def living():
    """The number of living objects of each class of Keras, the frameworks and this library."""
    gc.collect()
    kinds = ("keras", "frostline", "torch", "jaxlib", "jax", "tensorflow")
    return Counter(
        f"{kind.__module__}.{kind.__name__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).split(".")[0] in kinds
        or issubclass(kind, (weakref.ref, weakref.WeakSet))
        or kind in (dict, set, type, np.ndarray)
    )


def remembered(made):
    """The sizes of the library's caches and of the model's attributes, by place."""
    found = {
        "classes": len(classes._classes),
        "variables": len(view._classes),
        "copies": len(copies._copies),
        "slots": len(made.optimizer.variables),
        "optimizer": sum(map(_length, vars(made.optimizer).values())),
    }
    for layer in (made, *made.layers):
        found[layer.name] = sum(map(_length, vars(layer).values()))
        found[f"{layer.name} ids"] = sum(map(len, layer._tracker.stored_ids.values()))
        for own in (*layer.trainable_variables, *layer.non_trainable_variables):
            found[own.path] = len(vars(own))
    return found


def _length(value):
    return len(value) if isinstance(value, (list, dict, set, tuple)) else 0


@pytest.mark.parametrize("routine", ROUTINES)
def test_nothing_is_left_of_a_freeze_that_is_taken_back(routine, tmp_path):
    made = trained()
    living()  # the first call fills the caches of abstract classes
    for i in range(2 * ROUNDS):  # makes what is kept for good: classes, `isinstance` caches
        routine(made, i, tmp_path)
    objects, kept = living(), remembered(made)
    for i in range(ROUNDS):
        routine(made, i, tmp_path)
    assert remembered(made) == kept
    left = {kind: more for kind, more in (living() - objects).items() if more >= ROUNDS}
    assert left == {}
