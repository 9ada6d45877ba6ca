"""Alarms on the curves of a run: what went wrong first, and what to do. Pure functions over the records that training
logs; no torch, so that reports can ask them, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consilience.errors import InputError

LOSSES = ("loss", "policy_loss", "value_loss", "grad_norm")
"""Numbers that must stay finite; a run writes null where one is not."""


@dataclass(frozen=True)
class Limits:
    """When alarms ring. window: records a mean spans. entropy_fall: share of the first window's entropy. length_growth:
    factor on its length. zero_rewards: share of responses (or prompts) without any reward; where it is not logged, of
    records whose mean reward is exactly 0. standard_errors: how surely reward must have risen and held-out accuracy
    fallen. solved: mean reward from which on little entropy is what is wanted. min_median, max_median: of experts."""

    window: int = 10
    entropy_fall: float = 0.2
    length_growth: float = 2.0
    zero_rewards: float = 0.95
    standard_errors: float = 3.0
    solved: float = 0.95
    min_median: float = 0.1
    max_median: float = 10.0


@dataclass(frozen=True)
class Alarm:
    """A stable name, the step at which it first rang, what was seen, and what to do."""

    name: str
    step: int
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"step {self.step}, {self.name}: {self.finding} {self.remedy}"


Series = list[tuple[int, float]]
Check = Callable[[Mapping[str, Series], Limits], tuple[int, str] | None]


def alarms(records: Sequence[Mapping[str, object]], limits: Limits | None = None) -> list[Alarm]:
    """The alarms that the records of one stage set off, in order of step.

    Keys read, each where it is there: step, reward (or proxy), accuracy (or gold: held out, may be sparse), entropy
    (nats a token), length (tokens), zero_rewards (share), expert_min_median, expert_max_median; and `LOSSES`, which
    ring where they are null, NaN or infinite.
    """
    limits = limits or Limits()
    series: dict[str, Series] = {}
    for record in records:
        for key, value in record.items():
            if isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(key, []).append((int(str(record["step"])), float(value)))
    rung = [
        Alarm(name, *found, remedy) for name, check, remedy in CHECKS if (found := check(series, limits)) is not None
    ]
    return sorted([*_not_finite(records), *rung], key=lambda alarm: alarm.step)


def alarms_by_stage(
    records: Sequence[Mapping[str, object]], limits: Limits | None = None
) -> list[tuple[str, list[Alarm]]]:
    """(stage, its alarms) of every stage that set one off, in the order in which stages began: each is judged by
    itself, as steps and rewards of different stages do not compare."""
    stages: dict[str, list[Mapping[str, object]]] = {}
    for record in records:
        stages.setdefault(str(record.get("stage", "")), []).append(record)
    found = [(stage, alarms(own, limits)) for stage, own in stages.items()]
    return [(stage, rung) for stage, rung in found if rung]


def best_step(points: Series, window: int = 3) -> int:
    """The step to stop at: where the running mean of a held-out score over `window` evaluations is highest.

    Raises:
        InputError: no evaluation.
    """
    if not points:
        raise InputError("a stopping point needs at least one evaluation of a held-out score.")
    width = min(window, len(points))
    means = [sum(v for _, v in points[i : i + width]) / width for i in range(len(points) - width + 1)]
    return points[means.index(max(means)) + width // 2][0]


def _mean(points: Series) -> float:
    return sum(value for _, value in points) / len(points)


def _error(points: Series) -> float:
    mean = _mean(points)
    return math.sqrt(sum((value - mean) ** 2 for _, value in points) / max(1, len(points) - 1) / len(points))


def _first(points: Series, window: int, rings: Callable[[float], bool]) -> tuple[int, float] | None:
    """The first step at which the mean of the last `window` values rings."""
    for end in range(window, len(points) + 1):
        mean = _mean(points[end - window : end])
        if rings(mean):
            return points[end - 1][0], mean
    return None


def _entropy(series: Mapping[str, Series], limits: Limits) -> tuple[int, str] | None:
    points = series.get("entropy", [])
    start = _mean(points[: limits.window]) if len(points) >= limits.window else math.nan
    reward = dict(series.get("reward", []))
    unsolved = [point for point in points if reward.get(point[0], 0.0) < limits.solved]
    found = _first(unsolved, limits.window, lambda mean: mean < limits.entropy_fall * start)
    return found and (found[0], f"entropy fell from {start:.3f} to {found[1]:.3f} nats a token.")


def _length(series: Mapping[str, Series], limits: Limits) -> tuple[int, str] | None:
    points = series.get("length", [])
    start = _mean(points[: limits.window]) if len(points) >= limits.window else math.nan
    found = _first(points, limits.window, lambda mean: mean > limits.length_growth * start)
    return found and (found[0], f"responses grew from {start:.0f} to {found[1]:.0f} tokens.")


def _zero(series: Mapping[str, Series], limits: Limits) -> tuple[int, str] | None:
    points = series.get("zero_rewards") or [(step, float(mean == 0)) for step, mean in series.get("reward", [])]
    found = _first(points, limits.window, lambda mean: mean > limits.zero_rewards)
    return found and (found[0], f"{found[1]:.0%} earn no reward at all.")


def _not_finite(records: Sequence[Mapping[str, object]]) -> list[Alarm]:
    """One alarm, for the first record with a loss that is no finite number."""
    for record in records:
        for key in LOSSES:
            value = record.get(key, 0.0)
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                remedy = "Go back to the last checkpoint and lower the learning rate; look at that step's batch."
                return [Alarm("not_finite", int(str(record["step"])), f"{key} is no finite number.", remedy)]
    return []


def _hacking(series: Mapping[str, Series], limits: Limits) -> tuple[int, str] | None:
    """The reward's window lies above, the held-out score's below their best windows so far, both surely."""
    held_out = series.get("accuracy") or series.get("gold") or []
    reward = dict(series.get("reward") or series.get("proxy") or [])
    pairs = [(step, reward[step], score) for step, score in held_out if step in reward]
    width = min(limits.window, max(2, len(pairs) // 4))
    best = pairs[:width]
    for end in range(2 * width, len(pairs) + 1):
        now, before = pairs[end - width : end], pairs[end - 2 * width : end - width]
        best = max(best, before, key=lambda part: sum(score for *_, score in part))
        rise = _gap([(s, r) for s, r, _ in now], [(s, r) for s, r, _ in best])
        fall = _gap([(s, g) for s, _, g in best], [(s, g) for s, _, g in now])
        if rise > limits.standard_errors and fall > limits.standard_errors:
            return now[-1][0], f"since step {best[-1][0]} the reward has risen and the held-out score has fallen."
    return None


def _gap(high: Series, low: Series) -> float:
    """Difference of two means in standard errors."""
    difference = _mean(high) - _mean(low)
    return difference / max(math.hypot(_error(high), _error(low)), 1e-9)


def _dead(series: Mapping[str, Series], limits: Limits) -> tuple[int, str] | None:
    found = _first(series.get("expert_min_median", []), limits.window, lambda mean: mean < limits.min_median)
    return found and (found[0], f"the weakest expert is down to {found[1]:.2g} of the median.")


def _blow_up(series: Mapping[str, Series], limits: Limits) -> tuple[int, str] | None:
    found = _first(series.get("expert_max_median", []), limits.window, lambda mean: mean > limits.max_median)
    return found and (found[0], f"the strongest expert is up to {found[1]:.3g} times the median.")


CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("entropy_collapse", _entropy, "Lower the actor's learning rate or raise the difficulty; go back to a checkpoint."),
    ("length_blow_up", _length, "Look for loops, penalise length, or bound the reward that length buys."),
    ("zero_rewards", _zero, "Choose easier problems, warm-start, or check the verifier on a demonstration."),
    ("reward_hacking", _hacking, "Stop at the best held-out step, and shape the reward (learn.rewards, par)."),
    ("dead_experts", _dead, "Balance over the global batch rather than the micro-batch; scale the routed output."),
    ("expert_blow_up", _blow_up, "Clip the experts' activations; clipping weights only delays it."),
)
