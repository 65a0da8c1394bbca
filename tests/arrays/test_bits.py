"""Bits and distances equal those of plain NumPy, in every dtype and layout, and in whole files."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline._arrays import bits
from frostline._arrays.bits import Largest, differ, workspace
from frostline._arrays.frozen import frozen_from_config
from frostline._arrays.plan import plan_from_mask
from frostline._files import open_file, safetensors, sources, through
from frostline._files.compare import compare

pytestmark = pytest.mark.once

DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
]
SHAPES = [(), (1,), (0,), (3, 0, 2), (7,), (5, 4), (2, 3, 5), (1, 300), (4, 1, 33)]
shapes = st.sampled_from(SHAPES)
filled = st.sampled_from([shape for shape in SHAPES if math.prod(shape)])
NUMBERS = [0.0, -0.0, 1.0, -1.5, 3e38, -3e38, 1.7e308, -1.7e308, 1e-45, 6e-8, 65504.0, 0.1]
ODD = [math.nan, math.inf, -math.inf]


CODES = {sources.dtype_named(name): code for code, name in safetensors._DTYPES.items()}


def bytes_of(array):
    return (
        np.ascontiguousarray(array).reshape(-1).view("u1").reshape(array.size, array.dtype.itemsize)
    )


def changed(one, other):
    """A mask of the entries whose bytes differ."""
    return (bytes_of(one) != bytes_of(other)).any(axis=1).reshape(one.shape)


def largest(one, other):
    """Compute entry by entry the largest |difference| and the number of non-finite pairs."""
    dtype = one.dtype
    narrow = dtype.kind != "c" and (dtype.itemsize <= 2 or dtype == np.float32)
    found, odd = None, 0
    with np.errstate(all="ignore"):
        for a, b in zip(one[changed(one, other)], other[changed(one, other)], strict=True):
            kind = np.complex128 if dtype.kind == "c" else np.float64
            a, b = np.asarray(a).astype(kind)[()], np.asarray(b).astype(kind)[()]
            if not (np.isfinite(a) and np.isfinite(b)):
                odd += 1
                continue
            far = min(float(np.abs(a - b)), float(np.finfo("f8").max))
            rounded = float(np.float32(far)) if narrow else far
            found = max(found or 0.0, rounded if math.isfinite(rounded) else far)
    return found, odd


@st.composite
def two_arrays(draw, shapes=shapes):
    """Two arrays of one shape and dtype, with special numbers or random bits."""
    dtype, shape = np.dtype(draw(st.sampled_from(DTYPES))), draw(shapes)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")

        def array():
            special = draw(st.sampled_from([NUMBERS, NUMBERS + ODD]))
            values = random.choice(special, shape)
            if dtype.kind in "biu" or draw(st.booleans()):
                held = random.integers(0, 256, (math.prod(shape), dtype.itemsize), np.uint8)
                return (held % 2 if dtype.kind == "b" else held).view(dtype).reshape(shape)
            return np.asarray(values).astype(dtype)

        one = array()
        share = draw(st.sampled_from([0.0, 0.1, 0.9, 1.0]))
        return one, np.where(random.random(shape) < share, array(), one).astype(dtype)


@given(two_arrays())
def test_bits_differ_where_bytes_do(two):
    one, other = two
    np.testing.assert_array_equal(differ(one, other), changed(one, other))
    np.testing.assert_array_equal(differ(one.T, other.T), changed(one, other).T)
    out = np.zeros(one.shape, bool)
    differ(one, other, out=out)
    np.testing.assert_array_equal(out, changed(one, other))
    every = (slice(None, None, 2),) * one.ndim
    np.testing.assert_array_equal(differ(one[every], other[every]), changed(one, other)[every])


@pytest.mark.parametrize("size", [3, 16, 24])
def test_bits_of_entries_that_are_no_word(size):
    one = np.zeros((2, 3), f"V{size}")
    other = one.copy()
    other.view("u1").reshape(2, 3, size)[1, 2, size - 1] = 1
    expected = [[False] * 3, [False, False, True]]
    assert differ(one, other).tolist() == expected
    assert differ(one.T, other.T).T.tolist() == expected


@given(two_arrays(filled), st.data())
def test_the_largest_difference_is_that_of_plain_numpy(two, data):
    one, other = (array.reshape(-1) for array in two)
    cuts = sorted(data.draw(st.lists(st.integers(0, one.size), max_size=3)))
    found, room = Largest(), workspace()
    for start, stop in zip([0, *cuts], [*cuts, one.size], strict=True):
        a, b = one[start:stop], other[start:stop]
        differs = differ(a, b)
        if differs.any():
            found.add(a, b, differs, int(differs.sum()), room)
    assert (found.value, found.not_finite) == largest(one, other)


def test_every_half_is_widened_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for array in (finite, halves):
        with np.errstate(invalid="ignore"):  # signalling NaNs
            wide = bits._widened(array, np.empty(array.size, np.float32))
            expected = array.astype(np.float32)
        np.testing.assert_array_equal(wide, expected)
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(wide[numbers]), np.signbit(expected[numbers]))


def write(path: Path, array: np.ndarray) -> None:
    """Write a file of one weight by hand, since a library may refuse some of the dtypes."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as hdf5:
            hdf5["layers/dense/vars/0"] = array
        return
    offsets = [0, array.nbytes]
    entry = {"dtype": CODES[array.dtype], "shape": array.shape, "data_offsets": offsets}
    text = json.dumps({"w": entry}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + array.tobytes())


