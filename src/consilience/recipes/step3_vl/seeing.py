"""Language alignment of the tower: every feature of a crop learns to say what stands in its part of the picture.

The report's encoder comes aligned with language (PE-lang, arXiv 2504.13181). A small one is aligned here in minutes:
its features are scored against the embeddings of the tokens that name what they show.

Shape letters: N pictures, F crop features of a picture, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.learn.forward import precision
from consilience.learn.optim.adamw import apply
from consilience.learn.rl import Learner
from consilience.nn import tokenizer as tk
from consilience.nn.decoder import Decoder
from consilience.nn.pictures import TowerConfig, plan_crops
from consilience.nn.tower import Tower
from consilience.problem import Problem

BACKGROUND_WEIGHT = 0.2
Label = Callable[[Any], str]


def feature_targets(problem: Problem, vision: TowerConfig, label: Label) -> Tensor:
    """The token (F,) of the object whose centre lies in the part of each crop feature, PAD where there is none; in the
    order in which the tower gives them.

    Args:
        label: an object of the scene → a one-token text.
    """
    width, height = problem.images[0].size
    plan, side = plan_crops(width, height, vision.rule), int(vision.features(vision.rule.crop) ** 0.5)
    targets = torch.full((len(plan.boxes), side, side), tk.PAD)
    for thing in problem.truth["scene"]["objects"]:
        x1, y1, x2, y2 = thing["box"]
        x, y = (x1 + x2) / 2 * plan.cut[0] / width, (y1 + y2) / 2 * plan.cut[1] / height
        for crop, (left, top, _, _) in enumerate(plan.boxes):
            column, row = (int((place - start) * side // plan.window) for place, start in ((x, left), (y, top)))
            if 0 <= row < side and 0 <= column < side:
                (targets[crop, row, column],) = tk.encode(label(thing))
    return targets.flatten()


def seeing_step(learner: Learner[Decoder], problems: Sequence[Problem], label: Label, lr: float) -> dict[str, float]:
    """One step of naming what each crop feature shows; pictures as the problems hold them.

    Returns:
        loss (nats a feature, background weighted by 0.2), accuracy on features that show something.
    """
    model = learner.model
    assert isinstance(model.vision, Tower)
    device = model.embedding.weight.device
    targets_M = torch.cat([feature_targets(p, model.vision.config, label) for p in problems]).to(device)
    crops = len(targets_M) // len(problems)
    with precision(device):
        seen = model.vision.see([p.images[0].pixels for p in problems])
        features_MD = torch.cat([features[:crops] for features in seen])
        logits_MV = F.linear(features_MD, model.embedding.weight).float()
    shows = targets_M != tk.PAD
    weight_M = torch.where(shows, 1.0, BACKGROUND_WEIGHT)
    loss = (F.cross_entropy(logits_MV, targets_M, reduction="none") * weight_M).sum() / weight_M.sum()
    loss.backward()
    apply(learner.optimizer, lr)
    hits = logits_MV.argmax(-1)[shows] == targets_M[shows]
    return {"loss": float(loss.detach()), "accuracy": float(hits.float().mean())}
