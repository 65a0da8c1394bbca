"""Find the heads of an attention layer in the weights of its projections.

The number of heads is an attribute of the layer. The axis is found from the equations of its
`EinsumDense` layers. Where heads share an axis with their features, it must be in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import ROLES, Role, attention_of, has_heads_first, stock_of
from frostline._errors import SelectionError
from frostline._selections.parts import Parts
from frostline._selections.weight import Weight

# Attributes with the number of heads, with or without a leading underscore. If a layer has several,
# the first one counts.
_QUERY_HEADS = ("num_heads", "num_query_heads", "num_attention_heads")
_HUB_QUERY_HEADS = ("n_heads", "heads")  # only in known classes: elsewhere they may mean others
_KEY_VALUE_HEADS = (
    *("effective_num_kv_heads", "num_key_value_heads", "num_kv_heads", "num_key_heads"),
    *("n_kv_heads", "kv_heads"),
)
_NAMES = ("query", "key", "value")
_PRODUCTS = ("matmul", "einsum", "conv")


@dataclass(frozen=True)
class _Counts:
    query: int
    key_value: int


@dataclass(frozen=True)
class _Candidate:
    """An axis of a kernel that may run over heads."""

    letter: str
    axis: int
    count: int
    out: bool
    """The kernel sums over the heads."""


@dataclass(frozen=True)
class _Place:
    """A projection, and the attention layer that it belongs to."""

    attention: Any
    counts: _Counts
    layer: Any
    """The layer in the attention layer: the projection, or a layer that wraps only it."""
    projection: Any

    def error(self, weight: Weight, rule: str, got: str) -> SelectionError:
        """An error that advises `fl.at`."""
        return weight.error(rule.format(type(self.attention).__name__), got, "Use fl.at[...].")


def head_parts(weight: Weight, got: str) -> Parts | None:
    """The positions of the attention heads in a weight; None if it has none.

    Raises:
        SelectionError: The positions are unknown: several axes could run over heads, or none does
            in a projection that has heads. `got` is the selection, for the message.
    """
    place = _place(weight)
    if place is None or weight.name not in ("kernel", "bias"):
        return None
    found = list(_candidates(place.layer, place.projection, place.counts))
    if not found:
        return _in_one_axis(weight, place, got)
    equation = place.projection.equation
    if len(found) > 1 and not has_heads_first(place.attention):
        axes = " or ".join(f"{one.axis} ({one.count})" for one in found)
        rule = f"the heads of this {{}} could be axis {axes} of the kernel of {equation}"
        raise place.error(weight, rule, got)
    if not has_heads_first(place.attention):
        _refuse_alone(weight, place, found[0], got)
    readers = _readers(weight, place, found[0].count, got)
    axis = Equation.parse(equation).axis(found[0].letter, weight.name, place.projection.bias_axes)
    return None if axis is None else Parts((axis,), place.counts.query, readers)


def _refuse_alone(weight: Weight, place: _Place, found: _Candidate, got: str) -> None:
    """Refuse an axis of a custom class that may not run over heads."""
    role = _role(place.attention, place.layer, ROLES)
    if role is not None and 1 < role.runs == found.count:
        rule = f"axis {found.axis} ({found.count}) could be queries, keys and values of this {{}}"
        raise place.error(weight, rule, got)
    if found.out and False not in _ends(weight, place):
        rule = "cannot find the layers that make the heads of this {}"
        raise place.error(weight, rule, got)


def _place(weight: Weight) -> _Place | None:
    """The projection of a weight; None if no layer around it has a number of heads."""
    *above, layer = weight.layers or (None,)
    # A layer that wraps only a projection may clip its inputs and outputs.
    while above and _counts(above[-1]) is None and len(weight.children(above[-1])) == 1:
        layer = above.pop()
    counts = _counts(above[-1]) if above else None
    return None if counts is None else _Place(above[-1], counts, layer, weight.owner)


def _counts(layer: Any) -> _Counts | None:
    known = attention_of(layer)
    query = _integer(layer, _QUERY_HEADS + (_HUB_QUERY_HEADS if known else ()))
    if query is None:
        return None
    said = _integer(layer, _KEY_VALUE_HEADS) or (known.key_value_heads if known else 0)
    return _Counts(query, said or query)


def _integer(layer: Any, names: tuple[str, ...]) -> int | None:
    spelt = (getattr(layer, before + name, None) for name in names for before in ("", "_"))
    return next((int(n) for n in spelt if isinstance(n, int | np.integer) and n > 0), None)


def _candidates(layer: Any, projection: Any, counts: _Counts) -> Iterator[_Candidate]:
    """The axes that may run over heads: one of two axes that are produced or summed together."""
    if stock_of(projection).product != "einsum" or not projection.built:
        return
    equation = Equation.parse(projection.equation)
    sizes = dict(zip(equation.kernel, map(int, projection.kernel.shape), strict=True))
    coming = {counts.query, counts.key_value}
    if _is_named(layer, "query") != _is_named(layer, "key", "value"):
        coming = {counts.query if _is_named(layer, "query") else counts.key_value}
    for letters, wanted in ((equation.summed, {counts.query}), (equation.produced, coming)):
        for letter in letters if len(letters) > 1 else ():
            if sizes[letter] in wanted:
                out = letters == equation.summed
                yield _Candidate(letter, equation.kernel.index(letter), sizes[letter], out)


def _readers(weight: Weight, place: _Place, count: int, got: str) -> int:
    queries = place.counts.query
    if queries % count:
        rule = f"{queries} query heads cannot share {count} key/value heads evenly"
        raise place.error(weight, rule, got)
    return queries // count


def _in_one_axis(weight: Weight, place: _Place, got: str) -> Parts | None:
    """The positions of heads that share an axis with their features."""
    known, counts = attention_of(place.attention), place.counts
    role = _role(place.attention, place.layer, known.roles if known else ROLES)
    axis = None if known is None or role is None else _axis(weight, place.projection, role)
    if known is None or role is None or axis is None:
        if weight.name == "kernel" and _hides_heads(weight, place, role):
            raise weight.error(
                f"the {counts.query} heads of this {type(place.attention).__name__} share an axis "
                "with their features here, and their positions are unknown",
                got,
                "Use fl.at[...] for this weight and fl.heads for the others.",
            )
        return None
    if role.output and weight.name == "bias":
        return None
    count = counts.key_value if role.shared else counts.query
    readers = _readers(weight, place, count, got)
    size, beside = weight.shape[axis], 0
    if known.beside:
        beside = size - role.runs * place.attention.hidden_dim
    width, rest = divmod(size - beside, role.runs * count)
    if rest or width < 1:
        rule = f"an axis of length {size} does not fit {role.runs} times {count} heads of this {{}}"
        raise place.error(weight, rule, got)
    return Parts((axis,), counts.query, readers, width, beside)


def _role(attention: Any, layer: Any, roles: Mapping[str, Role]) -> Role | None:
    """The role of a layer in an attention layer, found by attribute or by name."""
    for name, role in roles.items():
        if any(getattr(attention, before + name, None) is layer for before in ("", "_")):
            return role
    return roles.get(layer.name)


def _axis(weight: Weight, projection: Any, role: Role) -> int | None:
    """The axis that heads and their features share; None if they share none."""
    stock = stock_of(projection)
    if stock.product == "einsum":
        equation = Equation.parse(projection.equation)
        letters = equation.summed if role.output else equation.produced
        alone = len(letters) == 1
        return equation.axis(letters, weight.name, projection.bias_axes) if alone else None
    if stock.product not in ("matmul", "conv"):
        return None
    axes = stock.axes(weight.name)
    ours = [axis.inputs if role.output else axis.outputs for axis in axes]
    return ours.index(True) - len(axes) if True in ours else None


def _hides_heads(weight: Weight, place: _Place, role: Role | None) -> bool:
    """Whether a kernel has heads side by side in one axis at unknown positions.

    Ignoring such a kernel would freeze only a part of a head. True for projections named query, key
    or value, and for the others if some of them make heads and none sums over them. A layer with a
    number of heads but no such projection is not attention: it is a block around it.
    """
    fellows = _fellows(weight, place.attention)
    roles = [_role(place.attention, layer, ROLES) for layer, _ in fellows]
    shared = sum(role is not None and role.shared for role in roles)
    named = all(any(_is_named(layer, word) for layer, _ in fellows) for word in _NAMES)
    named = named or shared > 1 or any(role is not None and role.runs > 1 for role in roles)
    ends = _ends(weight, place)
    makes = (role is not None and not role.output) or _is_named(place.layer, *_NAMES)
    product = stock_of(place.projection).product
    if product == "einsum" and ends:
        makes = makes or len(Equation.parse(place.projection.equation).produced) > 1
    hidden = makes or (True not in ends and product != "conv")
    return product in _PRODUCTS and bool(ends or named) and hidden


def _ends(weight: Weight, place: _Place) -> set[bool]:
    """For each axis of heads in an attention layer: whether its kernel sums over them."""
    fellows = _fellows(weight, place.attention)
    return {one.out for layer, inner in fellows for one in _candidates(layer, inner, place.counts)}


def _fellows(weight: Weight, attention: Any) -> list[tuple[Any, Any]]:
    """The sublayers of an attention layer that are or wrap a projection, with the projection."""
    return [
        (layer, projection)
        for layer in weight.children(attention)
        if stock_of(projection := _inside(weight, layer)).product in _PRODUCTS
    ]


def _inside(weight: Weight, layer: Any) -> Any:
    """The innermost layer of nested wrappers with a single sublayer each."""
    while len(within := weight.children(layer)) == 1:
        layer = within[0]
    return layer


def _is_named(layer: Any, *words: str) -> bool:
    return any(word in layer.name for word in words)
