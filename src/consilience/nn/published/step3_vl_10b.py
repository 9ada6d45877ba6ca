"""STEP3-VL-10B (arXiv 2601.09668): a Perception Encoder (arXiv 2504.13181), two convolutions of stride 2 with nothing
between them, a linear projector and Qwen3-8B. Official checkpoints to our decoder and back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from consilience.errors import InputError
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.pictures import CropRule, TowerConfig
from consilience.nn.published import qwen3
from consilience.nn.published.architecture import Architecture, Place
from consilience.nn.published.common import picture_tokens, spoken
from consilience.nn.published.fields import Fields
from consilience.nn.published.storage import SHARD_BYTES, load, save

IMAGE_TOKEN = 151679
_RENAMED = {
    "model.vision_model.": "vision_model.",
    "model.vit_large_projector.": "vit_large_projector.",
    "model.language_model.": "model.",
}


_RELEASED: dict[str, Any] = {
    "model_type": "step_robotics",
    "image_token_len": 169,
    "patch_token_len": 81,
    "image_token_id": IMAGE_TOKEN,
    "understand_projector_stride": 2,
    "use_im_start_end": True,
    "vision_select_layer": -1,
    "projector_bias": False,
    "vision_config": {
        "image_size": 728,
        "patch_size": 14,
        "width": 1536,
        "layers": 47,
        "heads": 16,
        "mlp_ratio": 8960 / 1536,
        "pool_type": "none",
        "use_cls_token": False,
        "ls_init_value": 0.1,
        "use_ln_post": False,
        "hidden_act": "quick_gelu",
    },
    "text_config": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 12288,
        "vocab_size": 151_936,
        "max_position_embeddings": 65_536,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
    },
}


def released() -> ModelConfig:
    """The sizes of the released weights, without a checkpoint at hand: to count, and to shrink."""
    return config_from_hf(_RELEASED)


def config_from_hf(data: Mapping[str, Any], special: Mapping[str, int] | None = None) -> ModelConfig:
    """Our configuration of a STEP3-VL-10B config.json.

    Args:
        special: ids of `<im_start>`, `<patch_newline>` and so on; without them pictures cannot be spelled as tokens.

    Raises:
        InputError: a field that is missing, contradictory or not supported; named.
    """
    top = Fields(data, "STEP3-VL-10B")
    tokens = picture_tokens(top.whole("image_token_id", default=IMAGE_TOKEN), dict(special or {}))
    top.only("understand_projector_stride", 2)
    top.only("vision_select_layer", -1)
    top.only("use_im_start_end", True)
    vision = _tower(top.part("vision_config"), top.flag("projector_bias", False), tokens)
    for name, side in (("image_token_len", vision.rule.view), ("patch_token_len", vision.rule.crop)):
        if top.whole(name, default=vision.features(side)) != vision.features(side):
            raise top.error(f"{name} is {data[name]}, but a view of {side} pixels gives {vision.features(side)} tokens")
    text = top.part("text_config").data
    return replace(qwen3.config_from_hf(text), vision=vision)


def _tower(f: Fields, projector_bias: bool, tokens: Any) -> TowerConfig:
    f.only("use_cls_token", False)
    f.only("use_rope2d", True)
    f.only("use_abs_posemb", True)
    f.only("pool_type", "none")
    f.only("hidden_act", "quick_gelu")
    width = f.whole("width")
    return TowerConfig(
        width=width,
        layers=f.whole("layers"),
        heads=f.whole("heads"),
        d_ff=int(width * f.number("mlp_ratio", 8960 / 1536) + 1e-6),
        patch=f.whole("patch_size"),
        downsample=((2 * width, 3, 1), (4 * width, 3, 1)),
        norm_before=f.flag("use_ln_pre", True),
        norm_after=f.flag("use_ln_post", False),
        layer_scale=f.number("ls_init_value", 0.0),
        projector_bias=projector_bias,
        rule=CropRule.of_view(f.whole("image_size")),
        tokens=tokens,
    )


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The official config.json of these sizes.

    Raises:
        InputError: the decoder has parts that STEP3-VL-10B lacks.
    """
    vision = config.vision
    if not isinstance(vision, TowerConfig):
        raise InputError("only a decoder with a Perception Encoder can be written as STEP3-VL-10B.")
    data = {
        "architectures": ["StepVLForConditionalGeneration"],
        "model_type": "step_robotics",
        "image_token_id": vision.tokens.patch,
        "image_token_len": vision.features(vision.rule.view),
        "patch_token_len": vision.features(vision.rule.crop),
        "understand_projector_stride": 2,
        "use_im_start_end": True,
        "vision_select_layer": -1,
        "projector_bias": vision.projector_bias,
        "vision_config": {
            "image_size": vision.rule.view,
            "patch_size": vision.patch,
            "width": vision.width,
            "layers": vision.layers,
            "heads": vision.heads,
            "mlp_ratio": vision.d_ff / vision.width,
            "pool_type": "none",
            "use_cls_token": False,
            "use_abs_posemb": True,
            "use_rope2d": True,
            "ls_init_value": vision.layer_scale or None,
            "use_ln_pre": vision.norm_before,
            "use_ln_post": vision.norm_after,
            "hidden_act": "quick_gelu",
        },
        "text_config": qwen3.config_to_hf(replace(config, vision=None)),
    }
    if config_from_hf(data, spoken(config)) != config:
        raise InputError("this decoder's encoder has parts that STEP3-VL-10B lacks.")
    return data


