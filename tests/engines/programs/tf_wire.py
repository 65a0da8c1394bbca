"""Count the bytes that a TensorFlow step sends to other devices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from tf_training import replica_step, tell, tf

import frostline as fl


def collective_bytes(function: Any) -> int:
    """The bytes that each device passes to the collective operations of a concrete function.

    Read from the graph: the sizes that `MirroredStrategy` and `MultiWorkerMirroredStrategy` reduce
    or gather in each call. A ring sends them `2 * (devices - 1) / devices` times.
    """
    definition = function.graph.as_graph_def(add_shapes=True)
    nodes = [*definition.node]
    for inner in definition.library.function:
        nodes += inner.node_def
    given: Counter[str] = Counter()
    for node in nodes:
        if node.op.startswith("Collective") or node.op == "NcclAllReduce":
            size = tf.as_dtype(node.attr["T"].type).size
            for shape in node.attr["_output_shapes"].list.shape:
                given[node.device] += tf.TensorShape(shape).num_elements() * size
    return max(given.values(), default=0)


def wire(strategy: Any, replicas: int) -> None:
    """Report the bytes that a step reduces, with 100 % and 10 % of the rows trainable."""
    with strategy.scope():
        model: Any = keras.Sequential([keras.Input((100,)), keras.layers.Dense(50, name="out")])
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    counts = []
    for change in (lambda: None, lambda: fl.freeze(model, "out/kernel", fl.at[:90])):
        change()
        step = replica_step(model, replicas)
        run = tf.function(lambda x, y, step=step: strategy.run(step, args=(x, y)))
        signature = tf.ones((4, 100)), tf.ones((4, 50))
        counts.append(collective_bytes(run.get_concrete_function(*signature)))
    tell(wire=counts)
