"""A generative reward model trained by reinforcement: it reads two answers, writes a rationale, names the better one.

The reward is for the named answer alone (label-only), or for the answer and its reason, where a meta-judge finds the
golden reason in the rationale (R-Align, arXiv 2602.06763). A failed meta-judge masks its rollout. The paper trains by
PPO; here it is GRPO, whose advantages leave masked rollouts out.

Shape letters: B pairs, G rollouts a pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from consilience.errors import InputError
from consilience.learn.batch import by_length
from consilience.learn.losses import VARIANCE_FLOOR
from consilience.learn.rewards.generative import rationale_reward
from consilience.learn.rl import Learner, RlConfig, policy_steps
from consilience.learn.rollout import Reward, Rollout
from consilience.problem import Problem
from consilience.verdict import Verdict
from consilience.verify.judges import MetaState
from consilience.verify.judges.parsing import Unread, last_boxed
from consilience.verify.markup import split_response

MetaJudge = Callable[[Problem, str], bool | None]
"""(pair, rationale) → whether it names the golden reason; None where the judge itself failed."""

LABELS = {"A": "A", "B": "B"}
STATES = {
    "wrong_label": MetaState.SKIPPED,
    "unparsed": MetaState.SKIPPED,
    "truncated": MetaState.SKIPPED,
    "right_reason": MetaState.CORRECT,
    "wrong_reason": MetaState.INCORRECT,
    "meta_failed": MetaState.CALL_FAIL,
}
"""What each verdict code of `rationale_rewarded` is in the metrics of `verify.judges.rationale_metrics`."""


def prediction(response: str) -> str | None:
    r"""The answer that a response `rationale</think>verdict` names, "A" or "B": the bare letter or the last
    `\boxed{…}` behind the reasoning; None where there is neither."""
    said = split_response(response)[1].strip()
    if said in LABELS:
        return said
    try:
        return last_boxed(said, LABELS)
    except Unread:
        return None


def label_rewarded(problem: Problem, response: str, truncated: bool) -> Verdict:
    """Label-only reward: 1 where the named answer is the better one (`problem.answer`), a `learn.rollout.Reward`."""
    if truncated:
        return Verdict(0.0, "the response was cut off.", "truncated")
    said = prediction(response)
    if said is None:
        return Verdict(0.0, "the response names neither A nor B.", "unparsed")
    right = said == problem.answer
    return Verdict(float(right), f"it names {said}.", "right_label" if right else "wrong_label")


def rationale_rewarded(meta: MetaJudge) -> Reward:
    """R-Align's reward, 1[right label] · 1[meta-judge: Correct]; the meta-judge is asked only where the label is right.

    Where it failed the verdict has score 0, code "meta_failed" and evidence masked=True: `genrm_update` leaves it out.
    """

    def reward(problem: Problem, response: str, truncated: bool) -> Verdict:
        label = label_rewarded(problem, response, truncated)
        if not label.correct:
            return label
        score = rationale_reward(problem.answer, problem.answer, lambda: meta(problem, split_response(response)[0]))
        if score is None:
            return Verdict(0.0, "the meta-judge failed.", "meta_failed", {"masked": True})
        if score:
            return Verdict(1.0, "the label is right, for the golden reason.", "right_reason")
        return Verdict(0.0, "the label is right, for another reason.", "wrong_reason")

    return reward


def masked(rollout: Rollout) -> Tensor:
    """True where a verdict is masked, (B, G)."""
    flags = [bool(verdict.evidence.get("masked", False)) for verdict in rollout.verdicts]
    return torch.tensor(flags).view(len(rollout.problems), -1)


def masked_advantages(rewards_BG: Tensor, masked_BG: Tensor, epsilon: float = 1e-6) -> Tensor:
    """GRPO's (r − mean) / (deviation + ε) over the rollouts of a group that count, (B, G); 0 for masked ones.

    A group of equal rewards, or with fewer than two rollouts that count, has advantage 0.
    """
    kept_BG = (~masked_BG).to(rewards_BG.dtype)
    count_B1 = kept_BG.sum(1, keepdim=True).clamp_min(1)
    centred_BG = (rewards_BG - (rewards_BG * kept_BG).sum(1, keepdim=True) / count_B1) * kept_BG
    variance_B1 = centred_BG.square().sum(1, keepdim=True) / count_B1
    scaled_BG: Tensor = centred_BG / (variance_B1.sqrt() + epsilon)
    return torch.where(variance_B1 > VARIANCE_FLOOR, scaled_BG, 0.0)


def genrm_update(actor: Learner, rollout: Rollout, config: RlConfig, lr: float) -> dict[str, float]:
    """One update in place. Tokens of masked rollouts have advantage 0.

    Returns:
        the numbers of `rl.policy_steps`, and those of `rollout_numbers`.

    Raises:
        InputError: every rollout is masked: the meta-judge is down, and there is nothing to learn from.
    """
    masked_BG = masked(rollout)
    if bool(masked_BG.all()):
        raise InputError("the meta-judge failed on every rollout: bring it up again before the training goes on.")
    micro = list(by_length(rollout.groups, config.micro))
    advantages_BG = masked_advantages(rollout.rewards_BG, masked_BG)
    advantages = [
        advantages_BG[indices].reshape(-1).repeat_interleave(batch.response_lengths_N) for indices, batch in micro
    ]
    numbers = policy_steps(actor, [batch for _, batch in micro], advantages, rollout, config, lr)
    return numbers | rollout_numbers(rollout)


def rollout_numbers(rollout: Rollout) -> dict[str, float]:
    """What is logged of a rollout: reward (mean of those that count), length (tokens), and shares of all rollouts:
    truncated, unparsed, zero_rewards, masked, and label_accuracy."""
    n = len(rollout.verdicts)
    codes = Counter(verdict.code for verdict in rollout.verdicts)
    counted = [
        v.score for v, out in zip(rollout.verdicts, masked(rollout).reshape(-1).tolist(), strict=True) if not out
    ]
    wrong = codes["wrong_label"] + codes["unparsed"] + codes["truncated"]
    return {
        "reward": sum(counted) / max(1, len(counted)),
        "length": sum(rollout.lengths) / n,
        "truncated": codes["truncated"] / n,
        "unparsed": codes["unparsed"] / n,
        "zero_rewards": counted.count(0.0) / max(1, len(counted)),
        "masked": 1 - len(counted) / n,
        "label_accuracy": 1 - wrong / n,
    }


def states(verdicts: Sequence[Verdict]) -> list[MetaState]:
    """Verdicts of `rationale_rewarded` as the states that L-Acc, S-Corr and F-Score are counted from.

    Raises:
        InputError: a verdict of another reward.
    """
    if unknown := sorted({verdict.code for verdict in verdicts} - STATES.keys()):
        raise InputError(f"verdicts with the code {unknown[0]!r} come from another reward than rationale_rewarded.")
    return [STATES[verdict.code] for verdict in verdicts]
