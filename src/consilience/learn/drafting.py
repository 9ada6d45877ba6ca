"""Training heads that draft tokens beyond the next one (multi-token prediction, arXiv 2412.19437; 2602.10604, §2.2).

Shape letters as in nn/decoder.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.errors import InputError
from consilience.nn.attention import attend_causal
from consilience.nn.decoder import Decoder
from consilience.nn.parts.draft import Draft

DECAY = 0.8


def head_weights(heads: int, decay: float = DECAY) -> list[float]:
    """Weights decay^h of the heads' losses, summing to 1: a later head counts less."""
    raw = [decay**h for h in range(heads)]
    return [w / sum(raw) for w in raw]


def draft_losses(
    model: Decoder,
    tokens_BT: Tensor,
    document_BT: Tensor | None = None,
    serial: bool = True,
    trunk_BTD: Tensor | None = None,
) -> Tensor:
    """Mean negative log-likelihood of each drafting head, (heads,), in nats a token.

    Head h (from 0) reads token t + 1 + h beside the hidden state at t and predicts token t + 2 + h, so it has
    T − 2 − h places in a row of T tokens.

    Args:
        document_BT: number of the document each token belongs to, −1 for padding; a head is not asked to look from one
            document into the next. None: every row is one document.
        serial: head h sees the state of head h − 1; else all see the trunk's.
        trunk_BTD: the trunk's states of these tokens where they are known; detached ones leave the trunk untrained.

    Raises:
        InputError: the decoder has no drafting heads, or a row is too short for the last of them.
    """
    if not model.drafts:
        raise InputError("this decoder has no drafting heads; its configuration needs drafts.")
    t = tokens_BT.shape[1]
    if t < 2 + len(model.drafts):
        raise InputError(f"rows of {t} tokens are too short for {len(model.drafts)} drafting heads.")
    if document_BT is None:
        document_BT = torch.zeros_like(tokens_BT)
    positions = torch.arange(t, device=tokens_BT.device)[None]
    if trunk_BTD is None:
        trunk_BTD = model.trunk(model.embed(tokens_BT), positions, attend_causal(t, tokens_BT.device))
    h_BTD, losses = trunk_BTD, []
    for head, part in enumerate(model.drafts):
        assert isinstance(part, Draft)
        n = t - 2 - head
        later, target = tokens_BT[:, 1 + head : 1 + head + n], tokens_BT[:, 2 + head :]
        source = h_BTD if serial else trunk_BTD
        h_BTD = model.draft(head, later, source[:, :n], positions[:, :n], attend_causal(n, tokens_BT.device))
        first = document_BT[:, :n]
        valid = (first == document_BT[:, 2 + head :]) & (first >= 0)
        logits_MV = part.logits(h_BTD)[valid].float()
        losses.append(F.cross_entropy(logits_MV, target[valid]) if len(logits_MV) else logits_MV.sum())
    return torch.stack(losses)


def mtp_loss(losses_H: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """The weighted sum that is added to the next-token loss (by 0.3 in pre-training, 0.1 later, as published)."""
    chosen = head_weights(len(losses_H)) if weights is None else weights
    return (losses_H * torch.tensor(chosen, device=losses_H.device)).sum()


@torch.no_grad()
def clone_first_head(model: Decoder) -> None:
    """Copy drafting head 0 into the others, the start of their joint training.

    Raises:
        InputError: the heads differ in shape, so that one cannot be copied into another.
    """
    first, *others = model.drafts
    for other in others:
        try:
            other.load_state_dict(first.state_dict())
        except RuntimeError:
            raise InputError("the drafting heads differ in shape; only like ones can be cloned.") from None
