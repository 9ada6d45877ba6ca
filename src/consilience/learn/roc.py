"""GRPO-RoC: resample on correct (rStar2-Agent, arXiv 2508.20722, §3.2). More rollouts than needed are sampled; of the
right ones those with the fewest faults in tool use and format are kept, of the wrong ones whichever came first, so that
failures stay as various as they are. Advantages are then taken within what is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.learn.rollout import Rollout, text_of

NO_TOOL = 0.5
LEAST = 2
_BLOCK = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_TURN = re.compile(r"<\|im_start\|>assistant\n.*?<\|im_end\|>", re.DOTALL)


def tool_penalty(results: Sequence[str]) -> float:
    """The share of tool results that hold the word "error", in [0, 1]; 1/2 without any call."""
    return sum("error" in result for result in results) / len(results) if results else NO_TOOL


def format_penalty(opened: int, closed: int, turns: int) -> float:
    """1 if there is no answer tag, they do not pair up, or no turn was closed; else (answers − 1) / turns, at most 1.

    Args:
        opened, closed: tags that open and that close an answer. turns: closed turns of the assistant.
    """
    if not opened or opened != closed or not turns:
        return 1.0
    return min((opened - 1) / turns, 1.0)


def chat_penalty(response: str) -> float:
    """Both penalties of a response in the published format: ChatML turns, `<tool_response>`, `<answer>`; in [0, 2].

    The response goes on behind an opened assistant turn, as it is sampled.
    """
    text = f"<|im_start|>assistant\n{response}"
    opened, closed = text.count("<answer>"), text.count("</answer>")
    return tool_penalty(_BLOCK.findall(text)) + format_penalty(opened, closed, len(_TURN.findall(text)))


def quotas(positives: int, negatives: int, keep: int) -> tuple[int, int]:
    """How many right and wrong rollouts are kept: in proportion, halves to the even number, but at least two of each
    where there are two; together always `keep`.

    Raises:
        InputError: fewer than four are to be kept, or more than there are.
    """
    count = positives + negatives
    if not 2 * LEAST <= keep <= count:
        raise InputError(f"{keep} of {count} rollouts cannot be kept: sample more, or keep {2 * LEAST} to {count}.")
    right = max(round(positives * keep / count), min(LEAST, positives))
    wrong = max(round(negatives * keep / count), min(LEAST, negatives))
    excess = right + wrong - keep
    if positives >= negatives:
        right -= excess
    else:
        wrong -= excess
    return right, wrong


def keep_of_group(rewards: Sequence[float], penalties: Sequence[float], keep: int) -> list[int]:
    """Places of the rollouts of one prompt that are kept, in sampling order; [] where all rewards are equal.

    A reward above 0 is a right answer. Of the right the lowest penalties are kept, the first of equal ones; of the
    wrong the first, as the release does; the paper describes sampling.
    """
    if len(set(rewards)) < 2:
        return []
    right = sorted((i for i, r in enumerate(rewards) if r > 0), key=lambda i: penalties[i])
    wrong = [i for i, r in enumerate(rewards) if r <= 0]
    kept_right, kept_wrong = quotas(len(right), len(wrong), keep)
    return sorted(right[:kept_right] + wrong[:kept_wrong])


def resample_on_correct(rollout: Rollout, keep: int, penalty: Callable[[str], float] = chat_penalty) -> Rollout | None:
    """A rollout of `keep` responses a prompt, ready for `grpo_update`, whose advantages are then those of the kept.

    Prompts whose responses all have one reward are left out.

    Returns:
        None where no prompt is left, and there is nothing to learn.

    Raises:
        InputError: `keep` exceeds the responses of a prompt.
    """
    size = len(rollout.groups[0].responses)
    places: list[int] = []
    problems, groups = [], []
    for place, (problem, group) in enumerate(zip(rollout.problems, rollout.groups, strict=True)):
        rewards = [rollout.verdicts[place * size + i].score for i in range(size)]
        kept = keep_of_group(rewards, [penalty(text_of(response)) for response in group.responses], keep)
        if kept:
            problems.append(problem)
            groups.append(Group(group.prompt, tuple(group.responses[i] for i in kept)))
            places += [place * size + i for i in kept]
    if not groups:
        return None
    return Rollout(
        tuple(problems),
        tuple(groups),
        tuple(rollout.logprobs[i] for i in places),
        tuple(rollout.finished[i] for i in places),
        tuple(rollout.verdicts[i] for i in places),
    )
