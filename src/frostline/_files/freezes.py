"""Find the variables in a file that the freeze in its config belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from frostline._arrays.frozen import Frozen, frozen_from_config
from frostline._arrays.pieces import Shape, shape_from
from frostline._arrays.stored import VERSION, StoredWeight, stored_freeze
from frostline._files.hdf5 import Group, Variable
from frostline._files.names import Described


@dataclass
class Placed:
    """The freezes of a file, by place and key of the variable, and what does not fit.

    Attributes:
        frozen: The freeze of each variable.
        names: The name of each variable, from its freeze.
        faults: Descriptions of what is wrong with the freeze.
    """

    frozen: dict[tuple[str, str], Frozen] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def place(layers: list[Described], groups: list[Group]) -> Placed:
    """Find the variable of each weight that is frozen according to the config."""
    placed = Placed()
    by_path: dict[str, list[Group]] = {}
    by_ending: dict[int, dict[str, list[Group]]] = {}
    for group in groups:
        by_path.setdefault(group.path if group.place else "", []).append(group)
    for layer in layers:
        if layer.freeze is None:
            continue
        try:
            freeze = stored_freeze(layer.freeze)
            if freeze["weights"] and freeze["version"] != VERSION:
                raise ValueError(f"version={freeze['version']!r}, this frostline reads {VERSION}")
        except ValueError as error:
            placed.faults.append(
                f"{layer.path or 'model'}: its freeze is malformed; got {str(error)[:300]}"
            )
            continue
        for weight in freeze["weights"]:
            path = f"{layer.path}/{weight['path']}" if layer.path else weight["path"]
            owners = by_path.get(path.rpartition("/")[0], [])
            if not any(group.variables for group in owners):
                # A layer that two models share is in the file once, below the first of them.
                tail = f"/{layer.path.rpartition('/')[2]}/{weight['path']}".rpartition("/")[0]
                owners = _ending(tail, groups, by_ending)
            try:
                _place(path, weight, owners, placed)
            except ValueError as error:
                placed.faults.append(f"{path}: its freeze is malformed; got {str(error)[:300]}")
    return placed


def _ending(
    tail: str, groups: list[Group], known: dict[int, dict[str, list[Group]]]
) -> list[Group]:
    """The groups whose path ends in some names; indexed once for each number of names."""
    count = tail.count("/")
    if count not in known:
        known[count] = {}
        for group in groups:
            names = group.path.split("/")
            if len(names) >= count:
                known[count].setdefault("/".join(names[-count:]), []).append(group)
    return known[count].get(tail[1:], [])


def _place(path: str, weight: StoredWeight, owners: list[Group], placed: Placed) -> None:
    shape = shape_from(weight["plan"].get("shape"))
    fitting = [(group, v) for group in owners for v in _candidates(group, weight, shape)]
    if len(fitting) != 1:
        placed.faults.append(f"{path}: {_fault(owners, fitting, weight, shape)}")
        return
    # A plan is unpacked only after its shape was found to be that of a weight.
    frozen = frozen_from_config(weight["plan"])
    group, variable = fitting[0]
    at = (group.place, variable.key)
    if placed.frozen.setdefault(at, frozen) != frozen:
        placed.faults.append(f"{path}: this weight has two different freezes; got a second one")
    placed.names[at] = weight["name"]


def _candidates(group: Group, weight: StoredWeight, shape: Shape) -> list[Variable]:
    """The variables of a layer that the freeze may belong to: by position, else by shape."""
    fitting = [variable for variable in group.variables if variable.shape == shape]
    position = weight.get("position")
    # A layer that saves its variables itself may use any names.
    for key in (str(position), weight["name"]):
        if any(variable.key == key for variable in group.variables):
            return [variable for variable in fitting if variable.key == key]
    return fitting


def _fault(owners: list[Group], fitting: list[Any], weight: StoredWeight, shape: Shape) -> str:
    got = f"got a freeze for shape {shape}"
    if not owners:
        return f"the file has no such layer; {got}"
    if len(fitting) > 1:
        return f"{len(fitting)} weights of the file could be meant; {got}"
    shapes = [v.shape for g in owners for v in g.variables if v.key == str(weight.get("position"))]
    if shapes:
        return f"the weight has another shape, {shapes[0]}; {got}"
    return f"the file has no such weight; {got}"
