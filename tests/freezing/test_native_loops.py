"""Native optimizers and training loops: PyTorch, optax, a gradient tape."""

import copy
import pickle

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    assert_all_same_bits,
    assert_frozen_stayed,
    assert_only_the_rest_moved,
    assert_same_bits,
    assert_script_ends,
    frozen_masks,
    value,
    values,
    weights,
    write_back,
)
from models import data, dense_layers

X, Y = data(16, 6)
BACKEND = keras.backend.backend()


def small():
    return dense_layers(entries=5, scattered=6, whole=3)


def freeze(model):
    fl.freeze(model, "entries/kernel", fl.mask(np.arange(30).reshape(6, 5) % 3 != 1))
    fl.freeze(model, "scattered/kernel", fl.at[::2])
    fl.freeze(model, "whole/kernel", fl.at[:2])
    fl.freeze(model, "whole/bias")


if BACKEND == "torch":
    import torch

    MAKERS = {
        "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
        "adamw-foreach": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, foreach=True),
        "adamw-fused": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, fused=True),
        "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
        "sgd-foreach": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, foreach=True),
        "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, weight_decay=0.1),
        "adagrad": lambda p: torch.optim.Adagrad(p, 0.01, weight_decay=0.1),
    }

    def step(model, optimizer, y=Y, *, to_none=True, clip=False):
        optimizer.zero_grad(set_to_none=to_none)
        loss = ((model(torch.tensor(X)) - torch.tensor(y)) ** 2).mean()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    @pytest.mark.parametrize("to_none", [True, False], ids=["none", "zeros"])
    @pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
    @pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
    def test_optimizers_of_pytorch_move_the_rest_alone(make, clip, to_none):
        model = small()
        before = values(model)
        freeze(model)
        optimizer = make(model.parameters())
        for _ in range(5):
            step(model, optimizer, clip=clip, to_none=to_none)
        assert_only_the_rest_moved(model, before)

    def test_adam_of_pytorch_moves_the_rest_as_a_reference_with_masks_does():
        model, plain = small(), small()
        freeze(model)
        masks = frozen_masks(model)
        before = values(plain)
        optimizers = [torch.optim.Adam(one.parameters(), 0.01) for one in (model, plain)]
        for _ in range(10):
            step(model, optimizers[0])
            step(plain, optimizers[1])
            write_back(plain, masks, before)
        for weight, expected in zip(weights(model), values(plain), strict=True):
            np.testing.assert_allclose(value(weight.variable), expected, rtol=1e-4, atol=1e-5)

    def test_a_loss_that_is_no_number_leaves_what_is_frozen():
        model = small()
        before = values(model)
        freeze(model)
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        for bad in (np.inf, np.nan):
            step(model, optimizer, np.full_like(Y, bad))
        assert_frozen_stayed(model, before)

    # `torch.compile` reads `.grad` of tensors between layers, with and without a freeze.
    @pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
    def test_a_model_compiled_by_pytorch_trains_the_rest_alone():
        model = small()
        before = values(model)
        freeze(model)
        optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
        compiled = torch.compile(model, backend="eager")
        x, y = torch.tensor(X), torch.tensor(Y)
        for _ in range(3):
            optimizer.zero_grad()
            ((compiled(x) - y) ** 2).mean().backward()
            optimizer.step()
        assert_only_the_rest_moved(model, before)

    def each(model):
        for parameter in model.parameters():
            assert parameter.requires_grad_(True) is parameter

    def each_attribute(model):
        for parameter in model.parameters():
            parameter.requires_grad = True

    def off_and_on(model):
        model.requires_grad_(False)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        model.requires_grad_(True)

    FROZEN = {"entries/kernel", "scattered/kernel", "whole/kernel", "whole/bias"}
    THAWERS = {
        "each": each,
        "attribute": each_attribute,
        "module": lambda model: model.requires_grad_(True),
        "off and on": off_and_on,
    }

    @pytest.mark.parametrize("thaw", THAWERS.values(), ids=THAWERS.keys())
    def test_parameters_that_are_all_told_to_train_stay_frozen(thaw):
        model = small()
        before = values(model)
        freeze(model)
        with pytest.warns(UserWarning, match="do not train; got requires_grad=True") as told:
            thaw(model)
        named = ["/".join(str(one.message).split(":")[0].split("/")[-2:]) for one in told]
        assert sorted(named) == sorted(FROZEN)
        optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
        for _ in range(3):
            step(model, optimizer)
        assert_only_the_rest_moved(model, before)

    @pytest.mark.filterwarnings("ignore:.*frozen entries of this weight do not train:UserWarning")
    def test_a_parameter_stays_frozen_wherever_it_goes():
        model = small()
        freeze(model)
        copied = copy.deepcopy(model)
        each(copied)
        assert sum(not parameter.requires_grad for parameter in copied.parameters()) == len(FROZEN)
        bias = model.get_layer("whole").bias.value
        each(model)
        model.to(torch.float64).to("cpu").to(torch.float32)
        alone = [copy.deepcopy(bias), type(bias)(bias.data, requires_grad=True)]
        for parameter in (bias, *alone, *torch.nn.ParameterList([bias])):
            parameter.requires_grad_(True)
            parameter.requires_grad = True
            assert not parameter.requires_grad
            assert not (parameter * 2).requires_grad
        # A tensor computed from it is an ordinary one, which may require a gradient.
        for tensor in (bias.detach(), bias.data, bias.clone(), bias[:1], copy.copy(bias)):
            assert type(tensor) in (torch.Tensor, torch.nn.Parameter)
            assert tensor.requires_grad_(True).requires_grad

    def test_a_copy_of_a_frozen_parameter_warns_of_its_own():
        layer = keras.layers.Dense(3)
        layer.build((None, 4))
        fl.freeze(layer, "bias")
        copied = copy.deepcopy(layer.bias.value)
        for parameter in (layer.bias.value, copied):
            with pytest.warns(UserWarning, match=f"{layer.bias.path}: frozen entries"):
                parameter.requires_grad_(True)
            parameter.requires_grad_(True)  # no second warning

    def test_an_unfrozen_weight_is_an_ordinary_parameter_again():
        model = small()
        bias = model.get_layer("whole").bias
        parameter = bias.value
        for _ in range(2):
            fl.freeze(model, "whole/bias")
            assert bias.value is parameter
            assert not parameter.requires_grad
            fl.unfreeze(model, "whole/bias")
            assert bias.value is parameter
            assert type(parameter) is torch.nn.Parameter
            assert not vars(parameter)
            assert parameter.requires_grad
            assert not parameter.requires_grad_(False).requires_grad
            parameter.requires_grad_(True)
        for path, where in {"whole/bias": fl.at[0], "whole/kernel": fl.everything}.items():
            fl.freeze(model, path, where)
            fl.freeze(model, path)
            fl.unfreeze(model, path, fl.at[0])
        fl.unfreeze(model)
        assert {type(one) for one in model.parameters()} == {torch.nn.Parameter}
        assert all(one.requires_grad for one in model.parameters())

    def test_a_parameter_of_another_class_keeps_it():
        class Own(torch.nn.Parameter):
            pass

        module = torch.nn.Linear(2, 2)
        module.bias = Own(torch.zeros(2))
        layer = keras.layers.TorchModuleWrapper(module)
        fl.freeze(layer)
        assert [type(one).__name__ for one in module.parameters()] == ["FrozenParameter", "Own"]
        fl.unfreeze(layer)
        assert [type(one) for one in module.parameters()] == [torch.nn.Parameter, Own]

    WITHOUT = """
import pickle, sys, torch
sys.modules["frostline"] = None
for name in ("plain.pt", "parameters.pt"):
    for value in torch.load(name, weights_only=True).values():
        assert type(value) in (torch.Tensor, torch.nn.Parameter)
with open("parameters.pkl", "rb") as file:
    kinds = [(type(value), value.requires_grad) for value in pickle.load(file).values()]
assert set(kinds) == {(torch.nn.Parameter, True), (torch.nn.Parameter, False)}
"""

    def test_saved_parameters_open_without_frostline(tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        model = small()
        freeze(model)
        torch.save(model.state_dict(), "plain.pt")
        torch.save(model.state_dict(keep_vars=True), "parameters.pt")
        with open("parameters.pkl", "wb") as file:
            pickle.dump(dict(model.state_dict(keep_vars=True)), file)
        assert_script_ends(WITHOUT)
        before = values(model)
        for weight in weights(model):
            weight.variable.assign(np.zeros(weight.variable.shape))
        model.load_state_dict(torch.load("plain.pt", weights_only=True))
        assert_all_same_bits(values(model), before)

    def test_a_functional_call_takes_frozen_parameters():
        model = small()
        freeze(model)
        x = torch.tensor(X)
        called = torch.func.functional_call(model, dict(model.named_parameters()), (x,))
        torch.testing.assert_close(called, model(x))

    def test_an_optimizer_made_before_a_freeze_is_warned_of():
        model = small()
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        with pytest.warns(UserWarning, match=r"entries/kernel: a native .* got AdamW"):
            fl.freeze(model, "entries/kernel", fl.at[0])
        with pytest.warns(UserWarning, match="Create it again now"):
            fl.freeze(model, "scattered/*", fl.units([0]))
        fl.freeze(model, "whole/bias")  # keeps its parameter, so nothing warns
        del optimizer

    def test_a_gradient_from_before_does_not_decay_a_frozen_weight():
        model = small()
        optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.5)
        step(model, optimizer)
        bias = model.get_layer("whole").bias
        before = value(bias)
        fl.freeze(model, "whole/bias")
        for _ in range(3):
            step(model, optimizer, to_none=False)
        assert_same_bits(value(bias), before)


