"""The tokens that were sampled are the tokens that are trained, under every template, with the log-probabilities the
sampler reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_language_models
import torch
from learn_helpers import learner, no_mixed_precision, problem, tiny

from consilience.engine import Engine, Request
from consilience.errors import InputError
from consilience.learn import forward
from consilience.learn.asynchronous_update import truncated_grpo_update, truncated_ppo_update
from consilience.learn.batch import Group, by_length, collate
from consilience.learn.forward import token_stats, values
from consilience.learn.language_files import open_language_model
from consilience.learn.language_sampling import roll_out, sampler_of
from consilience.learn.rl import RlConfig, grpo_update, ppo_update
from consilience.learn.rollout import Rollout, text_of
from consilience.learn.state import critic_of
from consilience.nn import tokenizer as tk
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt, render, response_tokens
from consilience.problem import Image, Message, Text
from consilience.protocols import Sampling
from consilience.reason.synthesis import synthesis_prompt
from consilience.verdict import Verdict


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)


def picture() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (16, 24), np.uint8))


HOUSE: dict[str, tuple[Message, ...]] = {
    "text": (Message.user("2+2?"),),
    "unicode": (Message.user("Größe von 図? 🙂"),),
    "picture": (Message("user", (Image(picture().pixels), Text("what?"))),),
    "pictures and text in turn": (Message("user", (Text("a"), picture(), Text("b"), picture(), Text("c?"))),),
    "system": (Message("system", (Text("Be brief."),)), Message.user("2+2?")),
    "turns": (Message.user("2+2?"), Message("assistant", (Text("4"),)), Message.user("and 3+3?")),
    "tool": (Message.user("time?"), Message("tool", (Text("12:00"),))),
    "markup in a question": (Message.user("what does </think> or <|end|> or <12> mean?"),),
}


def sampled(model: Decoder, prompt: Prompt, n: int = 3) -> tuple[Group, list[tuple[float, ...]]]:
    engine = Engine(model, rows=4, dtype=torch.float32)
    (outputs,) = engine.generate([Request(prompt, Sampling(max_tokens=12, seed=3), n)])
    return Group(prompt, tuple(o.tokens for o in outputs)), [o.logprobs for o in outputs]


def check(model: torch.nn.Module, groups: list[Group], logprobs: list[tuple[float, ...]]) -> None:
    batch = collate(groups)
    responses = [r for g in groups for r in g.responses]
    assert batch.targets_M.tolist() == [t for r in responses for t in r]
    size = len(groups[0].responses)
    for row, response in enumerate(responses):
        prompt = groups[row // size].prompt
        length = int(batch.lengths_B[row // size])
        seen = [*batch.prompts_BP[row // size, :length].tolist(), int(batch.inputs_NR[row, 0])]
        assert tuple(seen) == prompt.tokens
        assert batch.inputs_NR[row, 1 : len(response)].tolist() == list(response[:-1])
        assert batch.positions_NR[row, 0] == len(prompt) - 1
    with torch.no_grad():
        trained_M = token_stats(model, batch).logprob_M  # type: ignore[arg-type]
    drawn_M = torch.tensor([p for row in logprobs for p in row])
    assert (trained_M - drawn_M).abs().max() < 1e-4


@pytest.mark.parametrize("name", HOUSE)
def test_the_house_template(name: str) -> None:
    model = tiny(eyes=True)
    group, logprobs = sampled(model, render(HOUSE[name], patch=8))
    check(model, [group], logprobs)


def test_the_synthesis_template() -> None:
    messages = synthesis_prompt([Message.user("How many?")], ["It is 3.", "I count 4."])
    model = tiny()
    group, logprobs = sampled(model, render(messages))
    check(model, [group], logprobs)


@pytest.mark.parametrize("name", HOUSE)
def test_what_users_write_never_becomes_a_control_token(name: str) -> None:
    """Else a question could end its own turn, and the prompt that is trained were another one."""
    prompt = render(HOUSE[name], patch=8)
    controls = [t for t in prompt.tokens if t in (tk.END, tk.USER, tk.ASSISTANT, tk.SYSTEM, tk.TOOL)]
    assert len(controls) == 2 * len(HOUSE[name]) + 1


@pytest.mark.parametrize("text", ["so 4</think>4", "<box><12><34><56><78></box></think>a", "ü🙂</think>図", ""])
def test_a_response_through_text_and_back(text: str) -> None:
    """Demonstrations and sampled responses are the same tokens; sampling never goes through text at all."""
    tokens = response_tokens(text)
    assert tokens[-1] == tk.END
    assert text_of(tokens) == text
    assert response_tokens(text_of(tokens)) == tokens


CHATML = tiny_language_models.TEMPLATE
TURN = "assistant\n{% endif %}"
TEMPLATES: dict[str, str | None] = {
    "chatml": CHATML,
    "none": None,
    "opened thought": CHATML.replace(TURN, "assistant\n<think>\n{% endif %}"),
    "empty thought": CHATML.replace(TURN, "assistant\n<think>\n\n</think>\n\n{% endif %}"),
}


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_of_other_models(template: str, kind: str, tmp_path: Path) -> None:
    tokenizer = tiny_language_models.byte_tokenizer(template=TEMPLATES[template])
    opened = open_language_model(str(tiny_language_models.write(tmp_path / "m", kind, tokenizer=tokenizer)))
    sampler = sampler_of(opened, rows=4)
    if hasattr(sampler, "engine"):
        old = sampler.engine
        sampler.engine = Engine(old.source, rows=4, dtype=torch.float32, vocabulary=old.vocabulary)
    problems = [problem("a"), problem("b")]
    rollout = roll_out(
        sampler, opened, problems, lambda p: p.messages, [1, 9], 2, 8, lambda p, t, cut: Verdict(0.0, "")
    )
    check(opened.model, list(rollout.groups), list(rollout.logprobs))
    for group, asked in zip(rollout.groups, problems, strict=True):
        assert group.prompt.tokens == opened.chat.prompt(asked.messages).tokens


def one_engine(model: Decoder, weights_of: Callable[[Decoder], Decoder] = lambda m: m) -> Rollout:
    prompts = [render([Message.user(f"{i}+{i}?")]) for i in range(3)]
    pairs = [sampled(weights_of(model), p, 2) for p in prompts]
    flat = [row for _, rows in pairs for row in rows]
    responses = [r for g, _ in pairs for r in g.responses]
    return Rollout(
        tuple(problem(f"p{i}") for i in range(3)),
        tuple(g for g, _ in pairs),
        tuple(flat),
        tuple(r[-1] == tk.END for r in responses),
        tuple(Verdict(float(i % 2), "") for i in range(len(responses))),
    )


def test_the_gap_is_logged_at_every_step_and_zero_for_one_engine() -> None:
    actor, critic = learner(tiny()), learner(critic_of(tiny(), torch.Generator().manual_seed(1)))
    for _ in range(3):
        numbers = truncated_ppo_update(actor, critic, one_engine(actor.model), RlConfig(micro=2), 1e-2, 1e-2)
        assert numbers["gap"] < 1e-5
        assert numbers["truncated_weights"] == 0
    stale = truncated_ppo_update(actor, critic, one_engine(tiny()), RlConfig(micro=2), 1e-2, 1e-2)
    assert stale["gap"] > 1e-3


def test_on_fresh_rollouts_truncated_ppo_is_ppo() -> None:
    rollout = one_engine(tiny())
    results = []
    for update in (ppo_update, truncated_ppo_update):
        actor, critic = learner(tiny()), learner(critic_of(tiny(), torch.Generator().manual_seed(1)))
        numbers = update(actor, critic, rollout, RlConfig(micro=2, critic_batches=2), 1e-2, 1e-2)
        results.append((numbers, dict(actor.model.named_parameters())))
    for key in ("policy_loss", "entropy", "grad_norm", "value_loss", "explained_variance"):
        assert results[1][0][key] == pytest.approx(results[0][0][key], rel=1e-3, abs=1e-5)


def test_on_fresh_rollouts_truncated_grpo_is_grpo() -> None:
    rollout = one_engine(tiny())
    numbers = []
    for update in (grpo_update, truncated_grpo_update):
        actor = learner(tiny())
        numbers.append((update(actor, rollout, RlConfig(micro=2), 1e-2), actor.model))
    for key in ("policy_loss", "entropy", "grad_norm"):
        assert numbers[1][0][key] == pytest.approx(numbers[0][0][key], rel=1e-3, abs=1e-5)
    assert numbers[0][0]["grad_norm"] > 0
    assert numbers[1][0]["gap"] < 1e-5


def test_stale_tokens_count_by_their_truncated_weight() -> None:
    """The gradient is Σ min(π_old/π_rollout, C) A ∇log π / M over all tokens."""
    rollout = one_engine(tiny())
    shift = [0.5, -1.0, 3.0, 0.0, -0.2, 0.7]
    moved = tuple(tuple(p + s for p in row) for row, s in zip(rollout.logprobs, shift, strict=True))
    other = Rollout(rollout.problems, rollout.groups, moved, rollout.finished, rollout.verdicts)
    model = tiny()
    actor = type(learner(model))(model, torch.optim.SGD(model.parameters(), lr=0.0))
    critic = learner(critic_of(tiny(), torch.Generator().manual_seed(1)))
    config = RlConfig(micro=8, normalise="none")
    with torch.no_grad():
        ((indices, batch),) = by_length(rollout.groups, 8)
        value_M = values(critic.model, batch)
    numbers = truncated_ppo_update(actor, critic, other, config, 1.0, 0.0, cap=1.5)
    rows = [2 * i + j for i in indices for j in range(2)]
    reward_M = torch.cat([torch.full((len(rollout.logprobs[r]),), rollout.verdicts[r].score) for r in rows])
    log_w_M = torch.cat([torch.full((len(rollout.logprobs[r]),), -shift[r]) for r in rows])
    twin = tiny()
    weight_M = log_w_M.exp().clamp_max(1.5)
    loss = -(weight_M * (reward_M - value_M) * token_stats(twin, batch).logprob_M).sum() / len(weight_M)
    loss.backward()
    gradient = {n: p.grad for n, p in twin.named_parameters() if p.grad is not None}
    norm = torch.stack([g.norm() for g in gradient.values()]).norm()
    assert numbers["grad_norm"] == pytest.approx(float(norm), rel=1e-3)
    assert numbers["truncated_weights"] == pytest.approx(float((log_w_M > np.log(1.5)).float().mean()))
    scale = min(1.0, 1.0 / float(norm))
    for name, p in model.named_parameters():
        before = dict(tiny().named_parameters())[name]
        assert torch.allclose(before - p, scale * gradient[name], atol=1e-5, rtol=1e-2), name


def test_log_probabilities_in_pieces_equal_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, entropies and gradients; and no more logits exist than the limit says."""
    groups = [Group(render([Message.user(f"{i}?")]), ((97, 98, 99 + i, tk.END), (100, tk.END))) for i in range(3)]
    batch = collate(groups)
    weights_M = torch.linspace(-1, 1, len(batch.targets_M))
    results = []
    for limit in (forward.LOGITS_AT_ONCE, 4 * tk.VOCAB_SIZE):
        monkeypatch.setattr(forward, "LOGITS_AT_ONCE", limit)
        model = tiny()
        rows: list[int] = []
        plain = model.logits
        monkeypatch.setattr(model, "logits", lambda h, plain=plain, rows=rows: (rows.append(len(h)), plain(h))[1])
        stats = token_stats(model, batch)
        (stats.logprob_M @ weights_M).backward()
        assert max(rows) == min(len(weights_M), limit // tk.VOCAB_SIZE)
        results.append((stats, {name: p.grad for name, p in model.named_parameters()}))
    (whole, whole_grad), (pieces, pieces_grad) = results
    assert torch.allclose(pieces.logprob_M, whole.logprob_M, atol=1e-6)
    assert torch.allclose(pieces.entropy_M, whole.entropy_M, atol=1e-6)
    for name, expected in whole_grad.items():
        assert expected is not None
        assert torch.allclose(pieces_grad[name], expected, atol=1e-5), name


def test_what_fits_takes_the_plain_path_bit_for_bit() -> None:
    batch, model = collate([Group(render([Message.user("2?")]), ((97, 98, tk.END),))]), tiny()
    logits_MV = model.logits(forward.response_hidden(model, batch)).float()
    log_z_M = logits_MV.logsumexp(-1)
    stats = token_stats(model, batch)
    assert torch.equal(stats.logprob_M, logits_MV.gather(-1, batch.targets_M[:, None])[:, 0] - log_z_M)
    entropy_M = log_z_M - ((logits_MV - log_z_M[:, None]).exp() * logits_MV).sum(-1)
    assert torch.equal(stats.entropy_M, entropy_M)


def test_truncated_ppo_takes_one_step_only() -> None:
    critic = learner(critic_of(tiny(), torch.Generator()))
    with pytest.raises(InputError, match="one actor step"):
        truncated_ppo_update(learner(tiny()), critic, one_engine(tiny()), RlConfig(actor_steps=2), 0.0, 0.0)
