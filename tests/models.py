"""Models and data for several test modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import frostline as fl
from frostline._deltas.model import weights_in
from helpers import everything_in, value, weights

layers = keras.layers


def data(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs of a shape, and three random targets for each."""
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype("float32")
    return x, random.normal(size=(shape[0], 3)).astype("float32")


def dense_layers(**named: int | dict[str, Any]) -> keras.Sequential:
    """Dense layers for six inputs; give the units or the arguments of each layer by its name."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,))])
    for place, (name, given) in enumerate(named.items(), 1):
        arguments = {"units": given} if isinstance(given, int) else given
        activation = "tanh" if place < len(named) else None
        model.add(layers.Dense(activation=activation, name=name, **arguments))
    return model


def dense(inputs: int = 6, units: int = 8, name: str = "hidden") -> keras.layers.Dense:
    """A built layer without a model."""
    layer = layers.Dense(units, name=name)
    layer.build((None, inputs))
    return layer


class Holder(layers.Layer):
    """One weight `w` of any shape, dtype and name."""

    def __init__(self, **weight: Any) -> None:
        super().__init__(name="holder")
        self.weight = weight

    def build(self, *_: Any) -> None:
        self.w = self.add_weight(**self.weight)


def holder(
    shape: tuple[int, ...], dtype: str = "float32", name: str = "w", initializer: str = "zeros"
) -> Holder:
    layer = Holder(shape=shape, dtype=dtype, name=name, initializer=initializer)
    layer.build()
    return layer


class TwoOfOnePath(keras.Model):
    """Two layers with the same name, so that their weights have the same paths."""

    def __init__(self) -> None:
        super().__init__(name="model")
        self.pair = [layers.Dense(3, name="same"), layers.Dense(3, name="same")]

    def call(self, x: Any) -> Any:
        return self.pair[1](self.pair[0](x))


def two_of_one_path() -> TwoOfOnePath:
    made = TwoOfOnePath()
    made(np.zeros((1, 3), "float32"))
    return made


@keras.saving.register_keras_serializable("models")
class TiedEmbedding(layers.Layer):
    """An embedding that is also the output projection, as in a language model."""

    def __init__(
        self, tokens: int, width: int, table: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = {"tokens": tokens, "width": width, "table": table or {}}
        self.table = layers.ReversibleEmbedding(tokens, width, name="table", **(table or {}))

    def build(self, input_shape: Any) -> None:
        self.table.build(input_shape)

    def call(self, ids: Any) -> Any:
        return self.table(self.table(ids), reverse=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.arguments}


@keras.saving.register_keras_serializable("models")
class Around(layers.Layer):
    """A layer that makes another one and does not list it in its config."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, name="inside")

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


@keras.saving.register_keras_serializable("models")
class Tagger(keras.Model):
    """A subclassed model whose config lists no layers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recurrent = layers.LSTM(3, name="recurrent")
        self.around = Around(name="around")
        self.blocks = [layers.Dense(3, name="first"), layers.Dense(3, name="second")]

    def call(self, inputs: Any) -> Any:
        x = self.around(self.recurrent(inputs))
        for block in self.blocks:
            x = block(x)
        return x


def large() -> keras.Model:
    """A nested model: attention, recurrent, normalization, convolution and embedding layers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Embedding(20, 8, name="tokens")(inputs)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, name="gru"), name="both")(x)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.LayerNormalization(name="scaled", center=False)(x)
    x = layers.TimeDistributed(layers.Dense(5, name="inner"), name="each")(x)
    encoder = keras.Sequential(
        [keras.Input((20,)), layers.Dense(6, name="hidden"), layers.Dense(4, name="last")],
        name="encoder",
    )
    x = encoder(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3, use_bias=False, name="out")(x), name="large")


def subclassed() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = Tagger()
    model(np.zeros((2, 4, 6), "float32"))
    return model


def small() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, name="hidden"), layers.Dense(2, name="out")]
    )


MAKERS: dict[str, Callable[[], keras.Model]] = {
    "large": large,
    "subclassed": subclassed,
    "small": small,
}


def frozen_variously(model: keras.Model) -> keras.Model:
    """Freeze whole weights, blocks and scattered positions along axes, and single entries."""
    chosen: dict[str, Any] = {
        "bias": None,
        "recurrent_kernel": fl.at[:, ::2],
        "hidden/kernel": lambda w: np.arange(w.size).reshape(w.shape) % 5 == 1,
        "kernel": fl.at[0],
    }
    for found in weights(model):
        for end, where in chosen.items():
            if found.path.endswith(end):
                fl.freeze(model, found.path, where)
                break
    return model


def moved(model: keras.Model, path: str, index: Any, value: float) -> keras.Model:
    """Write one entry of a weight, frozen or not."""
    layer_name, _, name = path.rpartition("/")
    layer: Any = model
    for part in layer_name.split("/"):
        layer = layer.get_layer(part)
    variable = getattr(layer, name)
    array = np.array(keras.ops.convert_to_numpy(variable.value))
    array[index] = value
    variable.assign(array)
    return model


def rewritten(model: Any, seed: int = 0) -> Any:
    """Give all trainable entries and moving statistics new values, as training would."""
    random = np.random.default_rng(seed)
    for weight in weights_in(model):
        if weight.layer_trainable:
            variable = weight.found.variable
            free = np.ones(weight.shape, bool) if weight.state else ~fl.frozen_mask(variable)
            new = random.normal(size=weight.shape).astype("float32").astype(value(variable).dtype)
            variable.assign(np.where(free, new, value(variable)))
    return model


def twin(make: Callable[[], Any], source: Any) -> Any:
    """A new model with the same weights and nothing frozen."""
    model = make()
    for weight, array in zip(weights_in(model), everything_in(source), strict=True):
        weight.found.variable.assign(array)
    return model


def trained(make: Callable[[], keras.Model] = large) -> tuple[keras.Model, dict[str, np.ndarray]]:
    """A partly frozen model with new trainable values, and a snapshot from before."""
    model = frozen_variously(make())
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = fl.snapshot(model)
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(value(weight) + random.normal(size=weight.shape))
    return model, before


def leak(model: keras.Model) -> None:
    """Move one frozen entry of `large`."""
    kernel = model.get_layer("lstm").cell.kernel
    changed = value(kernel)
    changed[0, 3] += 1
    kernel.assign(changed)
