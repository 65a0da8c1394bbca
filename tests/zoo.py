"""One way to build each layer of `keras.layers` that has weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from models import TiedEmbedding

layers = keras.layers


@dataclass(frozen=True)
class Specimen:
    """How to make a layer, and the shapes of its inputs without the batch."""

    make: Callable[[], keras.layers.Layer]
    inputs: tuple[tuple[int, ...], ...]
    integers: int = 0
    """The inputs are ids below this number; 0 means float inputs."""
    in_list: bool = False
    """The layer takes its inputs as one list."""
    writes_itself: bool = False
    """The layer assigns its own weights in its call, so a plain model does not move alike."""


def _attention(make: Callable[[], Any], *, in_list: bool = False) -> Specimen:
    return Specimen(make, ((4, 6), (4, 6)), in_list=in_list)


SPECIMENS: dict[str, Specimen] = {
    "AdditiveAttention": _attention(lambda: layers.AdditiveAttention(), in_list=True),
    "Attention": _attention(lambda: layers.Attention(use_scale=True), in_list=True),
    "BatchNormalization": Specimen(lambda: layers.BatchNormalization(), ((5, 6),)),
    "Bidirectional": Specimen(lambda: layers.Bidirectional(layers.LSTM(3)), ((4, 5),)),
    "Conv1D": Specimen(lambda: layers.Conv1D(4, 3), ((6, 3),)),
    "Conv1DTranspose": Specimen(lambda: layers.Conv1DTranspose(4, 3), ((5, 3),)),
    "Conv2D": Specimen(lambda: layers.Conv2D(4, 3), ((5, 5, 3),)),
    "Conv2DTranspose": Specimen(lambda: layers.Conv2DTranspose(4, 3), ((4, 4, 3),)),
    "Conv3D": Specimen(lambda: layers.Conv3D(3, 2), ((3, 3, 3, 2),)),
    "Conv3DTranspose": Specimen(lambda: layers.Conv3DTranspose(3, 2), ((3, 3, 3, 2),)),
    "ConvLSTM1D": Specimen(lambda: layers.ConvLSTM1D(3, 2), ((3, 5, 2),)),
    "ConvLSTM2D": Specimen(lambda: layers.ConvLSTM2D(3, 2), ((3, 4, 4, 2),)),
    "ConvLSTM3D": Specimen(lambda: layers.ConvLSTM3D(2, 2), ((2, 3, 3, 3, 2),)),
    "Dense": Specimen(lambda: layers.Dense(5, activation="tanh"), ((6,),)),
    "DepthwiseConv1D": Specimen(lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), ((6, 3),)),
    "DepthwiseConv2D": Specimen(lambda: layers.DepthwiseConv2D(3), ((5, 5, 3),)),
    "EinsumDense": Specimen(
        lambda: layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 4), bias_axes="de"),
        ((4, 6),),
    ),
    "Embedding": Specimen(lambda: layers.Embedding(9, 5), ((4,),), integers=9),
    "GRU": Specimen(lambda: layers.GRU(4), ((4, 5),)),
    "GRUCell": Specimen(lambda: layers.RNN(layers.GRUCell(4)), ((4, 5),)),
    "GroupNormalization": Specimen(lambda: layers.GroupNormalization(3), ((5, 6),)),
    "GroupedQueryAttention": _attention(lambda: layers.GroupQueryAttention(4, 4, 2)),
    "LSTM": Specimen(lambda: layers.LSTM(4), ((4, 5),)),
    "LSTMCell": Specimen(lambda: layers.RNN(layers.LSTMCell(4)), ((4, 5),)),
    "LayerNormalization": Specimen(lambda: layers.LayerNormalization(), ((5, 6),)),
    "MultiHeadAttention": _attention(lambda: layers.MultiHeadAttention(2, 3)),
    "PReLU": Specimen(lambda: layers.PReLU("random_normal"), ((5, 6),)),
    "RMSNormalization": Specimen(lambda: layers.RMSNormalization(), ((5, 6),)),
    "RNN": Specimen(lambda: layers.RNN(layers.SimpleRNNCell(4), return_sequences=True), ((4, 5),)),
    "ReversibleEmbedding": Specimen(lambda: TiedEmbedding(9, 5), ((4,),), integers=9),
    "SeparableConv1D": Specimen(lambda: layers.SeparableConv1D(4, 3), ((6, 3),)),
    "SeparableConv2D": Specimen(lambda: layers.SeparableConv2D(4, 3), ((5, 5, 3),)),
    "SimpleRNN": Specimen(lambda: layers.SimpleRNN(4), ((4, 5),)),
    "SimpleRNNCell": Specimen(lambda: layers.RNN(layers.SimpleRNNCell(4)), ((4, 5),)),
    "SpectralNormalization": Specimen(
        lambda: layers.SpectralNormalization(layers.Dense(5)), ((6,),), writes_itself=True
    ),
    "StackedRNNCells": Specimen(
        lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(4), layers.LSTMCell(3)])),
        ((4, 5),),
    ),
    "TimeDistributed": Specimen(lambda: layers.TimeDistributed(layers.Dense(5)), ((4, 6),)),
}

OTHER_FRAMEWORKS = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}
"""Wrappers of another framework's modules, which `test_wrapped_modules.py` tests."""

