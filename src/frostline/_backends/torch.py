"""PyTorch: layers are modules with their own lists of parameters."""

from __future__ import annotations

import contextlib
import functools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import ml_dtypes
import numpy as np
import torch
from keras import ops
from torch.jit import is_tracing  # type: ignore[attr-defined]

from frostline import _keras
from frostline._arrays.plan import AxisPlan, EntriesPlan, SplitPlan
from frostline._backends import torch_engines, torch_parameter
from frostline._backends.arithmetic import Merge
from frostline._backends.base import Backend
from frostline._backends.found import Wrapper
from frostline._backends.torch_entries import along, index_of


class TorchBackend(Backend):
    """A replaced parameter must be removed from the list of every module.

    Otherwise a native optimizer made from `model.parameters()` gets weights that no forward pass
    reads, and `DistributedDataParallel` fails because of an unused parameter.
    """

    merges_in_place = True
    native_optimizer_kinds = torch_engines.OPTIMIZERS

    def seed(self, number: int) -> None:
        super().seed(number)
        torch.manual_seed(number)

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        del variable
        return torch.no_grad()

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        for layer in layers:
            # Keras fills this list when a layer is built, and updates it only on request.
            if "_torch_params" in layer._modules:
                layer._track_variables()

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        if tensor.dtype != torch.bfloat16:
            return super().to_numpy(tensor, of)
        # Keras converts through float32, which makes all NaNs of one sign the same.
        stored = tensor.detach().cpu().view(torch.int16)
        return np.asarray(ops.convert_to_numpy(stored)).view(ml_dtypes.bfloat16)

    def from_numpy(self, array: np.ndarray, variable: Any) -> Any:
        del variable
        if array.dtype != ml_dtypes.bfloat16:
            return array
        bits = np.ascontiguousarray(array).view(np.int16).reshape(array.shape)
        return torch.from_numpy(bits.copy()).view(torch.bfloat16)

    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        tensor, positions, axis = along(variable, positions, axis)
        return self.to_numpy(tensor.index_select(axis, index_of(positions, tensor)))

    @torch.no_grad()
    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        # In place, like `variable.assign` of Keras.
        tensor, positions, axis = along(variable, positions, axis)
        given = torch.as_tensor(
            self.from_numpy(np.array(values, order="C"), variable), device=tensor.device
        )
        tensor.index_copy_(axis, index_of(positions, tensor), given)

    def own(self, tensor: Any) -> Any:
        # A slice or transpose shares the storage of another tensor.
        return tensor.clone(memory_format=torch.contiguous_format)

    def is_dense(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.layout == torch.strided

    def memory_order(self, tensor: Any) -> Any:
        # An orthogonal initializer returns a matrix in column order, and products with it round
        # differently than with a matrix in row order.
        if tensor.is_contiguous():
            return None
        return sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))

    def in_order(self, tensor: Any, order: Any) -> Any:
        if order is None:
            return tensor.contiguous()
        inverse = sorted(range(tensor.ndim), key=order.__getitem__)
        return tensor.permute(order).contiguous().permute(inverse)

    def letting_go(self, layers: Iterable[Any]) -> Callable[[Any], None]:
        return torch_parameter.letting_go(layers)

    def wrapper_kinds(self) -> tuple[type, ...]:
        return torch_engines.wrapper_kinds()

    def native_optimizers(
        self, variables: Iterable[Any], living: Iterable[Any]
    ) -> list[tuple[str, str]]:
        return torch_engines.native_optimizers(variables, living)

    def wrappers(self, living: Iterable[Any]) -> list[Wrapper]:
        return torch_engines.wrappers(living)

    def forget_gradient(self, variable: Any) -> Callable[[], None]:
        # With an old gradient of zeros, a native optimizer would still apply weight decay.
        storage = _keras.storage(variable)
        gradient, storage.grad = storage.grad, None
        return lambda: setattr(storage, "grad", gradient)

    def lock(self, variable: Any, path: str) -> None:
        torch_parameter.lock(_keras.storage(variable), path)

    def unlock(self, variable: Any) -> None:
        torch_parameter.unlock(_keras.storage(variable))

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        positions = _positions(plan, tensor)
        if axis < tensor.ndim - 1 or axis < 2:
            return tensor.index_select(axis, positions)
        # Along the last of more than two axes, `index_select` takes ten times as long.
        rows = tensor.reshape(-1, tensor.shape[-1]).index_select(1, positions)
        return rows.reshape(*tensor.shape[:-1], len(positions))

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        return base.index_copy(0, _positions(plan, base), rows)

    def whole(self, parts: Any, merge: Merge) -> Any:
        if parts.plan.kind == "block" or _traced():
            whole = super().whole(parts, merge)
        else:
            whole = _Whole.apply(parts.trainable.value, parts)
        return whole if parts.order is None else self.in_order(whole, parts.order)

    def matmul(self, x: Any, weight: Any) -> Any:
        # The checks in `ops.matmul` take as long as a product with few rows.
        return torch.matmul(x, weight)

    def matmul_transposed(self, x: Any, weight: Any) -> Any:
        return torch.matmul(x, weight.t())

    def split(self, tensor: Any, sizes: list[int], axis: int) -> Sequence[Any]:
        # `ops.split` computes the edges with NumPy, which takes 100 microseconds.
        return torch.split(tensor, sizes, dim=axis)

    def places(self, plan: AxisPlan, indices: Any, *, trainable: bool) -> Any:
        name = "places" if trainable else "frozen_places"
        return _constant(plan, name, indices)[indices.long()]

    def columns(self, table: Any, indices: Any) -> Any:
        # Like `ops.take`, without `ravel` and `squeeze`, which ONNX does not support.
        indices = indices.long()
        places = torch.where(indices < 0, indices + table.shape[1], indices)
        columns = table.index_select(1, places.reshape(-1))
        return columns.reshape(table.shape[0], *indices.shape)

    def choose(self, places: Any, trainable: Any, indices: Any, frozen: Any) -> Any:
        if _traced():
            return super().choose(places, trainable, indices, frozen)
        # Only the trainable rows are written and have a gradient. In place and before any reshape:
        # for a view, the backward pass would copy the gradient of all rows.
        rows = ops.take(frozen, indices.reshape(-1), axis=0)
        flat = places.reshape(-1)
        (hits,) = torch.nonzero(flat > 0, as_tuple=True)
        rows.index_copy_(0, hits, trainable.index_select(0, flat.index_select(0, hits) - 1))
        return rows.reshape(*places.shape, frozen.shape[-1])

    def multiplies_at_entries(self, plan: SplitPlan, x: Any) -> bool:
        # With more entries the dense product is cheaper.
        few = len(plan.trainable) <= 0.05 * plan.size
        plain = x.dtype in (torch.float32, torch.float64) and x.device.type in ("cpu", "cuda")
        return few and plain and not torch.is_autocast_enabled(x.device.type)

    def product_at_entries(self, plan: EntriesPlan, x: Any, y: Any) -> Any:
        _expect_beta()
        pattern = torch.sparse_csr_tensor(
            _constant(plan, "row_starts", x),
            _constant(plan, "columns", x),
            x.new_zeros(len(plan.trainable)),
            size=plan.shape,
            check_invariants=False,
        )
        return torch.sparse.sampled_addmm(pattern, x.t(), y, beta=0.0).values()

    @contextlib.contextmanager
    def computing(self, near: Any) -> Iterator[None]:
        # Autograd cannot use tensors made in inference mode. Keras puts tensors that layers make
        # on the device of the thread's scope.
        with torch.inference_mode(False), torch.no_grad(), keras.device(str(near.device)):
            yield

    def gradients(self, function: Callable[[list[Any]], Any], values: Sequence[Any]) -> list[Any]:
        with torch.enable_grad():
            # They share the memory of the values, but not their graph.
            leaves = [value.detach().requires_grad_() for value in values]
            found = function(leaves)
            if not found.requires_grad:
                return [None] * len(leaves)
            return list(torch.autograd.grad(found, leaves, allow_unused=True))

    def pull_back(self, function: Callable[[Any], Any], x: Any, upstream: Any) -> Any:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(function(leaf), leaf, upstream)[0]

    def product(self, product: Any, x: Any, parts: Any, merge: Merge) -> Any:
        # Under `torch.autocast` forward and backward use different dtypes; autograd handles that.
        if _traced() or torch.is_autocast_enabled(x.device.type):
            return super().product(product, x, parts, merge)
        whole = _refreshed(parts)
        if not torch.is_grad_enabled():
            return product.apply(x, whole)
        again = functools.partial(merge, parts.plan, parts.trainable.value, parts.frozen.value)
        return _Product.apply(x, parts.trainable.value, product, whole, again)


