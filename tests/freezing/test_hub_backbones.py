"""Small versions of every KerasHub backbone: freeze a part, train, save, thaw; heads, tokens."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from keras_hub.src.models.gemma3n.gemma3n_audio_layers import Gemma3nAudioConformerAttention
from keras_hub.src.models.mobilenetv5.mobilenetv5_attention import Attention2d
from keras_hub.src.models.qwen3_5.qwen3_5_vision_encoder import Qwen3_5VisionAttention

import frostline as fl
from frostline._arrays.equation import Equation
from frostline._catalogue import TOKEN, stock_of
from frostline._errors import SelectionError
from frostline._freezing.layer import PartlyFrozen
from helpers import (
    array,
    assert_all_same_bits,
    assert_frozen_stayed,
    assert_same_bits,
    assert_same_outputs,
    compile_for_test,
    fill_masked,
    frozen_masks,
    signed_noise,
    value,
    values,
    weights,
)
from hub_backbones import ALL, VOCABULARY, WITHOUT, Small

BACKEND = keras.backend.backend()
RANDOM = np.random.default_rng(0)

pytestmark = [
    pytest.mark.usefixtures("quickly_compiled"),
    pytest.mark.filterwarnings("ignore:(.|\\n)*does not support masking:UserWarning"),
    pytest.mark.filterwarnings("ignore:(.|\\n)*looks like it has unbuilt state:UserWarning"),
    pytest.mark.filterwarnings("ignore:The 'rwkv_ops' package is not installed:UserWarning"),
    pytest.mark.filterwarnings("ignore:(.|\\n)*Explicitly requested dtype int64:UserWarning"),
    pytest.mark.filterwarnings("ignore:Skipping nested container at:UserWarning"),
    # Some weights of a backbone do not affect its outputs, such as the last pooling.
    pytest.mark.filterwarnings("ignore:Gradients do not exist for variables:UserWarning"),
]


@keras.saving.register_keras_serializable("tests")
class Joined(keras.layers.Layer):
    """Joins all outputs of a backbone into one array, so that one loss covers them all."""

    def call(self, outputs: Any) -> Any:
        ops = keras.ops
        if isinstance(outputs, dict):  # attention scores are left out
            outputs = {name: one for name, one in outputs.items() if "attentions" not in name}
        flat = [ops.reshape(ops.cast(one, "float32"), (-1,)) for one in keras.tree.flatten(outputs)]
        return ops.concatenate(flat)[None]


def model_of(small: Small, vocabulary: int = VOCABULARY) -> Any:
    """A backbone with joined outputs and noisy weights, so that none is all zeros or ones."""
    keras.utils.set_random_seed(0)
    backbone = small.make(vocabulary)
    model = keras.Model(backbone.input, Joined(name="joined")(backbone(backbone.input)))
    for weight in weights(model):
        before = value(weight.variable)
        noise = np.random.default_rng(before.size).normal(size=before.shape)
        weight.variable.assign(before + 0.1 * noise)
    return model


def run(model: Any, inputs: Any) -> np.ndarray:
    return array(model(inputs, training=False))


def step(model: Any, inputs: Any) -> None:
    """Take one AdamW step with weight decay, on a loss over all outputs."""
    goal = np.random.default_rng(1).normal(size=run(model, inputs).shape).astype("float32")
    compile_for_test(model)
    model.train_on_batch(inputs, goal)


def of_product(model: Any, *products: str) -> list[Any]:
    """Kernels and biases of Keras layers that compute one of these products."""
    found = [w for w in weights(model) if stock_of(w.owner).product in products]
    return [weight.variable for weight in found if weight.variable.name in ("kernel", "bias")]


def freeze_some(model: Any, small: Small) -> None:
    """Freeze some heads, units, tokens, slices and whole weights."""
    if small.heads is not None:
        fl.freeze(model, where=fl.heads(list(small.heads)))
    every = [weight.variable for weight in weights(model)]
    units = of_product(model, "matmul", "conv", "conv_transpose")[::2]
    if units:
        fl.freeze(model, units, fl.units([0]))
    if small.tokens:
        fl.freeze(model, where=fl.tokens([0, -1]))
    fl.freeze(model, [every[0], *every[5::7]])
    cut = [variable for variable in every[1::5] if len(variable.shape)]
    fl.freeze(model, cut, fl.at[..., :1])


def frozen_by(model: Any, selection: Any) -> dict[int, np.ndarray]:
    """The mask that a selection gives for each weight, by the variable's id."""
    fl.freeze(model, where=selection)
    masks = {id(w.variable): fl.frozen_mask(w.variable) for w in weights(model)}
    fl.unfreeze(model)
    return {key: mask for key, mask in masks.items() if mask.any()}


