"""Softmax attention over a sequence that was cut into pieces, put together again.

Shape letters: S pieces, N rows, g query heads, C head dim.
"""

from __future__ import annotations

import torch
from torch import Tensor


def combine(o_SNgC: Tensor, lse_SNg: Tensor) -> Tensor:
    """Attention over all pieces from that over each: (N, g, C), float32.

    With s the scores of a piece, o = softmax(s)·V and lse = log Σ exp(s); then the whole is Σ w·o with
    w = exp(lse − lse_total) and lse_total = log Σ exp(lse) (Flash-Decoding; Dao et al., arXiv 2205.14135, §3.1).

    Args:
        lse_SNg: natural logarithms; −inf for a piece in which a row sees nothing, whose output may be anything finite.
            A row that sees nothing at all gives zeros.
    """
    lse = lse_SNg.float()
    most_Ng = lse.amax(0)
    weight_SNg = (lse - most_Ng.masked_fill(most_Ng == -torch.inf, 0.0)).exp()
    total_Ng = weight_SNg.sum(0)
    summed: Tensor = (weight_SNg[..., None] * o_SNgC.float()).sum(0)
    return summed / total_Ng.masked_fill(total_Ng == 0, 1.0)[..., None]
