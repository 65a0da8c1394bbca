"""The weights and entries that the arguments of `freeze` and the like name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from frostline import _keras
from frostline._console import each
from frostline._errors import EmptySelectionWarning, SelectionError, warn
from frostline._selections.algebra import Selection
from frostline._selections.index import shown
from frostline._selections.simple import as_selection, everything, holds_data, holds_paths, nothing
from frostline._selections.weight import Weight
from frostline._weights import values
from frostline._weights.earlier import refuse_twice
from frostline._weights.tree import Found, Names, read_value


class Picked(NamedTuple):
    """The entries of a weight that a call names: all, a mask, or None if no selection applies."""

    weight: Found
    whole: bool
    mask: np.ndarray | None


@dataclass(eq=False)
class _Group:
    """The weights of a call that have the same selection, in the order of the arguments."""

    selection: Selection
    weights: dict[int, Found] = field(default_factory=dict)
    says: bool = False
    selects: bool = False

    def rank(self, places: Mapping[int, int]) -> None:
        """Prepare the selection for all its weights, in the order of the model."""
        ordered = sorted(self.weights.values(), key=lambda weight: places[id(weight.variable)])
        if holds_paths(self.selection):
            refuse_twice(ordered)
        self._asked = {id(weight.variable): asked(weight) for weight in ordered}
        self._ranked = self.selection.among(list(self._asked.values()))

    def mask(self, key: int) -> np.ndarray | None:
        mask = self._ranked.mask(self._asked[key])
        if mask is not None:
            self.says = True
            self.selects = self.selects or bool(mask.any()) or mask.size == 0
        return mask


class Request:
    """The weights and entries that a call names; its errors come before anything is changed.

    Args:
        target: The layer or model of the call.
        found: The weights below it.
        weights: The second argument of the call.
        where: The third argument.
        verb: The name of the function that was called, for messages.

    Raises:
        PathError: No weight is named, or a path is ambiguous.
        SelectionError: `where` is not a selection, or is given together with a mapping.
    """

    def __init__(
        self, target: Any, found: Sequence[Found], weights: Any, where: Any, verb: str
    ) -> None:
        self._groups: list[_Group] = []
        self.named: dict[int, Found] = {}
        self._alike: dict[int | None, list[_Group]] = {}
        places = {id(weight): place for place, weight in enumerate(found)}
        named_by = Names(target, found)
        for names, selection in _pairs(weights, where, verb) or [(weights, nothing)]:
            group = self._group(selection)
            for weight in named_by.select(names):
                for named in (group.weights, self.named):
                    known = named.setdefault(id(weight.variable), weight)
                    # If a shared weight has two paths, the first in the model counts.
                    if places[id(weight)] < places[id(known)]:
                        named[id(weight.variable)] = weight
        first = {id(weight.variable): place for place, weight in reversed([*enumerate(found)])}
        self._groups_of: dict[int, list[_Group]] = {}
        for group in self._groups:
            group.rank(first)
            for key in group.weights:
                self._groups_of.setdefault(key, []).append(group)

    def _group(self, selection: Selection) -> _Group:
        try:
            alike = self._alike.setdefault(hash(selection), [])
        except TypeError:  # a callable may have no hash
            alike = self._alike.setdefault(None, [])
        for group in alike:
            if group.selection == selection:
                return group
        group = _Group(selection)
        alike.append(group)
        self._groups.append(group)
        return group

    def picked(self) -> Iterator[Picked]:
        """The entries of each weight; several selections for the same weight add up."""
        for key, weight in each("selecting", self.named.items()):
            whole, union = False, None
            for group in self._groups_of[key]:
                if group.selection is everything:
                    whole = group.says = group.selects = True
                    continue
                mask = group.mask(key)
                if mask is not None:
                    union = mask if union is None else np.asarray(union | mask)
            yield Picked(weight, whole, union)

    def check(self, outcome: str) -> None:
        """Raise an error if a selection applies to no weight, and warn if it is empty.

        Call it after `picked` has gone through all weights.

        Args:
            outcome: The effect of a call that selects nothing at all, for the warning.
        """
        for group in self._groups:
            first = next(iter(group.weights.values()))
            if not group.says:
                raise SelectionError(
                    f"{first.path}: this selection does not apply to any of these weights; "
                    f"got where={shown(group.selection)} (layer {type(first.owner).__name__}). "
                    "Select entries by position: `fl.at[...]`."
                )
        if any(group.selects for group in self._groups):
            outcome = "This entry of the mapping has no effect."
        for group in self._groups:
            if group.selects or group.selection is nothing or holds_data(group.selection):
                continue
            first = next(iter(group.weights.values()))
            warn(
                f"{first.path}: this selection contains no entry of these weights; got "
                f"where={shown(group.selection)}. {outcome}",
                EmptySelectionWarning,
            )


def asked(weight: Found) -> Weight:
    """A weight in the form that selections use, independent of the framework."""
    variable = weight.variable
    return Weight(
        path=weight.path,
        name=variable.name,
        shape=tuple(variable.shape),
        dtype=str(variable.dtype),
        read=lambda: read_value(weight),
        layers=weight.layers,
        children=_keras.children,
        names=weight.names,
        variable=variable,
        array=lambda given: values.as_array(given, np.dtype(variable.dtype)),
    )


def _pairs(weights: Any, where: Any, verb: str) -> list[tuple[Any, Selection]]:
    """The names of weights with their selections."""
    if isinstance(weights, Selection):
        named = "'*'" if where is None else _written(where)
        raise SelectionError(
            "weights: a selection of entries is the third argument; got "
            f"weights={shown(weights)}. Write `fl.{verb}(model, {named}, selection)`."
        )
    if not isinstance(weights, Mapping):
        return [(weights, as_selection(where))]
    if where is not None:
        raise SelectionError(
            "where: cannot be combined with a mapping, which has a selection for each weight; got "
            f"weights=mapping and where={shown(where)}. Leave `where` out; for a mapping of scores "
            f"write `fl.{verb}(model, list(scores), selection)`."
        )
    pairs = []
    for names, value in weights.items():
        try:
            pairs.append((names, as_selection(value)))
        except SelectionError as error:
            error.add_note(f"in the mapping's entry {names!r}")
            raise
    return pairs


def _written(weights: Any) -> str:
    return repr(weights) if isinstance(weights, str) else "weights"
