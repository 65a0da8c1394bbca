"""When a freeze changes, optimizers stay the same objects; only the affected slots change."""

import types

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._freezing.copies import inner_optimizers
from helpers import assert_all_same_bits, assert_same_bits, compile_for_test, value, values
from models import data, dense_layers

X, Y = data(16, 6)
BACKEND = keras.backend.backend()


def two():
    return dense_layers(body=5, head=3)


def by_path(variable):
    return BODY if "body" in variable.path else HEAD


BODY = HEAD = None


def several():
    global BODY, HEAD
    BODY, HEAD = (
        keras.optimizers.AdamW(0.01, use_ema=True),
        keras.optimizers.SGD(0.01, momentum=0.9),
    )
    return BODY, HEAD


def of_a_map():
    body, head = several()
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(head, {".*body.*": body}))


def of_a_function():
    several()
    return keras.optimizers.MultiOptimizer(by_path)


KINDS = {
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "schedule-free": lambda: keras.optimizers.ScheduleFreeAdamW(0.01),
    "accumulating": lambda: keras.optimizers.Lion(0.01, gradient_accumulation_steps=2),
    "loss-scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "map": of_a_map,
    "function": of_a_function,
    "loss-scale-of-a-function": lambda: keras.optimizers.LossScaleOptimizer(of_a_function()),
}


if not hasattr(keras.optimizers, "MultiOptimizer"):  # Keras 3.12 has none of these
    NEWER = {"schedule-free", "map", "function", "loss-scale-of-a-function"}
    KINDS = {kind: make for kind, make in KINDS.items() if kind not in NEWER}


def all_of(optimizer):
    return [optimizer, *(one for inner in inner_optimizers(optimizer) for one in all_of(inner))]


CHANGES = [
    lambda m: fl.freeze(m, "body/kernel", fl.at[:, ::2]),
    lambda m: fl.freeze(m, "body/bias"),
    lambda m: fl.unfreeze(m, "body/kernel", fl.at[0]),
    lambda m: fl.unfreeze(m, "body/bias", fl.at[1]),
    lambda m: fl.freeze(m, "head/*"),
    lambda m: fl.unfreeze(m),
]


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_a_handle_may_be_of_stays_the_same_object(kind):
    model = two()
    compile_for_test(model, KINDS[kind]())
    model.train_on_batch(X, Y)
    optimizers = all_of(model.optimizer)
    held = [
        [one for one in vars(optimizer).values() if isinstance(one, keras.Variable)]
        for optimizer in optimizers
    ]
    head = {id(slot): slot for slot in model.optimizer.variables if "head_" in slot.path}
    order = [v.path for v in model.trainable_variables]
    names = [slot.name for slot in model.optimizer.variables]
    for place, change in enumerate(CHANGES):
        change(model)
        assert [id(one) for one in all_of(model.optimizer)] == list(map(id, optimizers))
        for optimizer, variables in zip(optimizers, held, strict=True):
            now = [one for one in vars(optimizer).values() if isinstance(one, keras.Variable)]
            assert list(map(id, now)) == list(map(id, variables))
            listed = list(map(id, optimizer.variables))
            assert len(set(listed)) == len(listed)
            assert {id(one) for one in variables} <= set(listed)
        if place < 4:
            assert {id(s) for s in model.optimizer.variables if "head_" in s.path} == set(head)
        before, masks = values(model), [fl.frozen_mask(w) for w in originals(model)]
        if model.trainable_variables:
            model.train_on_batch(X, Y)
            for weight, start, mask in zip(originals(model), before, masks, strict=True):
                assert_same_bits(value(weight), start, mask)
    assert [v.path for v in model.trainable_variables] == order
    assert [slot.name for slot in model.optimizer.variables] == names
    before = values(model)
    model.train_on_batch(X, Y)
    model.train_on_batch(X, Y)
    assert all((a != b).any() for a, b in zip(before, values(model), strict=True))


