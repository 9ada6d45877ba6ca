"""Triton's kernels against those of torch: on a card where there is one, otherwise in Triton's interpreter."""

import os
from functools import partial

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="Triton is not installed; its kernels are compared where it is")

from consilience.nn.kernels import triton_decode, triton_experts
from consilience.nn.kernels.combine import combine
from consilience.nn.kernels.decode import torch_decode_attention
from consilience.nn.kernels.experts import torch_expert_sum
from consilience.nn.parts.ffn import swiglu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random(*shape, seed=0, dtype=torch.float32):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x.to(DEVICE, dtype)


@pytest.mark.parametrize(
    ("heads", "dim", "columns", "pieces"), [(64, 256, 70, 2), (6, 48, 130, 3), (3, 16, 5, 1), (70, 16, 40, 4)]
)
def test_split_attention_equals_attention(heads, dim, columns, pieces):
    q, k, v = random(3, heads, dim) * dim**-0.5, random(3, columns, dim, seed=1), random(3, columns, dim, seed=2)
    start, end = (torch.tensor(x, device=DEVICE) for x in ([0, 3, 2], [columns, columns - 1, 2]))
    expected = torch_decode_attention(q, k, v, start, end)
    found = triton_decode.decode_attention(q, k, v, start, end, pieces)
    assert (found - expected).abs().max() <= 1e-5
    assert not found[2].any()
    joined = combine(*triton_decode.pieces_of(q, k, v, start, end, pieces))
    assert (joined - expected).abs().max() <= 1e-5


def test_split_attention_in_half_precision_equals_it_in_float32():
    q, k, v = random(2, 16, 32) * 32**-0.5, random(2, 80, 32, seed=1), random(2, 80, 32, seed=2)
    start, end = torch.zeros(2, device=DEVICE, dtype=torch.int64), torch.tensor([80, 33], device=DEVICE)
    found = triton_decode.decode_attention(q.half(), k.half(), v.half(), start, end, 2)
    assert found.dtype == torch.float16
    assert (found.float() - torch_decode_attention(q, k, v, start, end)).abs().max() <= 4e-3


@pytest.mark.parametrize("low", [0, -1], ids=["all here", "some elsewhere"])
def test_grouped_products_equal_one_an_expert(low):
    generator = torch.Generator().manual_seed(0)
    x, gate_up, down = random(21, 40), random(5, 2 * 70, 40, seed=1) / 6, random(5, 40, 70, seed=2) / 8
    expert = torch.randint(low, 4, (21, 3), generator=generator).to(DEVICE)
    weight = random(21, 3, seed=3).abs()
    call = (x, expert, weight, gate_up, down, partial(swiglu, limit=0.7))
    assert (triton_experts.expert_sum(*call) - torch_expert_sum(*call)).abs().max() <= 1e-5


def test_tiles_cover_every_place_once():
    counts = torch.tensor([3, 17, 0, 16, 1, 40])
    expert, first, end = (t.tolist() for t in triton_experts.tiles(counts, int(counts.sum())))
    covered = [(e, p) for e, a, b in zip(expert, first, end, strict=True) for p in range(a, min(a + 16, b))]
    edges = counts.cumsum(0).tolist()
    assert covered == [(e, p) for e in range(5) for p in range(edges[e], edges[e + 1])]
