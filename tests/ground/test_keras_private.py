"""Parts of Keras that frostline uses and Keras does not promise: a change fails here."""

import keras
import numpy as np
import pytest

from frostline import _keras


def built():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    return model


def test_scopes_are_seen_inside_a_call_alone():
    assert _keras.current_scope() is None
    assert _keras.current_autocast() is None
    seen = []

    class Probe(keras.layers.Layer):
        def call(self, x):
            seen.append((_keras.in_call(), _keras.current_autocast()))
            return x

    probe = Probe(dtype="mixed_bfloat16")
    probe(np.ones((1, 2), "float32"))
    with keras.StatelessScope() as scope:
        assert _keras.current_scope() is scope
    assert seen == [(True, "bfloat16")]
    assert not _keras.in_call()


def test_variables_are_read_in_their_own_dtype_without_autocast():
    seen = []

    class Probe(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(2,), name="w")

        def call(self, x):
            with _keras.no_autocast():
                seen.append(keras.backend.standardize_dtype(self.w.value.dtype))
            seen.append(keras.backend.standardize_dtype(self.w.value.dtype))
            return x

    Probe(dtype="mixed_bfloat16")(np.ones((1, 2), "float32"))
    assert seen[-2:] == ["float32", "bfloat16"]


def test_an_action_runs_when_variables_have_their_values():
    made, seen = [], []

    def look():
        seen.append([_keras.initialized([variable]) for variable in made])

    with keras.StatelessScope():
        made.append(keras.Variable("zeros", shape=(2,), name="first"))
        _keras.when_initialized(look)
        made.append(keras.Variable("zeros", shape=(2,), name="second"))
        assert not _keras.initialized(made[:1])
    assert seen == [[True, False]]
    assert _keras.initialized(made)


def test_an_action_that_fails_leaves_nothing_to_initialize_twice():
    def fail():
        raise MemoryError

    scope = keras.StatelessScope()
    scope.__enter__()
    made = [keras.Variable("zeros", shape=(2,))]
    _keras.when_initialized(fail)
    made.append(keras.Variable("zeros", shape=(2,)))
    with pytest.raises(MemoryError):
        scope.__exit__()
    assert [_keras.initialized([variable]) for variable in made] == [True, False]
    with keras.StatelessScope():
        pass
    assert _keras.initialized(made)


def test_own_variables_are_the_weights_in_file_order():
    layer = built().layers[0]
    assert [v.name for v in _keras.own_variables(layer)] == ["kernel", "bias"]
    extra = keras.Variable(np.ones(2))
    _keras.set_own_lists(layer, ([*layer.weights, extra], []))
    assert layer.weights[-1] is extra
    layer.again = extra  # allowed, since the tracker already has it
    assert len(layer.weights) == 3


def test_children_are_the_layers_inside():
    model = built()
    assert [c for c in _keras.children(model) if c.weights] == model.layers
    cell = keras.layers.LSTM(2)
    assert [child.name for child in _keras.children(cell)] == ["lstm_cell"]


def functional():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


class SubclassedSequential(keras.Sequential):
    def get_config(self):
        return {}


@pytest.mark.parametrize(
    ("layer", "answer"),
    [
        (keras.Sequential(), True),
        (SubclassedSequential(), False),
        (functional(), True),
        (keras.layers.Dense(2), False),
        (keras.layers.TimeDistributed(keras.layers.Dense(2)), False),
    ],
    ids=["sequential", "subclass", "functional", "layer", "wrapper"],
)
def test_serializes_children(layer, answer):
    assert _keras.serializes_children(layer) is answer


def test_class_config_is_what_a_file_says():
    stored = keras.saving.serialize_keras_object(keras.layers.Dense(2))
    assert _keras.class_config(keras.layers.Dense) == {
        key: stored[key] for key in ("module", "class_name", "registered_name")
    }


def test_saving_a_whole_model_is_told_from_asking_for_a_config(tmp_path):
    seen = []

    @keras.saving.register_keras_serializable("test_keras_private")
    class Spy(keras.layers.Layer):
        def get_config(self):
            seen.append(_keras.saving_whole_model())
            return super().get_config()

    model = keras.Sequential([keras.Input((2,)), Spy()])
    model.get_config()
    model.save(tmp_path / "model.keras")
    assert seen == [False, True]


def test_initialize_writes_a_variable():
    variable = keras.Variable(np.ones(2, "float32"))
    _keras.initialize(variable, keras.ops.zeros(2))
    assert not keras.ops.convert_to_numpy(variable.value).any()