if BACKEND == "jax":
    import jax
    import optax

    OPTAX = {
        "adamw": lambda: optax.adamw(0.01, weight_decay=0.1),
        "sgd": lambda: optax.sgd(0.01, momentum=0.9, nesterov=True),
        "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.lion(0.01)),
        "accumulated": lambda: optax.MultiSteps(optax.adamw(0.01), 2),
    }

    def run(model, transform, y=Y, steps=6):
        trained = [v.value for v in model.trainable_variables]
        rest = [v.value for v in model.non_trainable_variables]
        state = transform.init(trained)

        def loss(trained, rest):
            outputs, rest = model.stateless_call(trained, rest, X)
            return ((outputs - y) ** 2).mean(), rest

        @jax.jit
        def step(trained, rest, state):
            gradients, rest = jax.grad(loss, has_aux=True)(trained, rest)
            updates, state = transform.update(gradients, state, trained)
            return optax.apply_updates(trained, updates), rest, state

        for _ in range(steps):
            trained, rest, state = step(trained, rest, state)
        for variable, new in zip(model.trainable_variables, trained, strict=True):
            variable.assign(new)
        for variable, new in zip(model.non_trainable_variables, rest, strict=True):
            variable.assign(new)

    @pytest.mark.parametrize("between", [False, True], ids=["moved", "thawed between"])
    @pytest.mark.parametrize(
        ("first", "then"),
        [(fl.at[0], fl.at[1]), (fl.at[0, 0], fl.at[1, 2])],
        ids=["rows", "entries"],
    )
    def test_a_function_compiled_before_a_freeze_moved_follows_it(first, then, between):
        model = small()

        @jax.jit
        def call(trained, rest):
            return model.stateless_call(trained, rest, X)[0]

        def called():
            trained = [v.value for v in model.trainable_variables]
            return np.asarray(call(trained, [v.value for v in model.non_trainable_variables]))

        expected = np.asarray(model(X))
        before = None
        for where in (first, then, first):
            if between:
                fl.unfreeze(model)
            fl.freeze(model, "whole/kernel", where)
            if before is not None and not between:
                fl.unfreeze(model, "whole/kernel", before & ~where)
            before = where
            np.testing.assert_allclose(called(), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("make", OPTAX.values(), ids=OPTAX.keys())
    def test_optimizers_of_optax_move_the_rest_alone(make):
        model = small()
        before = values(model)
        freeze(model)
        run(model, make())
        assert_only_the_rest_moved(model, before)

    def test_a_stateless_loop_of_keras_moves_the_rest_alone():
        model = small()
        before = values(model)
        freeze(model)
        optimizer = keras.optimizers.AdamW(0.05, weight_decay=0.1)
        optimizer.build(model.trainable_variables)

        def loss(trained, rest):
            outputs, _ = model.stateless_call(trained, rest, X, training=True)
            return ((outputs - Y) ** 2).mean()

        @jax.jit
        def step(trained, rest, slots):
            return optimizer.stateless_apply(slots, jax.grad(loss)(trained, rest), trained)

        trained = [v.value for v in model.trainable_variables]
        rest = [v.value for v in model.non_trainable_variables]
        slots = [v.value for v in optimizer.variables]
        for _ in range(3):
            trained, slots = step(trained, rest, slots)
        for variable, new in zip(model.trainable_variables, trained, strict=True):
            variable.assign(new)
        assert_only_the_rest_moved(model, before)

    @pytest.mark.parametrize("bad", [np.inf, np.nan])
    def test_a_loss_that_is_no_number_leaves_what_is_frozen_with_optax(bad):
        model = small()
        before = values(model)
        freeze(model)
        run(model, optax.adamw(0.01), np.full_like(Y, bad), steps=2)
        assert_frozen_stayed(model, before)

    def test_a_state_made_before_a_freeze_is_refused_by_optax():
        model = small()
        transform = optax.adam(0.01)
        state = transform.init([v.value for v in model.trainable_variables])
        freeze(model)
        trained = [v.value for v in model.trainable_variables]
        with pytest.raises(ValueError, match=r"(?i)mismatch|structure|length"):
            transform.update(trained, state, trained)


if BACKEND == "tensorflow":
    import tensorflow

    @pytest.mark.parametrize("compiled", [False, True], ids=["eager", "function"])
    @pytest.mark.parametrize("bad", [None, np.inf, np.nan])
    def test_a_gradient_tape_moves_the_rest_alone(compiled, bad):
        model = small()
        before = values(model)
        freeze(model)
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
        optimizer.build(model.trainable_variables)
        y = Y if bad is None else np.full_like(Y, bad)

        def step():
            with tensorflow.GradientTape() as tape:
                loss = tensorflow.reduce_mean((model(X, training=True) - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_weights)
            optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))

        run = tensorflow.function(step) if compiled else step
        for _ in range(4):
            run()
        if bad is None:
            assert_only_the_rest_moved(model, before)
        assert_frozen_stayed(model, before)
