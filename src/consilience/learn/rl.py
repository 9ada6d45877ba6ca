"""Policy-gradient updates on a rollout: PPO with a critic, and GRPO without one.

PPO follows Open-Reasoner-Zero (arXiv 2503.24290, §2.1.3): γ = λ = 1, reward at the last token only, no KL and no
entropy term, advantages normalised over all tokens of the rollout batch, one actor step on fresh samples (ratio
1 with gradient), several critic mini-batches with clipped values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from consilience.learn import losses
from consilience.learn.batch import Batch, by_length
from consilience.learn.forward import token_stats, values
from consilience.learn.optim.adamw import apply
from consilience.learn.rollout import Rollout


@dataclass(frozen=True)
class RlConfig:
    """Settings of one update.

    actor_steps: optimizer steps a rollout; above 1 the later ones are off-policy and clipped by `clip`.
    critic_batches: mini-batches (steps) of the critic a rollout, at most one a forward pass. normalise: advantages
    over the whole "batch", each "modality" by itself, or "none". micro: prompts a forward pass.
    """

    gamma: float = 1.0
    lam: float = 1.0
    clip: float = 0.2
    value_clip: float = 0.2
    actor_steps: int = 1
    critic_batches: int = 4
    normalise: str = "batch"
    micro: int = 32


Model = TypeVar("Model", bound=torch.nn.Module)


@dataclass
class Learner(Generic[Model]):
    """A model and its optimizer."""

    model: Model
    optimizer: torch.optim.Optimizer


def terminal_rewards(rewards_N: Tensor, last_M: Tensor) -> Tensor:
    """Rewards at the last token of each response, 0 elsewhere, packed (M,)."""
    out = torch.zeros(len(last_M))
    out[last_M] = rewards_N
    return out


def normalised(advantages: list[Tensor], modality: Sequence[Sequence[str]], how: str) -> list[Tensor]:
    """Normalise packed advantages (one tensor and one modality list, by token owner, a micro-batch)."""
    if how == "none":
        return advantages
    flat = torch.cat(advantages)
    if how == "batch":
        return list(losses.normalise(flat).split([len(a) for a in advantages]))
    owner = [m for names in modality for m in names]
    out = flat.clone()
    for name in sorted(set(owner)):
        mask = torch.tensor([m == name for m in owner])
        out[mask] = losses.normalise(flat[mask])
    return list(out.split([len(a) for a in advantages]))


def ppo_update(
    actor: Learner, critic: Learner, rollout: Rollout, config: RlConfig, actor_lr: float, critic_lr: float
) -> dict[str, float]:
    """One PPO update in place; returns its diagnostics (nats, shares in [0, 1])."""
    micro = list(by_length(rollout.groups, config.micro))
    rewards_BG = rollout.rewards_BG
    old_values, targets, advantages, owners = [], [], [], []
    for indices, batch in micro:
        with torch.no_grad():
            value_M = values(critic.model, batch).cpu()
        reward_M = terminal_rewards(rewards_BG[indices].reshape(-1), batch.last_M)
        advantage_M = losses.gae(reward_M, value_M, batch.last_M, config.gamma, config.lam)
        old_values.append(value_M)
        advantages.append(advantage_M)
        targets.append(advantage_M + value_M)
        lengths = batch.response_lengths_N.tolist()
        names = [rollout.problems[i].modality for i in indices for _ in rollout.groups[i].responses]
        owners.append([name for name, length in zip(names, lengths, strict=True) for _ in range(length)])
    stats = {"explained_variance": losses.explained_variance(torch.cat(old_values), torch.cat(targets))}
    advantages = normalised(advantages, owners, config.normalise)
    batches = [batch for _, batch in micro]
    stats |= policy_steps(actor, batches, advantages, rollout, config, actor_lr, recorded(rollout, micro))
    stats |= critic_steps(critic, batches, old_values, targets, config, critic_lr)
    return stats


def grpo_update(actor: Learner, rollout: Rollout, config: RlConfig, actor_lr: float) -> dict[str, float]:
    """One GRPO update in place: group-normalised rewards on every token of a response, no KL term. Groups without
    spread have no gradient and are not run (`telling`)."""
    micro = list(telling(rollout, config.micro))
    by_response_BG = losses.group_advantages(rollout.rewards_BG)
    advantages = [
        by_response_BG[indices].reshape(-1).repeat_interleave(batch.response_lengths_N) for indices, batch in micro
    ]
    batches = [batch for _, batch in micro]
    return policy_steps(actor, batches, advantages, rollout, config, actor_lr, recorded(rollout, micro))


def telling(rollout: Rollout, prompts_per_batch: int) -> Iterator[tuple[list[int], Batch]]:
    """`by_length` of the groups whose rewards differ, the only ones with a gradient; of the first one if none does."""
    rewards_BG = rollout.rewards_BG
    chosen = (rewards_BG != rewards_BG[:, :1]).any(1).nonzero()[:, 0].tolist() or [0]
    for places, batch in by_length([rollout.groups[i] for i in chosen], prompts_per_batch):
        yield [chosen[place] for place in places], batch


def unrun_entropy(rollout: Rollout, drawn: Sequence[Tensor]) -> float:
    """What the responses that are not run add to the mean entropy a token (nats): their surprisal as the sampler
    recorded it, whose expectation the entropy is. drawn: what it recorded of those that are run (`recorded`)."""
    every = [p for row in rollout.logprobs for p in row]
    run = torch.cat(list(drawn))
    return float(run.double().sum() - sum(every)) / len(every) if len(run) < len(every) else 0.0


def recorded(rollout: Rollout, micro: Sequence[tuple[Sequence[int], Batch]]) -> list[Tensor]:
    """What the sampler recorded of each micro-batch's tokens (nats), packed."""
    size = len(rollout.logprobs) // len(rollout.groups)
    rows = [[i * size + j for i in indices for j in range(size)] for indices, _ in micro]
    return [torch.tensor([p for row in part for p in rollout.logprobs[row]]) for part in rows]


