"""The pixels an encoder sees of a picture, by the plan of `pictures.py`: one whole view and its crops.

Shape letters: S crops, h w pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from consilience.nn.pictures import CropRule, plan_crops

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in [0, 1], as CLIP has them (arXiv 2103.00020)."""


def views(picture: np.ndarray, rule: CropRule) -> tuple[Tensor, Tensor]:
    """The whole view (3, view, view) and the crops (S, 3, crop, crop), normalised float32.

    The picture is resized as bytes first (bilinear, to the plan's sizes), then normalised, then resized to what the
    encoder takes (bilinear, antialiased); the whole view loses its aspect ratio.

    Args:
        picture: uint8 (h, w) or (h, w, 3).

    Raises:
        InputError: a picture that cannot be seen, with its size.
    """
    height, width = picture.shape[:2]
    plan = plan_crops(width, height, rule)
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")
    if plan.padded:
        square = Image.new("RGB", (plan.padded, plan.padded))
        square.paste(image, (0, 0))
        image = square
    image = _resized(image, plan.scaled)
    whole = _seen(_normalised(image)[None], rule.view)[0]
    if not plan.boxes:
        return whole, torch.empty(0, 3, rule.crop, rule.crop)
    x_3hw = _normalised(_resized(image, plan.cut), plan.window)
    rows = len(plan.boxes) // plan.columns
    grid = x_3hw.view(3, rows, plan.window, plan.columns, plan.window)
    return whole, _seen(grid.permute(1, 3, 0, 2, 4).reshape(-1, 3, plan.window, plan.window), rule.crop)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _normalised(image: Image.Image, multiple: int = 1) -> Tensor:
    """(3, h, w) float32, each side extended in black to a multiple."""
    x_hw3 = np.asarray(image)
    beyond = [(0, -side % multiple) for side in x_hw3.shape[:2]]
    x_hw3 = np.pad(x_hw3, (*beyond, (0, 0))) if any(map(sum, beyond)) else x_hw3
    x_3hw = torch.from_numpy(x_hw3.astype(np.float32)).permute(2, 0, 1) / 255
    return (x_3hw - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _seen(x_S3hw: Tensor, side: int) -> Tensor:
    if x_S3hw.shape[2:] == (side, side):
        return x_S3hw.contiguous()
    return F.interpolate(x_S3hw, (side, side), mode="bilinear", antialias=True)
