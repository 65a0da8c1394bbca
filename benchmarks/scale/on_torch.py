"""PyTorch: the bytes that DistributedDataParallel reduces in a step, counted by its own hook."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.scale import cases
from benchmarks.scale.rows import Row, written
from benchmarks.scale.together import together

PROCESSES = (2, 4)


def row(case: cases.Case, world: int, group: Any) -> Row:
    """One case in one of the `world` processes of a group."""
    rank = torch.distributed.get_rank()
    model = cases.built(case)
    parallel: Any = DistributedDataParallel(model, process_group=group)
    reduced = []

    def count(state, bucket):  # no annotations: DDP would compare them as strings
        reduced.append(bucket.buffer().nbytes)
        return allreduce_hook(state, bucket)

    parallel.register_comm_hook(group, count)
    trained = [p for p in parallel.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained)
    x, y = (torch.from_numpy(part)[rank::world] for part in cases.batch(case))
    for _ in range(2):
        reduced.clear()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(parallel(x), y).backward()
        optimizer.step()
    slots = [t for state in optimizer.state.values() for t in state.values()]
    buffers = list(parallel.buffers())
    return Row(
        engine=f"PyTorch, DistributedDataParallel, {world} processes",
        case=case.name,
        **cases.shares(model),
        copies=world,
        shards=1,
        state=sum(t.nbytes for t in [*parallel.parameters(), *buffers, *slots]),
        # The first process sends the buffers of the module to the others before each step.
        exchanged=sum(reduced) + sum(b.nbytes for b in buffers),
    )


def main() -> int:
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    if "RANK" not in os.environ:
        print(together(__spec__.name, max(PROCESSES), only))
        return 0
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rows = []
    for world in PROCESSES:
        group = torch.distributed.new_group(list(range(world)))
        if torch.distributed.get_rank() < world:
            rows += [row(case, world, group) for case in cases.chosen(only)]
    print(written(rows))
    torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
