"""What draws, where matplotlib is installed."""

from __future__ import annotations

from typing import Any

from frostline._errors import DependencyError


def drawing(asked: str) -> Any:
    """The module that draws, for who asked for it.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib.axes  # noqa: F401  # ours may be imported already, and this not be

        from frostline._plots import _page
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise DependencyError(
            f"{asked}: needs matplotlib, which is not installed; got no module named "
            f'{error.name!r}. Run: pip install "frostline[plot]"'
        ) from None
    return _page
