"""A functional model read from its config: which layer or operation is given what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Call:
    """The one place where a layer or an operation is called."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    """The names of those whose outputs it is given."""
    constants: tuple[Any, ...]
    """Its other arguments, deserialized."""
    config: dict[str, Any]


class Graph:
    """The calls of a functional model by name, in the order of its config."""

    def __init__(self, model: keras.Model) -> None:
        config = model.get_config()
        self.calls = {entry["name"]: _call(entry) for entry in config["layers"]}
        self.model = model

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls.values())

    def get(self, name: str) -> Call | None:
        return self.calls.get(name)

    def positions(self, call: Call, size: int) -> tuple[np.ndarray, Call] | None:
        """Positions that `call` takes of what another call gives, and that call."""
        source = self.calls[call.inputs[0]] if call.inputs else None
        if source is None or len(call.inputs) != 1:
            return None
        if call.kind == "Take" and len(call.constants) == 1:
            return np.asarray(call.constants[0]), source
        if call.kind == "GetItem" and len(call.constants) == 1:
            return np.arange(size)[call.constants[0][-1]], source
        return None


def _call(entry: dict[str, Any]) -> Call:
    nodes = entry["inbound_nodes"]
    arguments = list(nodes[0]["args"]) + list(nodes[0]["kwargs"].values()) if nodes else []
    found = list(_flat(arguments))
    return Call(
        entry["name"],
        entry["class_name"],
        tuple(one["config"]["keras_history"][0] for one in found if _is_tensor(one)),
        tuple(keras.saving.deserialize_keras_object(one) for one in found if not _is_tensor(one)),
        entry["config"],
    )


def _flat(arguments: Any) -> Iterator[Any]:
    # A list of tensors is one argument of `Concatenate`; a tuple of slices one of an index.
    for one in arguments:
        if isinstance(one, list | tuple) and any(map(_is_tensor, one)):
            yield from one
        else:
            yield one


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"
