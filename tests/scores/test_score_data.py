"""Data may have any form that `fit` takes, and data that can't be scored is refused."""

import re
from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")


def built():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    model.compile("sgd", "mse")
    return model


class Sequence(keras.utils.PyDataset):
    ended = 0

    def __len__(self):
        return 3

    def __getitem__(self, at):
        return X[2 * at : 2 * at + 2], Y[2 * at : 2 * at + 2]

    def on_epoch_end(self):
        self.ended += 1


def tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)


def loader():
    import torch

    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(tensors, batch_size=2)


KINDS = {
    "arrays": lambda: (X, Y),
    "float64": lambda: (X.astype("float64"), Y.astype("float64")),
    "tensors": lambda: (keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)),
    "tf.data": lambda: (tf_data(),),
    "loader": lambda: (loader(),),
    "sequence": lambda: (Sequence(),),
    "workers": lambda: (Sequence(workers=2),),
    "generator": lambda: ((Sequence()[at] for at in range(3)),),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_data_give_the_same_scores(kind):
    model = built()
    for by in ("fisher", "wanda"):
        expected = fl.scores(model, X, Y, by=by)
        found = fl.scores(model, *KINDS[kind](), by=by)
        for path, score in expected.items():
            np.testing.assert_allclose(found[path], score, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_stops_after_as_many_batches_as_are_asked_for(workers):
    model, data = built(), Sequence(workers=workers)
    found = fl.scores(model, data, by="fisher", batches=2)
    wanted = fl.scores(model, X[:4], Y[:4], by="fisher")
    np.testing.assert_allclose(found["head/kernel"], wanted["head/kernel"], rtol=1e-5)
    assert data.ended == 1


def test_inputs_may_be_nested_and_nameless():
    a, b = keras.Input((3,), name="b"), keras.Input((2,), name="a")
    joined = keras.layers.Concatenate()([a, b])
    output = keras.layers.Dense(1, name="head")(joined)
    wanted = None
    for inputs, x in (([a, b], [X, Y]), ({"b": a, "a": b}, {"b": X, "a": Y})):
        model = keras.Model(inputs, output)
        found = fl.scores(model, x, Y[:, :1], by="snip", loss="mse")["head/kernel"]
        wanted = found if wanted is None else wanted
        np.testing.assert_array_equal(found, wanted)


class Endless(Sequence):
    __len__ = None  # type: ignore[assignment]

    @property
    def num_batches(self):
        return None


def uncompiled():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])


def lossless():
    model = uncompiled()
    model.compile("sgd")
    return model


def scored(model: Any = built, x: Any = X, y: Any = Y, **named):
    return fl.scores(model(), x, y, **{"by": "fisher", **named})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: scored(by="fischer"),
            fl.ScoreError,
            "by: must be one of 'gradient', .*got by='fischer'",
        ),
        (lambda: scored(uncompiled), fl.ScoreError, "no loss .* model that is not compiled"),
        (lambda: scored(lossless), fl.ScoreError, "model that is compiled without one"),
        (
            lambda: scored(batches=0),
            fl.ScoreError,
            "batches: must be a positive integer; got batches=0",
        ),
        (lambda: scored(batch_size=True), fl.ScoreError, "batch_size: must be a positive"),
        (lambda: scored(x=X[:0], y=Y[:0]), fl.ScoreError, "x: the data is empty"),
        (lambda: scored(x=Endless(), y=None), fl.ScoreError, "this Endless never ends"),
        (lambda: scored(x=X * np.nan), fl.ScoreError, "head/kernel: 6 of 6 scores are NaN"),
        (lambda: scored(weights="tail"), fl.PathError, "no weight has this path"),
        (lambda: fl.scores(3, X, Y, by="fisher"), fl.TargetError, "not a Keras layer or model"),
        (
            lambda: scored(x=((X[0], Y) for _ in range(2)), y=None),
            fl.ScoreError,
            re.escape("got shapes (3,), (5, 2) in batch 0"),
        ),
    ],
    ids=[
        *("by", "uncompiled", "lossless", "batches", "batch_size", "empty", "endless", "nan"),
        *("path", "target", "unbatched"),
    ],
)
def test_what_can_not_be_scored_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_weights_of_changed_layers_are_left_out_unless_named():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, name="lora"), keras.layers.Dense(2, name="head")]
    )
    model.layers[0].enable_lora(1)
    found = fl.scores(model, X, Y, by="snip", loss="mse")
    assert list(found) == ["head/kernel", "head/bias"]
    with pytest.raises(fl.UnsupportedError, match=r"lora/bias: .*lora\.lora_enabled=True"):
        fl.scores(model, X, Y, by="snip", loss="mse", weights="lora/bias")


def test_a_loss_may_be_a_function_of_the_output_alone():
    found = fl.scores(built(), X, by="snip", loss=lambda y, y_pred: keras.ops.sum(y_pred, -1))
    assert found["head/bias"].shape == (2,)


@pytest.mark.parametrize(
    "loss", [None, "mse", keras.losses.MeanSquaredError()], ids=["compiled", "named", "made"]
)
def test_targets_that_were_forgotten(loss):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(fl.ScoreError, match=r"^y: this loss needs targets; got y=None. Pass them"):
        fl.scores(model, np.ones((4, 3)), by="fisher", loss=loss)
    found = fl.scores(model, np.ones((4, 3)), by="fisher", loss=lambda y, output: output)
    assert len(found) == 2
