"""Model files, read without the models, give the same answers as the models."""

import json
import math
import os
import struct
import time
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import frostline as fl
import zoo
from frostline._arrays.frozen import either, frozen_from_config
from frostline._arrays.pieces import pieces
from frostline._arrays.plan import plan_from_mask
from frostline._errors import FileError
from frostline._files import open_file
from frostline._files.check import check as check_file
from frostline._files.compare import compare
from frostline._files.names import snake_case
from frostline._files.through import BATCH, go_through
from helpers import assert_same_bits, stored_value, value, weights
from model_files import compressed, descriptions, with_config, with_weights
from models import MAKERS, frozen_variously, large, moved, small, subclassed

pytestmark = pytest.mark.once

makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def check(path):
    return check_file(path, fl.load_delta)


def mask(stored):
    none = np.zeros(stored.shape, bool)
    frozen = stored.frozen
    return none if frozen is None else frozen.flat_mask(0, stored.size).reshape(stored.shape)


def assert_file_says_what_the_model_does(path, model):
    with open_file(path) as opened:
        stored = {weight.path: weight for weight in opened.weights}
        for found in weights(model):
            one = stored[found.path]
            assert_same_bits(stored_value(one), value(found.variable))
            frozen = fl.frozen_mask(found.variable)
            np.testing.assert_array_equal(mask(one), frozen)
            assert one.frozen_count == frozen.sum()


@pytest.mark.once(False)
@makers
def test_a_file_says_what_its_model_does(make, tmp_path):
    model = frozen_variously(make())
    model.save(tmp_path / "model.keras")
    assert_file_says_what_the_model_does(tmp_path / "model.keras", model)
    assert not check(tmp_path / "model.keras").faults


def test_names_need_no_freeze_where_a_config_tells_of_the_layers(tmp_path):
    model = large()
    model.save(tmp_path / "model.keras")
    assert_file_says_what_the_model_does(tmp_path / "model.keras", model)
    with open_file(tmp_path / "model.keras") as opened:
        assert len(opened.weights) == len(model.weights)
        assert not opened.holds_a_freeze
        assert [weight.path for weight in opened.weights if "norm" in weight.path] == [
            *("norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance")
        ]


@pytest.mark.parametrize("name", zoo.PRESENT)
def test_a_file_of_each_layer_of_keras_says_what_its_model_does(name, tmp_path):
    model = zoo.Case(name).model()
    fl.freeze(model, "*", lambda w: np.arange(w.size).reshape(w.shape) % 3 == 0)
    model.save(tmp_path / "model.keras")
    assert_file_says_what_the_model_does(tmp_path / "model.keras", model)
    assert not check(tmp_path / "model.keras").faults
    fl.unfreeze(model)
    model.save(tmp_path / "plain.keras")
    assert not check(tmp_path / "plain.keras").faults


def test_what_nothing_tells_keeps_its_number(tmp_path):
    subclassed().save(tmp_path / "model.keras")
    with open_file(tmp_path / "model.keras") as opened:
        paths = [weight.path for weight in opened.weights]
    # The file names the class of a layer in a list, but not of a layer in an attribute.
    assert {"first/kernel", "first/bias", "around/inside/0", "recurrent/lstm_cell/bias"} <= {*paths}


def test_files_of_weights_are_named_by_the_classes_in_them(tmp_path):
    model = frozen_variously(small())
    model.save_weights(tmp_path / "small.weights.h5")
    with open_file(tmp_path / "small.weights.h5") as opened:
        paths = [weight.path for weight in opened.weights]
        assert not opened.can_hold_a_freeze
        assert not opened.holds_a_freeze
    assert paths == ["hidden/kernel", "hidden/bias", "out/kernel", "out/bias"]


def test_class_names_are_written_as_keras_does():
    for name in [*dir(keras.layers), "MyLayerV2", "GRUCellXY"]:
        assert snake_case(name) == keras.src.utils.naming.to_snake_case(name)


def test_layers_of_one_name_are_told_apart(tmp_path):
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = keras.layers.Dense(2, name="twin")
            self.other = keras.layers.Dense(2, name="twin")

        def call(self, inputs):
            return self.other(self.one(inputs))

    model = Twins()
    model(np.zeros((1, 2)))
    model.save_weights(tmp_path / "model.weights.h5")
    with open_file(tmp_path / "model.weights.h5") as opened:
        paths = [weight.path for weight in opened.weights]
    layers = "layers/dense", "layers/dense_1"
    assert paths == [f"{layer}/{name}" for layer in layers for name in ("kernel", "bias")]


