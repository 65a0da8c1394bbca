"""`frostline delta` extracts the same deltas from files as from models, and applies them."""

import json
import zipfile

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import frostline as fl
from frostline._deltas.model import weights_in
from frostline._files import open_file
from helpers import (
    assert_all_same_bits,
    assert_same_bits,
    assert_script_ends,
    everything_in,
    invoke,
    stored_value,
    told,
    value,
)
from model_files import compressed
from models import MAKERS, frozen_variously, large, rewritten, small, subclassed, twin

pytestmark = pytest.mark.once


def succeeded(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def contents(path):
    """Read every weight in a file, by its key."""
    with open_file(path) as opened:
        return {weight.key: stored_value(weight) for weight in opened.weights}


def assert_same_contents(path, other):
    one, two = contents(path), contents(other)
    assert one.keys() == two.keys()
    for key, array in one.items():
        assert_same_bits(array, two[key])


@pytest.fixture
def files(tmp_path):
    """Write a plain base, and a partly frozen model trained from it, with its optimizer."""
    model = frozen_variously(small())
    twin(small, model).save(tmp_path / "base.keras")
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))
    rewritten(model).save(tmp_path / "tuned.keras")
    return tmp_path


def test_the_base_comes_first(files):
    delta = files / "tuned.safetensors"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", delta))
    result = invoke("delta", "apply", delta, files / "base.keras", "-o", files / "out.keras")
    assert result.exit_code == 2
    assert "The base comes first: `frostline delta apply" in told(result)
    assert not (files / "out.keras").exists()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_extract_and_apply_make_the_tuned_file_of_the_base(make, tmp_path):
    model = frozen_variously(make())
    twin(make, model).save(tmp_path / "base.keras")
    rewritten(model).save(tmp_path / "tuned.keras")
    delta = tmp_path / "delta.safetensors"
    succeeded(invoke("delta", "extract", tmp_path / "tuned.keras", "-o", delta))
    succeeded(invoke("delta", "apply", tmp_path / "base.keras", delta, "-o", tmp_path / "o.keras"))
    assert_same_contents(tmp_path / "o.keras", tmp_path / "tuned.keras")
    assert_all_same_bits(
        everything_in(keras.saving.load_model(tmp_path / "o.keras")), everything_in(model)
    )
    assert invoke("verify", tmp_path / "o.keras").exit_code == 0


@pytest.mark.once(False)
def test_a_file_gives_the_delta_that_its_model_gives(files):
    out = files / "delta.safetensors"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", out))
    assert fl.load_delta(out) == fl.extract_delta(keras.saving.load_model(files / "tuned.keras"))


def test_moving_statistics_and_layers_that_are_off(tmp_path):
    model = large()
    model.get_layer("out").trainable = False
    model.get_layer("encoder").trainable = False
    fl.freeze(model, "lstm/*")
    model.save(tmp_path / "tuned.keras")
    out = tmp_path / "delta.safetensors"
    succeeded(invoke("delta", "extract", tmp_path / "tuned.keras", "-o", out))
    held = {weight.path: weight for weight in fl.load_delta(out).weights}
    for weight in fl.extract_delta(model).weights:
        mine = held[weight.path]
        assert (mine.held, mine.state) == (weight.held, weight.state), weight.path
    assert fl.load_delta(out).base == fl.extract_delta(model).base


