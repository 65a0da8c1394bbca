"""PyTorch parameters: one that never trains, and the lists of them that Keras layers keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx.experimental import proxy_tensor

from frostline._errors import warn


class FrozenParameter(torch.nn.Parameter):
    """A parameter whose `requires_grad` stays False.

    Many loops call `requires_grad_(True)` on every parameter. `lock` changes the class of a
    parameter, not the object, because modules and optimizers hold it. Operations on it return
    ordinary tensors. PyTorch pickles it as an ordinary parameter, so files open without this
    library.
    """

    _frostline_path: str | None = None
    """The path of the weight, for the warning. None after the first: loops may set it each step."""

    def __new__(cls, data: Any = None, requires_grad: bool = False) -> FrozenParameter:
        del requires_grad
        return super().__new__(cls, data, False)

    def _refuse(self, value: bool) -> None:
        path = self._frostline_path
        if value and path is not None:
            self._frostline_path = None
            warn(
                f"{path}: frozen entries of this weight do not train; got requires_grad={value}. "
                "They stay frozen. Call `fl.unfreeze` to train them."
            )

    # PyTorch's own getter, so that reading it runs no Python code.
    requires_grad = property(torch.Tensor.requires_grad.__get__, _refuse)  # type: ignore[assignment]

    def requires_grad_(self, requires_grad: bool = True) -> Any:  # type: ignore[override]
        self._refuse(requires_grad)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied: Any = super().__deepcopy__(memo)
        copied._frostline_path = self._frostline_path
        return copied


# `torch.export` refuses parameters of classes that are not listed here, although a class without
# its own `__torch_dispatch__` works like an ordinary parameter. There is no public list; see
# `test_exporters_of_pytorch_take_every_kind_of_freeze`.
proxy_tensor.HANDLED_TYPES = (*getattr(proxy_tensor, "HANDLED_TYPES", ()), FrozenParameter)


def lock(parameter: Any, path: str) -> None:
    """Make `requires_grad` of a parameter stay False."""
    # Classes of other libraries are not changed: they have their own methods.
    if type(parameter) in (torch.nn.Parameter, FrozenParameter):
        parameter.__class__ = FrozenParameter
        parameter._frostline_path = path


def unlock(parameter: Any) -> None:
    """Make it an ordinary parameter again; `requires_grad` is still False."""
    if isinstance(parameter, FrozenParameter):
        vars(parameter).pop("_frostline_path", None)
        parameter.__class__ = torch.nn.Parameter  # type: ignore[assignment]


def letting_go(layers: Iterable[Any]) -> Callable[[Any], None]:
    """A function that removes a variable from the lists of parameters of these modules."""
    lists: dict[str, list[Any]] = {}
    for layer in layers:
        parameters = layer._modules.get("_torch_params")
        for path in () if parameters is None else parameters:
            lists.setdefault(path, []).append(parameters)

    def let_go(variable: Any) -> None:
        for parameters in lists.pop(variable.path, ()):
            del parameters[variable.path]

    return let_go
