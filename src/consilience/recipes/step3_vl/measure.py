"""What a trained model, or one at an endpoint, can do: counts by one trajectory and by many, and pointing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consilience.errors import PolicyError
from consilience.policy.retry import FailedCall
from consilience.problem import Problem
from consilience.protocols import Policy, Sampling, Strategy
from consilience.reason import solve_many, strategy
from consilience.reason.accounting import effective_ttc
from consilience.reason.course import StrategyError
from consilience.reason.synthesis import SynthesisTemplate
from consilience.recipes.step3_vl.sizes import Sizes
from consilience.request import Progress
from consilience.store import Store
from consilience.trace import Call, Trace
from consilience.verdict import Verdict
from consilience.verify import verify

ONE, VOTE, SEQUENTIAL, PARALLEL = "one", "vote", "sequential", "parallel"
ARMS = (ONE, VOTE, SEQUENTIAL, PARALLEL)
NAMES = {
    ONE: "one trajectory (SeRe)",
    VOTE: "plain vote",
    SEQUENTIAL: "sequential [1, …, 1]",
    PARALLEL: "parallel [K] and synthesis (PaCoRe)",
}
SHOWN = 20
"""Answers of an arm kept for the report's gallery."""


@dataclass(frozen=True)
class Point:
    """An arm at a width: K trajectories and one more, which votes, follows or synthesises; width 0 is one alone."""

    arm: str
    width: int = 0

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.width}" if self.width else self.arm

    def strategy(self, template: SynthesisTemplate | None, store: Store | None) -> Strategy:
        """The strategy; trajectories of the problem alone come from the store where they are there."""
        if self.arm == ONE:
            return strategy("direct", store=store)
        if self.arm == VOTE:
            return strategy(f"vote:{self.width + 1}", store=store)
        head = "sequential" if self.arm == SEQUENTIAL else "pacore"
        return strategy(f"{head}:{self.width}", template=template, store=store)


def points(sizes: Sizes) -> list[Point]:
    """The points that are measured, cheap ones first."""
    return [Point(ONE), *(Point(arm, width) for width in (sizes.narrow, sizes.wide) for arm in ARMS[1:])]


async def measure(
    point: Point,
    asked: Sequence[Problem],
    policy: Policy,
    sampling: Sampling,
    *,
    template: SynthesisTemplate | None,
    store: Store | None,
    concurrency: int,
    progress: Progress,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answer the problems in the way of a point.

    Returns:
        The record, lists by problem: right (0 or 1), tokens (generated, over all calls), lost (no last trajectory;
        counted as wrong), truth (the right count). Then samples for the gallery.

    Raises:
        PolicyError: the model cannot be reached or refuses; single failures count as lost.
    """
    rows: dict[int, dict[str, Any]] = {}
    shown: dict[int, dict[str, Any]] = {}
    progress.start(point.name, len(asked))
    chosen = point.strategy(template, store)
    async for position, result in solve_many(asked, policy, chosen, sampling, concurrency=concurrency):
        problem = asked[position]
        rows[position], response, verdict = _row(problem, result)
        if position < SHOWN:
            shown[position] = _sample(point, problem, response, verdict)
        progress.update(len(rows), accuracy=sum(row["right"] for row in rows.values()) / len(rows))
    progress.done()
    ordered = [rows[position] for position in range(len(asked))]
    record = {name: [row[name] for row in ordered] for name in ordered[0]}
    return {**vars(point), **record}, [shown[position] for position in sorted(shown)]


def _row(problem: Problem, result: Trace | PolicyError) -> tuple[dict[str, Any], str, Verdict]:
    if isinstance(result, PolicyError) and not isinstance(result, StrategyError):
        raise result
    trace = result.trace if isinstance(result, StrategyError) else result
    if isinstance(result, StrategyError) and any(_unreachable(call) for call in trace.calls):
        raise result
    lost = isinstance(result, StrategyError) or bool(trace.detail.get("fallback"))
    response = "" if lost else trace.response
    cut = any(call.truncated and call.full_text == response for call in trace.calls)
    verdict = verify(response, problem.answer, policy="evaluation") if response and not cut else _WRONG
    row = {"right": int(verdict.correct), "tokens": effective_ttc(trace.calls), "lost": int(lost)}
    return {**row, "truth": int(problem.answer)}, response, verdict


def _unreachable(call: Call) -> bool:
    return isinstance(call, FailedCall) and call.fault in ("connect", "refused")


_WRONG = Verdict(0.0, "There is no finished answer.", "truncated")


def _sample(point: Point, problem: Problem, response: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "cell": f"image/{problem.truth['level']}",
        "model": point.name,
        "problem": {name: value for name, value in problem.to_json().items() if name != "turns"},
        "response": response,
        "verdict": verdict.to_json(),
        "truncated": verdict.code == "truncated",
    }
