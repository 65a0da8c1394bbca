"""TensorFlow: the collective operations in the graph of a train step under a strategy."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from benchmarks.scale import cases
from benchmarks.scale.rows import Row, read, written
from benchmarks.scale.together import together

REPLICAS = 2
KINDS = {"CollectiveReduceV2": "all-reduce", "CollectiveGatherV2": "all-gather"}


def operations(graph: Any) -> Iterator[Any]:
    """The operations of a graph and of its branches.

    Of a condition the first branch counts. The one condition here is whether all replicas have
    gradients for equally many rows of a table; with batches of one size they have.
    """
    for one in graph.get_operations():
        yield one
        if one.type in ("If", "StatelessIf"):
            # `get_operations` knows no branches, and `as_graph_def` no shapes.
            yield from operations(graph._get_function(one.get_attr("then_branch").name).graph)


def collectives(graph: Any, replicas: int) -> list[tuple[str, str, int]]:
    """Kind, shape and bytes of the result of each collective that one replica takes part in.

    `replicas` are those of this process, each of which has its own operations in the graph.
    """
    found = []
    for one in operations(graph):
        if one.type in KINDS:
            kind, value = KINDS[one.type], one.inputs[0]
            lengths = list(value.shape)
            if kind == "all-gather":  # the values of all replicas, one behind the other
                lengths[0] *= REPLICAS
            shape = f"{value.dtype.name}[{','.join(map(str, lengths))}]"
            found.append((kind, shape, value.dtype.size * math.prod(lengths)))
    return sorted(found)[::replicas]


def row(case: cases.Case, strategy: Any, name: str, replicas: int) -> Row:
    with strategy.scope():
        model = cases.built(case, jit_compile=False)
        model.optimizer.build(model.trainable_variables)

    def run(x: Any, y: Any) -> None:
        strategy.run(model.train_step, args=((x, y),))

    step: Any = tf.function(run)

    batch = cases.batch(case)
    data = tf.data.Dataset.from_tensor_slices(batch).batch(cases.BATCH, drop_remainder=True)
    (x, y), *_ = strategy.experimental_distribute_dataset(data)
    step(x, y)
    found = collectives(step.get_concrete_function(x, y).graph, replicas)
    # Of a whole table TensorFlow exchanges the rows that were looked up, their ids and counts.
    sparse = case.model == "table" and not case.weight
    looked_up = 4 * (cases.BATCH * cases.IDS * (cases.WIDTH + 1) + REPLICAS)
    return Row(
        engine=f"TensorFlow, {name}, {REPLICAS} replicas",
        case=case.name,
        **cases.shares(model),
        copies=REPLICAS,
        shards=1,
        state=sum(
            v.value.dtype.size * math.prod(v.shape)
            for v in [*model.variables, *model.optimizer.variables]
        ),
        exchanged=sum(size for _, _, size in found),
        activations=looked_up if sparse else 0,
        sparse=4 * cases.ROWS * cases.WIDTH if sparse else 0,
        collectives=[f"{kind} of {shape} among {REPLICAS}" for kind, shape, _ in found],
    )


def mirrored() -> Any:
    """Two replicas in this process, each on half of the CPU."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half] * REPLICAS)
    return tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(REPLICAS)])


def multi_worker() -> Any:
    """One replica in each of the processes that `together` started."""
    workers = [f"127.0.0.1:{port}" for port in os.environ["PORTS"].split(",")]
    task = {"type": "worker", "index": int(os.environ["RANK"])}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    return tf.distribute.MultiWorkerMirroredStrategy()


def main() -> int:
    chosen = cases.chosen(only := sys.argv[1] if len(sys.argv) > 1 else "")
    if "RANK" in os.environ:
        strategy = multi_worker()
        print(written(row(case, strategy, "MultiWorkerMirroredStrategy", 1) for case in chosen))
        return 0
    others = read(together(__spec__.name, REPLICAS, only))
    strategy = mirrored()
    rows = [row(case, strategy, "MirroredStrategy", REPLICAS) for case in chosen]
    print(written([*rows, *others]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
