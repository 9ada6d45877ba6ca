"""Kernels by torch, and the formulas they rest on."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.nn.kernels.choose import triton_serves
from consilience.nn.kernels.combine import combine
from consilience.nn.kernels.decode import decode_attention, split_count
from consilience.nn.kernels.experts import by_expert, expert_sum
from consilience.nn.parts.ffn import swiglu

torch.set_num_threads(1)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(q, k, v, start, end):
    """One row and one head at a time."""
    out = torch.zeros_like(q)
    for n, (a, b) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        for g in range(q.shape[1]):
            if b > a:
                out[n, g] = torch.softmax(k[n, a:b] @ q[n, g], 0) @ v[n, a:b]
    return out


def test_decoding_sees_the_columns_of_its_row_and_no_others():
    q, k, v = random(4, 3, 5), random(4, 9, 5, seed=1), random(4, 9, 5, seed=2)
    start, end = torch.tensor([0, 2, 8, 4]), torch.tensor([9, 7, 9, 4])
    expected = naive(q, k, v, start, end)
    assert torch.allclose(decode_attention(q, k, v, start, end), expected, atol=1e-12)
    assert not expected[3].any()
    k[1, 7:], v[1, 7:], k[1, :2] = 1e3, 1e3, 1e3
    assert torch.allclose(decode_attention(q, k, v, start, end), expected, atol=1e-12)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 2**16), st.sampled_from([1, 30, 300]))
@settings(max_examples=60, deadline=None)
def test_pieces_of_attention_join_to_the_whole(lengths, seed, size):
    """However a sequence is cut, empty pieces included, and however large scores are."""
    columns = sum(lengths)
    q, k, v = (
        random(2, 3, 4, seed=seed) * size,
        random(2, columns, 4, seed=seed + 1),
        random(2, columns, 4, seed=seed + 2),
    )
    o, lse, at = [], [], 0
    for length in lengths:
        scores = q @ k[:, at : at + length].mT
        lse.append(scores.logsumexp(-1))
        o.append(torch.softmax(scores, -1) @ v[:, at : at + length])
        at += length
    whole = torch.softmax(q @ k.mT, -1) @ v if columns else torch.zeros_like(q)
    joined = combine(torch.stack(o), torch.stack(lse))
    assert joined.dtype == torch.float32
    assert torch.allclose(joined.double(), whole, atol=2e-4 if size == 300 else 1e-5)


def test_known_weights_of_two_pieces():
    """Pieces with 3 and 1 times the mass weigh ¾ and ¼."""
    o = torch.tensor([[[[4.0]]], [[[8.0]]]])
    assert combine(o, torch.tensor([3.0, 1.0]).log().view(2, 1, 1)).item() == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("rows", "columns", "pieces"),
    [(64, 32768, 5), (256, 32768, 2), (300, 32768, 1), (1, 512, 2), (1, 100, 1), (4, 0, 1)],
)
def test_rows_are_cut_until_132_processors_are_busy_twice(rows, columns, pieces):
    assert split_count(rows, columns, 132) == pieces


def by_hand(x, expert, weight, gate_up, down):
    y = torch.zeros_like(x)
    for n in range(len(x)):
        for e, w in zip(expert[n].tolist(), weight[n], strict=True):
            if e >= 0:
                gate, up = (gate_up[e] @ x[n]).chunk(2)
                y[n] += w * (down[e] @ swiglu(gate, up, 0.7))
    return y


@pytest.mark.parametrize("low", [0, -1], ids=["all here", "some elsewhere"])
def test_the_sum_of_experts(low):
    generator = torch.Generator().manual_seed(0)
    x, gate_up, down = random(7, 6), random(4, 10, 6, seed=1), random(4, 6, 5, seed=2)
    expert, weight = torch.randint(low, 3, (7, 2), generator=generator), random(7, 2, seed=3).abs()
    y = expert_sum(x, expert, weight, gate_up, down, partial(swiglu, limit=0.7))
    assert torch.allclose(y, by_hand(x, expert, weight, gate_up, down), atol=1e-12)
    nobody = expert_sum(x, torch.full_like(expert, -1), weight, gate_up, down, swiglu)
    assert not nobody.any()


def test_experts_pass_gradients():
    inputs = [random(3, 4), random(2, 4, 4, seed=1), random(2, 4, 2, seed=2), random(3, 2, seed=3).abs()]
    expert = torch.tensor([[0, 1], [1, -1], [1, 0]])

    def run(x, gate_up, down, weight):
        return expert_sum(x, expert, weight, gate_up, down, swiglu)

    assert torch.autograd.gradcheck(run, [t.requires_grad_() for t in inputs])


def test_places_are_sorted_by_expert_and_counted():
    order, counts = by_expert(torch.tensor([[2, -1], [0, 2], [-1, 2]]), 3)
    assert order.tolist() == [1, 4, 2, 0, 3, 5]
    assert counts.tolist() == [2, 1, 0, 3]


def test_triton_serves_no_tensor_of_a_cpu():
    assert not triton_serves(torch.zeros(1))