def test_a_layer_of_two_models_is_listed_once_with_its_freeze(tmp_path):
    shared = keras.layers.Dense(4, name="shared")

    def model(name):
        inputs = keras.Input((4,))
        return keras.Model(inputs, shared(inputs), name=name)

    inputs = keras.Input((4,))
    both = keras.Model(inputs, model("b")(model("a")(inputs)))
    fl.freeze(both, "a/shared/kernel", fl.at[0])
    both.save(tmp_path / "model.keras")
    with open_file(tmp_path / "model.keras") as opened:
        assert [(w.path, w.frozen_count) for w in opened.weights] == [
            ("a/shared/kernel", 4),
            ("a/shared/bias", 0),
        ]
    assert not check(tmp_path / "model.keras").faults


def test_a_freeze_without_positions_is_placed_by_shape(tmp_path):
    model = frozen_variously(small())
    model.save(tmp_path / "model.keras")

    def forget(config):
        for description in descriptions(config):
            del description["position"]

    old = with_config(tmp_path / "model.keras", forget, tmp_path / "old.keras")
    assert_file_says_what_the_model_does(old, model)


def test_files_without_names_of_layers_are_named_by_their_places(tmp_path):
    small().save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5", "r+") as hdf5:
        hdf5.visititems(lambda name, member: member.attrs.clear())
    with open_file(tmp_path / "model.weights.h5") as opened:
        assert [weight.path for weight in opened.weights][::2] == ["dense/kernel", "dense_1/kernel"]


def test_the_state_of_an_optimizer_is_counted_and_not_listed(tmp_path):
    model = small()
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    with open_file(tmp_path / "model.keras") as opened:
        assert len(opened.weights) == 4
        assert opened.optimizer_values == 2 + 2 * opened.size


@given(
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
    st.sampled_from([1, 4, 8]),
    st.integers(1, 64),
)
def test_pieces_are_the_whole_in_order(shape, itemsize, limit):
    array = np.arange(math.prod(shape)).reshape(shape)
    place = 0
    for piece in pieces(shape, itemsize, limit):
        assert piece.start == place
        assert (piece.stop - piece.start) * itemsize <= max(limit, itemsize)
        np.testing.assert_array_equal(
            np.ravel(array[piece.index]), np.arange(piece.start, piece.stop)
        )
        place = piece.stop
    assert place == array.size


def test_a_packed_archive_is_read_too(tmp_path):
    model = frozen_variously(small())
    model.save(tmp_path / "model.keras")
    packed = compressed(tmp_path / "model.keras", tmp_path / "packed.keras")
    assert_file_says_what_the_model_does(packed, model)
    assert not check(packed).faults


def test_an_archive_with_more_in_its_headers_is_read_too(tmp_path):
    model = frozen_variously(small())
    model.save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as archive,
        zipfile.ZipFile(tmp_path / "other.keras", "w") as other,
    ):
        for name in archive.namelist():
            info = zipfile.ZipInfo(name)
            info.extra = b"\x99\x99\x04\x00more"  # where other programs store times and owners
            other.writestr(info, archive.read(name))
    assert_file_says_what_the_model_does(tmp_path / "other.keras", model)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.arange(600.0).reshape(30, 20), {"chunks": (7, 9), "compression": "gzip"}),
        (np.arange(600.0).reshape(30, 20).astype(">f4"), {}),
        (np.zeros((0, 3), "float32"), {}),
        (np.float32(3.0), {}),
        (np.array([True, False]), {}),
        (np.arange(5, dtype="int8"), {}),
    ],
    ids=["compressed", "big-endian", "empty", "scalar", "bool", "int8"],
)
def test_however_hdf5_keeps_an_array(array, options, tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as hdf5:
        hdf5.create_dataset("layers/dense/vars/0", data=array, **options)
    with open_file(tmp_path / "model.weights.h5") as opened:
        read = stored_value(opened.weights[0])
    assert_same_bits(read, np.asarray(array).astype(read.dtype.newbyteorder("=")))


@pytest.mark.once(False)
def test_half_precision_of_keras(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, dtype="bfloat16")])
    model.save_weights(tmp_path / "a.weights.h5")
    kernel = model.layers[0].kernel
    changed = keras.ops.convert_to_numpy(kernel.value).astype("float32")
    changed[1, 2] += 1
    kernel.assign(changed)
    model.save_weights(tmp_path / "b.weights.h5")
    with (
        open_file(tmp_path / "a.weights.h5") as one,
        open_file(tmp_path / "b.weights.h5") as other,
    ):
        compared = compare(one, other)
    assert compared.weights[0].dtype == "bfloat16"
    assert compared.total("changed") == 1
    assert compared.weights[0].largest == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "bfloat16"])
