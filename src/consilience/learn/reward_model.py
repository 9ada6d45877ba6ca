"""Reward models over the house decoder: Bradley–Terry, regularised, two-headed (ODIN), averaged (WARM). Values of
single steps are `learn.process_preference`.

A reward model is a trunk with a scalar head whose output at the last response token is the reward, so that a critic can
start from it as it is. A model of the transformers library (`learn.language.critic_of`) serves as trunk, too.

Shape letters: M tokens of all responses one after another (packed), N responses, P pairs, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from consilience.errors import CheckpointMismatch, InputError
from consilience.learn.batch import Batch, Group, collate
from consilience.learn.forward import precision, response_hidden
from consilience.learn.optim.adamw import apply
from consilience.learn.state import critic_of
from consilience.nn import tokenizer as tk
from consilience.nn.decoder import Decoder

# losses


def bradley_terry_loss(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """−log σ(r_c − r_r) a pair, (P,), in nats."""
    return -F.logsigmoid(chosen_P - rejected_P)


def regularised_loss(chosen_P: Tensor, rejected_P: Tensor, weight: float = 0.005) -> Tensor:
    """ "Reg": Bradley–Terry plus weight·(r_c² + r_r²), which keeps rewards near 0, (P,)."""
    return bradley_terry_loss(chosen_P, rejected_P) + weight * (chosen_P.square() + rejected_P.square())


def pearson(a_N: Tensor, b_N: Tensor) -> Tensor:
    """Correlation of two vectors, a scalar in [−1, 1]; 0 where one does not vary."""
    a, b = a_N - a_N.mean(), b_N - b_N.mean()
    correlation: Tensor = (a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12)
    return correlation


def alignment(quality_weight: Tensor, length_weight: Tensor) -> Tensor:
    """‖W_Q W_Lᵀ‖_F / (‖W_Q‖_F ‖W_L‖_F + 1e-6) of two heads (1, D): 0 for orthogonal ones, a scalar."""
    cosine: Tensor = (quality_weight @ length_weight.T).norm() / (quality_weight.norm() * length_weight.norm() + 1e-6)
    return cosine


class TwoHeads(NamedTuple):
    """Quality and length scores of the same responses, (N,) each."""

    quality_N: Tensor
    length_N: Tensor


def odin_loss(
    chosen: TwoHeads,
    rejected: TwoHeads,
    chosen_tokens_P: Tensor,
    rejected_tokens_P: Tensor,
    quality_weight: Tensor,
    length_weight: Tensor,
    *,
    correlation: float = 1.0,
    orthogonal: float = 1.0,
) -> Tensor:
    """ODIN (arXiv 2402.07319): Bradley–Terry on the sum of both heads, quality decorrelated from length. A scalar.

    mean −log σ((Q+L)_c − (Q+L)_r) + (|corr(Q, len)| − corr(L, len)) + alignment of the heads; correlations over chosen
    and rejected responses of the whole batch, len in response tokens.
    """
    ranking = bradley_terry_loss(chosen.quality_N + chosen.length_N, rejected.quality_N + rejected.length_N).mean()
    tokens_N = torch.cat([chosen_tokens_P, rejected_tokens_P]).to(chosen.quality_N.dtype)
    quality = pearson(torch.cat([chosen.quality_N, rejected.quality_N]), tokens_N).abs()
    length = pearson(torch.cat([chosen.length_N, rejected.length_N]), tokens_N)
    return ranking + correlation * (quality - length) + orthogonal * alignment(quality_weight, length_weight)


# the model


class RewardModel(nn.Module):
    """A trunk with a scalar quality head, and for ODIN a second, bias-free head that absorbs length.

    Args:
        trunk: a `Decoder` with head "value", or a value model of `learn.language`. Its head is the quality head:
            the trunk alone is the finished reward model.
        length_head: Linear(D → 1) without bias, or None.
    """

    def __init__(self, trunk: nn.Module, length_head: nn.Linear | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.length_head = length_head

    @property
    def quality_weight(self) -> Tensor:
        """Of the quality head, (1, D)."""
        head = getattr(self.trunk, "head", None) or getattr(self.trunk, "value_head", None)
        if head is None:  # a Decoder inside a language model
            head = cast(Decoder, self.trunk.net).head
        return cast(nn.Linear, head).weight

    def forward(self, groups: Sequence[Group]) -> TwoHeads:
        """Scores of all responses, in order, (N,) float32 each; the length score is 0 without that head."""
        batch = collate([closed(group) for group in groups])
        device = next(self.parameters()).device
        with precision(device):
            hidden_ND = trunk_hidden(self.trunk, batch)[batch.last_M.to(device)]
            quality_N = cast(Decoder, self.trunk).logits(hidden_ND)[:, 0]
            length_N = torch.zeros_like(quality_N) if self.length_head is None else self.length_head(hidden_ND)[:, 0]
        return TwoHeads(quality_N.float(), length_N.float())


def closed(group: Group) -> Group:
    """One more token after each response, so that the last *input* is the response's last token."""
    return replace(group, responses=tuple((*r, tk.END) for r in group.responses))


