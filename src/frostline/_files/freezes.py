"""Which variables of a file the freeze in its config is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from frostline._arrays.frozen import Frozen, frozen_from_config
from frostline._arrays.stored import VERSION, StoredFreeze, StoredWeight
from frostline._files.hdf5 import Group, Variable
from frostline._files.names import Described


@dataclass
class Placed:
    """What is frozen, by place and key of the variable; and what does not fit, in words.

    Attributes:
        frozen: The freeze of a variable.
        names: Its name, which the freeze says.
        faults: What is wrong with the freeze.
    """

    frozen: dict[tuple[str, str], Frozen] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def place(layers: list[Described], groups: list[Group]) -> Placed:
    """Find the variable of each weight of which a config says that something is frozen."""
    placed = Placed()
    for layer in layers:
        if layer.freeze is None:
            continue
        try:
            for path, weight in _weights(layer):
                _place(path, weight, layer, groups, placed)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            placed.faults.append(
                f"{layer.path or 'model'}: its freeze is malformed; "
                f"got {type(error).__name__}: {error}"
            )
    return placed


def _weights(layer: Described) -> Iterator[tuple[str, StoredWeight]]:
    freeze: StoredFreeze = layer.freeze  # type: ignore[assignment]  # `place` reports what is not one
    if freeze["weights"] and freeze["version"] != VERSION:
        raise ValueError(f"version={freeze['version']!r}, this frostline reads {VERSION}")
    for weight in freeze["weights"]:
        yield (f"{layer.path}/{weight['path']}" if layer.path else weight["path"]), weight


def _place(
    path: str,
    weight: StoredWeight,
    layer: Described,
    groups: list[Group],
    placed: Placed,
) -> None:
    try:
        frozen = frozen_from_config(weight["plan"])
    except ValueError as error:
        placed.faults.append(f"{path}: what is frozen of it is malformed; got {error}")
        return
    owner = path.rpartition("/")[0]
    owners = [group for group in groups if group.path == owner and group.place]
    if not owner:
        owners = [group for group in groups if not group.place]
    if not any(group.variables for group in owners):
        # A layer that is used in two models is in the file once, below the first of them.
        tail = "/" + (f"{layer.path.rpartition('/')[2]}/{weight['path']}").rpartition("/")[0]
        owners = [group for group in groups if f"/{group.path}".endswith(tail)]
    fitting = [(group, v) for group in owners for v in _candidates(group, weight, frozen)]
    if len(fitting) == 1:
        group, variable = fitting[0]
        at = (group.place, variable.key)
        placed.frozen[at] = frozen
        placed.names[at] = weight["name"]
    else:
        placed.faults.append(f"{path}: {_fault(owners, fitting, weight, frozen)}")


def _candidates(group: Group, weight: StoredWeight, frozen: Frozen) -> list[Variable]:
    """The variables of a layer that the description may be of: by position, else by shape."""
    fitting = [variable for variable in group.variables if variable.shape == frozen.shape]
    position = weight.get("position")
    # A layer that writes its variables itself may call them as it likes.
    for key in (str(position), weight["name"]):
        if any(variable.key == key for variable in group.variables):
            return [variable for variable in fitting if variable.key == key]
    return fitting


def _fault(owners: list[Group], fitting: list[Any], weight: StoredWeight, frozen: Frozen) -> str:
    got = f"got a freeze for shape {frozen.shape}"
    if not owners:
        return f"no such layer in the file; {got}"
    if len(fitting) > 1:
        return f"{len(fitting)} weights of the file may be meant; {got}"
    shapes = [v.shape for g in owners for v in g.variables if v.key == str(weight.get("position"))]
    if shapes:
        return f"the weight has another shape, {shapes[0]}; {got}"
    return f"no such weight in the file; {got}"
