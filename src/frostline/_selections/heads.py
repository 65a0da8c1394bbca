"""Where the heads of an attention layer are in the weights of its projections.

Known by what a layer says of itself: how many heads it has, and the equations of its `EinsumDense`
layers. Heads that share an axis with their features are known in the classes of the catalogue.
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

# What layers call the number of their heads, with or without an underscore in front. Where there
# are several, the first counts.
_QUERY_HEADS = ("num_heads", "num_query_heads", "num_attention_heads")
_HUB_QUERY_HEADS = ("n_heads", "heads")  # elsewhere these may be heads of another kind
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
    """Heads end here: the kernel sums over them."""


@dataclass(frozen=True)
class _Place:
    """A projection, and the attention layer that it is of."""

    attention: Any
    counts: _Counts
    layer: Any
    """What the attention layer holds: the projection, or a layer around it alone."""
    projection: Any

    def error(self, weight: Weight, rule: str, got: str) -> SelectionError:
        """An error that ends with the way out."""
        return weight.error(rule.format(type(self.attention).__name__), got, "Use fl.at[...].")


def head_parts(weight: Weight, got: str) -> Parts | None:
    """Where the attention heads of the layer around its own are in a weight; None for no heads.

    Raises:
        SelectionError: That is not known: more than one axis may run over heads, or there is none
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
        rule = f"the heads of this {{}} may be axis {axes} of the kernel of {equation}"
        raise place.error(weight, rule, got)
    if not has_heads_first(place.attention):
        _refuse_alone(weight, place, found[0], got)
    readers = _readers(weight, place, found[0].count, got)
    axis = Equation.parse(equation).axis(found[0].letter, weight.name, place.projection.bias_axes)
    return None if axis is None else Parts((axis,), place.counts.query, readers)


def _refuse_alone(weight: Weight, place: _Place, found: _Candidate, got: str) -> None:
    """Refuse an axis of a class of your own that may be no heads, or whose fellows are unknown."""
    role = _role(place.attention, place.layer, ROLES)
    if role is not None and 1 < role.runs == found.count:
        rule = f"axis {found.axis} ({found.count}) may be queries, keys and values of this {{}}"
        raise place.error(weight, rule, got)
    if found.out and False not in _ends(weight, place):
        rule = "the layers that make the heads of this {} are not found beside this one"
        raise place.error(weight, rule, got)


def _place(weight: Weight) -> _Place | None:
    """None where no layer around a weight's own says how many heads it has."""
    *above, layer = weight.layers or (None,)
    # A layer around a projection alone may clip what goes in and comes out.
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
    """A head has a number and features, so its axis is one of two that come or go together."""
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
        rule = f"{queries} query heads can not share {count} key/value heads evenly"
        raise place.error(weight, rule, got)
    return queries // count


def _in_one_axis(weight: Weight, place: _Place, got: str) -> Parts | None:
    """Where heads are that share an axis with their features."""
    known, counts = attention_of(place.attention), place.counts
    role = _role(place.attention, place.layer, known.roles if known else ROLES)
    axis = None if known is None or role is None else _axis(weight, place.projection, role)
    if known is None or role is None or axis is None:
        if weight.name == "kernel" and _hides_heads(weight, place, role):
            raise weight.error(
                f"the {counts.query} heads of this {type(place.attention).__name__} have no axis "
                "of their own here",
                got,
                "Name its other weights, and use fl.at[...] for this one.",
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
        rule = f"an axis of {size} does not hold {role.runs} times {count} heads of this {{}}"
        raise place.error(weight, rule, got)
    return Parts((axis,), counts.query, readers, width, beside)


def _role(attention: Any, layer: Any, roles: Mapping[str, Role]) -> Role | None:
    """What a layer does in an attention layer, by the attribute that holds it or by its name."""
    for name, role in roles.items():
        if any(getattr(attention, before + name, None) is layer for before in ("", "_")):
            return role
    return roles.get(layer.name)


def _axis(weight: Weight, projection: Any, role: Role) -> int | None:
    """The axis that heads and their features share; None where they do not share one."""
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
    """Whether a kernel has heads side by side in one axis, where nothing says which they are.

    To be silent about it would freeze a part of a head. So it is for what is called a query, key or
    value, and for the other projections where heads come out of some and go into none. A layer that
    says how many heads it has and has none of these is no attention but a block around one.
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
    """Whether heads with an axis of their own end in the projections of an attention layer."""
    fellows = _fellows(weight, place.attention)
    return {one.out for layer, inner in fellows for one in _candidates(layer, inner, place.counts)}


def _fellows(weight: Weight, attention: Any) -> list[tuple[Any, Any]]:
    """What an attention layer holds, where that is a projection, and the projection in it."""
    return [
        (layer, projection)
        for layer in weight.children(attention)
        if stock_of(projection := _inside(weight, layer)).product in _PRODUCTS
    ]


def _inside(weight: Weight, layer: Any) -> Any:
    """The layer that another is around, which has nothing else in it."""
    while len(within := weight.children(layer)) == 1:
        layer = within[0]
    return layer


def _is_named(layer: Any, *words: str) -> bool:
    return any(word in layer.name for word in words)
