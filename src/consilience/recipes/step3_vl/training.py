"""Stages of a small STEP3-VL: its tower aligned, a warm start, synthesis and pointing by PPO with a frozen tower."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from consilience.engine import Engine, Request
from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.learn.loop import Stage, carry_out
from consilience.learn.optim.adamw import adamw, cooldown, warmup
from consilience.learn.pacore_data import EpisodeConfig, Pool, build_pools, stage1
from consilience.learn.rl import Learner, RlConfig, ppo_update
from consilience.learn.rollout import Rollout, judge
from consilience.learn.sft import sft_step
from consilience.learn.state import critic_of
from consilience.learn.synthesis import SynthesisConfig, train_synthesis
from consilience.nn.decoder import Decoder
from consilience.nn.template import render, response_tokens
from consilience.policy.local import LocalPolicy
from consilience.problem import Message, Problem
from consilience.protocols import Sampling
from consilience.recipes.step3_vl import problems
from consilience.recipes.step3_vl.glimpse import GlimpsePolicy, glimpse
from consilience.recipes.step3_vl.model import config_of, freeze_eyes, model_of, placed
from consilience.recipes.step3_vl.rewards import hit, perception
from consilience.recipes.step3_vl.seeing import seeing_step
from consilience.recipes.step3_vl.sizes import Sizes
from consilience.request import Progress
from consilience.runs import Run
from consilience.store import Store
from consilience.verdict import Verdict
from consilience.verify.check import AnswerVerifier
from consilience.worlds.digits import label
from consilience.worlds.setting import entropy, generator

WARMUP, RL_WARMUP, SAVE_EVERY, MICRO = 30, 5, 25, 32
EYES_LEVEL = "wide"
"""More digits a picture: more to name."""
REFERENCES = 0.3
"""Share of the counts in the warm start that show references which say nothing."""
FREE = 0.25
"""Share of synthesis iterations without references, so that proposing is not forgotten."""


def seen(problem: Problem, keep: float, seed: int) -> Problem:
    """The problem with a glimpse in place of its picture."""
    (turn,) = glimpse(keep)(problem.messages, seed)
    return replace(problem, prompt=turn.parts)


def train_start(run: Run, sizes: Sizes, seed: int, progress: Progress) -> Decoder:
    """From random weights: tower first, then demonstrations of counting and pointing; everything is trained."""
    model = model_of(config_of(sizes.d_model, sizes.layers, sizes.width, sizes.blocks), seed)
    eyes = [p for name, p in model.named_parameters() if name.startswith(("vision.", "embedding."))]
    looking = Learner(model, adamw(eyes))

    def look(step: int) -> Mapping[str, float]:
        least, batch = least_seen(sizes.keep, step, sizes.eyes_steps), []
        for i in range(sizes.eyes_batch):
            key = ("eyes", seed, step, i)
            rng = generator(*key, "glimpse")
            shown = problems.fresh(key, "count", EYES_LEVEL)
            batch.append(seen(shown, rng.uniform(least, 1), rng.getrandbits(40)))
        return seeing_step(looking, batch, label, sizes.eyes_lr * _ramp(step, sizes.eyes_steps))

    carry_out(run, Stage("eyes", sizes.eyes_steps, 100, shown=("accuracy",)), {"model": looking}, look, progress)
    learner = Learner(model, adamw(model.parameters(), weight_decay=0.01))

    def imitate(step: int) -> Mapping[str, float]:
        least = least_seen(sizes.keep, step, sizes.sft_steps)
        batch = [_demonstrated(model, ("warm", seed, step, i), least, sizes) for i in range(sizes.sft_batch)]
        return sft_step(model, learner.optimizer, batch, sizes.sft_lr * _ramp(step, sizes.sft_steps), MICRO)

    carry_out(run, Stage("warm", sizes.sft_steps, SAVE_EVERY, shown=("loss",)), {"model": learner}, imitate, progress)
    return model


def _ramp(step: int, total: int) -> float:
    """Learning rate as a share: short rise, plateau, fall over the last third."""
    tail = max(1, total // 3)
    return warmup(step, min(WARMUP, total)) * cooldown(step, total - tail, tail + 1)


def least_seen(keep: float, step: int, total: int) -> float:
    """The smallest share of pixels shown in a step: all of them at first, `keep` from the middle of the stage on."""
    return 1 - (1 - keep) * min(1.0, 2 * step / total)


def _demonstrated(model: Decoder, key: tuple[object, ...], least: float, sizes: Sizes) -> Group:
    """A problem behind a glimpse with its answer."""
    rng = generator(*key, "form")
    task = "locate" if rng.random() < sizes.pointing else "count"
    problem = problems.fresh(key, task, sizes.level)
    shown = seen(problem, rng.uniform(least, 1), rng.getrandbits(40))
    turns: Sequence[Message] = shown.messages
    if task == "count" and rng.random() < REFERENCES:
        turns = problems.with_references(turns, problems.blind_references((*key, "references"), sizes.wide))
    return Group(render(turns, model.config.pictures), (tuple(response_tokens(problems.demonstration(problem))),))


def counted(problem: Problem, response: str, truncated: bool) -> Verdict:
    """Whether a count is right."""
    return AnswerVerifier()(problem, response, truncated=truncated)


async def _pools(model: Decoder, sizes: Sizes, seed: int, store: Store, progress: Progress) -> list[Pool]:
    asked = [problems.fresh(("pool", seed, i), "count", sizes.level) for i in range(sizes.pools)]
    policy = GlimpsePolicy(LocalPolicy(Engine(model, rows=256), f"start-{seed}"), sizes.keep)
    sampling = Sampling(max_tokens=sizes.max_tokens, seed=entropy("pools", seed) >> 2)
    try:
        built = build_pools(
            asked, policy, sampling, store, counted, responses=sizes.responses, concurrency=64, progress=progress
        )
        return [pool async for pool in built]
    finally:
        await policy.close()


def train_to_synthesise(run: Run, model: Decoder, sizes: Sizes, seed: int, progress: Progress) -> dict[str, int]:
    """PPO on counts with messages of the model's own trajectories, each behind a glimpse of its own. Only problems that
    some trajectories count right and some wrong are used (§3.3).

    Returns:
        How many problems had messages cached, and how many of them passed.
    """
    with Store(run.directory / "messages.db") as store:
        pools = asyncio.run(_pools(model, sizes, seed, store, progress))
    kept = stage1(pools, {"math": 1.0}) or [pool for pool in pools if pool.messages]
    if not kept:
        raise InputError("the warm start answers nothing, so there are no messages: train it longer (sft_steps).")
    learners = _learners(model, seed)
    most = min(sizes.wide, sizes.responses)
    config = SynthesisConfig(
        steps=sizes.rl_steps,
        episodes=EpisodeConfig((max(1, most // 2), most), sizes.instances, sizes.samples, FREE),
        max_tokens=sizes.max_tokens,
        actor_lr=sizes.actor_lr,
        critic_lr=sizes.critic_lr,
        rl=RlConfig(micro=MICRO // 2),
        save_every=SAVE_EVERY,
    )
    look = glimpse(sizes.keep)
    train_synthesis(
        run,
        "synthesis",
        learners,
        kept,
        counted,
        config,
        seed,
        template=problems.TEMPLATE,
        look=look,
        progress=progress,
    )
    return {"pools": len(pools), "some_accept": len(stage1(pools, {"math": 1.0}))}


def _learners(model: Decoder, seed: int) -> dict[str, Learner]:
    """Actor and critic, the tower of both frozen."""
    critic = placed(critic_of(model, torch.Generator().manual_seed(entropy("critic", seed) % 2**62)))
    return {"model": Learner(model, adamw(freeze_eyes(model))), "critic": Learner(critic, adamw(freeze_eyes(critic)))}


def train_to_point(run: Run, model: Decoder, smooth: bool, sizes: Sizes, seed: int, progress: Progress) -> None:
    """PPO on fresh pointing problems with the decaying reward, or with hit or miss; whole pictures, frozen tower."""
    learners = _learners(model, seed)
    engine, reward = Engine(model, rows=512), perception(smooth)

    def update(step: int) -> Mapping[str, float]:
        engine.refresh()
        asked = [problems.fresh(("point", seed, step, i), "locate", sizes.level) for i in range(sizes.instances)]
        rollout = sample(engine, asked, ("point", seed, step), sizes.samples, sizes.max_tokens)
        verdicts = judge(rollout.problems, rollout.groups, reward)
        factor = warmup(step, RL_WARMUP)
        numbers = ppo_update(
            learners["model"],
            learners["critic"],
            replace(rollout, verdicts=verdicts),
            RlConfig(micro=MICRO // 2),
            sizes.actor_lr * factor,
            sizes.critic_lr * factor,
        )
        hits = [v.score == 1 for v in rollout.verdicts]
        length = sum(rollout.lengths) / len(rollout.lengths)
        return {**numbers, "reward": _mean([v.score for v in verdicts]), "hits": _mean(hits), "length": length}

    name = "decay" if smooth else "binary"
    carry_out(run, Stage(name, sizes.rl_steps, SAVE_EVERY, shown=("reward", "hits")), learners, update, progress)


def sample(
    engine: Engine,
    asked: Sequence[Problem],
    key: tuple[object, ...],
    samples: int,
    max_tokens: int,
    greedy: bool = False,
) -> Rollout:
    """Responses to pointing problems; verdicts say hit (1) or miss (0)."""
    prompts = [render(problem.messages, engine.model.config.pictures) for problem in asked]
    temperature = 0.0 if greedy else 1.0
    requests = [
        Request(p, Sampling(temperature=temperature, max_tokens=max_tokens, seed=entropy(*key, i) >> 2), samples)
        for i, p in enumerate(prompts)
    ]
    outputs = engine.generate(requests)
    groups = tuple(Group(p, tuple(o.tokens for o in row)) for p, row in zip(prompts, outputs, strict=True))
    flat = [output for row in outputs for output in row]
    finished = tuple(output.finish == "stop" for output in flat)

    def verdict(problem: Problem, response: str, truncated: bool) -> Verdict:
        return Verdict(float(hit(problem, response, truncated)), "Hit or miss.", "hit")

    return Rollout(tuple(asked), groups, tuple(o.logprobs for o in flat), finished, judge(asked, groups, verdict))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
