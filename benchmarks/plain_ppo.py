"""The fixed reference of `ppo_iteration`: PPO in plain eager PyTorch, as one writes it first.

Rows are padded to the longest, every response carries its own copy of its prompt, logits of all positions are computed
and kept in float32, sampling runs until the last row of a batch has ended. The model's own weights and modules are
used, and the algorithm (losses, advantages, mini-batches, optimizer) is that of `learn.rl`. Do not make this file
faster: it is what ratios are measured against. Shape letters: B rows, T tokens, V vocabulary, M real response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from consilience.engine import house
from consilience.learn import losses
from consilience.learn.optim.adamw import apply
from consilience.learn.rl import Learner, RlConfig
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attention
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt


@dataclass(frozen=True)
class Rows:
    """Prompts padded on the left and responses padded on the right, side by side. start: padding before each prompt.
    real_BR: which response tokens are real."""

    tokens_BT: Tensor
    start_B: Tensor
    real_BR: Tensor
    pictures: tuple[np.ndarray, ...]


def _forward(model: Decoder, tokens_BT: Tensor, start_B: Tensor, pictures: Sequence[np.ndarray]) -> Tensor:
    """Logits of every position, (B, T, V) float32."""
    t = tokens_BT.shape[1]
    place_T = torch.arange(t)
    allowed = (place_T[None, None] <= place_T[None, :, None]) & (place_T[None, None] >= start_B[:, None, None])
    allowed = allowed | torch.eye(t, dtype=torch.bool)  # padding sees itself, so that its softmax is finite

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
        return attention(q, k, v, allowed)

    positions_BT = (place_T - start_B[:, None]).clamp_min(0)
    logits: Tensor = model.logits(model(model.embed(tokens_BT, pictures), positions_BT, attend))
    return logits.float()


@torch.no_grad()
def sample(model: Decoder, prompts: Sequence[Prompt], n: int, most: int, generator: torch.Generator) -> Rows:
    """n responses to each prompt at temperature 1, with a key/value cache that grows by one column a step."""
    rows = [p for p in prompts for _ in range(n)]
    width = max(map(len, rows))
    tokens_BT = torch.tensor([[tk.PAD] * (width - len(p)) + list(p.tokens) for p in rows])
    start_B = torch.tensor([width - len(p) for p in rows])
    cache: dict[int, tuple[Tensor, Tensor]] = {}
    barred = house(model.config.vocab_size).barred
    ended_B = torch.zeros(len(rows), dtype=torch.bool)
    given = tokens_BT
    pictures = tuple(x for p in rows for x in p.pictures)
    real = []
    for step in range(most):
        first = tokens_BT.shape[1] - given.shape[1]
        place_T = torch.arange(first, tokens_BT.shape[1])
        place_S = torch.arange(tokens_BT.shape[1])
        allowed = (place_S[None, None] <= place_T[None, :, None]) & (place_S[None, None] >= start_B[:, None, None])
        allowed = allowed | (place_S[None, None] == place_T[None, :, None])

        def attend(
            layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0, allowed: Tensor = allowed
        ) -> Tensor:
            if layer in cache:
                k, v = torch.cat([cache[layer][0], k], 2), torch.cat([cache[layer][1], v], 2)
            cache[layer] = (k, v)
            return attention(q, k, v, allowed)

        embedded = model.embed(given, pictures if step == 0 else ())
        hidden = model(embedded, (place_T - start_B[:, None]).clamp_min(0), attend)
        probabilities_BV = model.logits(hidden)[:, -1].float().softmax(-1)
        probabilities_BV[:, list(barred)] = 0.0  # control tokens, which the engine never draws either
        next_B = torch.multinomial(probabilities_BV, 1, generator=generator)[:, 0]
        next_B = torch.where(ended_B, tk.PAD, next_B)
        real.append(~ended_B)
        ended_B = ended_B | (next_B == tk.END)
        given = next_B[:, None]
        tokens_BT = torch.cat([tokens_BT, given], 1)
        if bool(ended_B.all()):
            break
    return Rows(tokens_BT, start_B, torch.stack(real, 1), pictures)


def _part(rows: Rows, begin: int, end: int, pictures_a_row: Sequence[int]) -> Rows:
    first = sum(pictures_a_row[:begin])
    last = first + sum(pictures_a_row[begin:end])
    return Rows(rows.tokens_BT[begin:end], rows.start_B[begin:end], rows.real_BR[begin:end], rows.pictures[first:last])


def _responses(model: Decoder, rows: Rows) -> Tensor:
    """Head outputs from which each response token is predicted, (B, R, V)."""
    r = rows.real_BR.shape[1]
    return _forward(model, rows.tokens_BT, rows.start_B, rows.pictures)[:, -r - 1 : -1]


def update(
    actor: Learner,
    critic: Learner,
    rows: Rows,
    rewards_B: Tensor,
    pictures_a_row: Sequence[int],
    config: RlConfig,
    actor_lr: float,
    critic_lr: float,
) -> dict[str, float]:
    """One PPO update: values, advantages over the batch, one actor step, several critic steps.

    config.micro: rows a forward pass.
    """
    count = len(rewards_B)
    parts = [_part(rows, b, min(b + config.micro, count), pictures_a_row) for b in range(0, count, config.micro)]
    real = [p.real_BR for p in parts]
    with torch.no_grad():
        values = [_responses(critic.model, p)[..., 0][m] for p, m in zip(parts, real, strict=True)]
    advantages, targets = [], []
    for reward_b, value_M, mask in zip(rewards_B.split(config.micro), values, real, strict=True):
        last_M = torch.zeros(len(value_M), dtype=torch.bool)
        last_M[mask.sum(1).cumsum(0) - 1] = True
        reward_M = torch.zeros(len(value_M))
        reward_M[last_M] = reward_b
        advantages.append(losses.gae(reward_M, value_M, last_M, config.gamma, config.lam))
        targets.append(advantages[-1] + value_M)
    sizes = [len(a) for a in advantages]
    normalised = losses.normalise(torch.cat(advantages)).split(sizes)
    tokens, total = sum(sizes), 0.0
    for part, mask, advantage_M in zip(parts, real, normalised, strict=True):
        logprobs_BRV = _responses(actor.model, part).log_softmax(-1)
        wanted_BR = part.tokens_BT[:, -mask.shape[1] :]
        logprob_M = logprobs_BRV.gather(-1, wanted_BR[..., None])[..., 0][mask]
        loss = losses.ppo_loss(logprob_M, logprob_M.detach(), advantage_M, config.clip).sum() / tokens
        loss.backward()
        total += float(loss.detach())
    norm = apply(actor.optimizer, actor_lr)
    steps = min(config.critic_batches, len(parts))
    for step in range(steps):
        share = range(step, len(parts), steps)
        tokens = sum(sizes[i] for i in share)
        for i in share:
            value_M = _responses(critic.model, parts[i])[..., 0][real[i]]
            loss = losses.value_loss(value_M, values[i], targets[i], config.value_clip).sum() / tokens
            loss.backward()
        apply(critic.optimizer, critic_lr)
    return {"policy_loss": total, "grad_norm": norm}
