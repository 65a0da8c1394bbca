"""Which of many weights have a map, and one line a block for the others. No Keras, no matplotlib.

Partly frozen weights come first. A weight that is frozen whole or not at all needs no map, and of
weights that are alike one map is enough.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from frostline._plots.maps import Alike, Panel
from frostline._summaries import Row, Totals, blocks, tree_of_paths

ALIKE = (
    3  # so many weights that are alike, or more, have one map, as layers have one line in a table
)
FEW = 12  # so many maps or fewer are drawn one by one, unless they are equal

Group = tuple[object, ...]


@dataclass(frozen=True)
class Line:
    """What is said of a block whose weights have no map.

    Attributes:
        name: The layer; of several that are equal, the first and the last.
        blocks: How many layers are equal.
        rows: The numbers of their weights.
    """

    name: str
    blocks: int
    rows: tuple[Row, ...]

    @property
    def share(self) -> float:
        return Totals(self.rows).share

    def said(self, freeze_known: bool = True) -> str:
        """How many weights are frozen whole and how many are not, and their entries."""
        if len(self.rows) == 1 and self.blocks == 1:
            (row,) = self.rows
            free = "not frozen" if row.trains else "not frozen, off"
            said = "whole" if row.kind == "whole" else free
            return f"{f'{said}, ' * freeze_known}{row.size:,} entries"
        sorts: dict[str, list[Row]] = {
            " whole": [],
            " not frozen": [],
            " not frozen, off": [],
        }
        for row in self.rows:
            free = " not frozen" if row.trains else " not frozen, off"
            sorts[" whole" if row.kind == "whole" else free].append(row)
        return ", ".join(
            f"{len(rows):,} weight{'s' * (len(rows) > 1)}{words * freeze_known} "
            f"({Totals(rows).size:,} entries)"
            for words, rows in sorts.items()
            if rows
        )


@dataclass
class _Kept:
    """Weights that are alike: the maps that are kept of them, and in what range they all lie."""

    alike: Alike
    panels: list[tuple[int, Panel]] = field(default_factory=list)


class Gallery:
    """The maps that are drawn of many: leaks first, partly frozen weights next, then others.

    Args:
        limit: How many maps are drawn. No more of each sort are kept.
        fold: Whether weights that are frozen whole or not at all have a line, if nothing moved in
            them, and whether weights that are alike have one map.
    """

    def __init__(self, limit: int, fold: bool = True) -> None:
        self._limit = limit
        self._fold = fold
        self._kept: dict[Group, _Kept] = {}
        self._plain: list[Row] = []
        self._only: Panel | None = None
        self.seen = self.weights_leaked = self.entries_leaked = 0

    def add(self, panel: Panel) -> None:
        """Take in the next panel."""
        self.seen += 1
        self.weights_leaked += bool(panel.leaked)
        self.entries_leaked += panel.leaked
        if self._fold and panel.row.share in (0, 1) and not panel.total("moved"):
            self._plain.append(panel.row)
            self._only = panel if self.seen == 1 else None
            return
        self._only = None
        group = _group(panel)
        kept = self._kept.get(group)
        if kept is None:
            kept = self._kept[group] = _Kept(Alike.of(panel))
        else:
            kept.alike = kept.alike.with_another(panel)
        # Of a large model little more is kept than is drawn.
        sort = [len(kept.panels) for (sort, *_), kept in self._kept.items() if sort == group[0]]
        if sum(sort) < self._limit or (not kept.panels and len(sort) <= self._limit):
            kept.panels.append((self.seen, panel))
        if self._many:
            for other in self._kept.values():
                if other.alike.count >= ALIKE:
                    del other.panels[1:]

    @property
    def _many(self) -> bool:
        """Whether of all that are alike one is drawn."""
        return self._fold and self.seen - len(self._plain) > FEW

    @property
    def shown(self) -> list[Panel]:
        """What is drawn, in its order."""
        if self._only is not None:
            return [self._only]
        drawn: list[tuple[object, int, Panel]] = []
        for (sort, *_), kept in self._kept.items():
            panels = kept.panels
            one = self._many or (self._fold and kept.alike.same)
            if panels and one and kept.alike.count >= ALIKE:
                place, first = panels[0]
                panels = [(place, replace(first, alike=kept.alike))]
            drawn += [(sort, place, panel) for place, panel in panels]
        drawn = sorted(drawn, key=lambda one: one[:2])[: self._limit]
        if not self._fold:
            drawn.sort(key=lambda one: one[1])
        return [panel for _, _, panel in drawn]

    @property
    def lines(self) -> list[Line]:
        """What is said of the weights that have no map."""
        if self._only is not None or not self._plain:
            return []
        tree = tree_of_paths("own weights", self._plain)
        found = []
        for block in blocks(tree):
            rows = [row for _, some in block.weights for row in some]
            name = rows[0].path if len(rows) == 1 else " ... ".join(block.names)
            found.append(Line(name, block.times, tuple(rows)))
        return found

    @property
    def left(self) -> int:
        """How many weights have neither a map nor a line."""
        drawn = sum(panel.alike.count if panel.alike else 1 for panel in self.shown)
        return self.seen - drawn - (0 if self._only is not None else len(self._plain))

    @property
    def said(self) -> str:
        """What there is to say of leaks, in words."""
        if not self.entries_leaked:
            return "no frozen entry moved"
        among = f" in {self.weights_leaked:,} of {self.seen:,} weights" if self.seen > 1 else ""
        return leaks(self.entries_leaked) + among


def drawn(rows: Sequence[Row], limit: int, fold: bool) -> int:
    """How many maps of what is frozen there are at most."""
    partly = [row for row in rows if not fold or 0 < row.share < 1]
    alike = {(_stem(row.path), row.shape, row.dtype, row.kind, row.trains) for row in partly}
    return max(min(len(alike) if len(partly) > FEW else len(partly), limit), 1)


def leaks(count: int) -> str:
    """How many frozen entries moved, in words."""
    return f"{count:,} frozen {'entry' if count == 1 else 'entries'} moved"


def _group(panel: Panel) -> Group:
    """Equal for weights that may have one map; a leak never has. It begins with the order."""
    row = panel.row
    if panel.leaked:
        return 0, row.path, panel.first
    return (
        1 if 0 < row.share < 1 else 2,
        _stem(row.path),
        row.shape,
        row.dtype,
        row.kind,
        row.trains,
    )


def _stem(path: str) -> str:
    """`dense` and `dense_1` are alike, so are `conv2_block1_out` and `conv2_block2_out`."""
    return re.sub(r"\d+", "#", re.sub(r"_\d+(?=/|$)", "", path))