def trunk_hidden(trunk: nn.Module, batch: Batch) -> Tensor:
    """Hidden states (M, D) at the inputs of each response, of a house decoder or a value model of `learn.language`."""
    own = getattr(trunk, "hidden", None)
    hidden_MD: Tensor = response_hidden(cast(Decoder, trunk), batch) if own is None else own(batch)
    return hidden_MD


def reward_model_of(actor: Decoder, generator: torch.Generator, *, two_heads: bool = False) -> RewardModel:
    """A reward model that starts from a policy's weights, with fresh small heads without bias."""
    head = None
    if two_heads:
        head = nn.Linear(actor.config.d_model, 1, bias=False)
        nn.init.normal_(head.weight, 0.0, 1 / (actor.config.d_model + 1), generator=generator)
    return RewardModel(critic_of(actor, generator), head)


@torch.no_grad()
def rewards_of(model: RewardModel, groups: Sequence[Group], micro: int = 32) -> Tensor:
    """Rewards (quality scores) of all responses in order, (N,) float32 on the CPU."""
    parts = [model(groups[i : i + micro]).quality_N.cpu() for i in range(0, len(groups), micro)]
    return torch.cat(parts)


# training

Kind = Literal["bradley_terry", "reg", "odin"]


@dataclass(frozen=True)
class RewardConfig:
    """kind: which loss. reg: weight of "Reg". correlation, orthogonal: ODIN's weights. micro: pairs a forward pass."""

    kind: Kind = "bradley_terry"
    reg: float = 0.005
    correlation: float = 1.0
    orthogonal: float = 1.0
    micro: int = 16


def reward_step(
    model: RewardModel, optimizer: torch.optim.Optimizer, pairs: Sequence[Group], lr: float, config: RewardConfig
) -> dict[str, float]:
    """One optimizer step on pairs (chosen, rejected), each a group of two.

    Returns:
        loss (nats a pair), accuracy (share of pairs ranked rightly by what is trained), margin (mean r_c − r_r of the
        quality head), length_correlation (of the quality head with response tokens) and grad_norm.

    Raises:
        InputError: no pair, a group of another size, or ODIN without a second head.
    """
    if not pairs or any(len(pair.responses) != 2 for pair in pairs):
        raise InputError("a reward model learns from groups of two responses, the chosen one first.")
    if (config.kind == "odin") != (model.length_head is not None):
        raise InputError("ODIN and only ODIN trains a second head: make the model with two_heads=True for it.")
    parts = [model(pairs[i : i + config.micro]) for i in range(0, len(pairs), config.micro)]
    quality_P2 = torch.cat([part.quality_N for part in parts]).view(-1, 2)
    length_P2 = torch.cat([part.length_N for part in parts]).view(-1, 2)
    tokens_P2 = torch.tensor([[len(r) for r in pair.responses] for pair in pairs], device=quality_P2.device)
    loss = pair_loss(config, quality_P2, length_P2, tokens_P2, model)
    loss.backward()
    total_P2 = (quality_P2 + length_P2).detach()
    quality_P2 = quality_P2.detach()
    return {
        "loss": float(loss.detach()),
        "accuracy": float((total_P2[:, 0] > total_P2[:, 1]).float().mean()),
        "margin": float((quality_P2[:, 0] - quality_P2[:, 1]).mean()),
        "length_correlation": float(pearson(quality_P2.reshape(-1), tokens_P2.reshape(-1).float())),
        "grad_norm": apply(optimizer, lr),
    }


def pair_loss(
    config: RewardConfig, quality_P2: Tensor, length_P2: Tensor, tokens_P2: Tensor, model: RewardModel
) -> Tensor:
    """The configured loss of pairs (chosen, rejected), a scalar; every argument (P, 2)."""
    if config.kind == "odin":
        assert model.length_head is not None
        return odin_loss(
            TwoHeads(quality_P2[:, 0], length_P2[:, 0]),
            TwoHeads(quality_P2[:, 1], length_P2[:, 1]),
            tokens_P2[:, 0],
            tokens_P2[:, 1],
            model.quality_weight,
            model.length_head.weight,
            correlation=config.correlation,
            orthogonal=config.orthogonal,
        )
    if config.kind == "reg":
        return regularised_loss(quality_P2[:, 0], quality_P2[:, 1], config.reg).mean()
    return bradley_terry_loss(quality_P2[:, 0], quality_P2[:, 1]).mean()


# WARM


def average_weights(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The parameter mean of models that share a start (WARM, arXiv 2401.12187), float32 sums.

    Raises:
        InputError: there is none.
        CheckpointMismatch: the members have other names or shapes.
    """
    if not members:
        raise InputError("an average needs at least one member.")
    shapes = {name: tensor.shape for name, tensor in members[0].items()}
    for member in members[1:]:
        if {name: tensor.shape for name, tensor in member.items()} != shapes:
            raise CheckpointMismatch("the members of an average have other tensors: train them from one start.")
    return {
        name: torch.stack([member[name].float() for member in members]).mean(0).to(first.dtype)
        for name, first in members[0].items()
    }
