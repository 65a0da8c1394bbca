"""The few things that differ between backends, each behind one function of `base.Backend`."""

from __future__ import annotations

import os
import subprocess
import sys

import keras

from frostline._backends.base import Backend


def restart_with(name: str) -> None:
    """Run this command again on the backend `name`, unless one was chosen by KERAS_BACKEND.

    Keras fixes its backend at import, which is before any line of a command runs.
    """
    if "KERAS_BACKEND" in os.environ or keras.backend.backend() == name:
        return
    command = [sys.executable, "-m", "frostline", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env={**os.environ, "KERAS_BACKEND": name}).returncode)


def _load() -> Backend:
    name = keras.backend.backend()
    if name == "tensorflow":
        from frostline._backends.tensorflow import TensorFlowBackend

        return TensorFlowBackend()
    if name == "torch":
        from frostline._backends.torch import TorchBackend

        return TorchBackend()
    if name == "jax":
        from frostline._backends.jax import JaxBackend

        return JaxBackend()
    # Keras's NumPy and OpenVINO backends do not train; everything else works through `keras.ops`.
    return Backend()


backend = _load()
