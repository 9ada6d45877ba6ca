"""Teaching a small model the form of a synthesis prompt, and nothing of how to judge what stands in it.

PaCoRe (arXiv 2601.05593) starts from a model that has read prompts of every kind. A tiny one that has never seen
references breaks on the first: it is never right, so that reinforcement has nothing to reinforce. This stage, which
the paper does not have, shows it synthesis prompts followed by its own trajectories as they were sampled, right or
wrong: the one that was read from the very glimpse shown, and its reasoning once more followed by the conclusion of a
reference drawn blindly. So its answer with references is as good as a single trajectory and does not depend on how
many there are. No truth enters.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.learn.pacore_data import Pool, Score, draw_messages, message_free, pool_of
from consilience.learn.synthesis import Look, whole
from consilience.nn.template import Spelling, render, response_tokens
from consilience.problem import Problem
from consilience.protocols import Policy, Sampling
from consilience.reason.compaction import compact
from consilience.reason.synthesis import SynthesisTemplate
from consilience.store import Store, sample_stored
from consilience.trace import THINK_END
from consilience.worlds.setting import entropy


@dataclass(frozen=True)
class Trajectories:
    """A pool with the trajectories behind its messages. texts: one a message, `reasoning</think>conclusion`; seeds: one
    a message, that of its sampling."""

    pool: Pool
    texts: tuple[str, ...]
    seeds: tuple[int, ...]


async def trajectories(
    problems: Sequence[Problem],
    policy: Policy,
    sampling: Sampling,
    store: Store,
    score: Score,
    *,
    responses: int,
) -> AsyncIterator[Trajectories]:
    """The trajectories that `build_pools` sampled with the same arguments, from the store; what is missing is sampled.

    Raises:
        InputError: the sampling has no seed.
        PolicyError: as the policy does.
    """
    if sampling.seed is None:
        raise InputError("cached trajectories are known by their seeds: give the sampling one.")
    for problem in problems:
        calls = await sample_stored(store, policy, problem.messages, sampling, n=responses)
        kept = [(i, call) for i, call in enumerate(calls) if compact(call).text is not None]
        yield Trajectories(
            pool_of(problem, calls, score),
            tuple(call.full_text for _, call in kept),
            tuple(sampling.seed + i for i, _ in kept),
        )


def format_groups(
    cached: Sequence[Trajectories],
    seed: int,
    step: int,
    *,
    prompts: int,
    sizes: tuple[int, int],
    free: float,
    patch: int | Spelling | None,
    template: SynthesisTemplate | None = None,
    look: Look = whole,
) -> list[Group]:
    """The demonstrations of one step; everything follows from (seed, step).

    With messages, each prompt P(x, M) under the look of a trajectory outside M is followed by that trajectory, and by
    its reasoning with a message of M as the conclusion. In a share `free` of the steps there are no messages, and the
    trajectory alone.

    Args:
        cached: with two messages at least.

    Raises:
        InputError: there is no pool, or one with fewer than two messages.
    """
    if not cached:
        raise InputError("no problem has two finished trajectories: train the reader longer or allow more tokens.")
    rng = random.Random(entropy("format", seed, step))
    bare = message_free(step, free)
    groups = []
    for _ in range(prompts):
        one = rng.choice(cached)
        if len(one.texts) < 2:
            raise InputError(f"pool {one.pool.problem.id} needs two messages to show the form of synthesis.")
        own, *others = draw_messages(len(one.texts), (len(one.texts), len(one.texts)), rng)
        picked = () if bare else tuple(others[: rng.randint(*sizes)])
        texts = [one.texts[own]]
        if picked:
            texts.append(one.texts[own].rpartition(THINK_END)[0] + THINK_END + one.pool.messages[rng.choice(picked)])
        prompt = render(look(one.pool.prompt(picked, template), one.seeds[own]), patch)
        groups.append(Group(prompt, tuple(tuple(response_tokens(text)) for text in texts)))
    return groups