def originals(model):
    return [layer_weight for layer in model.layers for layer_weight in (layer.kernel, layer.bias)]


@pytest.mark.parametrize("kind", sorted(KINDS.keys() & {"sgd", "loss-scale", "map", "function"}))
def test_a_rate_turned_down_through_a_handle_is_obeyed(kind):
    model = two()
    compile_for_test(model, KINDS[kind]())
    model.train_on_batch(X, Y)
    leaves = [one for one in all_of(model.optimizer) if not inner_optimizers(one)]
    rates = [one.learning_rate for one in leaves]
    for change in CHANGES[:4]:
        change(model)
    for rate in rates:
        rate.assign(0.0)
    for one in leaves:
        one.momentum = 0.0
        one.use_ema = False
    before = values(model)
    model.train_on_batch(X, Y)
    assert_all_same_bits(values(model), before)


class Looked(keras.optimizers.SGD):
    """Keeps slots in a dictionary, starts them at the weight's value, and has a list of its own."""

    def build(self, variables):
        super().build(variables)
        self.ahead, self.seen = {}, []
        for variable in variables:
            slot = self.add_variable_from_reference(variable, name="ahead")
            slot.assign(variable)
            self.ahead[variable.path] = slot

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)


def test_an_optimizer_of_a_users_own():
    model = two()
    optimizer = Looked(0.1)
    optimizer.build(model.trainable_variables)
    optimizer.seen.append(7)
    slots = dict(optimizer.ahead)
    for slot in slots.values():
        slot.assign(slot * 0 + 5)
    fl.freeze(model, "body/kernel", fl.at[0])
    fl.freeze(model, "head/bias")
    assert optimizer.seen == [7]
    assert list(optimizer.ahead) == [v.path for v in model.trainable_variables]
    assert len(optimizer.variables) == 2 + len(optimizer.ahead)
    unchanged = [path for path in slots if path.endswith(("body/bias", "head/kernel"))]
    assert len(unchanged) == 2
    assert all(optimizer.ahead[path] is slots[path] for path in unchanged)
    assert all((value(slot) == 5).all() for slot in optimizer.ahead.values())
    fl.unfreeze(model)
    thawed = value(next(iter(optimizer.ahead.values())))
    assert (thawed[1:] == 5).all()
    assert_same_bits(thawed[0], value(model.layers[0].kernel)[0])
    for slot in optimizer.variables:
        assert "assign" not in vars(slot)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() & {"adamw", "loss-scale", "function"}))
@pytest.mark.parametrize("through", ["layer", "model"])
def test_one_built_while_a_weight_was_wholly_frozen_takes_it_in(kind, through):
    model = two()
    fl.freeze(model, "body/bias")
    fl.freeze(model, "head/kernel")
    compile_for_test(model, KINDS[kind]())
    model.train_on_batch(X, Y)
    if through == "layer":
        fl.unfreeze(model.layers[0])
        fl.unfreeze(model.layers[1])
    else:
        fl.unfreeze(model)
    before = values(model)
    for _ in range(2):
        model.train_on_batch(X, Y)
    assert all((a != b).any() for a, b in zip(before, values(model), strict=True))


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("made", ["after", "before"])
def test_two_models_that_share_a_layer_compiled_with_other_flags(on, made):
    keras.utils.set_random_seed(0)
    x, noise, y = (np.ones((4, n), "float32") for n in (3, 2, 1))
    judge = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="out")], name="judge")
    maker = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="made")], name="maker")
    compile_for_test(judge, keras.optimizers.AdamW(0.1, use_ema=True))
    judge.trainable = False
    entry = keras.Input((2,))
    both = keras.Model(entry, judge(maker(entry)))
    compile_for_test(both, keras.optimizers.Adam(0.1))
    kernel = judge.layers[0].kernel

    def rounds(moves):
        for _ in range(2):
            judge.trainable = True
            before = value(kernel)
            judge.train_on_batch(x, y)
            assert ((value(kernel) != before)[:, 0] == moves).all()
            judge.trainable = False
            judged, making = values(judge), values(maker)
            both.train_on_batch(noise, y)
            assert_all_same_bits(values(judge), judged)
            assert (values(maker)[0] != making[0]).any()

    if made == "before":
        rounds([True, True, True])
    for change, moves in (
        (lambda: fl.freeze(judge, "out/kernel", fl.at[0]), [False, True, True]),
        (lambda: fl.freeze(judge, "out/kernel", fl.at[1]), [False, False, True]),
        (lambda: fl.freeze(judge, "out/kernel"), [False, False, False]),
        (lambda: fl.unfreeze(judge, "out/kernel", fl.at[2]), [False, False, True]),
        (lambda: fl.unfreeze(judge), [True, True, True]),
    ):
        judge.trainable = on
        change()
        rounds(moves)


