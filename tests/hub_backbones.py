"""Every KerasHub backbone with a few thousand random weights, and inputs for it.

Each backbone that KerasHub exports has an entry here; `freezing/test_hub_backbones.py` checks that
none is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import keras_hub
import numpy as np
from keras_hub.src.models.blip2.blip2_custom_opt import BLIP2CustomOPT
from keras_hub.src.models.blip2.blip2_qformer import BLIP2QFormer
from keras_hub.src.models.blip2.blip2_vision_encoder import BLIP2VisionEncoder
from keras_hub.src.models.gemma3.gemma3_vision_encoder import Gemma3VisionEncoder
from keras_hub.src.models.gemma3n.gemma3n_audio_encoder import Gemma3nAudioEncoder
from keras_hub.src.models.gemma4.gemma4_audio_encoder import Gemma4AudioEncoder
from keras_hub.src.models.gemma4.gemma4_vision_encoder import Gemma4VisionEncoder
from keras_hub.src.models.mobilenetv5.mobilenetv5_builder import convert_arch_def_to_stackwise
from keras_hub.src.models.vae.vae_backbone import VAEBackbone

hub, parts = keras_hub.models, keras_hub.layers
VOCABULARY, LENGTH, BATCH = 20, 6, 2
TEXT: dict[str, Any] = {"num_layers": 1, "hidden_dim": 32, "intermediate_dim": 24}
HEADS: dict[str, Any] = TEXT | {"num_heads": 4}
PLACED: dict[str, Any] = HEADS | {"max_sequence_length": LENGTH}
GROUPED: dict[str, Any] = TEXT | {"num_query_heads": 4, "num_key_value_heads": 2}
EXPERTS: dict[str, Any] = {"num_experts": 2, "top_k": 2}


@dataclass(frozen=True)
class Small:
    """How to make a backbone for a given vocabulary size, and its inputs."""

    make: Callable[[int], Any]
    given: Mapping[str, Any] = field(default_factory=dict)  # inputs that replace random ones
    size: int = 32  # the image size if the backbone leaves it open
    length: int = LENGTH
    heads: tuple[int, ...] | None = (0, 1, 3)  # to freeze: all of a key/value head, half of another
    tokens: bool = True  # whether it has a token embedding
    anew: tuple[str, ...] = ()  # weights that its layers recompute from others after loading
    unread: tuple[str, ...] = ()  # path parts of layers that these tokens do not reach
    fails: Mapping[str, str] = field(default_factory=dict)  # why it does not run, by backend

    def inputs(self, model: Any, vocabulary: int = VOCABULARY) -> Any:
        """Random inputs of the model's shapes, including the last two tokens of the vocabulary."""
        random = np.random.default_rng(0)
        batch = next((len(array) for array in self.given.values()), BATCH)

        def array(tensor: Any) -> Any:
            if tensor.name in self.given:
                return np.asarray(self.given[tensor.name], tensor.dtype)
            open_size = self.size if len(tensor.shape) == 4 else self.length
            shape = (batch, *(open_size if n is None else n for n in tensor.shape[1:]))
            return _random(random, tensor.name, shape, tensor.dtype, vocabulary)

        return keras.tree.map_structure(array, model.input)


