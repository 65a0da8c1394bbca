"""Check that a command that rewrites a file keeps the state of the optimizer.

The state may be lost without an error in two cases: Keras may load a different optimizer than was
saved, and an optimizer whose state has other shapes than its weights cannot follow a new freeze.
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
"""How the warnings begin that say that a loaded model has lost its optimizer."""

_INSTEAD = (
    "In Python, load the model, compile it as before, call "
    "`model.optimizer.build(model.trainable_variables)` and `model.load_weights(file)`, then "
    "change the freeze and save it. Or add --drop-optimizer to start with a new optimizer."
)


_SMALL = 1 << 16  # entries that a variable may have in any case


class Kept:
    """The state of the optimizers of a model, taken after loading and before any change.

    Args:
        path: The file that the model was loaded from.
        model: The model.

    Raises:
        FileError: The loaded model does not have the state that is in the file.
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
        """Compare with the model after the change of its freeze.

        Raises:
            FileError: Some state of an entry that still trains is lost.
        """
        trained = {v.path: tuple(v.shape) for v in self._model.trainable_variables}
        now: dict[str, list[Any]] = {}
        for optimizer in _optimizers(self._model).values():
            for slot in optimizer.variables:
                now.setdefault(slot.name, []).append(slot)
        for name, value, shape in self._slots:
            found = now.get(name, [])
            owner = self._owner(name)
            if value is not None:  # not named after a weight: unchanged, or lost
                kept = any(np.array_equal(value, _read(slot)) for slot in found)
            elif owner not in trained:
                kept = True
            else:
                wanted = trained[owner] if shape == self._trained[owner] else shape
                kept = any(tuple(slot.shape) == wanted for slot in found)
            if not kept:
                raise FileError(
                    f"{self._path}: state of the optimizer that has another shape than its weight "
                    f"cannot follow the change; got {name} of shape {shape}. "
                    "Add --drop-optimizer to start with a new optimizer. Nothing was written."
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
                f"{self._path}: Keras cannot restore the state of the optimizer in this file; "
                f"got {name}={now}, but the file has {saved or 'one'} at step {step}. "
                f"{_INSTEAD} Nothing was written."
            )


@contextmanager
def state_left_out() -> Iterator[None]:
    """Load models without the state of their optimizers."""
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
    """Refuse variables larger than those in a file, since its config may claim any size.

    Raises:
        FileError: A variable is larger, or all of them together are far larger.
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
                f"{opened.path}: its config describes a larger model than its weights; got a "
                f"variable of shape {shape}. Get the file from its source again."
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
    """The step count in saved variables, 0 if they hold no state."""
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
