"""Policy-gradient updates: on-policy identities, the gradient by hand, and that they learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learn_helpers import bits, learner, no_mixed_precision, ragged_groups, rollout_of, row_logprobs, text_prompt, tiny
from torch import Tensor

from consilience.learn import losses
from consilience.learn.batch import Group, by_length, collate
from consilience.learn.forward import values
from consilience.learn.optim.adamw import adamw, apply
from consilience.learn.rl import (
    Learner,
    RlConfig,
    grpo_update,
    policy_steps,
    ppo_update,
    recorded,
    telling,
    terminal_rewards,
    unrun_entropy,
)
from consilience.learn.rollout import Rollout
from consilience.learn.state import copy_of, critic_of
from consilience.nn.attention import attend_causal
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt


def example(size: int = 4) -> Rollout:
    """Four problems of two modalities with rewards that differ within and between groups."""
    groups = ragged_groups(size)
    rewards = np.random.default_rng(3).choice([0.0, 0.5, 1.0], size=len(groups) * size)
    return rollout_of(groups, rewards.tolist(), ["text", "text", "image", "image"])


def critic_for(actor: Decoder) -> Learner:
    return learner(critic_of(actor, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("micro", [1, 3, 32])
def test_the_first_step_is_on_policy(micro: int) -> None:
    """Ratio 1: the loss is minus the mean advantage, which normalisation makes 0, and nothing is clipped."""
    actor = learner(tiny(eyes=True))
    numbers = ppo_update(actor, critic_for(actor.model), example(), RlConfig(micro=micro), 1e-3, 1e-3)
    assert numbers["clip_fraction"] == 0
    assert numbers["policy_loss"] == pytest.approx(0, abs=1e-5)
    assert numbers["grad_norm"] > 0
    assert 0 < numbers["entropy"] < np.log(384)


def test_later_steps_on_the_same_rollout_are_clipped() -> None:
    actor = learner(tiny(eyes=True))
    numbers = grpo_update(actor, example(), RlConfig(actor_steps=3), 0.05)
    assert numbers["clip_fraction"] > 0


def test_the_step_is_the_policy_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD moves the weights by Σ A ∇log π / tokens of separate rows, clipped to norm 1."""
    no_mixed_precision(monkeypatch)
    rollout = example()
    actor, twin = tiny(eyes=True), tiny(eyes=True)
    grpo_update(Learner(actor, torch.optim.SGD(actor.parameters(), lr=0.0)), rollout, RlConfig(micro=3), 1.0)

    advantage_BG = losses.group_advantages(rollout.rewards_BG)
    tokens = sum(rollout.lengths)
    for group, advantages in zip(rollout.groups, advantage_BG, strict=True):
        for response, advantage in zip(group.responses, advantages, strict=True):
            (row_logprobs(twin, group.prompt, response).sum() * advantage / tokens).backward()
    torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
    for (name, moved), start in zip(actor.named_parameters(), twin.parameters(), strict=True):
        assert start.grad is not None
        assert torch.allclose(moved.detach() - start.detach(), start.grad, atol=1e-5), name


