"""The backend that Keras runs on."""

from __future__ import annotations

import keras

from frostline._backends.base import Backend


def _load() -> Backend:
    name = keras.backend.backend()
    if name == "tensorflow":
        from frostline._backends.tensorflow import TensorFlowBackend  # brings in TensorFlow

        return TensorFlowBackend()
    if name == "torch":
        from frostline._backends.torch import TorchBackend  # brings in PyTorch

        return TorchBackend()
    if name == "jax":
        from frostline._backends.jax import JaxBackend  # brings in JAX

        return JaxBackend()
    # Keras's NumPy and OpenVINO backends do not train; everything else works through `keras.ops`.
    return Backend()


backend = _load()
