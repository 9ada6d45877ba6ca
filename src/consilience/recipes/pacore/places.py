"""The vote that knows the structure of the answer: each place of it decided by itself. An upper bound for voting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from consilience.problem import Problem
from consilience.protocols import Policy, Sampling
from consilience.reason.compaction import compact
from consilience.recipes.pacore.arms import Point
from consilience.request import Progress
from consilience.store import Store, sample_stored


def by_place(messages: Sequence[str]) -> str:
    """The most frequent character at each place among the messages of the most frequent length; ties go to the first.

    Nothing where there is no message.
    """
    if not messages:
        return ""
    length = Counter(map(len, messages)).most_common(1)[0][0]
    whole = [message for message in messages if len(message) == length]
    return "".join(Counter(column).most_common(1)[0][0] for column in zip(*whole, strict=True))


async def measure_places(
    point: Point,
    problems: Sequence[Problem],
    policy: Policy,
    sampling: Sampling,
    *,
    store: Store,
    progress: Progress,
) -> dict[str, Any]:
    """The record of this vote over as many trajectories as the plain vote counts, the same ones from the store; see
    `measure.measure`."""
    rows = []
    progress.start(point.name, len(problems))
    for done, problem in enumerate(problems, 1):
        calls = await sample_stored(store, policy, problem.messages, sampling, n=point.trajectories)
        messages = [text for call in calls if (text := compact(call).text) is not None]
        lengths = [call.usage.completion for call in calls]
        rows.append(
            {
                "right": int(by_place(messages) == problem.answer),
                "tokens": sum(lengths),
                "critical": max(lengths),
                "prompt": calls[-1].usage.prompt,
                "lost": int(not messages),
            }
        )
        progress.update(done)
    progress.done()
    return {**vars(point), **{name: [row[name] for row in rows] for name in rows[0]}}
