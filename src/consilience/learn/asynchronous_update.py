"""PPO and GRPO on rollouts that older weights drew: token weights cut off at C instead of a ratio that explodes.

The other update for them is `mis_po.mis_po_update`, which rejects instead of weighting. Shape letters as in `rl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from consilience.errors import InputError
from consilience.learn import losses, off_policy, rl
from consilience.learn.batch import Batch, by_length
from consilience.learn.forward import token_stats, values
from consilience.learn.optim.adamw import apply
from consilience.learn.rl import Learner, RlConfig, terminal_rewards
from consilience.learn.rollout import Rollout


def truncated_ppo_update(
    actor: Learner,
    critic: Learner,
    rollout: Rollout,
    config: RlConfig,
    actor_lr: float,
    critic_lr: float,
    cap: float = 8.0,
) -> dict[str, float]:
    """One PPO update in place whose advantages are multiplied by min(π_old/π_rollout, C) a token; its diagnostics.

    On fresh rollouts of one engine all weights are 1 and it is `rl.ppo_update` with one actor step (the only number of
    steps there is: π_old is what the first pass computes). The diagnostics hold `off_policy.mismatch`, of which
    `gap` is 0 for fresh rollouts of one engine, and `truncated_weights`, the share of tokens whose weight was cut.

    Args:
        cap: C of truncated importance sampling (PaCoRe, arXiv 2601.05593, App. A: 8).

    Raises:
        InputError: more than one actor step is asked for.
    """
    batches, states, advantages = _prepared(critic, rollout, config)
    return {
        "explained_variance": losses.explained_variance(torch.cat(states.values), torch.cat(states.targets)),
        **_actor_step(actor, batches, advantages, states.drawn, rollout, config, actor_lr, cap),
        **rl.critic_steps(critic, batches, states.values, states.targets, config, critic_lr),
    }


def truncated_grpo_update(
    actor: Learner, rollout: Rollout, config: RlConfig, actor_lr: float, cap: float = 8.0
) -> dict[str, float]:
    """`rl.grpo_update` with the same token weights and diagnostics: no critic, group-normalised rewards.

    Raises:
        InputError: more than one actor step is asked for.
    """
    by_response_BG = losses.group_advantages(rollout.rewards_BG)
    batches, advantages, drawn = [], [], []
    for indices, batch in rl.telling(rollout, config.micro):
        batches.append(batch)
        advantages.append(by_response_BG[indices].reshape(-1).repeat_interleave(batch.response_lengths_N))
        drawn.append(_recorded(rollout, indices))
    return _actor_step(actor, batches, advantages, drawn, rollout, config, actor_lr, cap)


def _actor_step(
    actor: Learner,
    batches: Sequence[Batch],
    advantages: Sequence[Tensor],
    drawn: Sequence[Tensor],
    rollout: Rollout,
    config: RlConfig,
    lr: float,
    cap: float,
) -> dict[str, float]:
    if config.actor_steps != 1:
        raise InputError(f"truncated weights allow one actor step a rollout, not actor_steps={config.actor_steps}.")
    tokens = sum(rollout.lengths)
    device = next(actor.model.parameters()).device
    olds, total, entropy = [], 0.0, 0.0
    for batch, advantage_M, drawn_M in zip(batches, advantages, drawn, strict=True):
        logprob_M, entropy_M = token_stats(actor.model, batch)
        old_M = logprob_M.detach()
        weight_M = off_policy.truncated_weights(old_M, drawn_M.to(device), cap)
        loss = losses.ppo_loss(logprob_M, old_M, weight_M * advantage_M.to(device), config.clip).sum() / tokens
        loss.backward()
        total += float(loss.detach())
        entropy += float(entropy_M.sum()) / tokens
        olds.append(old_M.cpu())
    norm = apply(actor.optimizer, lr)
    old_M, drawn_M = torch.cat(olds), torch.cat(list(drawn))
    lengths_N = torch.cat([batch.response_lengths_N for batch in batches])
    return {
        "policy_loss": total,
        "entropy": entropy + rl.unrun_entropy(rollout, drawn),
        "grad_norm": norm,
        "zero_rewards": float((rollout.rewards_BG == 0).float().mean()),
        **off_policy.mismatch(old_M, drawn_M, lengths_N),
        "truncated_weights": off_policy.truncated_share(old_M, drawn_M, cap),
    }


def _recorded(rollout: Rollout, indices: Sequence[int]) -> Tensor:
    """What the sampler recorded of the responses of some prompts, packed (M,)."""
    size = len(rollout.logprobs) // len(rollout.groups)
    return torch.tensor([p for i in indices for row in range(i * size, (i + 1) * size) for p in rollout.logprobs[row]])


class _States(NamedTuple):
    """Packed vectors of each micro-batch: the critic's values, its targets, and what the sampler recorded."""

    values: list[Tensor]
    targets: list[Tensor]
    drawn: list[Tensor]


def _prepared(critic: Learner, rollout: Rollout, config: RlConfig) -> tuple[list[Batch], _States, list[Tensor]]:
    """Micro-batches, what belongs to their tokens, and normalised advantages."""
    rewards_BG = rollout.rewards_BG
    size = rewards_BG.shape[1]
    batches: list[Batch] = []
    states, advantages, owners = _States([], [], []), [], []
    for indices, batch in by_length(rollout.groups, config.micro):
        with torch.no_grad():
            value_M = values(critic.model, batch).cpu()
        reward_M = terminal_rewards(rewards_BG[indices].reshape(-1), batch.last_M)
        advantages.append(losses.gae(reward_M, value_M, batch.last_M, config.gamma, config.lam))
        rows = [i * size + j for i in indices for j in range(size)]
        batches.append(batch)
        states.values.append(value_M)
        states.targets.append(advantages[-1] + value_M)
        states.drawn.append(_recorded(rollout, indices))
        owners.append([rollout.problems[row // size].modality for row in rows for _ in rollout.logprobs[row]])
    return batches, states, rl.normalised(advantages, owners, config.normalise)
