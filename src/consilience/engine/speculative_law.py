"""Speculative sampling (arXiv 2211.17192, 2302.01318) as pure functions: which drafts stay, and what follows them.

Shape letters: B rows, K drafted tokens a pass, T = K + 1 tokens that a pass can give, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.engine.sample import Plan, Settings, cutoffs


def law(logits_BV: Tensor, settings: Settings, plan: Plan, allowed_V: Tensor | None = None) -> Tensor:
    """What plain decoding draws each row's token from, (B, V) float32: after temperature and filters; all on the most
    probable token where a row is greedy."""
    z = logits_BV.float()
    if allowed_V is not None:
        z = z.masked_fill(~allowed_V, -torch.inf)
    best_BV = torch.zeros_like(z).scatter_(1, z.argmax(-1, keepdim=True), 1.0) if plan.some_greedy else None
    if best_BV is not None and plan.all_greedy:
        return best_BV
    if plan.scaled:
        z = z / torch.where(settings.temperature > 0, settings.temperature, 1.0)[:, None]
    if plan.filtered:
        z = z.masked_fill(z < cutoffs(z, settings), -torch.inf)
    p_BV = z.softmax(-1)
    return p_BV if best_BV is None else torch.where((settings.temperature == 0)[:, None], best_BV, p_BV)


def pick(weight_BV: Tensor, u_B: Tensor) -> Tensor:
    """A token a row, (B,), with probability proportional to its weight: inversion of the cumulative sum at u in [0, 1).

    In double precision, so that a token of weight 0 is never picked.
    """
    cumulative_BV = weight_BV.double().cumsum(-1)
    target_B1 = u_B.double()[:, None] * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]


def verify(p_BTV: Tensor, q_BKV: Tensor, draft_BK: Tensor, u_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Accept draft i with probability min(1, p_i / q_i) until one is rejected, then draw from max(p − q, 0); where all
    stay, from the last p. What comes out follows p exactly, whatever q is.

    Args:
        p_BTV: the model's law at each place. q_BKV: the law each draft was drawn from.
        u_BT: uniform numbers in [0, 1), the last one of each row for the token that follows.

    Returns:
        accepted (B,), 0 … K, and token_BT: the accepted drafts, the token that follows them, and what does not count.
    """
    k = draft_BK.shape[1]
    p_BK = p_BTV[:, :k].gather(2, draft_BK[..., None])[..., 0]
    q_BK = q_BKV.gather(2, draft_BK[..., None])[..., 0]
    accepted_B = (u_BT[:, :k] * q_BK < p_BK).long().cumprod(1).sum(1)
    at_B11 = accepted_B[:, None, None].expand(-1, 1, p_BTV.shape[2])
    p_BV = p_BTV.gather(1, at_B11)[:, 0]
    left_BV = (p_BV - F.pad(q_BKV, (0, 0, 0, 1)).gather(1, at_B11)[:, 0]).clamp_min(0)
    # rounding can reject where p and q are one
    left_BV = torch.where(left_BV.sum(1, keepdim=True) > 0, left_BV, p_BV)
    token_BT = F.pad(draft_BK, (0, 1)).scatter(1, accepted_B[:, None], pick(left_BV, u_BT[:, k])[:, None])
    return accepted_B, token_BT


@dataclass(frozen=True)
class Acceptance:
    """What speculation has brought so far.

    passes: forward passes of the model, each for all rows that ran. row_passes: the same, counted once a row.
    tokens: given out. accepted_K: how often draft i stayed. Drafts behind an answer's end count as the others do.
    """

    passes: int
    row_passes: int
    tokens: int
    accepted_K: tuple[int, ...]

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a row gained from a pass, 1 … K + 1 on average; 1 without any pass."""
        return self.tokens / self.row_passes if self.row_passes else 1.0

    @property
    def conditional_K(self) -> tuple[float, ...]:
        """How often draft i stayed where all before it did; 0 where none came so far."""
        before = (self.row_passes, *self.accepted_K[:-1])
        return tuple(n / m if m else 0.0 for n, m in zip(self.accepted_K, before, strict=True))


def expected_tokens(conditional: Sequence[float]) -> float:
    """Tokens a pass at conditional acceptances a1, a2, …: 1 + a1 + a1·a2 + …"""
    total, reached = 1.0, 1.0
    for a in conditional:
        reached *= a
        total += reached
    return total
