"""Applying deltas in a `with` block, switching between them, and rounding them in files."""

import itertools
import json
import struct
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._deltas.model import ModelWeight
from frostline._weights import values
from helpers import array, assert_all_same_bits, assert_same_bits, everything_in, value
from models import (
    MAKERS,
    TiedEmbedding,
    dense_layers,
    frozen_variously,
    large,
    rewritten,
    small,
    twin,
)

SOURCE = str(Path(fl.__file__).parent)
X = np.linspace(-1, 1, 20, dtype="float32").reshape(5, 4)
TASKS = {
    "of the same rows": [fl.at[:2], fl.at[:2], fl.at[:2]],
    "of other rows": [fl.at[:1], fl.at[1:3], fl.at[[0, 3]]],
    "of rows and columns": [fl.at[:2], fl.at[:, :1], fl.everything],
    "of entries": [lambda w, k=k: np.arange(w.size).reshape(w.shape) % 5 <= k for k in range(3)],
}
FREEZES = {"plain": lambda model: model, "partly frozen": frozen_variously}


def delta_of(base, where, seed):
    """A delta as if only this part of each kernel had trained."""
    model = twin(small, base)
    fl.train_only(model, "*/kernel", where)
    return fl.extract_delta(rewritten(model, seed))


@pytest.fixture
def tuned():
    """A base, three deltas of different entries, and the values of the base."""
    base = small()
    deltas = [delta_of(base, where, seed) for seed, where in enumerate(TASKS["of other rows"])]
    return base, deltas, everything_in(base)


# In a block


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_inside_the_trained_model_and_afterwards_the_base(make, check, tmp_path):
    model = frozen_variously(make())
    base = twin(make, model)
    delta = fl.extract_delta(rewritten(model))
    delta.save(tmp_path / "tuned.safetensors")
    before = everything_in(base)
    with fl.applied(base, tmp_path / "tuned.safetensors", check=check) as given:
        assert_all_same_bits(everything_in(base), everything_in(model))
        assert given == delta
        assert fl.applied_deltas(base) == (delta,)
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == ()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_the_base_after_an_exception(tuned, kind):
    base, (delta, *_), before = tuned
    with pytest.raises(kind), fl.applied(base, delta):
        raise kind
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == ()


def test_the_base_after_training_in_the_block(tuned):
    base, (delta, *_), before = tuned
    with fl.applied(base, delta):
        kernel = base.get_layer("hidden").kernel
        kernel.assign(np.where(delta.frozen_mask("hidden/kernel"), value(kernel), 9.0))
    assert_all_same_bits(everything_in(base), before)


def test_several_in_a_block_and_one_from_before_it(tuned):
    base, (one, other, third), _ = tuned
    fl.apply_delta(base, one)
    before = everything_in(base)
    with fl.applied(base, [other, third], overlap="last") as given:
        assert given == (other, third)
        assert fl.applied_deltas(base) == (one, other, third)
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == (one,)


@pytest.mark.parametrize("overlap", ["last", "first"])
def test_several_that_hold_what_the_base_has_too(overlap):
    """Both deltas contain the moving statistics and a bias with the same values as the base."""

    def make():
        layers = [keras.layers.Dense(3, name="hidden"), keras.layers.BatchNormalization()]
        return keras.Sequential([keras.Input((4,)), *layers])

    base = make()
    before, deltas = everything_in(base), []
    for rows in (fl.at[:2], fl.at[1:3]):
        model = twin(make, base)
        fl.train_only(model, {"*/kernel": rows, "*/bias": None})
        for variable in model.trainable_variables:
            if "kernel" in variable.path:
                variable.assign(variable + 1)
        deltas.append(fl.extract_delta(model))
    one, other = deltas
    with fl.applied(base, one):
        first = everything_in(base)
        with fl.applied(base, other, overlap=overlap):
            assert fl.applied_deltas(base) in ((one, other), (other, one))
        assert_all_same_bits(everything_in(base), first)
        fl.apply_delta(base, other, overlap=overlap)
    assert_all_same_bits(everything_in(base), before)
    fl.apply_delta(base, one)
    base.set_weights(before)
    fl.apply_delta(base, other)
    assert fl.applied_deltas(base) == (other,)
    fl.remove_delta(base, other)
    assert_all_same_bits(everything_in(base), before)


