"""PyTorch: layers are modules with parameter lists of their own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from frostline._backends.base import Backend


class TorchBackend(Backend):
    """A replaced parameter must leave every module's list.

    Otherwise a native optimizer made from `model.parameters()` is given weights that no forward
    pass reads, and `DistributedDataParallel` stops on an unused parameter.
    """

    def seed(self, number: int) -> None:
        super().seed(number)
        torch.manual_seed(number)

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        del variable
        return torch.no_grad()

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        for layer in layers:
            # Keras fills this list when a layer is built, and again only when it is asked.
            if "_torch_params" in layer._modules:
                layer._track_variables()
