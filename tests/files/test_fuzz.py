"""Thousands of damaged and forged files: each is read, or refused with a frostline error."""

import json
import pathlib
import random
import subprocess
import sys
import warnings
import zipfile
from collections import Counter

import keras
import pytest

import frostline as fl
from files import fuzzing
from model_files import with_config

pytestmark = pytest.mark.once


def fuzz(folder, first, count):
    """Try mutants in a separate process, and count the outcomes."""
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


@pytest.mark.parametrize("part", range(2))
def test_mutants_are_read_or_refused(part, good):
    counts = fuzz(good, 1000 * part, 1000)
    # The mutants reach the checks they are meant for: each kind is refused at least once.
    assert {name.split()[0] for name in counts if name.endswith("refused")} == {
        *("zip_fields", "zip_members", "config", "freeze", "hdf5", "hdf5_objects"),
        *("header", "delta", "any_bytes"),
    }
    assert sum(n for name, n in counts.items() if name.endswith("read")) > 100


def forged(good, number, path):
    """Write a file whose freeze is a mutant, and whose other contents are unchanged."""
    mutants = fuzzing.Mutants(good)
    mutants.random = random.Random(number)
    path.write_bytes(mutants.freeze()[1])
    with zipfile.ZipFile(good / "model.keras") as archive:
        whole = json.loads(archive.read("config.json"))

    def restore(config):
        for kept, layer in zip(layers(whole), layers(config), strict=True):
            freeze = layer["config"].get("frostline")
            if isinstance(freeze, dict) and isinstance(freeze.get("layer"), dict):
                freeze["layer"] = kept["config"]["frostline"]["layer"]
            kept["config"]["frostline"] = freeze
        config.clear()
        config.update(whole)

    return with_config(path, restore, path.with_name("restored.keras"))


def layers(config):
    """The configs of the layers that have a freeze."""
    names = {"first", "second", "third", "last"}
    return [one for one in config["config"]["layers"] if one["config"].get("name") in names]


def loaded(good, number, folder):
    """Whether a model whose freeze is a mutant can be loaded."""
    try:
        path = forged(good, number, folder / "mutant.keras")
    except (ValueError, RecursionError, LookupError, TypeError):
        return False  # the layers changed too, which only Keras can report
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            keras.saving.load_model(path)
        except fl.FrostlineError:
            return False
        except Exception as error:
            raise AssertionError(f"mutant {number}: {error!r}") from error
    return True


def test_a_malformed_freeze_is_an_error_of_ours_when_keras_loads_it(good, tmp_path):
    counts = Counter(loaded(good, number, tmp_path) for number in range(60))
    assert counts[False] > 20
    assert counts[True]


@pytest.mark.full
def test_many_malformed_freezes(good, tmp_path):
    for number in range(1000, 4000):
        loaded(good, number, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("part", range(20))
def test_many_mutants_are_read_or_refused(part, good):
    fuzz(good, 100_000 + 10_000 * part, 10_000)
