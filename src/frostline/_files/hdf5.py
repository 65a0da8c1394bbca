"""The groups and variables of a weight file of Keras, as they lie in HDF5."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline._errors import FileError
from frostline._files.archive import Window
from frostline._files.sources import Bytes, Slices, Source, dtype_named

_DEEPEST = 200  # a group inside itself would never end
_OWN = "vars"  # the group in which Keras keeps a layer's own variables


@dataclass(frozen=True)
class Variable:
    """One variable: `key` is its name among those of its layer, mostly its number."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    source: Source


@dataclass(frozen=True)
class Group:
    """What a file holds of one layer.

    Attributes:
        place: Its attributes and containers from the model down, `"layers/dense_1"`.
        path: The names of the layers on the way, `"encoder/hidden"`.
        above: The group of the layer around it.
        variables: Its own variables in their order.
    """

    place: str
    path: str
    above: Group | None
    variables: tuple[Variable, ...]

    @property
    def attribute(self) -> str:
        """The last part of the place: an attribute, or a class name where it is in a list."""
        return self.place.rpartition("/")[2]

    @property
    def in_list(self) -> bool:
        """Whether it lies in a list of its layer, where Keras names it by its class."""
        around = "" if self.above is None else self.above.place
        return self.place.rpartition("/")[0] != around


def open_hdf5(path: Path, file: Window) -> Any:
    """The HDF5 file in an open file or a part of one."""
    import h5py  # late: a quarter of the start, and many commands do without

    try:
        return h5py.File(file, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(
            f"{path}: its weights are not a whole HDF5 file; got {error}. "
            "It may have been cut off while it was copied: take it from its source again."
        ) from None


def groups_of(path: Path, hdf5: Any, window: Window) -> list[Group]:
    """Every layer of a weight file, those around before those inside, without the optimizer.

    Args:
        path: The file, for messages.
        hdf5: The open HDF5 file.
        window: Its bytes, to read what is stored plainly without the HDF5 library.
    """
    try:
        return list(_walk(path, hdf5, window, "", None, 0))
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: its weights are damaged; got {error}. Take the file from its source again."
        ) from None


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts `dense_2` before `dense_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _walk(
    path: Path, group: Any, window: Window, place: str, above: Group | None, depth: int
) -> Iterator[Group]:
    if depth > _DEEPEST:
        raise FileError(
            f"{path}: groups lie in one another without end; got {place[:60]}... "
            "Take the file from its source again."
        )
    groups, _ = _members(path, group, place)
    own = groups.pop(_OWN, None)
    here = above
    if own is not None:
        name = own.attrs.get("name")
        here = _group(path, own, window, place, above, name if isinstance(name, str) else None)
        yield here
    for name, member in groups.items():
        if place or name != "optimizer":
            inside = f"{place}/{name}" if place else name
            yield from _walk(path, member, window, inside, here, depth + 1)


def _members(path: Path, group: Any, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The groups and the datasets in a group, in their order."""
    import h5py  # late: see `open_hdf5`

    members = {}
    for name in sorted(group, key=natural):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FileError(
                f"{path}: a weight file holds its weights itself; got a link at {place}/{name}. "
                "Save the weights again with Keras."
            )
        members[name] = group[name]
    groups, datasets = (
        {name: member for name, member in members.items() if isinstance(member, kind)}
        for kind in (h5py.Group, h5py.Dataset)
    )
    return groups, datasets


def _group(
    path: Path, own: Any, window: Window, place: str, above: Group | None, name: str | None
) -> Group:
    # Older files of Keras hold no names: the attribute or the class has to do.
    name = name or place.rpartition("/")[2]
    around = "" if above is None or not above.place else f"{above.path}/"
    _, datasets = _members(path, own, place)
    variables = [
        _variable(path, dataset, window, f"{place or '.'}/{_OWN}/{key}")
        for key, dataset in datasets.items()
        if dataset.dtype.kind in "biufcV"
    ]
    return Group(place, around + name if place else "", above, tuple(variables))


def _variable(path: Path, dataset: Any, window: Window, name: str) -> Variable:
    import h5py  # late: see `open_hdf5`

    label = f"{path}: {name}"
    if dataset.external or dataset.is_virtual:
        raise FileError(
            f"{label}: a weight file holds its weights itself; got a dataset that lies in another "
            "file. Save the weights again with Keras."
        )
    dtype = dataset.dtype
    if dataset.attrs.get("dtype") == "bfloat16":
        dtype = dtype_named("bfloat16")
    shape = tuple(int(n) for n in dataset.shape)
    offset = dataset.id.get_offset()
    plain = (
        dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        and dataset.dtype.isnative
        and dataset.file.userblock_size == 0
    )
    dtype = dtype.newbyteorder("=")
    source: Source = Slices(dataset, label, dtype)
    if plain and offset is not None:
        size = math.prod(shape) * dtype.itemsize
        if offset + size > window.length:
            raise FileError(
                f"{label}: lies beyond the end of the file; got bytes {offset} to "
                f"{offset + size} of {window.length}. Take the file from its source again."
            )
        source = Bytes(window.file, label, window.start + offset, dtype)
    return Variable(dataset.name.rpartition("/")[2], shape, dtype, source)


def optimizer_values(hdf5: Any) -> int:
    """How many values the file keeps for an optimizer."""
    import h5py  # late: see `open_hdf5`

    count = 0

    def add(name: str, member: Any) -> None:
        nonlocal count
        if isinstance(member, h5py.Dataset):
            count += math.prod(member.shape)

    if isinstance(hdf5.get("optimizer", getlink=False), h5py.Group):
        hdf5["optimizer"].visititems(add)
    return count
