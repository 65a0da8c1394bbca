"""`freeze` and `unfreeze` keep the state of an optimizer in the file, or stop with an error."""

import keras
import keras_hub
import numpy as np
import pytest

import frostline as fl
from helpers import assert_all_same_bits, invoke, told, value
from models import small

pytestmark = pytest.mark.once

X, Y = np.random.default_rng(0).normal(size=(8, 4)), np.ones((8, 2))
IDS = np.random.default_rng(0).integers(0, 20, (4, 6)).astype("int32")


@keras.saving.register_keras_serializable("test_cli_optimizers")
class Pair(keras.Sequential):
    """Makes a second optimizer in `compile`, which Keras does not restore."""

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        self.second = keras.optimizers.SGD(0.1)


def trained(optimizer, freezing=False):
    model = small()
    if freezing:
        fl.freeze(model, "hidden/kernel", fl.at[0])
    model.compile(optimizer, "mse")
    model.fit(X, Y, epochs=3, verbose=0)
    return model


def task(optimizer):
    backbone = keras_hub.models.GPT2Backbone(20, 1, 4, 16, 24, max_sequence_length=6)
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    fl.freeze(model, "*token_embedding/embeddings", fl.tokens([0, 1]))
    model.compile(optimizer, weighted_metrics=[])
    model.train_on_batch({"token_ids": IDS, "padding_mask": np.ones_like(IDS)}, IDS)
    return model


def state(model):
    return [value(variable) for variable in model.optimizer.variables]


def command(freezing, path, out):
    if freezing:
        return ("unfreeze", path, "-o", out)
    return ("freeze", path, "--weights", "hidden/kernel", "--where", "at[0]", "-o", out)


KEPT = {
    "Adam": lambda: keras.optimizers.Adam(1e-2),
    "SGD": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
    "Muon": lambda: keras.optimizers.Muon(1e-2),
    "averages": lambda: keras.optimizers.AdamW(1e-2, use_ema=True),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2)),
}


@pytest.mark.parametrize("freezing", [False, True], ids=["freeze", "unfreeze"])
@pytest.mark.parametrize("optimizer", KEPT.values(), ids=KEPT)
def test_the_state_is_in_the_file_as_python_would_have_it(optimizer, freezing, tmp_path):
    model = trained(optimizer(), freezing)
    model.save(tmp_path / "model.keras")
    result = invoke(*command(freezing, tmp_path / "model.keras", tmp_path / "out.keras"))
    assert result.exit_code == 0, result.output
    written = keras.saving.load_model(tmp_path / "out.keras")
    if freezing:
        fl.unfreeze(model)
    else:
        fl.freeze(model, "hidden/kernel", fl.at[0])
    assert int(written.optimizer.iterations) == 3
    assert_all_same_bits(state(written), state(model))


def stops(arguments, message, out):
    error = told(invoke(*arguments))
    assert message in error
    assert error.count("\n") == 1
    assert "--drop-optimizer" in error
    assert error.endswith("Nothing was written.\n")
    assert not out.exists()


@pytest.mark.parametrize("freezing", [False, True], ids=["freeze", "unfreeze"])
def test_state_that_can_not_follow_stops_it(freezing, tmp_path):
    path, out = tmp_path / "model.keras", tmp_path / "out.keras"
    trained("adafactor", freezing).save(path)
    stops(command(freezing, path, out), "another shape than its weight cannot follow", out)
    result = invoke(*command(freezing, path, out), "--drop-optimizer")
    assert result.exit_code == 0, result.output
    written = keras.saving.load_model(out)
    assert type(written.optimizer) is keras.optimizers.Adafactor
    assert int(written.optimizer.iterations) == 0
    assert fl.is_frozen(written.get_layer("hidden").kernel) is not freezing


@pytest.mark.filterwarnings("ignore:.compile\\(\\). was not called as part of:UserWarning")
@pytest.mark.parametrize("verb", ["freeze", "unfreeze"])
@pytest.mark.parametrize(
    ("optimizer", "name"),
    # SGD has as many variables as the Adam that the task makes, so Adam takes them for its own.
    [("sgd", "SGD"), ("adam", "Adam")],
    ids=["SGD", "Adam"],
)
def test_a_task_of_keras_hub_stops_it(optimizer, name, verb, tmp_path):
    path, out = tmp_path / "model.keras", tmp_path / "out.keras"
    task(optimizer).save(path)
    arguments = (verb, path, "--weights", "*token_embedding/embeddings", "-o", out)
    stops(arguments, f"got optimizer=Adam, but the file has {name} at step 1", out)
    result = invoke(*arguments, "--drop-optimizer")
    assert result.exit_code == 0, result.output
    written = keras.saving.load_model(out)
    assert int(written.optimizer.iterations) == 0
    assert float(written.optimizer.learning_rate) == pytest.approx(2e-5)


@pytest.mark.filterwarnings("ignore:.compile\\(\\). was not called as part of:UserWarning")
def test_a_task_that_was_not_trained_has_nothing_to_lose(tmp_path):
    model = task("sgd")
    model.compile("sgd")
    model.save(tmp_path / "model.keras")
    arguments = ("unfreeze", tmp_path / "model.keras", "-o", tmp_path / "out.keras")
    assert invoke(*arguments).exit_code == 0


def test_an_optimizer_for_other_variables_stops_it(tmp_path):
    model = trained("adam")
    model.get_layer("out").trainable = False
    model.save(tmp_path / "model.keras")
    out = tmp_path / "out.keras"
    arguments = command(False, tmp_path / "model.keras", out)
    stops(arguments, "got optimizer=Adam, but the file has Adam at step 3", out)


def test_an_optimizer_beside_that_of_keras_stops_it(tmp_path):
    model = Pair([keras.Input((4,)), *small().layers])
    model.compile("sgd", "mse")
    model.second.build(model.trainable_variables)
    model.second.iterations.assign(5)
    model.save(tmp_path / "model.keras")
    out = tmp_path / "out.keras"
    arguments = command(False, tmp_path / "model.keras", out)
    stops(arguments, "got second=none, but the file has one at step 5", out)


@pytest.mark.parametrize("verb", ["freeze", "unfreeze"])
def test_help_names_the_option(verb):
    assert "--drop-optimizer" in invoke(verb, "--help").stdout
