"""What XLA compiles for a partly frozen model grows linearly with its depth."""

import jax
import keras
import numpy as np
import pytest

import frostline as fl


def compiled(layer, where, depth):
    """The text of the compiled gradient of a chain of layers."""
    model = keras.Sequential([keras.Input((4,)), *(layer() for _ in range(depth))])
    fl.freeze(model, "*/kernel", where)
    variables = model.trainable_variables, model.non_trainable_variables
    trained, still = ([v.value for v in part] for part in variables)

    def loss(trained, still):
        output, _ = model.stateless_call(trained, still, np.ones((8, 4), "float32"))
        return keras.ops.sum(output**2)

    return str(jax.jit(jax.grad(loss)).lower(trained, still).compile().as_text())


# XLA repeats cheap operations wherever their result is read. A product over one position is such
# an operation: with a row frozen in each of 60 layers the first step took 5.8 times as long.
@pytest.mark.parametrize("where", [fl.at[0], fl.at[:, -1]], ids=str)
@pytest.mark.parametrize(
    "layer",
    [lambda: keras.layers.Dense(4), lambda: keras.layers.EinsumDense("ab,bc->ac", (4,))],
    ids=["Dense", "EinsumDense"],
)
def test_three_times_as_many_layers_compile_to_three_times_as_much(layer, where):
    shallow, deep = (len(compiled(layer, where, depth)) for depth in (6, 18))
    assert deep < 3.1 * shallow
