"""What is called in a model, with what, and how often each result is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from frostline import _keras
from frostline._errors import UnsupportedError
from frostline._stock.rebuild import models


class Calls:
    """The calls that a model's outputs come from, nested models being one call each."""

    def __init__(self, model: Any) -> None:
        outputs = model.outputs or []
        self.uses: Counter[int] = Counter(id(tensor) for tensor in outputs)
        """Of each tensor, the model's own outputs among them."""
        self.calls: Counter[int] = Counter()
        """Of each operation."""
        self.outputs: dict[int, list[Any]] = {}
        """The tensors that each operation gave."""
        self.shapes: dict[int, list[tuple[int | None, ...]]] = {}
        """Of what each operation was given first, call by call."""
        self.masked: set[int] = set()
        """The operations to which a mask of a sequence comes, or that make one."""
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
    """The ids of all operations of a model, nested ones included, that masks come to.

    A nested model does not know from its own inputs that it will be called with one.
    """
    calls = Calls(model)
    found = set(calls.calls) if throughout else set(calls.masked)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= masked(layer, throughout=throughout or id(layer) in calls.masked)
    return found


def shapes(model: Any) -> dict[int, tuple[int | None, ...]]:
    """By the id of a layer the shape of what it is called with, None where lengths differ.

    Where ranks differ it is ().
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
    """The shape that a model in the place of `layer` takes."""
    shape = known.get(id(layer), layer.get_build_config()["input_shape"])
    if not shape:
        raise UnsupportedError(
            f"{path}: it is called with inputs of several ranks, and a model that stands for it "
            "takes one; got a shared layer. Unfreeze it, or keep the model partly frozen."
        )
    return shape
