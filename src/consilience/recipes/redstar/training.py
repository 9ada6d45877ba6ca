"""What a table policy learns from chains: supervised steps, and five ways of reinforcement, through the shared losses.

Advantages and losses are those of `consilience.learn`, so that what is compared here is what trains a decoder there.

Shape letters: B prompts, G responses a prompt, N = B·G responses, M steps of all responses (packed), R rows, A actions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.learn import losses
from consilience.learn.advantages import (
    penalised_rewards,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    returns_to_go,
)
from consilience.recipes.redstar.world import Bools, Chains, Floats, Ints, Truth, solved

SFT_LR = 0.3
ALGORITHMS = ("reinforce", "baseline", "grpo", "ppo", "dpo")


@dataclass(frozen=True)
class Table:
    """logits_RA: a row a context. row_S: the row of each skill."""

    logits_RA: Floats
    row_S: Ints

    def greedy(self, chains: Chains) -> Ints:
        """The likeliest action of each step, (M,)."""
        return np.asarray(self.logits_RA[self.row_S[chains.skill_M]].argmax(1))

    def sample(self, chains: Chains, rng: np.random.Generator) -> Ints:
        """Actions drawn at temperature 1, (M,)."""
        logits_MA = self.logits_RA[self.row_S[chains.skill_M]]
        return np.asarray((logits_MA + rng.gumbel(size=logits_MA.shape)).argmax(1))


def nll(logits_RA: Tensor, counts_RA: Tensor) -> Tensor:
    """Mean negative log-likelihood a step of actions counted by row: −Σ n·log π / Σ n, in nats."""
    return -(counts_RA * F.log_softmax(logits_RA, 1)).sum() / counts_RA.sum()


def counted(table: Table, chains: Chains) -> Tensor:
    """How often the chains take each action in each row, (R, A)."""
    counts_RA = torch.zeros(table.logits_RA.shape, dtype=torch.float64)
    where = (torch.from_numpy(table.row_S[chains.skill_M]), torch.from_numpy(chains.action_M))
    counts_RA.index_put_(where, torch.ones(len(chains.skill_M), dtype=torch.float64), accumulate=True)
    return counts_RA


def supervise(table: Table, chains: Chains, steps: int) -> Table:
    """Full-batch Adagrad on every step of the chains: as many updates whatever the number of chains."""
    return _descend(table, itertools.repeat(counted(table, chains), steps))


def supervise_epochs(table: Table, chains: Chains, epochs: int, batch: int) -> Table:
    """Adagrad on batches of chains in the given order: more chains mean more updates."""
    pieces = [counted(table, chains.part(start, start + batch)) for start in range(0, len(chains), batch)]
    return _descend(table, itertools.chain.from_iterable(itertools.repeat(pieces, epochs)))


def _descend(table: Table, batches: Iterable[Tensor]) -> Table:
    """An update for each of the counts."""
    logits_RA = torch.tensor(table.logits_RA, requires_grad=True)
    optimizer = torch.optim.Adagrad([logits_RA], SFT_LR)
    for counts_RA in batches:
        optimizer.zero_grad()
        nll(logits_RA, counts_RA).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Table(logits_RA.detach().numpy().copy(), table.row_S)


@dataclass(frozen=True)
class Reinforcement:
    """steps of `prompts` × `samples` rollouts. lr: of Adam on the table. beta: of DPO's margin. clip, lam,
    critic_lr: of PPO. pairs: at most so many positives, and so many negatives, of a prompt for DPO."""

    steps: int = 80
    prompts: int = 32
    samples: int = 8
    lr: float = 0.1
    beta: float = 0.3
    clip: float = 0.2
    lam: float = 1.0
    critic_lr: float = 0.1
    pairs: int = 2


@dataclass(frozen=True)
class Rollout:
    """Chains with what was done and whether it was rewarded; the G responses of a prompt stand side by side."""

    chains: Chains
    action_M: Ints
    reward_BG: Tensor

    @property
    def length_N(self) -> Tensor:
        return torch.from_numpy(self.chains.length_N)

    @property
    def last_M(self) -> Tensor:
        last_M = torch.zeros(len(self.action_M), dtype=torch.bool)
        last_M[self.length_N.cumsum(0) - 1] = True
        return last_M


Reward = Callable[[Bools, np.random.Generator], Floats]


def verified(solved_N: Bools, rng: np.random.Generator) -> Floats:
    """1 for a solved problem, else 0."""
    return solved_N.astype(np.float64)


def coin(solved_N: Bools, rng: np.random.Generator) -> Floats:
    """As many ones as `verified` would give, dealt out at random: the control."""
    return rng.permutation(solved_N.astype(np.float64))


def rollout(
    table: Table, world: Truth, prompts: Chains, samples: int, reward: Reward, rng: np.random.Generator
) -> Rollout:
    """`samples` responses to each prompt."""
    starts = np.cumsum(prompts.length_N) - prompts.length_N
    each = [prompts.skill_M[s : s + k] for s, k in zip(starts, prompts.length_N, strict=True) for _ in range(samples)]
    skill_M = np.concatenate(each)
    chains = Chains(skill_M, np.zeros_like(skill_M), np.repeat(prompts.length_N, samples))
    action_M = table.sample(chains, rng)
    reward_N = reward(solved(world, chains, action_M), rng)
    return Rollout(chains, action_M, torch.from_numpy(reward_N).view(len(prompts), samples))


class Learner:
    """A table under reinforcement with one algorithm; `value_K` is PPO's critic, a value for each chain length."""

    def __init__(self, start: Table, algorithm: str, settings: Reinforcement) -> None:
        self.algorithm, self.settings = algorithm, settings
        self.row_S = start.row_S
        self.reference_RA = torch.tensor(start.logits_RA)
        self.logits_RA = torch.tensor(start.logits_RA, requires_grad=True)
        self.value_K = torch.zeros(16, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.logits_RA], settings.lr)
        self.critic = torch.optim.Adam([self.value_K], settings.critic_lr)

    @property
    def table(self) -> Table:
        return Table(self.logits_RA.detach().numpy().copy(), self.row_S)

    def logprobs(self, logits_RA: Tensor, found: Rollout) -> Tensor:
        """log π of each step, (M,)."""
        row_M = torch.from_numpy(self.row_S[found.chains.skill_M])
        logp_MA = F.log_softmax(logits_RA, 1)[row_M]
        return logp_MA.gather(1, torch.from_numpy(found.action_M)[:, None])[:, 0]

    def update(self, found: Rollout, rng: np.random.Generator) -> dict[str, float]:
        """One optimizer step; returns the loss."""
        if self.algorithm == "dpo":
            loss = self._preference(found, rng)
        else:
            logp_M = self.logprobs(self.logits_RA, found)
            loss = losses.ppo_loss(logp_M, logp_M.detach(), self.advantages(found), self.settings.clip).mean()
        if loss is None:
            return {"loss": 0.0}
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": float(loss.detach())}

    def advantages(self, found: Rollout) -> Tensor:
        """(M,): the same for all steps of a response but for PPO with λ < 1. PPO's critic learns along."""
        length_N = found.length_N
        if self.algorithm == "grpo":
            return losses.group_advantages(found.reward_BG).flatten().repeat_interleave(length_N)
        if self.algorithm == "baseline":
            return reinforce_plus_plus_baseline(found.reward_BG).flatten().repeat_interleave(length_N)
        zero_M = torch.zeros(len(found.action_M), dtype=torch.float64)
        reward_M = penalised_rewards(found.reward_BG.flatten(), zero_M, found.last_M, 0.0)
        if self.algorithm == "reinforce":
            return reinforce_plus_plus(returns_to_go(reward_M, length_N))
        value_M = self.value_K[length_N.repeat_interleave(length_N)]
        old_M = value_M.detach()
        advantage_M = losses.gae(reward_M, old_M, found.last_M, lam=self.settings.lam)
        value = losses.value_loss(value_M, old_M, advantage_M + old_M).mean()
        self.critic.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.critic.step()
        return losses.normalise(advantage_M)

    def _preference(self, found: Rollout, rng: np.random.Generator) -> Tensor | None:
        better, worse = pairs(found.reward_BG.numpy(), self.settings.pairs, rng)
        if not len(better):
            return None
        own_N, reference_N = (
            losses.sum_by_response(self.logprobs(logits, found), found.length_N)
            for logits in (self.logits_RA, self.reference_RA)
        )
        chosen, rejected = torch.from_numpy(better), torch.from_numpy(worse)
        return losses.dpo_loss(
            own_N[chosen], own_N[rejected], reference_N[chosen], reference_N[rejected], self.settings.beta
        ).mean()


