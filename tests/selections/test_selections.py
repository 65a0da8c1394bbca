"""Selections without a framework: masks, algebra, printed forms, messages."""

import copy
import dataclasses
import functools
import operator
import pickle
from dataclasses import dataclass
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline._errors import FrostlineError, SelectionError
from frostline._selections import simple, structure
from frostline._selections.simple import (
    Selection,
    Weight,
    as_selection,
    at,
    everything,
    mask,
    nothing,
    zeros,
)
from frostline._selections.structure import tokens, units

pytestmark = pytest.mark.once

NAMESPACE = vars(simple) | vars(structure)
SHAPE = (3, 4, 2)


def weight(shape: tuple[int, ...] = (2, 3), value: Any = None, dtype: str = "float32") -> Weight:
    value = np.ones(shape, dtype) if value is None else np.asarray(value)
    return Weight("hidden/kernel", "kernel", value.shape, str(value.dtype), lambda: value)


def masked(selection: Selection, of: Weight) -> np.ndarray:
    result = selection.mask(of)
    assert isinstance(result, np.ndarray)
    assert result.dtype == bool
    assert result.shape == of.shape
    return result


def indexed(shape: tuple[int, ...], index: Any) -> np.ndarray:
    expected = np.zeros(shape, bool)
    expected[index] = True
    return expected


# --- at: NumPy indexing -------------------------------------------------------------------------


