"""The storage of a PyTorch variable as something to read and write single entries of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from frostline import _keras


def along(
    variable: Any, positions: np.ndarray, axis: int | None
) -> tuple[torch.Tensor, np.ndarray, int]:
    """The storage of a variable with its entries along one axis, and positions along that."""
    # Detached, it is of the same version: the backward pass of a graph that has read it tells of a
    # write. Along one axis it takes a tenth of the time that an index for each axis does.
    tensor = _keras.storage(variable).detach()
    if axis is not None:
        return tensor, positions, axis
    if not tensor.is_contiguous():
        order = sorted(range(tensor.ndim), key=lambda one: -tensor.stride(one))
        at = np.unravel_index(positions, tensor.shape)
        tensor = tensor.permute(order)
        positions = np.ravel_multi_index([at[one] for one in order], tuple(tensor.shape))
    return tensor.view(-1), positions, 0


def index_of(positions: np.ndarray, beside: torch.Tensor) -> torch.Tensor:
    """Positions as an index of a tensor, on its device."""
    return torch.from_numpy(np.array(positions, np.int64)).to(beside.device)