def test_tensors_of_safetensors_are_read_in_any_dtype(dtype, tmp_path):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    tensors = {"b": (np.arange(6) % 2).reshape(2, 3).astype(kind), "a": np.ones((), kind)}
    save_file(tensors, tmp_path / "t.safetensors", metadata={"format": "np"})
    with open_file(tmp_path / "t.safetensors") as opened:
        for weight in opened.weights:
            assert_same_bits(stored_value(weight), tensors[weight.path])
        assert len(opened.weights) == 2
        assert not opened.can_hold_a_freeze
    assert not check(tmp_path / "t.safetensors").faults


@st.composite
def masks(draw):
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    axis = draw(st.integers(-1, len(shape) - 1))
    if axis == -1:
        made = random.random(shape) < 0.5
    else:
        ones = [n if a == axis else 1 for a, n in enumerate(shape)]
        made = np.broadcast_to(random.random(ones) < 0.5, shape).copy()
    made.flat[0] |= not made.any()
    return made


@given(masks(), st.data())
def test_what_is_frozen_of_any_stretch(made, data):
    plan = plan_from_mask(made)
    assert plan is not None
    frozen = frozen_from_config(plan.to_config())
    assert (frozen.shape, frozen.kind, frozen.frozen_count) == (made.shape, plan.kind, made.sum())
    start = data.draw(st.integers(0, made.size))
    stop = data.draw(st.integers(start, made.size))
    np.testing.assert_array_equal(frozen.flat_mask(start, stop), made.ravel()[start:stop])
    other = made[::-1]
    both = either(frozen, frozen_from_config(plan_from_mask(other).to_config()))  # pyright: ignore
    np.testing.assert_array_equal(both.flat_mask(start, stop), (made | other).ravel()[start:stop])
    assert both.frozen_count == (made | other).sum()


def compared(one, other, freeze=None):
    with open_file(one) as a, open_file(other) as b:
        if freeze is None:
            return compare(a, b)
        with open_file(freeze) as c:
            return compare(a, b, c)


@makers
def test_a_file_is_equal_to_itself(make, tmp_path):
    frozen_variously(make()).save(tmp_path / "model.keras")
    result = compared(tmp_path / "model.keras", tmp_path / "model.keras")
    assert result.total("changed") == 0
    assert result.total("frozen") > 0
    assert result.first is None
    assert {weight.largest for weight in result.weights} == {None}


