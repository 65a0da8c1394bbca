"""`matmul` with a partly frozen weight: `Dense`, and the reverse projection of an embedding."""

from __future__ import annotations

from typing import Any

from keras import ops

from frostline._arrays.plan import AxisPlan
from frostline._backends.current import backend
from frostline._fast.product import Product, along_axis, multiply, of_dtype, size_of, usable_parts
from frostline._weights.parts import Parts


def matmul(x1: Any, x2: Any) -> Any:
    """Replaces `keras.ops.matmul` in `Dense.call`."""
    parts = usable_parts(x1, x2)
    if parts is None or len(x1.shape) < 2 or x1.shape[-1] is None:
        return ops.matmul(x1, x2)
    along = along_axis(parts)
    if along is not None:
        return multiply_rows(x1, along, flipped=False)
    if backend.adds_gradients(parts, x1) or backend.multiplies_at_entries(parts.plan, x1):
        return _multiply_sampled(x1, parts)
    return ops.matmul(x1, x2)


def _multiply_sampled(x: Any, parts: Parts[Any]) -> Any:
    plan = parts.plan
    product = Product(
        plan=plan,
        apply=backend.matmul,
        gradient_x=_gradient_x,
        gradient_weight=lambda x, weight, upstream: backend.product_at_entries(
            plan, _rows(x, plan.shape[0]), _rows(upstream, plan.shape[1])
        ),
        splits=False,
    )
    return multiply(product, ops.convert_to_tensor(x), parts)


def multiply_rows(x: Any, parts: Parts[AxisPlan], *, flipped: bool) -> Any:
    """`x` (`..., n`) times a matrix with parts, or times its transpose if `flipped`."""
    plan = parts.plan
    # For positions of columns the parts are stored transposed.
    transposed = flipped != (plan.kind == "positions" and plan.axis == 1)
    last = len(x.shape) - 1
    along_x = plan.axis == (1 if flipped else 0)
    product = Product(
        plan=plan,
        apply=backend.matmul_transposed if transposed else backend.matmul,
        gradient_x=_gradient_x_transposed if transposed else _gradient_x,
        gradient_weight=_gradient_transposed if transposed else _gradient_weight,
        x_axis=last if along_x else None,
        y_axis=None if along_x else last,
        rows=size_of(x.shape[:-1]),
    )
    return multiply(product, ops.convert_to_tensor(x), parts)


def _gradient_x(x: Any, weight: Any, upstream: Any) -> Any:
    return of_dtype(backend.matmul_transposed(upstream, weight), x)


def _gradient_weight(x: Any, weight: Any, upstream: Any) -> Any:
    rows, columns = weight.shape
    x, upstream = _rows(x, rows), _rows(upstream, columns)
    return of_dtype(backend.matmul(ops.transpose(x), upstream), weight)


def _gradient_x_transposed(x: Any, weight: Any, upstream: Any) -> Any:
    return of_dtype(backend.matmul(upstream, weight), x)


def _gradient_transposed(x: Any, weight: Any, upstream: Any) -> Any:
    return _gradient_weight(upstream, weight, x)


def _rows(tensor: Any, width: int) -> Any:
    return tensor if len(tensor.shape) == 2 else ops.reshape(tensor, (-1, width))
