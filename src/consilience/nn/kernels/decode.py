"""Attention of one new token a row over a cache: split-KV on CUDA, plain products elsewhere.

MFA's decoding is multi-query attention with many wide heads (Step-3, arXiv 2507.19427, §2): 64 heads of 256 numbers
over one key head, so that what was read is used 64 times. Grouped-query attention is the same with more key heads.
Shape letters: B rows, K key heads, N = B·K, g query heads a key head, C head dim, S columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from consilience.nn.kernels.choose import triton_serves


def decode_attention(q_NgC: Tensor, k_NSC: Tensor, v_NSC: Tensor, start_N: Tensor, end_N: Tensor) -> Tensor:
    """softmax(q·kᵀ)·v over the columns start ≤ column < end of each row, (N, g, C) in the type of q.

    Args:
        q_NgC: queries that include the scale 1/√C.
        k_NSC, v_NSC: a cache; other columns may hold anything finite.
        start_N, end_N: int32 or int64. A row with no column gives zeros.
    """
    if triton_serves(q_NgC, k_NSC, v_NSC):
        from consilience.nn.kernels import triton_decode

        return triton_decode.decode_attention(q_NgC, k_NSC, v_NSC, start_N, end_N)
    return torch_decode_attention(q_NgC, k_NSC, v_NSC, start_N, end_N)


def torch_decode_attention(q_NgC: Tensor, k_NSC: Tensor, v_NSC: Tensor, start_N: Tensor, end_N: Tensor) -> Tensor:
    """`decode_attention` in two batched products."""
    column_S = torch.arange(k_NSC.shape[1], device=k_NSC.device)
    unseen_N1S = ((column_S < start_N[:, None]) | (column_S >= end_N[:, None]))[:, None]
    scores_NgS = torch.bmm(q_NgC, k_NSC.mT).masked_fill_(unseen_N1S, -torch.inf)
    weights_NgS = scores_NgS.softmax(-1).masked_fill_(unseen_N1S, 0.0)
    return torch.bmm(weights_NgS, v_NSC)


def split_count(rows: int, columns: int, processors: int, least: int = 256) -> int:
    """Pieces into which each row's columns are cut: enough that two programs wait on every processor, but no piece
    shorter than `least` columns."""
    wanted = -(-2 * processors // max(1, rows))
    return max(1, min(wanted, columns // least))
