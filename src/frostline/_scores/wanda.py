"""Scores from the inputs that each entry of a kernel is multiplied by.

To sum the squares of these inputs, multiply the squared inputs by the kernel, sum the result, and
take the gradient with respect to the kernel. The product is linear in the kernel, so this is exact
for every product of Keras's layers, with any strides, padding, groups or equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._backends.current import backend
from frostline._catalogue import stock_of
from frostline._errors import UnsupportedError
from frostline._freezing.classes import own_class
from frostline._scores.chosen import choose, finished, refuse_computed
from frostline._scores.data import Batches, rebuilt
from frostline._scores.handed import Handed
from frostline._weights.tree import Found, read_value, sublayers


def _conv(layer: Any, x: Any, kernel: Any) -> Any:
    padding = layer.padding
    if padding == "causal":
        left = (layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0)
        last = layer.data_format == "channels_last"
        x = ops.pad(x, [(0, 0), left, (0, 0)] if last else [(0, 0), (0, 0), left])
        padding = "valid"
    return ops.conv(
        x,
        kernel,
        strides=list(layer.strides),
        padding=padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def _conv_transpose(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.conv_transpose(
        x,
        kernel,
        strides=list(layer.strides),
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def _depthwise_conv(layer: Any, x: Any, kernel: Any) -> Any:
    return ops.depthwise_conv(
        x,
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


_PRODUCTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "matmul": lambda layer, x, kernel: ops.matmul(x, kernel),
    "einsum": lambda layer, x, kernel: ops.einsum(layer.equation, x, kernel),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "depthwise_conv": _depthwise_conv,
}
"""How a layer multiplies by its kernel, by the name of the product in the catalogue."""

_LOOKUPS = ("take", "take_and_matmul")


def wanda_scores(model: Any, weights: Any, batches: Callable[[], Batches]) -> dict[str, np.ndarray]:
    """The size of each entry times the norm of its inputs, by path."""
    chosen = choose(model, weights, _refuse_unmultiplied)
    handed = Handed(model)
    places = {id(weight.variable): place for place, weight in enumerate(chosen)}
    steps: dict[str, Callable[..., list[Any]]] = {}
    data = batches()
    with backend.computing(chosen[0].variable.value), handed.undisturbed():
        _, values = handed.values()
        sums = [ops.zeros(tuple(weight.variable.shape), "float32") for weight in chosen]
        for batch in data:
            key = repr(batch.structure)
            if key not in steps:
                steps[key] = backend.compiled(_step(handed, places, batch.structure))
            sums = steps[key](sums, values, [ops.convert_to_tensor(a) for a in batch.arrays])
    return finished(map(_score, chosen, sums))


def _score(weight: Found, total: Any) -> tuple[Found, np.ndarray]:
    norm = np.sqrt(backend.to_numpy(total, weight.path))
    return weight, np.abs(np.asarray(read_value(weight), np.float32)) * norm


def _step(handed: Handed, places: dict[int, int], structure: Any) -> Callable[..., list[Any]]:
    def step(sums: list[Any], values: list[Any], arrays: list[Any]) -> list[Any]:
        sums = list(sums)

        def add(variable: Any, squares: Any) -> None:
            place = places.get(id(variable))
            if place is not None:
                sums[place] = sums[place] + squares()

        x, _, _ = rebuilt(structure, arrays)
        with handed.read_as([], values), _inputs_seen(handed.model, places, add):
            handed.model(x, training=False)
        return sums

    return step


@contextmanager
def _inputs_seen(model: Any, places: dict[int, int], add: Callable[..., None]) -> Iterator[None]:
    """Inside the block, each layer that multiplies by one of the weights calls `add`."""
    watched = [
        layer
        for layer in sublayers(model)
        if _calls_as_keras(layer) and any(id(v) in places for v in _kernels(layer))
    ]
    try:
        for layer in watched:
            # Not with `setattr`: Keras and PyTorch track attributes of a layer.
            vars(layer)["call"] = _recording(layer, layer.call, add)
        yield
    finally:
        for layer in watched:
            vars(layer).pop("call", None)


def _recording(
    layer: Any, call: Callable[..., Any], add: Callable[..., None]
) -> Callable[..., Any]:
    def recording(*args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        reverse = args[1] if len(args) > 1 else kwargs.get("reverse", False)
        for kernel in _kernels(layer):
            add(kernel, lambda kernel=kernel: _squares(layer, kernel, inputs, reverse))
        return call(*args, **kwargs)

    return recording


def _squares(layer: Any, kernel: Any, inputs: Any, reverse: Any) -> Any:
    """For each entry of a kernel, the sum of the squares of the inputs it is multiplied by."""
    shape, product = tuple(kernel.shape), stock_of(layer).product
    if product in _LOOKUPS:
        table = kernel is layer.embeddings
        if not reverse:
            return _occurrences(inputs, shape) if table else ops.zeros(shape, "float32")
        if table and not layer.tie_weights:
            return ops.zeros(shape, "float32")
        total = ops.sum(ops.reshape(_square(inputs), (-1, inputs.shape[-1])), axis=0)
        return ops.broadcast_to(total if table else total[:, None], shape)
    multiply, squared = _PRODUCTS[product], _square(inputs)
    return backend.pull_back(
        lambda kernel: ops.sum(multiply(layer, squared, kernel)),
        ops.zeros(shape, "float32"),
        ops.ones((), "float32"),
    )


def _square(inputs: Any) -> Any:
    return ops.square(ops.cast(inputs, "float32"))


def _occurrences(tokens: Any, shape: tuple[int, ...]) -> Any:
    """How often each row of a table is looked up."""
    tokens = ops.reshape(ops.cast(tokens, "int32"), (-1,))
    counts = ops.segment_sum(ops.ones_like(tokens, dtype="float32"), tokens, shape[0])
    return ops.broadcast_to(counts[:, None], shape)


def _kernels(layer: Any) -> list[Any]:
    """The variables that a layer multiplies by, for the products that are supported here."""
    stock = stock_of(layer)
    if stock.product not in _PRODUCTS and stock.product not in _LOOKUPS:
        return []
    held = [getattr(layer, own.name, None) for own in stock.variables if len(own.axes) > 1]
    return [variable for variable in held if isinstance(variable, keras.Variable)]


def _calls_as_keras(layer: Any) -> bool:
    """Whether a layer has Keras's own `call`: a subclass may multiply something else."""
    kind = next(one for one in own_class(layer).__mro__ if "call" in vars(one))
    return kind.__module__.startswith("keras.")


def _refuse_unmultiplied(weight: Found) -> None:
    refuse_computed(weight)
    owner = weight.owner
    looped = any(isinstance(layer, keras.layers.RNN) for layer in weight.layers)
    known = any(weight.variable is kernel for kernel in _kernels(owner))
    if looped or not known or not _calls_as_keras(owner):
        raise UnsupportedError(
            f"{weight.path}: 'wanda' cannot score this weight, because it does not know the inputs "
            f"that it is multiplied by; got by='wanda', layer={own_class(owner).__name__}. Name "
            "kernels of Dense, EinsumDense, convolutions and embeddings, not in recurrent layers."
        )
