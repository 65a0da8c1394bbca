"""`smallest`, `largest`, `n_of_m` and `changed` compared with slow loops, and their errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import frostline as fl
from frostline._arrays import ranking
from frostline._errors import SelectionError
from frostline._selections.weight import Weight

pytestmark = pytest.mark.once

DTYPES = ["float32", "float64", "float16", "bfloat16", "int32", "uint8"]
VALUES = [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, math.inf, -math.inf, math.nan]
shapes = arrays.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=3)


def weight(path: str, value: np.ndarray, *layers: Any) -> Weight:
    name = path.rsplit("/", 1)[-1]
    return Weight(path, name, value.shape, value.dtype.name, lambda: value, layers)


def masks(selection: Any, weights: Sequence[Weight]) -> list[np.ndarray | None]:
    chosen = selection.among(weights)
    # Ask in another order than that of the model: no answer may depend on it.
    return [chosen.mask(one) for one in reversed(weights)][::-1]


@st.composite
def values(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> np.ndarray:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(shapes) if shape is None else shape
    size = math.prod(shape)
    picked = draw(st.lists(st.sampled_from(VALUES), min_size=size, max_size=size))
    array = np.array(picked, np.float64).reshape(shape)
    if dtype in ("int32", "uint8"):
        return np.abs(np.nan_to_num(array, posinf=9, neginf=8)).astype(dtype)
    return array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def first(scores: Sequence[Any], count: int, *, largest: bool) -> set[int]:
    """The places of the first `count` scores; NaN comes last, and ties go to the earlier place."""
    sign = -1 if largest else 1
    places = range(len(scores))
    order = sorted(places, key=lambda i: (math.isnan(scores[i]), sign * scores[i], i))
    # A NaN cannot be compared, so sort the numbers alone and append the NaNs by place.
    numbers = [i for i in order if not math.isnan(scores[i])]
    numbers.sort(key=lambda i: (sign * scores[i], i))
    return {*(numbers + [i for i in places if math.isnan(scores[i])])[:count]}


def counted(n: int | float, size: int) -> int:
    return round(n * size) if isinstance(n, float) else n


shares = st.floats(0.01, 1.0)


@given(st.lists(values(), min_size=1, max_size=4), shares, st.booleans(), st.booleans())
def test_entries_by_magnitude(
    arrays_: list[np.ndarray], n: float, largest: bool, together: bool
) -> None:
    choose = fl.largest if largest else fl.smallest
    selection = choose(n, scope="model" if together else "weight")
    weights = [weight(f"w{i}", array) for i, array in enumerate(arrays_)]
    got = masks(selection, weights)
    pools = [arrays_] if together else [[array] for array in arrays_]
    wanted: list[np.ndarray] = []
    for pool in pools:
        flat = [abs(float(x)) for array in pool for x in array.ravel()]
        taken = first(flat, counted(n, len(flat)), largest=largest)
        start = 0
        for array in pool:
            inside = [start + i in taken for i in range(array.size)]
            wanted.append(np.array(inside, bool).reshape(array.shape))
            start += array.size
    for mask, right in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(mask, right)
        assert mask is not None
        assert mask.dtype == bool


@given(
    values(),
    st.data(),
    st.sampled_from(["mapping", "callable"]),
    st.booleans(),
)
def test_scores_are_compared_with_their_sign(
    array: np.ndarray, data: st.DataObject, by: str, largest: bool
) -> None:
    scores = data.draw(values(array.shape))
    n = data.draw(st.integers(0, array.size))
    given_by: Any = {"w": scores} if by == "mapping" else lambda value: scores
    choose = fl.largest if largest else fl.smallest
    (mask,) = masks(choose(n, by=given_by), [weight("w", array)])
    assert mask is not None
    taken = first([float(x) for x in scores.ravel()], n, largest=largest)
    assert set(np.flatnonzero(mask)) == taken


def groups_of(of: Any, shape: tuple[int, ...]) -> Iterator[list[int]]:
    """The flat indices of each group, in the order of the groups."""
    flat = np.arange(math.prod(shape)).reshape(shape)
    if of in ("rows", "columns"):
        axis = 0 if of == "rows" else -1
        yield from (np.take(flat, i, axis).ravel().tolist() for i in range(shape[axis]))
        return
    block = (1,) * (len(shape) - len(of)) + tuple(of)
    starts = [range(0, size, length) for size, length in zip(shape, block, strict=True)]
    for corner in itertools.product(*starts):
        index = tuple(slice(c, c + n) for c, n in zip(corner, block, strict=True))
        yield flat[index].ravel().tolist()


REDUCE: dict[Any, Callable[..., Any]] = {
    "mean": np.mean,
    "sum": np.sum,
    "min": np.min,
    "max": np.max,
}


@given(
    shapes.filter(lambda shape: 0 not in shape),
    st.sampled_from(["rows", "columns", "blocks"]),
    st.sampled_from(["mean", "sum", "min", "max", np.median]),
    st.sampled_from(["weight", "model"]),
    shares,
    st.booleans(),
    st.integers(0, 9),
)
def test_groups(
    shape: tuple[int, ...], of: Any, reduce: Any, scope: Any, n: float, largest: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    if of == "blocks":
        of = tuple(int(rng.choice([d for d in (1, 2, 3) if size % d == 0])) for size in shape[-2:])
    # Whole numbers, so that some means tie and no sum is rounded.
    both = [rng.integers(-2, 3, shape).astype("float32") for _ in range(2)]
    weights = [weight(f"w{i}", array) for i, array in enumerate(both)]
    choose = fl.largest if largest else fl.smallest
    got = masks(choose(n, of=of, reduce=reduce, scope=scope), weights)
    function: Any = REDUCE.get(reduce, reduce)
    groups = list(groups_of(of, shape))
    scores = [
        [float(function([abs(array.ravel()[i]) for i in group])) for group in groups]
        for array in both
    ]
    size = len(groups)
    if scope == "weight":
        count = counted(n, size)
        taken = {(w, g) for w in (0, 1) for g in first(scores[w], count, largest=largest)}
    else:
        joined = first(scores[0] + scores[1], counted(n, 2 * size), largest=largest)
        taken = {divmod(place, size) for place in joined}
    for w, mask in enumerate(got):
        right = np.zeros(shape, bool)
        for g, group in enumerate(groups):
            right.flat[group] = (w, g) in taken
        np.testing.assert_array_equal(mask, right)


@given(st.integers(0, 4), st.sampled_from([1, 2, 4]), st.integers(0, 2), st.integers(0, 99))
def test_n_of_m(n: int, m: int, axis: int, seed: int) -> None:
    n = min(n, m)
    rng = np.random.default_rng(seed)
    shape = tuple(int(k) * (m if a == axis else 1) for a, k in enumerate(rng.integers(0, 4, 3)))
    array = rng.choice(np.array([0, -0.0, 1, -1, 2, np.nan, np.inf], "float32"), shape)
    (mask,) = masks(fl.n_of_m(n, m, axis=axis), [weight("w", array)])
    right = np.zeros(shape, bool)
    for line in np.ndindex(*(size for a, size in enumerate(shape) if a != axis)):
        index: list[Any] = list(line)
        index.insert(axis, slice(None))
        for start in range(0, shape[axis], m):
            part = [abs(float(x)) for x in array[tuple(index)][start : start + m]]
            for place in first(part, n, largest=False):
                spot = [*index]
                spot[axis] = start + place
                right[tuple(spot)] = True
    np.testing.assert_array_equal(mask, right)


@given(values(), st.data(), st.sampled_from([None, 0, 0.5, 1.0, math.inf]))
@example(np.array([0.0], "float32"), None, None)
@example(np.array([math.inf], "float32"), np.array([math.inf], "float32"), 0.5)
def test_changed(array: np.ndarray, data: Any, tolerance: float | None) -> None:
    if data is None:
        old = -array
    elif isinstance(data, np.ndarray):
        old = data
    elif array.dtype.kind in "iu":
        old = data.draw(arrays.arrays(array.dtype, array.shape, elements=st.integers(0, 3)))
    else:
        old = data.draw(values(array.shape)).astype(array.dtype)
    (mask,) = masks(fl.changed({"w": old}, tolerance=tolerance), [weight("w", array)])
    assert mask is not None
    for spot in np.ndindex(array.shape):
        one, two = old[spot], array[spot]
        if tolerance is None:
            right = one.tobytes() != two.tobytes()
        else:
            was, now = float(one), float(two)
            same = was == now or (math.isnan(was) and math.isnan(now))
            right = not same and not abs(now - was) <= tolerance
        assert mask[spot] == right, (one, two)


def test_random_is_repeatable_and_even() -> None:
    both = [weight("a", np.zeros((400, 5), "float32")), weight("b", np.zeros((400, 5), "float32"))]
    selection = fl.smallest(0.25, by="random", seed=3)
    once, again = masks(selection, both), masks(fl.smallest(0.25, by="random", seed=3), both)
    other = masks(fl.smallest(0.25, by="random", seed=4), both)
    for mask in once:
        assert mask is not None
        assert mask.sum() == 500
        assert 60 <= mask[:, 0].sum() <= 140
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once[0], once[1])  # pyright: ignore[reportArgumentType]
    assert not np.array_equal(once[0], other[0])  # pyright: ignore[reportArgumentType]
    rows = masks(fl.smallest(100, by="random", of="rows", scope="model"), both)
    assert sum(int(mask[:, 0].sum()) for mask in rows if mask is not None) == 100
    assert all(0 < mask[:, 0].sum() < 100 for mask in rows if mask is not None)


def test_a_function_is_asked_once() -> None:
    asked = []

    def noise(value: np.ndarray) -> np.ndarray:
        asked.append(value)
        return np.random.default_rng(len(asked)).random(value.shape)

    pair = [weight(path, np.zeros(200_000, "float32")) for path in "ab"]
    found = masks(fl.smallest(0.5, by=noise, scope="model"), pair)
    assert len(asked) == 2
    assert sum(int(mask.sum()) for mask in found if mask is not None) == 200_000


@pytest.mark.parametrize("collected", [0, 40, 10_000])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("kind", ["ties", "spread", "striped", "missing"])
def test_a_sample_changes_no_choice(
    monkeypatch: pytest.MonkeyPatch, kind: str, stride: int, collected: int
) -> None:
    rng = np.random.default_rng(stride)
    arrays_ = [rng.standard_normal((30, 40)).astype("float32") for _ in range(3)]
    if kind == "ties":
        arrays_ = [np.round(array) for array in arrays_]
    if kind == "striped":  # a pattern that could mislead a sample
        for array in arrays_:
            array.ravel()[::stride] /= 1000
    if kind == "missing":
        arrays_[1][::2] = np.nan
    weights = [weight(f"w{i}", array) for i, array in enumerate(arrays_)]
    for n in (1, 0.001, 0.3, 0.5, 0.9, 0.999, 3599):
        for choose in (fl.smallest, fl.largest):
            selection = choose(n, scope="model")
            right = masks(selection, weights)
            with monkeypatch.context() as patch:
                patch.setattr(ranking, "_LARGE", 1)
                patch.setattr(ranking, "_STRIDE", stride)
                patch.setattr(ranking, "_COLLECTED", collected)
                found = masks(selection, weights)
            for one, other in zip(found, right, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("choose", [fl.smallest, fl.largest])
def test_a_sign_makes_no_zero_smaller(choose: Callable[..., Any]) -> None:
    zeros = np.array([0.0, -0.0, 0.0, -0.0], "float32")
    mask = choose(2, by={"w": zeros}).mask(weight("w", zeros))
    assert mask.tolist() == [True, True, False, False]


def test_many_entries_are_cut_exactly() -> None:
    rng = np.random.default_rng(0)
    array = rng.standard_normal(700_001, dtype="float32")
    array[::3] = np.round(array[::3], 1)
    for kind in ("float32", "float64"):
        value = array.astype(kind)
        (mask,) = masks(fl.smallest(0.37), [weight("w", value)])
        order = np.argsort(np.abs(value), kind="stable")[: round(0.37 * value.size)]
        assert mask is not None
        np.testing.assert_array_equal(np.flatnonzero(mask), np.sort(order))


@pytest.mark.parametrize(
    "text",
    [
        "smallest(0.9)",
        "largest(3, scope='model')",
        "smallest(0.5, by='random', of='rows', reduce='max', seed=7)",
        "smallest(2, of=(4, 4)) | at[0]",
        "~n_of_m(2, 4, axis=0)",
    ],
)
def test_prints_as_it_is_written(text: str) -> None:
    names = {name: getattr(fl, name) for name in ("smallest", "largest", "n_of_m", "at")}
    selection = eval(text, names)
    assert repr(selection) == text
    assert selection == eval(text, names)
    assert hash(selection) == hash(eval(text, names))


def test_scores_compare_by_what_they_hold() -> None:
    one, same, other = ({"w": np.array([1, last], "float32")} for last in (np.nan, np.nan, 2))
    assert fl.smallest(1, by=one) == fl.smallest(1, by=same) != fl.smallest(1, by=other)
    assert fl.changed(one) == fl.changed(same) != fl.changed(other)
    assert repr(fl.smallest(1, by=one)) == "smallest(1, by=<1 array>)"
    assert repr(fl.largest(1, by=np.abs)) == "largest(1, by=absolute)"
    assert repr(fl.changed(one, tolerance=0.5)) == "changed(<1 array>, tolerance=0.5)"


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: fl.smallest(0.0), "a float above 0"),
    (lambda: fl.smallest(1.5), "n=1.5"),
    (lambda: fl.smallest(-1), "an int from 0"),
    (lambda: fl.largest(True), "largest: n must be a share"),
    (lambda: fl.smallest("half"), "n='half'"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.smallest(math.nan), "n=nan"),
    (lambda: fl.smallest(1, by="fisher"), "fl.scores"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.smallest(1, by={}), "by={}"),
    (lambda: fl.smallest(1, scope="global"), "'model'"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.smallest(1, of="filters"), "of='filters'"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.smallest(1, of=(0, 4)), r"of=\(0, 4\)"),
    (lambda: fl.smallest(1, reduce="norm"), "np.median"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.smallest(1, seed=-1), "seed=-1"),
    (lambda: fl.n_of_m(5, 4), "n=5, m=4"),
    (lambda: fl.n_of_m(2, 4, axis=0.5), "axis=0.5"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.changed([1]), "fl.snapshot"),  # pyright: ignore[reportArgumentType]
    (lambda: fl.changed({}, tolerance=-1), "tolerance=-1"),
]


@pytest.mark.parametrize(("make", "match"), WRONG, ids=[match for _, match in WRONG])
def test_wrong_arguments(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(SelectionError, match=match):
        make()


KERNEL = weight("hidden/kernel", np.ones((4, 6), "float32"))
MISFITS: list[tuple[Any, Weight, str]] = [
    (fl.smallest(25), KERNEL, "hidden/kernel: there are only 24 entries"),
    (fl.smallest(7, of="columns"), KERNEL, "there are only 6 columns"),
    (fl.smallest(7, of=(2, 3)), KERNEL, r"there are only 4 blocks of \(2, 3\)"),
    (fl.smallest(1, of=(3, 3)), KERNEL, "do not divide its last axes"),
    (fl.smallest(1, of=(1, 1, 1)), KERNEL, "a block with 3 axes"),
    (fl.smallest(1, of="rows"), weight("scale", np.array(1, "float32")), "a scalar has no rows"),
    (fl.smallest(1, by={"other": np.ones(1)}), KERNEL, "no array for this weight.*'other'"),
    (fl.smallest(1, by={"hidden/kernel": np.ones(3)}), KERNEL, r"an array of shape \(3,\)"),
    (fl.smallest(1, by=lambda value: value[0]), KERNEL, r"shape \(6,\)"),
    (fl.smallest(1, by=lambda value: value + 1j), KERNEL, "real numbers"),
    (fl.smallest(1, of="rows", reduce=lambda a, axis: a), KERNEL, "a real number for each row"),
    (fl.n_of_m(2, 4), KERNEL, "4 does not divide the length of axis -1, 6"),
    (fl.n_of_m(2, 4, axis=2), KERNEL, "no axis 2"),
    (fl.changed({"hidden/kernel": np.ones((4, 6))}), KERNEL, "dtype float64"),
]


@pytest.mark.parametrize(("selection", "one", "match"), MISFITS, ids=[m for _, _, m in MISFITS])
def test_what_does_not_fit(selection: Any, one: Weight, match: str) -> None:
    with pytest.raises(SelectionError, match=match):
        selection.mask(one)


def test_scores_are_found_by_any_name() -> None:
    value = np.array([3, 1, 2], "float32")
    one = Weight(
        "kernel", "kernel", (3,), "float32", lambda: value, names=("kernel", "hidden/kernel")
    )
    mask = fl.smallest(1, by={"hidden/kernel": value}).mask(one)
    assert mask is not None
    assert mask.tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["smallest", "largest", "n_of_m", "changed"])
def test_a_rule_that_was_not_called(name: str) -> None:
    with pytest.raises(SelectionError, match=rf"^{name}: must be called; got .*\. Use fl.{name}\("):
        _ = fl.at[0] | getattr(fl, name)
