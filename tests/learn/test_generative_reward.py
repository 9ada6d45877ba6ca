"""A generative reward model by reinforcement: rewards and their codes, masks, and that a nano model learns by them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learn_helpers import learner, no_mixed_precision, property_test, rollout_of, text_prompt, tiny

from consilience.errors import InputError
from consilience.learn import generative_reward as gr
from consilience.learn.batch import Group
from consilience.learn.losses import group_advantages
from consilience.learn.rl import RlConfig
from consilience.learn.rollout import Rollout
from consilience.nn import tokenizer as tk
from consilience.problem import Problem, Text
from consilience.verdict import Verdict
from consilience.verify.judges import rationale_metrics

PAIR = Problem("p", "pairs", "judge", "text", (Text("A or B?"),), "A", "choice", truth={"golden": "sum B"})


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("sum B</think>A", "A"),
        ("sum B</think> B \n", "B"),
        (r"because</think>So \boxed{A}", "A"),
        (r"\boxed{B}</think>first \boxed{A}, no: \boxed{B}", "B"),
        (r"I guess \boxed{A}</think>neither", None),
        ("no end A", None),
        ("x</think>AB", None),
        ("x</think>", None),
        ("", None),
    ],
)
def test_what_a_response_names(response: str, said: str | None) -> None:
    assert gr.prediction(response) == said


@given(st.text(max_size=40))
@property_test
def test_any_text_can_be_read(text: str) -> None:
    assert gr.prediction(text) in ("A", "B", None)
    assert 0 <= gr.label_rewarded(PAIR, text, False).score <= 1


class Meta:
    """Says what it is told to, and counts."""

    def __init__(self, answer: bool | None) -> None:
        self.answer, self.asked = answer, []

    def __call__(self, pair: Problem, rationale: str) -> bool | None:
        self.asked.append(rationale)
        return self.answer


@pytest.mark.parametrize(
    ("response", "meta", "score", "code", "calls"),
    [
        ("sum A</think>B", True, 0, "wrong_label", 0),
        ("sum A</think>C", True, 0, "unparsed", 0),
        ("look B</think>A", False, 0, "wrong_reason", 1),
        ("sum B</think>A", True, 1, "right_reason", 1),
        ("sum B</think>A", None, 0, "meta_failed", 1),
    ],
)
def test_the_reward_table(response: str, meta: bool | None, score: float, code: str, calls: int) -> None:
    judge = Meta(meta)
    verdict = gr.rationale_rewarded(judge)(PAIR, response, False)
    assert (verdict.score, verdict.code, len(judge.asked)) == (score, code, calls)
    assert bool(verdict.evidence.get("masked")) == (code == "meta_failed")
    if calls:
        assert judge.asked == [response.partition("</think>")[0]]
    assert gr.rationale_rewarded(judge)(PAIR, response, True).code == "truncated"


def test_label_only_asks_nobody() -> None:
    assert gr.label_rewarded(PAIR, "look B</think>A", False).score == 1
    assert gr.label_rewarded(PAIR, "sum A</think>B", False).code == "wrong_label"


def test_states_give_the_metrics() -> None:
    codes = ["right_reason"] * 5 + ["wrong_reason"] + ["meta_failed"] + ["wrong_label", "unparsed", "truncated"]
    found = rationale_metrics(gr.states([Verdict(0.0, "", code) for code in codes]))
    assert found.label_accuracy == pytest.approx(0.7)
    assert found.spurious == pytest.approx(1 / 6)
    assert found.fidelity == pytest.approx(5 / 9)
    with pytest.raises(InputError, match="right_label"):
        gr.states([Verdict(1.0, "", "right_label")])


def test_masked_rollouts_have_no_advantage_and_move_no_mean() -> None:
    rewards = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    masks = torch.zeros(3, 4, dtype=torch.bool)
    assert torch.allclose(gr.masked_advantages(rewards, masks), group_advantages(rewards), atol=1e-5)
    masks[0, 3] = masks[2, 1:] = True
    found = gr.masked_advantages(rewards, masks)
    three = torch.tensor([1.0, 0.0, 1.0])
    by_hand = (three - 2 / 3) / (three.var(unbiased=False).sqrt() + 1e-6)
    assert torch.allclose(found[0], torch.cat([by_hand, torch.zeros(1)]), atol=1e-6)
    assert found[1:].abs().max() == 0  # equal rewards; a single one that counts


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=8))
@property_test
def test_advantages_of_a_group_sum_to_zero(drawn: list[tuple[bool, bool]]) -> None:
    rewards = torch.tensor([[float(reward) for reward, _ in drawn]])
    masks = torch.tensor([[mask for _, mask in drawn]])
    found = gr.masked_advantages(rewards, masks)
    assert abs(float(found.sum())) < 1e-4
    assert (found[masks] == 0).all()


def rollout(texts: tuple[str, ...], reward: object) -> Rollout:
    group = Group(text_prompt("A or B?"), tuple((*tk.encode(text), tk.END) for text in texts))
    verdicts = tuple(reward(PAIR, text, False) for text in texts)  # type: ignore[operator]
    made = rollout_of([group], [0.0] * len(texts))
    return Rollout((PAIR,), (group,), made.logprobs, made.finished, verdicts)


def test_what_is_logged() -> None:
    def meta(pair: Problem, rationale: str) -> bool | None:
        return {"sum B": True, "look B": False}.get(rationale)

    texts = ("sum B</think>A", "look B</think>A", "?</think>A", "x</think>B")
    numbers = gr.rollout_numbers(rollout(texts, gr.rationale_rewarded(meta)))
    assert numbers["reward"] == pytest.approx(1 / 3)
    assert numbers["label_accuracy"] == 0.75
    assert (numbers["masked"], numbers["unparsed"], numbers["truncated"]) == (0.25, 0, 0)
    assert numbers["zero_rewards"] == pytest.approx(2 / 3)
    assert numbers["length"] == pytest.approx(sum(len(tk.encode(t)) + 1 for t in texts) / 4)


def test_an_update_prefers_the_golden_reason_and_label_only_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    texts = ("sum B</think>A", "look B</think>A", "sum A</think>B")

    def gap(reward: object) -> float:
        """How much more likely the golden response became than the other right one."""
        actor = learner(tiny())
        drawn = rollout(texts, reward)
        before = logprobs(actor.model, drawn)
        for _ in range(3):
            numbers = gr.genrm_update(actor, drawn, RlConfig(), 2e-3)
        assert numbers["grad_norm"] > 0
        gained = logprobs(actor.model, drawn) - before
        return float(gained[0] - gained[1])

    aligned = gap(gr.rationale_rewarded(lambda pair, rationale: rationale == pair.truth["golden"]))
    assert aligned > 0.05
    assert abs(gap(gr.label_rewarded)) < aligned / 2


def logprobs(model: torch.nn.Module, drawn: Rollout) -> torch.Tensor:
    from consilience.learn.batch import collate
    from consilience.learn.preference import sequence_logprobs

    with torch.no_grad():
        return sequence_logprobs(model, collate(drawn.groups))  # type: ignore[arg-type]


def test_a_meta_judge_that_is_down_stops_the_training() -> None:
    drawn = rollout(("sum B</think>A", "look B</think>A"), gr.rationale_rewarded(Meta(None)))
    with pytest.raises(InputError, match="failed on every rollout"):
        gr.genrm_update(learner(tiny()), drawn, RlConfig(), 1e-3)


def test_the_examples_of_the_page_run() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reward-models.md").read_text("utf-8")
    examples = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", examples], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