def kept(model: Any, small: Small) -> list[np.ndarray]:
    """The weights that a file restores exactly, without those that layers recompute."""
    found = weights(model)
    return [value(w.variable) for w in found if w.variable.name not in small.anew]


def saved(model: Any, folder: Any) -> Any:
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


KEPT = {"Flux", "GPTNeoX", "SwinTransformer", "T5"}  # the usual suite tests only these


def cases(names: Any) -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.once if name in KEPT else pytest.mark.full, id=name)
        for name in names
        if BACKEND not in ALL[name].fails
    ]


@pytest.mark.once
def test_every_backbone_of_keras_hub_is_in_the_table():
    hub = keras_hub.models
    kinds = {kind for kind in vars(hub).values() if inspect.isclass(kind)}
    known = {getattr(hub, name, None) or getattr(hub, f"{name}Backbone") for name in ALL}
    assert {kind for kind in kinds if issubclass(kind, hub.Backbone)} == known | {
        getattr(hub, name) for name in WITHOUT
    }


@pytest.mark.parametrize("name", cases(ALL))
def test_a_backbone_partly_frozen(name, tmp_path):
    small = ALL[name]
    model = model_of(small)
    inputs = small.inputs(model)
    before, outputs = values(model), run(model, inputs)

    freeze_some(model, small)

    masks = frozen_masks(model)
    assert_all_same_bits(values(model), before)
    # Rounding errors add up in a deep backbone.
    assert_same_outputs(lambda: run(model, inputs), outputs, atol=1e-4)

    step(model, inputs)

    assert_frozen_stayed(model, before)
    pairs = zip(values(model), before, masks, strict=True)
    moved = [(now != old)[~mask].any() for now, old, mask in pairs if not mask.all()]
    assert np.mean(moved) > 0.8

    loaded = saved(model, tmp_path)
    assert_all_same_bits(frozen_masks(loaded), masks)
    assert_all_same_bits(kept(loaded, small), kept(model, small))
    if not small.anew:
        assert_same_bits(run(loaded, inputs), run(model, inputs))
    model.save_weights(tmp_path / "model.weights.h5")
    plain = model_of(small)
    plain.load_weights(tmp_path / "model.weights.h5")
    assert_all_same_bits(kept(plain, small), kept(model, small))

    trained = values(model)
    fl.unfreeze(model)
    assert_all_same_bits(values(model), trained)
    assert not any(isinstance(layer, PartlyFrozen) for layer in model._flatten_layers())


def reads_heads(weight: Any, mask: np.ndarray) -> bool:
    """Whether a weight has heads along an axis that it sums over."""
    if weight.variable.name != "kernel":
        return False
    axis = mask.ndim - 2
    if stock_of(weight.owner).product == "einsum":
        equation = Equation.parse(weight.owner.equation)
        axes = [equation.kernel.index(letter) for letter in equation.summed]
    else:
        axes = [axis]
    return any(np.diff(mask.astype(int), axis=axis).any() for axis in axes)


@pytest.mark.parametrize("name", cases(name for name in ALL if ALL[name].heads is not None))
def test_heads_are_what_the_output_reads_through_them(name):
    small = ALL[name]
    model = model_of(small)
    inputs = small.inputs(model)
    masks = frozen_by(model, fl.heads(list(small.heads or ())))
    named = [w for w in weights(model) if id(w.variable) in masks]
    # Deformable attention has no output projection: it returns the sampled values directly.
    named = [w for w in named if "Deformable" not in type(w.layers[-2]).__name__]
    named = [w for w in named if not any(part in w.path for part in small.unread)]
    assert_read_through_the_output(named, masks, lambda: run(model, inputs))


def assert_read_through_the_output(named: Any, masks: Any, outputs: Any) -> None:
    """If the output rows of some heads are zero, the other weights of those heads do nothing."""
    out = [weight for weight in named if reads_heads(weight, masks[id(weight.variable)])]
    assert out
    assert len(named) >= 2 * len(out)

    full = outputs()
    fill_masked(out, masks, np.zeros)
    silent = outputs()
    fill_masked([weight for weight in named if weight not in out], masks, signed_noise)
    np.testing.assert_allclose(outputs(), silent, rtol=1e-5, atol=1e-6)
    assert np.abs(full - silent).max() > 1e-4
    for weight in out:  # each one affects the outputs
        before = outputs()
        fill_masked([weight], masks, signed_noise, np.logical_not)
        assert np.abs(outputs() - before).max() > 1e-5, weight.path


