"""`freeze` and `unfreeze` on every kind of target, with every way to name a weight."""

import gc
import re
import weakref

import keras
import numpy as np
import pytest

import frostline as fl
from frostline import _keras
from frostline._freezing import apply
from frostline._weights import view
from helpers import (
    array,
    assert_all_same_bits,
    assert_same_bits,
    assert_same_outputs,
    gradients,
    value,
    values,
    weights,
)


def sequential():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation="relu", name="hidden"),
            keras.layers.Dense(3, name="out"),
        ],
        name="model",
    )


def functional():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="out")(hidden), name="model")


def nested():
    inner = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, name="hidden")], name="encoder"
    )
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3, name="out")(inner(inputs)), name="model")


class Subclassed(keras.Model):
    """Holds sublayers in an attribute, a list and a dict."""

    def __init__(self):
        super().__init__(name="model")
        self.hidden = keras.layers.Dense(5, name="hidden")
        self.blocks = [keras.layers.Dense(5, name="block_0"), keras.layers.Dense(5, name="block_1")]
        self.heads = {"a": keras.layers.Dense(3, name="out")}

    def call(self, inputs):
        x = self.hidden(inputs)
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x)


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    return model


MODELS = {f.__name__: f for f in (sequential, functional, nested, subclassed)}
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


@models
def test_freeze_and_unfreeze_any_kind_of_model(make):
    model = make()
    layer = next(layer for layer in model._flatten_layers() if layer.name == "hidden")
    kernel, kind, variable_kind = layer.kernel, type(layer), type(layer.kernel)
    before, x = values(model), np.ones((2, 4), "float32")
    outputs = array(model(x))

    changed = fl.freeze(model, "*hidden/kernel", fl.at[0, :])

    assert [(c.entries, c.frozen, c.size) for c in changed] == [(5, 5, 20)]
    assert layer.kernel is kernel
    assert isinstance(layer, kind)
    assert type(layer).__name__ == kind.__name__
    assert_all_same_bits(values(model), before)
    assert_same_outputs(lambda: array(model(x)), outputs)

    changed = fl.unfreeze(model)

    assert [(c.entries, c.frozen) for c in changed] == [(5, 0)]
    assert layer.kernel is kernel
    assert type(layer) is kind
    assert type(kernel) is variable_kind
    assert_all_same_bits(values(model), before)


PATTERNS = {
    "path": ("hidden/kernel", ["hidden/kernel"]),
    "name-below-a-layer": ("*/bias", ["hidden/bias", "out/bias"]),
    "everything": ("*", ["hidden/kernel", "hidden/bias", "out/kernel", "out/bias"]),
    "question-mark": ("o?t/bias", ["out/bias"]),
    "with-the-models-name": ("model/out/bias", ["out/bias"]),
    "regex": (re.compile("^hid.*ker"), ["hidden/kernel"]),
    "list": (["out/bias", "hidden/*"], ["out/bias", "hidden/kernel", "hidden/bias"]),
    "overlapping-list": (["out/bias", "out/*"], ["out/bias", "out/kernel"]),
}


@pytest.mark.parametrize(("pattern", "paths"), PATTERNS.values(), ids=PATTERNS.keys())
def test_naming_weights(pattern, paths):
    model = functional()
    assert [change.path for change in fl.freeze(model, pattern, fl.at[0])] == paths


def test_a_complete_path_may_have_the_signs_of_a_glob():
    class Named(keras.layers.Layer):
        def build(self, shape):
            for name in ("k[0]", "k0", "k1", "k?"):
                self.add_weight(shape=(2,), name=name)

        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((2,)), Named(name="a")])
    kernels = model.layers[0].weights
    for named in ("a/k[0]", "a/k?", *fl.snapshot(model)):
        fl.freeze(model, named)
        frozen = [f"a/{kernel.name}" for kernel in kernels if fl.is_frozen(kernel)]
        fl.unfreeze(model)
        assert frozen == [named]
    fl.freeze(model, "a/k[01]")
    assert [fl.is_frozen(kernel) for kernel in kernels] == [False, True, True, False]


def test_a_variable_names_itself():
    model = functional()
    kernel = model.get_layer("out").kernel
    assert [c.path for c in fl.freeze(model, kernel, fl.at[0])] == ["out/kernel"]
    assert [c.path for c in fl.unfreeze(model, [kernel])] == ["out/kernel"]


