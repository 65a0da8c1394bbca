"""The commands on model files: their output, exit statuses, and the files that do not change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import frostline as fl
from frostline import _console, cli
from helpers import assert_all_same_bits, assert_script_ends, invoke, told, values
from model_files import with_config
from models import frozen_variously, large, moved, small, subclassed

pytestmark = pytest.mark.once


@pytest.fixture
def plain(tmp_path):
    small().save(tmp_path / "plain.keras")
    return tmp_path / "plain.keras"


@pytest.fixture
def frozen(tmp_path):
    frozen_variously(small()).save(tmp_path / "frozen.keras")
    return tmp_path / "frozen.keras"


def test_inspect_lists_each_weight_and_totals_that_add_up(frozen):
    result = invoke("inspect", frozen)
    assert result.exit_code == 0, result.output
    lines = result.stdout.split("\n")
    cells = {line.split()[0]: line.split() for line in lines if "float32" in line}
    assert cells["hidden/kernel"] == [
        *("hidden/kernel", "(4,", "6)", "float32", "24", "5", "20.8%", "entries")
    ]
    assert cells["hidden/bias"][-4:] == ["6", "6", "100.0%", "whole"]
    total = next(line.split() for line in lines if line.lstrip().startswith("total"))
    counts = [[int(row[place]) for row in cells.values()] for place in (-4, -3)]
    assert total[1:3] == [str(sum(column)) for column in counts] == ["44", "15"]
    assert f"{frozen}: 4 weights, 44 entries, 15 frozen" in result.stdout


def test_inspect_prints_json(frozen):
    model = frozen_variously(small())
    shown = json.loads(invoke("inspect", frozen, "--json").stdout)
    assert shown["format"] == "keras"
    assert shown["holds_a_freeze"] is True
    assert shown["total"] == {"weights": 4, "entries": 44, "frozen": 15, "share": 15 / 44}
    assert shown["weights"][0] == {
        "path": "hidden/kernel",
        "key": "layers/dense/vars/0",
        "shape": [4, 6],
        "dtype": "float32",
        "entries": 24,
        "frozen": 5,
        "share": 5 / 24,
        "kind": "entries",
    }
    summary = {row.path: (row.frozen, row.kind) for row in fl.summary(model).rows}
    assert {w["path"]: (w["frozen"], w["kind"]) for w in shown["weights"]} == summary


def test_inspect_agrees_with_the_summary_of_a_large_model(tmp_path):
    model = frozen_variously(large())
    model.save(tmp_path / "large.keras")
    shown = json.loads(invoke("inspect", tmp_path / "large.keras", "--json").stdout)
    listed = {w["path"]: (w["shape"], w["frozen"], w["kind"]) for w in shown["weights"]}
    for row in fl.summary(model).rows:
        assert listed[row.path] == ([*row.shape], row.frozen, row.kind)
    assert shown["total"]["frozen"] == fl.summary(model).frozen


@pytest.mark.parametrize("suffix", ["weights.h5", "safetensors"])
def test_inspect_says_that_files_of_weights_hold_no_freeze(suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    if suffix == "weights.h5":
        frozen_variously(small()).save_weights(path)
    else:
        save_file({"hidden/kernel": np.ones((4, 6), "float32")}, path)
    result = invoke("inspect", path)
    assert f"no freeze: a .{suffix} file holds only weights" in result.stdout
    assert json.loads(invoke("inspect", path, "--json").stdout)["holds_a_freeze"] is False


def test_inspect_quietly_is_one_line(frozen):
    assert invoke("inspect", frozen, "-q").stdout.count("\n") == 1


def test_inspect_counts_what_an_optimizer_keeps(tmp_path):
    model = small()
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    assert "and 90 values of the optimizer, which are not listed" in (
        invoke("inspect", tmp_path / "model.keras").stdout
    )


def test_inspect_of_a_model_whose_classes_nobody_imported(tmp_path):
    frozen_variously(subclassed()).save(tmp_path / "model.keras")
    assert_command(tmp_path, ["inspect", "model.keras"], "recurrent/lstm_cell/kernel", status=0)


def test_diff_of_equal_files(frozen):
    result = invoke("diff", frozen, frozen)
    assert result.exit_code == 0
    assert result.stdout == (
        "0 of 4 weights changed, 0 of 44 entries\nfrozen: 0 of 15 entries differ\n"
    )


def test_diff_after_training(tmp_path, frozen):
    model = keras.saving.load_model(frozen)
    model.compile("adam", "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    model.save(tmp_path / "after.keras")
    result = invoke("diff", frozen, tmp_path / "after.keras")
    assert result.exit_code == 0, result.output
    assert "frozen: 0 of 15 entries differ" in result.stdout
    assert "hidden/kernel" in result.stdout
    assert "hidden/bias" not in result.stdout


def test_diff_names_the_first_frozen_entry_that_differs(tmp_path, frozen):
    model = moved(keras.saving.load_model(frozen), "hidden/kernel", (0, 1), 0.125)
    model.save(tmp_path / "after.keras")
    before = float(values(keras.saving.load_model(frozen))[0][0, 1])
    result = invoke("diff", frozen, tmp_path / "after.keras")
    assert result.exit_code == 1
    assert "frozen: 1 of 15 entries differ, the first is hidden/kernel[0, 1]: " in result.stdout
    assert result.stdout.endswith(f": {np.float32(before)!s} -> 0.125\n")
    quiet = invoke("diff", frozen, tmp_path / "after.keras", "--quiet")
    assert quiet.exit_code == 1
    assert quiet.stdout.count("\n") == 2


def test_diff_finds_one_entry_of_a_large_weight(tmp_path):
    layer = keras.layers.Dense(4096, use_bias=False, kernel_initializer="ones", name="large")
    model = keras.Sequential([keras.Input((4096,)), layer])
    fl.freeze(model, "large/kernel", fl.at[:, :2048])
    model.save(tmp_path / "before.keras")
    moved(model, "large/kernel", (3000, 77), np.nextafter(np.float32(1), np.float32(2)))
    model.save_weights(tmp_path / "after.weights.h5")
    result = invoke("diff", tmp_path / "before.keras", tmp_path / "after.weights.h5")
    assert result.exit_code == 1
    assert "1 of 1 weights changed, 1 of 16,777,216 entries" in result.stdout
    assert "the first is large/kernel[3000, 77]: 1.0 -> 1.0000001" in result.stdout


def test_diff_prints_json(tmp_path, frozen):
    model = moved(keras.saving.load_model(frozen), "out/bias", 1, -0.0)
    model.save(tmp_path / "after.keras")
    result = invoke("diff", frozen, tmp_path / "after.keras", "--json")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert shown["first"] == {"path": "out/bias", "index": [1], "before": "0.0", "after": "-0.0"}
    assert shown["freeze_from"] == [str(frozen), str(tmp_path / "after.keras")]
    assert shown["total"] == {
        "weights": 4,
        "weights_changed": 1,
        "entries": 44,
        "changed": 1,
        "largest_difference": 0.0,
        "not_finite": 0,
        "frozen": 15,
        "frozen_changed": 1,
    }
    assert shown["weights"][3] == {
        "path": "out/bias",
        "shape": [2],
        "dtype": "float32",
        "entries": 2,
        "changed": 1,
        "largest_difference": 0.0,
        "not_finite": 0,
        "frozen": 2,
        "frozen_changed": 1,
    }


def test_diff_as_json_is_strict(tmp_path, frozen):
    model = moved(keras.saving.load_model(frozen), "out/bias", 1, np.nan)
    model.save(tmp_path / "after.keras")
    text = invoke("diff", frozen, tmp_path / "after.keras", "--json").stdout
    shown = json.loads(text, parse_constant=pytest.fail)
    assert shown["weights"][3]["largest_difference"] is None
    assert shown["weights"][3]["not_finite"] == 1
    assert "1 of them infinite or not a number" in (
        invoke("diff", frozen, tmp_path / "after.keras").stdout
    )


def test_diff_of_weights_against_a_freeze_named(tmp_path, frozen):
    model = keras.saving.load_model(frozen)
    model.save_weights(tmp_path / "a.weights.h5")
    moved(model, "out/bias", 0, 1.0).save_weights(tmp_path / "b.weights.h5")
    files = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    unknown = invoke("diff", *files)
    assert unknown.exit_code == 0
    assert "name a file that does with --frozen MODEL.keras" in unknown.stdout
    result = invoke("diff", *files, "--frozen", frozen)
    assert result.exit_code == 1
    assert "the first is out/bias[0]: 0.0 -> 1.0" in result.stdout


def test_diff_refuses_a_freeze_that_is_not_there(plain):
    assert "contains no freeze; got 4 weights" in told(
        invoke("diff", plain, plain, "--frozen", plain)
    )


def test_diff_refuses_another_architecture(tmp_path, plain):
    large().save(tmp_path / "large.keras")
    message = told(invoke("diff", plain, tmp_path / "large.keras"))
    assert "the architecture differs" in message
    assert message.count("\n") == 1


def test_verify_of_a_whole_file(frozen):
    result = invoke("verify", frozen)
    assert (result.exit_code, result.stdout) == (
        0,
        f"{frozen}: intact; 4 weights, 44 entries, 15 frozen\n",
    )
    assert invoke("verify", frozen, "--quiet").stdout == ""
    assert json.loads(invoke("verify", frozen, "--json").stdout) == {
        "file": str(frozen),
        "intact": True,
        "faults": [],
        "weights": 4,
        "entries": 44,
        "frozen": 15,
    }


def test_verify_says_all_that_is_wrong(tmp_path, frozen):
    def change(config):
        for layer in config["config"]["layers"][1:]:
            layer["config"]["frostline"]["weights"][0]["plan"] = {"kind": "whole", "shape": [1]}

    bad = with_config(frozen, change, tmp_path / "bad.keras")
    result = invoke("verify", bad)
    assert result.exit_code == 1
    assert result.stdout == (
        f"{bad}: hidden/kernel: the weight has another shape, (4, 6); got a freeze for shape (1,)\n"
        f"{bad}: out/kernel: the weight has another shape, (6, 2); got a freeze for shape (1,)\n"
    )
    assert "does not fit its weights" in told(invoke("inspect", bad))


def test_verify_of_a_truncated_file(frozen):
    frozen.write_bytes(frozen.read_bytes()[:-100])
    result = invoke("verify", frozen)
    assert result.exit_code == 1
    assert "not a complete .keras file" in result.stdout


@pytest.mark.once(False)
def test_freeze_writes_what_freeze_in_python_does(tmp_path, plain):
    out = tmp_path / "out.keras"
    result = invoke(
        *("freeze", plain, "--weights", "hidden/*", "--weights", "out/bias"),
        *("--where", "units([0]) | at[-1]", "-o", out),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("hidden/kernel: 9 entries changed, 9 of 24 frozen\n")
    assert result.stdout.endswith(f"written to {out}\n")
    model = small()
    fl.freeze(model, ["hidden/*", "out/bias"], fl.units([0]) | fl.at[-1])
    loaded = keras.saving.load_model(out)
    for one, other in zip(fl.summary(loaded).rows, fl.summary(model).rows, strict=True):
        assert (one.path, one.frozen, one.kind) == (other.path, other.frozen, other.kind)
    assert_all_same_bits(values(loaded), values(model))
    assert invoke("diff", plain, out).exit_code == 0


@pytest.mark.parametrize(
    "rule",
    [
        "smallest(0.9, scope='model')",
        "~largest(3, of='rows')",
        "n_of_m(1, 2) & at[0]",
        "smallest(0.5, by='random', seed=7)",
    ],
)
def test_freeze_by_a_rule_is_that_of_python(tmp_path, plain, rule):
    out = tmp_path / "out.keras"
    result = invoke("freeze", plain, "--weights", "*/kernel", "--where", rule, "-o", out)
    assert result.exit_code == 0, result.output
    model = keras.saving.load_model(plain)
    names = {name: getattr(fl, name) for name in ("smallest", "largest", "n_of_m", "at")}
    changes = fl.freeze(model, "*/kernel", eval(rule, names))
    assert result.stdout.startswith(f"{changes}\n")
    loaded = keras.saving.load_model(out)
    for path in ("hidden", "out"):
        one, other = (fl.frozen_mask(m.get_layer(path).kernel) for m in (model, loaded))
        np.testing.assert_array_equal(one, other)


@pytest.mark.once(False)
def test_freeze_keeps_the_optimizer(tmp_path):
    model = small()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    path = tmp_path / "model.keras"
    result = invoke("freeze", path, "--weights", "out/bias", "-o", path, "--force")
    assert result.exit_code == 0, result.output
    again = keras.saving.load_model(path)
    assert int(again.optimizer.iterations) == 1
    assert not again.optimizer.variables[0].name.startswith("out")
    fl.freeze(model, "out/bias")
    old = [np.asarray(v) for v in model.optimizer.variables]
    assert_all_same_bits([np.asarray(v) for v in again.optimizer.variables], old)


@pytest.mark.once(False)
def test_unfreeze_gives_back_a_file_of_keras_alone(tmp_path, frozen):
    out = tmp_path / "out.keras"
    result = invoke("unfreeze", frozen, "-o", out)
    assert result.exit_code == 0, result.output
    assert json.loads(invoke("inspect", out, "--json").stdout)["holds_a_freeze"] is False
    assert_script_ends(
        f"import keras; model = keras.saving.load_model({str(out)!r})\n"
        "import sys; assert 'frostline' not in sys.modules"
    )


def test_unfreeze_gives_back_some(tmp_path, frozen):
    out = tmp_path / "out.keras"
    result = invoke("unfreeze", frozen, "--weights", "*bias", "--where", "at[:2]", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.split("\n")[:2] == [
        "hidden/bias: 2 entries changed, 4 of 6 frozen",
        "out/bias: 2 entries changed, 0 of 2 frozen",
    ]


def test_a_file_can_be_replaced_and_keeps_its_permissions(plain):
    plain.chmod(0o640)
    arguments = ("freeze", plain, "--weights", "out/bias", "-o", plain)
    assert "this file exists; got no --force. Add it" in told(invoke(*arguments))
    assert invoke(*arguments, "--force").exit_code == 0
    assert plain.stat().st_mode & 0o777 == 0o640
    assert json.loads(invoke("inspect", plain, "--json").stdout)["total"]["frozen"] == 2
    assert [path.name for path in plain.parent.iterdir()] == [plain.name]


def test_a_link_stays_one(tmp_path, plain):
    link = tmp_path / "link.keras"
    link.symlink_to(plain)
    assert invoke("freeze", plain, "--weights", "*", "-o", link, "--force").exit_code == 0
    assert link.is_symlink()
    assert json.loads(invoke("inspect", plain, "--json").stdout)["holds_a_freeze"] is True


def test_a_new_file_has_the_permissions_of_new_files(tmp_path, plain):
    out = tmp_path / "out.keras"
    assert invoke("freeze", plain, "--weights", "*", "-o", out).exit_code == 0
    (tmp_path / "new").touch()
    assert out.stat().st_mode == (tmp_path / "new").stat().st_mode


FAILING = {
    "a misspelt weight": (
        ("--weights", "hiden/kernel"),
        "no weight has this path; got weights='hiden/kernel'. Nearest: 'hidden/kernel'",
    ),
    "a selection that does not parse": (
        ("--weights", "*", "--where", "rows[0]"),
        "where: expected a selection",
    ),
    "a selection out of range": (
        ("--weights", "hidden/kernel", "--where", "at[9]"),
        "hidden/kernel: index 9 is out of range for axis 0 of size 4",
    ),
    "a selection of nothing": (
        ("--weights", "hidden/kernel", "--where", "at[9:]"),
        "this selection contains no entry of these weights",
    ),
    "heads where there are none": (
        ("--weights", "hidden/kernel", "--where", "heads([0])"),
        "this selection does not apply to any of these weights",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), FAILING.values(), ids=FAILING.keys())
def test_what_cannot_be_frozen_writes_nothing(arguments, message, plain):
    before = plain.read_bytes()
    error = told(invoke("freeze", plain, *arguments, "-o", plain, "--force"))
    assert message in error
    assert plain.read_bytes() == before
    assert [path.name for path in plain.parent.iterdir()] == [plain.name]


def test_a_file_that_cannot_be_written_leaves_nothing(monkeypatch, tmp_path, plain):
    def full(self, path, *args, **kwargs):
        del self, args, kwargs
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Sequential, "save", full)
    out = tmp_path / "out.keras"
    error = told(invoke("freeze", plain, "--weights", "*", "-o", out))
    assert f"{out}: cannot be written; got No space left on device" in error
    assert [path.name for path in plain.parent.iterdir()] == [plain.name]


def test_targets_that_cannot_be_are_refused_before_anything_is_loaded(tmp_path, plain):
    def refused(model, out):
        return told(invoke("freeze", model, "--weights", "*", "-o", out))

    assert "only .keras files hold a model" in refused(plain, tmp_path / "out.h5")
    assert "only .keras files hold a model" in refused(tmp_path / "a.weights.h5", plain)
    assert "its folder does not exist" in refused(plain, tmp_path / "no" / "out.keras")
    (tmp_path / "dir.keras").mkdir()
    assert "not a file; got a folder" in refused(plain, tmp_path / "dir.keras")
    assert "No such file" in refused(tmp_path / "no.keras", tmp_path / "out.keras")


def test_a_model_of_classes_that_nobody_imported(tmp_path):
    subclassed().save(tmp_path / "model.keras")
    assert_command(
        tmp_path,
        ["freeze", "model.keras", "--weights", "*", "-o", "out.keras"],
        "Keras cannot load this model",
    )


@pytest.mark.parametrize("command", ["inspect", "diff", "verify"])
def test_a_missing_file_is_one_line(command, tmp_path):
    paths = [tmp_path / "no.keras"] * (2 if command == "diff" else 1)
    message = told(invoke(command, *paths))
    assert message.startswith(f"frostline: {paths[0]}: ")
    assert message.count("\n") == 1


@pytest.mark.parametrize("name", ["notes.txt", "model.keras", "model.h5", "t.safetensors"])
@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_a_file_of_another_kind_is_one_line(command, name, tmp_path):
    (tmp_path / name).write_bytes(b"hello world, this is no model\n" * 99)
    message = told(invoke(command, *[tmp_path / name] * (2 if command == "diff" else 1)))
    assert message.startswith(f"frostline: {tmp_path / name}: not ") or "weights are not" in message


def test_a_folder_is_refused(tmp_path):
    assert "not a file; got a folder" in told(invoke("inspect", tmp_path))


def test_help_tells_the_exit_statuses():
    for command in ("inspect", "diff", "verify", "freeze", "unfreeze"):
        assert "Exit status: 0" in invoke(command, "--help").stdout


def assert_command(folder, arguments, printed, status=2):
    """Run the command in its own process, with the backend of this environment."""
    done = subprocess.run(
        [sys.executable, "-m", "frostline", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(fl.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert printed in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_looking_into_files_brings_no_keras_in(frozen):
    script = (
        "import sys\n"
        "sys.argv = ['frostline']\n"
        "from frostline.cli import main\n"
        "for command in ('inspect', 'diff', 'verify'):\n"
        f"    paths = [{str(frozen)!r}] * (2 if command == 'diff' else 1)\n"
        "    sys.argv = ['frostline', command, *paths]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code, ended.code\n"
        "    assert not {'keras', 'tensorflow', 'torch', 'jax'} & sys.modules.keys()\n"
        "import frostline\n"
        "assert frostline.freeze and 'keras' in sys.modules\n"
        "assert 'freeze' in frostline.__all__ and frostline.callbacks and frostline.plots\n"
        "assert not hasattr(frostline, 'thaw')\n"
    )
    assert_script_ends(script)


def test_only_the_command_starts_without_keras():
    start = cli.is_command
    assert start(["/usr/bin/frostline"], ["python", "/usr/bin/frostline"])
    assert start(["C:/bin/frostline.exe"], ["frostline.exe"])
    assert start(["-m", "inspect"], ["python", "-X", "dev", "-m", "frostline", "inspect"])
    assert not start(["-m"], ["python", "-m", "pytest", "-m", "frostline"])
    assert not start(["train.py"], ["python", "train.py"])
    assert not start([""], ["python"])
    assert not start(["-c"], ["python", "-c", "import frostline"])


def test_a_backend_that_is_installed_is_taken(tmp_path, plain):
    out = tmp_path / "out.keras"
    arguments = ["frostline", "freeze", str(plain), "--weights", "*", "-o", str(out)]
    script = (
        "import os, sys\n"
        "os.environ.pop('KERAS_BACKEND')\n"
        f"os.environ['KERAS_HOME'] = {str(tmp_path)!r}\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name != 'jax' else real(name)\n"
        f"sys.argv = {arguments!r}\n"
        "from frostline.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "import keras\n"
        "assert keras.backend.backend() == 'jax'\n"
    )
    assert_script_ends(script)
    assert out.exists()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "plain"])
@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["quick", "slow"])
def test_a_bar_is_shown_on_a_terminal_where_it_takes_a_while(
    terminal, quiet, seconds, monkeypatch, capsys
):
    clock = iter(np.arange(1000) * seconds)
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with _console.meter("reading", 10, quiet=quiet) as advance:
        for _ in range(10):
            advance(1)
    captured = capsys.readouterr()
    assert ("reading" in captured.err) == (terminal and not quiet and seconds > 0)
    assert captured.out == ""


def test_a_table_is_as_wide_as_it_must_be(capsys):
    _console.show_table(["weight", "n"], [["a/[red]" + "b" * 300, "1"]], ["total", "1"])
    assert "a/[red]" + "b" * 300 in capsys.readouterr().out


def test_names_that_a_terminal_cannot_show(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="schön_层")])
    model.save(tmp_path / "model.keras")
    done = subprocess.run(
        [sys.executable, "-m", "frostline", "inspect", "model.keras"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(fl.__file__).parent.parent),
            "PYTHONIOENCODING": "ascii",
        },
        capture_output=True,
        check=True,
    )
    assert b"sch\\xf6n_\\u5c42/kernel" in done.stdout
