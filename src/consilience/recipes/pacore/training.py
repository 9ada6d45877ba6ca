"""The units that train synthesis: the start of a seed (reader, message cache, form of the prompt), and PPO from it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from consilience.engine import Engine
from consilience.errors import InputError
from consilience.files import read_json
from consilience.learn.batch import Group
from consilience.learn.loop import Stage, carry_out
from consilience.learn.optim.adamw import adamw, cooldown, warmup
from consilience.learn.pacore_data import (
    Episode,
    EpisodeConfig,
    Pool,
    build_pools,
    draw_messages,
    load_pools,
    save_pools,
    stage1,
    stage2,
    synthesis_accuracy,
)
from consilience.learn.rl import Learner, RlConfig
from consilience.learn.sft import sft_step
from consilience.learn.state import critic_of
from consilience.learn.synthesis import SynthesisConfig, roll_out, synthesis_numbers, train_synthesis
from consilience.learn.synthesis_format import Trajectories, format_groups, trajectories
from consilience.nn.checkpoint import load_model, save_model
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.template import render, response_tokens
from consilience.policy.local import nano_directory, open_local
from consilience.problem import Problem
from consilience.protocols import Policy, Sampling
from consilience.recipes.pacore.asked import FAMILIES_SEED, SHORT, Family, family_of
from consilience.recipes.pacore.questions import judged
from consilience.recipes.pacore.training_sizes import TrainingSizes
from consilience.request import Progress
from consilience.runs import Run
from consilience.store import Store
from consilience.units import Unit, directory_of
from consilience.verdict import Verdict
from consilience.worlds.setting import entropy, generator

CONCURRENCY = 64
MICRO = 4
"""Prompts a forward pass: as many critic steps an iteration as there are such batches, four at most."""
SAVE_EVERY = 25


def score(problem: Problem, response: str, truncated: bool) -> Verdict:
    """1 for the right answer, 0 else."""
    return judged(problem, response, truncated=truncated)


def prepare(run: Path, own: Run, unit: Unit, store: Store, progress: Progress) -> None:
    """The start of a seed: `model/`, `base/` (the reader before it saw references) and `pools.jsonl`."""
    sizes, seed = TrainingSizes(**unit.task["training"]), int(unit.task["seed"])
    family, base = family_of(sizes), own.directory / "base"
    model = _reader(own, family, sizes, seed, progress)
    save_model(model, base)
    problems = [family.problem(seed * FAMILIES_SEED + i, "train") for i in range(sizes.pools)]
    watched = [family.problem(i, "dev") for i in range(sizes.dev)]
    if not own.done("cache"):
        with own.stage("cache"):
            for name, asked in (("pools", problems), ("dev", watched)):
                found = asyncio.run(_cached(asked, family, base, sizes, seed, store, progress))
                save_pools(own.directory / f"{name}.jsonl", found)
    _show_form(own, model, problems, family, base, sizes, seed, store, progress)
    save_model(model, own.directory / "model")


def reinforce(run: Path, own: Run, unit: Unit, store: Store, progress: Progress) -> None:
    """PPO from the start of the seed, on stage-1 pools and then on stage-2 pools: `model/` and what was kept."""
    sizes, seed = TrainingSizes(**unit.task["training"]), int(unit.task["seed"])
    family, start = family_of(sizes), directory_of(run, unit.needs[0])
    model = _placed(load_model(start / "model"))
    critic = critic_of(model, torch.Generator().manual_seed(entropy("critic", seed) % 2**62)).to(_device(model))
    learners = {
        "model": Learner(model, adamw(model.parameters())),
        "critic": Learner(critic, adamw(critic.parameters())),
    }
    pools, dev = load_pools(start / "pools.jsonl"), load_pools(start / "dev.jsonl")
    first = stage1(pools) if sizes.filters else pools
    if not first:
        raise InputError(
            f"none of the {len(pools)} training problems is right sometimes but not mostly (more than 0, less than 9 "
            "of 24 messages): train the reader longer (learned), or change noise or pools."
        )
    kept = {"pools": len(pools), "stage1": len(first)}
    config = SynthesisConfig(
        steps=sizes.iterations,
        episodes=EpisodeConfig((sizes.least, sizes.most), sizes.instances, sizes.samples, sizes.free),
        max_tokens=sizes.answer_tokens,
        actor_lr=sizes.actor_lr,
        critic_lr=sizes.critic_lr,
        rl=RlConfig(micro=MICRO, critic_batches=4),
        save_every=SAVE_EVERY,
    )

    def train(name: str, chosen: Sequence[Pool], steps: int) -> None:
        train_synthesis(
            own,
            name,
            learners,
            chosen,
            score,
            replace(config, steps=steps),
            seed,
            template=SHORT,
            look=family.look,
            check=_watch(dev, sizes, family, seed),
            progress=progress,
        )

    train("ppo-stage1", first, sizes.iterations)
    if sizes.second:
        if not own.done("filter"):
            with own.stage("filter"):
                save_model(model, own.directory / "stage1")
                found = asyncio.run(_accuracies(own, first, family, sizes, seed, store, progress))
                own.write_json("filter.json", found)
        second = stage2(first, read_json(own.directory / "filter.json")) if sizes.filters else first
        kept["stage2"] = len(second)
        if second:
            train("ppo-stage2", second, sizes.second)
    own.write_json("kept.json", kept)
    save_model(model, own.directory / "model")


def _reader(own: Run, family: Family, sizes: TrainingSizes, seed: int, progress: Progress) -> Decoder:
    """Who answers without references: the shipped nano, or a decoder from nothing, after demonstrations."""
    model = _placed(load_model(nano_directory()) if sizes.task == "strips" else _fresh(sizes, seed))
    learner = Learner(model, adamw(model.parameters(), weight_decay=0.01))

    def imitate(step: int) -> Mapping[str, float]:
        rng = generator("demonstrations", seed, step)
        batch = []
        for _ in range(sizes.learned_batch):
            shown = family.problem(rng.getrandbits(40), "train")
            prompt = render(family.look(shown.messages, rng.getrandbits(60)), model.config.pictures)
            batch.append(Group(prompt, (tuple(response_tokens(shown.demonstration)),)))
        lr = sizes.learned_lr * warmup(step, 10) * cooldown(step, sizes.learned * 2 // 3, sizes.learned // 3 + 1)
        return sft_step(model, learner.optimizer, batch, lr)

    carry_out(own, Stage("learn", sizes.learned, 200, shown=("loss",)), {"model": learner}, imitate, progress)
    return model


def _fresh(sizes: TrainingSizes, seed: int) -> Decoder:
    """A decoder without eyes with the weights of this seed."""
    heads = sizes.d_model // 32
    model = Decoder(
        ModelConfig(
            d_model=sizes.d_model,
            n_layers=sizes.n_layers,
            n_heads=heads,
            n_kv_heads=heads // 2,
            d_ff=sizes.d_model * 5 // 2,
        )
    )
    model.initialise(torch.Generator().manual_seed(entropy("weights", seed) % 2**62))
    return model


def _show_form(
    own: Run,
    model: Decoder,
    problems: Sequence[Problem],
    family: Family,
    base: Path,
    sizes: TrainingSizes,
    seed: int,
    store: Store,
    progress: Progress,
) -> None:
    """The form of synthesis prompts, from the cached trajectories; see `learn.synthesis_format`."""
    if not sizes.format_steps:
        return

    async def stored() -> list[Trajectories]:
        policy = _policy(base, family)
        try:
            found = trajectories(problems, policy, _sampling(sizes, seed), store, score, responses=sizes.cache)
            return [one async for one in found if len(one.texts) > 1]
        finally:
            await policy.close()

    cached = asyncio.run(stored())
    learner = Learner(model, adamw(model.parameters(), weight_decay=0.01))
    tail = max(1, sizes.format_steps // 3)

    def imitate(step: int) -> Mapping[str, float]:
        groups = format_groups(
            cached,
            seed,
            step,
            prompts=sizes.format_prompts,
            sizes=(1, sizes.most),
            free=sizes.free,
            patch=model.config.pictures,
            template=SHORT,
            look=family.look,
        )
        lr = sizes.format_lr * warmup(step, 10) * cooldown(step, sizes.format_steps - tail, tail + 1)
        return sft_step(model, learner.optimizer, groups, lr)

    stage = Stage("format", sizes.format_steps, SAVE_EVERY, shown=("loss",))
    carry_out(own, stage, {"model": learner}, imitate, progress)


async def _cached(
    problems: Sequence[Problem],
    family: Family,
    base: Path,
    sizes: TrainingSizes,
    seed: int,
    store: Store,
    progress: Progress,
) -> list[Pool]:
    policy = _policy(base, family)
    try:
        built = build_pools(
            problems,
            policy,
            _sampling(sizes, seed),
            store,
            score,
            responses=sizes.cache,
            concurrency=CONCURRENCY,
            progress=progress,
        )
        return [pool async for pool in built]
    finally:
        await policy.close()


async def _accuracies(
    own: Run,
    pools: Sequence[Pool],
    family: Family,
    sizes: TrainingSizes,
    seed: int,
    store: Store,
    progress: Progress,
) -> dict[str, float]:
    """Synthesis accuracy of the stage-1 policy on each pool, by the problem's id."""
    policy = _policy(own.directory / "stage1", family)
    gate = asyncio.Semaphore(CONCURRENCY)
    progress.start("stage-2 filter", len(pools))
    found: dict[str, float] = {}

    async def estimate(pool: Pool) -> None:
        async with gate:
            found[pool.problem.id] = await synthesis_accuracy(
                pool,
                policy,
                _sampling(sizes, seed),
                store,
                score,
                seed=seed,
                sizes=(sizes.least, sizes.most),
                template=SHORT,
            )
        progress.update(len(found))

    try:
        await asyncio.gather(*map(estimate, pools))
    finally:
        await policy.close()
    progress.done()
    return dict(sorted(found.items()))


