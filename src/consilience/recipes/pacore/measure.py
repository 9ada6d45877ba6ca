"""One point of a curve: every problem answered by one schedule, judged, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consilience.errors import PolicyError
from consilience.policy.retry import FailedCall
from consilience.problem import Problem
from consilience.protocols import Policy, Sampling
from consilience.reason import solve_many
from consilience.reason.accounting import effective_ttc
from consilience.reason.course import StrategyError
from consilience.reason.synthesis import SynthesisTemplate
from consilience.recipes.pacore.arms import PARALLEL, Point
from consilience.recipes.pacore.questions import judged
from consilience.request import Progress
from consilience.store import Store
from consilience.trace import Call, Trace
from consilience.verdict import Verdict

SHOWN = 30
"""Answers of a point kept for the report's gallery."""


async def measure(
    point: Point,
    problems: Sequence[Problem],
    policy: Policy,
    sampling: Sampling,
    *,
    store: Store | None,
    concurrency: int,
    progress: Progress,
    template: SynthesisTemplate | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answer the problems with a point's schedule.

    Returns:
        The record, lists by problem: right (0 or 1), tokens (generated, Σ over all calls), critical (longest chain),
        prompt (of the last call), lost (the last trajectory failed, so that there is no synthesis; counted as wrong),
        and for parallel schedules hopeless (no message of the round before the last was right). Then samples for the
        gallery.

    Raises:
        PolicyError: the model cannot be reached or refuses to answer; single failures count as lost.
    """
    rows: dict[int, dict[str, Any]] = {}
    shown: dict[int, dict[str, Any]] = {}
    chosen = point.strategy(store, template)
    progress.start(point.name, len(problems))
    async for position, result in solve_many(problems, policy, chosen, sampling, concurrency=concurrency):
        row, verdict, response = _row(point, problems[position], result)
        rows[position] = row
        if position < SHOWN:
            shown[position] = _sample(point, problems[position], response, verdict)
        progress.update(len(rows), accuracy=sum(r["right"] for r in rows.values()) / len(rows))
    progress.done()
    ordered = [rows[position] for position in range(len(problems))]
    record = {name: [row[name] for row in ordered] for name in ordered[0]}
    return {**vars(point), **record}, [shown[position] for position in sorted(shown)]


def _row(point: Point, problem: Problem, result: Trace | PolicyError) -> tuple[dict[str, Any], Verdict, str]:
    if isinstance(result, PolicyError) and not isinstance(result, StrategyError):
        raise result
    trace = result.trace if isinstance(result, StrategyError) else result
    if isinstance(result, StrategyError) and any(_unreachable(call) for call in trace.calls):
        raise result
    lost = isinstance(result, StrategyError) or bool(trace.detail.get("fallback"))
    response = "" if lost else trace.response
    verdict = judged(problem, response, truncated=any(c.truncated and c.full_text == response for c in trace.calls))
    row: dict[str, Any] = {
        "right": int(verdict.correct),
        "tokens": effective_ttc(trace.calls),
        "critical": trace.detail["critical_path"],
        "prompt": trace.rounds[-1][-1].usage.prompt if trace.rounds and trace.rounds[-1] else 0,
        "lost": int(lost),
    }
    if point.arm == PARALLEL:
        messages = trace.rounds[-2] if len(trace.rounds) > 1 else ()
        row["hopeless"] = int(not any(_right(problem, call) for call in messages))
    return row, verdict, response


def _unreachable(call: Call) -> bool:
    """Whether a call failed because nobody can be asked, which says nothing about the schedule."""
    return isinstance(call, FailedCall) and call.fault in ("connect", "refused")


def _right(problem: Problem, call: Call) -> bool:
    spoken = call.finish not in ("error", "cancelled")
    return spoken and judged(problem, call.full_text, truncated=call.truncated).correct


def _sample(point: Point, problem: Problem, response: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "cell": f"{problem.modality}/{problem.truth.get('level', 'all')}",
        "model": point.name,
        "problem": {name: value for name, value in problem.to_json().items() if name != "turns"},
        "response": response,
        "verdict": verdict.to_json(),
        "truncated": verdict.code == "truncated",
    }