def _random(random: Any, name: str, shape: tuple[int, ...], dtype: str, vocabulary: int) -> Any:
    if "mask" in name and "float" not in dtype:
        return np.ones(shape, dtype)
    if "token_ids" in name:
        ids = random.integers(1, vocabulary - 2, shape)
        ids[:, -3:-1] = [vocabulary - 2, vocabulary - 1]
        return ids.astype("int32")
    if "int" in dtype:
        return (np.arange(shape[-1]) * np.ones(shape, int) >= shape[-1] // 2).astype(dtype)
    return random.normal(size=shape).astype(dtype)


def text(name: str, sizes: Mapping[str, Any], called: str = "vocabulary_size", **more: Any) -> Any:
    """A backbone that takes tokens."""
    return lambda count: getattr(hub, name)(**{called: count}, **{**sizes, **more})


def image(name: str, side: int = 32, **sizes: Any) -> Small:
    """A backbone that takes images and has no attention."""
    return Small(
        lambda _: getattr(hub, name)(image_shape=(side, side, 3), **sizes), heads=None, tokens=False
    )


def vision(
    name: str,
    side: int = 28,
    heads: tuple[int, ...] = (0, 1, 3),
    anew: tuple[str, ...] = (),
    **sizes: Any,
) -> Small:
    """A backbone that takes images and has attention."""
    return Small(
        lambda _: getattr(hub, name)(image_shape=(side, side, 3), **sizes),
        heads=heads,
        anew=anew,
        tokens=False,
    )


def resnet(stages: int = 3, **more: Any) -> Any:
    return hub.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8, 8, 8][:stages],
        stackwise_num_blocks=[1] * stages,
        stackwise_num_strides=[1, 2, 2, 2][:stages],
        block_type="basic_block",
        **more,
    )


def clip(family: str, **more: Any) -> Any:
    def make(count: int) -> Any:
        one = getattr(hub, f"{family}VisionEncoder")(8, 32, 1, 4, 24, image_shape=(16, 16, 3))
        other = getattr(hub, f"{family}TextEncoder")(
            count, 32, 32, 1, 4, 24, max_sequence_length=LENGTH
        )
        return getattr(hub, f"{family}Backbone")(one, other, **more)

    return make


def clip_text(family: str) -> Any:
    kind = f"{family}TextEncoder"
    return lambda count: getattr(hub, kind)(count, 32, 32, 1, 4, 24, max_sequence_length=LENGTH)


def clip_vision(family: str) -> Any:
    kind = f"{family}VisionEncoder"
    return lambda _: getattr(hub, kind)(8, 32, 1, 4, 24, image_shape=(16, 16, 3))


def blip2(count: int) -> Any:
    return hub.BLIP2Backbone(
        BLIP2VisionEncoder(
            image_size=16,
            patch_size=8,
            num_layers=1,
            num_heads=4,
            hidden_dim=32,
            intermediate_dim=24,
            use_patch_bias=True,
            use_class_token=True,
            use_mha_bias=True,
            use_mlp_bias=True,
            dropout_rate=0.0,
            layer_norm_epsilon=1e-6,
            initializer_range=0.02,
        ),
        BLIP2QFormer(
            num_query_tokens=2,
            num_layers=1,
            num_heads=4,
            hidden_dim=16,
            intermediate_dim=24,
            vision_dim=32,
            cross_attention_frequency=1,
            dropout=0.0,
            layer_norm_epsilon=1e-6,
        ),
        BLIP2CustomOPT(
            vocabulary_size=count,
            num_layers=1,
            num_heads=4,
            hidden_dim=16,
            intermediate_dim=24,
            num_query_tokens=2,
            qformer_hidden_dim=16,
            max_sequence_length=16,
            dropout=0.0,
            language_projection=None,
        ),
    )


def stable_diffusion(_: int) -> Any:
    sizes = [32] * 4, [1] * 4
    backbone = hub.StableDiffusion3Backbone(
        mmdit_patch_size=2,
        mmdit_hidden_dim=32,
        mmdit_num_layers=2,
        mmdit_num_heads=4,
        mmdit_position_size=8,
        mmdit_qk_norm=None,
        mmdit_dual_attention_indices=(0,),
        vae=VAEBackbone(*sizes, *sizes, sampler_method="mode"),
        clip_l=hub.CLIPTextEncoder(VOCABULARY, 16, 16, 2, 4, 24, "quick_gelu", -2),
        clip_g=hub.CLIPTextEncoder(VOCABULARY, 16, 16, 2, 4, 24, "gelu", -2),
        image_shape=(32, 32, 3),
    )
    return backbone.diffuser  # the other parts generate images and do not train