def _watch(
    dev: Sequence[Pool], sizes: TrainingSizes, family: Family, seed: int
) -> Callable[[int, Engine], Mapping[str, float]]:
    """Accuracy on dev problems with as many messages as episodes show at most, and without any."""

    def check(step: int, engine: Engine) -> Mapping[str, float]:
        numbers: dict[str, float] = {}
        if not dev or (step + 1) % sizes.watch:
            return numbers
        for name, count in (("synthesis", sizes.most), ("free", 0)):
            rng = random.Random(entropy("watch", seed))
            drawn = []
            for pool in dev:
                picked = draw_messages(len(pool.messages), (count, count), rng) if count and pool.messages else ()
                drawn.append(Episode(pool, picked, pool.prompt(picked, SHORT), 1))
            rollout = roll_out(engine, drawn, ("watch", seed, name), sizes.answer_tokens, score, look=family.look)
            found = synthesis_numbers(drawn, rollout)
            numbers[f"dev/{name}"] = found["reward"]
            if count and "emergent" in found:
                numbers["dev/emergent"] = found["emergent"]
        return numbers

    return check


def _sampling(sizes: TrainingSizes, seed: int) -> Sampling:
    return Sampling(max_tokens=sizes.answer_tokens, seed=entropy("cache", seed) >> 3)


def _policy(directory: Path, family: Family) -> Policy:
    """Computes in float32, so that numbers do not hang on what else is in the batch."""
    return family.seen(open_local(directory, rows=512, dtype=torch.float32, device=_where()))


def _where() -> str | None:
    return "cuda" if torch.cuda.is_available() else None


def _placed(model: Decoder) -> Decoder:
    return model.cuda() if torch.cuda.is_available() else model


def _device(model: Decoder) -> torch.device:
    return model.embedding.weight.device
