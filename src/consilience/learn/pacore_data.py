"""Training data of PaCoRe's synthesis (arXiv 2601.05593, §2.2, §3.1): message cache, filters, episodes. Needs no torch.

An episode is one round: the policy reads a problem with messages drawn from the problem's cache, P(x, M), and is
rewarded once, at the end, for the conclusion it writes. Metrics of what it learns are in `pacore_metrics`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consilience.errors import InputError
from consilience.files import atomic_write, read_jsonl
from consilience.problem import Message, Problem, dumps
from consilience.protocols import Policy, Sampling
from consilience.reason.compaction import Unfinished, compact
from consilience.reason.synthesis import SynthesisTemplate, synthesis_prompt
from consilience.request import Progress, Silent
from consilience.store import Store, sample_stored
from consilience.trace import THINK_END, Call
from consilience.verdict import Verdict
from consilience.worlds.setting import entropy

Score = Callable[[Problem, str, bool], Verdict]
"""(problem, response text, truncated) → verdict; its score, in [0, 1], is the reward. For code: the share of passed
tests."""

RESPONSES = 24
STAGE1_BELOW: Mapping[str, float] = {"math": 9 / 24, "code": 15 / 24}
STAGE2_DRAWS = 16


@dataclass(frozen=True)
class Pool:
    """A problem with the messages cached for it.

    messages: conclusions, in the order sampled. scores: one a message, or () where nothing was judged. attempts:
    trajectories sampled; one without a conclusion has no message and counts as wrong. conversation: what P(x, M) is
    made from; the problem's own messages where empty.
    """

    problem: Problem
    messages: tuple[str, ...]
    scores: tuple[float, ...] = ()
    attempts: int = 0
    domain: str = "math"
    conversation: tuple[Message, ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        if self.scores and len(self.scores) != len(self.messages):
            raise InputError(f"pool {self.problem.id} needs one score a message: score its messages again.")

    @property
    def accuracy(self) -> float:
        """Mean score over all attempts (message_acc).

        Raises:
            InputError: the messages are not scored.
        """
        attempts = max(self.attempts, len(self.messages))
        if attempts and len(self.scores) != len(self.messages):
            raise InputError(f"pool {self.problem.id} is not scored: use score_pool first.")
        return sum(self.scores) / attempts if attempts else 0.0

    def prompt(self, picked: Sequence[int], template: SynthesisTemplate | None = None) -> tuple[Message, ...]:
        """P(x, M) with these messages in this order; without any, the conversation as it is."""
        turns = self.conversation or self.problem.messages
        return synthesis_prompt(turns, [self.messages[i] for i in picked], template)

    def to_json(self) -> dict[str, Any]:
        return {
            "problem": self.problem.to_json(),
            "messages": list(self.messages),
            "scores": list(self.scores),
            "attempts": self.attempts,
            "domain": self.domain,
            "conversation": [message.to_json() for message in self.conversation],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pool:
        fields = {
            **data,
            "problem": Problem.from_json(data["problem"]),
            "messages": tuple(data["messages"]),
            "scores": tuple(data["scores"]),
            "conversation": tuple(Message.from_json(m) for m in data["conversation"]),
        }
        return cls(**fields)


def save_pools(path: Path, pools: Iterable[Pool]) -> None:
    """Write pools as JSON Lines, whole or not at all."""
    atomic_write(path, "".join(dumps(pool.to_json()) + "\n" for pool in pools))


def load_pools(path: Path) -> list[Pool]:
    """Inverse of `save_pools`.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        return [Pool.from_json(record) for record in read_jsonl(path)]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} holds no message pools (missing {error}): write it with save_pools.") from None


# the message cache


