"""The route from a layer to a layer inside it, which stays the same while layers are built.

The position in a list of weights changes while layers are built one after another, and automatic
names differ in each model. The number of a layer among its siblings of the same class stays the
same, because layers are only added after it.
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
        """The layers along a route, as far as they exist: `len(route) + 1` if all of them do."""
        found = [layer]
        for step in route:
            below = self._below(found[-1]).get(step)
            if below is None:
                break
            found.append(below)
        return found

    def _names_below(self, layer: Layer) -> dict[int, str]:
        if id(layer) not in self._names:
            # Reversed, so that a layer that occurs twice gets its first step.
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
    """The chain to a layer and to each layer in it, once, in the order of the weights."""
    seen: set[int] = set()
    pending: list[tuple[Layer, ...]] = [(layer,)]
    while pending:
        chain = pending.pop()
        if id(chain[-1]) not in seen:
            seen.add(id(chain[-1]))
            yield chain
            pending.extend((*chain, child) for child in reversed(_keras.children(chain[-1])))