def test_training_moves_what_is_not_frozen(tmp_path):
    model = small()
    fl.freeze(model, "hidden/kernel", fl.at[0])
    model.save(tmp_path / "before.keras")
    model.compile("adam", "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    model.save(tmp_path / "after.keras")
    result = compared(tmp_path / "before.keras", tmp_path / "after.keras")
    assert result.total("changed") > 20
    assert (result.total("frozen"), result.total("frozen_changed")) == (6, 0)


def spoiled(path, index, new, tmp_path):
    """Write two files that differ in one frozen entry."""
    model = frozen_variously(small())
    model.save(tmp_path / "before.keras")
    moved(model, path, index, new).save(tmp_path / "after.keras")
    return tmp_path / "before.keras", tmp_path / "after.keras"


def test_a_frozen_entry_that_moved_is_named(tmp_path):
    before, after = spoiled("hidden/bias", 3, 0.125, tmp_path)
    result = compared(before, after)
    assert (result.total("changed"), result.total("frozen_changed")) == (1, 1)
    assert str(result.first) == "hidden/bias[3]: 0.0 -> 0.125"
    assert result.freeze_from == (before, after)


def test_the_first_one_in_a_later_piece_has_its_index(tmp_path):
    model = keras.Sequential([keras.Input((1500,)), keras.layers.Dense(1500, name="wide")])
    fl.freeze(model, "wide/kernel", fl.at[:, 7])
    model.save(tmp_path / "before.keras")
    moved(model, "wide/kernel", (1400, 7), 2.0)
    moved(model, "wide/kernel", (1400, 6), 3.0).save(tmp_path / "after.keras")
    result = compared(tmp_path / "before.keras", tmp_path / "after.keras")
    assert result.first is not None
    assert result.first.index == (1400, 7)
    assert result.total("changed") == 2
    assert result.total("frozen_changed") == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_every_entry_of_two_files_is_seen_once(threads, tmp_path):
    long, short = np.arange(5.5 * BATCH / 4, dtype="float32"), np.arange(7, dtype="int8")
    save_file({"long": long, "none": long[:0], "short": short}, tmp_path / "t.safetensors")
    seen = []

    def see(both, room):
        del room
        array = arrays[both.number][both.start : both.stop]
        time.sleep(0.001)  # lets other threads read
        assert_same_bits(both.before, array)
        assert_same_bits(both.after, array)
        seen.append((both.number, both.start, both.stop))

    with open_file(tmp_path / "t.safetensors") as a, open_file(tmp_path / "t.safetensors") as b:
        arrays = [{"long": long, "none": long[:0], "short": short}[w.path] for w in a.weights]
        pairs = list(zip(a.weights, b.weights, strict=True))
        done = sum(go_through(pairs, see, threads))
    assert done == 2 * (long.nbytes + short.nbytes)
    if threads > 1:
        seen.sort()
    ends = [(number, 0) for number, array in enumerate(arrays) if array.size]
    for number, start, stop in seen:
        assert (number, start) in ends
        ends[ends.index((number, start))] = (number, stop)
    assert ends == [(number, array.size) for number, array in enumerate(arrays) if array.size]


def test_a_file_that_ends_while_it_is_compared_is_told(tmp_path):
    save_file({"w": np.zeros(3 * BATCH, "int8")}, tmp_path / "t.safetensors")
    with open_file(tmp_path / "t.safetensors") as a, open_file(tmp_path / "t.safetensors") as b:
        with open(tmp_path / "t.safetensors", "r+b") as file:
            file.truncate(2 * BATCH)
        with pytest.raises(FileError, match=r"t\.safetensors: w: the file ends inside this weight"):
            compare(a, b)


def test_files_are_read_where_a_place_cannot_be_named(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "preadv")
    one = np.arange(3 * BATCH / 4, dtype="float32")
    other = one.copy()
    other[[5, -5]] += 1
    save_file({"w": one}, tmp_path / "a.safetensors")
    save_file({"w": other}, tmp_path / "b.safetensors")
    assert compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors").total("changed") == 2


def test_signed_zeros_and_payloads_of_nans_are_other_bits(tmp_path):
    def save(name, values):
        with h5py.File(tmp_path / name, "w") as hdf5:
            hdf5["layers/dense/vars/0"] = values

    one = np.array([0.0, np.nan, 1.0, np.inf, 2.0], "float32")
    other = np.array([-0.0, np.nan, 1.0, 1.0, 2.5], "float32")
    other.view("u4")[1] += 1
    save("a.weights.h5", one)
    save("b.weights.h5", other)
    result = compared(tmp_path / "a.weights.h5", tmp_path / "b.weights.h5")
    weight = result.weights[0]
    assert (weight.changed, weight.largest, weight.not_finite) == (4, 0.5, 2)


def test_two_nans_are_shown_with_their_bits(tmp_path):
    before, after = spoiled("hidden/bias", 0, np.nan, tmp_path)

    def other_payload(hdf5):
        dataset = hdf5["layers/dense/vars/1"]
        array = dataset[...]
        array.view("u4")[0] ^= 1
        dataset[...] = array

    again = with_weights(after, other_payload, tmp_path / "again.keras")
    assert str(compared(after, again).first).startswith("hidden/bias[0]: nan (0x7fc00000) -> nan")
    assert str(compared(before, after).first) == "hidden/bias[0]: 0.0 -> nan"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint64", "complex64", "bool"])
def test_the_largest_difference_in_any_dtype(dtype, tmp_path):
    one = np.zeros(100, dtype)
    other = one.copy()
    other[7], other[8] = 1, 0
    save_file({"w": one}, tmp_path / "a.safetensors")
    save_file({"w": other}, tmp_path / "b.safetensors")
    weight = compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors").weights[0]
    assert (weight.changed, weight.largest) == (1, 1)


def test_a_difference_beyond_the_dtype_is_finite(tmp_path):
    save_file({"w": np.full(4, 3e38, "float32")}, tmp_path / "a.safetensors")
    save_file({"w": np.full(4, -3e38, "float32")}, tmp_path / "b.safetensors")
    weight = compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors").weights[0]
    assert weight.largest == pytest.approx(6e38)


def test_files_of_weights_against_the_freeze_of_another(tmp_path):
    model = frozen_variously(small())
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    moved(model, "out/bias", 1, 9.0).save_weights(tmp_path / "b.weights.h5")
    files = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    assert compared(*files).freeze_from == ()
    assert compared(*files).total("frozen") == 0
    result = compared(*files, freeze=tmp_path / "model.keras")
    assert str(result.first) == "out/bias[1]: 0.0 -> 9.0"
    with pytest.raises(
        FileError, match=r"a\.weights\.h5: this file contains no freeze; got 4 weights"
    ):
        compared(*files, freeze=tmp_path / "a.weights.h5")


def test_automatic_names_of_layers_do_not_matter(tmp_path):
    def save(name):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.save(tmp_path / name)
        return model.layers[0].name

    assert save("a.keras") != save("b.keras")
    assert compared(tmp_path / "a.keras", tmp_path / "b.keras").total("size") == 15


def test_tensors_are_compared_with_the_weights_of_their_names(tmp_path):
    model = frozen_variously(small())
    model.save(tmp_path / "model.keras")
    tensors = {w.path: value(w.variable) for w in weights(model)}
    tensors["out/bias"] = tensors["out/bias"] + 1
    save_file(tensors, tmp_path / "t.safetensors")
    result = compared(tmp_path / "model.keras", tmp_path / "t.safetensors")
    assert str(result.first) == "out/bias[0]: 0.0 -> 1.0"


def test_other_architectures_are_refused(tmp_path):
    small().save(tmp_path / "small.keras")
    large().save(tmp_path / "large.keras")
    wide = keras.Sequential([keras.Input((4,)), keras.layers.Dense(7), keras.layers.Dense(2)])
    wide.save(tmp_path / "wide.keras")
    with pytest.raises(FileError, match=r"the architecture differs from .*; got no weight "):
        compared(tmp_path / "small.keras", tmp_path / "large.keras")
    with pytest.raises(
        FileError, match=r"the architecture differs; got shape \(4, 6\) in .*\(4, 7\)"
    ):
        compared(tmp_path / "small.keras", tmp_path / "wide.keras")
    frozen_variously(small()).save(tmp_path / "frozen.keras")
    with pytest.raises(FileError, match="its freeze does not fit the architecture"):
        compared(tmp_path / "wide.keras", tmp_path / "wide.keras", freeze=tmp_path / "frozen.keras")


@pytest.fixture
def saved(tmp_path):
    frozen_variously(small()).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def faults(path):
    return "\n".join(check(path).faults)


@pytest.mark.parametrize("suffix", ["keras", "weights.h5", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999], ids=str)
def test_a_truncated_file_is_told(suffix, share, tmp_path):
    path = tmp_path / f"model.{suffix}"
    model = small()
    if suffix == "keras":
        model.save(path)
    elif suffix == "weights.h5":
        model.save_weights(path)
    else:
        save_file({w.path: value(w.variable) for w in weights(model)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "not a complete" in faults(path)
    with pytest.raises(FileError, match=f"{path.name}.*not a complete"), open_file(path):
        pass


def test_a_flipped_bit_in_an_archive_is_told(saved):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        place = archive.getinfo("model.weights.h5").header_offset
    data[place + 3000] ^= 4
    saved.write_bytes(data)
    assert "model.weights.h5: damaged; got BadZipFile: Bad CRC-32" in faults(saved)


def test_a_freeze_of_another_shape_is_told(saved, tmp_path):
    def change(config):
        descriptions(config)[0]["plan"]["shape"] = [7, 7]
        descriptions(config)[0]["plan"]["kind"] = "whole"

    bad = with_config(saved, change, tmp_path / "bad.keras")
    assert "hidden/kernel: the weight has another shape, (4, 6); got a freeze for shape (7, 7)" in (
        faults(bad)
    )
    with (
        pytest.raises(FileError, match=r"does not fit its weights; got hidden/kernel"),
        open_file(bad),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(path="hiden/kernel"),
            "hidden/hiden/kernel: the file has no such layer",
        ),
        (lambda d: d.update(plan={"kind": "?", "shape": [4, 6]}), "unknown kind of plan '?'"),
        (lambda d: d["plan"].update(frozen="AAAA"), "its freeze is malformed"),
        (lambda d: d["plan"].update(frozen=7), "its freeze is malformed"),
        (lambda d: d.pop("plan"), "hidden: its freeze is malformed; got no name, path and plan"),
        (lambda d: d.update(position=9, plan={"kind": "whole", "shape": [9]}), "no such weight"),
    ],
    ids=["path", "kind", "bits", "type", "no plan", "position"],
)
def test_a_malformed_freeze_is_told(saved, tmp_path, change, message):
    bad = with_config(saved, lambda config: change(descriptions(config)[0]), tmp_path / "bad.keras")
    assert message in faults(bad)


def test_a_freeze_of_another_version_is_told(saved, tmp_path):
    def change(config):
        config["config"]["layers"][1]["config"]["frostline"]["version"] = 99

    assert "version=99, this frostline reads 2" in faults(
        with_config(saved, change, tmp_path / "bad.keras")
    )


def delete_bias(hdf5):
    del hdf5["layers/dense/vars/1"]


def delete_layer(hdf5):
    del hdf5["layers/dense_1"]


def link(hdf5):
    hdf5["layers/dense/vars/2"] = h5py.ExternalLink("other.h5", "/secret")


def external(hdf5):
    hdf5["layers/dense/vars"].create_dataset("2", (1,), "f4", external=[("other.bin", 0, 4)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            delete_bias,
            "hidden: the file has fewer weights than its config; got 1 of kernel, bias",
        ),
        (delete_layer, "out: the file has no such layer; got a Dense in its config"),
        (link, "a weight file must contain its weights itself; got a link"),
        (external, "a weight file must contain its weights itself; got a dataset in another"),
        (lambda hdf5: hdf5.clear(), "this file contains no layers"),
    ],
    ids=["weight", "layer", "link", "external", "all"],
)
def test_weights_that_are_not_there_are_told(tmp_path, change, message):
    small().save(tmp_path / "model.keras")
    assert message in faults(with_weights(tmp_path / "model.keras", change, tmp_path / "bad.keras"))


