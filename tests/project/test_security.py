"""The promises of SECURITY.md about files and text that others wrote."""

import ast
import json
import pathlib
import zipfile

import keras
import pytest

import frostline as fl

pytestmark = pytest.mark.once

SOURCE = pathlib.Path(fl.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
NETWORK = {"socket", "http", "urllib", "requests", "ftplib"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_runs_text_unpickles_or_opens_a_connection(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called, imported = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert not called & RUNS_CODE
    assert not imported & (UNPICKLES | NETWORK)


def test_a_file_brings_no_code_by_the_layer_inside_a_partly_frozen_one(tmp_path):
    layer = keras.layers.Dense(4, name="dense")
    model = keras.Sequential([keras.Input((4,)), layer])
    fl.freeze(layer, "kernel", fl.at[0])
    model.save(tmp_path / "model.keras")
    code = keras.layers.Lambda(lambda x: x, output_shape=(4,), name="dense")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(code)))["config"]
    hostile = tmp_path / "hostile.keras"
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as whole,
        zipfile.ZipFile(hostile, "w") as other,
    ):
        for name in whole.namelist():
            data = whole.read(name)
            if name == "config.json":
                read = json.loads(data)
                (frozen,) = (
                    one for one in read["config"]["layers"] if "frostline" in one["config"]
                )
                freeze = frozen["config"]["frostline"]
                freeze["layer"] = {"module": "keras.layers", "class_name": "Lambda"}
                frozen["config"] = {**config, "frostline": freeze}
                data = json.dumps(read)
            other.writestr(name, data)
    with pytest.raises(ValueError, match="arbitrary code execution"):
        keras.saving.load_model(hostile)