def test_of_several_that_do_not_go_together_none_is_applied(tuned):
    base, (one, _, third), before = tuned
    refused = pytest.raises(fl.RestoreError, match="two deltas write different values")
    with refused, fl.applied(base, [one, third]):
        raise AssertionError("not reached")
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == ()


def test_what_is_switched_to_in_a_block_goes_with_it(tuned):
    base, (one, other, _), before = tuned
    with fl.applied(base, one):
        fl.switch_delta(base, other)
    assert_all_same_bits(everything_in(base), before)
    with fl.applied(base, one):
        fl.remove_delta(base, one)
    assert_all_same_bits(everything_in(base), before)


def test_a_delta_that_is_applied_already_is_refused(tuned):
    base, (delta, *_), _ = tuned
    fl.apply_delta(base, delta)
    before = everything_in(base)
    refused = pytest.raises(fl.RestoreError, match=r"already applied, .* Call .* before the block")
    with refused, fl.applied(base, delta):
        raise AssertionError("not reached")
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == (delta,)


# Switching


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
@pytest.mark.parametrize("tasks", TASKS.values(), ids=TASKS)
def test_switching_back_and_forth_gives_the_same_bits(tasks, freeze):
    base = small()
    deltas = [delta_of(base, where, seed) for seed, where in enumerate(tasks)]
    freeze(base)
    before = everything_in(base)
    expected = []
    for delta in deltas:
        with fl.applied(base, delta):
            expected.append((everything_in(base), array(base(X))))
    assert not np.array_equal(expected[0][1], expected[1][1])
    for turn, at in enumerate([0, 1, 2, 0, 2, 1, 1, 0]):
        fl.switch_delta(base, deltas[at], check=bool(turn % 2))
        assert_all_same_bits(everything_in(base), expected[at][0])
        assert_same_bits(array(base(X)), expected[at][1])
        assert fl.applied_deltas(base) == (deltas[at],)
    fl.remove_delta(base, deltas[0])
    assert_all_same_bits(everything_in(base), before)


def test_moving_statistics_are_exchanged_too():
    base = large()
    models = [rewritten(twin(large, base), seed) for seed in (1, 2)]
    deltas = [fl.extract_delta(model, base=base) for model in models]
    before = everything_in(base)
    for model, delta in [*zip(models, deltas, strict=True)] * 2:
        fl.switch_delta(base, delta)
        assert_all_same_bits(everything_in(base), everything_in(model))
    fl.remove_delta(base, deltas[1])
    assert_all_same_bits(everything_in(base), before)


def test_a_table_that_is_also_the_output():
    def make():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,), dtype="int32"), TiedEmbedding(9, 4)])
        return model

    base, ids = make(), np.array([[0, 1, 8]])
    deltas = []
    for rows in ([1], [1, 8]):
        model = twin(make, base)
        fl.train_only(model, "*/embeddings", fl.tokens(rows))
        deltas.append(fl.extract_delta(rewritten(model, len(rows))))
    before = array(base(ids))
    with fl.applied(base, deltas[0]):
        one = array(base(ids))
        fl.switch_delta(base, deltas[1])
        assert not np.array_equal(array(base(ids)), one)
        fl.switch_delta(base, deltas[0])
        assert_same_bits(array(base(ids)), one)
    assert_same_bits(array(base(ids)), before)


def test_only_entries_of_the_deltas_are_read(tuned, monkeypatch):
    base, (one, other, _), before = tuned
    fl.apply_delta(base, one)
    monkeypatch.setattr(values, "read", lambda variable: 1 / 0)
    monkeypatch.setattr("frostline._deltas.apply.fingerprint_of", lambda *_: 1 / 0)
    fl.switch_delta(base, other, check=False)
    fl.remove_delta(base, other)
    with fl.applied(base, one, check=False):
        pass
    monkeypatch.undo()
    assert_all_same_bits(everything_in(base), before)


