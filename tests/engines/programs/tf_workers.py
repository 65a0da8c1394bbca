"""`MultiWorkerMirroredStrategy`: `life FOLDER` or `resume FOLDER SECONDS`."""

import json
import os
import sys
from pathlib import Path

import keras
from tf_training import (
    Engine,
    X,
    Y,
    digest,
    leave_steps_behind,
    live,
    replica_step,
    resume,
    save,
    tell,
    tf,
    ticking,
)
from tf_wire import collective_bytes

import frostline as fl

RANK, COUNT = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
os.environ["TF_CONFIG"] = json.dumps(
    {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in os.environ["PORTS"].split(",")]},
        "task": {"type": "worker", "index": RANK},
    }
)
STRATEGY = tf.distribute.MultiWorkerMirroredStrategy()


class Workers(Engine):
    """A `strategy.run` loop, a part of the batch in each process."""

    copies = 1

    def scope(self):
        return STRATEGY.scope()

    def compiled(self, model):
        step = replica_step(model, COUNT)
        parts = tf.constant(X[RANK::COUNT]), tf.constant(Y[RANK::COUNT])
        run = tf.function(lambda x, y: STRATEGY.run(step, args=(x, y)))
        return lambda: run(*parts)


def life(folder):
    """All changes; there and back by files; the wire. Every process makes the same calls."""
    mine = folder / str(RANK)
    mine.mkdir()
    engine = Workers()
    tell(life=digest(live(engine, mine)))
    model = engine.load(folder / "start.keras")
    engine.train(model)
    save(model, mine, "back")
    applied = engine.load(folder / "start.keras")
    fl.apply_delta(applied, mine / "back.safetensors")
    engine.check(applied)
    save(applied, mine, "applied")
    tell(back=digest(model))
    leave_steps_behind(engine)
    wire()
    plain()


def wire():
    """What the processes reduce in a step, before a freeze and with 10 % of the rows left."""
    with STRATEGY.scope():
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(50, name="out")])
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    counts = []
    for change in (lambda: None, lambda: fl.freeze(model, "out/kernel", fl.at[:90])):
        change()
        step = replica_step(model, COUNT)
        run = tf.function(lambda x, y, step=step: STRATEGY.run(step, args=(x, y)))
        signature = tf.ones((4, 100)), tf.ones((4, 50))
        counts.append(collective_bytes(run.get_concrete_function(*signature)))
    tell(wire=counts)


def plain():
    """What Keras itself can not do."""
    model, errors = Workers().make(), {}
    for call in (model.fit, model.evaluate):
        try:
            call(X, Y, verbose=0)
        except ValueError as error:
            errors[call.__name__] = str(error)
    tell(plain=errors)


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "resume":
        resume(Workers(), Path(where), ticking(float(rest[0])), saves=RANK == 0)
    else:
        life(Path(where))