ABSTRACT = {"Layer", "Wrapper"}

WITHOUT_WEIGHTS = """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AlphaDropout AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D
    CategoryEncoding CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Cropping1D
    Cropping2D Cropping3D CutMix Discretization Dot Dropout ELU Equalization Flatten GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D HashedCrossing Hashing Identity
    InputLayer IntegerLookup Lambda LeakyReLU Masking MaxNumBoundingBoxes MaxPooling1D MaxPooling2D
    MaxPooling3D Maximum MelSpectrogram Minimum MixUp Multiply Normalization Permute Pipeline
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
    RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape
    Resizing STFTSpectrogram Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D
    StringLookup Subtract TextVectorization UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
""".split()  # noqa: SIM905 - one name a line would be a hundred lines
"""Layers without weights, or whose weights no optimizer trains."""


def keras_layer_classes() -> set[str]:
    """The name of every layer class that Keras exports, without aliases."""
    exported = [getattr(layers, name) for name in dir(layers)]
    kinds = (kind for kind in exported if inspect.isclass(kind))
    return {kind.__name__ for kind in kinds if issubclass(kind, layers.Layer)}


PRESENT = sorted(SPECIMENS.keys() & keras_layer_classes())


@dataclass
class Case:
    """A model of one specimen, and data for it."""

    name: str
    seed: int = 0
    specimen: Specimen = field(init=False)

    def __post_init__(self) -> None:
        self.specimen = SPECIMENS[self.name]

    def model(self) -> keras.Model:
        """A functional model of the layer alone, with the same weights each time."""
        keras.utils.set_random_seed(self.seed)
        dtype = "int32" if self.specimen.integers else None
        inputs = [keras.Input(shape, dtype=dtype) for shape in self.specimen.inputs]
        layer = self.specimen.make()
        outputs = layer(inputs) if self.specimen.in_list else layer(*inputs)
        return keras.Model(inputs, outputs)

    def data(self, batch: int = 6) -> tuple[list[np.ndarray], np.ndarray]:
        """Random inputs and targets."""
        random = np.random.default_rng(self.seed)
        if self.specimen.integers:
            shape = (batch, *self.specimen.inputs[0])
            xs = [random.integers(0, self.specimen.integers, shape).astype("int32")]
        else:
            xs = [random.normal(size=(batch, *s)).astype("float32") for s in self.specimen.inputs]
        outputs = keras.ops.shape(self.model()(xs))
        y = random.normal(size=tuple(outputs)).astype("float32")
        return xs, y
