"""Weights by path, snapshots of them, and restoring snapshots bit for bit."""

import pickle
from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl
from frostline import snapshots
from helpers import (
    assert_all_same_bits,
    assert_same_bits,
    frozen_masks,
    maps,
    value,
    values,
    weights,
    write_failing,
)
from models import TiedEmbedding, dense, dense_layers, holder, two_of_one_path

CELLS = np.arange(12).reshape(4, 3)
FREEZES = {
    "nothing": fl.nothing,
    "a block": fl.at[:2],
    "positions": fl.at[[0, 2]],
    "columns": fl.at[:, [0, 2]],
    "entries": fl.mask(CELLS % 5 == 0),
    "whole": fl.everything,
}
# Negative zero, the smallest number, infinities, and quiet and signalling NaNs with a payload.
BITS = {
    "float16": [0x8000, 0x0001, 0x7C00, 0xFC00, 0x7E05, 0xFE07, 0x7C01],
    "bfloat16": [0x8000, 0x0001, 0x7F80, 0xFF80, 0x7FC5, 0xFFC7, 0x7F81],
    "float32": [0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00005, 0xFFC00007, 0x7F800001],
}


def odd(dtype):
    """A `(4, 3)` array of bit patterns that a computation would lose."""
    like = fl.snapshot(holder((1,), dtype))["w"].dtype
    bits = np.resize(np.asarray(BITS[dtype], f"u{like.itemsize}"), (4, 3))
    return bits.view(like)


def model():
    made = dense_layers(hidden=8, out=3)
    fl.freeze(made, "hidden/kernel", fl.at[:, :3])
    fl.freeze(made, "out/kernel", fl.mask(np.arange(24).reshape(8, 3) % 5 == 0))
    fl.freeze(made, "out/bias")
    return made


def moved(made):
    """Take a snapshot of a model, then change all its weights."""
    before = fl.snapshot(made)
    for variable in fl.weights(made).values():
        variable.assign(value(variable) + 1)
    return before


def assert_is(made, expected):
    assert_all_same_bits(list(fl.snapshot(made).values()), list(expected.values()))


# Paths.


def test_the_paths_are_those_of_freeze_and_of_snapshots():
    made = model()
    named = fl.weights(made)
    assert list(named) == ["hidden/kernel", "hidden/bias", "out/kernel", "out/bias"]
    assert list(fl.snapshot(made)) == list(named)
    assert [change.path for change in fl.unfreeze(made)] == ["hidden/kernel", *list(named)[2:]]
    assert [change.path for change in fl.freeze(made)] == list(named)


def test_the_variables_are_those_of_the_layers():
    made = model()
    hidden, out = made.layers
    expected = [hidden.kernel, hidden.bias, out.kernel, out.bias]
    assert all(a is b for a, b in zip(fl.weights(made).values(), expected, strict=True))
    assert fl.weights(made, "out/bias") == {"out/bias": out.bias}
    assert list(fl.weights(hidden)) == ["kernel", "bias"]


def test_a_tied_weight_is_there_once():
    table = keras.layers.Dense(3, name="dense")
    both = keras.Sequential([keras.Input((3,)), table, keras.Sequential([table], name="again")])
    assert list(fl.weights(both)) == ["dense/kernel", "dense/bias"]
    before = moved(both)
    second = {f"again/{path}": array for path, array in before.items()}
    assert len(fl.restore(both, second)) == 2
    assert_is(both, before)
    with pytest.raises(fl.PathError, match="'dense/kernel' and 'again/dense/kernel'"):
        fl.restore(both, {**before, **second})


def test_a_tied_embedding_is_restored_once():
    made = TiedEmbedding(5, 4)
    made.build((None, 2))
    restored = fl.restore(made, moved(made))
    assert [weight.path for weight in restored] == ["table/embeddings"]