class TwoOptimizers(keras.Model):
    """Trains its two layers by hand, each with its own optimizer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = (
            keras.layers.Dense(5, name="body"),
            keras.layers.Dense(3, name="head"),
        )
        self.own = keras.optimizers.Adam(0.05), keras.optimizers.SGD(0.05, momentum=0.9)
        self.build((None, 6))

    def build(self, shape):
        self.body.build(shape)
        self.head.build((None, 5))

    def call(self, x):
        return self.head(self.body(x))

    def step(self):
        for optimizer, layer in zip(self.own, (self.body, self.head), strict=True):
            variables = layer.trainable_variables
            if variables:
                optimizer.apply(gradients_of(self, variables), variables)


def gradients_of(model, variables):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X) - 1.0) ** 2)
        return tape.gradient(loss, variables)
    if BACKEND == "torch":
        model.zero_grad()
        keras.ops.mean((model(X) - 1.0) ** 2).backward()
        return [variable.value.grad for variable in variables]
    import jax

    trained, rest = model.trainable_variables, model.non_trainable_variables
    gradients = jax.grad(
        lambda t: keras.ops.mean(
            (model.stateless_call(t, [v.value for v in rest], X)[0] - 1.0) ** 2
        )
    )([v.value for v in trained])
    wanted = {id(v): g for v, g in zip(trained, gradients, strict=True)}
    return [wanted[id(v)] for v in variables]


@pytest.mark.parametrize("weight", ["body/bias", "head/kernel", "head/*"])
def test_optimizers_of_no_model_get_what_thaws_back(weight):

    model = TwoOptimizers()
    model.step()
    counts = [int(one.iterations) for one in model.own]
    for _ in range(3):
        fl.freeze(model, weight)
        before = values(model)
        masks = [fl.frozen_mask(w) for w in originals(model)]
        model.step()
        for one, start, mask in zip(originals(model), before, masks, strict=True):
            assert_same_bits(value(one), start, mask)
        fl.unfreeze(model)
        before = values(model)
        model.step()
        assert all((a != b).any() for a, b in zip(before, values(model), strict=True))
    assert int(model.own[0].iterations) == counts[0] + 6


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX takes memory away")
def test_averages_whose_memory_is_gone_are_the_weights():
    model = two()
    compile_for_test(model, keras.optimizers.AdamW(0.01, use_ema=True, ema_overwrite_frequency=2))
    fl.freeze(model, "body/kernel", fl.at[0])
    model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    model.predict(X, verbose=0)
    before = values(model)
    fl.unfreeze(model)
    assert_all_same_bits(values(model), before)
    averages = [s for s in model.optimizer.variables if s.path.endswith("_average")]
    assert_all_same_bits([value(s) for s in averages], before)
    model.fit(X, Y, epochs=1, batch_size=8, verbose=0)


def test_a_model_of_half_precision_is_saved_after_a_change(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = two()
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0)
        fl.freeze(model, "body/kernel", fl.at[0])
        model.fit(X, Y, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    names = [slot.path for slot in model.optimizer.variables]
    assert [slot.path for slot in loaded.optimizer.variables] == names
    assert_all_same_bits(
        [value(slot) for slot in loaded.optimizer.variables],
        [value(slot) for slot in model.optimizer.variables],
    )


def build_of(kind):
    """A `build` method that keeps the slots of a custom optimizer in one of several ways."""

    def build(self, variables):
        keras.optimizers.SGD.build(self, variables)
        make = self.add_variable_from_reference
        if kind == "two without a name":
            self.first, self.second = [make(v) for v in variables], [make(v) for v in variables]
        elif kind == "a list of dictionaries":
            self.own = [{"m": make(v, "m")} for v in variables]
        elif kind == "a dictionary by key":
            self.own = {self._var_key(v): make(v, "m") for v in variables}
        elif kind == "variables of no reference":
            self.own = [self.add_variable(shape=v.shape, name="m") for v in variables]
        elif kind == "plain variables":
            self.own = [keras.Variable(np.zeros(v.shape, "float32")) for v in variables]
        elif kind == "an attribute each":
            for place, variable in enumerate(variables):
                setattr(self, f"own_{place}", make(variable, "m"))
        elif kind == "a dictionary of no reference":
            self.own = {v.path: self.add_variable(shape=v.shape, name="m") for v in variables}
        elif kind == "one for all":
            self.own = self.add_variable((sum(int(np.prod(v.shape)) for v in variables),))
        elif kind == "arrays":
            self.own = [np.zeros(v.shape) for v in variables]
        elif kind == "an object":
            self.own = types.SimpleNamespace(slots=[make(v, "m") for v in variables])
        elif kind == "made later":
            self.own = {}

    return build


FOLLOWING = [
    "two without a name",
    "a list of dictionaries",
    "a dictionary by key",
    "variables of no reference",
    "plain variables",
    "an attribute each",
]
REFUSED = [
    "a dictionary of no reference",
    "one for all",
    "arrays",
    "an object",
    "made later",
]


def of_own(kind):
    """Two layers with the same path and their optimizer, whose slots hold 10, 11 and so on."""
    layers = [keras.layers.Dense(3, use_bias=False, name="twin") for _ in range(2)]
    for layer in layers:
        layer.build((None, 3))
    optimizer = type("Own", (keras.optimizers.SGD,), {"build": build_of(kind)})(0.1)
    optimizer.build([layer.kernel for layer in layers])
    if kind == "made later":
        slot = optimizer.add_variable_from_reference(layers[1].kernel, "m")
        optimizer.own[optimizer._var_key(layers[1].kernel)] = slot
    for number, slot in enumerate(optimizer.variables[2:], 10):
        slot.assign(slot * 0 + number)
    return layers, optimizer


@pytest.mark.parametrize("kind", FOLLOWING)
def test_slots_are_found_however_an_optimizer_keeps_them(kind):
    (first, second), optimizer = of_own(kind)
    numbers = [slot.numpy().flat[0] for slot in optimizer.variables[2:]]
    attributes = set(vars(optimizer))
    fl.freeze(first, "kernel", fl.at[0])
    slots = optimizer.variables[2:]
    assert [slot.numpy().flat[0] for slot in slots] == numbers
    assert sorted(tuple(s.shape) for s in slots) == sorted([(2, 3), (3, 3)] * (len(slots) // 2))
    if kind == "two without a name":
        assert [float(s.numpy().flat[0]) for s in (*optimizer.first, *optimizer.second)] == numbers
    fl.freeze(first)
    assert len(optimizer.variables) == 2 + len(slots) // 2
    assert {float(slot.numpy().flat[0]) for slot in optimizer.variables[2:]} < set(numbers)
    fl.unfreeze(first)
    assert set(vars(optimizer)) - attributes == {"_frostline_known"}
    fl.unfreeze(second)
    optimizer.apply([keras.ops.ones((3, 3))] * 2, [first.kernel, second.kernel])


@pytest.mark.parametrize("kind", REFUSED)
def test_an_optimizer_whose_state_would_be_lost_is_refused(kind):
    (first, _), optimizer = of_own(kind)
    before = [(id(slot), slot.numpy().tobytes()) for slot in optimizer.variables]
    with pytest.raises(fl.UnsupportedError, match="slots of this optimizer cannot be updated"):
        fl.freeze(first, "kernel", fl.at[0])
    assert [(id(slot), slot.numpy().tobytes()) for slot in optimizer.variables] == before
    assert not fl.is_frozen(first.kernel)


def test_an_optimizer_that_did_without_a_weight_does_not_take_it_in():
    first, second, third = (keras.layers.Dense(4, name=name) for name in "abc")
    model = keras.Sequential([keras.Input((6,)), first, second, third])
    before = keras.optimizers.Adam(0.1)
    before.build(third.trainable_variables)
    slots = list(map(id, before.variables))
    fl.freeze(first)
    during = keras.optimizers.Adam(0.1)
    during.build(second.trainable_variables)
    fl.unfreeze(model)
    assert list(map(id, before.variables)) == slots
    assert [id(v) for v in during._trainable_variables] == list(map(id, second.weights))


@pytest.mark.filterwarnings("ignore:The model does not have any trainable")
def test_a_model_of_which_nothing_trained_at_first():
    model = two()
    fl.freeze(model)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=BACKEND == "jax")
    model.fit(X, Y, verbose=0)
    for weight, moves in (("head/*", [0, 0, 1, 1]), ("body/kernel", [1, 0, 1, 1])):
        fl.unfreeze(model, weight)
        before = values(model)
        model.fit(X, Y, verbose=0)
        moved = [(a != b).any() for a, b in zip(before, values(model), strict=True)]
        assert moved == list(map(bool, moves))


class Unregistered(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.01


RATES = {"function": lambda: 0.01, "schedule": Unregistered()}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_a_learning_rate_that_no_config_holds(rate, scaled):
    model = two()
    optimizer = keras.optimizers.Adam(rate)
    compile_for_test(model, keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    model.train_on_batch(X, Y)
    fl.freeze(model, "body/kernel", fl.at[0])
    assert optimizer._learning_rate is rate
    before = values(model)
    model.train_on_batch(X, Y)
    assert_same_bits(values(model)[0][0], before[0][0])
    assert (values(model)[0][1:] != before[0][1:]).any()


@pytest.mark.parametrize("told", ["name", "before", "after"])
def test_what_is_excluded_from_decay_stays_so(told):
    model = dense_layers(body=6, head=3)
    kernel = model.layers[0].kernel
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    if told == "after":
        fl.freeze(model, "body/kernel", fl.at[0])
    # PyTorch and JAX match only the last part of a name.
    name = "body/kernel" if BACKEND == "tensorflow" else "kernel"
    optimizer.exclude_from_weight_decay(
        **({"var_names": [name]} if told == "name" else {"var_list": [kernel]})
    )
    optimizer.build(model.trainable_variables)
    for change in (
        lambda: fl.freeze(model, "body/kernel", fl.at[1]),
        lambda: fl.freeze(model, "body/kernel"),
        lambda: fl.unfreeze(model),
    ):
        before, others = value(kernel), value(model.layers[1].bias)
        model.layers[1].bias.assign(others + 1)
        variables = model.trainable_variables
        optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
        assert_same_bits(value(kernel), before)
        assert (value(model.layers[1].bias) != others + 1).all()
        change()


def test_a_schedule_follows_every_change():
    model = two()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    compile_for_test(model, keras.optimizers.Adam(schedule))
    model.train_on_batch(X, Y)
    names = [slot.path for slot in model.optimizer.variables]
    for change in CHANGES:
        change(model)
        if model.trainable_variables:
            model.train_on_batch(X, Y)
    assert [slot.path for slot in model.optimizer.variables] == names
    assert model.optimizer._learning_rate is schedule
