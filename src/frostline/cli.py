"""The `frostline` command: how a process is known to be it, and how it starts.

`import frostline` takes this module in before all others, so it imports Python's own alone.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

# Top-level modules that come with an extra: their packages, and the extra.
EXTRAS = {
    "matplotlib": ("matplotlib", "demo"),
    "sklearn": ("scikit-learn", "demo"),
    "threadpoolctl": ("threadpoolctl", "demo"),  # scikit-learn needs it
    "typer": ("typer", "cli"),
}


# The subcommands in the order of `--help`, each with the module in `_cli` that adds it.
COMMANDS = {
    "inspect": "inspect",
    "diff": "diff",
    "report": "report",
    "verify": "verify",
    "freeze": "rewrite",
    "unfreeze": "rewrite",
    "demo": "tour",
    "delta": "delta",
}


QUICK = {"inspect", "diff", "report", "verify"}
"""Those that begin by reading files."""


def is_command(argv: Sequence[str], started_with: Sequence[str]) -> bool:
    """Whether a process is the command: by its script, or by `python -m frostline`.

    Args:
        argv: `sys.argv`. While Python looks for the module of `-m`, its first entry is `-m`.
        started_with: `sys.orig_argv`.

    >>> is_command(["/usr/bin/frostline", "inspect"], ["python", "/usr/bin/frostline", "inspect"])
    True
    >>> is_command(["-m", "frostline"], ["python", "-m", "pytest", "frostline"])
    False
    """
    first = argv[0] if argv else ""
    if first == "-m":
        place = list(started_with).index("-m") if "-m" in started_with else len(started_with)
        return list(started_with[place + 1 : place + 2]) == ["frostline"]
    return os.path.basename(first) in ("frostline", "frostline.exe")


def main() -> None:
    """Run the command line; a missing extra is one line on the standard error."""
    for stream in (sys.stdout, sys.stderr):
        # A layer's name may hold what the terminal has no sign for.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        package, extra = EXTRAS[module]
        sys.exit(
            f"frostline: this command needs {package}, which is not installed. "
            f'Run: pip install "frostline[{extra}]"'
        )


def app() -> Any:
    """The command as a typer application, with those subcommands that this process may need.

    Each subcommand is a module of its own, imported when it is asked for: typer is an extra, and
    `frostline --version` does not wait for what `frostline diff` draws with.
    """
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if asked in QUICK:
        importlib.import_module("frostline._cli.ahead").start(sys.argv[1:])  # late: costs time
    modules = [COMMANDS[asked]] if asked in COMMANDS else dict.fromkeys(COMMANDS.values())
    for module in modules if sys.argv[1:] != ["--version"] else ():
        importlib.import_module(f"frostline._cli.{module}")  # late: typer is an extra
    from frostline._cli.application import application  # late: typer is an extra

    return application
