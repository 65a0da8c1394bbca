"""From a partly frozen model to one of stock layers."""

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
"""How a layer is taken apart, by its product."""


def to_stock(model: keras.Model, *, coarsen: Coarsen = False) -> keras.Model:
    """A new model of stock Keras layers in the place of partly frozen ones.

    Each layer with a freeze becomes a small functional model of the same name, in which a
    trainable and a frozen layer of its class (`hidden__trainable`, `hidden__frozen`) and stock
    operations compute what it computed: side by side for frozen columns, units, filters and
    channels, added up for frozen rows, two lookups for frozen tokens. The new model has the same
    outputs and as many trainable parameters, trains to the same weights, and is saved and loaded
    without frostline. The given model is not changed.

    Args:
        model: A built Sequential or functional model, of any nesting.
        coarsen: What to do where single entries are frozen, which no split can express. `"more"`
            (or True) freezes each row or column that has a frozen entry, `"less"` those alone that
            are frozen whole, along the axis where the fewest entries change sides.

    Returns:
        The new model, with copies of all weights, compiled anew if `model` is compiled.

    Raises:
        TargetError: `model` is not a model, or is a subclass, whose call Keras can't rewire.
        NotBuiltError: It has no weights yet.
        UnsupportedError: A frozen layer or its freeze has no equal in stock layers, or Keras can't
            copy another layer or what the model is compiled with.
        SelectionError: `coarsen` is none of these.

    Note:
        Where an output is added up from two parts it may differ in its last digits. The frozen
        layer's penalty (`kernel_regularizer`) is a constant that Keras leaves out of the loss.
        On TensorFlow a stock `Embedding` gives a token that occurs twice two gradients, which
        Keras's optimizers square one by one; a partly frozen one gives their sum. A bias or a scale
        by itself is a variable named `kernel`: `exclude_from_weight_decay(var_names=["bias"])` of
        an optimizer does not find it.

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
            f"{model.name}: `coarsen` says whether to freeze more or less; got coarsen={coarsen!r}."
            " Pass 'more', 'less' or nothing."
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
                f"{path}/{frozen[0]}: the mask of a sequence comes by this layer, and does not "
                f"pass the operations between two parts; got {type(layer).__name__}. "
                "Keep the model partly frozen."
            )
        return taken_apart(layer, model.name, input_shape(layer, known, path), coarsen)

    return rebuilt(model, replacement)


def taken_apart(layer: Any, model: str, shape: Any, coarsen: Coarsen = False) -> keras.Model:
    """A functional model of stock layers that stands for a partly frozen one, called on `shape`."""
    path = f"{model}/{layer.name}"
    masks = Masks(layer, path, coarsen)
    rule = _RULES.get(stock_class(masks.kind).product)
    if rule is None:
        first = next(f for f in unique(walk(layer)) if plan_of(f.variable) is not None)
        known = sorted(name for name, stock in CATALOGUE.items() if stock.product in _RULES)
        raise UnsupportedError(
            f"{path}/{first.path}: this layer has no equal in stock layers; "
            f"got {masks.kind.__name__}. Unfreeze it, or keep the model partly frozen. "
            f"Known are {', '.join(known)}."
        )
    activation = getattr(layer, "activation", None)
    if getattr(activation, "variables", None):
        raise UnsupportedError(
            f"{path}: its activation has weights of its own; got {type(activation).__name__}. "
            "Make it a layer that follows, or keep the model partly frozen."
        )
    dtype = "int32" if isinstance(layer, keras.layers.Embedding) else layer.compute_dtype
    inputs = keras.Input(tuple(shape)[1:], dtype=dtype, name=f"{layer.name}__input")
    made = keras.Model(inputs, rule(inputs, layer, masks), name=layer.name)
    if not layer.trainable:
        made.trainable = False  # True would reach down to the frozen part
    return made
