"""Expert balance against hand-made routings."""

from __future__ import annotations

import pytest
import torch

from consilience.errors import InputError
from consilience.learn.balance import balance, balance_routers, group_loss, load, watch_experts
from consilience.learn.monitors import health
from consilience.nn.layers import Mixture
from consilience.nn.parts.ffn import MixtureOfExperts, Router, Routing, swiglu, watch_routers


def routing(expert_NA: list[list[int]], score_NE: torch.Tensor) -> Routing:
    chosen = torch.tensor(expert_NA)
    return Routing(chosen, torch.ones_like(chosen).float(), score_NE)


def test_balance_moves_every_bias_by_the_rate_towards_the_mean() -> None:
    bias = torch.zeros(4)
    balance(bias, torch.tensor([0.0, 5.0, 2.0, 1.0]), rate=0.001)
    assert bias.tolist() == pytest.approx([0.001, -0.001, 0.0, 0.001])


def test_balance_evens_out_a_router_that_has_favourites() -> None:
    router = Router(4, Mixture(6, 2, 1, router="sigmoid", normalise=True)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    router.weight.normal_(generator=generator)
    router.weight[0] += 3  # a favourite wherever the inputs lean that way
    x = torch.randn(400, 4, generator=generator) + 0.5
    before = load(router(x).expert_NA, 6)
    for _ in range(1500):
        with watch_routers(router) as seen:
            router(x)
        balance_routers(seen, rate=0.002)
    after = load(router(x).expert_NA, 6)
    assert before.max() / before.mean() > 1.8
    assert after.max() / after.mean() < 1.1


def test_group_loss_is_one_when_even_and_g_when_one_group_has_everything() -> None:
    even = routing([[0, 2], [4, 1], [3, 5]], torch.full((3, 6), 0.3))
    assert float(group_loss(even, 3)) == pytest.approx(1.0)
    alone = torch.zeros(3, 6)
    alone[:, :2] = 0.9
    assert float(group_loss(routing([[0, 1]] * 3, alone), 3)) == pytest.approx(3.0)
    with pytest.raises(InputError, match="6 experts do not divide into 4 groups"):
        group_loss(even, 4)


def test_group_loss_pushes_scores_away_from_the_crowded_group() -> None:
    score = torch.full((3, 4), 0.5, requires_grad=True)
    group_loss(routing([[0, 1]] * 3, score), 2).backward()
    assert (score.grad[:, :2] > 0).all()  # type: ignore[index]
    assert (score.grad[:, 2:] < 0).all()  # type: ignore[index]


@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_what_experts_compute_is_seen(limit: float) -> None:
    """By hand, token by token; an expert without a token has 0."""
    part = MixtureOfExperts(4, Mixture(3, 1, 5, router="sigmoid", limit=limit), 0.0).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in part.parameters():
        p.normal_(generator=generator)
    part.router.bias.copy_(torch.tensor([0.0, 0.0, -9.0]))  # type: ignore[union-attr]
    x = torch.randn(1, 7, 4, generator=generator)
    with watch_experts(part) as seen:
        part(x)
    part(x)
    chosen = part.router(x[0]).expert_NA[:, 0].tolist()
    for expert in range(3):
        squares = []
        for token in (t for t, e in enumerate(chosen) if e == expert):
            gate, up = (part.experts.gate_up[expert] @ x[0, token]).chunk(2)
            squares += swiglu(gate, up, limit).square().tolist()
        expected = (sum(squares) / len(squares)) ** 0.5 if squares else 0.0
        assert float(seen[0][expert]) == pytest.approx(expected, abs=1e-6)
    assert len(seen) == 1
    assert sorted(set(chosen)) == [0, 1]


def test_one_expert_that_blows_up_is_found_and_clipping_holds_it() -> None:
    """Gate and up of one expert grow along one direction (arXiv 2602.10604, §4.1.3): max/median tells, router loads do
    not, and activations clipped at 7 stay below 49."""
    x = torch.randn(1, 200, 8, generator=torch.Generator().manual_seed(1))
    ratios = {}
    for limit in (0.0, 7.0):
        part = MixtureOfExperts(8, Mixture(4, 2, 6, router="sigmoid", limit=limit), 0.0).requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        for p in part.parameters():
            p.normal_(0, 0.3, generator=generator)
        part.router.bias.zero_()  # type: ignore[union-attr]
        part.experts.gate_up[2] *= 200
        with watch_experts(part) as seen:
            part(x)
        ratios[limit] = health(seen[0]).max_median
        if limit:
            assert float(seen[0].max()) <= 49
    assert ratios[0.0] > 1000
    assert ratios[7.0] < ratios[0.0] / 20