def flux(_: int) -> Any:
    return hub.FluxBackbone(
        input_channels=12,
        hidden_size=64,
        mlp_ratio=0.5,
        num_heads=4,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[4, 4, 8],
        theta=10_000,
        use_bias=True,
        guidance_embed=True,
        image_shape=(6, 12),
        text_shape=(5, 12),
        image_ids_shape=(6, 3),
        text_ids_shape=(5, 3),
        y_shape=(8,),
    )


VISION_4 = {"patch_size": 4, "pool_size": 2, "num_layers": 1, "num_heads": 4, "hidden_dim": 32}
PATCHES, POSITIONS = np.zeros((BATCH, 1, 16, 48)), np.zeros((BATCH, 1, 16, 2), int)
PATCHES[:], POSITIONS[:] = np.random.default_rng(1).normal(size=PATCHES.shape), [[[1, 2]] * 16]
WITH_SOUND = {
    "pixel_values": PATCHES,
    "pixel_position_ids": POSITIONS,
    "vision_indices": [[1, 2, 3, 4]] * BATCH,
    "vision_mask": [[0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]] * BATCH,
    "audio_mel": np.random.default_rng(2).normal(size=(BATCH, 1, 16, 16)),
    "audio_mel_mask": np.ones((BATCH, 1, 16)),
    "audio_indices": [[6, 7, 8, 9]] * BATCH,
    "audio_mask": [[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0]] * BATCH,
}
TWO_IMAGES = {
    "images": np.random.default_rng(1).normal(size=(BATCH, 1, 16, 16, 3)).astype("float32"),
    "vision_indices": [[1, 2, 3, 4], [0, 1, 2, 3]],
    "vision_mask": [[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]],
}


def gemma3(count: int) -> Any:
    encoder = Gemma3VisionEncoder(**VISION_4, image_size=16, intermediate_dim=24, output_dim=32)
    return hub.Gemma3Backbone(
        **GROUPED, vocabulary_size=count, image_size=16, head_dim=6, vision_encoder=encoder
    )


def gemma3n(count: int) -> Any:
    encoder = hub.MobileNetV5Backbone(**mobilenet_5(), image_shape=(32, 32, 3), use_msfa=False)
    audio = Gemma3nAudioEncoder(
        hidden_size=16,
        input_feat_size=16,
        sscp_conv_channel_size=[2, 4],
        sscp_conv_kernel_size=[(1, 1), (1, 1)],
        sscp_conv_stride_size=[(2, 2), (2, 2)],
        sscp_conv_group_norm_eps=1e-5,
        num_hidden_layers=1,
        rms_norm_eps=1e-6,
        gradient_clipping=1.0,
        residual_weight=0.5,
        num_attention_heads=4,
        attention_chunk_size=2,
        num_attention_context_right=1,
        num_attention_context_left=1,
        attention_logit_cap=50.0,
        conv_kernel_size=3,
        reduction_factor=1,
    )
    return hub.Gemma3nBackbone(
        text_vocab_size=count,
        text_hidden_size=16,
        num_hidden_layers=2,
        pad_token_id=0,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        intermediate_size=[24, 24],
        hidden_activation="gelu_approximate",
        layer_types=["full_attention", "sliding_attention"],
        sliding_window=4,
        rope_theta=10000.0,
        max_position_embeddings=8,
        vocab_size_per_layer_input=count,
        hidden_size_per_layer_input=2,
        altup_num_inputs=2,
        laurel_rank=1,
        vision_encoder_config=encoder.get_config(),
        vision_hidden_size=8,
        audio_encoder_config=audio.get_config(),
        audio_hidden_size=16,
    )


def gemma4(count: int) -> Any:
    encoder = Gemma4VisionEncoder(
        **VISION_4,
        image_size=16,
        head_dim=8,
        num_key_value_heads=4,
        intermediate_dim=24,
        output_dim=32,
    )
    audio = Gemma4AudioEncoder(
        input_feat_size=16,
        hidden_size=16,
        num_heads=4,
        num_layers=1,
        chunk_size=4,
        context_left=5,
        context_right=0,
        sscp_conv_channels=(4, 2),
        output_proj_dims=None,
        output_dim=32,
    )
    return hub.Gemma4Backbone(
        **{**GROUPED, "num_layers": 6, "num_key_value_heads": 4},
        vocabulary_size=count,
        image_size=16,
        head_dim=8,
        num_global_key_value_heads=2,
        sliding_window_size=16,
        vision_encoder=encoder,
        audio_encoder=audio,
        num_audio_tokens_per_clip=4,
    )