@functools.cache
def _expect_beta() -> None:
    # For the first sparse tensor in a process, PyTorch warns that such tensors are in beta. The
    # user did not ask for one, so this module ignores that one warning.
    warnings.filterwarnings(
        "ignore",
        message="Sparse CSR tensor support is in beta",
        category=UserWarning,
        module=re.escape(__name__),
    )


def _positions(plan: SplitPlan, beside: torch.Tensor) -> torch.Tensor:
    # `index_copy` needs 64-bit indices.
    return _constant(plan, "trainable", beside, torch.int64)


def _constant(
    plan: SplitPlan, name: str, beside: torch.Tensor, dtype: torch.dtype = torch.int32
) -> torch.Tensor:
    # A NumPy index would be copied to the device at each use, and on a GPU that waits.
    known = plan.__dict__.setdefault("_constants", {})
    key = name, beside.device
    if key in known:
        return known[key]
    # A tensor made in inference mode cannot be used in training.
    with torch.inference_mode(False):
        constant = torch.as_tensor(getattr(plan, name), dtype=dtype, device=beside.device)
    # A tensor made in a trace cannot be used outside it.
    if not (torch.compiler.is_compiling() or is_tracing()):
        known[key] = constant
    return constant


def _traced() -> bool:
    """Whether values may differ from those in the variables, or in-place writes are not safe."""
    return (
        _keras.current_scope() is not None
        or torch.compiler.is_compiling()
        # The result of a `torch.autograd.Function` is a constant in a trace, and so in ONNX.
        or is_tracing()
        # `torch.func` and `torch.vmap`, for which there is no public check: their wrapped tensors
        # can't be written to plain ones; see `test_vectorized_map_over_a_partly_frozen_layer`.
        or torch._C._are_functorch_transforms_active()
    )