@pytest.mark.parametrize("suffix", ["weights.h5", "safetensors"])
def test_files_of_weights_alone(files, suffix):
    for name in ("base", "tuned"):
        model = keras.saving.load_model(files / f"{name}.keras")
        if suffix == "weights.h5":
            model.save_weights(files / f"{name}.{suffix}")
        else:
            arrays = {w.path: value(w.found.variable) for w in weights_in(model)}
            save_file(arrays, files / f"{name}.{suffix}")
    tuned, base = (files / f"{name}.{suffix}" for name in ("tuned", "base"))
    delta, out = files / "delta.safetensors", files / f"out.{suffix}"
    error = told(invoke("delta", "extract", tuned, "-o", delta))
    assert "cannot tell which entries were trained" in error
    assert "--frozen MODEL.keras" in error
    assert not delta.exists()
    frozen = files / "tuned.keras"
    succeeded(invoke("delta", "extract", tuned, "--frozen", frozen, "-o", delta))
    assert fl.load_delta(delta).size == 29
    succeeded(invoke("delta", "apply", base, delta, "-o", out))
    assert_same_contents(out, tuned)
    succeeded(invoke("delta", "extract", tuned, "--base", base, "-o", delta, "--force"))
    succeeded(invoke("delta", "apply", base, delta, "-o", out, "--force"))
    assert_same_contents(out, tuned)


def test_with_a_base_what_is_frozen_must_not_have_moved(files):
    model = keras.saving.load_model(files / "tuned.keras")
    kernel = model.get_layer("out").kernel
    kernel.assign(value(kernel) * 2)
    model.save(files / "spoiled.keras")
    out = files / "delta.safetensors"
    base, spoiled = files / "base.keras", files / "spoiled.keras"
    error = told(invoke("delta", "extract", spoiled, "--base", base, "-o", out))
    assert (
        f"{spoiled}: out/kernel: a frozen entry differs from the base; got weight[0, 0]=" in error
    )
    assert not out.exists()


def test_weights_that_a_file_has_no_names_for(tmp_path):
    model = frozen_variously(subclassed())
    base = twin(subclassed, model)
    base.save(tmp_path / "base.keras")
    fl.extract_delta(rewritten(model)).save(tmp_path / "d.safetensors")
    out = tmp_path / "out.keras"
    delta = tmp_path / "d.safetensors"
    succeeded(invoke("delta", "apply", tmp_path / "base.keras", delta, "-o", out))
    fl.apply_delta(base, delta)
    base.save(tmp_path / "python.keras")
    assert_same_contents(out, tmp_path / "python.keras")


@pytest.mark.once(False)
def test_half_precision_travels_to_the_bit(tmp_path):
    def make():
        layers = [keras.layers.Dense(3, dtype="bfloat16", name="d")]
        return keras.Sequential([keras.Input((4,)), *layers])

    model = make()
    fl.freeze(model, "d/kernel", fl.at[0])
    twin(make, model).save(tmp_path / "base.keras")
    rewritten(model).save(tmp_path / "tuned.keras")
    delta, out = tmp_path / "d.safetensors", tmp_path / "out.keras"
    succeeded(invoke("delta", "extract", tmp_path / "tuned.keras", "-o", delta))
    assert fl.load_delta(delta) == fl.extract_delta(model)
    succeeded(invoke("delta", "apply", tmp_path / "base.keras", delta, "-o", out))
    assert_same_contents(out, tmp_path / "tuned.keras")


def test_all_else_in_the_file_stays(files):
    """The config with its freeze, the optimizer and the metadata do not change."""
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", files / "d.safetensors"))
    rewritten(keras.saving.load_model(files / "tuned.keras"), 3).save(files / "base2.keras")
    out = files / "out.keras"
    succeeded(invoke("delta", "apply", files / "base2.keras", files / "d.safetensors", "-o", out))
    with zipfile.ZipFile(out) as archive, zipfile.ZipFile(files / "base2.keras") as base:
        assert archive.namelist() == base.namelist()
        for name in ("config.json", "metadata.json"):
            assert archive.read(name) == base.read(name)
    model = keras.saving.load_model(out)
    assert fl.summary(model).frozen == 15
    optimizer = keras.saving.load_model(files / "tuned.keras").optimizer.variables
    for mine, theirs in zip(model.optimizer.variables, optimizer, strict=True):
        np.testing.assert_array_equal(*[keras.ops.convert_to_numpy(v) for v in (mine, theirs)])


def test_an_archive_that_another_program_packed(files):
    packed = compressed(files / "base.keras", files / "packed.keras")
    delta, out = files / "d.safetensors", files / "out.keras"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", delta))
    succeeded(invoke("delta", "apply", packed, delta, "-o", out))
    assert_same_contents(out, files / "tuned.keras")


