"""Whether a file that a command writes keeps the state of the optimizer in the file that it read.

Two things may lose it without an error: loading, where Keras makes another optimizer than the one
that was saved, and the change of what trains, with an optimizer whose state has other shapes than
its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from frostline._errors import FileError
from frostline._files import ModelFile
from frostline._files.attached import attached, compiled_with

NOT_RESTORED = (
    "Skipping variable loading for optimizer",
    r"`compile\(\)` was not called as part of model loading",
    r".*the state of its optimizer is in the file and was not restored",
)
"""How warnings begin that a loaded model has lost its optimizer."""

_INSTEAD = (
    "In Python load the model, compile it as it was, call "
    "`model.optimizer.build(model.trainable_variables)` and `model.load_weights(file)`, then "
    "change the freeze and save it. Or add --drop-optimizer, and it starts anew."
)


_SMALL = 1 << 16  # entries that a variable may have whatever a file holds


class Kept:
    """The state of the optimizers of a model that was just loaded, and was not changed yet.

    Args:
        path: The file that the model was loaded from.
        model: The model.

    Raises:
        FileError: The model does not have the state that is in the file.
    """

    def __init__(self, path: Path, model: Any) -> None:
        self._path = path
        self._model = model
        self._trained = {v.path: tuple(v.shape) for v in model.trainable_variables}
        self._slots = [
            (slot.name, value if self._owner(slot.name) is None else None, value.shape)
            for optimizer in _optimizers(model).values()
            for slot in optimizer.variables
            if (value := _read(slot)).ndim and value.any()
        ]
        for name, values in attached(path):
            one = getattr(model, name, None)
            step = _step(values)
            if step and (one is None or name in _optimizers(model)):
                self._check_loaded(name, one, values, step)

    def check(self) -> None:
        """Compare with the model as it is now, whose weights may train in other parts.

        Raises:
            FileError: It has no longer all of the state of what still trains.
        """
        trained = {v.path: tuple(v.shape) for v in self._model.trainable_variables}
        now: dict[str, list[Any]] = {}
        for optimizer in _optimizers(self._model).values():
            for slot in optimizer.variables:
                now.setdefault(slot.name, []).append(slot)
        for name, value, shape in self._slots:
            found = now.get(name, [])
            owner = self._owner(name)
            if value is not None:  # named after no weight: as it was, or lost
                kept = any(np.array_equal(value, _read(slot)) for slot in found)
            elif owner not in trained:
                kept = True
            else:
                wanted = trained[owner] if shape == self._trained[owner] else shape
                kept = any(tuple(slot.shape) == wanted for slot in found)
            if not kept:
                raise FileError(
                    f"{self._path}: state of the optimizer that has another shape than its weight "
                    f"can not follow the change; got {name} of shape {shape}. "
                    "Add --drop-optimizer, and the optimizer starts anew. Nothing was written."
                )

    def _owner(self, slot: str) -> str | None:
        """The path of the weight that a slot is named after."""
        owners = [path for path in self._trained if slot.startswith(path.replace("/", "_") + "_")]
        return max(owners, key=len, default=None)

    def _check_loaded(self, name: str, one: Any, values: list[np.ndarray], step: int) -> None:
        saved = compiled_with(self._path) if name == "optimizer" else None
        kinds = [type(each).__name__ for each in (one, getattr(one, "inner_optimizer", None))]
        variables = [] if one is None else one.variables
        if saved not in (None, *kinds) or not _equal(variables, values):
            now = "none" if one is None else kinds[0]
            raise FileError(
                f"{self._path}: Keras can not bring back the state of the optimizer in this file; "
                f"got {name}={now}, in the file {saved or 'one'} at step {step}. "
                f"{_INSTEAD} Nothing was written."
            )


@contextmanager
def state_left_out() -> Iterator[None]:
    """Load models whose optimizers begin anew."""
    import keras  # late: it fixes its backend

    def leave(self: Any, store: Any) -> None:
        del self, store

    kind: Any = keras.optimizers.Optimizer
    inherited = kind.load_own_variables
    kind.load_own_variables = leave
    try:
        yield
    finally:
        kind.load_own_variables = inherited


@contextmanager
def held_by(opened: ModelFile) -> Iterator[None]:
    """Make no variables that are larger than those in a file: its config may claim any size.

    Raises:
        FileError: One is, or all of them together are far larger.
    """
    import keras  # late: it fixes its backend

    largest = max((weight.size for weight in opened.weights), default=0)
    left = _SMALL * 64 + 8 * (opened.size + opened.optimizer_values)
    kind: Any = keras.Variable
    make = kind.__init__

    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        shape = kwargs.get("shape", args[1] if len(args) > 1 else None)
        sizes = shape if isinstance(shape, tuple | list) else (shape,)
        size = math.prod(n for n in sizes if isinstance(n, int))
        left -= size
        if size > max(largest, _SMALL) or left < 0:
            raise FileError(
                f"{opened.path}: its config is of a larger model than its weights; got a variable "
                f"of shape {shape}. Take the file from its source again."
            )
        make(self, *args, **kwargs)

    kind.__init__ = checked
    try:
        yield
    finally:
        kind.__init__ = make


def _optimizers(model: Any) -> dict[str, Any]:
    import keras  # late: it fixes its backend

    attributes = vars(model).items()
    return {name: one for name, one in attributes if isinstance(one, keras.optimizers.Optimizer)}


def _step(values: list[np.ndarray]) -> int:
    """How many steps are behind saved variables, 0 where there is no state in them."""
    counts = [int(value) for value in values if not value.ndim and value.dtype.kind in "iu"]
    return max(counts, default=int(any(value.ndim and value.any() for value in values)))


def _equal(variables: list[Any], values: list[np.ndarray]) -> bool:
    return len(variables) == len(values) and all(
        np.array_equal(_read(variable).astype("float64"), value.astype("float64"), equal_nan=True)
        for variable, value in zip(variables, values, strict=True)
    )


def _read(variable: Any) -> np.ndarray:
    import keras  # late: it fixes its backend

    return np.asarray(keras.ops.convert_to_numpy(variable.value))
