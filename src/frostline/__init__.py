"""Freeze any part of a Keras weight, in place and exactly."""

import sys as _sys
import typing as _typing

from frostline._version import __version__ as __version__
from frostline.cli import is_command as _is_command

if _typing.TYPE_CHECKING or not _is_command(_sys.argv, _sys.orig_argv):
    from frostline._public import *  # noqa: F403  # its `__all__` lists the names
    from frostline._public import __all__ as __all__
else:
    # The command starts without Keras, whose import takes seconds. A user's script may also be
    # called `frostline`; it still gets all public names.
    def __getattr__(name: str) -> _typing.Any:
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import frostline._public as public  # late, because it imports Keras

        return getattr(public, name)
