"""`frostline freeze` and `unfreeze`: load a `.keras` file, change its freeze, write another."""

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
    "If the model has classes of your own, import them in Python and call "
    "`fl.freeze(model, ...)` there."
)

Changed = Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras file.")]
Where = Annotated[
    str | None,
    typer.Option(help="Which entries: 'at[0, :]', '~zeros', 'units([0, 1]) | at[:, -1]'."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The .keras file to write.")]
Drop = Annotated[
    bool,
    typer.Option("--drop-optimizer", help="Write OUT without the state of the optimizer."),
]


@application.command()
@errors_to_stderr
def freeze(
    model: Changed,
    weights: Annotated[
        list[str], typer.Option(help="A glob on the path of a weight; can be repeated.")
    ],
    out: Out,
    where: Where = None,
    force: Force = False,
    drop_optimizer: Drop = False,
) -> None:
    """Freeze weights, or entries of them, in a .keras file.

    Freezes whole weights, or the entries that --where selects. OUT keeps the state of the
    optimizer. If that is not possible, the command fails unless you add --drop-optimizer.

    Exit status: 0, or 2 on any error; then nothing is written.
    """
    _rewrite(model, weights, where, out, freezing=True, force=force, dropping=drop_optimizer)


@application.command()
@errors_to_stderr
def unfreeze(
    model: Changed,
    out: Out,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="A glob on the path of a weight; can be repeated. All by default."),
    ] = None,
    where: Where = None,
    force: Force = False,
    drop_optimizer: Drop = False,
) -> None:
    """Unfreeze weights, or entries of them, in a .keras file.

    Unfreezes whole weights, or the entries that --where selects. OUT keeps the state of the
    optimizer. If that is not possible, the command fails unless you add --drop-optimizer.

    Exit status: 0, or 2 on any error; then nothing is written.
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
    """Raise an error if `out` cannot be written or `model` cannot be read, before loading it.

    Raises:
        FileError: `out` exists and `force` is False, it is not a `.keras` file, or its folder is
            missing; or `model` is not an intact `.keras` file.
    """
    for path in (model, out):
        if path.suffix != ".keras":
            raise FileError(
                f"{path}: only .keras files hold a model with its freeze; got "
                f"suffix={path.suffix!r}. Save the model with `model.save('name.keras')`."
            )
    check_target(out, force=force)
    with open_file(model) as opened:
        # A damaged HDF5 file could crash this process, so another process reads it first.
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
    """Change what is frozen in the model of a file, and write the model to another file.

    Args:
        model: The `.keras` file to read.
        weights: Globs on the paths of its weights.
        where: The selection; None for all entries.
        out: The file to write, which may be `model`. It is replaced once the new one is complete.
        freezing: Whether to freeze, or to unfreeze.
        drop_optimizer: Whether to leave out the state of the optimizer.

    Returns:
        The changes, as `frostline.freeze` returns them.

    Raises:
        FileError: The state of the optimizer cannot be kept.
    """
    from frostline._public import freeze, unfreeze  # imports Keras, which fixes its backend

    with state_left_out() if drop_optimizer else nullcontext():
        loaded = _load(model)
    verb = freeze if freezing else unfreeze
    with reading(model, "its model cannot be changed", _OWN), warnings.catch_warnings():
        kept = None if drop_optimizer else Kept(model, loaded)
        # In a program this is a warning. On the command line it is most likely a mistake.
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
        # `Kept` raises an error for what these warnings say.
        for beginning in NOT_RESTORED:
            warnings.filterwarnings("ignore", beginning, UserWarning)
        return keras.saving.load_model(path)


def _save(model: Any, out: Path) -> None:
    with replacing(out) as unfinished:
        try:
            model.save(unfinished)
        except (OSError, FrostlineError):
            raise
        except Exception as error:  # the classes in a file may raise anything
            # Keras writes some errors over several lines.
            told = " ".join(str(error).split()).removesuffix(".")
            raise FileError(
                f"{out}: Keras cannot save this model; got {type(error).__name__}: {told}. {_OWN}"
            ) from None
