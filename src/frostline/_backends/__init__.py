"""The few things that differ between backends, each behind one function of `base.Backend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Late, all of it: the command starts without Keras, and chooses its backend before it comes.
if TYPE_CHECKING:
    from frostline._backends.base import Backend

    backend: Backend


def _load() -> Backend:
    import keras

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
    from frostline._backends.base import Backend

    # Keras's NumPy and OpenVINO backends do not train; everything else works through `keras.ops`.
    return Backend()


if not TYPE_CHECKING:  # a type checker would believe any name

    def __getattr__(name: str) -> Any:
        if name == "backend":
            globals()["backend"] = _load()
            return globals()["backend"]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
