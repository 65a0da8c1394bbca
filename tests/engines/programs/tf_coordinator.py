"""The work of the coordinator of `tf_servers.py`."""

import time
from pathlib import Path

import keras
import numpy as np
from tf_training import (
    CHANGES,
    Engine,
    X,
    Y,
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

import frostline as fl


class Servers(Engine):
    """A coordinator loop that takes one step at a time, to match one device."""

    def __init__(self, ports):
        places = {"chief": ports[:1], "worker": ports[1:3], "ps": ports[3:]}
        self.strategy = tf.distribute.ParameterServerStrategy(
            tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(
                    {name: [f"127.0.0.1:{port}" for port in of] for name, of in places.items()}
                ),
                task_type="chief",
                task_id=0,
                rpc_layer="grpc",
            )
        )
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)

    def scope(self):
        return self.strategy.scope()

    def scheduled(self, model, x=X, y=Y):
        """A step that is scheduled and not waited for."""
        step = replica_step(model)
        run = tf.function(lambda x, y: self.strategy.run(step, args=(x, y)))
        return lambda: self.coordinator.schedule(run, args=(x, y))

    def compiled(self, model):
        schedule = self.scheduled(model)

        def step():
            schedule()
            self.coordinator.join()

        return step

    def check(self, model):
        for variable in (*model.variables, *model.optimizer.variables):
            assert "/job:ps/" in variable.value.device, variable.path


def life(engine, folder):
    """Test all changes, files both ways, concurrent steps, errors and bytes sent."""
    live(engine, folder)
    model = engine.load(folder / "start.keras")
    engine.check(model)
    engine.train(model)
    save(model, folder, "back")
    applied = engine.load(folder / "start.keras")
    fl.apply_delta(applied, folder / "back.safetensors")
    save(applied, folder, "applied")
    leave_steps_behind(engine)
    at_once(engine)
    plain(engine)
    wire(engine, folder)


def at_once(engine):
    """Both workers train in any order; a change while steps still run raises an error."""
    model = engine.make()
    fl.freeze(model, {"tokens/*": fl.at[:36], "hidden/kernel": fl.at[0]})
    schedule, before = engine.scheduled(model), fl.snapshot(model)
    for _ in range(30):
        schedule()
    try:
        fl.freeze(model, "out/bias")
    except fl.UnsupportedError as error:
        tell(running=str(error))
    engine.coordinator.join()
    assert not fl.is_frozen(model.get_layer("out").bias)
    assert (fl.snapshot(model)["tokens/embeddings"] == before["tokens/embeddings"])[:36].all()
    assert (fl.snapshot(model)["hidden/kernel"] == before["hidden/kernel"])[0].all()
    assert (fl.snapshot(model)["hidden/kernel"] != before["hidden/kernel"])[1:].any()


def wire(engine, folder):
    """The bytes that workers and servers send in a step, with all or 10 % of the rows trainable."""
    found = {}
    for freeze in (False, True):
        with engine.scope():
            layers = [keras.Input((1000,)), keras.layers.Dense(500, name="out")]
            model = keras.Sequential(layers)
            model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
            model.optimizer.build(model.trainable_variables)
        if freeze:
            fl.freeze(model, "out/kernel", fl.at[:900])
        schedule = engine.scheduled(model, np.ones((4, 1000), "f"), np.ones((4, 500), "f"))
        counts = []
        for steps in (2, 4):  # only the second round counts; the first one traces
            counts = given(folder)
            for _ in range(steps):
                schedule()
                engine.coordinator.join()
            counts = ((given(folder) - counts) / steps).tolist()
        found["frozen" if freeze else "plain"] = counts
    tell(wire=found)


def given(folder):
    """The bytes that all workers and all servers have sent until now."""
    time.sleep(0.3)  # they write the counts every 0.05 s
    jobs = (folder.glob(f"{job}-*.given") for job in ("worker", "ps"))
    return np.array([sum(int(file.read_text()) for file in files) for files in jobs])


def lose(engine, folder):
    """A worker is killed between two steps; the other one finishes the training."""
    model = engine.make()
    for epoch, change in enumerate(CHANGES):
        change(model)
        engine.train(model)
        if epoch == 1:
            print("kill one", flush=True)
            while not (folder / "killed").exists():
                time.sleep(0.02)
    engine.check(model)
    save(model, folder, "end")


def main(what, folder: Path, ports, *rest):
    engine = Servers(ports)
    if what == "resume":
        resume(engine, folder, ticking(float(rest[0])))
    else:
        {"life": life, "lose": lose}[what](engine, folder)
