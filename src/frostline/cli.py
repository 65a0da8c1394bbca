"""The `frostline` command: its start, and how a process knows that it is the command.

`import frostline` imports this module first, so it imports only the standard library.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

# Top-level modules that an extra installs: the package of each, and the extra.
EXTRAS = {
    "matplotlib": ("matplotlib", "demo"),
    "sklearn": ("scikit-learn", "demo"),
    "threadpoolctl": ("threadpoolctl", "demo"),  # scikit-learn needs it
    "typer": ("typer", "cli"),
}


# The subcommands in the order of `--help`, each with its module in `_cli`.
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
"""The subcommands that read files first."""


def is_command(argv: Sequence[str], started_with: Sequence[str]) -> bool:
    """Whether a process is the command, run as a script or as `python -m frostline`.

    Args:
        argv: `sys.argv`. Its first entry is `-m` while Python looks for the module.
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
    """Run the command. If an extra is missing: one line on the standard error, exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        # A layer's name may have characters that the terminal cannot print.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        package, extra = EXTRAS[module]
        print(
            f"frostline: this command needs {package}, which is not installed. "
            f'Run: pip install "frostline[{extra}]"',
            file=sys.stderr,
        )
        sys.exit(2)  # 1 would be an answer of `diff`, `report` and `verify`


def app() -> Any:
    """The command as a typer application, with the subcommands that this process may need.

    Each subcommand is a module of its own, which is imported only when it is asked for: typer is an
    extra, and `frostline --version` need not wait for what `frostline diff` imports.
    """
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if asked in QUICK:
        importlib.import_module("frostline._cli.ahead").start(sys.argv[1:])  # late: costs time
    modules = [COMMANDS[asked]] if asked in COMMANDS else dict.fromkeys(COMMANDS.values())
    for module in modules if sys.argv[1:] != ["--version"] else ():
        importlib.import_module(f"frostline._cli.{module}")  # late: typer is an extra
    from frostline._cli.application import application  # late: typer is an extra

    return application
