"""A model file of any format as a list of weights, none of them read."""

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

FORMATS = ".keras, .weights.h5 and .safetensors"


@dataclass(frozen=True)
class Stored:
    """A weight in a file.

    Attributes:
        key: Where it is in the file: the same for every model of one architecture.
        path: Its path below the model, `"hidden/kernel"`; `"hidden/0"` where no name is known.
        shape: Its shape.
        dtype: Its dtype.
        source: Reads it.
        frozen: What the file says is frozen of it.
        layer_trainable: False where the file says that its layer does not train.
        owner: What it tells of the layer of the weight.
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
    """What is in a file.

    Attributes:
        path: The file.
        format: `"keras"`, `"weights.h5"` or `"safetensors"`.
        weights: Every weight of the model, in its order where that is known.
        optimizer_values: How many values it keeps for an optimizer.
        faults: What of its freeze does not fit its weights.
        is_delta: Whether it holds a delta, see `frostline delta`.
        weights_start: Where in the file the part with its weights begins, as a file of its own.
        missing: Layers that its config tells of and whose weights it does not hold.
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
    """Read what is in a file, without its weights, and keep it open for them.

    Args:
        path: A `.keras`, `.weights.h5` or `.safetensors` file.
        faulty: Whether a freeze that does not fit the file is told in `faults` and not an error.

    Raises:
        FileError: The file cannot be read, or is not a model file.
    """
    with ExitStack() as stack:
        file = stack.enter_context(readable(path))
        opened = _read(path, file, stack)
        if opened.faults and not faulty:
            raise FileError(
                f"{path}: its freeze does not fit its weights; got {opened.faults[0]}. "
                f"All that is wrong is told by `frostline verify {path}`."
            )
        yield opened


def readable(path: Path) -> IO[bytes]:
    """A file opened for reading, or the error that says why not."""
    if path.is_dir():
        raise FileError(f"{path}: not a file; got a folder. Known are {FORMATS} files.")
    try:
        # Unbuffered: weights are read in large pieces, each once.
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
        f"{path}: not the name of a model file; got suffix={path.suffix!r}. "
        f"Known are {FORMATS} files."
    )


def _keras(
    path: Path, kind: str, window: Window, layers: list[Described], stack: ExitStack
) -> ModelFile:
    held = stack.enter_context(open_hdf5(path, window))
    groups = [group for group in held.groups if not group.of_optimizer]
    if not groups:
        raise FileError(
            f"{path}: no layers in it; got {held.top} at its top. Known are the files of "
            "`model.save_weights('name.weights.h5')`, not those of Keras 2."
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
    """The weights as the config lists their layers; a file sorts those by their classes."""
    places = {layer.path: n for n, layer in reversed(list(enumerate(layers)))}

    def place(weight: Stored) -> int:
        path = weight.path
        while path and path not in places:
            path = path.rpartition("/")[0]
        return places.get(path, -1)

    return sorted(weights, key=place)


def _told_apart(weights: list[Stored]) -> list[Stored]:
    """Layers of one name keep what tells them apart in the file."""
    paths = Counter(weight.path for weight in weights)

    def place(weight: Stored) -> str:
        return f"{weight.key.rpartition('/vars/')[0]}/{weight.path.rpartition('/')[2]}"

    return [replace(w, path=place(w)) if paths[w.path] > 1 else w for w in weights]
