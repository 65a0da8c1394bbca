"""KerasHub backbones from small configs with random weights; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

import frostline as fl
from frostline._freezing.layer import PartlyFrozen
from helpers import (
    array,
    assert_all_same_bits,
    assert_only_the_rest_moved,
    assert_same_bits,
    assert_same_outputs,
    fill_masked,
    frozen_masks,
    signed_noise,
    train,
    train_restoring,
    value,
    values,
    weights,
)

pytestmark = pytest.mark.usefixtures("quickly_compiled")

hub = keras_hub.models
load = keras.saving.load_model

RANDOM = np.random.default_rng(0)
TOKENS, LENGTH, WIDTH, BATCH = 20, 6, 16, 4
IDS = RANDOM.integers(0, TOKENS, (BATCH, LENGTH)).astype("int32")
PADDING = (np.arange(LENGTH) < [[6], [6], [4], [5]]).astype("int32")
TEXT = {"token_ids": IDS, "padding_mask": PADDING}
SEGMENTS = TEXT | {"segment_ids": (np.arange(LENGTH) >= 3).astype("int32") * np.ones_like(IDS)}
IMAGES = RANDOM.normal(size=(BATCH, 16, 16, 3)).astype("float32")
TRANSFORMER = {
    "vocabulary_size": TOKENS,
    "num_layers": 2,
    "hidden_dim": WIDTH,
    "intermediate_dim": 24,
}
CAUSAL = {"weighted_metrics": []}  # the default metric is the accuracy of a language model


def with_head(backbone: Any, features: Any) -> keras.Model:
    """Add a classifier by hand."""
    return keras.Model(backbone.input, keras.layers.Dense(3, name="head")(features))


def bert() -> keras.Model:
    backbone = hub.BertBackbone(
        **TRANSFORMER, num_heads=4, dropout=0.0, max_sequence_length=LENGTH, name="backbone"
    )
    return with_head(backbone, backbone(backbone.input)["pooled_output"])


def gpt2() -> keras.Model:
    return hub.GPT2CausalLM(
        hub.GPT2Backbone(**TRANSFORMER, num_heads=4, dropout=0.0, max_sequence_length=LENGTH)
    )


def gemma(key_value_heads: int = 2) -> keras.Model:
    sizes = {"num_query_heads": 4, "num_key_value_heads": key_value_heads, "head_dim": 6}
    return hub.GemmaCausalLM(hub.GemmaBackbone(**TRANSFORMER, **sizes))


def resnet() -> keras.Model:
    backbone = hub.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(16, 16, 3),
        name="backbone",
    )
    features = keras.layers.GlobalAveragePooling2D()(backbone(backbone.input))
    return with_head(backbone, features)


def freeze_bert(model: keras.Model) -> None:
    fl.freeze(model, "*token_embedding/embeddings", ~fl.tokens([3, -1]))
    fl.freeze(model, "*segment_embedding/embeddings", fl.units(slice(8)))
    fl.freeze(model, "*self_attention_layer/*", fl.heads([0, 2]))
    fl.freeze(model, "*intermediate_dense/*", fl.units(slice(0, None, 2)))
    fl.freeze(model, "*position_embedding/*", fl.at[:2])
    fl.freeze(model, "*output*/bias")
    fl.freeze(model, "*layer_norm/beta")


def freeze_gpt2(model: keras.Model) -> None:
    fl.freeze(model, "*token_embedding/*", fl.tokens(range(10)))
    fl.freeze(model, "*attention/*", fl.heads([0, 2]))
    fl.freeze(model, "*feedforward*/bias")


def freeze_gemma(model: keras.Model) -> None:
    fl.freeze(model, "*token_embedding/*", fl.tokens(range(0, TOKENS, 3)))
    fl.freeze(model, "*attention/*", fl.heads([0, 1, 2]))
    fl.freeze(model, "*ffw_gating/kernel", fl.units(slice(0, 4)))
    fl.freeze(model, "*norm*/scale", fl.at[::2])
    fl.freeze(model, "*pre_ffw_norm/scale")


def freeze_resnet(model: keras.Model) -> None:
    fl.freeze(model, "*_conv/kernel", fl.units(slice(0, 4)))
    fl.freeze(model, "*_bn/*", fl.units([0, 2]))
    fl.freeze(model, "backbone*1_bn/beta")
    fl.freeze(model, "head/bias")


@dataclass(frozen=True)
class Case:
    """How to make a model, what to freeze in it, and what to call it on."""

    make: Callable[[], keras.Model]
    freeze: Callable[[keras.Model], None]
    inputs: Any
    compiling: dict[str, Any]

    def model(self) -> keras.Model:
        keras.utils.set_random_seed(0)
        model = self.make()
        for weight in weights(model):  # avoids zeros, ones and equal rows
            before = value(weight.variable)
            noise = np.random.default_rng(before.size).normal(size=before.shape)
            weight.variable.assign(before + 0.1 * noise)
        return model


CASES = {
    "BERT": Case(bert, freeze_bert, SEGMENTS, {}),
    "GPT-2": Case(gpt2, freeze_gpt2, TEXT, CAUSAL),
    "Gemma": Case(gemma, freeze_gemma, TEXT, CAUSAL),
    "ResNet": Case(resnet, freeze_resnet, IMAGES, {}),
}


def assert_slots_of_what_trains_alone(model: keras.Model) -> None:
    slots = sum(np.prod(v.shape) for v in model.optimizer.variables if v.ndim)
    assert slots == 2 * sum(np.prod(v.shape) for v in model.trainable_variables)
    entries = sum(mask.size - mask.sum() for mask in frozen_masks(model))
    assert slots == 2 * entries


def assert_slots_are_those_of_the_reference(model, plain, masks):
    """After a thaw, slots are kept where an entry kept training and zero where it was frozen."""
    of = {id(weight.variable): mask for weight, mask in zip(weights(model), masks, strict=True)}
    slots = zip(model.optimizer._momentums, plain.optimizer._momentums, strict=True)
    for variable, (slot, reference) in zip(model.trainable_variables, slots, strict=True):
        expected = np.where(of[id(variable)], 0, value(reference))
        np.testing.assert_allclose(value(slot), expected, rtol=1e-3, atol=1e-6)


# Weight files hold slots too; Keras warns if they belong to other variables.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
# Keras does not recompile KerasHub tasks as they were saved, so their slots are not loaded.
@pytest.mark.filterwarnings("ignore:.compile\\(\\). was not called as part of:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_backbone_partly_frozen(name, tmp_path):
    case = CASES[name]
    model, plain = case.model(), case.model()
    before, outputs = values(model), array(model(case.inputs))
    y = RANDOM.normal(size=outputs.shape).astype("float32")

    case.freeze(model)

    assert_all_same_bits(values(model), before)
    assert_same_outputs(lambda: array(model(case.inputs)), outputs)
    masks = frozen_masks(model)
    assert_all_same_bits(values(plain), before)

    train(model, case.inputs, y, **case.compiling)

    assert_only_the_rest_moved(model, before)
    assert_slots_of_what_trains_alone(model)
    train_restoring(plain, masks, case.inputs, y, **case.compiling)
    for after, expected in zip(values(model), values(plain), strict=True):
        np.testing.assert_allclose(after, expected, rtol=2e-5, atol=2e-6)

    check_files(model, plain, masks, case.inputs, tmp_path)

    trained = values(model)
    fl.unfreeze(model)
    assert_all_same_bits(values(model), trained)
    assert not any(isinstance(layer, PartlyFrozen) for layer in model._flatten_layers())
    assert_slots_are_those_of_the_reference(model, plain, masks)


def check_files(model, plain, masks, inputs, folder):
    path = folder / "model.keras"
    model.save(path)
    loaded = resumed(model, path) if isinstance(model, hub.Task) else load(path)
    assert_all_same_bits(frozen_masks(loaded), masks)
    assert_all_same_bits(values(loaded), values(model))
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        assert_same_bits(value(one), value(other))
    assert_same_bits(array(loaded(inputs)), array(model(inputs)))

    of_plain = values(plain)
    plain.save_weights(folder / "plain.weights.h5")
    model.save_weights(folder / "frozen.weights.h5")
    plain.load_weights(folder / "frozen.weights.h5")
    assert_all_same_bits(values(plain), values(model))
    loaded.load_weights(folder / "plain.weights.h5")
    assert_all_same_bits(values(loaded), of_plain)
    assert_all_same_bits(frozen_masks(loaded), masks)


def resumed(model, path):
    """Load a task and restore its optimizer with the lines that the warning gives."""
    with pytest.warns(fl.RestoreWarning, match="overrides `compile`, .*AdamW at step 3"):
        loaded = load(path)
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    loaded.compile(optimizer, "mse", **CAUSAL)
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(path)
    return loaded


# --- heads --------------------------------------------------------------------------------------


def llama() -> keras.Model:
    return hub.LlamaBackbone(**TRANSFORMER, num_query_heads=8, num_key_value_heads=4)


def mistral() -> keras.Model:
    return hub.MistralBackbone(**TRANSFORMER, num_query_heads=2, num_key_value_heads=2)


def xlnet() -> keras.Model:
    return hub.XLNetBackbone(**TRANSFORMER, num_heads=4, dropout=0.0)


full = pytest.mark.full
ATTENTION = [
    pytest.param(lambda: gemma(1), [0, 3], TEXT, id="Gemma, one key/value head"),
    pytest.param(gemma, [0, 1, 3], TEXT, id="Gemma", marks=full),
    pytest.param(gpt2, [1, 2], TEXT, id="GPT-2", marks=full),
    pytest.param(bert, [0, 3], SEGMENTS, id="BERT", marks=full),
    pytest.param(llama, [0, 1], TEXT, id="Llama", marks=full),
    pytest.param(mistral, [0], TEXT, id="Mistral", marks=full),
    pytest.param(xlnet, [0, 2], SEGMENTS, id="XLNet", marks=full),
]


@pytest.mark.once
@pytest.mark.parametrize(("make", "picked", "inputs"), ATTENTION)
def test_heads_are_what_the_output_reads_through_them(make, picked, inputs):
    """If the output rows of some heads are zero, the other weights of those heads do nothing."""
    model = make()
    fl.freeze(model, where=fl.heads(picked))
    masks = {id(w.variable): m for w, m in zip(weights(model), frozen_masks(model), strict=True)}
    fl.unfreeze(model)
    projections = [w for w in weights(model) if masks[id(w.variable)].any()]
    out = [w for w in projections if "output" in w.path]
    assert len(out) == 2
    assert len(projections) >= 4

    def run():
        outputs = model(inputs)
        return array(outputs["sequence_output"] if isinstance(outputs, dict) else outputs)

    full = run()
    fill_masked(out, masks, np.zeros)
    silent = run()
    fill_masked([w for w in projections if w not in out], masks, signed_noise)
    np.testing.assert_allclose(run(), silent, rtol=1e-5, atol=1e-6)
    assert np.abs(full - silent).max() > 1e-4
    fill_masked(projections, masks, signed_noise, np.logical_not)
    assert np.abs(run() - silent).max() > 1e-3


# --- presets, configs and generation ------------------------------------------------------------


@pytest.mark.once
@pytest.mark.full
def test_a_preset_is_saved_thawed(tmp_path):
    model = gpt2()
    fl.freeze(model, "*attention/*", fl.heads(0))
    masks = frozen_masks(model)
    with fl.thawed(model):
        model.save_to_preset(str(tmp_path))
    assert_all_same_bits(frozen_masks(model), masks)
    loaded = hub.GPT2Backbone.from_preset(str(tmp_path))
    assert_all_same_bits(values(loaded), values(model.backbone))
    model.backbone.save_to_preset(str(tmp_path))
    with pytest.raises(ValueError, match="not a subclass of calling class"):
        hub.GPT2Backbone.from_preset(str(tmp_path))


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:.compile\\(\\). was not called as part of:UserWarning")
@pytest.mark.parametrize("frozen", ["*token_embedding/embeddings", "*query/kernel"])
@pytest.mark.parametrize("around", [lambda backbone: backbone, hub.LlamaCausalLM])
def test_a_config_that_makes_another_architecture(around, frozen, tmp_path):
    """The config of a Llama backbone does not say that its embeddings are tied."""

    def tied():
        sizes = {"num_query_heads": 8, "num_key_value_heads": 4}
        return around(hub.LlamaBackbone(**TRANSFORMER, **sizes, tie_word_embeddings=True))

    model = tied()
    fl.freeze(model, frozen, fl.at[:2])
    model.save(tmp_path / "model.keras")
    message = (
        r"^llama\w+: the architecture of the model that was made differs from the saved one; "
        r"got 21 weights instead of 20, only made: [\w/]*token_embedding/reverse_embeddings. "
        r".*Make the model in code .* `model.load_weights\(file\)`"
    )
    with pytest.raises(fl.RestoreError, match=message):
        load(tmp_path / "model.keras")
    again = tied()
    again.load_weights(tmp_path / "model.keras")
    fl.freeze(again, frozen, fl.at[:2])
    assert_all_same_bits(values(again), values(model))
    assert_all_same_bits(frozen_masks(again), frozen_masks(model))


@pytest.mark.full
def test_what_a_model_generates_follows_a_freeze():
    model = gpt2()
    prompt = {key: np.where(np.arange(LENGTH) < 3, array, 0) for key, array in TEXT.items()}

    def generated():
        return model.generate(prompt, stop_token_ids=None)["token_ids"]

    model.compile(sampler="greedy")
    generated()
    embeddings = model.backbone.token_embedding.embeddings
    for rows in (range(5), range(10, 15)):  # the parts have the same shapes
        fl.unfreeze(model)
        fl.freeze(model, embeddings, fl.tokens(rows))
        embeddings.assign(RANDOM.normal(size=embeddings.shape))
        first = generated()
        model.compile(sampler="greedy")
        assert_same_bits(first, generated())
