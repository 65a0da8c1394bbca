"""Open a model file of any format as a list of weights, without reading them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from frostline._arrays.frozen import Frozen
from frostline._errors import FileError
from frostline._files.archive import CONFIG, Window, open_archive, read_config, weights_member
from frostline._files.boundary import reading
from frostline._files.freezes import place
from frostline._files.hdf5 import open_hdf5
from frostline._files.names import UNKNOWN, Described, Names, Owner, layers_of
from frostline._files.safetensors import DELTA, contents_of
from frostline._files.sources import Source

FORMATS = ".keras, .weights.h5 or .safetensors"


@dataclass(frozen=True)
class Stored:
    """A weight in a file.

    Attributes:
        key: Its place in the file: the same for all models of one architecture.
        path: Its path below the model, `"hidden/kernel"`; `"hidden/0"` if the name is unknown.
        shape: Its shape.
        dtype: Its dtype.
        source: Reads it.
        frozen: What is frozen of it according to the file.
        layer_trainable: False if its layer has `trainable=False` in the file.
        owner: What is known about its layer.
    """

    key: str
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    source: Source
    frozen: Frozen | None = None
    layer_trainable: bool = True
    owner: Owner = UNKNOWN

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def frozen_count(self) -> int:
        return 0 if self.frozen is None else self.frozen.frozen_count


@dataclass(frozen=True)
class ModelFile:
    """The contents of a file.

    Attributes:
        path: The file.
        format: `"keras"`, `"weights.h5"` or `"safetensors"`.
        weights: Every weight of the model, in the order of the model if known.
        optimizer_values: The number of values in it that belong to an optimizer.
        faults: Descriptions of freezes that do not fit the weights.
        is_delta: Whether it is a delta, see `frostline delta`.
        weights_start: The offset of the weight file inside the file.
        missing: Descriptions of layers in its config whose weights are missing.
    """

    path: Path
    format: str
    weights: tuple[Stored, ...]
    optimizer_values: int = 0
    faults: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    is_delta: bool = False
    weights_start: int = 0

    @property
    def can_hold_a_freeze(self) -> bool:
        return self.format == "keras"

    @property
    def holds_a_freeze(self) -> bool:
        return any(weight.frozen is not None for weight in self.weights)

    @property
    def size(self) -> int:
        return sum(weight.size for weight in self.weights)

    @property
    def frozen_count(self) -> int:
        return sum(weight.frozen_count for weight in self.weights)


@contextmanager
def open_file(path: Path, *, faulty: bool = False) -> Iterator[ModelFile]:
    """Open a file and list its contents; its weights can be read until the end of the block.

    Args:
        path: A `.keras`, `.weights.h5` or `.safetensors` file.
        faulty: Whether a freeze that does not fit the file is listed in `faults` instead of being
            an error.

    Raises:
        FileError: The file cannot be read, or is not a model file.
    """
    with ExitStack() as stack:
        file = stack.enter_context(readable(path))
        opened = _read(path, file, stack)
        if opened.faults and not faulty:
            raise FileError(
                f"{path}: its freeze does not fit its weights; got {opened.faults[0]}. "
                f"`frostline verify {path}` lists all faults."
            )
        yield opened


def readable(path: Path) -> IO[bytes]:
    """Open a file for reading; an error if that fails."""
    if path.is_dir():
        raise FileError(f"{path}: not a file; got a folder. Pass a {FORMATS} file.")
    try:
        # Unbuffered, because weights are read in large pieces.
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise FileError(
            f"{path}: the file cannot be read; got {error.strerror or error}. Check its name."
        ) from None


def _read(path: Path, file: IO[bytes], stack: ExitStack) -> ModelFile:
    name = path.name.lower()
    if name.endswith(".keras"):
        archive = stack.enter_context(open_archive(path, file))
        with reading(path, f"{CONFIG} cannot be read"):
            layers = list(layers_of(read_config(path, archive)))
        window = stack.enter_context(weights_member(path, archive, file))
        return _keras(path, "keras", window, layers, stack)
    if name.endswith(".h5"):
        window = Window(file, path, 0, file.seek(0, 2))
        return _keras(path, "weights.h5", window, [], stack)
    if name.endswith(".safetensors"):
        tensors, metadata = contents_of(path, file)
        weights = tuple(Stored(t.key, t.key, t.shape, t.dtype, t.source) for t in tensors)
        is_delta = DELTA in metadata
        return ModelFile(path, "safetensors", weights, is_delta=is_delta)
    raise FileError(
        f"{path}: not the name of a model file; got suffix={path.suffix!r}. Pass a {FORMATS} file."
    )


def _keras(
    path: Path, kind: str, window: Window, layers: list[Described], stack: ExitStack
) -> ModelFile:
    held = stack.enter_context(open_hdf5(path, window))
    groups = [group for group in held.groups if not group.of_optimizer]
    if not groups:
        raise FileError(
            f"{path}: this file contains no layers; got {held.top} at its top. Pass a file from "
            "`model.save_weights('name.weights.h5')`, not one of Keras 2."
        )
    placed = place(layers, groups)
    names = Names(layers)
    weights = []
    for group in groups:
        owner = names.owner(group)
        for variable, name in zip(group.variables, names.of(group), strict=True):
            at = (group.place, variable.key)
            name = placed.names.get(at, name)
            stored = Stored(
                key=f"{group.place}/vars/{variable.key}".lstrip("/"),
                path=f"{group.path}/{name}".lstrip("/"),
                shape=variable.shape,
                dtype=variable.dtype,
                source=variable.source,
                frozen=placed.frozen.get(at),
                layer_trainable=names.layer_trainable(group.path),
                owner=owner,
            )
            weights.append(stored)
    return ModelFile(
        path=path,
        format=kind,
        weights=tuple(_told_apart(_in_order(weights, layers))),
        optimizer_values=sum(
            math.prod(v.shape) for one in held.groups if one.of_optimizer for v in one.variables
        ),
        faults=tuple(placed.faults),
        missing=tuple(names.missing(groups)),
        weights_start=window.start,
    )


def _in_order(weights: list[Stored], layers: list[Described]) -> list[Stored]:
    """The weights in the order of the layers in the config; a file sorts layers by class."""
    places = {layer.path: n for n, layer in reversed(list(enumerate(layers)))}

    def place(weight: Stored) -> int:
        path = weight.path
        while path and path not in places:
            path = path.rpartition("/")[0]
        return places.get(path, -1)

    return sorted(weights, key=place)


def _told_apart(weights: list[Stored]) -> list[Stored]:
    """Give weights with the same path their place in the file as path."""
    paths = Counter(weight.path for weight in weights)

    def place(weight: Stored) -> str:
        return f"{weight.key.rpartition('/vars/')[0]}/{weight.path.rpartition('/')[2]}"

    return [replace(w, path=place(w)) if paths[w.path] > 1 else w for w in weights]