@settings(deadline=None)
@given(two_arrays(), st.data())
def test_two_files_are_compared_as_plain_numpy_does(tmp_path_factory, two, data):
    one, other = two
    folder = tmp_path_factory.mktemp("files")
    suffix = "safetensors" if one.dtype != np.complex128 else "weights.h5"
    paths = [folder / f"{name}.{suffix}" for name in ("one", "other")]
    for path, array in zip(paths, (one, other), strict=True):
        write(path, array)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    mask = random.random(one.shape) < data.draw(st.sampled_from([0.0, 0.4, 1.0]))
    if one.ndim and data.draw(st.booleans()):
        mask[...] = mask[:1]
    plan = plan_from_mask(mask)
    frozen = None if plan is None else frozen_from_config(plan.to_config())
    with pytest.MonkeyPatch.context() as patch:
        size = data.draw(st.sampled_from([1, 8, 40, 1 << 20]))
        patch.setattr(sources.Bytes, "piece", size)
        patch.setattr(through, "BATCH", data.draw(st.sampled_from([1, 100, 1 << 24])))
        patch.setattr(through, "THREADS", data.draw(st.sampled_from([1, 3])))
        block = data.draw(st.sampled_from([1, 5, 1 << 19]))
        patch.setattr("frostline._files.compare.BLOCK", block)
        with open_file(paths[0]) as a, open_file(paths[1]) as b:
            object.__setattr__(b.weights[0], "frozen", frozen)
            told = []
            found = compare(a, b, advance=told.append)
    weight = found.weights[0]
    differs = changed(one, other)
    assert (weight.changed, weight.frozen) == (differs.sum(), mask.sum())
    assert weight.frozen_changed == (differs & mask).sum()
    assert (weight.largest, weight.not_finite) == largest(one, other)
    assert sum(told) == one.nbytes + other.nbytes
    if weight.frozen_changed:
        place = np.unravel_index(np.flatnonzero(differs & mask)[0], one.shape) if one.shape else ()
        assert found.first is not None
        assert found.first.index == tuple(int(n) for n in place)
        shown = [str(array[place]) for array in (one, other)]
        for text, said in zip(shown, (found.first.before, found.first.after), strict=True):
            assert said.startswith(text)
    else:
        assert found.first is None