def test_after_the_base_was_loaded_again_nothing_lies_below(tuned):
    base, (one, other, _), before = tuned
    fl.apply_delta(base, one)
    base.set_weights(before)
    fl.switch_delta(base, other)
    fl.remove_delta(base, other)
    assert_all_same_bits(everything_in(base), before)


def test_what_a_delta_wrote_and_training_moved_is_not_lost(tuned):
    base, (one, other, _), _ = tuned
    fl.apply_delta(base, one)
    kernel = base.get_layer("out").kernel
    kernel.assign(kernel + 1)
    before = everything_in(base)
    with pytest.raises(
        fl.RestoreError, match=r"out/kernel: this weight has changed .* got 2 of 12 entries"
    ):
        fl.switch_delta(base, other, check=False)
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == (one,)


def test_another_base_is_refused_and_the_old_delta_stays(tuned):
    base, (one, other, _), _ = tuned
    fl.apply_delta(base, one)
    bias = base.get_layer("out").bias
    bias.assign(bias + 1)
    before = everything_in(base)
    with pytest.raises(fl.RestoreError, match=r"out/bias: this is not the base that"):
        fl.switch_delta(base, other)
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == (one,)


def test_with_several_applied_there_is_no_one_to_exchange(tuned):
    base, (one, other, third), _ = tuned
    fl.apply_delta(base, one)
    fl.apply_delta(base, other)
    with pytest.raises(fl.RestoreError, match=r"several .* got 2: .* Remove the old one"):
        fl.switch_delta(base, third)
    assert fl.applied_deltas(base) == (one, other)


def test_of_another_model_is_refused(tuned):
    base, (one, other, _), _ = tuned
    fl.apply_delta(base, one)
    with pytest.raises(fl.RestoreError, match="has another architecture"):
        fl.switch_delta(dense_layers(first=2), other)
    with pytest.raises(fl.RestoreError, match=r"some weights .* are missing; got 1 of 2 weights"):
        fl.switch_delta(base.get_layer("out"), other)
    with pytest.raises(fl.TargetError, match="delta: must be a Delta or"):
        fl.switch_delta(base, 3)


