"""Experts in Triton: one grouped product for all of them, tokens sorted by expert.

Shape letters as in nn/kernels/experts.py, plus M = N·A places, sorted by expert. Imported only where Triton is.
"""

# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-any-return"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from consilience.nn.kernels.experts import Activation, by_expert

BLOCK_ROWS = 16


@triton.jit
def _grouped(
    x, source, w, y, tile_expert, tile_first, tile_end, width, inner,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    tile, block = tl.program_id(0), tl.program_id(1)
    expert = tl.load(tile_expert + tile).to(tl.int64)
    first, end = tl.load(tile_first + tile), tl.load(tile_end + tile)
    place = first + tl.arange(0, ROWS)
    column, depth = block * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, DEPTH)
    row = tl.load(source + place, mask=place < end, other=0).to(tl.int64)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, inner, DEPTH):
        at = start + depth
        left_mask = (place[:, None] < end) & (at[None, :] < inner)
        left = tl.load(x + row[:, None] * inner + at[None, :], mask=left_mask, other=0.0)
        right_mask = (at[:, None] < inner) & (column[None, :] < width)
        right = tl.load(w + (expert * width + column[None, :]) * inner + at[:, None], mask=right_mask, other=0.0)
        total += tl.dot(left, right, input_precision="ieee")
    mask = (place[:, None] < end) & (column[None, :] < width)
    tl.store(y + place[:, None].to(tl.int64) * width + column[None, :], total, mask=mask)


def tiles(counts: Tensor, places: int, rows: int = BLOCK_ROWS) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of at most `rows` sorted places of one expert: (expert, first place, end of the expert's), int32 each.

    Args:
        counts: (1 + E,): places of nobody here, which stand first, and of each expert; `places` in all.

    There are as many as any counts could need, so that their number is known without asking the device; those too
    many are empty (first = end).
    """
    experts, end_E = len(counts) - 1, counts.cumsum(0)[1:]
    needed_E = (counts[1:] + rows - 1) // rows
    tile_end_E = needed_E.cumsum(0)
    tile = torch.arange(places // rows + experts, device=counts.device)
    expert = torch.searchsorted(tile_end_E, tile, right=True).clamp(max=experts - 1)
    number = tile - tile_end_E[expert] + needed_E[expert]
    end = end_E[expert]
    first = torch.minimum(end - counts[1:][expert] + number * rows, end)
    return expert.int(), first.int(), end.int()


def grouped_product(x_XI: Tensor, source_M: Tensor, w_EOI: Tensor, counts: Tensor) -> Tensor:
    """y[m] = w[expert of m] · x[source[m]], (M, O), summed in float32; 0 at places of nobody. counts: as in `tiles`."""
    (_, width, inner), m = w_EOI.shape, len(source_M)
    y_MO = torch.zeros(m, width, dtype=x_XI.dtype, device=x_XI.device)
    if m:
        expert, first, end = tiles(counts, m)
        _grouped[(len(expert), triton.cdiv(width, 64))](
            x_XI.contiguous(), source_M.int(), w_EOI.contiguous(), y_MO, expert, first, end, width, inner,
            BLOCK_ROWS, 64, 32,
        )  # fmt: skip
    return y_MO


def expert_sum(
    x_ND: Tensor, expert_NA: Tensor, weight_NA: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, activation: Activation
) -> Tensor:
    """As `nn.kernels.experts.expert_sum`; nothing is copied from the device."""
    order_M, counts = by_expert(expert_NA, len(down_EDF))
    token_M = order_M // expert_NA.shape[1]
    gate, up = grouped_product(x_ND, token_M, gate_up_E2FD, counts).chunk(2, dim=-1)
    everyone = torch.arange(len(order_M), device=x_ND.device)
    y_MD = grouped_product(activation(gate, up), everyone, down_EDF, counts)
    weighted = y_MD * weight_NA.flatten()[order_M, None]
    return torch.zeros_like(x_ND, dtype=weighted.dtype).index_add(0, token_M, weighted)