def test_a_layer_is_a_target_too():
    layer = functional().get_layer("hidden")
    assert [c.path for c in fl.freeze(layer, "kernel", fl.at[0])] == ["kernel"]
    assert [c.path for c in fl.freeze(layer, "*/bias")] == ["bias"]


WHERE = {
    "selection": fl.at[1, :],
    "index": np.s_[1, :],
    "integer": 1,
    "mask": np.arange(20).reshape(4, 5) // 5 == 1,
    "callable": lambda kernel: np.arange(kernel.size).reshape(kernel.shape) // 5 == 1,
    "list": [1],
}


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE.keys())
def test_every_form_of_where(where):
    layer = functional().get_layer("hidden")
    fl.freeze(layer, "kernel", where)
    expected = np.zeros((4, 5), bool)
    expected[1] = True
    assert_same_bits(fl.frozen_mask(layer.kernel), expected)


def test_freeze_adds_and_unfreeze_takes_away():
    layer = functional().get_layer("hidden")
    fl.freeze(layer, "kernel", fl.at[0, :])
    fl.freeze(layer, "kernel", fl.at[:, 0])
    expected = np.zeros((4, 5), bool)
    expected[0, :] = expected[:, 0] = True
    assert_same_bits(fl.frozen_mask(layer.kernel), expected)
    fl.unfreeze(layer, "kernel", fl.at[0, 1:])
    expected[0, 1:] = False
    assert_same_bits(fl.frozen_mask(layer.kernel), expected)
    fl.freeze(layer, "kernel")
    assert fl.frozen_mask(layer.kernel).all()


@pytest.mark.parametrize("where", [fl.at[0], fl.at[0, 0], None], ids=["block", "entry", "whole"])
def test_both_verbs_are_idempotent(where):
    model = functional()
    assert len(fl.freeze(model, "hidden/kernel", where)) == 1
    listed = [id(v) for v in model.variables]
    assert len(fl.freeze(model, "hidden/kernel", where)) == 0
    assert [id(v) for v in model.variables] == listed
    assert len(fl.unfreeze(model, "hidden/kernel", where)) == 1
    assert len(fl.unfreeze(model, "hidden/kernel", where)) == 0


def test_nothing_selected_changes_nothing():
    model = functional()
    kinds = [type(layer) for layer in model.layers]
    assert len(fl.freeze(model, where=fl.nothing)) == 0
    assert [type(layer) for layer in model.layers] == kinds
    assert repr(fl.freeze(model, "hidden/kernel", fl.nothing)) == "nothing changed"
    with pytest.warns(
        fl.EmptySelectionWarning, match=r"contains no entry of these weights; got where=at\[\[\]\]"
    ):
        assert len(fl.freeze(model, "hidden/kernel", fl.at[[]])) == 0


def test_duplicate_and_negative_indices_count_once():
    layer = functional().get_layer("hidden")
    (change,) = fl.freeze(layer, "kernel", fl.at[[0, 0, -4]])
    assert (change.entries, change.frozen) == (5, 5)


def test_a_scalar_weight_is_frozen_whole():
    layer = keras.layers.Attention(use_scale=True)
    layer.build([(None, 2, 3), (None, 2, 3)])
    assert [c.frozen for c in fl.freeze(layer, "scale", fl.at[...])] == [1]
    assert fl.frozen_mask(layer.scale).shape == ()
    assert fl.frozen_mask(layer.scale)


def test_a_weight_without_entries():
    layer = keras.layers.Dense(4)
    layer.build((None, 0))
    before = value(layer.kernel)
    fl.freeze(layer, "kernel", fl.at[:])
    fl.freeze(layer, "kernel")
    fl.unfreeze(layer, "kernel")
    assert_same_bits(value(layer.kernel), before)


def test_a_whole_variable_stays_frozen_whatever_its_layer_is_told():
    model = functional()
    bias = model.get_layer("hidden").bias
    fl.freeze(model, "*/bias")
    model.trainable = False
    model.trainable = True
    model.get_layer("hidden").trainable = True
    assert not bias.trainable
    assert [v.name for v in model.trainable_variables] == ["kernel", "kernel"]
    fl.unfreeze(model, "*/bias")
    assert bias.trainable
    assert [v.name for v in model.trainable_variables] == ["kernel", "bias"] * 2


