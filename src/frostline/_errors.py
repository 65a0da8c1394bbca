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


# Control characters, direction marks, line separators and lone surrogates.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Escape invisible characters in text that others wrote, for a terminal or a page.

    >>> visible("a" + chr(27) + "[2J" + chr(0x202E))
    'a\\x1b[2J\\u202e'
    """
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1].replace("\\n", "\\x0a"), text)


class FrostlineError(Exception):
    """Base class of every error that frostline raises."""

    def __str__(self) -> str:
        return visible(super().__str__())


class SelectionError(FrostlineError, ValueError):
    """A selection is malformed, or does not fit the weight."""

    def __str__(self) -> str:
        # The message may have several lines: it marks a place in the text of the selection.
        return "\n".join(map(visible, str(self.args[0] if self.args else "").split("\n")))


class PathError(FrostlineError, LookupError):
    """A path matches no weight of the model, or several where only one is allowed."""

    # `LookupError` rather than `KeyError`: a `KeyError` prints its message as a quoted string.


class NotBuiltError(FrostlineError, ValueError):
    """A layer or model has no weights yet, because it is not built."""


class TargetError(FrostlineError, TypeError):
    """An argument has the wrong type: it is not a layer, a model, a variable, ..."""


class UnsupportedError(FrostlineError, TypeError):
    """The layer, the variable or the backend does not support this operation."""


class RestoreError(FrostlineError, ValueError):
    """A saved freeze, a delta, a snapshot or a model does not fit the model it is written into."""


class ScheduleError(FrostlineError, ValueError):
    """The arguments of a schedule or an audit are invalid, or do not fit the model."""


class ScoreError(FrostlineError, ValueError):
    """Scores cannot be computed, or a score is NaN."""


class AuditError(FrostlineError, RuntimeError):
    """A frozen entry of a weight has changed."""


class ProcessError(FrostlineError, RuntimeError):
    """A weight is spread over several processes, and not all of them make this call."""


class PlotError(FrostlineError, ValueError):
    """The arguments of a plot are invalid, or do not fit together."""


class SummaryError(FrostlineError, ValueError):
    """A summary cannot be shown in the form asked for."""


class ReportError(FrostlineError, OSError):
    """A report cannot be written to the path given."""


class DependencyError(FrostlineError, ImportError):
    """An optional package that this call needs is not installed."""


class FileError(FrostlineError, ValueError):
    """A file is damaged, has another format, or belongs to another model."""


class EmptySelectionWarning(UserWarning):
    """A selection contains no entry of the weights that it was given for."""


class RestoreWarning(UserWarning):
    """A saved model is loaded without the state of its optimizer."""


def warn(message: str, kind: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the user's line, from any depth inside the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, kind, stacklevel=level)
