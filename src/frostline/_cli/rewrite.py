"""Freeze and unfreeze in `.keras` files: load, change, write beside, then put in its place."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline._errors import EmptySelectionWarning, FileError, FrostlineError, SelectionError
from frostline._files import open_file
from frostline._writing import check_target, replacing


def refuse_files(model: Path, out: Path, *, force: bool) -> None:
    """Raise where a file can not be written, before anything is loaded.

    Raises:
        FileError: `out` is there already and `force` is not given, is not a `.keras` file, or its
            folder is missing; or `model` is not a whole `.keras` file.
    """
    for path in (model, out):
        if path.suffix != ".keras":
            raise FileError(
                f"{path}: only .keras files hold a model with its freeze; got "
                f"suffix={path.suffix!r}. Save the model with `model.save('name.keras')`."
            )
    check_target(out, force=force)
    with open_file(model):
        pass


def rewrite(model: Path, weights: Sequence[str], where: Any, out: Path, *, freezing: bool) -> Any:
    """Change what is frozen in the model of a file, and write it to another.

    Args:
        model: The `.keras` file to read.
        weights: Globs on the paths of its weights.
        where: The selection; None for all entries.
        out: The file to write. It may be `model`; it is replaced once the new one is whole.
        freezing: Whether to freeze, or to unfreeze.

    Returns:
        What changed, as `frostline.freeze` returns it.
    """
    from frostline._public import freeze, unfreeze  # late: Keras, which fixes its backend

    loaded = _load(model)
    verb = freeze if freezing else unfreeze
    with warnings.catch_warnings():
        # In a program a warning, here a slip of the pen.
        warnings.simplefilter("error", EmptySelectionWarning)
        try:
            changes = verb(loaded, list(weights), where)
        except EmptySelectionWarning as warning:
            raise SelectionError(str(warning)) from None
    _save(loaded, out)
    return changes


def _load(path: Path) -> Any:
    import keras  # late: it fixes its backend

    try:
        return keras.saving.load_model(path)
    except FrostlineError:
        raise
    except Exception as error:  # whatever the classes in a file raise
        told = str(error).strip().split("\n")[0]
        raise FileError(
            f"{path}: Keras cannot load this model; got {type(error).__name__}: {told} "
            "A model with classes of your own is frozen in Python, where they are imported: "
            "`fl.freeze(model, ...)`."
        ) from None


def _save(model: Any, out: Path) -> None:
    with replacing(out) as unfinished:
        model.save(unfinished)
