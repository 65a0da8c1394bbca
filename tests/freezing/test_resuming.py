"""If Keras does not restore an optimizer from a file, one warning gives lines that do."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import assert_all_same_bits, frozen_masks, value
from model_files import with_config
from models import data

X, Y = data(8, 6)

# Keras's own warning.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.compile\\(\\). was not called as part of:UserWarning"
)


@keras.saving.register_keras_serializable("test_resuming")
class Task(keras.Model):
    """A functional model that overrides `compile`."""

    def compile(self, optimizer="adam", loss="mse", **kwargs):
        super().compile(optimizer, loss, **kwargs)


@keras.saving.register_keras_serializable("test_resuming")
class InOrder(keras.Sequential):
    """A sequential model that overrides `compile`."""

    def compile(self, optimizer="adam", loss="mse", **kwargs):
        super().compile(optimizer, loss, **kwargs)


@keras.saving.register_keras_serializable("test_resuming")
class Two(keras.Model):
    """A subclassed model with two optimizers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(5, name="hidden")
        self.out = keras.layers.Dense(3, name="out")

    def build(self, shape):
        self.hidden.build(shape)
        self.out.build((None, 5))
        self.built = True

    def call(self, inputs):
        return self.out(self.hidden(inputs))

    def compile(self, optimizer="adam", loss="mse", *, second="sgd", **kwargs):
        super().compile(optimizer, loss, **kwargs)
        self.second = keras.optimizers.get(second)


@keras.saving.register_keras_serializable("test_resuming")
class Plain(keras.Model):
    """A subclassed model that Keras compiles."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(5, name="hidden")
        self.out = keras.layers.Dense(3, name="out")

    def call(self, inputs):
        return self.out(self.hidden(inputs))


@keras.saving.register_keras_serializable("test_resuming")
class Silent(Plain):
    """A model whose file does not say how it was compiled."""

    def get_compile_config(self):
        return None


def layers():
    return [keras.layers.Dense(5, name="hidden"), keras.layers.Dense(3, name="out")]


def functional():
    inputs = keras.Input((6,))
    hidden, out = layers()
    return Task(inputs, out(hidden(inputs)))


def sequential():
    return InOrder([keras.Input((6,)), *layers()])


def of(kind):
    def make():
        model = kind()
        model(X)
        return model

    return make


MAKE = {"functional": functional, "sequential": sequential, "subclassed": of(Two)}


def trained(make, optimizer=None, *, trainable=True):
    keras.utils.set_random_seed(0)
    model = make()
    model.get_layer("out").trainable = trainable
    fl.freeze(model, "hidden/kernel", fl.at[:2])
    model.compile(optimizer or keras.optimizers.AdamW(1e-2), "mse")
    model.fit(X, Y, epochs=3, verbose=0)
    return model


def load(path, **options):
    """Load a file; a warning is an error."""
    return keras.saving.load_model(path, **options)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_what_a_compile_of_its_own_loses_is_told_and_comes_back_by_the_lines_told(make, tmp_path):
    model = trained(make)
    model.save(path := tmp_path / "model.keras")
    with pytest.warns(
        fl.RestoreWarning,
        match=r"overrides `compile`, which Keras does not call; got optimizer=none, in the "
        r"file AdamW at step 3. .*`model.compile\(keras.optimizers.AdamW\(...\), ...\)`, "
        r"`model.optimizer.build\(model.trainable_variables\)`, `model.load_weights\(file\)`.",
    ):
        loaded = load(path)
    loaded.compile(keras.optimizers.AdamW(1e-2), "mse")
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(path)
    assert_all_same_bits(frozen_masks(loaded), frozen_masks(model))
    expected = [value(variable) for variable in model.optimizer.variables]
    assert_all_same_bits([value(variable) for variable in loaded.optimizer.variables], expected)
    for one in (loaded, model):
        one.fit(X, Y, verbose=0, shuffle=False)
    for one, other in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_allclose(value(one), value(other), rtol=1e-6, atol=1e-7)


@keras.saving.register_keras_serializable("test_resuming")
class Ready(Task):
    """Compiles itself in `__init__`, like the tasks of KerasHub."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.compile()

    @classmethod
    def from_config(cls, config):
        plain = keras.Model.from_config(config)
        return cls(plain.inputs, plain.outputs, name=plain.name)