@pytest.mark.once
@pytest.mark.parametrize("name", sorted(KEPT))
def test_the_smallest_head_is_one_of_these_heads(name):
    model = model_of(ALL[name])
    masks = frozen_by(model, fl.heads(1))
    for weight in weights(model):
        mask = masks.get(id(weight.variable), False)
        old = value(weight.variable)
        weight.variable.assign(np.where(mask, old / 1e3, old + np.sign(old)))
    chosen = frozen_by(model, fl.smallest(1, of="heads"))
    assert chosen.keys() == masks.keys()
    for key, mask in masks.items():
        assert (chosen[key] == mask).all()


@pytest.mark.once
def test_heads_of_the_images_of_qwen():
    """Tested by itself: Qwen's encoder takes single images of any size, not a training batch."""
    layer = Qwen3_5VisionAttention(24, 4)
    layer.build((None, 24))
    masks = frozen_by(layer, fl.heads([0, 2]))
    inputs = RANDOM.normal(size=(5, 24)), tuple(RANDOM.normal(size=(2, 5, 6)))
    tensors = keras.tree.map_structure(lambda x: keras.ops.convert_to_tensor(x, "float32"), inputs)
    named = [weight for weight in weights(layer) if id(weight.variable) in masks]
    assert [weight.path for weight in named] == ["qkv/kernel", "qkv/bias", "proj/kernel"]
    assert_read_through_the_output(named, masks, lambda: array(layer(*tensors)))


@pytest.mark.once
def test_heads_of_the_sounds_of_gemma_3n():
    """An inner layer holds the heads; the outer layer holds the output projection."""
    sizes = {"attention_chunk_size": 2, "attention_logit_cap": 50.0, "gradient_clipping": 1e3}
    around = {"num_attention_context_right": 1, "num_attention_context_left": 2}
    layer = Gemma3nAudioConformerAttention(24, num_attention_heads=4, **sizes, **around)
    inputs = RANDOM.normal(size=(2, 6, 24)).astype("float32"), np.zeros((2, 6), bool)
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    layer(*tensors)
    masks = frozen_by(layer, fl.heads([0, 2]))
    named = [weight for weight in weights(layer) if id(weight.variable) in masks]
    assert [weight.path.split("/")[-2] for weight in named] == [
        *("pos_proj", "q_proj", "k_proj", "v_proj", "post")
    ]
    assert_read_through_the_output(named, masks, lambda: array(layer(*tensors)))


@pytest.mark.once
def test_heads_that_a_layer_mixes_with_positions_are_refused():
    """Its output treats `(heads, features, positions)` as `(positions, channels)`."""
    layer = Attention2d(8, num_heads=4, channel_axis=-1, data_format="channels_last")
    layer(np.zeros((1, 2, 2, 8)))
    with pytest.raises(
        SelectionError, match=r"^qkv/kernel: the 4 heads of this Attention2d share an axis"
    ):
        fl.freeze(layer, where=fl.heads(0))


@pytest.mark.parametrize("name", cases(name for name in ALL if ALL[name].tokens))
def test_two_new_tokens_train_alone(name, tmp_path):
    small, count = ALL[name], VOCABULARY + 2
    old, new = model_of(small), model_of(small, count)

    copied = fl.copy_weights(old, new)

    found = {weight.path: weight for weight in weights(new)}
    assert copied.keys() == found.keys()
    for (path, mask), before in zip(copied.items(), values(old), strict=True):
        assert_same_bits(value(found[path].variable)[mask], before.ravel())
    tables = [path for path, one in found.items() if has_tokens(one, count)]
    assert tables

    fl.train_only(new, tables, fl.tokens([VOCABULARY, VOCABULARY + 1]))

    for path in tables:
        assert (fl.frozen_mask(found[path].variable) == copied[path]).all()
    before = {path: value(one.variable) for path, one in found.items()}
    step(new, small.inputs(new, count))
    assert_frozen_stayed(new, list(before.values()))
    for path in tables:  # a table used only for logits gets no gradient here
        moved = (value(found[path].variable) != before[path]) & ~copied[path]
        if found[path].variable.name == "embeddings":
            assert moved.any(axis=1)[[VOCABULARY, VOCABULARY + 1]].all()

    loaded = saved(new, tmp_path)
    assert_all_same_bits(kept(loaded, small), kept(new, small))
    assert_all_same_bits(frozen_masks(loaded), frozen_masks(new))
    fl.unfreeze(new)
    fl.freeze(new, copied)
    assert_all_same_bits(frozen_masks(new), list(copied.values()))


def has_tokens(weight: Any, count: int) -> bool:
    """Whether a weight is a table for a vocabulary of `count` tokens."""
    axes = stock_of(weight.owner).axes(weight.variable.name)
    return TOKEN in axes and weight.variable.shape[axes.index(TOKEN)] == count
