"""Train in several processes, save a checkpoint every two steps, and continue from the last one.

Arguments: "keras" or "native", the pause after each step, and one folder for each run.
"""

import sys
import time
from pathlib import Path

import keras
import torch.distributed as dist
from torch_training import Run, build, freeze, load_checkpoint, save_checkpoint, thaw, write

native, pause = sys.argv[1] == "native", float(sys.argv[2])
STEPS, ACTIONS = 8, {2: freeze, 4: thaw}


def started(folder: Path) -> Run:
    """A run that starts at the last checkpoint if there is one."""
    last = folder / "last"
    if not last.exists():
        return Run(build(), native=native)
    at = int(last.read_text())
    if not native:
        return Run(keras.saving.load_model(folder / f"{at}.keras"), at=at)
    model = build()
    for step, action in ACTIONS.items():
        if step < at:
            action(model)
    run = Run(model, native=True, at=at)
    load_checkpoint(run, folder / str(at))
    return run


def save(run: Run, folder: Path) -> None:
    """Write a checkpoint, then its number; a kill in between leaves the previous one valid."""
    if native:
        save_checkpoint(run, folder / str(run.at))
    elif run.rank == 0:
        run.model.save(folder / f"{run.at}.keras")
    if run.rank == 0:
        (folder / "next").write_text(str(run.at))
        (folder / "next").replace(folder / "last")
    dist.barrier()


dist.init_process_group("gloo")
for folder in map(Path, sys.argv[3:]):
    run = started(folder)
    print("begins at", run.at)
    while run.at < STEPS:
        if run.at in ACTIONS:
            run.change(ACTIONS[run.at])
        run.steps(1)
        if run.at % 2 == 0:
            save(run, folder)
        print("step", run.at)
        time.sleep(pause)
    write(run, folder / f"{run.rank}.npz")
dist.destroy_process_group()
