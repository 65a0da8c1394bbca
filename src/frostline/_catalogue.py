"""The layer classes of Keras: their variables, axes, gates, sublayers and products. Pure data.

Classes are found by name, so that one entry covers a layer of any Keras release, a subclass, a
partly frozen layer, and a layer in a file. To support a new Keras layer, add an entry here; for a
new product, add a function in `_fast`. `tests/ground/test_catalogue.py` compares all entries with
Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Axis:
    """An axis of a variable."""

    label: str  # its label on a map
    inputs: bool = False  # whether it runs along inputs of the layer
    outputs: bool = False  # whether it runs along output units, alone or with another axis
    size: str = ""  # the config entry with its length


@dataclass(frozen=True)
class Variable:
    """A variable that a layer makes itself."""

    name: str
    axes: tuple[Axis, ...] = ()  # the last axes; those before them are the window of a convolution
    option: str = ""  # the config entry that decides whether the layer has it, if there is one
    wanted: bool = True  # the value of that entry if the layer has it

    def is_in(self, config: Mapping[str, Any]) -> bool:
        """Whether a layer with this config has the variable."""
        return not self.option or bool(config.get(self.option, True)) is self.wanted


@dataclass(frozen=True)
class StockClass:
    """A layer class of Keras."""

    product: str = ""  # how it computes its output units, as in `keras.ops`; empty if it has none
    variables: tuple[Variable, ...] = ()  # in the order of weight files
    gates: tuple[str, ...] = ()  # in their order along the last axis of each variable
    makes: tuple[str, str] = ("", "")  # how the names of its sublayers end, and their class

    def axes(self, variable: str) -> tuple[Axis, ...]:
        """The last axes of a variable; none if they are unknown."""
        return next((own.axes for own in self.variables if own.name == variable), ())


INPUT, STATE, TOKEN = Axis("input", inputs=True), Axis("state"), Axis("token")
UNIT = Axis("unit", outputs=True, size="units")
FEATURE = Axis("feature", outputs=True, size="output_dim")
INPUT_CHANNEL = Axis("input channel", inputs=True)
OUTPUT_CHANNEL = Axis("output channel", outputs=True, size="filters")
CHANNEL = Axis("channel", inputs=True, outputs=True)
MULTIPLIER = Axis("multiplier", outputs=True)  # output channel = channel * depth_multiplier + m


def _biased(
    product: str, kernels: dict[str, tuple[Axis, ...]], *gates: str, option: str = "use_bias"
) -> StockClass:
    """A class with kernels, and a bias for its outputs."""
    bias = UNIT if UNIT in kernels.get("kernel", ()) else CHANNEL
    variables = [Variable(name, axes) for name, axes in kernels.items()]
    return StockClass(product, (*variables, Variable("bias", (bias,), option)), gates)


_DENSE = {"kernel": (INPUT, UNIT)}
_CONV = {"kernel": (INPUT_CHANNEL, OUTPUT_CHANNEL)}
_TRANSPOSED = {"kernel": (OUTPUT_CHANNEL, INPUT_CHANNEL)}
_DEPTHWISE = {"kernel": (CHANNEL, MULTIPLIER)}
_SEPARABLE = {
    "depthwise_kernel": (Axis("channel"), Axis("multiplier")),  # comes before the output units
    "pointwise_kernel": (INPUT_CHANNEL, OUTPUT_CHANNEL),
}
_CELL = _DENSE | {"recurrent_kernel": (STATE, UNIT)}
_CONV_CELL = _CONV | {"recurrent_kernel": (STATE, OUTPUT_CHANNEL)}
_LSTM = ("input", "forget", "cell", "output")
_SCALED = (Variable("gamma", (FEATURE,), "scale"), Variable("beta", (FEATURE,), "center"))
_STATISTICS = [Variable(f"moving_{name}", (Axis("feature"),)) for name in ("mean", "variance")]
_TABLES = (
    Variable("embeddings", (TOKEN, FEATURE)),
    # Only in `ReversibleEmbedding`, and in KerasHub's older subclass of `Embedding`.
    Variable("reverse_embeddings", (FEATURE, TOKEN), "tie_weights", wanted=False),
)
_ENTRIES = {
    "Dense": _biased("matmul", _DENSE),
    # If its equation is known, that gives more axes.
    "EinsumDense": _biased("einsum", _DENSE, option="bias_axes"),
    "Conv1D Conv2D Conv3D": _biased("conv", _CONV),
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose": _biased("conv_transpose", _TRANSPOSED),
    "DepthwiseConv1D DepthwiseConv2D": _biased("depthwise_conv", _DEPTHWISE),
    "SeparableConv1D SeparableConv2D": _biased("separable_conv", _SEPARABLE),
    "Embedding": StockClass("take", _TABLES),
    "ReversibleEmbedding": StockClass("take_and_matmul", _TABLES),
    "BatchNormalization": StockClass("normalize", (*_SCALED, *_STATISTICS)),
    "LayerNormalization GroupNormalization": StockClass("normalize", _SCALED),
    "RMSNormalization": StockClass("normalize", (Variable("scale", (FEATURE,)),)),
    "PReLU": StockClass(variables=(Variable("alpha"),)),
    "Attention AdditiveAttention": StockClass(variables=(Variable("scale", (), "use_scale"),)),
    # The last two are names of the same class.
    "MultiHeadAttention GroupQueryAttention GroupedQueryAttention": StockClass(
        makes=("_dense", "EinsumDense")
    ),
    "SimpleRNNCell": _biased("recurrent", _CELL),
    "GRUCell": _biased("recurrent", _CELL, "update", "reset", "state"),
    "LSTMCell": _biased("recurrent", _CELL, *_LSTM),
    "ConvLSTMCell": _biased("recurrent", _CONV_CELL, *_LSTM),
    "SimpleRNN": StockClass(makes=("cell", "SimpleRNNCell")),
    "GRU": StockClass(makes=("cell", "GRUCell")),
    "LSTM": StockClass(makes=("cell", "LSTMCell")),
    "ConvLSTM1D ConvLSTM2D ConvLSTM3D": StockClass(makes=("cell", "ConvLSTMCell")),
    # Or two of a `GRU`, whose cell has variables of the same names.
    "Bidirectional": StockClass(makes=("ward_layer", "LSTM")),
}
CATALOGUE = {name: stock for names, stock in _ENTRIES.items() for name in names.split()}
"""The layer classes of Keras that have weights, by name."""
_UNKNOWN = StockClass()


def stock_named(name: str | None) -> StockClass:
    """The Keras layer class of this name; an empty one if it is unknown."""
    return CATALOGUE.get(name or "", _UNKNOWN)


def stock_class(kind: type) -> StockClass:
    """The entry of a Keras class; an empty one for any other class, also for a subclass."""
    # Not by public name: Keras exports the ConvLSTM layers but not their cell.
    return stock_named(kind.__name__) if kind.__module__.startswith("keras.") else _UNKNOWN


def stock_of(layer: object) -> StockClass:
    """The entry of the Keras class of a layer, which may be a subclass or partly frozen."""
    found = map(stock_class, type(layer).__mro__)
    return next((stock for stock in found if stock is not _UNKNOWN), _UNKNOWN)


@dataclass(frozen=True)
class Role:
    """How a projection of an attention layer uses heads."""

    output: bool = False  # it sums over heads; every other projection makes them
    shared: bool = False  # it makes key/value heads, which several query heads may read
    runs: int = 1  # how many times it has all heads, one set after another


_MADE, _SHARED, _FUSED, _OUTPUT = Role(), Role(shared=True), Role(runs=3), Role(output=True)
ROLES: Mapping[str, Role] = {
    name: role
    for names, role in {
        "query query_dense query_proj query_projector q_proj q_dense q pos_proj": _MADE,
        "key key_dense key_proj key_projector k_proj k_dense k": _SHARED,
        "value value_dense value_proj value_projector v_proj v_dense v": _SHARED,
        "qkv qkv_dense query_key_value attention_qkv attention_qkv2": _FUSED,
        "output output_dense output_proj output_projector attention_output out_proj": _OUTPUT,
        "o_proj o_dense proj projection attention_proj attention_proj2 post": _OUTPUT,
    }.items()
    for name in names.split()
}
"""The role of a projection, by its attribute or its name."""


@dataclass(frozen=True)
class Attention:
    """A class of attention layers that has heads before features, also if both share an axis."""

    roles: Mapping[str, Role] = field(default_factory=lambda: ROLES)
    key_value_heads: int = 0  # their number, if its layers have no attribute for it
    beside: bool = False  # whether its projections contain something else after the heads


_HUB = "keras_hub."
_HUB_ATTENTION = {
    "BloomAttention",
    "CachedGemma3Attention",
    "CachedGemmaAttention",
    "CachedMistralAttention",
    "CachedMixtralAttention",
    "DFineMultiheadAttention",
    "DFineMultiscaleDeformableAttention",
    "DINOV3Attention",
    "DisentangledSelfAttention",
    "DismantledBlock",
    "FalconAttention",
    "GPTNeoXAttention",
    "Gemma3VisionAttention",
    "Gemma3nAudioAttention",
    "Gemma3nAudioConformerAttention",
    "Gemma3nAudioRelativePositionEmbedding",
    "Gemma3nTextAttention",
    "Gemma4AudioAttention",
    "Gemma4AudioConformerAttention",
    "Gemma4TextAttention",
    "Gemma4VisionAttention",
    "GptOssAttention",
    "LlamaAttention",
    "MultiHeadAttentionWithDownsampling",
    "MultiHeadAttentionWithRelativePE",
    "PaliGemmaVitAttention",
    "Phi3Attention",
    "Qwen3Attention",
    "Qwen3MoeAttention",
    "Qwen3_5Attention",
    "Qwen3_5VisionAttention",
    "QwenAttention",
    "QwenMoeAttention",
    "RoformerAttention",
    "SAM3Attention",
    "SAM3RoPEAttention",
    "SegFormerMultiheadAttention",
    "SelfAttention",
    "SmolLM3Attention",
    "T5MultiHeadAttention",
    "VideoPrismAttention",
    "WindowAttention",
}
_ATTENTION = dict.fromkeys(_HUB_ATTENTION, Attention()) | {
    "MultiQueryAttention2d": Attention(key_value_heads=1),
    "SingleStreamBlock": Attention(roles={"linear1": _FUSED, "linear2": _OUTPUT}, beside=True),
}


def attention_of(layer: object) -> Attention | None:
    """How an attention layer of KerasHub arranges its heads; None for any other layer.

    None for a user's subclass too: it may have other projections, or divide an axis differently.
    """
    own = (kind for kind in type(layer).__mro__ if kind.__module__ != "frostline")
    return _inherited_attention(layer) if next(own).__module__.startswith(_HUB) else None


def _inherited_attention(layer: object) -> Attention | None:
    kinds = (kind for kind in type(layer).__mro__ if kind.__module__.startswith(_HUB))
    found = (_ATTENTION.get(kind.__name__) for kind in kinds)
    return next((attention for attention in found if attention), None)


def has_heads_first(layer: object) -> bool:
    """Whether heads come before features in the activations of an attention layer.

    True for the layers of Keras and KerasHub; unknown, so False, for other classes.
    """
    return _inherited_attention(layer) is not None or stock_of(layer).makes[1] == "EinsumDense"
