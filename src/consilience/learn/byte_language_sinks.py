"""Learned sinks of attention (as in gpt-oss, arXiv 2508.10925): what head-wise gates are compared with.

Shape letters as in nn/decoder.py, g = H/K query heads a key head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from consilience.nn.attention import causal, scores_BKgTS
from consilience.nn.layers import Layer
from consilience.nn.parts.attention import Attend


class Sinks(nn.Module):
    """One number a head and layer, e^c of which joins the softmax's sum without a value: Σ e^s v / (Z + e^c).

    A head-wise gate is the same with c = log Z − a, a computed from the token (arXiv 2602.10604, A.1). Starts at 0.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ParameterList(torch.zeros(layer.n_heads) for layer in layers)

    def seeing(self, t: int) -> Attend:
        """Causal attention over rows of t tokens, with these sinks."""
        masks: dict[int, Tensor] = {}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
            if window not in masks:
                masks[window] = torch.zeros(1, t, t).masked_fill_(~causal(t, None, window), -torch.inf)
            b, h, _, c = q.shape
            scores = scores_BKgTS(q, k) + masks[window]
            sink = self.layers[layer].view(1, k.shape[1], -1, 1, 1).expand(*scores.shape[:4], 1)
            weights = torch.cat([scores, sink.to(scores.dtype)], -1).softmax(-1)[..., :-1]
            return (weights.to(v.dtype).reshape(b, k.shape[1], -1, t) @ v).view(b, h, t, c)

        return attend
