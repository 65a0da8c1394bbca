"""Choose the backend for the command, if the user has not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from frostline._errors import DependencyError

_VARIABLE = "KERAS_BACKEND"
_TRAINING = ("tensorflow", "jax", "torch")
_OTHERS = ("numpy", "openvino")  # they load and save models, and cannot train


def restart_with(name: str) -> None:
    """Run this command on the backend `name`, unless KERAS_BACKEND is set.

    Keras fixes its backend at import. If Keras is imported already, another process is started.

    Raises:
        DependencyError: KERAS_BACKEND names no installed backend.
    """
    named = os.environ.get(_VARIABLE)
    if named and not _is_installed(named, (*_TRAINING, *_OTHERS)):
        raise DependencyError(
            f"{_VARIABLE}: no installed backend of Keras has this name; got {_VARIABLE}={named!r}. "
            f"Install it, or set {_VARIABLE} to one of {', '.join(_TRAINING)}."
        )
    if _VARIABLE in os.environ:
        return
    if "keras" not in sys.modules:
        os.environ[_VARIABLE] = name
        return
    import keras

    if keras.backend.backend() == name:
        return
    command = [sys.executable, "-m", "frostline", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env={**os.environ, _VARIABLE: name}).returncode)


def restart_with_any() -> None:
    """Run this command on an installed backend, preferably the one Keras is configured for.

    Raises:
        DependencyError: None is installed, or KERAS_BACKEND names one that is not.
    """
    installed = [name for name in (_configured(), *_TRAINING) if _is_installed(name)]
    if not installed and not os.environ.get(_VARIABLE):
        raise DependencyError(
            f"keras: no backend is installed; got none of {', '.join(_TRAINING)}. "
            'Run: pip install "frostline[jax]"'
        )
    restart_with(installed[0] if installed else os.environ[_VARIABLE])


def _is_installed(name: str, known: Sequence[str] = _TRAINING) -> bool:
    return name in known and importlib.util.find_spec(name) is not None


def _configured() -> str:
    """The backend in Keras's configuration file, or an empty string."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        config = json.loads(Path(home, "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("backend", "")) if isinstance(config, dict) else ""
