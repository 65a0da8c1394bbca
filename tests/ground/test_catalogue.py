"""The catalogue of Keras's layers agrees with the installed Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from frostline import _keras
from frostline._catalogue import CATALOGUE, StockClass, stock_class, stock_of
from frostline._fast.paths import FAST_PATHS
from frostline._weights.tree import walk

WITHOUT_SUBLAYERS = sorted(name for name, stock in CATALOGUE.items() if stock.variables)
# Axes that follow no rule: of an equation, of a whole input, and a second row for the state.
FREE = {
    *(("EinsumDense", "kernel"), ("EinsumDense", "bias"), ("PReLU", "alpha")),
    *(("GRUCell", "bias"), ("AdditiveAttention", "scale")),
}


def owners(name: str) -> list[Any]:
    """The built layers in the model of a specimen that have weights of their own."""
    found = {id(one.owner): one.owner for one in walk(zoo.Case(name).model(), state=True)}
    return list(found.values())


def built(name: str) -> Any:
    """A built layer of the catalogue. A cell is taken from a layer that makes it."""
    made = [of for of, stock in CATALOGUE.items() if stock.makes[1] == name] or [name]
    around = next(one for one in (name, *made) if one in zoo.SPECIMENS)
    return next(layer for layer in owners(around) if type(layer).__name__ == name)


def variables(layer: Any) -> dict[str, Any]:
    """A layer's own variables by name, in the order of weight files."""
    own = [*_keras.own_variables(layer), *_keras.own_state(layer)]
    return {variable.name: variable for variable in own}


def again(layer: Any, **options: Any) -> Any:
    """The same layer with other options."""
    config = {**layer.get_config(), **options}
    if stock_of(layer) is CATALOGUE["ConvLSTMCell"]:
        config["rank"] = layer.rank  # the cell does not save it
    other = type(layer).from_config(config)
    other.build_from_config(layer.get_build_config())
    return other


def choices(layer: Any, stock: StockClass) -> Iterator[Any]:
    """The layer, and copies with each of its options on and off."""
    yield layer
    for own in stock.variables:
        if own.option in layer.get_config():
            on = layer.get_config()[own.option] or True
            yield again(layer, **{own.option: on})
            yield again(layer, **{own.option: None if own.option == "bias_axes" else False})


@pytest.mark.parametrize("name", WITHOUT_SUBLAYERS)
def test_a_class_has_the_variables_of_its_entry(name):
    layer, stock = built(name), CATALOGUE[name]
    assert stock_of(layer) is stock_class(type(layer)) is stock
    seen = set()
    for one in choices(layer, stock):
        expected = [own.name for own in stock.variables if own.is_in(one.get_config())]
        assert list(variables(one)) == expected
        seen.add(tuple(expected))
    conditional = [own for own in stock.variables if own.option in layer.get_config()]
    assert len(seen) > len(conditional) or not conditional


@pytest.mark.parametrize("name", WITHOUT_SUBLAYERS)
def test_the_axes_of_its_variables_are_those_of_its_entry(name):
    layer, stock = built(name), CATALOGUE[name]
    config = layer.get_config()
    window = len(config.get("kernel_size", ()))
    for of, variable in variables(layer).items():
        axes, shape = stock.axes(of), tuple(variable.shape)
        if (name, of) in FREE:
            continue
        assert len(shape) == len(axes) + (window if len(axes) > 1 else 0), of
        for axis, length in zip(axes, shape[-len(axes) :], strict=True):
            if axis.size in config:
                assert length == config[axis.size] * max(len(stock.gates), 1), of


INPUTS = [
    name
    for name, stock in CATALOGUE.items()
    if name != "EinsumDense" and any(axis.inputs for axis in stock.axes("kernel"))
]


@pytest.mark.parametrize("name", INPUTS)
def test_the_axis_of_the_inputs_meets_their_last_axis(name):
    layer, axes = built(name), CATALOGUE[name].axes("kernel")
    (place,) = (place - len(axes) for place, axis in enumerate(axes) if axis.inputs)
    assert layer.kernel.shape[place] == layer.get_build_config()["input_shape"][-1]


MAKERS = [
    name for name, stock in CATALOGUE.items() if stock.makes[1] and hasattr(keras.layers, name)
]


@pytest.mark.parametrize("name", MAKERS)
def test_a_class_makes_the_sublayers_of_its_entry(name):
    known = getattr(keras.layers, name)  # the zoo may use another name of the class
    layer = next(one for one in zoo.Case(known.__name__).model().layers if type(one) is known)
    ending, kind = CATALOGUE[name].makes
    made = [getattr(layer, key, None) for key in dir(layer) if key.endswith(ending)]
    made = [one for one in made if isinstance(one, keras.layers.Layer)]
    assert made
    assert {type(one).__name__ for one in made} == {kind}


@pytest.mark.parametrize("name", zoo.PRESENT)
def test_every_class_with_weights_of_its_own_has_an_entry(name):
    for layer in owners(name):
        kinds = [kind.__name__ for kind in type(layer).__mro__ if kind.__module__[:6] == "keras."]
        # `SpectralNormalization` adds only the vector of power iteration to the layer it wraps.
        assert kinds[0] in CATALOGUE or kinds[0] == "SpectralNormalization"


def test_subclasses_and_others():
    class Dense(keras.layers.Dense):
        pass

    assert stock_of(Dense(2)) is CATALOGUE["Dense"]
    assert not stock_class(Dense).variables
    assert not stock_of(np.zeros(2)).variables


def test_products_with_a_fast_path_are_those_of_these_classes():
    assert {path.layer.__name__ for path in FAST_PATHS} == {
        *("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D"),
        *("DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Embedding"),
        "ReversibleEmbedding",
    }