@st.composite
def indices(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape and any NumPy index for it: basic, integer, boolean or mixed."""
    shape = draw(hnp.array_shapes(max_dims=3, max_side=4))
    whole = draw(st.sampled_from(["basic", "integers", "booleans", "mixed"]))
    if whole == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_ellipsis=True))
    if whole == "integers":
        return shape, draw(hnp.integer_array_indices(shape))
    if whole == "booleans":
        axes = draw(st.integers(1, len(shape)))
        return shape, draw(hnp.arrays(bool, shape[:axes]))
    length = draw(st.integers(0, 3))
    parts = [
        draw(
            st.slices(size)
            | st.integers(-size, size - 1)
            | st.lists(st.integers(-size, size - 1), min_size=length, max_size=length)
        )
        for size in shape
    ]
    return shape, tuple(parts)


@given(indices())
def test_at_selects_what_numpy_indexes(case):
    shape, index = case
    np.testing.assert_array_equal(masked(at[index], weight(shape)), indexed(shape, index))


@given(indices())
def test_at_reads_back(case):
    selection = at[case[1]]
    again = eval(repr(selection), NAMESPACE)
    assert again == selection
    assert hash(again) == hash(selection)


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (at[0], "at[0]"),
        (at[0, :], "at[0, :]"),
        (at[-1, 1:], "at[-1, 1:]"),
        (at[..., ::2], "at[..., ::2]"),
        (at[5:1:-2], "at[5:1:-2]"),
        (at[...], "at[...]"),
        (at[()], "at[()]"),
        (at[[0, 2], :], "at[[0, 2], :]"),
        (at[[0, 2]], "at[[0, 2]]"),
        (at[[]], "at[[]]"),
        (at[np.array([[0], [1]], np.uint8)], "at[[[0], [1]]]"),
        (at[:, np.array([True, False])], "at[:, [True, False]]"),
        (at[range(3)], "at[[0, 1, 2]]"),
        (at[np.int16(2), np.array(1)], "at[2, 1]"),
        (~(at[0] | zeros), "~(at[0] | zeros)"),
        (~at[0] | zeros, "~at[0] | zeros"),
        (~~zeros, "~~zeros"),
        (at[0] & zeros | at[1], "at[0] & zeros | at[1]"),
        (at[0] & (zeros | at[1]), "at[0] & (zeros | at[1])"),
        (at[0] | (zeros | at[1]), "at[0] | (zeros | at[1])"),
        (at[0] & (zeros & at[1]), "at[0] & (zeros & at[1])"),
        (at[0] | zeros & at[1], "at[0] | zeros & at[1]"),
        (everything & ~nothing, "everything & ~nothing"),
        (mask([[True, False]]), "mask([[True, False]])"),
        (mask(np.array(True)), "mask(True)"),
        (mask([]), "mask([])"),
        (~units([0, 1]), "~units([0, 1])"),
        (tokens(range(50257, 51000)), "tokens(range(50257, 51000))"),
    ],
    ids=str,
)
def test_a_selection_prints_the_call_that_makes_it(selection, text):
    assert repr(selection) == text
    assert eval(text, NAMESPACE) == selection


@pytest.mark.parametrize("shape", [(5, 13), (64, 128), (0, 2), (65,), (0,)], ids=str)
def test_mask_of_any_size_reads_back(shape):
    selection = mask(np.random.default_rng(0).random(shape) < 0.5)
    again = eval(repr(selection), NAMESPACE)
    assert again == selection
    np.testing.assert_array_equal(
        masked(again, weight(shape)), np.random.default_rng(0).random(shape) < 0.5
    )


def test_large_mask_prints_small():
    assert len(repr(mask(np.eye(1000, dtype=bool)))) < 1000


def test_two_index_lists_are_read_together():
    assert masked(at[[0, 1], [0, 1]], weight()).sum() == 2
    crossing = at[[0, 1], :] & at[:, [0, 1]]
    assert masked(crossing, weight()).sum() == 4


def test_an_array_changed_later_changes_no_selection():
    rows, entries = np.array([0, 1]), np.array([True, False])
    by_rows, by_entries = at[rows], mask(entries)
    rows[:], entries[:] = 5, False
    assert by_rows == at[[0, 1]]
    assert by_entries == mask([True, False])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.s_[None, 0], r"at: a new axis selects no entries; got None \(np.newaxis\)"),
        (np.s_[True], r"at: a single boolean is not an index; got True\. Use fl\.everything"),
        (np.s_[0, np.False_], r"a single boolean is not an index; got False"),
        (np.array(True), r"a boolean index must not be empty or 0-d; got shape \(\)"),
        (np.zeros((0,), bool), r"a boolean index must not be empty or 0-d; got shape \(0,\)"),
        (1.0, r"at: an index can contain integers.*got dtype=float64 \(1\.0\)\. Use integers"),
        (np.array([0.5]), r"got dtype=float64 \(array\(\[0\.5\]\)\)"),
        ("kernel", r"at: an index can contain .*; got str \('kernel'\)"),
        ([0, None], r"at: an index can contain .*; got list \(\[0, None\]\)"),
        (
            [[0], [1, 2]],
            r"at: the rows of an index list must have the same length; got \[\[0\], \[1, 2\]\]",
        ),
        (np.s_[..., 0, ...], r"can have only one `\.\.\.`; got at\[\.\.\., 0, \.\.\.\]\. Use `:`"),
        (np.s_[0.5:], r"the bounds of a slice must be integers; got slice\(0\.5, None, None\)"),
        (np.s_[::0], r"the step of a slice must not be zero; got slice\(None, None, 0\)"),
        (np.array([2**63], np.uint64), r"an index must fit in 64 bits; got 9223372036854775808"),
    ],
    ids=repr,
)
def test_what_cannot_index_is_refused_when_written(index, message):
    with pytest.raises(SelectionError, match=message):
        at[index]


@pytest.mark.parametrize(
    ("shape", "selection", "message"),
    [
        (
            (2, 3),
            at[7, :],
            r"^hidden/kernel: index 7 is out of range for axis 0 of size 2; got at\[7, :\] "
            r"\(shape \(2, 3\), dtype float32\)\. Use an index from -2 to 1\.$",
        ),
        (
            (2, 3),
            at[..., -4],
            r"index -4 is out of range for axis 1 of size 3; got at\[\.\.\., -4\]",
        ),
        (
            (2, 3),
            at[:, [0, 3]],
            r"index 3 is out of range for axis 1 .*Use an index from -3 to 2\.",
        ),
        ((2, 3), at[2], r"axis 0 of size 2; .*For the last axis write fl\.at\[\.\.\., 2\]\.$"),
        ((2, 3), at[10**30], r"index 10{30} is out of range for axis 0 of size 2"),
        ((0, 3), at[0], r"index 0 is out of range for axis 0 of size 0.*Use fl\.nothing"),
        (
            (2, 3),
            at[0, 0, 0],
            r"too many indices, 3 for a weight with 2 axes; got at\[0, 0, 0\].*with 2 or fewer",
        ),
        ((), at[0], r"too many indices, 1 for a weight with 0 axes.*Use fl\.everything\."),
        (
            (2, 3),
            at[:, [True, False]],
            r"the boolean index at axis 1 has shape \(2,\), the weight has \(3,\); got at\[:, .*"
            r"Use a boolean array of shape \(3,\)\.",
        ),
        (
            (2, 3),
            at[[[True], [False]]],
            r"the boolean index at axis 0 has shape \(2, 1\), the weight has \(2, 3\)",
        ),
        (
            (4, 4),
            at[[0, 1], [0, 1, 2]],
            r"index arrays are combined .*not \(2,\) and \(3,\).*join them with &\.",
        ),
        (
            (2, 3),
            mask([True, False, True]),
            r"^hidden/kernel: a mask must have exactly the shape of the weight; got a mask of "
            r"shape \(3,\) \(shape \(2, 3\), dtype float32\)\. Use fl\.mask\(np\.broadcast_to\(",
        ),
        ((2, 3), at[[9] * 1000], r"got at\[\[9, 9, .{30,60} \.\.\. .{30} \(shape"),
    ],
    ids=lambda case: repr(case)[:30] if isinstance(case, Selection) else None,
)
def test_what_does_not_fit_the_weight_is_refused_when_used(shape, selection, message):
    with pytest.raises(SelectionError, match=message):
        selection.mask(weight(shape))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (at[...], True),
        (at[()], True),
        (everything, True),
        (mask(np.array(True)), True),
        (nothing, False),
        (~everything, False),
        (zeros, True),
        (everything & at[...], True),
        (nothing | at[()], True),
        (as_selection(lambda value: value == 0), True),
    ],
    ids=str,
)
def test_a_scalar_weight_is_selected_whole_or_not_at_all(selection, expected):
    np.testing.assert_array_equal(masked(selection, weight(value=np.float32(0))), expected)


@pytest.mark.parametrize(
    "selection",
    [at[:, 0], at[[]], everything, nothing, zeros, mask(np.zeros((0, 3), bool))],
    ids=str,
)
def test_weight_without_entries(selection):
    assert masked(selection, weight((0, 3))).size == 0


# --- the algebra --------------------------------------------------------------------------------

leaves = st.one_of(
    st.sampled_from([everything, nothing, zeros]),
    hnp.basic_indices(SHAPE).map(at.__getitem__),
    hnp.integer_array_indices(SHAPE).map(at.__getitem__),
    hnp.arrays(bool, SHAPE).map(mask),
)
selections = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(operator.invert),
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
    ),
    max_leaves=6,
)
SPARSE = weight(value=np.random.default_rng(0).integers(0, 2, SHAPE).astype("float32"))


@given(selections, selections)
def test_combinations_are_those_of_the_masks(a, b):
    left, right = masked(a, SPARSE), masked(b, SPARSE)
    np.testing.assert_array_equal(masked(a & b, SPARSE), left & right)
    np.testing.assert_array_equal(masked(a | b, SPARSE), left | right)
    np.testing.assert_array_equal(masked(~a, SPARSE), ~left)


@given(selections, selections)
def test_de_morgan(a, b):
    np.testing.assert_array_equal(masked(~(a & b), SPARSE), masked(~a | ~b, SPARSE))
    np.testing.assert_array_equal(masked(~(a | b), SPARSE), masked(~a & ~b, SPARSE))


@given(selections)
def test_double_negation(a):
    np.testing.assert_array_equal(masked(~~a, SPARSE), masked(a, SPARSE))


@given(selections)
def test_every_combination_reads_back(a):
    again = eval(repr(a), NAMESPACE)
    assert again == a
    assert hash(again) == hash(a)


STATISTIC = Weight("conv/moving_mean", "moving_mean", (2,), "float32", lambda: np.zeros(2))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (tokens(0), None),
        (~tokens(0), None),
        (tokens(0) & everything, None),
        (everything & tokens(0), None),
        (tokens(0) & ~tokens(0), None),
        (tokens(0) | tokens(1), None),
        (tokens(0) | at[0], [True, False]),
        (at[0] | ~tokens(0), [True, False]),
    ],
    ids=str,
)
def test_a_selection_that_says_nothing_leaves_the_other_side(selection, expected):
    result = selection.mask(STATISTIC)
    assert result is None if expected is None else result.tolist() == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (at[0], at[1]),
        (at[0], at[[0]]),
        (at[0], at[0, :]),
        (at[[1, 0]], at[[True, False]]),
        (everything, nothing),
        (at[0] & at[1], at[0] | at[1]),
        (mask([[True]]), mask([True])),
        (units(0), tokens(0)),
    ],
    ids=str,
)
def test_different_selections_are_unequal(a, b):
    assert a != b
    assert len({a, b}) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_are_equal(copied):
    selection = ~(at[0, :, ::2] | zeros) & mask([[True]]) | units([1, 2])
    assert copied(selection) == selection


@pytest.mark.parametrize("name", ["items", "new"])
def test_selections_cannot_be_changed(name):
    with pytest.raises(AttributeError):
        setattr(at[0], name, ())


def test_truth_value_is_refused():
    with pytest.raises(
        SelectionError, match=r"^at\[0\]: a selection has no truth value.*Use &, \| and ~"
    ):
        _ = at[0] and zeros


@pytest.mark.parametrize("other", [True, 0, None, "rows"], ids=repr)
@pytest.mark.parametrize("combine", [operator.and_, operator.or_])
def test_algebra_takes_selections_only(combine, other):
    with pytest.raises(TypeError):
        combine(at[0], other)
    with pytest.raises(TypeError):
        combine(other, at[0])


@pytest.mark.parametrize(
    "other", [np.array([True, False, True]), lambda w: np.array([True, False, True])]
)
def test_algebra_takes_arrays_and_functions(other):
    assert masked(at[:2] & other, weight((3,))).tolist() == [True, False, False]
    assert masked(other & at[:2], weight((3,))).tolist() == [True, False, False]
    assert masked(at[1] | other, weight((3,))).tolist() == [True, True, True]
    assert masked(other | at[1], weight((3,))).tolist() == [True, True, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: at(0), r"square brackets. Write fl.at\[0, :\]"),
        (lambda: zeros(), r"^zeros: a selection cannot be called"),
    ],
    ids=["at", "zeros"],
)
def test_calling_a_selection(call, message):
    with pytest.raises(SelectionError, match=message):
        call()


@pytest.mark.parametrize(
    "where",
    [np.eye(2, dtype=int), np.array([1, 0, 1]), [[1, 0], [0, 1]], [0, 0, 2]],
    ids=["matrix", "zeros-and-ones", "nested", "repeated"],
)
def test_integers_that_may_be_a_mask_are_refused(where):
    with pytest.raises(SelectionError, match=r"Write fl.mask\(array != 0\) or fl.at\[array\]"):
        as_selection(where)


# --- zeros, mask, as_selection ------------------------------------------------------------------


def test_zeros_counts_both_signs_and_no_nan():
    value = np.array([0.0, -0.0, np.nan, 1e-30], "float32")
    assert masked(zeros, weight(value=value)).tolist() == [True, True, False, False]


def test_selections_by_index_do_not_read_the_value():
    def read() -> np.ndarray:
        raise AssertionError("the value was read")

    asked = Weight("hidden/kernel", "kernel", (2, 3), "float32", read)
    assert masked(at[0] | mask(np.eye(2, 3, dtype=bool)) | ~everything, asked).sum() == 4


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.ones((2, 3), "float32"),
            r"^mask: the array must be boolean; got dtype=float32 \(shape \(2, 3\)\)\. "
            r"Use fl\.mask\(array != 0\)\.$",
        ),
        ([1, 0], r"must be boolean; got dtype=int64"),
        (
            [[True], [True, False]],
            r"mask: the rows must have the same length; got \[\[True\], \[True, False\]\]",
        ),
        ("True", r"must be boolean; got dtype=<U4"),
    ],
    ids=["float", "int", "ragged", "str"],
)
def test_mask_takes_booleans_only(array, message):
    with pytest.raises(SelectionError, match=message):
        mask(array)


GOOD = "eNprAAAAgQCB"  # one byte, for up to eight entries


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ((1, 2), "not base64!", r"mask\.packed: the data cannot be unpacked .*data='not base64!'"),
        ((1, 2), "AAAA", r"the data cannot be unpacked"),
        ((1, 2), GOOD[:8], r"the data does not hold 2 entries"),
        (
            (9,),
            GOOD,
            r"the data does not hold 9 entries; got data='eNprAAAAgQCB'... \(shape \(9,\)\)",
        ),
        ((), "eNoDAAAAAAE=", r"the data does not hold 1 entries"),
        ((-1, -2), GOOD, r"the data does not hold 2 entries"),
        ((-2,), GOOD, r"mask\.packed: the data"),
    ],
    ids=["alphabet", "zlib", "truncated", "short", "empty", "negative", "negative size"],
)
def test_damaged_packed_masks_are_refused(shape, data, message):
    with pytest.raises(SelectionError, match=message):
        mask.packed(shape, data)


def test_bits_beyond_the_shape_do_not_count():
    assert mask.packed((1,), GOOD) == mask([True])
    assert mask.packed((1,), "eNr7DwABAAEA") == mask([True])  # the byte 0xff: seven bits too many


def rule(value: np.ndarray) -> np.ndarray:
    return value > 1


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, everything),
        (zeros, zeros),
        (at[0] | zeros, at[0] | zeros),
        (0, at[0]),
        (np.int64(-1), at[-1]),
        (slice(1, None), at[1:]),
        (..., at[...]),
        ([0, 2], at[[0, 2]]),
        ([], at[[]]),
        (range(2), at[[0, 1]]),
        ((0, slice(None)), at[0, :]),
        (([True, False], 0), at[[True, False], 0]),
        (np.array([1, 2]), at[[1, 2]]),
        (np.array([True, False]), mask([True, False])),
        ([True, False], mask([True, False])),
        ([[True, False]], mask([[True, False]])),
        (np.array(True), mask(True)),
    ],
    ids=repr,
)
def test_what_may_stand_for_a_selection_becomes_one(where, expected):
    assert as_selection(where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "kernel",
            r"^where: must be None, a selection, an index, a boolean mask, or a function .*; "
            r"got where='kernel' \(str\)\. Write a selection without quotes",
        ),
        (0.5, r"where: must be .*; got where=0\.5 \(float\)"),
        ({"a": 1}, r"where: must be .*; got where=\{'a': 1\} \(dict\)"),
        ({0, 1}, r"where: must be .*; got where=\{0, 1\} \(set\)"),
        (at, r"where: must be .*; got where=at \(Indexer\)"),
        (True, r"at: a single boolean is not an index; got True"),
        ((0, None), r"at: a new axis selects no entries"),
        ([0.5], r"at: an index can contain .*; got dtype=float64"),
        ([[0], [1, 2]], r"at: the rows of an index list must have the same length"),
        (np.ones(3), r"at: an index can contain .*Use integers, or fl\.mask\(array != 0\)\."),
        (mask, r"mask: must be called; got fl\.mask\. Use fl\.mask\(\.\.\.\)\."),
        (units, r"units: must be called; got fl\.units\. Use fl\.units\(\.\.\.\)\."),
    ],
    ids=lambda case: repr(case)[:24] if not isinstance(case, str) else None,
)
def test_what_is_no_selection_is_refused(where, message):
    with pytest.raises(SelectionError, match=message):
        as_selection(where)


def test_a_function_picks_entries():
    selection = as_selection(rule)
    assert selection == as_selection(rule)
    assert repr(selection) == "where(rule)"
    assert masked(selection, weight(value=[[1.0, 2.0]])).tolist() == [[False, True]]


def test_a_function_without_a_name_prints_itself():
    assert repr(as_selection(functools.partial(rule))).startswith("where(functools.partial(")


def test_a_function_cannot_write_to_the_weight():
    value = np.ones((2, 2))

    def writes(array: np.ndarray) -> np.ndarray:
        assert not np.shares_memory(array, value)
        array[:] = 0
        return array == 0

    with pytest.raises(ValueError, match="read-only") as caught:
        as_selection(writes).mask(weight(value=value))
    assert caught.value.__notes__ == ["while selecting entries of hidden/kernel"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda value: value[0] > 0,
            r"^hidden/kernel: where\(<lambda>\) must return an array of the weight's shape; got an "
            r"array of shape \(3,\) \(shape \(2, 3\), dtype float32\)\. Return a boolean array of",
        ),
        (lambda value: value, r"must return a boolean array, True = frozen; got dtype=float32"),
        (lambda value: None, r"must return a boolean array, True = frozen; got NoneType"),
        (lambda value: True, r"array of the weight's shape; got an array of shape \(\)"),
    ],
    ids=["row", "float", "none", "scalar"],
)
def test_what_a_function_must_return(function, message):
    with pytest.raises(SelectionError, match=message):
        as_selection(function).mask(weight())


def test_errors_are_of_the_package_and_builtin():
    assert issubclass(SelectionError, FrostlineError)
    assert issubclass(SelectionError, ValueError)


@pytest.mark.parametrize(
    "array", [[1], [0, 1], [0.0, 1.0]], ids=["index", "zeros and ones", "floats"]
)
@pytest.mark.parametrize("combine", [lambda a, b: a | b, lambda a, b: b & a], ids=["|", "&"])
def test_only_boolean_arrays_combine_with_a_selection(array, combine):
    with pytest.raises(
        SelectionError, match=r"only boolean arrays can be combined.*fl\.at\[array\]"
    ):
        combine(at[0], np.array(array))


@dataclass(frozen=True)
class LastPath(Selection):
    """Selects the whole of the last weight among those that one call names."""

    last: str = ""

    def among(self, weights):
        return LastPath(max(one.path for one in weights))

    def mask(self, weight):
        return np.full(weight.shape, weight.path == self.last)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda s: s, [False, True]),
        (lambda s: ~s, [True, False]),
        (lambda s: s & everything, [False, True]),
        (lambda s: nothing | ~s, [True, False]),
    ],
    ids=["alone", "not", "and", "or"],
)
def test_a_selection_may_see_all_weights_of_a_call(make, expected):
    both = [dataclasses.replace(weight(), path=path) for path in ("a", "b")]
    selection = make(LastPath()).among(both)
    assert [bool(masked(selection, one).all()) for one in both] == expected


def test_other_selections_are_the_same_whatever_weights_are_beside():
    assert (at[0] | ~zeros & everything).among([weight()]) == at[0] | ~zeros & everything
