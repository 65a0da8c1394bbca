"""PyTorch: layers are modules with parameter lists of their own."""

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
    """A replaced parameter must leave every module's list.

    Otherwise a native optimizer made from `model.parameters()` is given weights that no forward
    pass reads, and `DistributedDataParallel` stops on an unused parameter.
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
            # Keras fills this list when a layer is built, and again only when it is asked.
            if "_torch_params" in layer._modules:
                layer._track_variables()

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        if tensor.dtype != torch.bfloat16:
            return super().to_numpy(tensor, of)
        # Keras goes through float32, which makes all NaNs of a sign one.
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
        # In place, as Keras assigns a whole one.
        tensor, positions, axis = along(variable, positions, axis)
        given = torch.as_tensor(
            self.from_numpy(np.array(values, order="C"), variable), device=tensor.device
        )
        tensor.index_copy_(axis, index_of(positions, tensor), given)

    def own(self, tensor: Any) -> Any:
        # A slice or a transpose is a view of the storage of another tensor.
        return tensor.clone(memory_format=torch.contiguous_format)

    def is_dense(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.layout == torch.strided

    def memory_order(self, tensor: Any) -> Any:
        # An orthogonal initializer gives a matrix whose columns lie together, and a product with
        # it rounds in another way than one with a matrix of rows.
        if tensor.is_contiguous():
            return None
        return sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))

    def in_order(self, tensor: Any, order: Any) -> Any:
        if order is None:
            return tensor.contiguous()
        inverse = sorted(range(tensor.ndim), key=order.__getitem__)
        return tensor.permute(order).contiguous().permute(inverse)

    def let_go(self, layers: Iterable[Any], variable: Any) -> None:
        for layer in layers:
            parameters = layer._modules.get("_torch_params")
            if parameters is not None and variable.path in parameters:
                del parameters[variable.path]

    def wrapper_kinds(self) -> tuple[type, ...]:
        return torch_engines.wrapper_kinds()

    def native_optimizers(
        self, variables: Iterable[Any], living: Iterable[Any]
    ) -> list[tuple[str, str]]:
        return torch_engines.native_optimizers(variables, living)

    def wrappers(self, living: Iterable[Any]) -> list[Wrapper]:
        return torch_engines.wrappers(living)

    def forget_gradient(self, variable: Any) -> Callable[[], None]:
        # A native optimizer takes a gradient of zeros, from before, as one more step of decay.
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
        # Along the last of more than two axes it takes ten times as long.
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
        # What Keras finds out before it multiplies takes as long as a product of few rows.
        return torch.matmul(x, weight)

    def matmul_transposed(self, x: Any, weight: Any) -> Any:
        return torch.matmul(x, weight.t())

    def split(self, tensor: Any, edges: list[int], axis: int) -> Sequence[Any]:
        # Keras asks NumPy for the sizes, at a hundred microseconds a call.
        return torch.tensor_split(tensor, edges, dim=axis)

    def places(self, plan: AxisPlan, indices: Any, *, trainable: bool) -> Any:
        name = "places" if trainable else "frozen_places"
        return _constant(plan, name, indices)[indices.long()]

    def columns(self, table: Any, indices: Any) -> Any:
        # As `ops.take` does it, without `ravel` and `squeeze`, which ONNX has no form of.
        indices = indices.long()
        places = torch.where(indices < 0, indices + table.shape[1], indices)
        columns = table.index_select(1, places.reshape(-1))
        return columns.reshape(table.shape[0], *indices.shape)

    def choose(self, places: Any, trainable: Any, indices: Any, frozen: Any) -> Any:
        if _traced():
            return super().choose(places, trainable, indices, frozen)
        # Only the rows that are hit are written and have a gradient. In place, before any reshape:
        # of a view, the backward pass would copy the gradient of all rows.
        rows = ops.take(frozen, indices.reshape(-1), axis=0)
        flat = places.reshape(-1)
        (hits,) = torch.nonzero(flat > 0, as_tuple=True)
        rows.index_copy_(0, hits, trainable.index_select(0, flat.index_select(0, hits) - 1))
        return rows.reshape(*places.shape, frozen.shape[-1])

    def multiplies_at_entries(self, plan: SplitPlan, x: Any) -> bool:
        # With more of them the dense product is cheaper.
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
        # No graph can be made of a tensor that was made in inference mode. What the layers make
        # themselves, Keras puts on the device of the thread's scope.
        with torch.inference_mode(False), torch.no_grad(), keras.device(str(near.device)):
            yield

    def gradients(self, function: Callable[[list[Any]], Any], values: Sequence[Any]) -> list[Any]:
        with torch.enable_grad():
            # In the memory of the values, outside any graph that they are in.
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
        # Under `torch.autocast` dtypes differ between the directions; autograd knows how.
        if _traced() or torch.is_autocast_enabled(x.device.type):
            return super().product(product, x, parts, merge)
        whole = _refreshed(parts)
        if not torch.is_grad_enabled():
            return product.apply(x, whole)
        again = functools.partial(merge, parts.plan, parts.trainable.value, parts.frozen.value)
        return _Product.apply(x, parts.trainable.value, product, whole, again)


@functools.cache
def _expect_beta() -> None:
    # Of the first sparse tensor in a process PyTorch says that such tensors are in beta, to a user
    # who has not asked for one. The filter is of this module alone, and of no other warning.
    warnings.filterwarnings(
        "ignore",
        message="Sparse CSR tensor support is in beta",
        category=UserWarning,
        module=re.escape(__name__),
    )


def _positions(plan: SplitPlan, beside: torch.Tensor) -> torch.Tensor:
    # `index_copy` takes 64 bits only.
    return _constant(plan, "trainable", beside, torch.int64)


def _constant(
    plan: SplitPlan, name: str, beside: torch.Tensor, dtype: torch.dtype = torch.int32
) -> torch.Tensor:
    # From NumPy an index would be copied, on a GPU with a wait, each time it is used.
    known = plan.__dict__.setdefault("_constants", {})
    key = name, beside.device
    if key in known:
        return known[key]
    # Made in inference mode it could not be used in training.
    with torch.inference_mode(False):
        constant = torch.as_tensor(getattr(plan, name), dtype=dtype, device=beside.device)
    # Made in a trace it could be used nowhere else.
    if not (torch.compiler.is_compiling() or is_tracing()):
        known[key] = constant
    return constant


def _traced() -> bool:
    """Whether values are not what the variables hold, or a write to them would be out of order."""
    return (
        _keras.current_scope() is not None
        or torch.compiler.is_compiling()
        # What a `torch.autograd.Function` computes is a constant in the trace, and so in ONNX.
        or is_tracing()
        # No public function tells of `torch.func` and `torch.vmap`, whose wrapped tensors can't
        # be written to plain ones; see `test_vectorized_map_over_a_partly_frozen_layer`.
        or torch._C._are_functorch_transforms_active()
    )


@torch.no_grad()
def _refreshed(parts: Any) -> Any:
    """What `merge_stored` gives, in the storage of the frozen part: no copy of the weight is made.

    The trainable entries are written over the places of theirs in it, which hold nothing else, at
    each call: nothing tells whether a user's loop moved them through `parameter.data`. For the
    same reason the write goes through `data`: the values are those that a graph in flight has
    seen, and it would take them for others.
    """
    plan, base = parts.plan, _keras.storage(parts.frozen).data
    part = _keras.storage(parts.trainable).data
    rows = base if plan.kind == "positions" else base.view(-1)
    rows.index_copy_(0, _positions(plan, base), part)
    # As Keras casts a variable that is read, which is not every one in mixed precision.
    return ops.cast(base, parts.frozen.dtype)


class _Whole(torch.autograd.Function):
    """The weight put together, and the gradient of what trains taken out of its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Any, parts: Any) -> Any:
        ctx.plan = parts.plan
        # Saved to be told of a change of what trains between here and the backward pass.
        ctx.save_for_backward(part)
        # `data`: no view of the frozen part for autograd.
        whole = _refreshed(parts).data
        if ctx.plan.kind == "positions":
            # The same memory order as the plain weight, or kernels would round in another way.
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
    """A product with the whole weight, and the gradient of what trains alone."""

    @staticmethod
    def forward(ctx: Any, x: Any, part: Any, product: Any, whole: Any, again: Any) -> Any:
        ctx.product, ctx.whole, ctx.again = product, whole, again
        ctx.save_for_backward(x, part)
        return product.apply(x, whole)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        (gradient,) = upstream
        x, part = ctx.saved_tensors
        # Keras moves what its operations are given to the device of the thread's scope.
        with keras.device(str(x.device)):
            return _Product._gradients(ctx, x, part, gradient)

    @staticmethod
    def _gradients(ctx: Any, x: Any, part: Any, gradient: Any) -> Any:
        by_x = by_part = None
        if ctx.needs_input_grad[0]:
            # A second derivative has to see that the weight depends on what trains.
            weight = ctx.again() if torch.is_grad_enabled() else ctx.whole
            by_x = ctx.product.gradient_x(x, weight, gradient)
        if ctx.needs_input_grad[1]:
            by_part = ctx.product.gradient_part(x, part, gradient)
        return by_x, by_part, None, None, None
