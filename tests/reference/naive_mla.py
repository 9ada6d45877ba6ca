"""Multi-head latent attention as arXiv 2405.04434, §2.1, writes it: every head makes its keys and values from the
latent vector, nothing is absorbed. Vectors and loops, float64."""

from __future__ import annotations

import torch
from naive_parts import Weights, attend, causal, rms, turn_halves, waves
from torch import Tensor


def attention(
    w: Weights, ns: list[Tensor], heads: int, width: int, rotated: int, rank: int, theta: float
) -> list[Tensor]:
    """Inputs of all positions → outputs. `compress` stands for the three maps of the input, `query` for that of all
    heads, each [rotated; still]."""
    frequencies, eps = waves(rotated, theta), 1e-6
    latents, turned, sources = [], [], []
    for t, n in enumerate(ns):
        code = w["compress.weight"] @ n
        sources.append(rms(code[:rank], w["query_norm.weight"], eps) if rank else n)
        turned.append(turn_halves(code[rank : rank + rotated], t, frequencies))
        latents.append(rms(code[rank + rotated :], w["latent_norm.weight"], eps))
    seen = []
    for h in range(heads):
        own = w["query.weight"][h * (rotated + width) : (h + 1) * (rotated + width)]
        q = [turn_halves(own @ s, t, frequencies) for t, s in enumerate(sources)]
        k = [torch.cat([r, w["key_up"][h] @ c]) for r, c in zip(turned, latents, strict=True)]
        v = [w["value_up"][h] @ c for c in latents]
        seen.append(attend(q, k, v, causal))
    return [w["out.weight"] @ torch.cat([head[t] for head in seen]) for t in range(len(ns))]
