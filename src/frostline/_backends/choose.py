"""Choose the backend for the command, if the user has not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

_VARIABLE = "KERAS_BACKEND"
_TRAINING = ("tensorflow", "jax", "torch")


def restart_with(name: str) -> None:
    """Run this command on the backend `name`, unless KERAS_BACKEND is set.

    Keras fixes its backend at import. If Keras is imported already, another process is started.
    """
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
    """Run this command on an installed backend, preferably the one Keras is configured for."""
    installed = [name for name in (_configured(), *_TRAINING) if _is_installed(name)]
    if installed:
        restart_with(installed[0])


def _is_installed(name: str) -> bool:
    return name in _TRAINING and importlib.util.find_spec(name) is not None


def _configured() -> str:
    """The backend in Keras's configuration file, or an empty string."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        config = json.loads(Path(home, "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("backend", "")) if isinstance(config, dict) else ""
