"""STEP3-VL-10B as a whole against a reference that shares no code with it: a picture's crops by hand, the encoder, the
features in their slots, and Qwen3 as loops over heads, from official tensor names in float64."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import naive_vision
import numpy as np
import pytest
import torch
from naive_parts import Weights, attend, causal, mlp, rms, turn_halves, waves
from naive_vision import perception_encoder
from PIL import Image
from tiny_published import MARKS, VL_SMALL, random_weights, vl_shapes, write
from torch import Tensor

from consilience.nn.attention import attend_causal
from consilience.nn.published.storage import load

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PATCH = 60


def qwen3_layer(config: dict[str, Any], w: Weights, i: int, xs: list[Tensor]) -> list[Tensor]:
    name, eps, c = f"model.layers.{i}.", config["rms_norm_eps"], config["head_dim"]
    heads, fs = config["num_attention_heads"], waves(config["head_dim"], config["rope_theta"])
    ns = [rms(x, w[f"{name}input_layernorm.weight"], eps) for x in xs]

    def head_of(matrix: str, h: int) -> list[Tensor]:
        rows = w[f"{name}self_attn.{matrix}_proj.weight"][h * c : (h + 1) * c]
        found = [rows @ n for n in ns]
        if matrix == "v":
            return found
        gain = w[f"{name}self_attn.{matrix}_norm.weight"]
        return [turn_halves(rms(x, gain, eps), t, fs) for t, x in enumerate(found)]

    group = heads // config["num_key_value_heads"]
    seen = [attend(head_of("q", h), head_of("k", h // group), head_of("v", h // group), causal) for h in range(heads)]
    out = w[f"{name}self_attn.o_proj.weight"]
    xs = [x + out @ torch.cat([head[t] for head in seen]) for t, x in enumerate(xs)]
    gain = w[f"{name}post_attention_layernorm.weight"]
    return [x + mlp(rms(x, gain, eps), w, f"{name}mlp") for x in xs]


def view(image: Image.Image, side: int) -> Tensor:
    x = torch.tensor(np.array(image)).double().permute(2, 0, 1) / 255
    x = torch.stack([(x[i] - MEAN[i]) / STD[i] for i in range(3)])
    resized = torch.nn.functional.interpolate(x[None], (side, side), mode="bilinear", antialias=True)
    return resized[0]


def spelled(picture: np.ndarray, weights: Weights) -> tuple[list[int], Tensor]:
    """38 × 70 pixels for a view of 52: windows of 36, one column (.06 of a second is dropped), two rows (of 1.94)."""
    image = Image.fromarray(picture)
    cut = image.resize((36, 72), Image.Resampling.BILINEAR)
    crops = [cut.crop((0, top, 36, top + 36)) for top in (0, 36)]
    features = [perception_encoder(VL_SMALL, weights, view(crop, 36)) for crop in crops]
    features.append(perception_encoder(VL_SMALL, weights, view(image, 52)))
    crop = [MARKS["<patch_start>"], *[PATCH] * 9, MARKS["<patch_end>"]]
    whole = [MARKS["<im_start>"], *[PATCH] * 16, MARKS["<im_end>"]]
    return [*crop, MARKS["<patch_newline>"], *crop, *whole], torch.cat(features)


def test_logits_of_a_picture_and_words(tmp_path: Path) -> None:
    weights = random_weights(vl_shapes(VL_SMALL))
    write(tmp_path, VL_SMALL, weights)
    model = load(tmp_path).requires_grad_(False)
    picture = np.random.default_rng(0).integers(0, 256, (70, 38, 3), np.uint8)
    exact, text = {name: x.double() for name, x in weights.items()}, VL_SMALL["text_config"]
    ids, features = spelled(picture, exact)
    tokens = [7, 3, *ids, 11, 5, 2]
    assert model.config.vision.spell(70, 38) == ids  # type: ignore[union-attr]
    slots = iter(features)
    xs = [next(slots) if t == PATCH else exact["model.embed_tokens.weight"][t] for t in tokens]
    for i in range(text["num_hidden_layers"]):
        xs = qwen3_layer(text, exact, i, xs)
    norm = exact["model.norm.weight"]
    expected = torch.stack([exact["lm_head.weight"] @ rms(x, norm, text["rms_norm_eps"]) for x in xs])
    h = model.embed(torch.tensor([tokens]), (picture,))
    got = model.logits(model(h, torch.arange(len(tokens))[None], attend_causal(len(tokens))))[0]
    assert expected.std() > 0.1
    assert (got - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("name", ["naive_parts", "naive_step3", "naive_step_3_5_flash", "naive_vision"])
def test_references_share_no_code_with_what_they_judge(name: str) -> None:
    source = (Path(naive_vision.__file__).parent / f"{name}.py").read_text()
    imported = {
        module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert not {module for module in imported if str(module).startswith("consilience")}
