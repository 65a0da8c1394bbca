"""`einsum` with a partly frozen weight: `EinsumDense`, and so Keras's attention layers."""

from __future__ import annotations

from typing import Any

from keras import ops

from frostline._arrays.plan import EntriesPlan
from frostline._backends.current import backend
from frostline._fast.product import Product, multiply, of_dtype, size_of, usable_parts

# Unused letters replace the axes under an ellipsis.
_SPARE = "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA"


def einsum(equation: str, *operands: Any) -> Any:
    """Replaces `keras.ops.einsum` in `EinsumDense.call`."""
    x, weight = operands
    parts = usable_parts(x, weight)
    letters = None if parts is None else _letters(equation, len(x.shape))
    if parts is None or letters is None:
        return ops.einsum(equation, *operands)
    of_x, of_weight, of_y = letters
    alone = False
    if isinstance(parts.plan, EntriesPlan):
        divided = None
        by_rows = of_x[0] == of_y[0] and of_x[0] not in of_weight
        if not by_rows or not backend.adds_gradients(parts, x):
            return ops.einsum(equation, *operands)
    else:
        divided = of_weight[parts.plan.axis]
        if divided in of_x and x.shape[of_x.index(divided)] is None:
            return ops.einsum(equation, *operands)
        here, there = (of_x, of_y) if divided in of_x else (of_y, of_x)
        alone = {divided} == set(of_weight) & set(here) - set(there)
        if parts.plan.kind == "positions":
            of_weight = divided + of_weight.replace(divided, "")
    product = Product(
        plan=parts.plan,
        apply=lambda x, weight: ops.einsum(f"{of_x},{of_weight}->{of_y}", x, weight),
        gradient_x=lambda x, weight, upstream: of_dtype(
            ops.einsum(f"{of_y},{of_weight}->{of_x}", upstream, weight), x
        ),
        gradient_weight=lambda x, weight, upstream: of_dtype(
            ops.einsum(f"{of_x},{of_y}->{of_weight}", x, upstream), weight
        ),
        x_axis=_axis_of(divided, of_x),
        y_axis=_axis_of(divided, of_y),
        alone=alone,
        rows=size_of(
            [n for n, letter in zip(x.shape, of_x, strict=True) if letter not in of_weight]
        ),
    )
    return multiply(product, ops.convert_to_tensor(x), parts)


def _axis_of(letter: str | None, letters: str) -> int | None:
    return letters.index(letter) if letter is not None and letter in letters else None


def _letters(equation: str, ndim: int) -> tuple[str, str, str] | None:
    """The letters of input, weight and output; None if a gradient is not a plain `einsum`."""
    inputs, of_y = equation.replace(" ", "").split("->")
    of_x, of_weight = inputs.split(",")
    if "." in of_x:
        hidden = ndim - len(of_x.replace(".", ""))
        spare = [letter for letter in _SPARE if letter not in equation][:hidden]
        of_x, of_y = (part.replace("...", "".join(spare)) for part in (of_x, of_y))
    for one, others in ((of_x, of_weight + of_y), (of_weight, of_x + of_y)):
        # Not for a letter that only one operand has, or that an operand has twice.
        if len(set(one)) < len(one) or set(one) - set(others):
            return None
    return of_x, of_weight, of_y
