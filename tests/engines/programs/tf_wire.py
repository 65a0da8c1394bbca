"""How many bytes a step of TensorFlow sends to other devices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import tensorflow

tf: Any = tensorflow


def collective_bytes(function: Any) -> int:
    """The bytes that the collective operations of a concrete function give on each device.

    Read off its graph: what `MirroredStrategy` and `MultiWorkerMirroredStrategy` reduce or gather
    in each call. A ring sends them `2 * (devices - 1) / devices` times.
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
