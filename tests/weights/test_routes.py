"""A route finds the same layer before and after it is built."""

import keras
import numpy as np

from frostline._weights.routes import Routes, chains


def made():
    inner = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(2)])
    return keras.Sequential([keras.layers.Dropout(0.5), keras.layers.Dense(2), inner])


def test_a_route_from_a_built_layer_leads_through_one_that_is_not():
    built, other = made(), made()
    built(np.ones((1, 2), "float32"))
    ways = [chain for chain in chains(built) if isinstance(chain[-1], keras.layers.Dense)]
    routes = [Routes().along(chain) for chain in ways]
    assert routes == [["Dense 0"], ["Sequential 0", "Dense 0"], ["Sequential 0", "Dense 1"]]
    inner = other.layers[-1]
    expected = [other.layers[1], *inner.layers]
    found = [Routes().follow(other, route)[-1] for route in routes]
    assert [a is b for a, b in zip(found, expected, strict=True)] == [True] * 3


def test_a_route_ends_where_no_layer_is():
    model = made()
    assert Routes().follow(model, ["Sequential 0", "Dense 2"]) == [model, model.layers[-1]]


def test_a_layer_that_is_held_twice_has_one_way():
    shared = keras.layers.Dense(2)
    around = keras.layers.Layer()
    around.both = [keras.layers.TimeDistributed(shared), shared]
    assert [chain[-1] for chain in chains(around)].count(shared) == 1