@pytest.mark.parametrize("call", [fl.weights, fl.snapshot], ids=["weights", "snapshot"])
def test_two_weights_of_one_path_are_refused(call):
    with pytest.raises(fl.PathError, match="same/kernel: two different weights have this path"):
        call(two_of_one_path())
    with pytest.raises(fl.PathError, match="same/kernel: 2 different weights have this name"):
        fl.restore(two_of_one_path(), {"same/kernel": np.zeros((3, 3), "float32")})


# Bits.


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("where", FREEZES.values(), ids=FREEZES)
def test_every_bit_comes_back_and_the_freeze_stays(where, dtype, tmp_path):
    layer, array = holder((4, 3), dtype), odd(dtype)
    fl.freeze(layer, "w", where)
    variable, masks, listed = layer.w, frozen_masks(layer), list(map(id, layer.variables))
    assert fl.restore(layer, {"w": array}) == (fl.RestoredWeight("w", 12, 12),)
    kept: dict[str, Any] = fl.snapshot(layer)
    np.savez(tmp_path / "w.npz", **kept)
    assert_same_bits(kept["w"], array)
    variable.assign(np.zeros((4, 3), "float32"))
    assert len(fl.restore(layer, np.load(tmp_path / "w.npz"))) == 1
    assert_same_bits(fl.snapshot(layer)["w"], array)
    assert layer.w is variable
    assert list(map(id, layer.variables)) == listed
    assert_all_same_bits(frozen_masks(layer), masks)


@pytest.mark.parametrize("where", FREEZES.values(), ids=FREEZES)
def test_what_a_layer_computes_with_is_what_was_restored(where):
    layer = dense(4, 3)
    fl.freeze(layer, "kernel", where)
    before, x = fl.snapshot(layer), np.eye(4, dtype="float32")
    layer.kernel.assign(np.zeros((4, 3)))
    fl.restore(layer, before)
    assert_same_bits(value(layer.kernel), before["kernel"])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), before["kernel"], atol=1e-6)


def test_training_goes_on_after_a_restore():
    made = model()
    made.compile("adam", "mse")
    x, y = np.ones((4, 6), "float32"), np.zeros((4, 3), "float32")
    made.train_on_batch(x, y)
    before = moved(made)
    slots = [value(slot) for slot in made.optimizer.variables]
    fl.restore(made, before)
    assert_all_same_bits([value(slot) for slot in made.optimizer.variables], slots)
    made.train_on_batch(x, y)
    for weight in weights(made):
        mask, old = fl.frozen_mask(weight.variable), before[weight.path]
        assert_same_bits(value(weight.variable), old, where=mask)
        assert mask.all() or (value(weight.variable) != old).any()


def test_what_is_restored_is_not_the_memory_of_the_snapshot():
    made = model()
    before = moved(made)
    kept = {path: array.copy() for path, array in before.items()}
    fl.restore(made, before)
    for array in before.values():
        array += 1
    assert_is(made, kept)


def test_arrays_that_are_memory_of_the_weights():
    made = dense_layers(first=6, second=6)
    tensors = [layer.kernel.value for layer in made.layers]
    # `detach().numpy()` shares memory on PyTorch; Keras would copy.
    kernels = [
        tensor.detach().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
        for tensor in tensors
    ]
    expected = [np.array(kernel) for kernel in kernels]
    assert not fl.restore(made, {"first/kernel": kernels[0]})
    fl.restore(made, {"first/kernel": kernels[1], "second/kernel": kernels[0]})
    assert_all_same_bits([value(layer.kernel) for layer in made.layers], expected[::-1])


# Return value.