def pairs(reward_BG: Floats, most: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Positions (in B·G) of chosen and rejected responses: up to most × most pairs of each prompt with both kinds."""
    better: list[int] = []
    worse: list[int] = []
    for b, row in enumerate(reward_BG):
        good, bad = (b * len(row) + rng.permutation(np.flatnonzero(row == value))[:most] for value in (1, 0))
        better += [int(i) for i in good for _ in bad]
        worse += [int(i) for _ in good for i in bad]
    return np.array(better, np.int64), np.array(worse, np.int64)


def reinforce(
    start: Table,
    world: Truth,
    prompts: Chains,
    algorithm: str,
    settings: Reinforcement,
    seed: tuple[int, ...],
    reward: Reward = verified,
) -> tuple[Table, list[Mapping[str, float]]]:
    """Train a start policy; returns it with one record a step.

    Args:
        prompts: a pool that is gone through in order, `settings.prompts` a step, from the beginning again at its end.
            All algorithms see the same prompts in the same order.
    """
    rng = np.random.default_rng(seed)
    learner = Learner(start, algorithm, settings)
    ends = np.cumsum(prompts.length_N)
    records: list[Mapping[str, float]] = []
    for step in range(settings.steps):
        index = (step * settings.prompts + np.arange(settings.prompts)) % len(prompts)
        skill_M = np.concatenate([prompts.skill_M[ends[i] - prompts.length_N[i] : ends[i]] for i in index])
        batch = Chains(skill_M, np.zeros_like(skill_M), prompts.length_N[index])
        found = rollout(learner.table, world, batch, settings.samples, reward, rng)
        numbers = learner.update(found, rng)
        records.append({"step": step + 1, "reward": float(found.reward_BG.mean()), **numbers})
    return learner.table, records
