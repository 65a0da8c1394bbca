"""The commands of `frostline`, as a typer application: what is asked, and what is answered."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from frostline._backends.choose import restart_with, restart_with_any
from frostline._cli import answers, delta_commands
from frostline._cli.options import Force, Json, Quiet, errors_to_stderr
from frostline._cli.rewrite import refuse_files, rewrite
from frostline._console import meter
from frostline._deltas.load import read
from frostline._errors import FileError, PathError, SelectionError
from frostline._files import open_file
from frostline._files.check import check
from frostline._files.compare import compare
from frostline._selections.text import parse_selection
from frostline._version import __version__

application = typer.Typer(
    name="frostline",
    help="Freeze any part of a Keras weight, in place and exactly; look into model files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
application.add_typer(delta_commands.application)

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .keras, .weights.h5 or .safetensors file.")
]
Changed = Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras file.")]
Where = Annotated[
    str | None,
    typer.Option(help="The entries, as 'at[0, :]', '~zeros', 'units([0, 1]) | at[:, -1]'."),
]
Picture = Annotated[Path, typer.Option(help="Where the picture goes, a PNG.", dir_okay=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="The .keras file to write.")]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"frostline {__version__}")
        raise typer.Exit()


@application.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Nothing: the option is answered before."""
    del version


@application.command()
@errors_to_stderr
def inspect(model: Model, json: Json = False, quiet: Quiet = False) -> None:
    """List the weights of a model file, and what is frozen of each.

    Reads no weight and needs no backend. A .weights.h5 or .safetensors file holds no freeze.

    Exit status: 0, and 2 for a file that cannot be read.
    """
    with open_file(model) as opened:
        answers.inspected(opened, as_json=json, quiet=quiet)


@application.command()
@errors_to_stderr
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A model file.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another of the same model.")],
    frozen: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The .keras file that says what is frozen; by default BEFORE and AFTER.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page with a map of each weight."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the maps, which needs matplotlib."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what differs between two files, and whether anything frozen does.

    Compares bits: signed zeros and the payloads of NaNs count. Needs no backend, and little
    memory however large the files are.

    Exit status: 0 if no frozen entry differs, 1 if one does, 2 for files that cannot be read or
    are of different architectures.
    """
    from frostline._cli.pictures import Pictures  # late: no other command waits for it

    with ExitStack() as stack:
        one, other = (stack.enter_context(open_file(path)) for path in (before, after))
        freeze = None if frozen is None else stack.enter_context(open_file(frozen))
        total = 2 * sum(weight.size * weight.dtype.itemsize for weight in other.weights)
        pictures = Pictures(one, other, html, png)
        with meter("comparing", total, quiet=quiet) as advance:
            compared = compare(one, other, freeze, advance, pictures.watch)
        written = pictures.write(compared)
    answers.compared(compared, before, after, written, as_json=json, quiet=quiet)
    raise typer.Exit(1 if compared.first is not None else 0)


@application.command()
@errors_to_stderr
def verify(model: Model, json: Json = False, quiet: Quiet = False) -> None:
    """Check that a model file is whole.

    All of it can be read, its config is one, and its freeze fits its weights.

    Exit status: 0 if it is whole, 1 if something is wrong with it, 2 if there is no such file.
    """
    if not model.is_file():
        raise FileError(f"{model}: no such file; got nothing to verify. Check its name.")
    with meter("reading", model.stat().st_size, quiet=quiet) as advance:
        verification = check(model, read, advance)
    answers.verified(verification, model, as_json=json, quiet=quiet)
    raise typer.Exit(1 if verification.faults else 0)


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
) -> None:
    """Freeze weights, or entries of them, in a .keras file.

    Freezes the whole weights, or what --where selects.

    Exit status: 0, and 2 for whatever cannot be done; then nothing is written.
    """
    _rewrite(model, weights, where, out, freezing=True, force=force)


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
) -> None:
    """Give frozen entries in a .keras file back to training.

    Gives back all, or what --where selects.

    Exit status: 0, and 2 for whatever cannot be done; then nothing is written.
    """
    _rewrite(model, weights or ["*"], where, out, freezing=False, force=force)


@application.command()
def demo(
    out: Picture = Path("frostline-demo.png"),
    epochs: Annotated[int, typer.Option(help="Passes over the new digits.", min=1)] = 40,
) -> None:
    """Teach a network new digits around its frozen old weights.

    Shows it beside plain fine-tuning. Runs on JAX unless the environment names another backend
    of Keras.
    """
    if not out.parent.is_dir():
        raise typer.BadParameter(f"no such folder: {out.parent}", param_hint="--out")
    restart_with("jax")
    from frostline._cli.demo import run  # late: Keras, whose backend is named now, and an extra

    run(out, epochs)


def _rewrite(
    model: Path, weights: list[str], where: str | None, out: Path, *, freezing: bool, force: bool
) -> None:
    from frostline._selections.text import parse_selection  # late: no other command waits for it

    refuse_files(model, out, force=force)
    restart_with_any()
    selection = None if where is None else parse_selection(where)
    try:
        changes = rewrite(model, weights, selection, out, freezing=freezing)
    except (PathError, SelectionError) as error:
        raise type(error)(f"{error} Nothing was written.") from None
    print(changes)
    print(f"written to {out}")