def test_several_deltas_and_which_wins(tmp_path):
    base = small()
    base.save(tmp_path / "base.keras")
    for name, rows in (("a", [0, 1]), ("b", [1, 2])):
        model = twin(small, base)
        fl.freeze(model, "out/*")
        fl.freeze(model, "hidden/bias")
        fl.freeze(model, "hidden/kernel", ~fl.at[rows])
        fl.extract_delta(rewritten(model, rows[0])).save(tmp_path / f"{name}.safetensors")
    a, b = (fl.load_delta(tmp_path / f"{name}.safetensors") for name in "ab")
    paths = [tmp_path / "base.keras", tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    error = told(invoke("delta", "apply", *paths, "-o", tmp_path / "o.keras"))
    assert f"{paths[0]}: hidden/kernel: two deltas write different values to the same" in error
    assert "entries; got 6 such entries" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("a.safetensors", "b.safetensors", "base.keras")
    ]
    for overlap in ("first", "last"):
        out = tmp_path / f"{overlap}.keras"
        succeeded(invoke("delta", "apply", *paths, "-o", out, "--overlap", overlap))
        model = twin(small, base)
        fl.apply_delta(model, a)
        fl.apply_delta(model, b, overlap=overlap)
        assert_all_same_bits(everything_in(keras.saving.load_model(out)), everything_in(model))


def test_another_base_is_refused_and_nothing_is_written(files):
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", files / "d.safetensors"))
    model = small()
    kernel = model.get_layer("hidden").kernel
    kernel.assign(value(kernel) + 1)
    model.save(files / "other.keras")
    before = sorted(path.name for path in files.iterdir())
    arguments = ("delta", "apply", files / "other.keras", files / "d.safetensors")
    error = told(invoke(*arguments, "-o", files / "out.keras"))
    mine = fl.extract_delta(frozen_variously(model)).base[:16]
    assert f"base={mine}, the delta is for base=" in error
    assert sorted(path.name for path in files.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["apply", "base.keras", "d.safetensors", "-o", "out.weights.h5"], "of another format"),
        (["apply", "base.keras", "d.safetensors", "-o", "tuned.keras"], "got no --force. Add it"),
        (["apply", "base.keras", "d.safetensors", "-o", "no/out.keras"], "does not exist"),
        (["apply", "base.keras", "absent.safetensors", "-o", "out.keras"], "cannot be read"),
        (
            ["apply", "base.keras", "base.keras", "-o", "out.keras"],
            "a delta is a .safetensors file",
        ),
        (["extract", "tuned.keras", "-o", "d.safetensors"], "got no --force. Add it"),
        (["extract", "tuned.keras", "-o", "d.npz"], "a delta is a .safetensors file"),
        (["extract", "base.keras", "-o", "e.safetensors"], "cannot tell which entries"),
        (["extract", "absent.keras", "-o", "e.safetensors"], "cannot be read"),
        (
            ["extract", "tuned.keras", "--frozen", "base.keras", "-o", "e.safetensors"],
            "contains no freeze",
        ),
        (["info", "base.keras"], "a delta is a .safetensors file"),
    ],
)
def test_bad_input_is_one_clear_line(files, arguments, message, monkeypatch):
    monkeypatch.chdir(files)
    succeeded(invoke("delta", "extract", "tuned.keras", "-o", "d.safetensors"))
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    assert message in told(invoke("delta", *arguments))
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_info_lists_what_is_in_it(files):
    delta = files / "d.safetensors"
    shown = succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", delta))
    told_more = succeeded(invoke("delta", "info", delta))
    assert told_more.startswith(shown)
    cells = {line.split()[0]: line.split() for line in shown.split("\n") if "float32" in line}
    assert cells.keys() == {"hidden/kernel", "out/kernel"}
    assert cells["out/kernel"][-5:] == ["12", "10", "83.3%", "block", "60"]
    loaded = fl.load_delta(delta)
    assert f"{delta}: a delta of 2 of 4 weights, 29 entries" in shown
    assert f"fingerprint {loaded.fingerprint}, for base {loaded.base}" in told_more
    assert succeeded(invoke("delta", "info", delta, "-q")).count("\n") == 2


