"""The variables in a `.keras` file that belong to objects directly below the model: optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from frostline._files.archive import open_archive, read_config, weights_member
from frostline._files.hdf5 import open_hdf5
from frostline._files.open import readable
from frostline._files.sources import read_whole


def attached(path: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The attributes of the model that have variables in the file, with their values."""
    with (
        readable(path) as file,
        open_archive(path, file) as archive,
        weights_member(path, archive, file) as window,
        open_hdf5(path, window) as weights,
    ):
        for group in weights.groups:
            own = [v for v in group.variables if v.key.isdecimal()]
            if own and group.place and "/" not in group.place:
                yield group.place, [read_whole(v.source, v.shape, v.dtype) for v in own]


def compiled_with(path: Path) -> str | None:
    """The class of the optimizer in the config of a file, None if there is none."""
    with readable(path) as file, open_archive(path, file) as archive:
        compiled = read_config(path, archive).get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    return optimizer.get("class_name") if isinstance(optimizer, dict) else None