@pytest.mark.parametrize("where", [fl.at[0], None], ids=["part", "whole"])
def test_trainable_false_meanwhile_holds_after_unfreezing(where):
    layer = functional().get_layer("hidden")
    fl.freeze(layer, "kernel", where)
    layer.trainable = False
    assert layer.trainable_variables == []
    fl.unfreeze(layer)
    assert not layer.kernel.trainable
    layer.trainable = True
    assert layer.kernel.trainable


def test_a_layer_toggled_keeps_its_partial_freeze():
    layer = functional().get_layer("hidden")
    fl.freeze(layer, "kernel", fl.at[0])
    mask, shapes = fl.frozen_mask(layer.kernel), [v.shape for v in layer.trainable_variables]
    layer.trainable = False
    assert not layer.kernel.trainable
    layer.trainable = True
    assert layer.kernel.trainable
    assert_same_bits(fl.frozen_mask(layer.kernel), mask)
    assert [v.shape for v in layer.trainable_variables] == shapes


def test_names_that_sound_like_ours_confuse_nothing():
    class Odd(keras.layers.Layer):
        def build(self, shape):
            for name in ("kernel", "kernel_trainable", "kernel_frozen", "frozen", "trainable_"):
                self.add_weight(shape=(3, 2), name=name, initializer="ones")

        def call(self, x):
            return x

    layer = Odd(name="frozen")
    layer.build((None, 3))
    names = [weight.path for weight in weights(layer)]
    fl.freeze(layer, "kernel", fl.at[0])
    fl.freeze(layer, "kernel_frozen", fl.at[1])
    assert [weight.path for weight in weights(layer)] == names
    assert [fl.is_frozen(w.variable) for w in weights(layer)] == [True, False, True, False, False]
    assert len(fl.unfreeze(layer)) == 2


def test_the_size_of_the_trainable_part():
    model = functional()
    total = model.count_params()
    fl.freeze(model, "hidden/kernel", fl.at[:2])
    fl.freeze(model, "out/kernel", fl.at[:, [0, 2]])
    assert model.count_params() == total
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == total - 2 * 5 - 5 * 2
    fl.freeze(model, "out/bias", fl.at[0])
    fl.unfreeze(model)
    fl.freeze(model, "hidden/kernel", fl.at[0, 0])
    assert model.count_params() == total + 19


def test_a_large_layer_gives_its_storage_back():
    layer = keras.layers.Dense(64)
    layer.build((None, 64))
    fl.freeze(layer, "kernel", fl.at[:, :32])
    assert "_value" not in layer.kernel.__dict__
    assert [tuple(v.shape) for v in layer.weights] == [(64, 32), (64, 32), (64,)]
    fl.unfreeze(layer)
    assert "_frostline" not in layer.kernel.__dict__
    assert "_frostline_views" not in layer.__dict__


def test_writing_a_weight_writes_both_parts():
    layer = functional().get_layer("hidden")
    fl.freeze(layer, "kernel", fl.at[0])
    new = np.arange(20, dtype="float32").reshape(4, 5)
    layer.kernel.assign(new)
    assert_same_bits(value(layer.kernel), new)
    layer.kernel.assign((new + 1).tolist())
    assert_same_bits(value(layer.kernel), new + 1)
    layer.kernel.assign(new)
    layer.kernel.assign_add(new)
    assert_same_bits(value(layer.kernel), 2 * new)
    layer.set_weights([new, np.ones(5, "float32")])
    assert_all_same_bits(layer.get_weights(), [new, np.ones(5, "float32")])
    with pytest.raises(ValueError, match=r"must match. variable.shape=\(4, 5\)"):
        layer.kernel.assign(new[:2])


def test_reading_a_weight_as_usual():
    layer = functional().get_layer("hidden")
    before = value(layer.kernel)
    fl.freeze(layer, "kernel", fl.at[0])
    assert tuple(layer.kernel.shape) == (4, 5)
    assert layer.kernel.ndim == 2
    assert layer.kernel.dtype == "float32"
    assert_same_bits(array(layer.kernel + 0.0), before + 0.0)
    assert_same_bits(array(layer.kernel[0]), before[0])
    assert "shape=(4, 5)" in repr(layer.kernel)


