"""Selections as text equal those made in Python, and any other text gives one clear error."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import frostline as fl
from frostline._errors import SelectionError
from frostline._selections.text import parse_selection
from frostline._selections.weight import Weight

pytestmark = pytest.mark.once

CHOICES = ("smallest", "largest", "n_of_m")
NAMES = ("at", "everything", "nothing", "zeros", "units", "tokens", "heads", *CHOICES)
NAMESPACE = {
    "__builtins__": {"range": range, "slice": slice},
    "fl": fl,
    **{name: getattr(fl, name) for name in NAMES},
}
SHAPE = (4, 6)
VALUE = np.arange(24).reshape(SHAPE) % 5 * 1.0

integers = st.integers(-4, 3).map(str)
bounds = st.one_of(st.just(""), integers)
steps = st.one_of(st.just(""), st.sampled_from([":", ":2", ":-1", ":3"]))
slices = st.builds(lambda a, b, c: f"{a}:{b}{c}", bounds, bounds, steps)
lists = st.lists(integers, min_size=1, max_size=3).map(lambda values: f"[{', '.join(values)}]")
ranges = st.builds("range({}, {})".format, st.integers(0, 2), st.integers(2, 4))
items = st.one_of(integers, slices, lists, ranges, st.just("..."))
rows = st.one_of(
    items.map("at[{}]".format),
    st.builds("at[{}, {}]".format, integers, slices),
    st.builds("at[ {},{} ]".format, slices, st.one_of(integers, lists)),
    st.lists(st.booleans(), min_size=4, max_size=4).map("at[{}]".format),
)
numbers = st.one_of(
    integers,
    lists,
    ranges,
    st.builds("slice({}, {})".format, st.sampled_from(["None", "0", "1"]), integers),
)
parts = st.builds("{}({})".format, st.sampled_from(["units", "tokens", "heads"]), numbers)
words = st.sampled_from(["everything", "nothing", "zeros", "fl.zeros", "fl.at[0]"])
amounts = st.sampled_from(["0.5", "3", "1.0", "1e-05", ".25"])
rules = st.sampled_from(["", ", scope='model'", ", of=(2, 3)", ', of="rows", reduce="max"'])
ranks = st.builds("{}({}{})".format, st.sampled_from(["smallest", "fl.largest"]), amounts, rules)
patterns = st.sampled_from(["n_of_m(2, 3)", "n_of_m(1, 2, axis=0, by='random', seed=3)"])
atoms = st.one_of(rows, words, parts, ranks, patterns)
texts = st.recursive(
    atoms,
    lambda inside: st.one_of(
        st.builds("{} | {}".format, inside, inside),
        st.builds("{}&{}".format, inside, inside),
        inside.map("~{}".format),
        inside.map("({})".format),
        inside.map("  ( {}\n)".format),
    ),
    max_leaves=6,
)


def weight(layer=None):
    return Weight("dense/kernel", "kernel", SHAPE, "float64", lambda: VALUE, (layer,))


def outcome(selection):
    """The mask of a selection, None, or the message of the error that it raises."""
    layer = keras.layers.Dense(6)
    try:
        return selection.mask(weight(layer))
    except SelectionError as error:
        return str(error)


@given(texts)
def test_a_text_is_what_python_makes_of_it(text):
    parsed, made = parse_selection(text), eval(text.strip(), NAMESPACE)
    assert parsed == made
    ours, theirs = outcome(parsed), outcome(made)
    assert type(ours) is type(theirs)
    np.testing.assert_array_equal(ours, theirs)


@given(texts)
def test_what_a_selection_prints_is_read_back(text):
    parsed = parse_selection(text)
    assert parse_selection(repr(parsed)) == parsed


@given(st.one_of(st.text(max_size=60), st.text(alphabet="at[]0,:~&|()-. zersunil", max_size=30)))
def test_any_other_text_is_one_error_that_says_where(text):
    told = ""
    try:
        parse_selection(text)
    except SelectionError as error:
        told = str(error)
    assert not told or (told.startswith("where: ") and "position" in told)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected a selection \(at.*\) at position 0; got the end"),
        ("rows[0]", r"expected a selection .* at position 0; got 'rows\[0\]'"),
        ("at[0", r"expected ']' at position 4; got the end"),
        ("at[0] + at[1]", r"expected &, \| or the end at position 6; got '\+ at\[1\]'"),
        ("at[0] and at[1]", r"expected &, \| or the end at position 6; got 'and at\[1\]'"),
        ("at[0.5]", r"expected an integer, .* at position 3; got '0\.5\]'"),
        (
            "smallest()",
            r"position 0: smallest: missing .* got 'smallest\(\)'. Use .*smallest\(0.9\)",
        ),
        ("zeros | n_of_m(2)", "position 8: n_of_m: missing a required argument: 'm'"),
        ("smallest(0.5, part=1)", "unexpected keyword argument 'part'"),
        ("smallest(0.5, scope=model)", "expected a number, a text in quotes .* position 20"),
        ("smallest(n=1, 2)", "expected name=value after name=value at position 14"),
        ("smallest(1, of='rows', of='rows')", "expected of= only once at position 23"),
        ("largest(0.5", r"expected '\)' at position 11; got the end"),
        ("smallest(1e999)", "smallest: n must be a share .* got n=inf"),
        ("smallest(1, of=(1, 2.0))", "expected an integer at position 19"),
        ("at[[1, True]]", "expected a list of only integers or only booleans"),
        ("at[..., ...]", r"at position 0: at: an index can have only one `\.\.\.`"),
        ("zeros | at[::0]", "at position 8: at: the step of a slice must not be zero"),
        ("at[None]", "expected an integer, a list"),
        ("units()", r"expected an integer, a list, .* at position 6; got '\)'"),
        ("tokens(range(1, 2, 3, 4))", r"one to three numbers in range\(\.\.\.\) at position 7"),
        ("tokens(range(0, 9, 0))", "a step other than 0"),
        ("at", r"expected '\[' at position 2; got the end"),
        ("at(0)", r"expected '\[' at position 2"),
        ("flx.at[0]", "expected a selection"),
        ("at[0]; zeros", r"expected &, \| or the end at position 5"),
        ("at[①]", "expected an integer"),
        ("at[0]\x00", r"at position 5; got '\\x00'"),
        ("at[1_000]", r"expected '\]' at position 4"),
    ],
    ids=repr,
)
def test_an_error_says_what_was_expected_and_where(text, message):
    with pytest.raises(SelectionError, match=message):
        parse_selection(text)


def test_an_error_points_at_the_place():
    with pytest.raises(SelectionError) as raised:
        parse_selection("at[0, :] | row(1)")
    lines = str(raised.value).split("\n")
    assert lines[1][lines[2].index("^") :] == "row(1)"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "at[__import__('os').getpid()]",
        "(lambda: 0)()",
        "at[(x := 0)]",
        "zeros.__class__",
        "units([i for i in range(9)])",
        "f'{1}'",
        "at['0']",
        "at[0] if 1 else at[1]",
        "eval('zeros')",
        "mask([[True]])",
        "~" * 5_000,
        "(" * 5_000,
        "at[" + "[" * 5_000,
        " | ".join(["zeros"] * 5_000),
        "zeros" + " " * 200_000,
        "at[" + "9" * 5_000 + "]",
        "units(range(0, 100000000000000000))",
        "units(range(-999999999999999999, 999999999999999999))",
    ],
    ids=lambda text: text[:30],
)
def test_hostile_texts_are_refused_at_once(text):
    with pytest.raises(SelectionError, match=r"where: (expected|a selection can have)"):
        parse_selection(text)


def test_the_longest_selection_allowed_has_a_mask():
    text = " | ".join(f"at[{n % 4}]" for n in range(300))
    np.testing.assert_array_equal(outcome(parse_selection(text)), np.ones(SHAPE, bool))
    text = "~" * 98 + "(zeros)"
    np.testing.assert_array_equal(outcome(parse_selection(text)), VALUE == 0)
