"""Optimizers and loops that are not Keras's own: PyTorch, optax, a gradient tape."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    assert_frozen_stayed,
    assert_only_the_rest_moved,
    assert_same_bits,
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

    # The compiler looks at the gradient of tensors between layers, with and without a freeze.
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

    def test_an_optimizer_made_before_a_freeze_is_warned_of():
        model = small()
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        with pytest.warns(UserWarning, match=r"entries/kernel: a native .* got AdamW with 1 such"):
            fl.freeze(model, "entries/kernel", fl.at[0])
        with pytest.warns(UserWarning, match="Make it again now"):
            fl.freeze(model, "scattered/*", fl.units([0]))
        fl.freeze(model, "whole/bias")  # stays the same parameter
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
