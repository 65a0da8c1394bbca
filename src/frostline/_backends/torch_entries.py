"""Access single entries in the storage of a PyTorch variable."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from frostline import _keras


def along(
    variable: Any, positions: np.ndarray, axis: int | None
) -> tuple[torch.Tensor, np.ndarray, int]:
    """The storage of a variable with its entries along one axis, and the positions along it."""
    # A detached tensor has the same version counter: if a graph has read the variable, its backward
    # pass reports a write. An index along one axis takes a tenth of the time of one for each axis.
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
    """Positions as an index tensor on the device of `beside`."""
    return torch.from_numpy(np.array(positions, np.int64)).to(beside.device)
