"""The shrunken STEP3-VL-10B: its parts in their order, for canvases of 48 × 48 pixels."""

from __future__ import annotations

from dataclasses import replace

import torch

from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.pictures import CropRule, TowerConfig
from consilience.nn.published import step3_vl_10b
from consilience.nn.published.shrink import shrink
from consilience.worlds.setting import entropy

RULE = CropRule(view=24, crop=24, longest=100, thin=2)
"""A canvas of 48 × 48 pixels is larger than the view: it is seen as 2 × 2 full-size crops and once as a whole."""


def config_of(d_model: int, layers: int, width: int, blocks: int) -> ModelConfig:
    """The released configuration with small sizes: width and blocks of the tower, d_model and layers of the decoder.

    Embeddings are tied, as in the small models of the Qwen3 family, so that what the tower has learned to name can be
    said at once. The gains of the tower's branches (LayerScale) start at 1 instead of 0.1: two blocks need no damping.
    """
    small = shrink(step3_vl_10b.released(), d_model, layers)
    vision = small.vision
    assert isinstance(vision, TowerConfig)
    steps = tuple((width * 2 ** (i + 1), kernel, padding) for i, (_, kernel, padding) in enumerate(vision.downsample))
    eyes = replace(vision, width=width, layers=blocks, d_ff=2 * width, downsample=steps, layer_scale=1.0, rule=RULE)
    return replace(small, vision=eyes, tie_embeddings=True)


def model_of(config: ModelConfig, seed: int) -> Decoder:
    """A fresh model with the weights of this seed."""
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(entropy("weights", seed) % 2**62))
    return placed(model)


def placed(model: Decoder) -> Decoder:
    """The model on a GPU where there is one."""
    return model.cuda() if torch.cuda.is_available() else model


def freeze_eyes(model: Decoder) -> list[torch.nn.Parameter]:
    """Freeze the encoder, as in all reinforcement of the report (§3.3); returns what is still trained."""
    assert model.vision is not None
    model.vision.requires_grad_(False)
    return [p for p in model.parameters() if p.requires_grad]