def compacted(score: Score) -> Score:
    """The same score, of the conclusion alone: what follows the last `</think>`, as the next round would see it.

    A response that was cut off scores 0, whatever it says.
    """

    def judged(problem: Problem, response: str, truncated: bool) -> Verdict:
        if truncated:
            return Verdict(0.0, "The response was cut off before it ended.", "truncated")
        conclusion = response.rpartition(THINK_END)[2].strip()
        if not conclusion:
            return Verdict(0.0, "The response has no conclusion.", "empty")
        return score(problem, THINK_END + conclusion, False)

    return judged


def pool_of(
    problem: Problem,
    calls: Sequence[Call],
    score: Score | None = None,
    *,
    domain: str = "math",
    unfinished: Unfinished = "drop",
) -> Pool:
    """The pool of trajectories that were sampled for a problem: conclusions and, with `score`, their rewards."""
    found = [text for call in calls if (text := compact(call, "conclusion", unfinished).text) is not None]
    pool = Pool(problem, tuple(found), (), len(calls), domain)
    return pool if score is None else score_pool(pool, score)


def score_pool(pool: Pool, score: Score) -> Pool:
    """The pool with every message judged (again)."""
    scores = tuple(score(pool.problem, THINK_END + message, False).score for message in pool.messages)
    return Pool(pool.problem, pool.messages, scores, pool.attempts, pool.domain, pool.conversation)


async def build_pools(
    problems: Sequence[Problem],
    policy: Policy,
    sampling: Sampling,
    store: Store,
    score: Score | None = None,
    *,
    responses: int = RESPONSES,
    concurrency: int = 8,
    domain: str = "math",
    progress: Progress | None = None,
) -> AsyncIterator[Pool]:
    """Sample `responses` trajectories of every problem once, and yield the pools in the order of the problems.

    Whatever is in the store is not sampled again: a build that was killed goes on where it was. Failed calls are not
    stored; they count as attempts and are tried anew by the next build.

    Raises:
        PolicyError: as the policy does; what was sampled before is stored.
    """
    progress = progress or Silent()
    gate = asyncio.Semaphore(max(1, concurrency))

    async def sampled(problem: Problem) -> list[Call]:
        async with gate:
            return await sample_stored(store, policy, problem.messages, sampling, n=responses)

    tasks = [asyncio.create_task(sampled(problem)) for problem in problems]
    progress.start("message cache", len(tasks))
    try:
        for done, (problem, task) in enumerate(zip(problems, tasks, strict=True), 1):
            yield pool_of(problem, await task, score, domain=domain)
            progress.update(done)
        progress.done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# filters


def stage1(pools: Iterable[Pool], below: Mapping[str, float] = STAGE1_BELOW, above: float = 0.0) -> list[Pool]:
    """Pools that neither selection nor luck solves: above < accuracy < the bound of their domain.

    Bounds of 1 for every domain are the "some accept" filter of STEP3-VL-10B (arXiv 2601.09668, §3.3).

    Raises:
        InputError: a pool's domain has no bound, or its messages are not scored.
    """
    pools = list(pools)
    if unknown := sorted({pool.domain for pool in pools} - set(below)):
        raise InputError(f"no bound on the accuracy of messages is given for {', '.join(unknown)}.")
    return [pool for pool in pools if above < pool.accuracy < below[pool.domain]]


def stage2(pools: Iterable[Pool], synthesis: Mapping[str, float]) -> list[Pool]:
    """Pools that are still some-accept with messages: 0 < synthesis accuracy < 1.

    Args:
        synthesis: problem id → accuracy of an intermediate policy over drawn message sets (`synthesis_accuracy`).
            A pool without an entry is left out.
    """
    return [pool for pool in pools if 0 < synthesis.get(pool.problem.id, 0.0) < 1]