def ready():
    inputs = keras.Input((6,))
    hidden, out = layers()
    return Ready(inputs, out(hidden(inputs)))


def test_an_optimizer_of_another_class_is_told(tmp_path):
    """SGD has as many variables as an unbuilt Adam, so Keras would load one into the other."""
    model = trained(ready, "sgd")
    model.save(tmp_path / "model.keras")
    with pytest.warns(fl.RestoreWarning, match=r"got optimizer=Adam, in the file SGD at step 3"):
        loaded = load(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 0


def test_without_compiling_the_lines_are_enough_and_nothing_warns(tmp_path):
    model = trained(ready)
    model.save(path := tmp_path / "model.keras")
    loaded = load(path, compile=False)
    loaded.compile(keras.optimizers.AdamW(1e-2), "mse")
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(path)
    expected = [value(variable) for variable in model.optimizer.variables]
    assert_all_same_bits([value(variable) for variable in loaded.optimizer.variables], expected)


def test_each_optimizer_of_a_model_is_told_of(tmp_path):
    model = trained(of(Two), "sgd")
    model.compile("sgd", second=keras.optimizers.Lion())
    model.second.build(model.trainable_variables)
    model.second.iterations.assign(7)
    model.save(tmp_path / "model.keras")
    with pytest.warns(fl.RestoreWarning, match=r"second=none, in the file Lion at step 7"):
        load(tmp_path / "model.keras")


def test_another_set_of_trained_variables_is_told(tmp_path):
    # The config of a subclassed model does not say which of its layers train.
    model = trained(of(Plain), trainable=False)
    model.save(path := tmp_path / "model.keras")
    with pytest.warns(fl.RestoreWarning, match=r"other variables than the 6 in the file"):
        loaded = load(path)
    loaded.out.trainable = False
    loaded.compile(keras.optimizers.AdamW(1e-2), "mse")
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(path)
    expected = [value(variable) for variable in model.optimizer.variables]
    assert_all_same_bits([value(variable) for variable in loaded.optimizer.variables], expected)


def test_a_file_that_does_not_say_how_its_model_was_compiled_is_told(tmp_path):
    trained(of(Silent)).save(tmp_path / "model.keras")
    with pytest.warns(fl.RestoreWarning, match="the file does not say how the model was compiled"):
        load(tmp_path / "model.keras")


def test_there_is_no_warning_where_nothing_is_lost(tmp_path):
    path = tmp_path / "model.keras"
    model = trained(of(Plain))
    model.save(path)
    assert int(load(path).optimizer.iterations) == 3
    model = trained(functional)
    model.save(path)
    load(path, compile=False)
    keras.models.clone_model(model)
    fl.unfreeze(model)
    model.save(path)
    load(path)  # nothing is frozen, so this is up to Keras
    fl.freeze(model, "hidden/kernel", fl.at[:2])
    model.compile()  # at step 0 there are no slots to lose
    model.save(path)
    loaded = load(path)
    trained(functional).save_weights(tmp_path / "trained.weights.h5")
    loaded.load_weights(tmp_path / "trained.weights.h5")


def test_a_file_of_before_says_nothing_and_loads(tmp_path):
    def as_before(config):
        del config["config"]["frostline"]["optimizers"]
        del config["config"]["frostline"]["paths"]

    model = trained(of(Two))
    model.save(tmp_path / "model.keras")
    loaded = load(with_config(tmp_path / "model.keras", as_before, tmp_path / "before.keras"))
    assert_all_same_bits(frozen_masks(loaded), frozen_masks(model))
    again = keras.models.clone_model(loaded)
    assert_all_same_bits(frozen_masks(again), frozen_masks(model))


def test_a_model_with_a_compile_of_its_own_goes_to_stock_layers_and_back():
    model = trained(functional)
    stock = fl.to_stock(model)
    assert type(stock) is Task
    back = fl.from_stock(stock)
    assert_all_same_bits(frozen_masks(back), frozen_masks(model))
    fl.unfreeze(model)
    assert type(model) is Task