def policy_steps(
    actor: Learner,
    batches: Sequence,
    advantages: Sequence[Tensor],
    rollout: Rollout,
    config: RlConfig,
    lr: float,
    drawn: Sequence[Tensor] = (),
) -> dict[str, float]:
    """`actor_steps` clipped policy-gradient steps, loss = mean over all response tokens of the rollout.

    batches may leave out groups without a gradient. drawn: what the sampler recorded of them (`recorded`); `gap`, its
    mean distance from the trainer's own, is reported then.
    """
    tokens = sum(rollout.lengths)
    old: list[Tensor] = []
    stats: dict[str, float] = {}
    device = next(actor.model.parameters()).device
    for step in range(config.actor_steps):
        total = entropy = clipped = 0.0
        for i, (batch, advantage_M) in enumerate(zip(batches, advantages, strict=True)):
            logprob_M, entropy_M = token_stats(actor.model, batch)
            if step == 0:
                old.append(logprob_M.detach())
            loss = losses.ppo_loss(logprob_M, old[i], advantage_M.to(device), config.clip).sum() / tokens
            loss.backward()
            total += float(loss.detach())
            entropy += float(entropy_M.sum()) / tokens
            clipped += float(losses.clip_fraction(logprob_M.detach(), old[i], config.clip)) * len(advantage_M) / tokens
        norm = apply(actor.optimizer, lr)
        if step == 0:
            zero = float((rollout.rewards_BG == 0).float().mean())
            stats = {"policy_loss": total, "entropy": entropy, "grad_norm": norm, "zero_rewards": zero}
            if drawn:
                stats["entropy"] += unrun_entropy(rollout, drawn)
                stats["gap"] = float((torch.cat(old).cpu() - torch.cat(list(drawn))).abs().mean())
    return {**stats, "clip_fraction": clipped}


def critic_steps(
    critic: Learner, batches: Sequence, old: Sequence[Tensor], targets: Sequence[Tensor], config: RlConfig, lr: float
) -> dict[str, float]:
    """`critic_batches` optimizer steps, each on its share of the micro-batches."""
    steps = min(config.critic_batches, len(batches))
    device = next(critic.model.parameters()).device
    total = 0.0
    for step in range(steps):
        part = range(step, len(batches), steps)
        tokens = sum(len(targets[i]) for i in part)
        for i in part:
            value_M = values(critic.model, batches[i])
            loss = (
                losses.value_loss(value_M, old[i].to(device), targets[i].to(device), config.value_clip).sum() / tokens
            )
            loss.backward()
            total += float(loss.detach()) / steps
        apply(critic.optimizer, lr)
    return {"value_loss": total}