@torch.no_grad()
def _refreshed(parts: Any) -> Any:
    """The merged weight in the storage of the frozen part, so that no copy of the weight is made.

    At each call the trainable entries are written to their positions in the frozen part, which have
    no other use: there is no way to know whether a user's loop changed them through
    `parameter.data`. The write goes through `data` so that autograd does not see it: the values are
    those that the current graph has used.
    """
    plan, base = parts.plan, _keras.storage(parts.frozen).data
    part = _keras.storage(parts.trainable).data
    rows = base if plan.kind == "positions" else base.view(-1)
    rows.index_copy_(0, _positions(plan, base), part)
    # Cast as Keras does when it reads a variable; in mixed precision not all are cast.
    return ops.cast(base, parts.frozen.dtype)


class _Whole(torch.autograd.Function):
    """The merged weight; the gradient of the trainable part is taken from its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Any, parts: Any) -> Any:
        ctx.plan = parts.plan
        # Saved so that autograd reports a change of `part` before the backward pass.
        ctx.save_for_backward(part)
        # `data`, so that autograd does not see a view of the frozen part.
        whole = _refreshed(parts).data
        if ctx.plan.kind == "positions":
            # The same memory order as the plain weight, or products would round differently.
            return whole.movedim(0, ctx.plan.axis).contiguous().data
        return whole

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        plan, (gradient,) = ctx.plan, upstream
        _ = ctx.saved_tensors
        by_axis = plan.kind == "positions"
        rows = gradient.movedim(plan.axis, 0) if by_axis else gradient.reshape(-1)
        return rows.index_select(0, _positions(plan, gradient)), None


class _Product(torch.autograd.Function):
    """A product with the whole weight, with a gradient only for the trainable part."""

    @staticmethod
    def forward(ctx: Any, x: Any, part: Any, product: Any, whole: Any, again: Any) -> Any:
        ctx.product, ctx.whole, ctx.again = product, whole, again
        ctx.save_for_backward(x, part)
        return product.apply(x, whole)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        (gradient,) = upstream
        x, part = ctx.saved_tensors
        # Keras moves the arguments of its operations to the device of the thread's scope.
        with keras.device(str(x.device)):
            return _Product._gradients(ctx, x, part, gradient)

    @staticmethod
    def _gradients(ctx: Any, x: Any, part: Any, gradient: Any) -> Any:
        by_x = by_part = None
        if ctx.needs_input_grad[0]:
            # For a second derivative, the weight must depend on the trainable part.
            weight = ctx.again() if torch.is_grad_enabled() else ctx.whole
            by_x = ctx.product.gradient_x(x, weight, gradient)
        if ctx.needs_input_grad[1]:
            by_part = ctx.product.gradient_part(x, part, gradient)
        return by_x, by_part, None, None, None