def test_groups_without_end_are_told(tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as hdf5:
        hdf5.create_group("layers")
        hdf5["layers/dense"] = hdf5["layers"]
    assert "groups form a loop" in faults(tmp_path / "model.weights.h5")


def test_archives_of_other_things_are_told(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "got no config.json among 1 parts" in faults(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[1, 2")
        archive.writestr("model.weights.h5", b"")
    assert "config.json cannot be read" in faults(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[]")
        archive.writestr("model.weights.h5", b"")
    assert "config.json is not the config of a model; got list" in faults(path)


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a header of 0 bytes in a file of 0"),
        (struct.pack("<Q", 2**60) + b"{}", "in a file of 10"),
        (safetensors(b"{nonsense"), "its header is not JSON"),
        (safetensors([]), "a header of type list"),
        (safetensors({"w": {"dtype": "F32"}}), "no dtype, shape or offsets of 'w'"),
        (safetensors({"w": {"dtype": "X", "shape": [], "data_offsets": [0, 0]}}), "dtype='X'"),
        (
            safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            r"4 bytes for 'w' of shape (2,) and F32",
        ),
        (
            safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"1234"),
            "'w' at bytes",
        ),
        (
            safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345"),
            "5 bytes after the header, 4 bytes of tensors",
        ),
    ],
    ids=["empty", "length", "json", "list", "entry", "dtype", "size", "place", "rest"],
)
def test_damaged_safetensors_are_told(data, message, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(data)
    assert message in faults(path)
