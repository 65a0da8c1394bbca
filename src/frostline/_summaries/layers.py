"""The tree of layers that weights lie in, and the lines of a table that tell of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from frostline._summaries.numbers import Row, Totals
from frostline._weights.tree import Found

_REPEATS = 3  # blocks in a row that are alike and so many are shown once
_LONGEST = 64  # layers of a block that repeats, where no layer holds it


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
        """Equal for layers that differ in the numbers in their names alone."""
        own = tuple(replace(row, path=_last(row.path)) for row in self.own)
        return (_stem(self.name), own, tuple(child.likeness for child in self.children))


@dataclass(frozen=True)
class Line:
    """A line of a table: a weight where it has a `row`, else a layer or several alike.

    `below` are the lines of what is in it, of one where `times` are alike. They are part of the
    printed table where `shown`; a notebook opens them otherwise.
    """

    name: str
    totals: Totals
    row: Row | None = None
    below: tuple[Line, ...] = ()
    shown: bool = True
    times: int = 1


def tree_of(name: str, found: Iterable[Found], rows: Iterable[Row]) -> Node:
    """The tree of the layers on the way to each weight; two with one name stay two."""
    return _tree(
        name,
        ([(id(layer), layer.name) for layer in weight.layers[1:]] for weight in found),
        rows,
    )


def tree_of_paths(name: str, rows: Sequence[Row]) -> Node:
    """The tree that the paths of weights tell of."""
    return _tree(name, ([(part, part) for part in row.path.split("/")[:-1]] for row in rows), rows)


def lines(node: Node, depth: int | None, fold: bool) -> tuple[Line, ...]:
    """What is in a layer, `depth` layers down, with those that are alike in one where `fold`."""
    own = [_weight(_last(row.path), row) for row in node.own]
    return (*own, *_lines(node.children, depth, fold))


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
    """A layer that holds but one other stands in one line with it: `lstm/lstm_cell`."""
    children = [_joined(child) for child in node.children]
    if not node.own and len(children) == 1:
        return replace(children[0], name=f"{node.name}/{children[0].name}")
    return replace(node, children=children)


def _lines(nodes: Sequence[Node], depth: int | None, fold: bool) -> Iterator[Line]:
    known: dict[object, int] = {}
    keys = [known.setdefault(node.likeness, len(known)) for node in nodes] if fold else []
    start = 0
    while start < len(nodes):
        length, times = _repeat(keys[start:])
        stop = start + length * times
        if times == 1:
            yield _layer(_name(nodes[start]), nodes[start], depth, fold)
        else:
            yield _repeated(nodes[start:stop], times, depth, fold)
        start = stop


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


def _repeated(nodes: Sequence[Node], times: int, depth: int | None, fold: bool) -> Line:
    first = nodes[: len(nodes) // times]
    if len(first) == 1:
        one = _layer(f"each ({_name(first[0])})", first[0], depth, fold)
    else:
        # A block that is no layer of its own, as functions make them.
        name = f"each ({_name(first[0])} ... {_name(first[-1])})"
        one = Line(name, _totals(first), below=tuple(_lines(first, depth, fold)))
    totals = _totals(nodes)
    name = f"{_name(nodes[0])} ... {_name(nodes[-1])} x {times}"
    if not one.shown:
        name += f" ({len(totals.rows):,} weights)"
    return Line(name, totals, below=(one,), shown=one.shown, times=times)


def _layer(name: str, node: Node, depth: int | None, fold: bool) -> Line:
    if not node.children and len(node.own) == 1:
        return _weight(name, node.own[0])
    shown = depth is None or depth > 1
    # What is not shown is whole below: a notebook opens it.
    below = lines(node, depth - 1 if depth is not None and shown else None, fold)
    if not shown:
        name += f" ({len(node.totals.rows):,} weights)"
    return Line(name, node.totals, below=below, shown=shown)


def _totals(nodes: Iterable[Node]) -> Totals:
    return Totals(row for node in nodes for row in node.totals.rows)


def _weight(name: str, row: Row) -> Line:
    return Line(name, Totals([row]), row)


def _name(node: Node) -> str:
    single = not node.children and len(node.own) == 1
    return f"{node.name}/{_last(node.own[0].path)}" if single else node.name


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _stem(name: str) -> str:
    """`dense` and `dense_1` are alike, so are `conv2_block1_out` and `conv2_block2_out`."""
    return re.sub(r"\d+", "#", re.sub(r"_\d+(?=/|$)", "", name))