def mobilenet_5() -> dict[str, Any]:
    blocks = ["er_r1_k3_s2_e1_c8"], ["mqa_r1_s1_h4_d6_v2_c8"]
    return convert_arch_def_to_stackwise([list(stack) for stack in blocks])


def d_fine(_: int) -> Any:
    encoder = hub.HGNetV2Backbone(
        **HGNET, image_shape=(None, None, 3), out_features=["stage1", "stage2"]
    )
    return hub.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=10,
        num_labels=4,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=(32, 32),
        feat_strides=[4, 8],
        num_feature_levels=2,
        encoder_in_channels=[16, 32],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=32,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=16,
        num_lqe_layers=2,
        out_features=["stage1", "stage2"],
        image_shape=(None, None, 3),
        seed=0,
    )


HGNET: dict[str, Any] = {
    "stem_channels": [3, 8, 8],
    "stackwise_stage_filters": [[8, 8, 16, 1, 1, 3], [16, 8, 32, 1, 1, 3]],
    "apply_downsample": [False, True],
    "use_lightweight_conv_block": [False, False],
    "depths": [1, 1],
    "hidden_sizes": [16, 32],
    "embedding_size": 8,
    "use_learnable_affine_block": True,
    "hidden_act": "relu",
}
MIT: dict[str, Any] = {
    "layerwise_depths": [1, 1],
    "hidden_dims": [12, 24],
    "num_layers": 2,
    "layerwise_num_heads": [2, 4],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.0,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
}
POSITIONS_2 = ("position_embeddings", "interpolated_position_embeddings")
DINO: dict[str, Any] = {
    "patch_size": 14,
    "num_layers": 1,
    "hidden_dim": 32,
    "num_heads": 4,
    "intermediate_dim": 24,
    "layer_scale_init_value": 1.0,
    "num_register_tokens": 2,
}
QWEN_MOE: dict[str, Any] = {**GROUPED, **EXPERTS, "moe_intermediate_dim": 12}
QWEN_3_5: dict[str, Any] = {
    **GROUPED,
    "num_layers": 2,
    "head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "partial_rotary_factor": 0.5,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "linear_conv_kernel_dim": 4,
}
T5_GEMMA: dict[str, Any] = {
    **{
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "hidden_dim": 32,
            "intermediate_dim": 24,
            "num_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 6,
            "layer_types": ["sliding_attention", "full_attention"],
        }.items()
    },
    "dropout_rate": 0.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 1.0,
    "attention_bias": True,
    "hidden_activation": "gelu_approximate",
    "sliding_window": 16,
    "cross_attention_hidden_size": 32,
    "attn_logit_softcapping": 50.0,
    "rope_max_wavelength": 10000.0,
    "initializer_range": 0.04,
    "attention_dropout": 0.0,
}
SMOL: dict[str, Any] = {
    **TEXT,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attention_bias": True,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True],
    "layer_types": ["attention"],
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 16,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
}


def sam(_: int) -> Any:
    encoder = hub.ViTDetBackbone(**VIT_DET, image_shape=(16, 16, 3))
    return hub.SAMBackbone(
        image_encoder=encoder,
        prompt_encoder=parts.SAMPromptEncoder(
            hidden_size=16,
            image_embedding_size=(8, 8),
            input_image_size=(16, 16),
            mask_in_channels=4,
        ),
        mask_decoder=parts.SAMMaskDecoder(
            num_layers=1,
            hidden_size=16,
            intermediate_dim=24,
            num_heads=4,
            embedding_dim=16,
            num_multimask_outputs=3,
            iou_head_depth=2,
            iou_head_hidden_dim=8,
        ),
    )


