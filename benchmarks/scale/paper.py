"""A model on paper of memory, communication and time of a training step on many accelerators.

Nothing here is measured. The functions of bytes also predict the small measured cases
(`predicted`), with which the page compares them; the time of a step is compared with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.scale.rows import Row


@dataclass(frozen=True)
class Transformer:
    """A decoder of the Llama family: gated feed-forward layers, an untied output layer."""

    name: str
    layers: int
    width: int
    hidden: int
    kv_width: int
    vocabulary: int = 32_000

    @property
    def block(self) -> int:
        """Entries of one block: `2 d^2 + 2 d d_kv + 3 d f`, and two norms of `d`."""
        d = self.width
        return 2 * d * d + 2 * d * self.kv_width + 3 * d * self.hidden + 2 * d

    @property
    def entries(self) -> int:
        """Entries of all weights, P: the blocks, the table, the output layer and the last norm."""
        return self.layers * self.block + 2 * self.vocabulary * self.width + self.width

    @property
    def multiplied(self) -> int:
        """Entries that each token is multiplied with, M: all but the table, which is looked up."""
        return self.entries - self.vocabulary * self.width


MODELS = (
    Transformer("7B", layers=32, width=4_096, hidden=11_008, kv_width=4_096),
    Transformer("70B", layers=80, width=8_192, hidden=28_672, kv_width=1_024),
)


@dataclass(frozen=True)
class Accelerator:
    """What one accelerator and its links can do; the values are those of NVIDIA's H100 SXM.

    Attributes:
        flops: Floating-point operations a second in bfloat16, dense.
        used: The share of them that training reaches.
        memory: Bytes.
        inside: Bytes a second that it sends to others of its node (NVLink).
        between: Bytes a second of a link between nodes (400 Gbit/s).
        node: Accelerators of a node.
        links: Links of a node to others; with as many as accelerators each has its own.
    """

    flops: float = 989e12
    used: float = 0.4
    memory: float = 80e9
    inside: float = 450e9
    between: float = 50e9
    node: int = 8
    links: int = 8

    def bandwidth(self, count: int) -> float:
        """Bytes a second in rings through whole nodes, which leave a node by all of its links."""
        return self.inside if count <= self.node else min(self.inside, self.links * self.between)


H100 = Accelerator()


@dataclass(frozen=True)
class Bytes:
    """Bytes of an entry. The policy `mixed_bfloat16` of Keras has float32 weights."""

    weight: int = 4
    gradient: int = 4
    slots: int = 8
    computed: int = 2


MIXED = Bytes()
LENGTH = 4_096
"""Tokens of a sequence, T. Each accelerator has one sequence a step."""


@dataclass(frozen=True)
class Need:
    """What a step needs of each accelerator: bytes held, bytes sent, seconds."""

    memory: float
    sent: float
    seconds: float


def state(frozen: float, trained: float, shards: int) -> float:
    """Bytes held between steps, Adam's slots with them: `(4 frozen + 12 trained) / shards`."""
    return (MIXED.weight * frozen + (MIXED.weight + MIXED.slots) * trained) / shards


def all_reduce(size: float, group: int) -> float:
    """Bytes that each of a ring sends to add up an array: `2 (n - 1) / n * size`."""
    return 2 * (group - 1) / group * size


def all_gather(size: float, group: int) -> float:
    """Bytes that each of a ring sends to put an array together: `(n - 1) / n * size`.

    A reduce-scatter, in which each adds up a part and keeps it, sends the same.
    """
    return (group - 1) / group * size


def activations(model: Transformer, parts: int = 1) -> float:
    """Bytes of activations where each block keeps its input and makes the rest again.

    `c T d L` for the inputs of `L` blocks, `c T (8 d + 3 f)` for the block that is at work and
    `2 * 4 T V` for the logits and their gradient. `parts` accelerators that divide the weights
    share the last two, and have `parts` times the tokens.
    """
    tokens = parts * LENGTH
    inputs = MIXED.computed * tokens * model.width * model.layers
    at_work = MIXED.computed * tokens * (8 * model.width + 3 * model.hidden)
    logits = 2 * 4 * tokens * model.vocabulary
    return inputs + (at_work + logits) / parts