def test_what_is_returned_is_printed():
    made = model()
    before = fl.snapshot(made)
    hidden = made.get_layer("hidden")
    hidden.kernel.assign(value(hidden.kernel) + np.eye(6, 8))
    hidden.bias.assign(value(hidden.bias) + 1)
    restored = fl.restore(made, before)
    assert repr(restored).splitlines() == [
        "hidden/kernel: 6 of 48 entries restored",
        "hidden/bias: 8 of 8 entries restored",
        "2 of 4 weights changed",
    ]
    assert restored.weights == pickle.loads(pickle.dumps(restored)).weights == 4
    again = fl.restore(made, {"out/bias": before["out/bias"]})
    assert (again, repr(again)) == ((), "nothing changed: 1 weight compared")


# Names.

SPELLED = {
    "path": lambda weight: weight.path,
    "with the model": lambda weight: f"{weight.layers[0].name}/{weight.path}",
    "variable": lambda weight: weight.variable.path,
}


@pytest.fixture(params=SPELLED.values(), ids=list(SPELLED))
def spelled(request):
    """Rename the keys of a mapping to another spelling."""

    def rename(made, mapping):
        return {request.param(weight): mapping[weight.path] for weight in weights(made)}

    return rename


def nested():
    """A model whose variables have a `path` that differs from their path in the model."""
    inner = keras.Sequential([keras.Input((6,)), dense(6, 6, name="dense")], name="in")
    return keras.Sequential([keras.Input((6,)), inner, keras.layers.Dense(3, name="top")])


@pytest.mark.parametrize("make", [model, dense, nested], ids=["model", "layer", "nested"])
def test_keys_may_be_spelled_in_several_ways(make, spelled):
    made = make()
    before = moved(made)
    assert len(fl.restore(made, spelled(made, before))) == len(before)
    assert_is(made, before)


def test_a_layer_takes_its_own_part_of_the_snapshot_of_its_model():
    made = model()
    before = moved(made)
    hidden = made.get_layer("hidden")
    of_it = {path: array for path, array in before.items() if path.startswith("hidden/")}
    assert len(fl.restore(hidden, of_it)) == 2
    assert_is(hidden, of_it)


@pytest.mark.parametrize("comparing", ["plot_drift", "report"])
def test_comparisons_take_the_same_keys(comparing, spelled, tmp_path):
    made = model()
    before = spelled(made, fl.snapshot(made))
    if comparing == "plot_drift":
        assert len(maps(fl.plot_drift(before, made, fold=False))) == 4
    else:
        page = fl.report(made, before, path=tmp_path / "report.html")
        assert "no frozen entry moved" in page.read_text(encoding="utf-8")


def test_the_path_of_one_weight_is_not_taken_for_the_other_name_of_another():
    inner = keras.Sequential([keras.Input((3,)), dense(3, 3, name="dense")], name="in")
    made = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(3, name="dense")])
    assert fl.weights(made)["in/dense/kernel"].path == "dense/kernel"
    before = moved(made)
    (restored,) = fl.restore(made, {"dense/kernel": before["dense/kernel"]})
    assert restored.path == "dense/kernel"
    assert_same_bits(fl.snapshot(made)["dense/kernel"], before["dense/kernel"])


def test_weights_of_another_model_are_a_mapping_too():
    made, other = model(), dense_layers(hidden=8, out=3)
    before = moved(made)
    fl.restore(made, fl.weights(other))
    assert_is(made, fl.snapshot(other))
    assert_is(made, before)  # both models were made with the same seed
    with pytest.raises(fl.PlotError, match="before and after are the same weight"):
        fl.plot_drift(fl.weights(made), made)


# Bad input.


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