async def synthesis_accuracy(
    pool: Pool,
    policy: Policy,
    sampling: Sampling,
    store: Store,
    score: Score,
    *,
    seed: int,
    draws: int = STAGE2_DRAWS,
    sizes: tuple[int, int] = (16, 24),
    template: SynthesisTemplate | None = None,
) -> float:
    """Mean reward of one trajectory on each of `draws` message sets: an estimate from the training messages, for the
    filter only, never for evaluation."""
    judge, rng = compacted(score), random.Random(entropy("synthesis", seed, pool.problem.id))
    drawn = [draw_messages(len(pool.messages), sizes, rng) for _ in range(draws)]
    prompts = [pool.prompt(picked, template) for picked in drawn]
    rows = await asyncio.gather(*(sample_stored(store, policy, p, _seeded(sampling, i)) for i, p in enumerate(prompts)))
    return sum(judge(pool.problem, row[0].full_text, row[0].finish != "stop").score for row in rows) / draws


def _seeded(sampling: Sampling, index: int) -> Sampling:
    return sampling if sampling.seed is None else sampling.with_seed(sampling.seed + index)


# episodes


def draw_messages(count: int, sizes: tuple[int, int], rng: random.Random) -> tuple[int, ...]:
    """Which messages an episode shows: |M| uniform over sizes (both ends included), without replacement, in random
    order. A cache of fewer than |M| messages is shown whole.

    Raises:
        InputError: not 1 ≤ smallest ≤ largest size.
    """
    low, high = sizes
    if not 1 <= low <= high:
        raise InputError(f"the sizes of message sets need 1 ≤ low ≤ high, not {low} and {high}.")
    return tuple(rng.sample(range(count), min(rng.randint(low, high), count)))


@dataclass(frozen=True)
class EpisodeConfig:
    """How episodes are drawn; published where not said otherwise.

    sizes: of message sets. instances, samples: problems an iteration and responses a problem. free: share of iterations
    without messages, ours: without them a small policy forgets to propose. per_response: a set of its own for every
    response, instead of one for all responses of an instance (not published).
    """

    sizes: tuple[int, int] = (16, 24)
    instances: int = 16
    samples: int = 64
    free: float = 0.25
    per_response: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.free <= 1 or min(self.instances, self.samples) < 1:
            raise InputError("episodes need instances and samples of at least 1, and free between 0 and 1.")


@dataclass(frozen=True)
class Episode:
    """A prompt to be answered `samples` times. picked: positions of its messages in the pool, () without messages."""

    pool: Pool
    picked: tuple[int, ...]
    prompt: tuple[Message, ...] = field(hash=False)
    samples: int

    @property
    def hopeless(self) -> bool:
        """Messages are shown and every one of them is wrong: a right answer here is emergent."""
        return bool(self.picked) and all(self.pool.scores[i] <= 0 for i in self.picked)


def message_free(step: int, share: float) -> bool:
    """Whether iteration `step` (from 0) is one without messages; evenly spread, exactly the share in the long run."""
    return int((step + 1) * share + 1e-9) > int(step * share + 1e-9)


def episodes(
    pools: Sequence[Pool],
    seed: int,
    step: int,
    config: EpisodeConfig | None = None,
    template: SynthesisTemplate | None = None,
) -> list[Episode]:
    """The episodes of one iteration. Everything follows from (seed, step), so that a resumed run draws the same.

    Pools are gone through in a new random order every epoch.

    Raises:
        InputError: there is no pool, or one without a message.
    """
    config = config or EpisodeConfig()
    if not pools or not all(pool.messages for pool in pools):
        raise InputError("episodes are drawn from pools with messages: none is left, or one is empty.")
    rng = random.Random(entropy("episodes", seed, step))
    free = message_free(step, config.free)
    many = config.per_response and not free
    drawn = []
    for i in range(step * config.instances, (step + 1) * config.instances):
        pool = pools[_shuffled(len(pools), seed, i // len(pools))[i % len(pools)]]
        for _ in range(config.samples if many else 1):
            picked = () if free else draw_messages(len(pool.messages), config.sizes, rng)
            drawn.append(Episode(pool, picked, pool.prompt(picked, template), 1 if many else config.samples))
    return drawn


def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    random.Random(entropy("epoch", seed, epoch)).shuffle(order)
    return order