def operations(model: Transformer, share: float) -> float:
    """Floating-point operations of one accelerator in a step.

    `2 M T` forward, again for what is made again, and for the gradient of the inputs; for the
    gradient of the weights `2 M T` times the share that trains. Attention itself has `2 T d L T`
    forward (half of the pairs are masked), again, and twice that backward, whatever trains.
    """
    products = 2 * model.multiplied * LENGTH
    attention = 2 * LENGTH * model.width * model.layers * LENGTH
    return (3 + share) * products + 4 * attention


def data_parallel(model: Transformer, share: float, count: int, on: Accelerator = H100) -> Need:
    """Each accelerator has all weights, and a part of the batch.

    Held: the state, gradients of what trains, one block in bfloat16, activations. Sent: an
    all-reduce of the gradients, beside the backward pass: the slower of the two counts.
    """
    trained = share * model.entries
    gradients = MIXED.gradient * trained
    block = MIXED.computed * model.block
    memory = state(model.entries - trained, trained, 1) + gradients + block
    sent = all_reduce(gradients, count)
    seconds = operations(model, share) / (on.flops * on.used)
    slower = max(seconds, sent / on.bandwidth(count))
    return Need(memory + activations(model), sent, slower)


def fully_sharded(model: Transformer, share: float, count: int, on: Accelerator = H100) -> Need:
    """Each accelerator has a part of each weight and of the batch (FSDP, ZeRO-3).

    Held: parts of state and gradients, two blocks put together (one at work, the next on its way),
    activations. Sent: all weights in bfloat16, put together forward and backward, and a
    reduce-scatter of the gradients, beside the products: the slower of the two counts.
    """
    trained = share * model.entries
    gradients = MIXED.gradient * trained
    memory = state(model.entries - trained, trained, count) + gradients / count
    memory += 2 * MIXED.computed * model.block + activations(model)
    sent = 2 * all_gather(MIXED.computed * model.entries, count) + all_gather(gradients, count)
    seconds = operations(model, share) / (on.flops * on.used)
    return Need(memory, sent, max(seconds, sent / on.bandwidth(count)))


def model_parallel(model: Transformer, share: float, count: int, on: Accelerator = H100) -> Need:
    """The accelerators of a node divide the weights, the nodes divide the batch.

    Held: parts of state and gradients, and the activations of all of the node's tokens. Sent in the
    node: two all-reduces of activations a block forward, again for what is made again, and
    backward, for which the products wait; between nodes an all-reduce of the gradients, beside,
    for which all accelerators of a node share its links.
    """
    trained = share * model.entries
    parts, nodes = on.node, count // on.node
    gradients = MIXED.gradient * trained / parts
    memory = state(model.entries - trained, trained, parts) + gradients
    memory += MIXED.computed * model.block / parts + activations(model, parts)
    array = MIXED.computed * parts * LENGTH * model.width
    inside = 6 * model.layers * all_reduce(array, parts)
    between = all_reduce(gradients, nodes)
    seconds = operations(model, share) / (on.flops * on.used) + inside / on.inside
    slower = max(seconds, between * parts / (on.links * on.between))
    return Need(memory, inside + between, slower)


WAYS = {
    "data parallel": data_parallel,
    "fully sharded": fully_sharded,
    "model parallel in a node": model_parallel,
}


def predicted(row: Row) -> tuple[float, float]:
    """State and exchanged bytes of a small measured case, by the formulas of this module.

    Weights, gradients and slots are float32 there, as above. A frozen part of scattered entries
    keeps the places of those that train. Among `copies` of the batch gradients are reduced, if
    there is more than one; activations are exchanged among the shards. Weights on the axis of the
    batch are gathered whole, once, since nothing is made again, and their gradients are reduced
    whole: XLA has no reduce-scatter on CPUs.
    """
    frozen, divided = row.frozen + row.kept, row.trained - row.whole
    held = state(frozen / MIXED.weight, divided / MIXED.weight, row.shards)
    held += state(0, row.whole / MIXED.weight, 1)
    if row.gathered:
        return held, frozen + divided + row.trained
    reduced = row.whole + (divided - row.sparse) / row.shards if row.copies > 1 else 0
    return held, row.activations + reduced
