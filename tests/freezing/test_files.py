"""Saving, loading, cloning, copying and exporting keep the freeze or raise an error."""

import copy
import json
import pickle
import zipfile

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    OLD_TENSORFLOW,
    array,
    assert_all_same_bits,
    assert_same_bits,
    assert_script_ends,
    compile_for_test,
    frozen_masks,
    value,
    values,
    weights,
)
from models import data, dense_layers

X, Y = data(8, 4, 6)


@keras.saving.register_keras_serializable("test_files")
class Tagger(keras.Model):
    """A subclassed model that makes its own sublayers, some of them unnamed."""

    def __init__(self, width=5, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.recurrent = keras.layers.LSTM(width, name="recurrent")
        self.blocks = [keras.layers.Dense(width), keras.layers.Dense(width)]
        self.out = keras.layers.Dense(3, name="out")

    def call(self, inputs):
        x = self.recurrent(inputs)
        for block in self.blocks:
            x = block(x)
        return self.out(x)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Bare(keras.Model):
    """A model that is not registered and has no `get_config`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.out = keras.layers.Dense(3)

    def call(self, inputs):
        return self.out(inputs[:, 0])


@keras.saving.register_keras_serializable("test_files")
class Around(keras.Model):
    """Takes a layer that was made elsewhere and leaves it out of its config."""

    def __init__(self, out=None, **kwargs):
        super().__init__(**kwargs)
        self.out = out or keras.layers.Dense(3)

    def call(self, inputs):
        return self.out(inputs[:, 0])

    def get_config(self):
        return super().get_config()


def functional():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 6))
    x = keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True), name="both")(inputs)
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = keras.layers.TimeDistributed(keras.layers.Dense(5, name="inner"), name="each")(x)
    encoder = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(6, name="hidden")], name="encoder"
    )
    x = encoder(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="out")(x))


def subclassed():
    keras.utils.set_random_seed(0)
    model = Tagger()
    model(X)
    return model


MAKERS = {"functional": functional, "subclassed": subclassed}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def frozen_variously(model):
    fl.freeze(model, "*kernel", fl.at[0])
    fl.freeze(model, "*out/kernel", fl.at[1, 1])
    fl.freeze(model, "*out/bias")
    fl.freeze(model, "*recurrent_kernel", fl.at[:, ::2])
    return model


def assert_same_freeze(actual, expected):
    masks = [frozen_masks(model) for model in (actual, expected)]
    assert_all_same_bits(*masks)
    assert any(mask.any() for mask in masks[0])
    assert_all_same_bits(values(actual), values(expected))


def trained(model):
    compile_for_test(model)
    model.fit(X, Y, verbose=0, epochs=2)
    return model


@makers
def test_a_model_file_brings_freeze_weights_and_optimizer_back(make, tmp_path):
    model = trained(frozen_variously(make()))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_freeze(loaded, model)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        assert_same_bits(value(one), value(other))
    # A run that resumes here gives the same numbers as an uninterrupted one.
    for one in (loaded, model):
        one.train_on_batch(X, Y)
    assert_same_freeze(loaded, model)


@makers
def test_weight_files_go_both_ways(make, tmp_path):
    model, plain = trained(frozen_variously(make())), make()
    model.save_weights(tmp_path / "frozen.weights.h5")
    plain.load_weights(tmp_path / "frozen.weights.h5")
    assert_all_same_bits(values(plain), values(model))

    other = trained(make())
    other.save_weights(tmp_path / "plain.weights.h5")
    mask = fl.frozen_mask(weights(model)[0].variable)
    # The slots belong to other variables and do not fit; Keras warns about it.
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        model.load_weights(tmp_path / "plain.weights.h5")
    assert_all_same_bits(values(model), values(other))
    assert_same_bits(fl.frozen_mask(weights(model)[0].variable), mask)


def test_the_file_of_a_frozen_model_is_the_file_of_a_plain_one(tmp_path):
    import h5py

    model, plain = functional(), functional()
    frozen_variously(model)
    listed = []
    for one, name in ((model, "frozen"), (plain, "plain")):
        one.save_weights(tmp_path / f"{name}.weights.h5")
        shapes = {}
        with h5py.File(tmp_path / f"{name}.weights.h5") as file:
            file.visititems(
                lambda path, item, to=shapes: to.update({path: getattr(item, "shape", 0)})
            )
        listed.append(shapes)
    assert listed[0] == listed[1]


def test_sharded_weight_files_load_into_a_plain_model(tmp_path):
    model, plain = frozen_variously(functional()), functional()
    model.save_weights(tmp_path / "model.weights.json", max_shard_size=2e-6)
    plain.load_weights(tmp_path / "model.weights.json")
    assert_all_same_bits(values(plain), values(model))


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
@makers
def test_a_copied_model_keeps_its_freeze(make, copied):
    model = trained(frozen_variously(make()))
    assert_same_freeze(copied(model), model)


def test_a_copied_layer_keeps_its_freeze():
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    fl.freeze(layer, "kernel", fl.at[0])
    twin = copy.deepcopy(layer)
    assert_same_freeze(twin, layer)
    assert twin.kernel is not layer.kernel


@makers
def test_clone_model_is_frozen_alike_with_weights_of_its_own(make):
    model = frozen_variously(make())
    clone = keras.models.clone_model(model)
    if not clone.built or not weights(clone):
        clone(X)
    masks = [frozen_masks(one) for one in (clone, model)]
    assert_all_same_bits(*masks)
    clone.set_weights(model.get_weights())
    assert_all_same_bits(values(clone), values(model))


CLONES = {
    "clone_model": keras.models.clone_model,
    "from_config": lambda model: type(model).from_config(model.get_config()),
}


@pytest.mark.parametrize("cloned", CLONES.values(), ids=CLONES.keys())
def test_a_clone_not_yet_built_keeps_its_freeze_when_cloned_again(cloned):
    twice = cloned(cloned(frozen_variously(subclassed())))
    twice(X)
    assert fl.is_frozen(twice.recurrent.cell.kernel)


def test_weights_loaded_before_the_first_call_find_the_freeze_there(tmp_path):
    model = Bare()
    model(X)
    fl.freeze(model, "*kernel", fl.at[0])
    model.save_weights(tmp_path / "model.weights.h5")
    clone = type(model).from_config(model.get_config())
    clone.out.build((None, 6))
    clone.built = True  # its layers were built by hand
    clone.load_weights(tmp_path / "model.weights.h5")
    assert_same_freeze(clone, model)


def test_get_and_set_weights_take_whole_weights():
    model = frozen_variously(functional())
    numbers = [2 * number for number in model.get_weights()]
    model.set_weights(numbers)
    assert_all_same_bits(model.get_weights(), numbers)
    layer, plain = model.get_layer("out"), functional().get_layer("out")
    plain.set_weights(layer.get_weights())
    assert_all_same_bits(plain.get_weights(), [value(layer.kernel), value(layer.bias)])
    whole, other = functional(), functional()
    fl.freeze(other, "out/kernel", fl.at[0])
    for one in (whole, other):  # one plain model, one with another freeze
        one.set_weights(model.get_weights())
        assert_all_same_bits(values(one), values(model))


def test_a_model_without_config_or_registration_is_restored(tmp_path):
    model = Bare()
    model(X)
    fl.freeze(model, "*kernel", fl.at[0])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"Bare": Bare})
    assert_same_freeze(loaded, model)
    with pytest.raises(TypeError, match="Could not locate class 'Bare'"):
        keras.saving.load_model(tmp_path / "model.keras")


def test_a_sublayer_frozen_directly_is_saved_with_its_model(tmp_path):
    model = subclassed()
    fl.freeze(model.recurrent.cell, "kernel", fl.at[:, 1])
    fl.freeze(model.blocks[1], "bias")
    model.save(tmp_path / "model.keras")
    assert_same_freeze(keras.saving.load_model(tmp_path / "model.keras"), model)


@keras.saving.register_keras_serializable("test_files")
class Twice(keras.layers.Layer):
    """Holds one layer inside two others, followed by two more layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        shared = keras.layers.Dense(6, name="shared")
        self.blocks = [keras.layers.TimeDistributed(shared) for _ in range(2)]
        self.between = keras.layers.Dense(6, name="between")
        self.last = keras.layers.Dense(6, name="last")

    def build(self, shape):
        for block in self.blocks:
            block.build(shape)
        self.between.build(shape)
        self.last.build(shape)

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.last(self.between(inputs))


def test_a_freeze_after_a_layer_that_is_held_twice_is_restored(tmp_path):
    model = keras.Sequential([keras.Input((4, 6)), Twice(name="twice")])
    fl.freeze(model, "twice/between/kernel", fl.at[0])
    model.save(tmp_path / "model.keras")
    assert_same_freeze(keras.saving.load_model(tmp_path / "model.keras"), model)


def test_a_freeze_that_the_file_would_lose_is_refused(tmp_path):
    layer = keras.layers.Dense(3)
    layer.build((None, 6))
    fl.freeze(layer, "kernel", fl.at[0])
    model = Around(layer)
    model(X)
    with pytest.raises(fl.RestoreError, match=r"saving would lose this freeze.*where=fl.nothing"):
        model.save(tmp_path / "model.keras")
    fl.freeze(model, where=fl.nothing)
    model.save(tmp_path / "model.keras")
    assert_same_freeze(keras.saving.load_model(tmp_path / "model.keras"), model)
    model.save_weights(tmp_path / "model.weights.h5")


@keras.saving.register_keras_serializable("test_files")
class Scaled(keras.layers.Layer):
    """Its weight has an automatic name, whose number rises for as long as Python runs."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],))

    def call(self, inputs):
        return inputs * self.scale


def test_a_weight_without_a_name_of_its_own_is_restored(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Scaled(), Scaled()])
    fl.freeze(model, [layer.scale for layer in model.layers], fl.at[:2])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].scale.name != model.layers[0].scale.name
    assert_all_same_bits(frozen_masks(loaded), frozen_masks(model))
    assert_all_same_bits(values(loaded), values(model))


class Pair(keras.Model):
    """Two layers of the same class, created in the order that `order` gives."""

    order = ("enc", "dec")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        for name in self.order:
            setattr(self, name, keras.layers.Dense(4, name=name))

    def build(self, shape):
        self.enc.build((None, 4))
        self.dec.build((None, 4))
        self.built = True

    def build_from_config(self, config):
        self.build(None)

    def call(self, inputs):
        return self.dec(self.enc(inputs))


class TwoWeights(keras.layers.Layer):
    """Two weights, created in the order that `order` gives and saved by name."""

    order = ("w_1", "w_2")

    def build(self, shape):
        for name in self.order:
            setattr(self, name, self.add_weight(shape=(4, 4), name=name))

    def call(self, inputs):
        return (inputs @ self.w_1) @ self.w_2

    def save_own_variables(self, store):
        for name in sorted(self.order):
            store[name] = value(getattr(self, name))

    def load_own_variables(self, store):
        for name in self.order:
            getattr(self, name).assign(store[name])


@pytest.mark.parametrize(
    ("kind", "path"), [(Pair, "enc/kernel"), (TwoWeights, "w_1")], ids=["layers", "weights"]
)
def test_a_freeze_never_goes_to_the_fellow_of_its_weight(kind, path, tmp_path):
    """Keras matches values by attribute or name, whatever order they were created in."""
    model = kind(name="model")
    layer = model if kind is Pair else keras.Sequential([keras.Input((4,)), model])
    layer(np.ones((2, 4)))
    fl.freeze(model, path, fl.at[0])
    layer.save(tmp_path / "model.keras")
    turned = type(kind.__name__, (kind,), {"order": kind.order[::-1]})
    for made in (kind, turned):
        with keras.saving.custom_object_scope({kind.__name__: made}):
            if made is turned:
                with pytest.raises(fl.RestoreError, match=f"got no [a-z_/0-9]*{path} where it was"):
                    keras.saving.load_model(tmp_path / "model.keras")
            else:
                loaded = keras.saving.load_model(tmp_path / "model.keras")
                assert_all_same_bits(frozen_masks(loaded), frozen_masks(layer))


def test_a_file_of_another_architecture_is_refused(tmp_path):
    model = frozen_variously(functional())
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = files["config.json"].replace(b'"shape": [6, 3]', b'"shape": [7, 3]')
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(fl.RestoreError, match=r"shape \(6, 3\) instead of"):
        keras.saving.load_model(tmp_path / "other.keras")


def test_a_file_of_a_newer_format_is_refused():
    layer = keras.layers.Dense(3)
    layer.build((None, 6))
    fl.freeze(layer, "kernel", fl.at[0])
    config = layer.get_config()
    config["frostline"]["version"] = 99
    with pytest.raises(fl.RestoreError, match="version=99"):
        type(layer).from_config(config)


def test_a_stock_class_does_not_take_the_config_of_a_frozen_layer():
    layer = keras.layers.Dense(3)
    layer.build((None, 6))
    fl.freeze(layer, "kernel", fl.at[0])
    with pytest.raises((TypeError, ValueError), match="frostline"):
        keras.layers.Dense.from_config(layer.get_config())
    json.dumps(layer.get_config())


def test_a_plain_file_opens_plain(tmp_path):
    functional().save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not any(fl.is_frozen(weight.variable) for weight in weights(loaded))


def test_without_frostline_a_frozen_file_does_not_open(tmp_path):
    paths = []
    for name, make in MAKERS.items():
        model = make()
        fl.freeze(model, "*out/kernel", fl.at[0])
        paths.append(str(tmp_path / f"{name}.keras"))
        model.save(paths[-1])
    script = (
        "import keras, sys\n"
        f"for path in {paths!r}:\n"
        "    try:\n"
        "        keras.saving.load_model(path)\n"
        "    except Exception as error:\n"
        "        assert \"'module': 'frostline'\" in str(error), error\n"
        "        assert 'frostline' not in sys.modules\n"
        "    else:\n"
        "        raise AssertionError(path)\n"
    )
    assert_script_ends(script)


def test_one_direction_of_a_bidirectional_layer_is_restored(tmp_path):
    inputs = keras.Input((4, 6))
    model = keras.Model(
        inputs, keras.layers.Bidirectional(keras.layers.GRU(3), name="both")(inputs)
    )
    fl.freeze(model, "both/forward*kernel", fl.at[0])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_freeze(loaded, model)
    frozen = {w.path: fl.is_frozen(w.variable) for w in weights(loaded)}
    assert sorted(frozen.values()) == [False] * 4 + [True] * 2


def test_each_freeze_is_described_once():
    model = frozen_variously(functional())
    config = json.dumps(model.get_config())
    assert config.count('"plan"') == sum(fl.is_frozen(w.variable) for w in weights(model))


class Eager(keras.Model):
    """Makes its weights in its first call, which fails on symbolic tensors."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.out = keras.layers.Dense(3)

    def call(self, inputs):
        return self.out(inputs[:, 0]) * float(array(keras.ops.sum(inputs)) < 1e9)


def test_a_model_that_is_built_by_its_first_call_is_cloned_frozen():
    model = Eager()
    model(X)
    fl.freeze(model, "*kernel", fl.at[0])
    clone = keras.models.clone_model(model)
    clone(X)
    assert_same_bits(fl.frozen_mask(clone.out.kernel), fl.frozen_mask(model.out.kernel))


def test_an_unfrozen_model_saves_as_if_it_never_was_frozen(tmp_path):
    model, plain = functional(), functional()
    frozen_variously(model)
    fl.unfreeze(model)
    configs = []
    for one in (model, plain):
        one.save(tmp_path / "model.keras")
        with zipfile.ZipFile(tmp_path / "model.keras") as archive:
            configs.append(json.loads(archive.read("config.json")))
    assert "frostline" not in json.dumps(configs[0])
    assert_all_same_bits(values(model), values(plain))


def test_checkpoint_callbacks_save_the_freeze(tmp_path):
    model = frozen_variously(functional())
    compile_for_test(model)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras")
    weights_only = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", save_weights_only=True
    )
    stop = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
    model.fit(X, Y, verbose=0, epochs=2, callbacks=[best, weights_only, stop])
    assert_same_freeze(keras.saving.load_model(tmp_path / "best.keras"), model)
    plain = functional()
    plain.load_weights(tmp_path / "best.weights.h5")
    assert_all_same_bits(values(plain), values(model))


