"""What the page about the command promises and no other test proves."""

import json
import re

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

import frostline as fl
from frostline import cli
from frostline._backends import choose
from frostline._files import sources
from helpers import ROOT, invoke, told
from models import moved, small

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
ELSEWHERE = {"-m", "--disk", "--gigabytes"}  # of Python and of the benchmarks


def options_of(command):
    """Every option of a command and of its subcommands."""
    for option in command.params:
        yield from (name for name in option.opts if name.startswith("-"))
    for subcommand in getattr(command, "commands", {}).values():
        yield from options_of(subcommand)


def test_the_page_has_each_option_and_no_other():
    options = {*options_of(typer.main.get_command(cli.app())), "--help"}
    named = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", PAGE))
    assert named - options == ELSEWHERE
    assert options - named == {"-q", "--show-completion", "--version"}


def test_the_page_lists_each_command():
    listed = re.findall(r"^\| `frostline (\w+(?: (?:extract|apply|info))?)", PAGE, re.M)
    inside = {"delta extract", "delta apply", "delta info"}
    assert set(listed) == cli.COMMANDS.keys() - {"delta"} | inside
    for command in listed:
        assert invoke(*command.split(), "--help").exit_code == 0


@pytest.fixture
def tensors(tmp_path):
    """Files of two weights before and after training: three of the eight entries moved."""
    before = {"a/kernel": np.zeros((2, 3), "float32"), "a/bias": np.ones(2, "float32")}
    after = {name: array.copy() for name, array in before.items()}
    after["a/kernel"][0] = 1 / 3
    for name, arrays in (("before", before), ("after", after)):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["verify", "absent.keras"], 2, "no such file; got nothing to verify. Check its name"),
        (["verify", "."], 2, "not a file; got a folder or a device. Pass a .keras"),
        (["verify", "/dev/null"], 2, "not a file; got a folder or a device"),
        (["verify", "notes.txt"], 1, "not the name of a model file"),
        (["verify", "notes.txt", "--quiet"], 1, "not the name of a model file"),
        (["inspect"], 2, "Missing argument 'MODEL'"),
        (["inspect", "before.safetensors", "--bogus"], 2, "No such option: --bogus"),
        (["diff", "before.safetensors"], 2, "Missing argument 'AFTER'"),
        (["freeze", "model.keras", "-o", "out.keras"], 2, "Missing option '--weights'"),
        (["unfreeze", "model.keras"], 2, "Missing option '--out'"),
        (["delta", "extract", "after.safetensors", "-o", "d", "--dtype", "int8"], 2, "'bfloat16'"),
        (["report", "after.safetensors", "-o", "page.htm"], 0, "written to page.htm"),
        (["demo", "--out", "picture.jpg"], 2, "not the name of a .png file: picture.jpg"),
        (["demo", "--epochs", "0"], 2, "greater than or equal to 1"),
        (["thaw"], 2, "No such command 'thaw'"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_the_exit_status_of(words, status, message, tensors, monkeypatch):
    monkeypatch.chdir(tensors)
    (tensors / "notes.txt").touch()
    result = invoke(*words)
    assert result.exit_code == status, result.output
    assert message in result.output


def test_verify_as_json_lists_the_faults(tensors):
    whole = (tensors / "after.safetensors").read_bytes()
    (tensors / "cut.safetensors").write_bytes(whole[:-4])
    result = invoke("verify", tensors / "cut.safetensors", "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["intact"], len(shown["faults"])) == (1, False, 1)


def test_verify_cannot_see_a_changed_number_in_a_file_without_checksums(tensors):
    path = tensors / "after.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert ": intact; 2 weights, 8 entries" in invoke("verify", path).stdout


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_with_a_base_a_delta_is_of_what_differs_and_can_be_rounded(tensors, dtype):
    delta = tensors / "d.safetensors"
    base = ("--base", tensors / "before.safetensors")
    result = invoke(
        *("delta", "extract", tensors / "after.safetensors", *base),
        *("-o", delta, "--dtype", dtype),
    )
    assert f"{delta}: a delta of 1 of 2 weights, 3 entries\n" in result.stdout
    assert f"values are rounded to {dtype}" in result.stdout


def test_inspect_reads_no_weight(tmp_path, monkeypatch):
    small().save(tmp_path / "model.keras")
    monkeypatch.setattr(sources.Bytes, "read", None)
    assert invoke("inspect", tmp_path / "model.keras").exit_code == 0


def test_an_entry_is_frozen_if_either_file_says_so_unless_a_file_is_named(tmp_path):
    model = small()
    save_file(fl.snapshot(model), tmp_path / "plain.safetensors")
    fl.freeze(model, "out/bias")
    model.save(tmp_path / "other.keras")
    fl.unfreeze(model)
    fl.freeze(model, "hidden/kernel", fl.at[0])
    moved(model, "hidden/kernel", (0, 1), 0.125).save(tmp_path / "moved.keras")
    other, changed = tmp_path / "other.keras", tmp_path / "moved.keras"
    plain = tmp_path / "plain.safetensors"
    for files in ((plain, changed), (changed, plain)):
        result = invoke("diff", *files, "-q")
        assert result.exit_code == 1
        assert "frozen: 1 of 6 entries differ, the first is hidden/kernel[0, 1]" in result.stdout
    both = invoke("diff", other, changed, "-q")
    assert (both.exit_code, "frozen: 1 of 8 entries differ" in both.stdout) == (1, True)
    named = invoke("diff", plain, changed, "-q", "--frozen", other)
    assert (named.exit_code, "frozen: 0 of 2 entries differ" in named.stdout) == (0, True)


def test_what_apply_makes_is_another_base_for_a_delta_of_other_entries(tensors):
    base, out = tensors / "before.safetensors", tensors / "out.safetensors"
    other = tensors / "other.safetensors"
    save_file({"a/kernel": np.zeros((2, 3), "f"), "a/bias": np.full(2, 3, "f")}, other)
    one, two = tensors / "one.safetensors", tensors / "two.safetensors"
    for tuned, delta in ((tensors / "after.safetensors", one), (other, two)):
        assert invoke("delta", "extract", tuned, "--base", base, "-o", delta).exit_code == 0
    assert (
        invoke("delta", "apply", base, one, two, "-o", tensors / "both.safetensors").exit_code == 0
    )
    assert invoke("delta", "apply", base, one, "-o", out).exit_code == 0
    error = told(invoke("delta", "apply", out, two, "-o", tensors / "x.safetensors"))
    assert "this is not the base that the delta was trained on" in error
    assert not (tensors / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("configured", "installed", "taken"),
    [
        ("jax", ("tensorflow", "jax", "torch"), "jax"),
        ("jax", ("torch",), "torch"),
        ("numpy", ("jax", "torch"), "jax"),
        (None, ("tensorflow", "torch"), "tensorflow"),
    ],
    ids=["configured", "not installed", "cannot train", "no configuration"],
)
def test_the_backend_of_freeze(configured, installed, taken, monkeypatch, tmp_path):
    if configured:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": configured}))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    find = {name: object() for name in installed}.get
    monkeypatch.setattr(choose.importlib.util, "find_spec", find)
    asked = []
    monkeypatch.setattr(choose, "restart_with", asked.append)
    choose.restart_with_any()
    assert asked == [taken]


@pytest.mark.parametrize(
    ("named", "installed", "message"),
    [
        ("jax", ("torch",), "KERAS_BACKEND: no installed backend of Keras has this name"),
        ("nonsense", ("torch", "nonsense"), "got KERAS_BACKEND='nonsense'. Install it, or set"),
        (None, (), "keras: no backend is installed; got none of"),
    ],
    ids=["not installed", "not a backend", "none"],
)
def test_without_a_backend_freeze_stops_with_one_line(
    named, installed, message, monkeypatch, tmp_path
):
    monkeypatch.setattr("frostline._cli.rewrite.refuse_files", lambda *given, **named: None)
    monkeypatch.setattr(choose.importlib.util, "find_spec", {n: 1 for n in installed}.get)
    if named:
        monkeypatch.setenv("KERAS_BACKEND", named)
    else:
        monkeypatch.delenv("KERAS_BACKEND")
    out = tmp_path / "out.keras"
    error = told(invoke("freeze", "model.keras", "--weights", "*", "-o", out))
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
