"""Bad input raises one clear error and leaves the model unchanged."""

import gc
import re

import keras
import numpy as np
import pytest

import frostline as fl
from frostline import _keras
from frostline._weights import view
from helpers import assert_all_same_bits, value, values
from models import two_of_one_path


def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.1, name="drop"),
            keras.layers.Dense(3, name="out"),
        ],
        name="model",
    )


def state(target):
    """Everything that a failed call must leave unchanged: classes, objects and lists."""
    layers = target._flatten_layers()
    return (
        [type(layer) for layer in layers],
        [[id(v) for v in layer.variables] for layer in layers],
        [(type(v), v.path, v.trainable) for v in target.variables],
        [sorted(layer.__dict__) for layer in layers],
        # The PyTorch parameters, which native optimizers are created from.
        [(name, tuple(p.shape)) for name, p in getattr(target, "named_parameters", list)()],
    )


def raise_error(kernel):
    if kernel.shape == (5, 3):
        raise RuntimeError("from the callable")
    return kernel > 0


BAD = {
    "misspelt path": (
        ("hidden/kernal", fl.at[0]),
        fl.PathError,
        r"model: no weight has this path; got weights='hidden/kernal'. Nearest: 'hidden/kernel'",
    ),
    "no such glob": (("enc*/kernel",), fl.PathError, r"no weight has this path"),
    "no such regex": ((re.compile("query$"),), fl.PathError, r"got weights='query\$'"),
    "empty list": (([],), fl.PathError, r"no weight is named; got weights=\[\]"),
    "a number": ((3,), fl.PathError, r"weights must be a glob on the path.*got weights=3"),
    "statistics": (
        ("norm/moving_mean",),
        fl.PathError,
        r"norm/moving_mean: this is state, which its layer updates itself",
    ),
    "selection as weights": (
        (fl.at[0],),
        fl.SelectionError,
        r"third argument; got weights=at\[0\]. Write `fl.(un)?freeze\(model, '\*', selection\)`",
    ),
    "swapped arguments": (
        (fl.at[0], "hidden/kernel"),
        fl.SelectionError,
        r"Write `fl.(un)?freeze\(model, 'hidden/kernel', selection\)`",
    ),
    "name of a layer": (("hidden",), fl.PathError, r"hidden: a layer.*weights: `'hidden/\*'`"),
    "layer without weights": (
        ("drop*",),
        fl.PathError,
        r"drop: .*This Dropout has no trainable weights",
    ),
    "mask of numbers as index": (
        ("hidden/kernel", np.ones((4, 5), int)),
        fl.SelectionError,
        r"(?s)could be a mask or an index.*dtype int64",
    ),
    "mask of rows": (
        ("hidden/kernel", np.ones(4, bool)),
        fl.SelectionError,
        r"Use fl.at\[array\], an index along the first axes",
    ),
    "mask to broadcast": (
        ("hidden/kernel", np.ones((4, 1), bool)),
        fl.SelectionError,
        r"Use fl.mask\(np.broadcast_to\(array, \(4, 5\)\)\)",
    ),
    "index out of range": (("hidden/kernel", fl.at[4]), fl.SelectionError, r"^hidden/kernel: "),
    "a list in one string": (
        ("hidden/kernel, out/kernel",),
        fl.PathError,
        r"For several weights pass a list: \['hidden/kernel', 'out/kernel'\]\.$",
    ),
    "too many indices": (("*/bias", fl.at[0, 0]), fl.SelectionError, r"^hidden/bias: "),
    "second weight too small": (("*/kernel", fl.at[:, 4]), fl.SelectionError, r"^out/kernel: "),
    "mask of another shape": (
        ("hidden/kernel", np.zeros((5, 4), bool)),
        fl.SelectionError,
        r"^hidden/kernel: .*\(5, 4\)",
    ),
    "mask of numbers": (
        ("hidden/kernel", np.ones((4, 5))),
        fl.SelectionError,
        r"float64",
    ),
    "a string": (("hidden/kernel", "rows"), fl.SelectionError, r"got where='rows'"),
    "callable of another shape": (
        ("hidden/kernel", lambda kernel: kernel[0] > 0),
        fl.SelectionError,
        r"^hidden/kernel: .*\(5,\)",
    ),
    "callable of numbers": (
        ("hidden/kernel", lambda kernel: kernel),
        fl.SelectionError,
        r"^hidden/kernel: .*float32",
    ),
    "callable that raises": (("*/kernel", raise_error), RuntimeError, r"from the callable"),
    "unit out of range": (("hidden/*", fl.units([5])), fl.SelectionError, r"^hidden/kernel: "),
    "tokens of no embedding": (
        ("hidden/*", fl.tokens([0])),
        fl.SelectionError,
        r"^hidden/kernel: this selection does not apply to any of these weights",
    ),
    "heads of no attention": (("*", fl.heads([0])), fl.SelectionError, r"does not apply to any"),
}


