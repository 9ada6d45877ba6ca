"""The formulas of speculative sampling: acceptance, what is left, and tokens a pass, against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.engine.sample import Settings, draw
from consilience.engine.speculative_law import Acceptance, expected_tokens, law, pick, verify

GRID = 400


def laws(seed: int, *shape: int) -> torch.Tensor:
    """Random laws over the last dimension, with zeros among them."""
    weight = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    weight = torch.where(weight < 0.25, 0.0, weight) + 1e-3 * (torch.arange(shape[-1]) == 0)
    return weight / weight.sum(-1, keepdim=True)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_one_token_follows_the_model_whatever_the_draft(seed: int, v: int) -> None:
    """min(p, q) + (1 − α)·max(p − q, 0)/Z = p with α = Σ min(p, q): integrated over a grid of random numbers."""
    p, q = laws(seed, v), laws(seed + 1, v)
    grid = (torch.arange(GRID) + 0.5) / GRID
    got, kept = torch.zeros(v), 0.0
    for draft in range(v):
        if q[draft] == 0:
            continue
        u = torch.stack([grid, torch.full_like(grid, 0.5)], 1)
        accepted, _ = verify(p.expand(GRID, 2, v), q.expand(GRID, 1, v), torch.full((GRID, 1), draft), u)
        share = float((accepted == 1).float().mean())
        kept += float(q[draft]) * share
        got[draft] += q[draft] * share
        left = (p - q).clamp_min(0)
        if share < 1:
            got += q[draft] * (1 - share) * left / left.sum()
    assert kept == pytest.approx(float(torch.minimum(p, q).sum()), abs=3 / GRID)
    assert torch.allclose(got, p, atol=5 / GRID)


def test_a_rejected_draft_is_followed_by_what_is_left_and_the_rest_does_not_count() -> None:
    p = torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.0, 0.8], [1.0, 0.0, 0.0]]])
    q = torch.tensor([[[1.0, 0.0, 0.0], [0.2, 0.4, 0.4]]])
    draft = torch.tensor([[0, 1]])
    accepted, tokens = verify(p, q, draft, torch.tensor([[0.49, 0.0, 0.3]]))
    assert (int(accepted[0]), tokens[0, :2].tolist()) == (1, [0, 2])  # p of draft 1 is 0: never accepted
    accepted, tokens = verify(p, q, draft, torch.tensor([[0.51, 0.0, 0.3]]))
    assert (int(accepted[0]), int(tokens[0, 0])) == (0, 1)  # 0.5/1 < 0.51, and what is left is on token 1
    accepted, tokens = verify(p, q, torch.tensor([[0, 2]]), torch.tensor([[0.1, 0.99, 0.9]]))
    assert (int(accepted[0]), tokens[0].tolist()) == (2, [0, 2, 0])


def test_a_token_without_weight_is_never_picked() -> None:
    weight = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).expand(4, -1)
    edge = 1 - 2.0**-24
    assert pick(weight, torch.tensor([0.0, 0.29, 0.31, edge])).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("seed", range(3))
def test_the_law_is_what_plain_decoding_draws_from(seed: int) -> None:
    """Inversion at a fine grid of numbers, for rows with every kind of setting."""
    logits = 2 * torch.randn(4, 12, generator=torch.Generator().manual_seed(seed))
    allowed = torch.arange(12) != 5
    rows = Settings(
        torch.tensor([0.0, 1.0, 0.7, 1.3]),
        torch.tensor([1.0, 1.0, 0.8, 1.0]),
        torch.tensor([0.0, 0.0, 0.0, 0.1]),
        torch.tensor([0, 0, 0, 5]),
    )
    p = law(logits, rows, rows.plan(), allowed)
    grid = [draw(logits, torch.full((4,), (i + 0.5) / 500), rows, rows.plan(), allowed)[0] for i in range(500)]
    seen = torch.stack([(torch.stack(grid) == token).float().mean(0) for token in range(12)], 1)
    assert torch.allclose(p, seen, atol=0.004)
    assert not p[:, 5].any()


@pytest.mark.parametrize(
    ("conditional", "tokens"), [((0.9, 0.8, 0.7), 3.124), ((0.85, 0.7, 0.6), 2.802), ((0.0, 1.0), 1.0), ((1, 1, 1), 4)]
)
def test_tokens_a_pass_by_hand(conditional: tuple[float, ...], tokens: float) -> None:
    assert expected_tokens(conditional) == pytest.approx(tokens)


def test_acceptance_by_hand() -> None:
    found = Acceptance(passes=5, row_passes=10, tokens=23, accepted_K=(8, 4, 1))
    assert found.conditional_K == (0.8, 0.5, 0.25)
    assert found.tokens_per_pass == 2.3
    assert expected_tokens(found.conditional_K) == pytest.approx(1 + np.sum([0.8, 0.4, 0.1]))
    assert Acceptance(0, 0, 0, (0, 0)).conditional_K == (0, 0)
    assert Acceptance(0, 0, 0, (0,)).tokens_per_pass == 1
