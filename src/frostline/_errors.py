"""The exceptions and warnings of the package.

Each exception derives from `FrostlineError` and from the builtin that fits, so that
`except ValueError` and `except FrostlineError` both work. A message reads
`<path of the weight>: <rule broken>; got <name>=<value> (shape ..., dtype ...). <What to do>.`
"""

import contextlib
import re
import sys
import warnings
from pathlib import Path

_OURS = (str(Path(__file__).parent), contextlib.__file__)


# Control characters, what turns the direction of text, ends of lines, and halves of characters.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Text that others wrote, for a terminal or a page: what cannot be seen shows its number.

    >>> visible("a" + chr(27) + "[2J" + chr(0x202E))
    'a\\x1b[2J\\u202e'
    """
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1].replace("\\n", "\\x0a"), text)


class FrostlineError(Exception):
    """Base class of every error that frostline raises."""

    def __str__(self) -> str:
        return visible(super().__str__())


class SelectionError(FrostlineError, ValueError):
    """A selection is malformed, or does not fit the weight it is asked about."""

    def __str__(self) -> str:
        # It shows the place in the text that was typed, in lines of their own.
        return "\n".join(map(visible, str(self.args[0] if self.args else "").split("\n")))


class PathError(FrostlineError, LookupError):
    """A path matches no weight of the model, or more than it may."""

    # `LookupError` rather than `KeyError`: a `KeyError` prints its message as a quoted string.


class NotBuiltError(FrostlineError, ValueError):
    """A layer or a model has no weights yet, because it was not built."""


class TargetError(FrostlineError, TypeError):
    """The object given is not of the kind asked for: a layer, a model, a variable, ..."""


class UnsupportedError(FrostlineError, TypeError):
    """The layer, the variable or the backend does not allow what was asked."""


class RestoreError(FrostlineError, ValueError):
    """A saved freeze, a delta, a snapshot or a model does not fit the model it is written into."""


class ScheduleError(FrostlineError, ValueError):
    """A schedule or an audit can not do what it is asked for."""


class ScoreError(FrostlineError, ValueError):
    """There is nothing to score by, or a score is not a number."""


class AuditError(FrostlineError, RuntimeError):
    """A frozen entry of a weight is not what it was."""


class ProcessError(FrostlineError, RuntimeError):
    """Several processes hold a weight together, and not all of them ask for it."""


class PlotError(FrostlineError, ValueError):
    """What is to be drawn does not fit together."""


class SummaryError(FrostlineError, ValueError):
    """A summary can not be shown as asked."""


class ReportError(FrostlineError, OSError):
    """A report can not be written to where it is asked for."""


class DependencyError(FrostlineError, ImportError):
    """A package that frostline does not bring by itself is not installed."""


class FileError(FrostlineError, ValueError):
    """A file is not what it should be: damaged, of another format, or of another model."""


class EmptySelectionWarning(UserWarning):
    """A selection holds no entry of the weights that it was given for."""


class RestoreWarning(UserWarning):
    """A saved model comes back without the state of its optimizer."""


def warn(message: str, kind: type[Warning] = UserWarning) -> None:
    """Warn of a line of the user's, whichever function of the package it is that notices."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, kind, stacklevel=level)