@pytest.mark.parametrize("initializer", ["glorot_uniform", "orthogonal"])
@pytest.mark.parametrize("where", [fl.at[:, ::2], fl.at[:, 0], fl.at[0, 0]], ids=str)
def test_an_unfrozen_weight_lies_in_memory_as_before(where, initializer):
    """Memory order affects rounding; on PyTorch an orthogonal matrix is stored column by column."""
    layer = keras.layers.Dense(5, kernel_initializer=initializer)
    layer.build((None, 4))

    def strides():
        return np.asarray(keras.ops.convert_to_numpy(layer.kernel.value)).strides

    before = strides()
    for more in ((), (fl.at[1, 1],)):  # first whole positions, then single entries too
        for frozen in (where, *more):
            fl.freeze(layer, "kernel", frozen)
        assert strides() == before
        fl.unfreeze(layer)
        assert strides() == before


def test_the_old_storage_of_one_weight_at_a_time_is_there(monkeypatch):
    model = keras.Sequential([keras.Input((4,)), *[keras.layers.Dense(4) for _ in range(4)]])
    kernels = [layer.kernel for layer in model.layers]
    storages = [weakref.ref(_keras.storage(kernel)) for kernel in kernels]
    make, alive = view.make_parts, []

    def watched(*args, **options):
        gc.collect()
        alive.append(sum(storage() is not None for storage in storages))
        return make(*args, **options)

    monkeypatch.setattr(view, "make_parts", watched)
    fl.freeze(model, "*/kernel", fl.at[:, ::2])
    # TensorFlow keeps them: after a failure, compiled functions need the same storages back.
    assert alive == ([4] * 4 if keras.backend.backend() == "tensorflow" else [4, 3, 2, 1])


def test_a_failed_freeze_gives_back_a_storage_that_is_in_use(monkeypatch):
    layer = keras.layers.Dense(4)
    layer.build((None, 3))
    held = _keras.storage(layer.kernel)
    monkeypatch.setattr(apply, "followed", _fail)
    with pytest.raises(MemoryError, match="no room"):
        fl.freeze(layer, "kernel", fl.at[:, ::2])
    assert _keras.storage(layer.kernel) is held


def test_a_failed_freeze_makes_a_storage_that_nobody_holds_again(monkeypatch):
    layer = keras.layers.Dense(4)
    layer.build((None, 3))
    layer.kernel.assign(np.array([[-0.0, np.inf, 1, 2]] * 3))
    before = value(layer.kernel)
    monkeypatch.setattr(apply, "followed", _fail)
    with pytest.raises(MemoryError, match="no room"):
        fl.freeze(layer, "kernel", fl.at[:, ::2])
    assert_same_bits(value(layer.kernel), before)
    assert not fl.is_frozen(layer.kernel)
    assert [variable.name for variable in layer.trainable_variables] == ["kernel", "bias"]


@pytest.mark.parametrize("frozen", [False, True], ids=["freeze", "unfreeze"])
def test_a_whole_variable_that_could_not_be_changed_trains_as_before(frozen, monkeypatch):
    layer = keras.layers.Dense(4)
    layer.build((None, 3))
    if frozen:
        fl.freeze(layer, "bias")
    monkeypatch.setattr(apply, "followed", _fail)
    with pytest.raises(MemoryError, match="no room"):
        (fl.unfreeze if frozen else fl.freeze)(layer, "bias")
    assert fl.is_frozen(layer.bias) is frozen
    _, found = gradients(layer, keras.ops.ones((2, 3)), keras.ops.sum)
    by_input = 1
    assert len(found) == (1 if frozen else 2) + by_input
    if keras.backend.backend() == "torch":
        assert _keras.storage(layer.bias).requires_grad is not frozen
        kind = type(_keras.storage(layer.bias)).__name__
        assert kind == ("FrozenParameter" if frozen else "Parameter")


def _fail(*arguments):
    raise MemoryError("no room")


def test_one_entry_is_no_entries():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert str(fl.freeze(layer, "kernel", fl.at[0, 0])) == "kernel: 1 entry changed, 1 of 6 frozen"
    changed = str(fl.freeze(layer, "kernel", fl.at[0]))
    assert changed == "kernel: 1 entry changed, 2 of 6 frozen"
    assert str(fl.unfreeze(layer)) == "kernel: 2 entries changed, 0 of 6 frozen"


@pytest.mark.parametrize("pattern", ["head/*", re.compile("^head/")])
def test_a_layer_that_is_called_as_the_model_is(pattern):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden), name="head")
    changes = fl.freeze(model, pattern)
    assert [change.path for change in changes] == ["head/kernel", "head/bias"]
    assert len(fl.unfreeze(model, "head/hidden/*")) == 0  # the longer path still matches
