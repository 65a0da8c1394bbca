"""The calls in the graph of a model: with what, and how often each result is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from frostline import _keras
from frostline._errors import UnsupportedError
from frostline._stock.rebuild import models


class Calls:
    """The calls that a model's outputs are computed from; a nested model is one call."""

    def __init__(self, model: Any) -> None:
        outputs = model.outputs or []
        self.uses: Counter[int] = Counter(id(tensor) for tensor in outputs)
        """How often each tensor is used, also as an output of the model."""
        self.calls: Counter[int] = Counter()
        """How often each operation is called."""
        self.outputs: dict[int, list[Any]] = {}
        """The tensors that each operation returned."""
        self.shapes: dict[int, list[tuple[int | None, ...]]] = {}
        """The shape of the first input of each operation, call by call."""
        self.masked: set[int] = set()
        """The operations that receive or make the mask of a sequence."""
        seen: set[int] = set()
        nodes: set[tuple[int, int]] = set()
        waiting = list(outputs)
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            call = _keras.call_of(tensor)
            self.outputs.setdefault(id(call.operation), []).append(tensor)
            self._note_mask(call.operation, [tensor])
            if (id(call.operation), call.node) not in nodes:
                nodes.add((id(call.operation), call.node))
                waiting += self._note(call)

    def _note(self, call: _keras.Call) -> list[Any]:
        key = id(call.operation)
        self.calls[key] += 1
        given = keras.tree.flatten([list(call.args), dict(call.kwargs)])
        given = [one for one in given if isinstance(one, keras.KerasTensor)]
        self.uses.update(map(id, given))
        if given:
            self.shapes.setdefault(key, []).append(tuple(given[0].shape))
        self._note_mask(call.operation, given)
        return given

    def _note_mask(self, operation: Any, tensors: Iterable[Any]) -> None:
        if any(_keras.mask_of(tensor) is not None for tensor in tensors):
            self.masked.add(id(operation))


def masked(model: Any, *, throughout: bool = False) -> set[int]:
    """The ids of all operations of a model, also in nested models, that receive masks.

    The inputs of a nested model do not show that it will be called with a mask.
    """
    calls = Calls(model)
    found = set(calls.calls) if throughout else set(calls.masked)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= masked(layer, throughout=throughout or id(layer) in calls.masked)
    return found


def shapes(model: Any) -> dict[int, tuple[int | None, ...]]:
    """The shape of the inputs of each layer, by its id; None for lengths that differ.

    If the ranks differ, the shape is ().
    """
    found: dict[int, tuple[int | None, ...]] = {}
    for inner in models(model):
        for key, called in Calls(inner).shapes.items():
            every = [*called, *([found[key]] if key in found else [])]
            if len({len(shape) for shape in every}) == 1:
                found[key] = tuple(
                    lengths[0] if len(set(lengths)) == 1 else None
                    for lengths in zip(*every, strict=True)
                )
            else:
                found[key] = ()
    return found


def input_shape(layer: Any, known: dict[int, tuple[int | None, ...]], path: str) -> Any:
    """The input shape of a model that replaces `layer`."""
    shape = known.get(id(layer), layer.get_build_config()["input_shape"])
    if not shape:
        raise UnsupportedError(
            f"{path}: this layer is called with inputs of several ranks, but the model that "
            "replaces it accepts only one; got a shared layer. Unfreeze it, or keep the model "
            "partly frozen."
        )
    return shape
