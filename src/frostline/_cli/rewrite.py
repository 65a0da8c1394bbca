"""`frostline freeze` and `unfreeze`: load a `.keras` file, change it, write it to another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from frostline._backends.choose import restart_with_any
from frostline._cli.application import application
from frostline._cli.kept import NOT_RESTORED, Kept, held_by, state_left_out
from frostline._cli.options import Force, errors_to_stderr
from frostline._console import show
from frostline._errors import (
    EmptySelectionWarning,
    FileError,
    FrostlineError,
    PathError,
    SelectionError,
)
from frostline._files import open_file
from frostline._files.boundary import reading
from frostline._files.check import read_all
from frostline._files.sources import Bytes
from frostline._selections.text import parse_selection
from frostline._writing import check_target, replacing

_OWN = (
    "A model with classes of your own is frozen in Python, where they are imported: "
    "`fl.freeze(model, ...)`."
)

Changed = Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras file.")]
Where = Annotated[
    str | None,
    typer.Option(help="The entries, as 'at[0, :]', '~zeros', 'units([0, 1]) | at[:, -1]'."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The .keras file to write.")]
Drop = Annotated[
    bool,
    typer.Option("--drop-optimizer", help="Leave the state of the optimizer out of OUT."),
]


@application.command()
@errors_to_stderr
def freeze(
    model: Changed,
    weights: Annotated[
        list[str], typer.Option(help="A glob on the path of a weight; may be given again.")
    ],
    out: Out,
    where: Where = None,
    force: Force = False,
    drop_optimizer: Drop = False,
) -> None:
    """Freeze weights, or entries of them, in a .keras file.

    Freezes the whole weights, or what --where selects. OUT keeps the state of the optimizer; where
    that is not possible it is an error, unless there is --drop-optimizer.

    Exit status: 0, and 2 for whatever cannot be done; then nothing is written.
    """
    _rewrite(model, weights, where, out, freezing=True, force=force, dropping=drop_optimizer)


@application.command()
@errors_to_stderr
def unfreeze(
    model: Changed,
    out: Out,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="A glob on the path of a weight; may be given again. All by default."),
    ] = None,
    where: Where = None,
    force: Force = False,
    drop_optimizer: Drop = False,
) -> None:
    """Give frozen entries in a .keras file back to training.

    Gives back all, or what --where selects. OUT keeps the state of the optimizer; where that is not
    possible it is an error, unless there is --drop-optimizer.

    Exit status: 0, and 2 for whatever cannot be done; then nothing is written.
    """
    weights = weights or ["*"]
    _rewrite(model, weights, where, out, freezing=False, force=force, dropping=drop_optimizer)


def _rewrite(
    model: Path,
    weights: list[str],
    where: str | None,
    out: Path,
    *,
    freezing: bool,
    force: bool,
    dropping: bool,
) -> None:
    refuse_files(model, out, force=force)
    restart_with_any()
    selection = None if where is None else parse_selection(where)
    try:
        changes = rewrite(
            model, weights, selection, out, freezing=freezing, drop_optimizer=dropping
        )
    except (PathError, SelectionError) as error:
        raise type(error)(f"{error} Nothing was written.") from None
    print(changes)
    show(f"written to {out}")


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
    with open_file(model) as opened:
        # What HDF5 has to unpack could crash this process: it is read in another one before.
        read_all([weight for weight in opened.weights if not isinstance(weight.source, Bytes)])


def rewrite(
    model: Path,
    weights: Sequence[str],
    where: Any,
    out: Path,
    *,
    freezing: bool,
    drop_optimizer: bool = False,
) -> Any:
    """Change what is frozen in the model of a file, and write it to another.

    Args:
        model: The `.keras` file to read.
        weights: Globs on the paths of its weights.
        where: The selection; None for all entries.
        out: The file to write. It may be `model`; it is replaced once the new one is whole.
        freezing: Whether to freeze, or to unfreeze.
        drop_optimizer: Whether the optimizer starts anew, and may be another one.

    Returns:
        What changed, as `frostline.freeze` returns it.

    Raises:
        FileError: The state of the optimizer can not be kept.
    """
    from frostline._public import freeze, unfreeze  # brings in Keras, which fixes its backend

    with state_left_out() if drop_optimizer else nullcontext():
        loaded = _load(model)
    verb = freeze if freezing else unfreeze
    with reading(model, "its model cannot be changed", _OWN), warnings.catch_warnings():
        kept = None if drop_optimizer else Kept(model, loaded)
        # In a program a warning, here a slip of the pen.
        warnings.simplefilter("error", EmptySelectionWarning)
        try:
            changes = verb(loaded, list(weights), where)
        except EmptySelectionWarning as warning:
            raise SelectionError(str(warning)) from None
        if kept is not None:
            kept.check()
    _save(loaded, out)
    return changes


def _load(path: Path) -> Any:
    import keras  # late: it fixes its backend

    with (
        open_file(path) as opened,
        reading(path, "Keras cannot load this model", _OWN),
        held_by(opened),
        warnings.catch_warnings(),
    ):
        # What they tell of is an error here, see `Kept`.
        for told in NOT_RESTORED:
            warnings.filterwarnings("ignore", told, UserWarning)
        return keras.saving.load_model(path)


def _save(model: Any, out: Path) -> None:
    with replacing(out) as unfinished:
        try:
            model.save(unfinished)
        except (OSError, FrostlineError):
            raise
        except Exception as error:  # whatever the classes in a file raise
            raise FileError(
                f"{out}: Keras cannot save this model; got {type(error).__name__}: {error}. {_OWN}"
            ) from None
