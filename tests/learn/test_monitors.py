"""Monitors: routing confidence, expert health and loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from consilience.errors import InputError
from consilience.learn import monitors
from consilience.learn.optim.muon import orthogonalise


def test_routing_confidence_by_hand() -> None:
    assert monitors.routing_confidence(torch.ones(5, 288), torch.arange(8).repeat(5, 1)) == pytest.approx(8 / 288)
    scores = torch.tensor([[0.6, 0.2, 0.2], [0.1, 0.1, 0.2]])
    assert monitors.routing_confidence(scores, torch.tensor([[0], [2]])) == pytest.approx((0.6 + 0.5) / 2)
    assert monitors.routing_confidence(scores, torch.tensor([[0, 1, 2], [2, 0, 1]])) == pytest.approx(1)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_confidence_of_the_top_k_lies_between_k_over_e_and_1(seed: int, k: int) -> None:
    scores = torch.rand(9, 6, generator=torch.Generator().manual_seed(seed)) + 1e-6
    found = monitors.routing_confidence(scores, scores.topk(k).indices)
    assert k / 6 - 1e-6 <= found <= 1 + 1e-6


def test_expert_measures_by_hand() -> None:
    hidden = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])
    rms = monitors.expert_rms(hidden, torch.tensor([0, 0, 2]), 4)
    assert rms.tolist() == pytest.approx([2.5, 0, 1, 0])
    assert monitors.expert_norms(torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])).tolist() == [5, 0]
    assert monitors.health(torch.tensor([1.0, 2.0, 8.0])) == monitors.Health(0.5, 4.0)
    with pytest.raises(InputError, match="each of them"):
        monitors.health(torch.tensor([]))


def test_gates_that_agree_on_one_channel_are_aligned() -> None:
    one = torch.tensor([[9.0, 0.0, 0.0, 0.0]])
    assert monitors.gate_alignment(one, one).item() == pytest.approx(1)
    spread = torch.full((1, 4), 2.0)
    assert monitors.gate_alignment(spread, spread).item() == pytest.approx(0.5)
    assert monitors.gate_alignment(torch.zeros(1, 4), spread).item() == 0


def train_expert(limit: float) -> float:
    """Max/median of four SwiGLU experts after Muon steps that only ever show one token to one of them."""
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(4, 2, 16, 8, generator=generator) / 8**0.5
    x = torch.randn(8, generator=generator)

    def hidden(weight: torch.Tensor) -> torch.Tensor:
        gate, up = torch.nn.functional.silu(weight[0] @ x), weight[1] @ x
        return gate.clamp_max(limit) * up.clamp(-limit, limit)

    for _ in range(40):
        weight = gate_up[0].clone().requires_grad_()
        loss = -hidden(weight).sum()  # the token's loss always wants more of the same
        (gradient,) = torch.autograd.grad(loss, weight)
        for part in (0, 1):
            gate_up[0, part] -= 0.2 * 16**0.5 * 0.5 * orthogonalise(gradient[part])
    rms = torch.stack([hidden(weight).square().mean().sqrt() for weight in gate_up])
    return monitors.health(rms).max_median


def test_an_expert_of_one_token_blows_up_under_muon_unless_activations_are_clipped() -> None:
    free, clipped = train_expert(math.inf), train_expert(7.0)
    assert free > 3 * clipped
    assert free > 100


def test_a_loop_is_an_n_gram_more_often_than_ten_times() -> None:
    gram = list(range(20))
    assert not monitors.has_loop(gram * 10)
    assert monitors.has_loop(gram * 11)
    assert not monitors.has_loop([])
    assert monitors.repeat_rate([gram * 11, gram]) == 0.5
    assert monitors.repeat_rate([]) == 0
