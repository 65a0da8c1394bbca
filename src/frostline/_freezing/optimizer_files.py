"""The state of optimizers in files: which freeze it is of.

Keras numbers the variables of an optimizer in a file, and so does not see that a slot of some
entries is read into that of others. What is frozen by parts is told beside them.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from frostline import _keras
from frostline._arrays.plan import fingerprint
from frostline._errors import RestoreWarning, warn
from frostline._freezing.resuming import TOLD

_TOLD = "frostline"


def watch_optimizer_files() -> None:
    """Have optimizers tell in a file of which freeze their state is, and look at it."""
    for name, around in (("save_own_variables", _save), ("load_own_variables", _load)):
        _keras.wrap(_keras.told_by(name), name, around)


def _freeze_of(optimizer: Any) -> int | None:
    """A number for how the variables of an optimizer are divided, None where none of them is."""
    plans = [
        f"{place} {fingerprint(view._frostline.plan)}"
        for place, variable in enumerate(_keras.optimized(optimizer))
        if (view := getattr(variable, "_frostline_view", None)) is not None
    ]
    return zlib.crc32(" ".join(plans).encode()) if plans else None


def _save(method: Any, optimizer: Any, store: Any) -> None:
    method(optimizer, store)
    told = _freeze_of(optimizer)
    if told is not None:
        store[_TOLD] = np.asarray(told, dtype="int64")


def _load(method: Any, optimizer: Any, store: Any) -> None:
    if optimizer.__dict__.pop(TOLD, False):
        return  # the state is of another optimizer, and the user knows
    keys = list(store.keys())
    told = int(np.asarray(store[_TOLD])) if _TOLD in keys else None
    values = {key: store[key] for key in keys if key != _TOLD}
    wanted = _freeze_of(optimizer)
    # Keras sees for itself that the number differs, and says so.
    differ = len(values) != len(optimizer.variables)
    if told == wanted or differ or (told is None and _fit(optimizer, values)):
        method(optimizer, values)
    else:
        if told is None:
            got, do = "of a model with nothing frozen in part", "unfreeze this one"
        elif wanted is None:
            got, do = "of a model that is frozen in part", "freeze this one as it was"
        else:
            got, do = "of another freeze", "freeze this one as it was"
        warn(
            f"{optimizer.name}: the state of the optimizer in the file has slots for other entries "
            f"and was not read; got a file {got}. The weights were. To have the state too, {do}, "
            "load the file, then freeze as you like.",
            RestoreWarning,
        )


def _fit(optimizer: Any, values: dict[str, Any]) -> bool:
    """Whether a file from before freezes were told, or one of a plain model, is of this one."""
    shapes = [tuple(variable.shape) for variable in optimizer.variables]
    return all(tuple(np.shape(values[str(place)])) == shape for place, shape in enumerate(shapes))
