"""DistributedDataParallel in several processes matches one process and sends no frozen entries.

The processes run `programs/torch_ddp.py`, which trains the scenarios one after another.
"""

import re

import keras
import numpy as np
import pytest

import frostline as fl
from engines.programs import torch_training
from engines.programs.torch_training import SCENARIOS, Run, build, freeze, frozen_first
from helpers import ROOT, assert_same_bits
from processes import run_together, started

LONG = [name for name in SCENARIOS if name.startswith("compiled and changed")]
SHORT = [name for name in SCENARIOS if name not in LONG]
FOUR = ["changed, keras", "accumulated, native", "fitted, keras"]
OTHERS = ["saved", "loaded", "loaded_weights", "checkpointed", "restored", "not_wrapped_again"]


class Together:
    """Runs the program in several processes and reads the results from its folder."""

    def __init__(self, folder, count, names):
        self.folder, self.count = folder, count
        self.printed = run_together("torch_ddp", count, folder, *names, folder=folder)

    def results(self, name):
        """The weights, the numbers of reduced bytes and the warnings of each process."""
        files = [np.load(self.folder / f"{name}-{rank}.npz") for rank in range(self.count)]
        weights = [{k: f[k] for k in f.files if k not in ("wire", "told")} for f in files]
        return weights, [f["wire"] for f in files], [list(f["told"]) for f in files]


def program_of_the_documentation():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    programs = re.findall(r"```py\n(.*?)```", pages, re.S)
    (found,) = (program for program in programs if "DistributedDataParallel" in program)
    return found


@pytest.fixture(scope="module")
def one():
    """Runs in one process, which several processes then continue."""
    return frozen_first(), frozen_first(native=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory, one):
    folder = tmp_path_factory.mktemp("two")
    run, native = one
    run.model.save(folder / "one.keras")
    native.model.save_weights(folder / "one.weights.h5")
    torch_training.save_checkpoint(native, folder / "one")
    (folder / "train.py").write_text(program_of_the_documentation())
    return Together(folder, 2, [*SHORT, *OTHERS])


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return Together(tmp_path_factory.mktemp("four"), 4, FOUR)


def assert_as_one(together, name, run):
    """All processes have the same bits, and their weights match a run in one process."""
    (first, *others), _, _ = together.results(name)
    expected = fl.snapshot(run.model)
    for path, weight in first.items():
        for other in others:
            assert_same_bits(other[path], weight)
    assert_close(first, expected)


def assert_close(weights, expected):
    assert weights.keys() == expected.keys()
    for path, weight in weights.items():
        np.testing.assert_allclose(weight, expected[path], rtol=0, atol=2e-5, err_msg=path)


def assert_reduces_what_trains(together, name):
    _, wires, _ = together.results(name)
    everything = sum(weight.nbytes for weight in fl.snapshot(build()).values())
    for wire in wires:
        reduced, trained = wire.T
        assert (reduced == trained).all()
        assert 0 < trained.min() < everything


def check(together, name):
    # A compiled scenario is compared with the same one without compilation.
    uncompiled = name.replace("compiled and ", "").replace("compiled", "frozen first")
    assert_as_one(together, name, SCENARIOS[uncompiled]())
    assert_reduces_what_trains(together, name)


@pytest.mark.parametrize("name", SHORT)
def test_two_processes_train_as_one_and_reduce_what_trains(two, name):
    check(two, name)


@pytest.mark.parametrize("name", FOUR)
def test_four_processes_train_as_one_and_reduce_what_trains(four, name):
    check(four, name)


def test_what_processes_save_opens_on_one_device(two):
    (weights, _), _, _ = two.results("saved")
    model = keras.saving.load_model(two.folder / "saved-0.keras")
    mine = fl.snapshot(model)
    plain = keras.Sequential.from_config(build().get_config())
    plain.load_weights(two.folder / "saved-1.weights.h5")
    for path, weight in weights.items():
        assert_same_bits(mine[path], weight)
        assert_same_bits(fl.snapshot(plain)[path], weight)
    # The freeze and the optimizer state are restored.
    run, expected = Run(model, at=4), frozen_first()
    run.steps(2)
    expected.steps(2)
    assert_close(fl.snapshot(run.model), fl.snapshot(expected.model))


