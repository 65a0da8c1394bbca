"""The order of the table of a page: what is partly frozen or moved first, equal weights folded.

Each weight has a line of its own. A `Fold` is a line that stands for several and opens to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from frostline._reports.data import Entry, Report
from frostline._summaries import Block, blocks, tree_of_paths

_LEAKS = 20  # leaking weights that are listed before the rest of them is folded


@dataclass(frozen=True)
class Fold:
    """A line that stands for several weights and opens to them.

    Attributes:
        names: A layer, the first and the last of several, or a weight below equal blocks.
        below: The lines to which it opens.
        entries: The weights of which it shows the numbers.
        times: How many equal blocks or weights it stands for.
        more: What else it says, in words.
        each: Whether its numbers are those of each weight, and not sums.
        opened: Whether it is open at first.
    """

    names: tuple[str, ...]
    below: tuple[Line, ...]
    entries: tuple[Entry, ...]
    times: int = 1
    more: str = ""
    each: bool = False
    opened: bool = False


Line: TypeAlias = "Fold | Entry"


@dataclass(frozen=True)
class Section:
    """A part of the table below a title."""

    title: str
    lines: tuple[Line, ...]


Places: TypeAlias = Sequence[tuple[str, Sequence[Entry]]]
"""The weights of a block: the name of each, and those of that name in all equal blocks."""


def sections(report: Report) -> list[Section]:
    """The table of a page: leaks, then blocks that are partly frozen, that moved, and the rest."""
    leaking = [entry for entry in report.entries if entry.leaked]
    entry_of = {id(entry.row): entry for entry in report.entries}
    partly: list[Line] = []
    moved: list[Line] = []
    rest: list[Line] = []
    for block in blocks(tree_of_paths(report.name, [entry.row for entry in report.entries])):
        places = [(name, [entry_of[id(row)] for row in rows]) for name, rows in block.weights]
        left = [(name, [e for e in entries if not e.leaked]) for name, entries in places]
        left = [(name, entries) for name, entries in left if entries]
        found = _of(left)
        if any(map(is_partly_frozen, found)):
            partly.append(_opened(block, left, _of(places)))
        elif found:
            part = moved if any(entry.changed for entry in found) else rest
            part.append(_folded(block, left, _of(places)))
    shut = bool(leaking or partly or moved)
    rest = [replace(line, opened=not shut) if isinstance(line, Fold) else line for line in rest]
    return [
        Section(f"{title}: {_weights(number)}", tuple(lines))
        for title, number, lines in (
            ("Frozen, but moved", len(leaking), _first_of(leaking)),
            ("Partly frozen", sum(map(is_partly_frozen, _entries(partly))), partly),
            ("Moved", sum(bool(entry.changed) for entry in _entries(moved)), moved),
            (_title_of_rest(report, rest), len(_entries(rest)), rest),
        )
        if lines
    ]


def is_partly_frozen(entry: Entry) -> bool:
    """Whether some entries of a weight are frozen and others are not."""
    return 0 < entry.row.frozen < entry.row.size


def _weights(number: int) -> str:
    return f"{number:,} {'weight' if number == 1 else 'weights'}"


def _of(places: Places) -> tuple[Entry, ...]:
    return tuple(entry for _, entries in places for entry in entries)


def _entries(lines: Iterable[Line]) -> tuple[Entry, ...]:
    """All weights to which these lines open."""
    found: list[Entry] = []
    for line in lines:
        found += _entries(line.below) if isinstance(line, Fold) else [line]
    return tuple(found)


def _first_of(leaking: list[Entry]) -> list[Line]:
    more = tuple(leaking[_LEAKS:])
    folded = [Fold((f"{_weights(len(more))} more",), more, more)] if more else []
    return [*leaking[:_LEAKS], *folded]


def _opened(block: Block, places: Places, every: tuple[Entry, ...]) -> Line:
    """A partly frozen block: a line for each of these weights, and one for all others of a kind."""
    kinds: dict[str, list[tuple[str, Sequence[Entry]]]] = {"partly": [], "whole": [], "": []}
    for name, entries in places:
        kind = "partly" if is_partly_frozen(entries[0]) else entries[0].row.kind
        kinds[kind].append((name, entries))
    lines = [*_lines(kinds["partly"])]
    for kind, name in (("whole", "frozen whole"), ("", "not frozen")):
        below, entries = _lines(kinds[kind]), _of(kinds[kind])
        folded = [Fold((name,), below, entries, more=_weights(len(entries)))]
        lines += folded if len(below) > 1 else below
    if len(lines) == 1 and isinstance(lines[0], Entry):
        return lines[0]
    return Fold(block.names, tuple(lines), every, block.times, opened=True)


def _folded(block: Block, places: Places, every: tuple[Entry, ...]) -> Line:
    """A block of other weights, in one line."""
    below = _lines(places)
    if len(below) == 1 and isinstance(below[0], Entry):
        return below[0]
    more = f"{_weights(len(_entries(below)))}, {_kinds(every)}"
    return Fold(block.names, below, every, block.times, more, opened=True)


def _lines(places: Places) -> tuple[Line, ...]:
    return tuple(
        entries[0]
        if len(entries) == 1
        else Fold((name,), tuple(entries), tuple(entries), len(entries), each=True)
        for name, entries in places
    )


def _kinds(entries: Iterable[Entry]) -> str:
    whole = {entry.row.kind == "whole" for entry in entries}
    return " or ".join(["frozen whole"] * (True in whole) + ["not frozen"] * (False in whole))


def _title_of_rest(report: Report, rest: Sequence[Line]) -> str:
    said = [_kinds(_entries(rest))] * report.freeze_known + ["not moved"] * report.compared
    return ", ".join(said).capitalize() or "Weights"
