"""The tree of the layers that hold the weights, and what a table makes of it. No Keras."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from frostline._summaries.numbers import Row, Totals

if TYPE_CHECKING:  # the commands that read files do without Keras
    from frostline._weights.tree import Found

T = TypeVar("T")

_REPEATS = 3  # this many equal blocks in a row become one
_LONGEST = 64  # layers of a block that repeats, if no layer holds it
_LARGE = 32  # weights of a layer that is listed layer by layer instead of as one block


@dataclass
class Node:
    """A layer: the weights that it owns, and the layers in it that have weights."""

    name: str
    path: str
    own: list[Row] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @cached_property
    def totals(self) -> Totals:
        below = [row for child in self.children for row in child.totals.rows]
        return Totals([*self.own, *below])

    @cached_property
    def likeness(self) -> tuple[object, ...]:
        """Equal for layers that differ only in counts and in the numbers in their names."""
        own = tuple(
            (_last(row.path), row.shape, row.dtype, row.kind, row.trains) for row in self.own
        )
        return (_stem(self.name), own, tuple(child.likeness for child in self.children))


Alike: TypeAlias = tuple[Node, ...]
"""One layer, or the layers at the same place in several equal blocks."""


@dataclass(frozen=True)
class Line:
    """A line of a table: a weight if it has a `row`, else a layer or several equal ones.

    Attributes:
        name: The text of its first cell.
        totals: Its numbers. Of several `alike`, those of the first.
        row: The weight.
        below: The lines of what is in it; where `times` blocks are equal, one line for all of them.
        shown: Whether `below` is part of the printed table. A notebook opens it otherwise.
        times: How many equal blocks it adds up.
        alike: The numbers at the same place in each of several equal blocks.
    """

    name: str
    totals: Totals
    row: Row | None = None
    below: tuple[Line, ...] = ()
    shown: bool = True
    times: int = 1
    alike: tuple[Totals, ...] = ()

    @property
    def share(self) -> float:
        """How much is frozen; of several `alike`, on average."""
        of = self.alike or (self.totals,)
        return sum(one.share for one in of) / len(of)


@dataclass(frozen=True)
class Block:
    """A layer, or several equal ones in a row.

    Attributes:
        names: The path of the layer; of several, that of the first and the name of the last.
        times: How many there are.
        weights: For each weight its path below the layer, and its row in each of the layers.
    """

    names: tuple[str, ...]
    times: int
    weights: tuple[tuple[str, tuple[Row, ...]], ...]


def tree_of(name: str, found: Iterable[Found], rows: Iterable[Row]) -> Node:
    """The tree of the layers on the way to each weight; two with one name stay two."""
    return _tree(
        name,
        ([(id(layer), layer.name) for layer in weight.layers[1:]] for weight in found),
        rows,
    )


def tree_of_paths(name: str, rows: Sequence[Row]) -> Node:
    """The tree that the paths of the weights describe."""
    return _tree(name, ([(part, part) for part in row.path.split("/")[:-1]] for row in rows), rows)


def lines(node: Node, depth: int | None, fold: bool) -> tuple[Line, ...]:
    """What is in a layer, `depth` layers down, with equal blocks in one line if `fold`."""
    return _inside((node,), depth, fold)


def blocks(node: Node) -> Iterator[Block]:
    """The blocks of a model: each weight is in one of them, and equal ones are one."""
    if node.own:
        yield _block((node.path or node.name,), [[node]], own=True)
    for together, times in _runs([(child,) for child in node.children], True):
        nodes = [one for (one,) in together]
        if times == 1 and nodes[0].children and len(nodes[0].totals.rows) > _LARGE:
            yield from blocks(nodes[0])
        elif times == 1:
            yield _block((nodes[0].path,), [nodes])
        else:
            length = len(nodes) // times
            starts = range(0, len(nodes), length)
            yield _block(
                (nodes[0].path, nodes[-1].name), [nodes[start : start + length] for start in starts]
            )


def _block(names: tuple[str, ...], each: Sequence[Sequence[Node]], own: bool = False) -> Block:
    rows = [
        [row for node in nodes for row in (node.own if own else node.totals.rows)] for nodes in each
    ]
    # The path below the layer; where several layers make a block, below the one around them.
    above = each[0][0].path if len(each[0]) == 1 else each[0][0].path.rpartition("/")[0]
    below = [row.path[len(above) + 1 if above else 0 :] for row in rows[0]]
    return Block(names, len(each), tuple(zip(below, zip(*rows, strict=True), strict=True)))


def printed(
    of: Iterable[Line], indent: int = 0, *, closed: bool = False
) -> Iterator[tuple[int, Line]]:
    """The lines of a printed table, each with how far it is indented; `closed` ones if asked."""
    for line in of:
        yield indent, line
        if line.shown or closed:
            yield from printed(line.below, indent + 1, closed=closed)


def layers_of(node: Node) -> Iterator[Node]:
    """Every layer below that has several weights in it."""
    for child in node.children:
        if len(child.totals.rows) > 1:
            yield child
            yield from layers_of(child)


def _tree(name: str, ways: Iterable[list[tuple[object, str]]], rows: Iterable[Row]) -> Node:
    root = Node(name, "")
    known: dict[tuple[object, ...], Node] = {(): root}
    for way, row in zip(ways, rows, strict=True):
        node, keys = root, ()
        for key, layer in way:
            keys = (*keys, key)
            if keys not in known:
                path = f"{node.path}/{layer}" if node.path else layer
                known[keys] = Node(layer, path)
                node.children.append(known[keys])
            node = known[keys]
        node.own.append(row)
    root.children = [_joined(child) for child in root.children]
    return root


def _joined(node: Node) -> Node:
    """A layer that holds only one other layer shares its line: `lstm/lstm_cell`."""
    children = [_joined(child) for child in node.children]
    if not node.own and len(children) == 1:
        return replace(children[0], name=f"{node.name}/{children[0].name}")
    return replace(node, children=children)


def _inside(alike: Alike, depth: int | None, fold: bool) -> tuple[Line, ...]:
    """The lines of the weights and layers in a layer, or in several equal ones."""
    own = [_weight(_last(rows[0].path), rows) for rows in _across([node.own for node in alike])]
    return (*own, *_lines(_across([node.children for node in alike]), depth, fold))


def _across(lists: Sequence[Sequence[T]]) -> list[tuple[T, ...]]:
    """What is at the same place in several lists."""
    return list(zip(*lists, strict=True))


def _lines(nodes: Sequence[Alike], depth: int | None, fold: bool) -> Iterator[Line]:
    for together, times in _runs(nodes, fold):
        if times == 1:
            yield _layer(_name(together[0]), together[0], depth, fold)
        else:
            yield _repeated(together, times, depth, fold)


def _runs(nodes: Sequence[Alike], fold: bool) -> Iterator[tuple[Sequence[Alike], int]]:
    """Layers that are one line, and how many equal blocks they are."""
    known: dict[object, int] = {}
    keys = [known.setdefault(one[0].likeness, len(known)) for one in nodes] if fold else []
    start = 0
    while start < len(nodes):
        length, times = _repeat(keys[start:])
        yield nodes[start : start + length * times], times
        start += length * times


def _repeat(keys: list[int]) -> tuple[int, int]:
    """How many layers at the start, and how many times over, to put the most of them into one."""
    best = (1, 1)
    for length in range(1, min(len(keys) // _REPEATS, _LONGEST) + 1):
        times = 1
        while keys[times * length : (times + 1) * length] == keys[:length]:
            times += 1
        if times >= _REPEATS and times * length > best[0] * best[1]:
            best = (length, times)
    return best


def _repeated(nodes: Sequence[Alike], times: int, depth: int | None, fold: bool) -> Line:
    length = len(nodes) // times
    # The layers at the same place in all the blocks, whatever these are themselves in.
    each = [sum(nodes[place::length], ()) for place in range(length)]
    if length == 1:
        one = _layer(f"each ({_name(each[0])})", each[0], depth, fold)
    else:
        # A block that is no layer of its own, as functions make them.
        name = f"each ({_name(each[0])} ... {_name(each[-1])})"
        alike = tuple(_totals(block) for block in _across(each))
        one = Line(name, alike[0], below=tuple(_lines(each, depth, fold)), alike=alike)
    name = f"{_name(nodes[0])} ... {_name(nodes[-1])} x {times}"
    alike = tuple(_totals(block) for block in _across(nodes))
    if not one.shown:
        name += f" ({len(alike[0].rows):,} weights)"
    return Line(name, alike[0], below=(one,), shown=one.shown, times=times, alike=alike)


def _layer(name: str, alike: Alike, depth: int | None, fold: bool) -> Line:
    if _single(alike):
        return _weight(name, tuple(node.own[0] for node in alike))
    shown = depth is None or depth > 1
    # A notebook opens what is not shown: it is made in full.
    below = _inside(alike, depth - 1 if depth is not None and shown else None, fold)
    if not shown:
        name += f" ({len(alike[0].totals.rows):,} weights)"
    totals = tuple(node.totals for node in alike)
    return Line(name, totals[0], below=below, shown=shown, alike=totals)


def _totals(nodes: Iterable[Node]) -> Totals:
    return Totals(row for node in nodes for row in node.totals.rows)


def _weight(name: str, rows: Sequence[Row]) -> Line:
    alike = tuple(Totals([row]) for row in rows)
    return Line(name, alike[0], rows[0], alike=alike)


def _name(alike: Alike) -> str:
    node = alike[0]
    return f"{node.name}/{_last(node.own[0].path)}" if _single(alike) else node.name


def _single(alike: Alike) -> bool:
    return not alike[0].children and len(alike[0].own) == 1


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _stem(name: str) -> str:
    """`dense` and `dense_1` have one, as have `conv2_block1_out` and `conv2_block2_out`."""
    return re.sub(r"\d+", "#", re.sub(r"_\d+(?=/|$)", "", name))
