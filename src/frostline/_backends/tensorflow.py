"""TensorFlow: resource handles, distribution strategies, SavedModel."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from frostline._backends.base import Backend
from frostline._errors import UnsupportedError


class _View:
    """A view has no storage of its own, so nothing that TensorFlow does to a resource applies."""

    path: str
    _frostline: Any

    @property
    def handle(self) -> Any:
        raise UnsupportedError(
            f"{self.path}: a part of this weight is frozen, so it is no tf.Variable that a "
            "GradientTape can watch or differentiate. Take the gradient with respect to "
            "`model.trainable_variables`, which holds its trainable part."
        )

    # SavedModel and Checkpoint: the state is in the parts, and the view is how they are reached.
    def _trackable_children(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        del args, kwargs
        return {"trainable": self._frostline.trainable, "frozen": self._frostline.frozen}

    def _serialize_to_tensors(self) -> dict[str, Any]:
        return {}

    def _restore_from_tensors(self, restored_tensors: dict[str, Any]) -> None:
        del restored_tensors

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        return {}

    def _copy_trackable_to_cpu(self, object_map: dict[Any, Any]) -> None:
        object_map[self] = self

    def _export_to_saved_model_graph(
        self, object_map: Any, tensor_map: Any, options: Any, **kwargs: Any
    ) -> list[Any]:
        del tensor_map, options, kwargs
        object_map[self] = self
        return []

    def _write_object_proto(self, proto: Any, options: Any) -> None:
        del options
        proto.user_object.identifier = "_generic_user_object"


class TensorFlowBackend(Backend):
    """Variables that replace a mirrored one must be mirrored too."""

    view_mixin = _View

    def seed(self, number: int) -> None:
        super().seed(number)
        tf.random.set_seed(number)

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        strategy = getattr(variable.value, "distribute_strategy", None)
        if strategy is None or strategy is tf.distribute.get_strategy():
            return contextlib.nullcontext()
        return strategy.scope()
