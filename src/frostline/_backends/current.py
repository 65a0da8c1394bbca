"""The backend that Keras runs on."""

from __future__ import annotations

import keras

from frostline._backends.base import Backend


def _load() -> Backend:
    name = keras.backend.backend()
    if name == "tensorflow":
        from frostline._backends.tensorflow import TensorFlowBackend  # imports TensorFlow

        return TensorFlowBackend()
    if name == "torch":
        from frostline._backends.torch import TorchBackend  # imports PyTorch

        return TorchBackend()
    if name == "jax":
        from frostline._backends.jax import JaxBackend  # imports JAX

        return JaxBackend()
    # Keras's NumPy and OpenVINO backends cannot train; the rest works through `keras.ops`.
    return Backend()


backend = _load()