def tensor_table(config: ModelConfig) -> dict[str, Place]:
    """Official tensor name → our parameter and the rows of it that the tensor fills."""
    vision = config.vision
    assert isinstance(vision, TowerConfig)
    table = qwen3.tensor_table(config) | {
        "vision_model.conv1.weight": Place("vision.patches.weight"),
        "vision_model.positional_embedding": Place("vision.positions"),
        "vit_large_projector.weight": Place("vision.project.weight"),
    }
    if vision.projector_bias:
        table["vit_large_projector.bias"] = Place("vision.project.bias")
    pairs = {"attn.out_proj": "out", "ln_1": "attention_norm", "ln_2": "mlp_norm"}
    pairs |= {"mlp.c_fc": "expand", "mlp.c_proj": "down"}
    modules = {f"vision_model.vit_downsampler{i + 1}": f"vision.downsample.{i}" for i in range(2)}
    if vision.norm_before:
        modules["vision_model.ln_pre"] = "vision.norm_before"
    if vision.norm_after:
        modules["vision_model.ln_post"] = "vision.norm_after"
    for i in range(vision.layers):
        theirs, ours = f"vision_model.transformer.resblocks.{i}.", f"vision.blocks.{i}."
        modules |= {f"{theirs}{a}": f"{ours}{b}" for a, b in pairs.items()}
        table |= {f"{theirs}attn.in_proj_{kind}": Place(f"{ours}qkv.{kind}") for kind in ("weight", "bias")}
        if vision.layer_scale:
            table[f"{theirs}ls_1.gamma"] = Place(f"{ours}attention_scale")
            table[f"{theirs}ls_2.gamma"] = Place(f"{ours}mlp_scale")
    for theirs, ours in modules.items():
        table |= {f"{theirs}.{kind}": Place(f"{ours}.{kind}") for kind in ("weight", "bias")}
    return table


def rename(name: str) -> str:
    """The released name of a tensor that the transformers library has renamed."""
    for theirs, ours in _RENAMED.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


ARCHITECTURE = Architecture("STEP3-VL-10B", config_from_hf, config_to_hf, tensor_table, rename, spoken)


def from_hf(path: str | os.PathLike[str], dtype: torch.dtype | None = None) -> Decoder:
    """The decoder of a STEP3-VL-10B checkpoint directory. See `storage.load`."""
    return load(path, dtype, ARCHITECTURE)


def to_hf(model: Decoder, path: str | os.PathLike[str], shard_bytes: int = SHARD_BYTES) -> None:
    """Write the decoder as a STEP3-VL-10B checkpoint directory. See `storage.save`."""
    save(model, path, ARCHITECTURE, shard_bytes)
