"""The breaks of `make faults` fit the source, and the script sees which test noticed."""

import re

import pytest

from faults import OTHER_COPY, TESTS, first_failure, verdict_of
from mutations import INVARIANTS, MUTATIONS, SOURCE

pytestmark = pytest.mark.once


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_place_and_leaves_a_program(mutation):
    before, after = (SOURCE / mutation.file).read_text(encoding="utf-8"), mutation.mutated()
    assert before.count(mutation.old) == 1
    assert after != before
    if mutation.file.endswith(".py"):
        compile(after, mutation.file, "exec")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_tests_of_a_mutation_are_there(mutation):
    assert mutation.tests
    for test in mutation.tests:
        file, name = test.split("::")
        function = re.escape(name.partition("[")[0])
        text = (TESTS / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {function}\(", text, re.MULTILINE), test


def test_each_mutation_has_a_name_of_its_own():
    names = [mutation.name for mutation in MUTATIONS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("number", INVARIANTS)
def test_each_invariant_is_broken_in_several_ways(number):
    assert sum(mutation.invariant == number for mutation in MUTATIONS) >= 4


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0, "missed"),
        (1, "caught"),
        (2, "error"),
        (3, "error"),
        (4, "error"),
        (5, "error"),
        (-9, "error"),
        (OTHER_COPY, "error"),
        (None, "error"),
    ],
    ids=[
        "all passed",
        "some failed",
        "interrupted",
        "internal error",
        "usage",
        "none collected",
        "killed",
        "another copy",
        "too long",
    ],
)
def test_only_a_test_that_fails_has_noticed(status, verdict):
    assert verdict_of(status) == verdict


def test_the_first_failure_is_the_test_with_its_error():
    printed = "F\nFAILED tests/arrays/test_plan.py::test_kind[few - rows] - assert 1 == 2\n1 failed"
    assert first_failure(printed) == "test_kind[few - rows] - assert 1 == 2"
    assert first_failure("1 passed") == ""
