"""How the `frostline` command starts: without Keras, whose import takes seconds.

Python imports a package before any module in it, so the command's own process is told here from
all others, where `import frostline` imports Keras at once, as loading a file with a freeze needs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

_asked_for = False


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


def with_keras() -> bool:
    """Whether `import frostline` brings in the whole library, and Keras with it."""
    return _asked_for or not _quick


def whole_library() -> None:
    """Bring in what a quick start left out."""
    global _asked_for
    if not with_keras():
        _asked_for = True
        importlib.reload(sys.modules["frostline"])


# Told once, at the first import: the arguments of `python -m frostline` are other ones afterwards.
_quick = is_command(sys.argv, sys.orig_argv)
