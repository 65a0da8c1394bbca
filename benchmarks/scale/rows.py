"""One measured case of one engine, as it is printed and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Row:
    """Bytes of one device or process.

    Attributes:
        engine: What trains, and on how many devices.
        case: The name of a case.
        frozen: Bytes of the entries that are frozen, of the whole model.
        trained: Bytes of the entries that train.
        kept: Bytes of the places that frozen parts keep for entries that train.
        whole: Bytes of `trained` that each device holds, since there are few or no layout divides
            them.
        copies: How many parts the batch is divided into.
        shards: Among how many devices the weights are divided.
        state: Weights, slots of the optimizer and counters. Measured.
        exchanged: The results of the collectives of a step. Measured.
        activations: The part of it that are no gradients and no weights, from the shapes.
        sparse: The part of `trained` of which only the rows that were looked up are exchanged.
        gathered: Whether the weights are divided among the devices that divide the batch.
        temporaries: What a step needs beyond that; `None` where the engine doesn't say.
        collectives: Kind, shapes and devices of each collective, where the engine lists them.
    """

    engine: str
    case: str
    frozen: int
    trained: int
    kept: int
    copies: int
    shards: int
    state: int
    exchanged: int
    whole: int = 0
    activations: int = 0
    sparse: int = 0
    gathered: bool = False
    temporaries: int | None = None
    collectives: list[str] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The least state: a share of what is frozen, and thrice (Adam) of what trains."""
        return (self.frozen + 3 * self.trained) / self.shards


def written(rows: Iterable[Row]) -> str:
    return json.dumps([asdict(row) for row in rows])


def read(text: str) -> list[Row]:
    return [Row(**row) for row in json.loads(text)]