def test_averages_are_those_of_the_optimizer():
    optimizer = keras.optimizers.SGD(0.0, use_ema=True)
    variables = [keras.Variable(np.ones(2, "float32")), keras.Variable(np.zeros(2, "float32"))]
    optimizer.build(variables)
    found = _keras.averages(optimizer)
    assert [v is w for (v, _), w in zip(found, variables, strict=True)] == [True, True]
    optimizer.apply([keras.ops.zeros(2)] * 2)
    assert [keras.ops.convert_to_numpy(average.value).sum() for _, average in found] == [2, 0]


def test_live_objects_are_found():
    model = built()
    model.optimizer.build(model.trainable_variables)
    living = _keras.live(keras.layers.Layer, keras.optimizers.Optimizer)
    assert any(layer is model.layers[0] for layer in _keras.constructed_layers(living))
    assert any(optimizer is model.optimizer for optimizer in _keras.built_optimizers(living))
    listed = _keras.optimized(model.optimizer)
    assert [v is w for v, w in zip(listed, model.trainable_variables, strict=True)] == [True] * 4
    assert not _keras.averages(model.optimizer)
    key = _keras.variable_key(listed[0])
    assert key == model.optimizer._var_key(listed[0])
    model.optimizer.exclude_from_weight_decay(var_list=listed[:1])
    assert model.optimizer.__dict__[_keras.EXCLUSIONS] == {key}
    model.optimizer._use_weight_decay(listed[0])
    assert _keras.EXCLUSIONS_CACHE in model.optimizer.__dict__


def test_the_call_behind_a_symbolic_tensor():
    x = keras.Input((4,))
    first, second = keras.ops.split(x, 2, axis=-1)
    taken = keras.ops.take(second, [1, 0], axis=-1)
    call = _keras.call_of(taken)
    assert call.args[0] is second
    assert call.args[1] == [1, 0]
    assert (call.node, call.index) == (0, 0)
    split = _keras.call_of(second)
    assert (split.index, _keras.call_of(first).index) == (1, 0)
    again = split.again(keras.ops.convert_to_tensor([[1, 2, 3, 4]]))
    assert keras.ops.convert_to_numpy(again).tolist() == [[3, 4]]
    assert _keras.call_of(x).args == ()
    layer = keras.layers.Dense(2)
    for given in (x, x + 1):
        layer(given)
    assert [_keras.call_of(layer(x)).node, layer._inbound_nodes[1].operation] == [2, layer]


@pytest.mark.parametrize("given", ["array", "dictionary", "sequence"])
def test_data_comes_in_batches_of_arrays(given):
    x, y = np.arange(5, dtype="float32"), np.arange(5)

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, at):
            return x[2 * at : 2 * at + 2], y[2 * at : 2 * at + 2]

    data = {"array": (x, y), "dictionary": ({"a": x}, [y]), "sequence": (Sequence(), None)}
    batches = _keras.Data(data[given][0], data[given][1], None, 2)
    assert batches.length == 3
    seen = list(batches.batches())
    for at, batch in enumerate(seen):
        arrays = [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]
        assert all(isinstance(array, np.ndarray) for array in arrays)
        np.testing.assert_array_equal(arrays[0], x[2 * at : 2 * at + 2])
    assert [batch[2] for batch in seen] == [None] * 3


def test_a_value_is_cast_as_its_variable_is_in_a_call():
    seen = []

    class Probe(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(2,), name="w")

        def call(self, x):
            cast = _keras.cast_as_read(self.w, keras.ops.ones(2, "float32"))
            seen.append(keras.backend.standardize_dtype(cast.dtype))
            return x

    Probe(dtype="mixed_bfloat16")(np.ones((1, 2), "float32"))
    assert seen[-1] == "bfloat16"


class WithLossOfItsOwn(keras.Sequential):
    def compute_loss(self, x, y, y_pred, sample_weight=None):
        return keras.ops.sum(y_pred)


def test_a_compiled_loss_is_computed_and_not_built():
    model, x = built(), np.ones((1, 3), "float32")
    assert _keras.has_loss(model)
    loss, losses = model._compile_loss, [list(layer._losses) for layer in model.layers]
    with _keras.without_traces(model, model.layers):
        assert _keras.compute_loss(model, x, model(x), model(x), None) == 0
        assert model._compile_loss.built
    assert model._compile_loss is loss
    assert not loss.built
    assert [layer._losses for layer in model.layers] == losses
    own = WithLossOfItsOwn([keras.Input((3,))])
    own.compile("sgd")
    assert _keras.has_loss(own)
    assert _keras.compute_loss(own, x, None, keras.ops.convert_to_tensor(x), None) == 3
    plain = keras.Sequential([keras.Input((3,))])
    plain.compile("sgd")
    assert not _keras.has_loss(plain)