VIT_DET: dict[str, Any] = {
    "patch_size": 2,
    "hidden_size": 24,
    "num_layers": 2,
    "global_attention_layer_indices": [1],
    "intermediate_dim": 16,
    "num_heads": 4,
    "num_output_channels": 16,
    "window_size": 2,
}


PROMPTS = {
    "points": np.random.default_rng(1).normal(size=(BATCH, 1, 2)),
    "labels": np.ones((BATCH, 1)),
    "boxes": np.random.default_rng(2).normal(size=(BATCH, 1, 2, 2)),
    "masks": np.zeros((BATCH, 0, 16, 16, 1)),
}


BOXES = {
    "boxes": [[[0, 0.2, 0.3, 0.5, 0.6]], [[1, 0.3, 0.2, 0.4, 0.5]]],  # image index and box
    "box_labels": [[1], [1]],
}


def sam3(count: int) -> Any:
    sizes = {"num_layers": 1, "hidden_dim": 24, "intermediate_dim": 16, "num_heads": 4}
    pictures = {"image_shape": (28, 28, 3), "patch_size": 14}
    return hub.SAM3PromptableConceptBackbone(
        vision_encoder=parts.SAM3VisionEncoder(
            **pictures,
            **{**sizes, "hidden_dim": 32},
            fpn_hidden_dim=24,
            fpn_scale_factors=[4.0, 2.0, 1.0, 0.5],
            pretrain_image_shape=(42, 42, 3),
            window_size=2,
            global_attn_indexes=[0],
        ),
        text_encoder=parts.SAM3TextEncoder(vocabulary_size=count, embedding_dim=24, **sizes),
        geometry_encoder=parts.SAM3GeometryEncoder(**sizes, roi_size=7),
        detr_encoder=parts.SAM3DetrEncoder(**sizes),
        detr_decoder=parts.SAM3DetrDecoder(**pictures, **sizes, num_queries=8),
        mask_decoder=parts.SAM3MaskDecoder(num_upsampling_stages=3, hidden_dim=24, num_heads=4),
    )


def parseq(count: int) -> Any:
    encoder = hub.ViTBackbone(
        image_shape=(16, 32, 3),
        patch_size=(8, 8),
        num_layers=1,
        num_heads=4,
        hidden_dim=32,
        mlp_dim=24,
        use_class_token=False,
    )
    return hub.PARSeqBackbone(
        image_encoder=encoder,
        vocabulary_size=count,
        max_label_length=LENGTH,
        decoder_hidden_dim=32,
        num_decoder_layers=1,
        num_decoder_heads=4,
        decoder_mlp_dim=24,
        dropout_rate=0.0,
        attention_dropout=0.0,
    )