BAD = {
    "a model": (
        model,
        fl.TargetError,
        r"snapshot: not a mapping.*snapshot=Sequential\. .*fl\.weights\(other\)",
    ),
    "a list": (lambda: [zeros(3)], fl.TargetError, r"got snapshot=list\. Take `snapshot = fl\.sn"),
    "unknown path": (
        lambda: {"hiden/kernel": zeros(6, 8)},
        fl.PathError,
        r"no weight has this path; got snapshot with 'hiden/kernel'\. Nearest: 'hidden/kernel'",
    ),
    "unknown paths": (
        lambda: {"xyz": zeros(1), "zyx": zeros(1), 3: zeros(1)},
        fl.PathError,
        r"got snapshot with '3' and 2 more of this kind\. `fl\.weights\(model\)` lists all",
    ),
    "two spellings": (
        lambda: {"hidden/bias": zeros(8), "model/hidden/bias": zeros(8)},
        fl.PathError,
        r"model/hidden/bias: the same weight is named twice; got snapshot with 'hidden/bias' and",
    ),
    "another shape": (
        lambda: {"out/bias": zeros(3), "out/kernel": zeros(3, 8)},
        fl.RestoreError,
        r"out/kernel: .*another shape; got snapshot \(shape \(3, 8\), dtype float32\), weight \(sh",
    ),
    "another dtype": (
        lambda: {"out/bias": zeros(3), "out/kernel": zeros(8, 3, dtype="float64")},
        fl.RestoreError,
        r"out/kernel: .*another dtype; .*dtype float64\), weight .*dtype float32\)",
    ),
    "bytes of another size": (
        lambda: {"out/bias": zeros(3, dtype="V2")},
        fl.RestoreError,
        r"out/bias: .*another dtype; .*dtype \|V2\)",
    ),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_writes_nothing(given, error, message):
    made = model()
    made.name = "model"
    before = values(made)
    with pytest.raises(error, match=message):
        fl.restore(made, given())
    assert_all_same_bits(values(made), before)


def test_statistics_are_not_restored():
    layer = keras.layers.BatchNormalization(name="norm")
    layer.build((None, 3))
    assert list(fl.weights(layer)) == list(fl.snapshot(layer)) == ["gamma", "beta"]
    with pytest.raises(fl.PathError, match=r"moving_mean: .*its layer updates itself"):
        fl.restore(layer, {"moving_mean": np.ones(3, "float32")})


def test_statistics_by_the_lines_in_the_docstrings():
    layer = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((3,)), layer])
    statistics = {
        v.path: np.array(v.numpy()) for v in model.variables if v.name.startswith("moving_")
    }
    assert len(statistics) == 2
    layer.moving_mean.assign(np.ones(3))
    for v in model.variables:
        v.assign(statistics.get(v.path, v))
    assert not value(layer.moving_mean).any()


def test_a_restore_inside_a_call_is_refused():
    class Restoring(keras.layers.Dense):
        snapshot: Any = None

        def call(self, inputs):
            if self.snapshot is not None:
                fl.restore(self, self.snapshot)
            return super().call(inputs)

    layer = Restoring(3, name="restoring")
    layer.build((None, 4))
    layer.snapshot = fl.snapshot(layer)
    with pytest.raises(fl.RestoreError, match="cannot be written while a layer runs"):
        layer(np.ones((1, 4), "float32"))


# Failures.


@pytest.mark.parametrize("failing", [OSError, KeyboardInterrupt], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("place", range(6))
def test_a_write_that_fails_takes_back_what_was_written(place, failing, monkeypatch):
    """Four weights, two of them in two parts, take six writes; each of them may fail."""
    made = model()
    before = moved(made)
    now = values(made)
    with write_failing(monkeypatch, place, failing):
        fl.restore(made, before)
    assert_all_same_bits(values(made), now)
    assert len(fl.restore(made, before)) == 4
    assert_is(made, before)


def test_a_weight_that_can_not_be_written_keeps_no_other_from_coming_back(monkeypatch):
    made = model()
    before = moved(made)
    now, write = values(made), snapshots.values.write
    last = made.get_layer("out").bias

    def fail(variable, given):
        if variable is last:
            raise OSError("no room")
        write(variable, given)

    monkeypatch.setattr(snapshots.values, "write", fail)
    with pytest.raises(OSError, match="no room"):
        fl.restore(made, before)
    monkeypatch.undo()
    assert_all_same_bits(values(made), now)