def test_info_prints_json(files):
    delta = files / "d.safetensors"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", delta, "-q"))
    shown = json.loads(succeeded(invoke("delta", "info", delta, "--json")))
    loaded = fl.load_delta(delta)
    assert (shown["fingerprint"], shown["base"]) == (loaded.fingerprint, loaded.base)
    assert shown["frostline"] == fl.__version__
    assert shown["total"] == {"weights": 2, "entries": 44, "held": 29, "bytes": 212}
    assert shown["weights"][1] == {
        "path": "hidden/bias",
        "shape": [6],
        "dtype": "float32",
        "entries": 6,
        "held": 0,
        "kind": "",
        "bytes": 0,
        "state": False,
        "fingerprint": loaded.weights[1].fingerprint,
    }


def test_the_commands_on_model_files_know_a_delta(files):
    delta = files / "d.safetensors"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", delta, "-q"))
    assert "a delta: `frostline delta info" in succeeded(invoke("inspect", delta))
    assert invoke("verify", delta).exit_code == 0
    data = bytearray(delta.read_bytes())
    data[-1] ^= 1
    delta.write_bytes(data)
    result = invoke("verify", delta)
    assert result.exit_code == 1
    assert "Take the file from its source again" in result.stdout


def test_a_base_can_be_replaced(files):
    base, delta = files / "base.keras", files / "d.safetensors"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", delta))
    succeeded(invoke("delta", "apply", base, delta, "-o", base, "--force"))
    assert_same_contents(base, files / "tuned.keras")


def test_the_commands_bring_no_keras_in(files):
    script = (
        "import sys; sys.argv = ['frostline']; sys.orig_argv = ['python', 'frostline']\n"
        "from typer.testing import CliRunner\n"
        "from frostline import cli\n"
        f"folder = {str(files)!r} + '/'\n"
        "for command in (['extract', 'tuned.keras', '-o', 'd.safetensors'],\n"
        "                ['info', 'd.safetensors'],\n"
        "                ['apply', 'base.keras', 'd.safetensors', '-o', 'out.keras']):\n"
        "    words = [folder + w if '.' in w else w for w in command]\n"
        "    done = CliRunner().invoke(cli.app(), ['delta', *words])\n"
        "    assert done.exit_code == 0, done.output\n"
        "assert 'keras' not in sys.modules\n"
    )
    assert_script_ends(script)


def test_info_says_that_values_were_rounded(files):
    out = files / "delta.safetensors"
    succeeded(invoke("delta", "extract", files / "tuned.keras", "-o", out))
    said = "values are rounded to bfloat16, so not bit for bit the trained values"
    assert said not in succeeded(invoke("delta", "info", out))
    assert json.loads(succeeded(invoke("delta", "info", out, "--json")))["rounded_to"] is None
    exact = fl.load_delta(out)
    extract = ("delta", "extract", files / "tuned.keras", "-o", out, "--force")
    assert said in succeeded(invoke(*extract, "--dtype", "bfloat16"))
    exact.save(files / "by-call.safetensors", dtype="bfloat16")
    assert out.read_bytes() == (files / "by-call.safetensors").read_bytes()
    assert said in succeeded(invoke("delta", "info", out, "--quiet"))
    assert json.loads(succeeded(invoke("delta", "info", out, "--json")))["rounded_to"] == "bfloat16"
    applied = files / "o.keras"
    succeeded(invoke("delta", "apply", files / "base.keras", out, "-o", applied))
    model = keras.saving.load_model(files / "base.keras")
    fl.apply_delta(model, out)
    assert_all_same_bits(everything_in(keras.saving.load_model(applied)), everything_in(model))
    assert invoke("verify", out).exit_code == 0
