"""The way from a layer to a layer inside it, which is the same before and after these are built.

A place in a list of weights moves while layers are built one after the other, and names that Keras
makes up are other ones in each model. The number of a layer among those of its class around it
stays: layers are only ever added after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from frostline import _keras
from frostline._weights.tree import Layer


class Routes:
    """Routes below layers; each layer is looked at once."""

    def __init__(self) -> None:
        self._steps: dict[int, dict[str, Layer]] = {}
        self._names: dict[int, dict[int, str]] = {}

    def along(self, chain: Sequence[Layer]) -> list[str]:
        """The route from the first layer of a chain to the last."""
        return [self._names_below(above)[id(below)] for above, below in pairwise(chain)]

    def follow(self, layer: Layer, route: Sequence[str]) -> list[Layer]:
        """The layers along a route, as far as there are any: all of them are one more than it."""
        found = [layer]
        for step in route:
            below = self._below(found[-1]).get(step)
            if below is None:
                break
            found.append(below)
        return found

    def _names_below(self, layer: Layer) -> dict[int, str]:
        if id(layer) not in self._names:
            # The first step of a layer that is there twice.
            steps = reversed(self._below(layer).items())
            self._names[id(layer)] = {id(child): step for step, child in steps}
        return self._names[id(layer)]

    def _below(self, layer: Layer) -> dict[str, Layer]:
        if id(layer) not in self._steps:
            counts: Counter[str] = Counter()
            steps = {}
            for child in _keras.children(layer):
                kind = type(child).__name__
                steps[f"{kind} {counts[kind]}"] = child
                counts[kind] += 1
            self._steps[id(layer)] = steps
        return self._steps[id(layer)]


def chains(layer: Layer) -> Iterator[tuple[Layer, ...]]:
    """The way to a layer and to each layer in it, once, in the order in which weights are found."""
    seen: set[int] = set()
    pending: list[tuple[Layer, ...]] = [(layer,)]
    while pending:
        chain = pending.pop()
        if id(chain[-1]) not in seen:
            seen.add(id(chain[-1]))
            yield chain
            pending.extend((*chain, child) for child in reversed(_keras.children(chain[-1])))
