"""A PyTorch parameter that does not train, whatever a loop sets on it."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx.experimental import proxy_tensor

from frostline._errors import warn


class FrozenParameter(torch.nn.Parameter):
    """A parameter whose `requires_grad` stays False.

    Many loops call `requires_grad_(True)` on every parameter. `lock` changes the class of a
    parameter and not the object, which modules and optimizers hold. Operations on it give ordinary
    tensors. PyTorch pickles it as an ordinary parameter, so files open without this library.
    """

    _frostline_path: str | None = None
    """The weight, for the warning. None once it was given: some loops set the flag each step."""

    def __new__(cls, data: Any = None, requires_grad: bool = False) -> FrozenParameter:
        del requires_grad
        return super().__new__(cls, data, False)

    def _refuse(self, value: bool) -> None:
        path = self._frostline_path
        if value and path is not None:
            self._frostline_path = None
            warn(
                f"{path}: what is frozen of this weight does not train; got requires_grad={value}. "
                "It stays frozen. Call `fl.unfreeze` to train it."
            )

    # Read by PyTorch's own function, without a step of Python.
    requires_grad = property(torch.Tensor.requires_grad.__get__, _refuse)  # type: ignore[assignment]

    def requires_grad_(self, requires_grad: bool = True) -> Any:  # type: ignore[override]
        self._refuse(requires_grad)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied: Any = super().__deepcopy__(memo)
        copied._frostline_path = self._frostline_path
        return copied


# `torch.export` refuses a parameter of a class that is not listed here, though one without a
# `__torch_dispatch__` of its own is an ordinary one to it, as it is to `FakeTensorMode`. There is
# no public list; see `test_exporters_of_pytorch_take_every_kind_of_freeze`.
proxy_tensor.HANDLED_TYPES = (*getattr(proxy_tensor, "HANDLED_TYPES", ()), FrozenParameter)


def lock(parameter: Any, path: str) -> None:
    """Make a parameter that does not train one that can't be made to."""
    # The class of another library stays: it has methods of its own.
    if type(parameter) in (torch.nn.Parameter, FrozenParameter):
        parameter.__class__ = FrozenParameter
        parameter._frostline_path = path


def unlock(parameter: Any) -> None:
    """Make it an ordinary parameter again, which does not train until it is told to."""
    if isinstance(parameter, FrozenParameter):
        vars(parameter).pop("_frostline_path", None)
        parameter.__class__ = torch.nn.Parameter  # type: ignore[assignment]
