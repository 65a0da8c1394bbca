"""Every Keras layer that has weights, with a random part of each weight frozen."""

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._fast.paths import has_fast_path
from frostline._freezing.layer import PartlyFrozen
from frostline._weights.view import FrozenVariable, View
from helpers import (
    array,
    assert_all_same_bits,
    assert_same_bits,
    assert_same_outputs,
    freeze_at_random,
    frozen_masks,
    train,
    train_restoring,
    value,
    values,
    weights,
)
from zoo import (
    ABSTRACT,
    OTHER_FRAMEWORKS,
    PRESENT,
    SPECIMENS,
    WITHOUT_WEIGHTS,
    Case,
    keras_layer_classes,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not support masking.*:UserWarning"),
    pytest.mark.usefixtures("quickly_compiled"),
]


# Other layers have no fast path: they see whole weights, so one kind of freeze is enough.
FAST = {
    *("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D"),
    *("SeparableConv2D", "Dense", "EinsumDense", "Embedding", "ReversibleEmbedding"),
    *("GroupedQueryAttention", "MultiHeadAttention", "TimeDistributed"),
}
CELLS = [
    (name, kind)
    for name in PRESENT
    for kind in (("entries", "axis") if name in FAST else ("both",))
]


def test_every_layer_class_of_keras_is_known():
    known = {*SPECIMENS, *OTHER_FRAMEWORKS, *ABSTRACT, *WITHOUT_WEIGHTS}
    assert keras_layer_classes() - known == set()


@pytest.mark.parametrize(("name", "kind"), CELLS, ids=map("-".join, CELLS))
def test_a_partly_frozen_layer_computes_trains_saves_and_thaws(name, kind, tmp_path):
    case = Case(name)
    x, y = case.data()
    model, plain = case.model(), case.model()
    kinds_before = [type(layer) for layer in model.layers]
    objects = [weight.variable for weight in weights(model)]
    before, outputs = values(model), model(x)
    assert any(map(has_fast_path, weights(model))) is (name in FAST)

    masks = freeze_at_random(model, kind)

    assert [id(weight.variable) for weight in weights(model)] == [id(v) for v in objects]
    assert_all_same_bits(values(model), before)
    assert_same_outputs(lambda: array(model(x)), array(outputs))
    assert_all_same_bits([fl.frozen_mask(v) for v in objects], masks)

    train(model, x, y)

    for after, start, mask in zip(values(model), before, masks, strict=True):
        assert_same_bits(after, start, where=mask)
    assert any((a != b).any() for a, b in zip(values(model), before, strict=True))
    if not case.specimen.writes_itself:
        train_restoring(plain, masks, x, y)
        for after, expected in zip(values(model), values(plain), strict=True):
            np.testing.assert_allclose(after, expected, rtol=2e-5, atol=2e-6)

    check_files(model, case, masks, x, tmp_path)

    trained = values(model)
    fl.unfreeze(model)
    assert_all_same_bits(values(model), trained)
    assert [type(layer) for layer in model.layers] == kinds_before
    assert not any(isinstance(v, (View, FrozenVariable)) for v in model.weights)
    assert not any(isinstance(layer, PartlyFrozen) for layer in model._flatten_layers())


def check_files(model, case, masks, x, folder):
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert_all_same_bits(frozen_masks(loaded), masks)
    assert_all_same_bits(values(loaded), values(model))
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        assert_same_bits(value(one), value(other))

    model.save_weights(folder / "model.weights.h5")
    plain = case.model()
    plain.load_weights(folder / "model.weights.h5")
    assert_all_same_bits(values(plain), values(model))
    fresh = case.model()
    freeze_at_random(fresh, "axis", seed=7)
    fresh.load_weights(folder / "model.weights.h5")
    assert_all_same_bits(values(fresh), values(model))
