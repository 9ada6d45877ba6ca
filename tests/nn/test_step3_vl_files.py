"""STEP3-VL-10B: the released sizes, and a sentence for every configuration, tensor, shard and picture that is wrong."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_configs import STEP3_VL
from tiny_published import VL_SMALL, random_weights, vl_shapes, write

from consilience.errors import CheckpointMismatch, InputError
from consilience.nn.inspect import inspect
from consilience.nn.pictures import MOST_PIXELS
from consilience.nn.published import step3_vl_10b
from consilience.nn.published.storage import load
from consilience.nn.tower import Tower
from consilience.nn.views import views


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pictures.md").read_text("utf-8")
    example = page.split("```python\n")[1].split("```")[0] + "assert (len(plan.boxes), plan.columns) == (8, 4)\n"
    command = [sys.executable, "-c", example + "assert len(tokens) == 836"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_released_sizes_are_those_of_the_released_configuration() -> None:
    assert step3_vl_10b.released() == step3_vl_10b.config_from_hf(STEP3_VL)


def changed(path: str, value: object) -> dict[str, Any]:
    data = copy.deepcopy(STEP3_VL)
    *outer, last = path.split(".")
    inner = data
    for name in outer:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("vision_config", None, "lacks 'vision_config'"),
        ("text_config", None, "lacks 'text_config'"),
        ("vision_config.image_size", None, "image_size is missing"),
        ("vision_config.patch_size", None, "patch_size is missing"),
        ("vision_config.width", None, "width is missing"),
        ("vision_config.layers", None, "layers is missing"),
        ("vision_config.heads", None, "heads is missing"),
        ("text_config.hidden_size", None, "lacks hidden_size"),
        ("text_config.rope_theta", None, "lacks rope_theta"),
        ("text_config.model_type", "llama", "model_type is 'llama'"),
        ("vision_config.width", "wide", "width = 'wide' is no integer of at least 1"),
        ("vision_config.layers", 0, "layers = 0 is no integer of at least 1"),
        ("vision_config.image_size", 730, "view size 730 must be a multiple of the patch size 14"),
        ("vision_config.pool_type", "attn", "pool_type = 'attn' is not supported"),
        ("vision_config.hidden_act", "gelu", "hidden_act = 'gelu' is not supported"),
        ("vision_config.use_rope2d", False, "use_rope2d = False is not supported"),
        ("vision_config.mlp_ratio", -1, "mlp_ratio = -1 is no number of at least 0"),
        ("image_token_len", 168, "image_token_len is 168, but a view of 728 pixels gives 169 tokens"),
        ("patch_token_len", 169, "patch_token_len is 169, but a view of 504 pixels gives 81 tokens"),
        ("understand_projector_stride", 1, "understand_projector_stride = 1 is not supported"),
        ("vision_select_layer", -2, "vision_select_layer = -2 is not supported"),
        ("use_im_start_end", False, "use_im_start_end = False is not supported"),
        ("projector_bias", "no", "projector_bias = 'no' is neither true nor false"),
    ],
)
def test_fields_that_are_missing_or_contradict_are_named(field: str, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        step3_vl_10b.config_from_hf(changed(field, value))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vision_model.conv1.weight", (16, 1, 4, 4)),
        ("vision_model.positional_embedding", (144, 16)),
        ("vision_model.transformer.resblocks.1.attn.in_proj_weight", (16, 48)),
        ("vision_model.vit_downsampler2.weight", (64, 32, 2, 2)),
        ("vit_large_projector.weight", (64, 24)),
    ],
)
def test_tensors_of_another_shape_are_named(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    weights = random_weights(vl_shapes(VL_SMALL))
    right = tuple(weights[name].shape)
    weights[name] = torch.zeros(shape)
    write(tmp_path, VL_SMALL, weights)
    with pytest.raises(CheckpointMismatch) as caught:
        load(tmp_path)
    assert f"{name} is {shape}, not {right}" in str(caught.value)
    assert not inspect(tmp_path).to_json()["fits"]


@pytest.mark.parametrize("kept", [4, 200, -50])
def test_truncated_shards_are_named(kept: int, tmp_path: Path) -> None:
    """Cut inside the length of the header, the header, and the data."""
    write(tmp_path, VL_SMALL, random_weights(vl_shapes(VL_SMALL)))
    shard = tmp_path / "model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model-00003-of-00003\.safetensors is (truncated|no safetensors)"):
        load(tmp_path)
    assert "model-00003-of-00003.safetensors" in inspect(tmp_path).damaged[0]


def small_tower(tmp_path: Path) -> Tower:
    write(tmp_path, VL_SMALL, random_weights(vl_shapes(VL_SMALL)))
    tower = load(tmp_path).vision
    assert isinstance(tower, Tower)
    return tower.requires_grad_(False)


def test_crops_of_several_pictures_run_as_one_batch(tmp_path: Path) -> None:
    """Large, long, square and small pictures together are seen as each by itself, crops before the whole."""
    tower = small_tower(tmp_path)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, shape, np.uint8) for shape in ((60, 80, 3), (30, 40), (12, 48), (52, 52, 3))]
    together = tower.see(pictures)
    assert [len(x) for x in together] == [6 * 9 + 16, 16, 4 * 9 + 16, 16]
    for picture, features in zip(pictures, together, strict=True):
        (alone,) = tower.see([picture])
        assert torch.allclose(features, alone, atol=1e-4)
        whole, crops = views(picture, tower.config.rule)
        by_hand = [*(tower(crop[None])[0] for crop in crops), tower(whole[None])[0]]
        assert torch.allclose(features, torch.cat(by_hand), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 1), "1×1 pixels shows nothing; it needs at least 2 pixels each way"),
        ((4, 216), "216×4 pixels would be seen in 54 crops, more than 36"),
        ((MOST_PIXELS // 8 + 1, 8), "pixels is larger than 134,217,728 pixels"),
    ],
)
def test_pictures_that_cannot_be_seen_stop_before_the_encoder(
    shape: tuple[int, int], sentence: str, tmp_path: Path
) -> None:
    tower = small_tower(tmp_path)
    empty = np.broadcast_to(np.zeros((1, 1), np.uint8), shape)  # no memory is taken for it
    with pytest.raises(InputError, match=sentence):
        tower.see([np.zeros((8, 8), np.uint8), empty])


@settings(max_examples=25)
@given(st.integers(2, 150), st.integers(2, 150), st.booleans())
def test_pixels_and_tokens_agree_for_every_size(width: int, height: int, colour: bool) -> None:
    """As many crops are cut as are spelled, of the right size and finite, or the size is named."""
    vision = step3_vl_10b.config_from_hf(VL_SMALL, {"<im_start>": 1, "<im_end>": 2, "<patch_start>": 3} | ENDS).vision
    assert vision is not None
    picture = np.full((height, width, 3) if colour else (height, width), 200, np.uint8)
    refusal, spelled = "", list[int]()
    try:
        spelled = vision.spell(height, width)  # type: ignore[union-attr]
    except InputError as error:
        refusal = str(error)
    if not spelled:
        assert f"{width}×{height} pixels" in refusal
        return
    whole, crops = views(picture, vision.rule)  # type: ignore[union-attr]
    assert whole.shape == (3, 52, 52)
    assert crops.shape == (spelled.count(3), 3, 36, 36)
    assert spelled.count(60) == 9 * len(crops) + 16
    assert bool(whole.isfinite().all())
    assert bool(crops.isfinite().all())


ENDS = {"<patch_end>": 4, "<patch_newline>": 5}
