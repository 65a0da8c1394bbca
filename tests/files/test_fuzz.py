"""Thousands of damaged and forged files: each is read, or refused with an error of ours."""

import json
import pathlib
import subprocess
import sys
from collections import Counter

import pytest

from files import fuzzing

pytestmark = pytest.mark.once


def fuzz(folder, first, count):
    """Try mutants in a process of their own: how many fared how."""
    done = subprocess.run(
        [sys.executable, fuzzing.__file__, str(folder), str(first), str(count)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stdout.splitlines()
    bad = [line for line in lines if not line.startswith(("at ", "{"))]
    ended = lines[-1] if lines else "nothing"
    again = f"python {pathlib.Path(fuzzing.__file__).name} FOLDER NUMBER 1"
    assert done.returncode == 0, f"{ended}\n{done.stderr}\n" + "\n".join(bad) + f"\n{again}"
    counts = json.loads(ended)
    assert sum(counts.values()) == count
    return Counter(counts)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    fuzzing.seeds(folder)
    return folder


def test_a_number_always_makes_the_same_mutant(good):
    one, other = fuzzing.Mutants(good), fuzzing.Mutants(good)
    made = [one.make(number) for number in range(30)]
    assert made == [other.make(number) for number in range(30)]
    assert len({data for _, data in made}) == 30


def test_mutants_are_read_or_refused(good):
    counts = fuzz(good, 0, 2000)
    # The mutants reach what they are to test: each kind is refused sometimes.
    assert {name.split()[0] for name in counts if name.endswith("refused")} == {
        *("zip_fields", "zip_members", "config", "freeze", "hdf5", "hdf5_objects"),
        *("header", "delta", "any_bytes"),
    }
    assert sum(n for name, n in counts.items() if name.endswith("read")) > 100


@pytest.mark.full
@pytest.mark.parametrize("part", range(20))
def test_many_mutants_are_read_or_refused(part, good):
    fuzz(good, 100_000 + 10_000 * part, 10_000)
