"""Convert a partly frozen model to a model of stock layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from frostline._catalogue import CATALOGUE, stock_class
from frostline._errors import SelectionError, UnsupportedError
from frostline._stock.calls import input_shape, masked, shapes
from frostline._stock.channels import embedding, normalization, separable
from frostline._stock.linear import LINEAR, linear
from frostline._stock.masks import Coarsen, Masks
from frostline._stock.rebuild import check_rebuildable, rebuilt
from frostline._weights.tree import unique, walk
from frostline._weights.view import plan_of

_RULES: dict[str, Callable[[Any, Any, Masks], Any]] = {
    **dict.fromkeys(LINEAR, linear),
    "separable_conv": separable,
    "normalize": normalization,
    "take": embedding,
}
"""How a layer is split, by its product."""


def to_stock(model: keras.Model, *, coarsen: Coarsen = False) -> keras.Model:
    """Convert a partly frozen model to a new model of stock Keras layers.

    Each partly frozen layer becomes a small functional model of the same name. It has a trainable
    and a frozen layer of the same class (`hidden__trainable`, `hidden__frozen`), whose outputs
    stock operations combine: concatenated for frozen columns, units, filters and channels, added
    for frozen rows, two lookups for frozen tokens. The new model has the same outputs and as many
    trainable parameters, trains to the same weights, and is saved and loaded without frostline.
    `model` is not changed.

    Args:
        model: A built Sequential or functional model; it may be nested.
        coarsen: What to do if single entries are frozen, which no split can express. `"more"` (or
            True) freezes each row or column that has a frozen entry. `"less"` freezes only rows or
            columns that are completely frozen. The axis with the fewest changed entries is used.

    Returns:
        The new model, with copies of all weights. It is compiled again if `model` is compiled.

    Raises:
        TargetError: `model` is not a model, or is a subclassed model, which Keras can't rewire.
        NotBuiltError: It has no weights yet.
        UnsupportedError: A frozen layer or its freeze has no equivalent in stock layers, or Keras
            can't copy another layer or the objects that the model is compiled with.
        SelectionError: `coarsen` is none of the above.

    Note:
        An output that is the sum of two parts may differ in its last digits. The penalty
        (`kernel_regularizer`) of the frozen layer is a constant, which Keras leaves out of the
        loss. If a token occurs twice in a batch, a stock `Embedding` on TensorFlow has two
        gradients for it, which Keras's optimizers square separately; a partly frozen one has their
        sum. A separate bias or scale is a variable named `kernel`, so an optimizer's
        `exclude_from_weight_decay(var_names=["bias"])` does not find it.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="hidden")])
        >>> _ = fl.freeze(model, "hidden/*", fl.units([0, 1]))
        >>> plain = fl.to_stock(model)
        >>> [v.path for v in plain.trainable_variables]
        ['hidden__trainable/kernel', 'hidden__trainable/bias']
    """
    check_rebuildable(model)
    if coarsen not in (False, True, "more", "less"):
        raise SelectionError(
            f"{model.name}: coarsen must be 'more' or 'less'; got coarsen={coarsen!r}. "
            "Pass `coarsen='more'`, or leave it out."
        )
    with_mask, known = masked(model), shapes(model)

    def replacement(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.Model):
            return None
        frozen = [found.path for found in walk(layer) if plan_of(found.variable) is not None]
        if not frozen:
            return None
        path = f"{model.name}/{layer.name}"
        if id(layer) in with_mask:
            raise UnsupportedError(
                f"{path}/{frozen[0]}: this layer receives or makes the mask of a sequence, which "
                "the operations between two parts would lose; got "
                f"{type(layer).__name__}. Keep the model partly frozen."
            )
        return taken_apart(layer, model.name, input_shape(layer, known, path), coarsen)

    return rebuilt(model, replacement)


def taken_apart(layer: Any, model: str, shape: Any, coarsen: Coarsen = False) -> keras.Model:
    """A functional model of stock layers that replaces a partly frozen layer called on `shape`."""
    path = f"{model}/{layer.name}"
    masks = Masks(layer, path, coarsen)
    rule = _RULES.get(stock_class(masks.kind).product)
    if rule is None:
        first = next(f for f in unique(walk(layer)) if plan_of(f.variable) is not None)
        known = sorted(name for name, stock in CATALOGUE.items() if stock.product in _RULES)
        raise UnsupportedError(
            f"{path}/{first.path}: this layer cannot be split into stock layers; "
            f"got {masks.kind.__name__}. Unfreeze it, or keep the model partly frozen. "
            f"Supported: {', '.join(known)}."
        )
    activation = getattr(layer, "activation", None)
    if getattr(activation, "variables", None):
        raise UnsupportedError(
            f"{path}: the activation of this layer has weights; got {type(activation).__name__}. "
            "Make it a separate layer, or keep the model partly frozen."
        )
    dtype = "int32" if isinstance(layer, keras.layers.Embedding) else layer.compute_dtype
    inputs = keras.Input(tuple(shape)[1:], dtype=dtype, name=f"{layer.name}__input")
    made = keras.Model(inputs, rule(inputs, layer, masks), name=layer.name)
    if not layer.trainable:
        made.trainable = False  # setting True would also set it on the frozen part
    return made
