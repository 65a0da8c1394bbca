"""Train under a distribution while the freeze changes, and compare with one device.

jax_training.py FOLDER HOW ...
"""

import sys
from pathlib import Path

import jax
import jax_world as world
import keras
import numpy as np

import frostline as fl

random = np.random.default_rng(0)
X, Y = random.integers(0, 32, (16, 6)), random.normal(size=(16, 8)).astype("float32")
X[:, 0] = [30, 31] * 8  # so the trainable rows of the table are used


def build(units=16):
    keras.utils.set_random_seed(0)
    tokens = keras.Input((6,), dtype="int32")
    hidden = keras.layers.Flatten()(keras.layers.Embedding(32, 8, name="tokens")(tokens))
    hidden = keras.layers.Dense(units, "tanh", name="h")(hidden)
    model = keras.Model(tokens, keras.layers.Dense(8, name="o")(hidden), name="model")
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-3), "mse")
    return model


def fit(model, epochs=1, callbacks=()):
    x, y = world.my_rows(X, Y)
    audit = fl.callbacks.FreezeAudit(every=1)
    options = {"batch_size": len(x), "shuffle": False, "verbose": 0}
    model.fit(x, y, epochs=epochs, callbacks=[*callbacks, audit], **options)
    assert audit.comparisons > epochs


def loop(model, steps=2):
    """Train with a stateless step, as in Keras's guide to JAX."""
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)

    def loss(trainable, fixed, x, y):
        predicted, fixed = model.stateless_call(trainable, fixed, x)
        return keras.ops.mean(keras.losses.mean_squared_error(y, predicted)), fixed

    @jax.jit
    def step(trainable, slots, fixed, x, y):
        (_, fixed), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, fixed, x, y)
        return *optimizer.stateless_apply(slots, gradients, trainable), fixed

    lists = model.trainable_variables, optimizer.variables, model.non_trainable_variables
    state = [[variable.value for variable in variables] for variables in lists]
    data = [_global(one) for one in world.my_rows(X, Y)]
    for _ in range(steps):
        state = step(*state, *data)
    for variables, values in zip(lists, state, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _global(rows):
    distribution = keras.distribution.distribution()
    if distribution is None:
        return rows
    layout = distribution.get_data_layout(rows.shape).backend_layout
    return jax.make_array_from_process_local_data(layout, rows)


def trained(model, train):
    """Run one stage of training; frozen entries keep their bits, all others move."""
    before, were = fl.snapshot(model), world.masks_of(model)
    train(model)
    after, masks = fl.snapshot(model), world.masks_of(model)
    for path, frozen in masks.items():
        moved = before[path].view("uint32") != after[path].view("uint32")
        assert not moved[frozen & were[path]].any(), path
        assert moved[~frozen].all(), path


def story(model):
    """Change the freeze before the first step, by a schedule, between steps and by values."""
    large = {1: lambda model: fl.freeze(model, "h/kernel", lambda kernel: np.abs(kernel) > 0.1)}
    schedule = fl.callbacks.FreezeSchedule(large)
    fl.freeze(model, {"tokens/*": ~fl.tokens([30, 31]), "h/kernel": fl.at[:, :8]})
    fl.freeze(model, {"o/kernel": fl.at[:, ::2], "h/bias": None})
    trained(model, lambda model: fit(model, 2, [schedule]))
    fl.unfreeze(model, "h/*")
    fl.freeze(model, "o/kernel", fl.at[::2])
    trained(model, loop)
    fl.freeze(model, {"h/kernel": fl.smallest(0.5), "tokens/*": fl.at[:, 0], "o/bias": fl.at[2:]})
    trained(model, fit)
    return fl.snapshot(model)


def saved(model, folder, how):
    """Save under the distribution, train on one device, and load back; also as a weights file."""
    there, masks = fl.snapshot(model), world.masks_of(model)
    file, weights = folder / f"{world.rank}.keras", folder / f"{world.rank}.weights.h5"
    model.save(file)
    model.save_weights(weights)
    world.distribute("one")
    single = keras.saving.load_model(file)
    world.assert_same(fl.snapshot(single), there)
    world.assert_same(world.masks_of(single), masks)
    plain = build()
    plain.load_weights(weights)
    world.assert_same(fl.snapshot(plain), there)
    trained(single, fit)
    single.save(file)
    single.save_weights(weights)
    trained(loaded_there(file, weights, single, how), fit)


def loaded_there(file, weights, single, how):
    """Load under the distribution what one device has saved."""
    world.distribute(how)
    back = keras.saving.load_model(file)
    world.assert_same(world.masks_of(back), world.masks_of(single))
    plain = build()
    plain.load_weights(weights)
    world.assert_same(fl.snapshot(plain), fl.snapshot(single))
    world.assert_same(fl.snapshot(back), fl.snapshot(single))
    return back


def handed_on(model, folder, how):
    """Snapshots and delta files equal those of one device, and the delta applies to a base here."""
    there, masks = fl.snapshot(model), world.masks_of(model)
    delta, file = fl.extract_delta(model), folder / f"{world.rank}.safetensors"
    delta.save(file)
    world.distribute("one")
    single = build()
    fl.freeze(single, masks)
    fl.restore(single, there)
    fl.extract_delta(single).save(folder / f"{world.rank}-one.safetensors")
    assert file.read_bytes() == (folder / f"{world.rank}-one.safetensors").read_bytes()
    world.distribute(how)
    base = build()
    fl.restore(base, {path: np.where(masks[path], there[path], 0) for path in there})
    fl.apply_delta(base, fl.load_delta(file), freeze=True)
    world.assert_same(fl.snapshot(base), there)
    world.assert_same(world.masks_of(base), masks)
    larger = build(units=32)
    copied = fl.copy_weights(model, larger)
    assert_frozen_there(larger, copied, there)


def assert_frozen_there(larger, copied, there):
    """The old model is copied into half of a larger one and stays frozen there."""
    fl.freeze(larger, copied)
    trained(larger, fit)
    now = fl.snapshot(larger)
    assert all(now[path][copied[path]].tobytes() == there[path].tobytes() for path in there)


def laid_out_as_plain(model):
    """All variables and slots are on every device; a thawed weight has its original sharding."""
    for variable in [*model.variables, *model.optimizer.variables]:
        assert len(variable.value.sharding.device_set) == jax.device_count(), variable.path
    copy, plain = keras.models.clone_model(model), fl.weights(build())
    fl.unfreeze(copy)
    for path, variable in fl.weights(copy).items():
        one, other = variable.value, plain[path].value
        assert one.sharding.is_equivalent_to(other.sharding, one.ndim), path


def run(folder, how, single):
    world.distribute(how)
    model = build()
    world.assert_near(story(model), single)
    world.assert_copies_agree(model, folder, how)
    fl.summary(model)
    handed_on(model, folder, how)
    laid_out_as_plain(model)
    if world.processes == 1 or how == "data":  # Keras cannot save otherwise
        saved(model, folder, how)


if __name__ == "__main__":
    world.join()
    single = story(build())
    for how in sys.argv[2:]:
        run(Path(sys.argv[1]), how, single)
        print("ended", how, flush=True)
