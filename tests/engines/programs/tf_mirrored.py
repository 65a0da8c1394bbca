"""`MirroredStrategy` on two CPUs: `life FOLDER` or `resume FOLDER SECONDS`."""

import sys
from pathlib import Path

import keras
import numpy as np
from tf_training import (
    CHANGES,
    STEPS,
    Engine,
    X,
    Y,
    leave_steps_behind,
    live,
    made,
    replica_step,
    save,
    tell,
    tf,
    ticking,
)
from tf_wire import wire

import frostline as fl

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
STRATEGY = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])


class Mirrored(Engine):
    """A `strategy.run` loop with half of the batch on each device."""

    copies = 2

    def scope(self):
        return STRATEGY.scope()

    def compiled(self, model):
        step = replica_step(model, 2)
        parts = [
            STRATEGY.experimental_distribute_values_from_function(
                lambda context, of=of: tf.constant(of[context.replica_id_in_sync_group :: 2])
            )
            for of in (X, Y)
        ]
        run = tf.function(lambda x, y: STRATEGY.run(step, args=(x, y)))
        return lambda: run(*parts)


class Fitted(Mirrored):
    """Trains with `fit` instead."""

    def train(self, model, steps=STEPS, tick=id):
        model.fit(X, Y, batch_size=len(X), epochs=steps, shuffle=False, verbose=0)


def life(folder):
    """Test all changes in a loop and in `fit`, files both ways, errors, slots and bytes sent."""
    live(Mirrored(), folder)
    (folder / "fit").mkdir()
    live(Fitted(), folder / "fit")
    model = Mirrored().load(folder / "start.keras")
    Mirrored().check(model)
    Mirrored().train(model)
    save(model, folder, "back")
    applied = Mirrored().load(folder / "start.keras")
    fl.apply_delta(applied, folder / "back.safetensors")
    Mirrored().check(applied)
    save(applied, folder, "applied")
    leave_steps_behind(Mirrored())
    refusals()
    leak()
    follow_optimizers()
    wire(STRATEGY, 2)


def refusals():
    """A change inside a step raises one clear error and changes nothing."""
    model, outside = Mirrored().make(), made()
    calls = {
        "replica": lambda: STRATEGY.run(lambda: fl.freeze(model, "out/kernel", fl.at[0])),
        "traced": tf.function(lambda: fl.freeze(model, "out/kernel", fl.at[0]), autograph=False),
        "scope": lambda: _in_scope(lambda: fl.freeze(outside, "out/kernel", fl.at[0])),
    }
    errors = {}
    for name, call in calls.items():
        try:
            call()
        except fl.UnsupportedError as error:
            errors[name] = str(error)
    assert not any(map(fl.is_frozen, (*fl.weights(model).values(), *outside.weights)))
    tell(errors=errors)


def _in_scope(call):
    with STRATEGY.scope():
        call()


def leak():
    """The audit checks every copy: here the second copy of a frozen part is overwritten."""
    model = Mirrored().make()
    fl.freeze(model, "hidden/kernel", fl.at[0])
    frozen = next(one for one in model.variables if "kernel_frozen" in one.path)

    def write(epoch, logs):
        copy = frozen.value.values[1]
        copy.assign(copy + 1)

    callbacks = [fl.callbacks.FreezeAudit(), keras.callbacks.LambdaCallback(on_epoch_begin=write)]
    try:
        model.fit(X, Y, verbose=0, callbacks=callbacks)
    except fl.AuditError as error:
        tell(leak=str(error))


def follow_optimizers():
    """Slots follow a change on every device, also averages and those of a loss-scale optimizer."""
    optimizers = (
        lambda: keras.optimizers.AdamW(0.02, epsilon=1e-2, use_ema=True),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.02, epsilon=1e-2)),
    )
    for optimizer in optimizers:
        models = []
        for engine in (Mirrored(), Engine()):
            with engine.scope():
                models.append(made(optimizer))
            for change in (lambda model: None, CHANGES[0], CHANGES[4], CHANGES[6]):
                change(models[-1])
                engine.train(models[-1])
        Mirrored().check(models[0])
        for path, value in fl.snapshot(models[1]).items():
            np.testing.assert_allclose(fl.snapshot(models[0])[path], value, atol=1e-5)


def resume(folder, seconds):
    """Run `fit` with a schedule and backups; the test kills it and starts it again."""

    def train(*callbacks):
        model = Mirrored().make()
        changes = fl.callbacks.FreezeSchedule(dict(enumerate(CHANGES[4:])))
        callbacks = [changes, fl.callbacks.FreezeAudit(), *callbacks]
        model.fit(X, Y, batch_size=4, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    class Tick(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ticking(seconds)(self.model)

    model = train(keras.callbacks.BackupAndRestore(str(folder / "backup")), Tick())
    for path, value in fl.snapshot(train()).items():
        assert value.tobytes() == fl.snapshot(model)[path].tobytes(), path
    tell(same=True)


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    {"life": life, "resume": resume}[what](Path(where), *map(float, rest))
