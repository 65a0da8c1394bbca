"""What a `.keras` file holds of the objects directly below its model: optimizers among them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from frostline._files.archive import open_archive, read_config, weights_member
from frostline._files.hdf5 import natural, open_hdf5
from frostline._files.open import readable
from frostline._files.sources import dtype_named

_OWN = "vars"


def attached(path: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The attributes of the model that the file holds variables of, with these, one by one."""
    with ExitStack() as stack:
        file = stack.enter_context(readable(path))
        archive = stack.enter_context(open_archive(path, file))
        window = weights_member(path, archive, file)
        if window.file is not file:
            stack.enter_context(contextlib.closing(window.file))
        hdf5 = stack.enter_context(open_hdf5(path, window))
        for name, group in hdf5.items():
            own = group.get(_OWN) if name != _OWN else None
            if own:
                yield name, [_value(own[key]) for key in sorted(own, key=natural) if key.isdigit()]


def compiled_with(path: Path) -> str | None:
    """The class of the optimizer that the config of a file names, None where it names none."""
    with readable(path) as file, open_archive(path, file) as archive:
        compiled = read_config(path, archive).get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    return optimizer.get("class_name") if isinstance(optimizer, dict) else None


def _value(dataset: Any) -> np.ndarray:
    stored = dataset.attrs.get("dtype")
    return np.array(dataset[()], dtype_named("bfloat16") if stored == "bfloat16" else None)
