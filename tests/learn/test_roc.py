"""Resample on correct: quotas, penalties, which rollouts stay, and the rollout that GRPO learns from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learn_helpers import learner, micro, property_test, text_prompt

from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.learn.losses import group_advantages
from consilience.learn.rl import RlConfig, grpo_update
from consilience.learn.roc import (
    chat_penalty,
    format_penalty,
    keep_of_group,
    quotas,
    resample_on_correct,
    tool_penalty,
)
from consilience.learn.rollout import Rollout
from consilience.nn.template import response_tokens
from consilience.problem import Problem, Text
from consilience.verdict import Verdict


@pytest.mark.parametrize(
    ("positives", "kept"),
    [(9, (4, 12)), (1, (1, 15)), (2, (2, 14)), (31, (15, 1)), (16, (8, 8)), (3, (2, 14)), (30, (14, 2))],
)
def test_quotas_of_sixteen_in_thirty_two(positives: int, kept: tuple[int, int]) -> None:
    """Halves go to the even number: 4.5 → 4, 11.5 → 12; two of each where there are two."""
    assert quotas(positives, 32 - positives, 16) == kept


@property_test
@given(st.integers(0, 40), st.integers(0, 40), st.integers(4, 40))
def test_quotas_always_fill_the_group(positives: int, negatives: int, keep: int) -> None:
    if keep > positives + negatives:
        with pytest.raises(InputError, match="cannot be kept"):
            quotas(positives, negatives, keep)
        return
    right, wrong = quotas(positives, negatives, keep)
    assert right + wrong == keep
    assert min(2, positives) <= right <= positives
    assert min(2, negatives) <= wrong <= negatives


def test_fewer_than_four_cannot_hold_two_of_each() -> None:
    with pytest.raises(InputError, match="keep 4 to 8"):
        quotas(5, 3, 3)


def test_penalties_by_hand() -> None:
    assert tool_penalty([]) == 0.5
    assert tool_penalty(["ok", "NameError: error", "3", "error"]) == 0.5
    assert format_penalty(0, 0, 1) == format_penalty(1, 0, 1) == format_penalty(1, 1, 0) == 1.0
    assert format_penalty(1, 1, 3) == 0.0
    assert format_penalty(2, 2, 4) == 0.25
    assert format_penalty(9, 9, 2) == 1.0


def test_the_penalty_of_a_conversation() -> None:
    call = "<tool_call>{}</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>{}</tool_response><|im_end|>\n"
    end = "<|im_start|>assistant\n<reason>so</reason><answer>3</answer><|im_end|>"
    assert chat_penalty(call.replace("{}", "3") + end) == 0.0
    assert chat_penalty(call.replace("{}", "error: no name x") + end) == 1.0
    assert chat_penalty("<answer>3</answer><|im_end|>") == 0.5
    assert chat_penalty("<answer>3") == 1.5


def test_right_ones_stay_by_penalty_and_wrong_ones_by_order() -> None:
    rewards = [1.0] * 4 + [0.0] * 4
    penalties = [0.5, 0.1, 0.5, 0.2, 0.0, 0.9, 0.9, 0.0]
    assert keep_of_group(rewards, penalties, 4) == [1, 3, 4, 5]
    assert keep_of_group(rewards, [0.3] * 8, 4) == [0, 1, 4, 5]  # the first of equal ones
    assert keep_of_group([1.0] * 8, penalties, 4) == keep_of_group([0.0] * 8, penalties, 4) == []


def rollout(scores: list[list[float]]) -> Rollout:
    """Responses that name their place; an odd place has a fault."""
    asked = tuple(Problem(f"p{i}", "w", "t", "text", (Text(f"q{i}"),), "1", "integer") for i in range(len(scores)))
    groups = tuple(
        Group(text_prompt(f"q{i}"), tuple(tuple(response_tokens(f"{j}" + "!" * (j % 2))) for j in range(len(row))))
        for i, row in enumerate(scores)
    )
    flat = [Verdict(float(score), "", "") for row in scores for score in row]
    lengths = [len(response) for group in groups for response in group.responses]
    logprobs = tuple((-float(i),) * length for i, length in enumerate(lengths))
    return Rollout(asked, groups, logprobs, tuple(i % 3 > 0 for i in range(len(flat))), tuple(flat))


def fault(text: str) -> float:
    return float("!" in text)


def test_the_resampled_rollout_keeps_rows_together_and_drops_what_teaches_nothing() -> None:
    made = rollout([[1, 1, 1, 1, 0, 0, 0, 0], [1] * 8, [0, 0, 0, 0, 0, 0, 0, 1]])
    kept = resample_on_correct(made, 4, fault)
    assert kept is not None
    assert [p.id for p in kept.problems] == ["p0", "p2"]
    assert kept.rewards_BG.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert kept.groups[0].responses == tuple(made.groups[0].responses[i] for i in (0, 2, 4, 5))
    assert [row[0] for row in kept.logprobs] == [-float(i) for i in (0, 2, 4, 5, 16, 17, 18, 23)]
    assert kept.finished == tuple(i % 3 > 0 for i in (0, 2, 4, 5, 16, 17, 18, 23))
    assert group_advantages(kept.rewards_BG)[1, 3] == pytest.approx(3**0.5, abs=1e-4)  # of the kept four, not of eight


def test_nothing_to_learn_is_none_and_too_many_is_refused() -> None:
    assert resample_on_correct(rollout([[1.0] * 8, [0.0] * 8]), 4, fault) is None
    with pytest.raises(InputError, match="9 of 8"):
        resample_on_correct(rollout([[1, 0, 0, 0, 0, 0, 0, 0]]), 9, fault)


def test_grpo_learns_from_what_is_kept() -> None:
    kept = resample_on_correct(rollout([[1, 1, 1, 1, 0, 0, 0, 0]]), 4, fault)
    assert kept is not None
    actor = learner(micro())
    before = actor.model.embedding.weight.detach().clone()
    numbers = grpo_update(actor, kept, RlConfig(), 1e-2)
    assert numbers["grad_norm"] > 0
    assert not torch.equal(before, actor.model.embedding.weight)