@pytest.mark.parametrize("verb", [fl.freeze, fl.unfreeze], ids=["freeze", "unfreeze"])
@pytest.mark.parametrize(("arguments", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_changes_nothing(arguments, error, message, verb):
    target = model()
    fl.freeze(target, "hidden/kernel", fl.at[1])
    before, numbers = state(target), values(target)
    with pytest.raises(error, match=message):
        verb(target, *arguments)
    assert state(target) == before
    assert_all_same_bits(values(target), numbers)


def test_errors_are_of_the_package_and_of_python():
    assert issubclass(fl.SelectionError, (fl.FrostlineError, ValueError))
    assert issubclass(fl.PathError, LookupError)
    assert issubclass(fl.TargetError, TypeError)
    assert issubclass(fl.NotBuiltError, ValueError)


UNBUILT = {
    "layer": lambda: keras.layers.Dense(3, name="out"),
    "sequential": lambda: keras.Sequential([keras.layers.Dense(3)], name="out"),
}


@pytest.mark.parametrize("make", UNBUILT.values(), ids=UNBUILT.keys())
@pytest.mark.parametrize("verb", [fl.freeze, fl.unfreeze], ids=["freeze", "unfreeze"])
def test_not_built_yet(make, verb):
    with pytest.raises(fl.NotBuiltError, match=r"out: no weights yet.*out.build\(input_shape\)"):
        verb(make(), "kernel", fl.at[0])


def test_a_layer_without_weights():
    layer = keras.layers.Dropout(0.5, name="drop")
    layer.build((None, 3))
    with pytest.raises(fl.PathError, match="drop: this Dropout has no trainable weights"):
        fl.freeze(layer)


TARGETS = {
    "none": (None, "Pass a layer or a model"),
    "name": ("model", "Pass a layer or a model"),
    "list": ([], "one at a time: `for layer in layers"),
    "variable": (keras.Variable(np.zeros(3)), r"fl.freeze\(layer, variable, fl.at\[0\]\)"),
}


@pytest.mark.parametrize(("target", "do"), TARGETS.values(), ids=TARGETS.keys())
def test_a_target_that_is_no_layer(target, do):
    with pytest.raises(fl.TargetError, match=f"not a Keras layer or model; got target=.*{do}"):
        fl.freeze(target)


def test_a_model_whose_build_makes_no_weights():
    class Lazy(keras.Model):
        def __init__(self):
            super().__init__(name="lazy")
            self.out = keras.layers.Dense(2)

        def call(self, x):
            return self.out(x)

    target = Lazy()
    target.built = True
    with pytest.raises(fl.NotBuiltError, match=r"got built=True. Call it once on data"):
        fl.freeze(target)


def test_a_selection_that_holds_nothing_warns():
    target = model()
    with pytest.warns(
        UserWarning, match=r"hidden/kernel: this selection contains no entry.*at\[7:\]"
    ):
        assert len(fl.freeze(target, "hidden/kernel", fl.at[7:])) == 0


def test_the_trainable_part_stands_for_its_weight():
    target = model()
    fl.freeze(target, "hidden/kernel", fl.at[0])
    (change,) = fl.freeze(target, target.trainable_variables[0], fl.at[1])
    assert (change.path, change.frozen) == ("hidden/kernel", 10)


def test_a_variable_of_another_model():
    other = model().get_layer("hidden").kernel
    with pytest.raises(fl.PathError, match="not a trainable weight of model"):
        fl.freeze(model(), other)


def test_one_path_for_two_weights():
    target = two_of_one_path()
    with pytest.raises(fl.PathError, match=r"2 different weights have this path.*'same/kernel'"):
        fl.freeze(target, "same/kernel")
    assert len(fl.freeze(target, target.pair[0].kernel)) == 1
    assert len(fl.freeze(target, "same/kernel*", fl.at[0])) == 1


@pytest.mark.parametrize("question", [fl.is_frozen, fl.frozen_mask], ids=["is", "mask"])
def test_questions_about_something_else(question):
    with pytest.raises(fl.TargetError, match="not a Keras variable; got variable=ndarray"):
        question(np.zeros(3))
    layer = model().get_layer("hidden")
    fl.freeze(layer, "kernel", fl.at[0])
    with pytest.raises(fl.TargetError, match="kernel: this is only one part"):
        question(layer.trainable_variables[0])


def test_a_failure_in_the_middle_of_a_freeze_changes_nothing(monkeypatch):
    target = model()
    fl.freeze(target, "hidden/bias", fl.at[0])
    target.compile("adam", "mse")
    target.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    before, numbers = state(target), values(target)
    make, made = view.make_parts, []

    def fail_at_the_third(variable, plan, **options):
        made.append(variable.path)
        if len(made) == 3:
            raise MemoryError("no room for the third")
        return make(variable, plan, **options)

    monkeypatch.setattr(view, "make_parts", fail_at_the_third)
    with pytest.raises(MemoryError, match="no room for the third"):
        fl.freeze(target, where=lambda weight: np.arange(weight.size).reshape(weight.shape) < 2)
    assert len(made) >= 3
    assert state(target) == before
    assert_all_same_bits(values(target), numbers)
    monkeypatch.undo()
    target.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    assert len(fl.freeze(target, "out/kernel", fl.at[0])) == 1


def test_a_failure_in_the_optimizer_changes_nothing(monkeypatch):
    target = model()
    target.compile("adam", "mse")
    target.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    before, numbers = state(target), values(target)
    slots = [variable.name for variable in target.optimizer.variables]

    def fail(*arguments):
        raise MemoryError("no room for the slots")

    monkeypatch.setattr("frostline._freezing.optimizer.rebuilt", fail)
    with pytest.raises(MemoryError, match="no room for the slots"):
        fl.freeze(target, "*/kernel", fl.at[0])
    assert state(target) == before
    assert_all_same_bits(values(target), numbers)
    assert [variable.name for variable in target.optimizer.variables] == slots


class Hooked(keras.Sequential):
    """Raises when its train function is made again."""

    raising = False

    def make_train_function(self, force=False):
        made = super().make_train_function(force)
        if force and self.raising:
            raise RuntimeError("hook")
        return made


@pytest.mark.parametrize("where", [None, fl.at[0]], ids=["whole", "part"])
def test_a_model_whose_step_can_not_be_made_stays_as_it_was(where, monkeypatch):
    target = Hooked([keras.Input((4,)), keras.layers.Dense(3, name="out")])
    target.compile(keras.optimizers.Adam(0.1), "mse")
    x, y = np.ones((4, 4)), np.ones((4, 3))
    target.fit(x, y, verbose=0)
    before, numbers, step = state(target), values(target), target.train_function
    slots = [(id(variable), value(variable)) for variable in target.optimizer.variables]
    monkeypatch.setattr(Hooked, "raising", True)
    with pytest.raises(RuntimeError, match="hook"):
        fl.freeze(target, "out/kernel", where)
    monkeypatch.undo()
    assert state(target) == before
    assert_all_same_bits(values(target), numbers)
    assert [id(variable) for variable in target.optimizer.variables] == [one for one, _ in slots]
    assert_all_same_bits(list(map(value, target.optimizer.variables)), [was for _, was in slots])
    assert target.train_function is step
    target.fit(x, y, verbose=0)
    assert all((a != b).any() for a, b in zip(values(target), numbers, strict=True))


def test_a_failure_in_the_second_optimizer_changes_nothing(monkeypatch):
    class Odd(keras.optimizers.SGD):
        def get_config(self):
            raise RuntimeError("no config")

    target = model()
    optimizers = keras.optimizers.SGD(0.1, momentum=0.9), Odd(0.1, momentum=0.9)
    for optimizer in optimizers:
        optimizer.build(target.trainable_variables)
    monkeypatch.setattr(_keras, "built_optimizers", lambda living: list(optimizers))
    before = state(target)
    slots = [[id(slot) for slot in optimizer.variables] for optimizer in optimizers]
    with pytest.raises(fl.UnsupportedError, match="cannot be copied from its config"):
        fl.freeze(target, "*/kernel", fl.at[0])
    assert state(target) == before
    assert [[id(slot) for slot in optimizer.variables] for optimizer in optimizers] == slots


def test_quantize_and_lora_are_refused_while_frozen():
    layer = keras.layers.Dense(8, name="out")
    layer.build((None, 4))
    fl.freeze(layer, "kernel", fl.at[0])
    with pytest.raises(fl.UnsupportedError, match=r"out: `quantize`.*fl.unfreeze\(layer\)"):
        layer.quantize("int8")
    with pytest.raises(fl.UnsupportedError, match=r"out: `enable_lora`.*fl.unfreeze\(layer\)"):
        layer.enable_lora(2)
    fl.unfreeze(layer)
    layer.enable_lora(2)
    with pytest.raises(
        fl.UnsupportedError, match=r"kernel: its layer is quantized or has LoRA .*lora_enabled=True"
    ):
        fl.freeze(layer, "kernel", fl.at[0])


def test_variables_of_flax_are_refused(monkeypatch):
    target = model()
    before = state(target)
    monkeypatch.setattr(keras.config, "is_nnx_enabled", lambda: True)
    with pytest.raises(
        fl.UnsupportedError,
        match=r"^hidden/kernel: Flax NNX variables are not supported; got "
        r"keras.config.is_nnx_enabled\(\)=True. Start Python without KERAS_NNX_ENABLED.$",
    ):
        fl.freeze(target, "hidden/kernel", fl.at[0])
    assert state(target) == before


def test_layers_that_the_garbage_collector_does_not_tell_of():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    gc.freeze()
    with pytest.raises(fl.UnsupportedError, match=r"kernel: .*Call `gc.unfreeze\(\)` first"):
        fl.freeze(layer, "kernel")
    assert not fl.is_frozen(layer.kernel)