def test_groups_without_spread_are_not_run_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    rollout = example()
    rewards = [0.7] * 8 + [0.0, 0.5] * 4
    rollout = replace(rollout, verdicts=rollout_of(rollout.groups, rewards).verdicts)
    ran = [i for indices, _ in telling(rollout, 3) for i in indices]
    assert sorted(ran) == [2, 3]

    actor, twin = (Learner(m, torch.optim.SGD(m.parameters(), lr=0.0)) for m in (tiny(eyes=True), tiny(eyes=True)))
    numbers = grpo_update(actor, rollout, RlConfig(), 1.0)
    micro = list(by_length(rollout.groups, 32))
    advantage_BG = losses.group_advantages(rollout.rewards_BG)
    whole = [advantage_BG[i].reshape(-1).repeat_interleave(b.response_lengths_N) for i, b in micro]
    expected = policy_steps(twin, [b for _, b in micro], whole, rollout, RlConfig(), 1.0)
    for ours, theirs in zip(actor.model.parameters(), twin.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert numbers["policy_loss"] == pytest.approx(expected["policy_loss"], abs=1e-6)
    assert numbers["zero_rewards"] == pytest.approx(4 / 16)


def test_the_entropy_of_what_is_not_run_is_its_surprisal() -> None:
    rollout = rollout_of(ragged_groups(2), [1.0] * 4 + [0.0, 1.0] * 2)
    (drawn,) = recorded(rollout, list(telling(rollout, 9)))
    every = sum(p for row in rollout.logprobs for p in row)
    assert unrun_entropy(rollout, [drawn]) == pytest.approx((float(drawn.sum()) - every) / sum(rollout.lengths))
    flat = rollout_of(ragged_groups(2), [1.0] * 8)
    assert [indices for indices, _ in telling(flat, 9)] == [[0]]


def test_micro_batches_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    moved = []
    for size in (1, 32):
        actor = tiny(eyes=True)
        critic = Learner(critic_of(actor, torch.Generator().manual_seed(1)), torch.optim.SGD([torch.zeros(1)], lr=0.0))
        policy = Learner(actor, torch.optim.SGD(actor.parameters(), lr=0.0))
        config = RlConfig(micro=size, critic_batches=1)
        ppo_update(policy, critic, example(), config, 1.0, 0.0)
        moved.append(torch.cat([p.detach().flatten() for p in actor.parameters()]))
    assert torch.allclose(moved[0], moved[1], atol=1e-5)


def test_rewards_stand_at_the_last_token_of_their_response() -> None:
    batch = collate([Group(text_prompt("x"), ((1, 2, 3), (4,), (5, 6)))])
    assert terminal_rewards(torch.tensor([1.0, 0.5, 0.25]), batch.last_M).tolist() == [0, 0, 1, 0.5, 0, 0.25]


def by_length_order(rollout: Rollout) -> list[int]:
    return [i for indices, _ in by_length(rollout.groups, 1) for i in indices]


def advantages_of(rollout: Rollout, config: RlConfig, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the actor is trained on, by micro-batch."""
    seen: list[Tensor] = []

    def spy(actor, batches, advantages, *rest):  # type: ignore[no-untyped-def]
        seen.extend(advantages)
        return policy_steps(actor, batches, advantages, *rest)

    monkeypatch.setattr("consilience.learn.rl.policy_steps", spy)
    actor = learner(tiny(eyes=True))
    ppo_update(actor, critic_for(actor.model), rollout, config, 1e-3, 1e-3)
    return seen


def test_advantages_are_normalised_over_the_whole_batch_or_each_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = example()
    rewards = [1.0] * 8 + [0.0, 0.5] * 4  # text always right
    rollout = replace(rollout, verdicts=rollout_of(rollout.groups, rewards).verdicts)
    text_tokens = sum(len(r) for g in rollout.groups[:2] for r in g.responses)
    config = RlConfig(micro=1)
    order = by_length_order(rollout)
    found = {how: advantages_of(rollout, replace(config, normalise=how), monkeypatch) for how in ("batch", "modality")}

    whole = torch.cat(found["batch"])
    assert whole.mean().item() == pytest.approx(0, abs=1e-5)
    assert whole.square().mean().sqrt().item() == pytest.approx(1, abs=1e-5)
    text = torch.cat([a for i, a in zip(order, found["batch"], strict=True) if i < 2])
    assert len(text) == text_tokens
    assert text.mean() > 0.3  # rewarded for its modality: what "modality" takes away
    for mine in (range(2), range(2, 4)):
        part = torch.cat([a for i, a in zip(order, found["modality"], strict=True) if i in mine])
        assert part.mean().item() == pytest.approx(0, abs=1e-5)
        assert part.square().mean().sqrt().item() == pytest.approx(1, abs=1e-4)


def test_gamma_and_lambda_one_train_the_critic_on_the_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """At normalise="none" the advantage is R − V at every token, so advantage plus value is the response's reward."""
    no_mixed_precision(monkeypatch)
    rollout = example()
    actor = learner(tiny(eyes=True))
    critic = critic_for(actor.model)
    with torch.no_grad():
        value_of = [values(critic.model, collate([group])) for group in rollout.groups]
    (found,) = advantages_of(rollout, RlConfig(normalise="none"), monkeypatch)
    expected = [
        rewards.repeat_interleave(torch.tensor([len(r) for r in group.responses])) - value
        for group, rewards, value in zip(rollout.groups, rollout.rewards_BG, value_of, strict=True)
    ]
    assert torch.allclose(found, torch.cat([expected[i] for i in by_length_order(rollout)]), atol=1e-4)


def test_equal_rewards_in_every_group_leave_grpo_still() -> None:
    actor = tiny(eyes=True)
    start = bits(actor)
    grpo_update(learner(actor), rollout_of(ragged_groups(2), [1.0, 1.0, 0.0, 0.0] * 2), RlConfig(), 1e-2)
    assert bits(actor) == start


def test_updates_are_repeatable_and_leave_the_other_model_alone() -> None:
    results = []
    for _ in range(2):
        actor = learner(tiny(eyes=True))
        critic = critic_for(actor.model)
        reference = copy_of(actor.model)
        numbers = ppo_update(actor, critic, example(), RlConfig(), 1e-3, 1e-3)
        results.append((bits(actor.model), bits(critic.model), numbers))
        assert bits(reference) == bits(tiny(eyes=True))
        assert results[-1][0] != bits(reference)
    assert results[0] == results[1]


def test_the_critic_learns_the_reward_of_a_prompt() -> None:
    """Prompts with a known mean reward: explained variance rises from about 0 to above 0.9."""
    actor = tiny()
    critic = critic_for(actor)
    groups = [Group(text_prompt(t), ((97, 98), (99, 100))) for t in ("up", "down", "left", "right")]
    rollout = rollout_of(groups, [1.0, 1.0, 0.0, 0.0] * 2)
    still = Learner(actor, adamw(actor.parameters()))
    history = [
        ppo_update(still, critic, rollout, RlConfig(critic_batches=1), 0.0, 1e-2)["explained_variance"]
        for _ in range(40)
    ]
    assert abs(history[0]) < 0.2
    assert history[-1] > 0.9


def paying(model: Decoder, prompt: Prompt) -> float:
    """The policy's probability of arm 0, the one that pays."""
    ids = torch.tensor([prompt.tokens])
    with torch.no_grad():
        h = model(model.embed(ids), torch.arange(len(prompt))[None], attend_causal(len(prompt)))
        return float(model.logits(h)[0, -1].softmax(-1)[0])


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_two_armed_bandit_is_solved(method: str) -> None:
    """Arms that pay 1 with probability .8 and .2: from below .1, the better one rises above .95 within 200 updates."""
    model = tiny(vocab_size=2, d_model=16, n_heads=2, n_kv_heads=1, n_layers=1)
    actor, critic = learner(model), critic_for(model)
    prompt, rng = Prompt((0, 1)), np.random.default_rng(0)
    assert paying(model, prompt) < 0.1
    for _ in range(200):
        arms = (rng.random(32) >= paying(model, prompt)).astype(int)
        rewards = (rng.random(32) < np.where(arms == 0, 0.8, 0.2)).astype(float)
        rollout = rollout_of([Group(prompt, tuple((int(arm),) for arm in arms))], rewards.tolist())
        if method == "ppo":
            ppo_update(actor, critic, rollout, RlConfig(), 3e-3, 1e-2)
        else:
            grpo_update(actor, rollout, RlConfig(), 3e-3)
        if paying(model, prompt) > 0.95:
            return
    pytest.fail(f"arm 0 has probability {paying(model, prompt):.2f} after 200 updates")


def test_apply_clips_the_norm_and_clears_the_gradients() -> None:
    p = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([p], lr=0.0)
    p.grad = torch.full((4,), 3.0)
    assert apply(optimizer, 0.5) == pytest.approx(6.0)
    assert p.detach().norm().item() == pytest.approx(0.5, abs=1e-5)
    assert p.grad is None
