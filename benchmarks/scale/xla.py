"""What XLA says of a compiled train step of Keras: bytes of memory and bytes of its collectives.

The step is the one that `fit` runs: Keras's own jitted function, called with the state and the data
that Keras put on the devices. Nothing here imports JAX, so tests can use the parser anywhere.
"""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from typing import Any

import keras

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16}

_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_CALL = re.compile(rf"= (?P<shape>\(.*?\)|\S+) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
# A group of devices is told in one of three ways: {{0,1},{2,3}}, [groups,size]<=[8], or as axes of
# a mesh, mesh['axis_0'=2,'axis_1'=4] {'axis_0'}.
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_REGULAR = re.compile(r"replica_groups=\[\d+,(\d+)\]<=")
_NAMED = re.compile(r"replica_groups=mesh\[(?P<mesh>[^\]]*)\][^{]*\{(?P<axes>[^}]*)\}")
_PARTITIONS = re.compile(r"num_partitions=(\d+)")
_LENGTH = re.compile(r"'(\w+)'(?:=|:\(\d+\))?(\d+)?")


@dataclass(frozen=True)
class Collective:
    """One collective operation of a compiled program.

    Attributes:
        kind: One of `KINDS`.
        shapes: The arrays that each device has afterwards, as HLO writes them: `("f32[8,64]",)`.
        size: Their bytes.
        group: How many devices exchange them.
    """

    kind: str
    shapes: tuple[str, ...]
    size: int
    group: int

    @property
    def wire(self) -> float:
        """Bytes that each device sends where the devices stand in a ring."""
        others = self.group - 1
        return {
            "all-reduce": 2 * others / self.group * self.size,
            "all-gather": others / self.group * self.size,
            "reduce-scatter": others * self.size,
            "all-to-all": others / self.group * self.size,
            "collective-permute": float(self.size),
        }[self.kind]


def collectives(text: str) -> list[Collective]:
    """The collectives in the text of a compiled module, `compiled.as_text()`.

    Operations in the body of a loop are counted once.
    """
    partitions = _PARTITIONS.search(text)
    devices = int(partitions[1]) if partitions else 1
    found = []
    for line in text.splitlines():
        call = _CALL.search(line)
        if call is None:
            continue
        arrays = _ARRAY.findall(call["shape"])
        if call["start"] and call["kind"] in ("all-gather", "collective-permute"):
            arrays = arrays[len(arrays) // 2 :] if len(arrays) % 2 == 0 else arrays[1:2]
        found.append(
            Collective(
                call["kind"],
                tuple(f"{kind}[{shape}]" for kind, shape in arrays),
                sum(BYTES[kind] * _entries(shape) for kind, shape in arrays),
                _group(line, devices),
            )
        )
    return found


def _entries(shape: str) -> int:
    return math.prod(map(int, filter(None, shape.split(","))))


def _group(line: str, devices: int) -> int:
    if named := _NAMED.search(line):
        lengths = dict(_LENGTH.findall(named["mesh"]))
        # A part of an axis is written with its own length, 'axis_0':(1)2.
        parts = _LENGTH.findall(named["axes"])
        return math.prod(int(length or lengths[axis]) for axis, length in parts)
    if listed := _LISTED.search(line):
        return listed[1].count(",") + 1
    if regular := _REGULAR.search(line):
        return int(regular[1])
    return devices


@dataclass(frozen=True)
class Step:
    """What one compiled train step takes, in bytes of each device.

    Attributes:
        arguments: Weights, slots, counters and the batch, as XLA counts them.
        data: The batch alone, which is a part of `arguments`.
        temporaries: What the step needs beyond arguments and results.
        outputs: What it returns.
        aliased: The part of the outputs that is written over arguments.
        operations: Floating-point operations.
        collectives: The collectives of the program.
    """

    arguments: int
    data: int
    temporaries: int
    outputs: int
    aliased: int
    operations: float
    collectives: tuple[Collective, ...]

    @property
    def state(self) -> int:
        """Bytes of weights, slots and counters: the arguments without the batch."""
        return self.arguments - self.data

    def exchanged(self, kind: str | None = None) -> int:
        """Bytes of the results of collectives, of one kind or of all."""
        return sum(c.size for c in self.collectives if kind in (None, c.kind))

    @property
    def wire(self) -> float:
        """Bytes that each device sends in a step, in a ring."""
        return sum(c.wire for c in self.collectives)


def train_step(model: Any, x: Any, y: Any) -> Step:
    """Compile the train step that `fit` would run on one batch, and read it.

    Two steps of training are done on the way: the first makes slots and metrics, in the second
    Keras itself hands over state and data, on the devices where it put them.
    """
    model.fit(x, y, batch_size=len(x), epochs=1, verbose=0)
    plain = model.train_function
    step = inspect.getclosurevars(plain).nonlocals["step_function"]
    found: list[Step] = []

    def read(state: Any, iterator: Any) -> Any:
        data = next(iterator)
        if not found:
            found.append(_read(step.lower(state, data).compile(), data))
        return step(state, data)

    model.train_function = read
    try:
        model.fit(x, y, batch_size=len(x), epochs=1, verbose=0)
    finally:
        model.train_function = plain
    return found[0]


def _read(compiled: Any, data: Any) -> Step:
    memory = compiled.memory_analysis()
    return Step(
        arguments=memory.argument_size_in_bytes,
        data=sum(_local(leaf) for leaf in keras.tree.flatten(data) if leaf is not None),
        temporaries=memory.temp_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        operations=compiled.cost_analysis()["flops"],
        collectives=tuple(collectives(compiled.as_text())),
    )


def _local(array: Any) -> int:
    """Bytes on one device; without a distribution Keras hands over arrays of NumPy."""
    shards = getattr(array, "addressable_shards", None)
    return shards[0].data.nbytes if shards else array.nbytes
