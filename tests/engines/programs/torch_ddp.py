"""Train scenarios of `torch_training` in several gloo processes and write results to a folder.

Arguments: the folder and the names of the scenarios. Afterwards `train.py` runs if it is there.
"""

import os
import runpy
import sys
from pathlib import Path

import keras
import torch.distributed as dist
from torch_training import (
    SCENARIOS,
    Run,
    build,
    freeze,
    frozen_first,
    load_checkpoint,
    save_checkpoint,
    write,
)

import frostline as fl

folder, names = Path(sys.argv[1]), sys.argv[2:]


def saved() -> Run:
    """Each process saves the model, its weights and its delta."""
    run = frozen_first()
    run.model.save(folder / f"saved-{run.rank}.keras")
    run.model.save_weights(folder / f"saved-{run.rank}.weights.h5")
    fl.extract_delta(run.model).save(folder / f"saved-{run.rank}.safetensors")
    return run


def loaded() -> Run:
    """Continue with a model that one process has saved."""
    run = Run(keras.saving.load_model(folder / "one.keras"), at=4)
    run.steps(2)
    return run


def loaded_weights() -> Run:
    """Continue with weights that one process has saved."""
    model = build()
    model.load_weights(folder / "one.weights.h5")
    freeze(model)
    run = Run(model, native=True, at=4)
    run.steps(2)
    return run


def checkpointed() -> Run:
    """All processes write one checkpoint."""
    run = frozen_first(native=True)
    save_checkpoint(run, folder / "many")
    return run


def restored() -> Run:
    """Continue with a checkpoint of one process."""
    model = build()
    freeze(model)
    run = Run(model, native=True, at=4)
    load_checkpoint(run, folder / "one")
    run.steps(2)
    return run


def not_wrapped_again() -> Run:
    """Train after a change without wrapping again, which the warning is about."""
    model = build()
    freeze(model)
    run = Run(model)
    run.steps(1)
    run.change(lambda model: fl.unfreeze(model, "hidden/bias"), wrap=False)
    run.steps(2)
    return run


OTHERS = {
    one.__name__: one
    for one in (saved, loaded, loaded_weights, checkpointed, restored, not_wrapped_again)
}

dist.init_process_group("gloo")
for name in names:
    run = {**SCENARIOS, **OTHERS}[name]()
    write(run, folder / f"{name}-{run.rank}.npz")
    print(name, "done")
dist.destroy_process_group()
if (folder / "train.py").exists():
    os.environ["MASTER_PORT"] = os.environ["PORTS"].split(",")[0]
    os.chdir(folder)
    runpy.run_path("train.py")