def test_a_run_restored_from_a_backup_equals_one_that_was_not(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(model, *callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        model.fit(X[:, 0], Y, verbose=0, epochs=4, shuffle=False, callbacks=[backup, *callbacks])

    def made():
        model = dense_layers(hidden=5, out=3)
        fl.freeze(model, "*kernel", fl.at[0])
        return model

    interrupted = made()
    compile_for_test(interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, Stop())
    resumed = made()
    compile_for_test(resumed)
    run(resumed)
    whole = made()
    compile_for_test(whole)
    whole.fit(X[:, 0], Y, verbose=0, epochs=4, shuffle=False)
    assert_all_same_bits(values(resumed), values(whole))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_exported_model_computes_the_same(tmp_path):
    model = dense_layers(hidden=5, out=3)
    fl.freeze(model, "hidden/kernel", fl.at[:, ::2])
    fl.freeze(model, "out/kernel", fl.at[0, 0])
    x = X[:, 0]
    expected = array(model(x))
    exports = {"torch": exported_by_torch}
    run = exports.get(keras.backend.backend(), exported_as_saved_model)
    np.testing.assert_allclose(run(model, tmp_path, x), expected, rtol=1e-5, atol=1e-6)
    model.compile("sgd", "mse")
    model.fit(x, Y, verbose=0)
    assert fl.is_frozen(model.get_layer("hidden").kernel)


if keras.backend.backend() == "tensorflow":

    @pytest.mark.skipif(OLD_TENSORFLOW, reason="Keras 3.12 has no such format")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
    def test_a_model_exported_to_litert_computes_the_same(tmp_path):
        import tensorflow as tf

        model = dense_layers(hidden=5, more=4, out=3)
        fl.freeze(model, "hidden/kernel", fl.at[:, ::2])
        fl.freeze(model, "more/kernel", fl.at[[0, 1], [1, 0]])
        fl.freeze(model, "out/*")
        path, row = tmp_path / "model.tflite", X[:1, 0]
        model.export(path, format="litert", verbose=False)
        interpreter = tf.lite.Interpreter(str(path))
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(found, array(model(row)), rtol=1e-5, atol=1e-6)

    def test_a_checkpoint_of_tensorflow_restores_a_partly_frozen_weight(tmp_path):
        import tensorflow as tf

        layer = keras.layers.Dense(3)
        layer.build((None, 4))
        fl.freeze(layer, "kernel", fl.at[::2])
        before = value(layer.kernel)
        checkpoint = tf.train.Checkpoint(kernel=layer.kernel)
        path = checkpoint.write(tmp_path / "checkpoint")
        layer.kernel.assign(np.zeros((4, 3), "float32"))
        checkpoint.read(path).assert_consumed()
        assert_same_bits(value(layer.kernel), before)


def exported_as_saved_model(model, folder, x):
    import tensorflow as tf

    model.export(folder / "exported", verbose=False)
    loaded = tf.saved_model.load(folder / "exported")
    return loaded.serve(x).numpy()


def exported_by_torch(model, folder, x):
    import torch

    try:
        model.export(folder / "exported.pt2", format="torch", verbose=False)
    except ValueError:  # Keras 3.12 has no `format="torch"`
        exported = torch.export.export(model, (torch.tensor(x[:1]),))
        torch.export.save(exported, folder / "exported.pt2")
    # The exported model takes a batch of one.
    run = torch.export.load(folder / "exported.pt2").module()
    return np.concatenate([run(torch.tensor(row[None])).detach().numpy() for row in x])
