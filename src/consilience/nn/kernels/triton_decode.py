"""Split-KV decode attention in Triton: each program reads a piece of a row's keys and values once, for all heads.

Shape letters as in nn/kernels/decode.py. Imported only where Triton is.
"""

# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-any-return"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from consilience.nn.kernels.decode import split_count

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453


@triton.jit
def _piece(
    q, k, v, start, end, o, lse,
    columns, pieces, heads: tl.constexpr, dim: tl.constexpr,
    HEADS: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, LOG2: tl.constexpr,
):  # fmt: skip
    row, piece, first_head = tl.program_id(0), tl.program_id(1), tl.program_id(2) * HEADS
    begin, stop = tl.load(start + row).to(tl.int32), tl.load(end + row).to(tl.int32)
    share = tl.cdiv(tl.cdiv(stop - begin, pieces), BLOCK) * BLOCK
    low = begin + piece * share
    high = tl.minimum(low + share, stop)
    head, channel, column = first_head + tl.arange(0, HEADS), tl.arange(0, DIM), tl.arange(0, BLOCK)
    own = (head[:, None] < heads) & (channel[None, :] < dim)
    at = row.to(tl.int64) * heads * dim + head[:, None] * dim + channel[None, :]
    query = tl.load(q + at, mask=own, other=0.0)
    most = tl.full((HEADS,), float("-inf"), tl.float32)
    total = tl.zeros((HEADS,), tl.float32)
    seen = tl.zeros((HEADS, DIM), tl.float32)
    base = row.to(tl.int64) * columns * dim
    for first in range(low, high, BLOCK):
        place = first + column
        inside = place < high
        key_at = base + place[None, :].to(tl.int64) * dim + channel[:, None]
        keys = tl.load(k + key_at, mask=inside[None, :] & (channel[:, None] < dim), other=0.0)
        scores = tl.dot(query, keys, input_precision="ieee") * LOG2
        scores = tl.where(inside[None, :], scores, float("-inf"))
        new_most = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - new_most[:, None])
        shrink = tl.exp2(most - new_most)
        value_at = base + place[:, None].to(tl.int64) * dim + channel[None, :]
        values = tl.load(v + value_at, mask=inside[:, None] & (channel[None, :] < dim), other=0.0)
        seen = seen * shrink[:, None] + tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        most = new_most
    empty = total == 0.0
    safe = tl.where(empty, 1.0, total)
    out = (row.to(tl.int64) * pieces + piece) * heads + head
    tl.store(o + out[:, None] * dim + channel[None, :], seen / safe[:, None], mask=own)
    tl.store(lse + out, tl.where(empty, float("-inf"), most + tl.log2(safe)), mask=head < heads)


@triton.jit
def _join(
    o, lse, out, pieces, heads: tl.constexpr, dim: tl.constexpr, PIECES: tl.constexpr, DIM: tl.constexpr
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    piece, channel = tl.arange(0, PIECES), tl.arange(0, DIM)
    at = (row * pieces + piece) * heads + head
    logs = tl.load(lse + at, mask=piece < pieces, other=float("-inf"))
    most = tl.max(logs, 0)
    weights = tl.exp2(logs - tl.where(most == float("-inf"), 0.0, most))
    total = tl.sum(weights, 0)
    mask = (piece[:, None] < pieces) & (channel[None, :] < dim)
    parts = tl.load(o + at[:, None] * dim + channel[None, :], mask=mask, other=0.0)
    joined = tl.sum(parts * weights[:, None], 0) / tl.where(total == 0.0, 1.0, total)
    tl.store(out + (row * heads + head) * dim + channel, joined, mask=channel < dim)


def decode_attention(
    q_NgC: Tensor, k_NSC: Tensor, v_NSC: Tensor, start_N: Tensor, end_N: Tensor, pieces: int | None = None
) -> Tensor:
    """As `nn.kernels.decode.decode_attention`; pieces: into how many each row is cut, None decides by the card."""
    n, g, c = q_NgC.shape
    if pieces is None:
        processors = torch.cuda.get_device_properties(q_NgC.device).multi_processor_count
        pieces = split_count(n * triton.cdiv(g, _heads(g)), k_NSC.shape[1], processors)
    o_NPgC, lse_NPg = _pieces(q_NgC, k_NSC, v_NSC, start_N, end_N, pieces)
    out_NgC = torch.empty(n, g, c, dtype=q_NgC.dtype, device=q_NgC.device)
    join = (triton.next_power_of_2(pieces), _dim(c))
    _join[(n, g)](o_NPgC, lse_NPg, out_NgC, pieces, g, c, *join, num_warps=1)
    return out_NgC


def pieces_of(
    q_NgC: Tensor, k_NSC: Tensor, v_NSC: Tensor, start_N: Tensor, end_N: Tensor, pieces: int
) -> tuple[Tensor, Tensor]:
    """Before they are joined: what `combine` takes, float32 (pieces, N, g, C) and (pieces, N, g)."""
    o_NPgC, lse_NPg = _pieces(q_NgC, k_NSC, v_NSC, start_N, end_N, pieces)
    return o_NPgC.transpose(0, 1), lse_NPg.transpose(0, 1) * LN_2


def _pieces(q: Tensor, k: Tensor, v: Tensor, start: Tensor, end: Tensor, pieces: int) -> tuple[Tensor, Tensor]:
    """(N, pieces, g, C), and logarithms to base 2, (N, pieces, g)."""
    n, g, c = q.shape
    heads, dim = _heads(g), _dim(c)
    wide = heads * dim >= 64 * 256
    o = torch.empty(n, pieces, g, c, dtype=torch.float32, device=q.device)
    lse = torch.empty(n, pieces, g, dtype=torch.float32, device=q.device)
    _piece[(n, pieces, triton.cdiv(g, heads))](
        q.contiguous(), k.contiguous(), v.contiguous(), start, end, o, lse, k.shape[1], pieces, g, c, heads, dim,
        32 if wide else 64, LOG2_E, num_warps=8 if wide else 4, num_stages=3 if q.element_size() == 2 else 1,
    )  # fmt: skip
    return o, lse


def _heads(g: int) -> int:
    """Query heads a program: at least what tensor cores multiply."""
    return min(64, max(16, triton.next_power_of_2(g)))


def _dim(c: int) -> int:
    return max(16, triton.next_power_of_2(c))
