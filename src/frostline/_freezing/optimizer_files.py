"""Record in files which freeze the state of an optimizer belongs to.

Keras numbers the variables of an optimizer in a file, so it does not notice if slots are read for
other entries. A fingerprint of the freeze is stored with them.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from frostline import _keras
from frostline._arrays.plan import fingerprint
from frostline._errors import RestoreWarning, warn
from frostline._freezing.resuming import WARNED

_FREEZE = "frostline"


def watch_optimizer_files() -> None:
    """Wrap the methods of optimizers that save and load their state."""
    for name, around in (("save_own_variables", _save), ("load_own_variables", _load)):
        _keras.wrap(_keras.defining_class(name), name, around)


def _freeze_of(optimizer: Any) -> int | None:
    """A number for how the variables of an optimizer are divided, None if none of them is."""
    plans = [
        f"{place} {fingerprint(view._frostline.plan)}"
        for place, variable in enumerate(_keras.optimized(optimizer))
        if (view := getattr(variable, "_frostline_view", None)) is not None
    ]
    return zlib.crc32(" ".join(plans).encode()) if plans else None


def _save(method: Any, optimizer: Any, store: Any) -> None:
    method(optimizer, store)
    stored = _freeze_of(optimizer)
    if stored is not None:
        store[_FREEZE] = np.asarray(stored, dtype="int64")


def _load(method: Any, optimizer: Any, store: Any) -> None:
    if optimizer.__dict__.pop(WARNED, False):
        return  # the state belongs to another optimizer, and the user has been warned
    keys = list(store.keys())
    stored = int(np.asarray(store[_FREEZE])) if _FREEZE in keys else None
    values = {key: store[key] for key in keys if key != _FREEZE}
    wanted = _freeze_of(optimizer)
    # If the numbers differ, Keras itself warns.
    differ = len(values) != len(optimizer.variables)
    if stored == wanted or differ or (stored is None and _fit(optimizer, values)):
        method(optimizer, values)
    else:
        if stored is None:
            got, do = "of a model without partly frozen weights", "unfreeze this model"
        elif wanted is None:
            got, do = "of a partly frozen model", "freeze this model in the same way"
        else:
            got, do = "of a model with another freeze", "freeze this model in the same way"
        warn(
            f"{optimizer.name}: the state of the optimizer in the file has slots for other entries "
            f"and was not read; got a file {got}. The weights were read. To read the state too, "
            f"{do}, load the file, then change the freeze.",
            RestoreWarning,
        )


def _fit(optimizer: Any, values: dict[str, Any]) -> bool:
    """Whether a file without a fingerprint, old or of a plain model, fits this optimizer."""
    shapes = [tuple(variable.shape) for variable in optimizer.variables]
    return all(tuple(np.shape(values[str(place)])) == shape for place, shape in enumerate(shapes))
