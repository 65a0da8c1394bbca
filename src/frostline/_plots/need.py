"""What draws, where matplotlib is installed."""

from __future__ import annotations

import importlib
from typing import Any

from frostline._errors import DependencyError


def drawing(asked: str) -> Any:
    """The module that draws, for who asked for it.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib.axes")
        from frostline._plots import page  # it draws with matplotlib, an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise DependencyError(
            f"{asked}: needs matplotlib, which is not installed; got no module named "
            f'{error.name!r}. Run: pip install "frostline[plot]"'
        ) from None
    return page
