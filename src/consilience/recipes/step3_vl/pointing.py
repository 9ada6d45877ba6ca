"""Pointing before and after reinforcement: one try, many tries, the likeliest answer; how sure, and how long."""

from __future__ import annotations

from typing import Any

import torch

from consilience.engine import Engine
from consilience.learn.batch import by_length
from consilience.learn.forward import token_stats
from consilience.nn.decoder import Decoder
from consilience.recipes.step3_vl import problems
from consilience.recipes.step3_vl.sizes import Sizes
from consilience.recipes.step3_vl.training import MICRO, sample


def measured(model: Decoder, sizes: Sizes, seed: int) -> dict[str, Any]:
    """Lists by test problem: right (hits of `looks` answers at temperature 1), greedy (0 or 1), entropy (mean over the
    sampled tokens, nats), length (mean tokens of an answer). Whole pictures."""
    asked = problems.held_out("locate", sizes.level, "test", sizes.problems)
    engine = Engine(model, rows=512, dtype=torch.float32)
    tried = sample(engine, asked, ("pointing", seed), sizes.looks, sizes.max_tokens)
    best = sample(engine, asked, ("greedy", seed), 1, sizes.max_tokens, greedy=True)
    entropy: dict[int, float] = {}
    with torch.no_grad():
        for indices, batch in by_length(tried.groups, MICRO):
            lengths = batch.response_lengths_N.view(len(indices), -1).sum(1).tolist()
            parts = token_stats(model, batch).entropy_M.split(lengths)
            entropy |= {i: float(part.mean()) for i, part in zip(indices, parts, strict=True)}
    lengths_BG = torch.tensor(tried.lengths, dtype=torch.float32).view(len(asked), -1)
    return {
        "right": tried.rewards_BG.sum(1).int().tolist(),
        "greedy": best.rewards_BG[:, 0].int().tolist(),
        "entropy": [entropy[i] for i in range(len(asked))],
        "length": lengths_BG.mean(1).tolist(),
    }