def test_a_delta_is_the_same_file_in_each_process_and_from_one(two):
    model = keras.saving.load_model(two.folder / "saved-0.keras")
    fl.extract_delta(model).save(two.folder / "one.safetensors")
    expected = (two.folder / "one.safetensors").read_bytes()
    for rank in range(2):
        assert (two.folder / f"saved-{rank}.safetensors").read_bytes() == expected


@pytest.mark.parametrize("name", ["loaded", "loaded_weights", "restored"])
def test_processes_go_on_with_what_one_has_saved(two, name):
    # `loaded_weights` starts with a new native optimizer; `restored` continues with the old one.
    run = frozen_first(native=name != "loaded")
    if name == "loaded_weights":
        run.wrap()
    run.steps(2)
    assert_as_one(two, name, run)
    assert_reduces_what_trains(two, name)


def test_a_checkpoint_of_two_processes_opens_in_one(two):
    model = build()
    freeze(model)
    run = Run(model, native=True, at=4)
    torch_training.load_checkpoint(run, two.folder / "many")
    (weights, _), _, _ = two.results("checkpointed")
    for path, weight in fl.snapshot(model).items():
        assert_same_bits(weight, weights[path])
    run.steps(2)
    expected = frozen_first(native=True)
    expected.steps(2)
    assert_close(fl.snapshot(model), fl.snapshot(expected.model))


def test_a_checkpoint_of_another_freeze_is_refused(two):
    model = build()
    freeze(model)
    fl.unfreeze(model, "tokens/*", fl.tokens([0]))
    fl.freeze(model, "tokens/*", fl.tokens([1]))
    before = fl.snapshot(model)
    with pytest.raises(BaseException, match=r"(?s)Missing key in .*_frozen_"):
        torch_training.load_checkpoint(Run(model, native=True), two.folder / "many")
    for path, weight in fl.snapshot(model).items():
        assert_same_bits(weight, before[path])


def test_the_processes_differ_where_the_model_is_not_wrapped_again(two):
    weights, _, told = two.results("not_wrapped_again")
    assert (weights[0]["hidden/bias"] != weights[1]["hidden/bias"]).any()
    for lines in told:
        (line,) = lines
        assert line.startswith("model/hidden/bias: the model was wrapped before this change")


@pytest.mark.parametrize("optimizer", ["keras", pytest.param("native", marks=pytest.mark.full)])
def test_a_killed_worker_and_a_restart_change_no_bit(tmp_path, optimizer):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    with started("torch_restart", 2, optimizer, 0.2, killed, folder=tmp_path) as processes:
        processes.wait_for(1, "step 5")
        processes.kill(1)
    assert (killed / "last").read_text() in ("4", "6")
    assert not (killed / "1.npz").exists()
    printed = run_together("torch_restart", 2, optimizer, 0, killed, whole, folder=tmp_path)
    assert all(lines.count("begins at 0") == 1 for lines in printed)  # only the uninterrupted run
    expected = np.load(whole / "0.npz")
    for rank in range(2):
        weights = np.load(killed / f"{rank}.npz")
        for path in fl.snapshot(build()):
            assert_same_bits(weights[path], expected[path])


def test_the_program_of_the_documentation_runs(two):
    last = two.printed[0].splitlines()[-1]
    assert re.fullmatch(r"loss 0\.[01]\d\d", last), last
    kernel = keras.saving.load_model(two.folder / "tuned.keras").get_layer("hidden").kernel
    assert fl.frozen_mask(kernel)[0].sum() == 32


@pytest.mark.full
def test_compiled_code_follows_a_change(tmp_path):
    together = Together(tmp_path, 2, LONG)
    for name in LONG:
        check(together, name)