ALL = {
    "Albert": Small(
        text(
            "AlbertBackbone",
            PLACED,
            num_groups=1,
            num_inner_repetitions=1,
            embedding_dim=12,
            dropout=0.0,
        )
    ),
    "Bart": Small(text("BartBackbone", PLACED, dropout=0.0)),
    "Bert": Small(text("BertBackbone", PLACED, dropout=0.0)),
    "BLIP2": Small(blip2),
    "Bloom": Small(text("BloomBackbone", HEADS)),
    "CLIP": Small(clip("CLIP", projection_dim=12)),
    "CLIPTextEncoder": Small(clip_text("CLIP")),
    "CLIPVisionEncoder": Small(clip_vision("CLIP"), tokens=False),
    "CSPNet": image(
        "CSPNetBackbone",
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_strides=2,
        stackwise_depth=[1, 1],
        stackwise_num_filters=[8, 12],
        down_growth=True,
        bottle_ratio=(0.5, 1.0),
        block_ratio=(1.0, 0.5),
        expand_ratio=(2.0, 1.0),
        block_type="dark_block",
        stage_type="csp",
        stem_padding="same",
    ),
    "DFine": Small(d_fine, heads=(0,), tokens=False),
    "DebertaV3": Small(text("DebertaV3Backbone", PLACED, bucket_size=4, dropout=0.0)),
    "DeepLabV3": Small(
        lambda _: hub.DeepLabV3Backbone(
            image_encoder=resnet(image_shape=(32, 32, 3)),
            low_level_feature_key="P2",
            spatial_pyramid_pooling_key="P4",
            dilation_rates=[2, 3],
            upsampling_size=4,
            image_shape=(32, 32, 3),
        ),
        heads=None,
        tokens=False,
    ),
    "DeiT": vision(
        "DeiTBackbone", patch_size=7, num_layers=1, hidden_dim=24, num_heads=4, intermediate_dim=16
    ),
    "DenseNet": image(
        "DenseNetBackbone", stackwise_num_repeats=[1, 1], compression_ratio=0.5, growth_rate=2
    ),
    "DepthAnything": Small(
        lambda _: hub.DepthAnythingBackbone(
            image_encoder=hub.DINOV2Backbone(
                **{**DINO, "num_layers": 4, "num_register_tokens": 0},
                image_shape=(126, 126, 3),
                apply_layernorm=True,
            ),
            reassemble_factors=[4, 2, 1, 0.5],
            neck_hidden_dims=[4, 6, 8, 12],
            fusion_hidden_dim=12,
            head_hidden_dim=8,
            head_in_index=-1,
            feature_keys=["stage1", "stage2", "stage3", "stage4"],
        ),
        anew=POSITIONS_2,
        tokens=False,
    ),
    "DINOV2": vision("DINOV2Backbone", anew=POSITIONS_2, **DINO, use_swiglu_ffn=True),
    "DINOV3": vision("DINOV3Backbone", **DINO, use_gated_mlp=False),
    "DistilBert": Small(text("DistilBertBackbone", PLACED, dropout=0.0)),
    "EdRec": Small(
        text(
            "EdRecBackbone",
            {"num_layers_enc": 1, "num_layers_dec": 1, "num_heads": 4, "hidden_dim": 32},
            called="vocab_size",
            intermediate_dim=24,
            dropout=0.0,
        )
    ),
    "EfficientNet": Small(
        lambda _: hub.EfficientNetBackbone(
            stackwise_kernel_sizes=[3, 3],
            stackwise_num_repeats=[1, 1],
            stackwise_input_filters=[8, 8],
            stackwise_output_filters=[8, 12],
            stackwise_expansion_ratios=[1, 4],
            stackwise_squeeze_and_excite_ratios=[0.0, 0.25],
            stackwise_strides=[1, 2],
            stackwise_block_types=["fused", "unfused"],
            stackwise_force_input_filters=[0, 0],
            stackwise_nores_option=[False, False],
            width_coefficient=1.0,
            depth_coefficient=1.0,
            dropout=0.0,
        ),
        heads=None,
        tokens=False,
    ),
    "Electra": Small(
        text("ElectraBackbone", PLACED, called="vocab_size", embedding_dim=12, dropout=0.0)
    ),
    "ESM": Small(text("ESMBackbone", HEADS, dropout=0.0)),
    "FNet": Small(text("FNetBackbone", TEXT, max_sequence_length=LENGTH, dropout=0.0), heads=None),
    "Falcon": Small(text("FalconBackbone", TEXT, num_attention_heads=4)),
    "Flux": Small(flux, tokens=False),
    "Gemma": Small(text("GemmaBackbone", GROUPED, head_dim=6)),
    "Gemma3": Small(gemma3, given=TWO_IMAGES),
    "Gemma3n": Small(
        gemma3n,
        given={
            "images": np.random.default_rng(1).normal(size=(BATCH, 1, 32, 32, 3)),
            "input_features": np.random.default_rng(2).normal(size=(BATCH, 1, 8, 16)),
            "input_features_mask": np.zeros((BATCH, 1, 8)),
        },
        unread=("mobile_net", "audio_encoder"),
    ),
    "Gemma4": Small(gemma4, given=WITH_SOUND, length=12),
    "GPT2": Small(text("GPT2Backbone", PLACED, dropout=0.0)),
    "GPTNeoX": Small(text("GPTNeoXBackbone", PLACED, dropout=0.0)),
    "GptOss": Small(text("GptOssBackbone", GROUPED, **EXPERTS, sliding_window=2)),
    "HGNetV2": image("HGNetV2Backbone", **HGNET, out_features=["stem", "stage1", "stage2"]),
    "Llama": Small(text("LlamaBackbone", GROUPED)),
    "Llama3": Small(text("Llama3Backbone", GROUPED)),
    "MetaCLIP2": Small(clip("MetaCLIP2", projection_dim=12)),
    "MetaCLIP2TextEncoder": Small(clip_text("MetaCLIP2")),
    "MetaCLIP2VisionEncoder": Small(clip_vision("MetaCLIP2"), tokens=False),
    "Mistral": Small(text("MistralBackbone", GROUPED, sliding_window=2)),
    "MiT": vision("MiTBackbone", side=32, heads=(0,), **MIT),
    "Mixtral": Small(text("MixtralBackbone", GROUPED, **EXPERTS, sliding_window=2)),
    "MobileNet": image(
        "MobileNetBackbone",
        stackwise_expansion=[[8, 12]],
        stackwise_num_blocks=[2],
        stackwise_num_filters=[[8, 8]],
        stackwise_kernel_size=[[3, 3]],
        stackwise_num_strides=[[2, 1]],
        stackwise_se_ratio=[[None, 0.25]],
        stackwise_activation=[["relu", "hard_swish"], ["hard_swish"]],
        stackwise_padding=[[1, 1]],
        output_num_filters=16,
        input_num_filters=8,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=12,
    ),
    "MobileNetV5": vision(
        "MobileNetV5Backbone",
        side=32,
        **mobilenet_5(),
        stem_size=8,
        num_features=12,
        use_msfa=False,
    ),
    "Moonshine": Small(
        text(
            "MoonshineBackbone",
            {"filter_dim": 32, "encoder_num_layers": 1, "decoder_num_layers": 1},
            hidden_dim=32,
            intermediate_dim=24,
            encoder_num_heads=4,
            decoder_num_heads=4,
            max_position_embeddings=64,
            partial_rotary_factor=0.62,
            dropout=0.0,
        ),
        given={
            "encoder_input_values": np.random.default_rng(1).normal(size=(BATCH, 2000, 1)),
            "encoder_padding_mask": np.ones((BATCH, 2000), "int32"),
        },
    ),
    "OPT": Small(text("OPTBackbone", PLACED, dropout=0.0)),
    "PaliGemma": Small(
        text(
            "PaliGemmaBackbone",
            GROUPED,
            image_size=16,
            head_dim=6,
            vit_patch_size=8,
            vit_num_layers=1,
            vit_num_heads=4,
            vit_hidden_dim=32,
            vit_intermediate_dim=24,
        )
    ),
    "PARSeq": Small(parseq),
    "Phi3": Small(text("Phi3Backbone", GROUPED)),
    "Qwen": Small(text("QwenBackbone", GROUPED)),
    "Qwen3": Small(text("Qwen3Backbone", GROUPED, head_dim=6)),
    "Qwen3_5": Small(text("Qwen3_5Backbone", QWEN_3_5)),
    "Qwen3_5Moe": Small(
        text(
            "Qwen3_5MoeBackbone",
            {name: size for name, size in QWEN_3_5.items() if name != "intermediate_dim"},
            **EXPERTS,
            moe_intermediate_dim=12,
            shared_expert_intermediate_size=12,
        )
    ),
    "Qwen3Moe": Small(text("Qwen3MoeBackbone", QWEN_MOE, head_dim=6)),
    "QwenMoe": Small(text("QwenMoeBackbone", QWEN_MOE, shared_expert_intermediate_dim=12)),
    "ResNet": Small(lambda _: resnet(image_shape=(32, 32, 3)), heads=None, tokens=False),
    "RetinaNet": Small(
        lambda _: hub.RetinaNetBackbone(
            image_encoder=resnet(image_shape=(32, 32, 3)), min_level=3, max_level=4, use_p5=False
        ),
        heads=None,
        tokens=False,
    ),
    "Roberta": Small(text("RobertaBackbone", PLACED, dropout=0.0)),
    "RoformerV2": Small(text("RoformerV2Backbone", HEADS, head_size=8, dropout=0.0)),
    "RWKV7": Small(
        text(
            "RWKV7Backbone",
            {"num_layers": 1, "hidden_size": 16, "head_size": 4, "intermediate_dim": 24},
            gate_lora=8,
            mv_lora=8,
            aaa_lora=8,
            decay_lora=8,
        ),
        heads=None,
    ),
    "SAM": Small(sam, given=PROMPTS, tokens=False),
    "SAM3PromptableConcept": Small(sam3, given=BOXES, fails={"torch": "needs torchvision"}),
    "SegFormer": Small(
        lambda _: hub.SegFormerBackbone(
            image_encoder=hub.MiTBackbone(**MIT, image_shape=(32, 32, 3)), projection_filters=12
        ),
        heads=(0,),
        tokens=False,
    ),
    "SigLIP": Small(clip("SigLIP")),
    "SigLIPTextEncoder": Small(clip_text("SigLIP")),
    "SigLIPVisionEncoder": Small(clip_vision("SigLIP"), tokens=False),
    "SmolLM3": Small(text("SmolLM3Backbone", SMOL)),
    "StableDiffusion3": Small(stable_diffusion, tokens=False),
    "SwinTransformer": vision(
        "SwinTransformerBackbone",
        side=32,
        heads=(0,),
        embed_dim=12,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=4,
        drop_path=0.0,
    ),
    "T5": Small(text("T5Backbone", HEADS, key_value_dim=6, dropout=0.0)),
    "T5Gemma": Small(text("T5GemmaBackbone", T5_GEMMA)),
    "T5Gemma2": Small(text("T5Gemma2Backbone", T5_GEMMA, use_query_key_norm=True)),
    "VGG": image(
        "VGGBackbone", side=16, stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 12]
    ),
    "VideoPrism": Small(
        text(
            "VideoPrismBackbone",
            {"num_frames": 2, "patch_size": 7, "hidden_dim": 32, "intermediate_dim": 24},
            num_heads=4,
            num_spatial_layers=1,
            num_temporal_layers=1,
            num_auxiliary_layers=1,
            num_text_layers=1,
            attention_logit_soft_cap=50.0,
            image_shape=(14, 14, 3),
        )
    ),
    "ViT": vision(
        "ViTBackbone", patch_size=(7, 7), num_layers=1, hidden_dim=24, num_heads=4, mlp_dim=16
    ),
    "ViTDet": vision("ViTDetBackbone", side=16, **VIT_DET),
    "Whisper": Small(
        text(
            "WhisperBackbone",
            HEADS,
            dropout=0.0,
            max_encoder_sequence_length=LENGTH,
            max_decoder_sequence_length=LENGTH,
        )
    ),
    "Xception": Small(
        lambda _: hub.XceptionBackbone(
            stackwise_conv_filters=[[8, 8], [12, 12]],
            stackwise_pooling=[False, True],
            image_shape=(32, 32, 3),
        ),
        heads=None,
        tokens=False,
    ),
    "XLMRoberta": Small(text("XLMRobertaBackbone", PLACED, dropout=0.0)),
    "XLNet": Small(text("XLNetBackbone", HEADS, dropout=0.0)),
}
"""Backbones by class name without `Backbone`."""

WITHOUT = {
    "BASNetBackbone": "has 48 million weights whatever its config, and no layers that others lack",
    "Backbone": "is the base class",
    "FeaturePyramidBackbone": "is a base class",
}
"""Classes that KerasHub exports but `ALL` leaves out, and why."""