# Interrupts


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
@pytest.mark.parametrize("part", [0, 1, 2, 3], ids="write {}".format)
def test_an_interrupt_inside_a_write_leaves_the_old_delta(tuned, monkeypatch, freeze, part):
    base, (one, other, _), _ = tuned
    freeze(base)
    fl.apply_delta(base, one)
    before, write, calls = everything_in(base), ModelWeight.write, itertools.count()

    def interrupted(self, held, new):
        write(self, held, new)
        if next(calls) == part:
            raise KeyboardInterrupt

    monkeypatch.setattr(ModelWeight, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fl.switch_delta(base, other)
    assert_all_same_bits(everything_in(base), before)
    assert fl.applied_deltas(base) == (one,)


def interrupted_at(number, call):
    """Interrupt a call before its `number`-th library line; False if it ended before that."""
    lines = itertools.count()

    def trace(frame, event, _):
        file = frame.f_code.co_filename
        # Not when the lock is released: by then the call is complete.
        if not file.startswith(SOURCE) or file.endswith("changing.py"):
            return None
        # Only once: no second interrupt while the change is undone.
        if event == "line" and next(lines) == number:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.once
@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
def test_an_interrupt_at_any_line_leaves_the_old_delta(tuned, freeze):
    base, (one, other, _), _ = tuned
    freeze(base)
    fl.apply_delta(base, one)
    before = everything_in(base)
    number = 0
    while interrupted_at(number, lambda: fl.switch_delta(base, other, check=False)):
        assert_all_same_bits(everything_in(base), before)
        assert fl.applied_deltas(base) == (one,)
        number += 1
    assert number > 100
    assert fl.applied_deltas(base) == (other,)


# Rounding in a file


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_rounded_file_is_half_as_large_and_says_so(tuned, dtype, tmp_path):
    base, (delta, *_), before = tuned
    path = tmp_path / "half.safetensors"
    delta.save(path, dtype=dtype)
    rounded = fl.load_delta(path)
    assert rounded.rounded_to == dtype
    assert delta.rounded_to is None
    assert rounded != delta
    assert rounded.base == delta.base
    values_bytes = sum(w.values.nbytes for w in delta.weights if w.values is not None)
    assert delta.nbytes - rounded.nbytes == values_bytes // 2
    assert f"bytes in {dtype}, not bit-exact, base" in repr(rounded)
    with fl.applied(base, path) as given:
        assert given == rounded
        for path_ in ("hidden/kernel", "out/kernel"):
            near = {"bfloat16": 2**-8, "float16": 2**-11}[dtype]
            np.testing.assert_allclose(rounded.values(path_), delta.values(path_), rtol=near)
            assert rounded.values(path_).dtype == np.float32
    assert_all_same_bits(everything_in(base), before)
    again = tmp_path / "again.safetensors"
    rounded.save(again)
    assert again.read_bytes() == path.read_bytes()
    fl.apply_delta(base, rounded)
    fl.switch_delta(base, delta)
    fl.remove_delta(base, delta)
    assert_all_same_bits(everything_in(base), before)


def test_a_rounded_file_is_for_its_base_alone(tuned, tmp_path):
    base, (delta, *_), _ = tuned
    delta.save(tmp_path / "half.safetensors", dtype="bfloat16")
    bias = base.get_layer("out").bias
    bias.assign(bias + 1)
    with pytest.raises(fl.RestoreError, match=r"out/bias: this is not the base that"):
        fl.apply_delta(base, tmp_path / "half.safetensors")


@pytest.mark.parametrize(
    ("dtype", "large", "advice"),
    [("float16", 70_000, r"dtype='bfloat16'"), ("bfloat16", 3.4e38, "without `dtype`")],
)
def test_a_value_that_is_too_large_is_an_error(tuned, dtype, large, advice, tmp_path):
    base, _, _ = tuned
    before = fl.snapshot(base)
    base.get_layer("out").bias.assign([large, np.inf])
    delta = fl.extract_delta(base, base=before)
    with pytest.raises(
        fl.RestoreError, match=rf"out/bias: a value is too large for {dtype}; got 1 such.*{advice}"
    ):
        delta.save(tmp_path / "half.safetensors", dtype=dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.once
@pytest.mark.parametrize("said", ["float16", "float32", "int8", None, [], 3], ids=str)
def test_a_rounded_file_that_says_another_dtype_is_refused(tuned, tmp_path, said):
    path = tmp_path / "half.safetensors"
    tuned[1][0].save(path, dtype="bfloat16")
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["frostline_delta"])
    assert description["version"] == 2
    for weight in description["weights"]:
        if weight.pop("rounded_to", None) and said is not None:
            weight["rounded_to"] = said
    header["__metadata__"]["frostline_delta"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(fl.FileError, match=r"malformed|damaged"):
        fl.load_delta(path)


def test_rounding_to_another_dtype_is_refused(tuned, tmp_path):
    with pytest.raises(fl.FileError, match=r"float16 or bfloat16; got dtype='float32'"):
        tuned[1][0].save(tmp_path / "half.safetensors", dtype="float32")


def test_weights_of_16_bits_are_kept_as_they_are(tmp_path):
    layer = keras.layers.Dense(3, dtype="float16")
    layer.build((None, 4))
    delta = fl.extract_delta(layer)
    delta.save(tmp_path / "half.safetensors", dtype="bfloat16")
    assert fl.load_delta(tmp_path / "half.safetensors") == delta


def test_applied_deltas_are_in_the_order_in_which_they_win():
    """A delta that is found first, on one weight, may be above another delta on the next weight."""
    base, kernels = small(), [path for path in fl.weights(small()) if path.endswith("kernel")]
    deltas = []
    for seed, paths in enumerate((kernels[1:2], kernels[:2])):
        model = twin(small, base)
        fl.train_only(model, paths, fl.at[0])
        deltas.append(fl.extract_delta(rewritten(model, seed)))
    for delta in deltas:
        fl.apply_delta(base, delta, overlap="last", check=False)
    assert fl.applied_deltas(base) == tuple(deltas)
    fl.remove_delta(base, deltas[0])
    fl.apply_delta(base, deltas[0], overlap="first", check=False)
    assert fl.applied_deltas(base) == tuple(deltas)
