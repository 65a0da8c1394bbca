"""`MultiWorkerMirroredStrategy`: `life FOLDER` or `resume FOLDER SECONDS`."""

import json
import os
import sys
from pathlib import Path

from tf_training import (
    Engine,
    X,
    Y,
    digest,
    leave_steps_behind,
    live,
    plain,
    replica_step,
    resume,
    save,
    tell,
    tf,
    ticking,
)
from tf_wire import wire

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
    """A `strategy.run` loop with part of the batch in each process."""

    copies = 1

    def scope(self):
        return STRATEGY.scope()

    def compiled(self, model):
        step = replica_step(model, COUNT)
        parts = tf.constant(X[RANK::COUNT]), tf.constant(Y[RANK::COUNT])
        run = tf.function(lambda x, y: STRATEGY.run(step, args=(x, y)))
        return lambda: run(*parts)


def life(folder):
    """Test all changes, files both ways and bytes sent; every process makes the same calls."""
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
    wire(STRATEGY, COUNT)
    plain(Workers())


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "resume":
        resume(Workers(), Path(where), ticking(float(rest[0])), saves=RANK == 0)
    else:
        life(Path(where))
