"""The units of a run: the warm start of a seed, and every arm that goes on from it. Each is a `Run` of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from consilience.engine import Engine
from consilience.learn import rl, scheduler
from consilience.learn.batch import Group
from consilience.learn.diagnosis import Signs, diagnose, signs
from consilience.learn.eyes import corner_maps, eyes_step
from consilience.learn.loop import Stage, carry_out, reached_plateau
from consilience.learn.optim.adamw import adamw, cooldown, warmup
from consilience.learn.optim.named import optimizer
from consilience.learn.preference import dpo_step, pairs
from consilience.learn.rl import Learner, RlConfig
from consilience.learn.rollout import Rollout
from consilience.learn.sft import sft_step
from consilience.learn.state import copy_of, critic_of
from consilience.nn.checkpoint import load_model, save_model
from consilience.nn.config import ModelConfig, VisionConfig
from consilience.nn.decoder import Decoder
from consilience.recipes.step_r1_v_mini import measure, problems
from consilience.recipes.step_r1_v_mini.rewards import reward
from consilience.recipes.step_r1_v_mini.sizes import Arm, Sizes
from consilience.request import Progress
from consilience.runs import Run, start
from consilience.units import Unit, directory_of
from consilience.worlds.digits import label
from consilience.worlds.setting import entropy

MICRO = 32
SAVE_EVERY = 20
SFT_WARMUP, RL_WARMUP = 50, 5


def model_of(sizes: Sizes, seed: int) -> Decoder:
    """A fresh nano (or larger, at gpu scale) with the weights of this seed."""
    config = ModelConfig(
        d_model=sizes.d_model,
        n_layers=sizes.n_layers,
        n_heads=sizes.d_model // 32,
        n_kv_heads=sizes.d_model // 64,
        d_ff=sizes.d_model * 5 // 2,
        vision=VisionConfig(patch=problems.PATCH),
    )
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(entropy("weights", seed) % 2**62))
    return model.cuda() if torch.cuda.is_available() else model


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"seed", "arm", "sizes"}` with arm None for the warm start."""
    torch.set_num_threads(1)
    sizes = Sizes(**unit.task["sizes"])
    seed = unit.task["seed"]
    config = {"recipe": "step_r1_v_mini", "unit": unit.name, **unit.task}
    directory = directory_of(run, unit.name)
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        if unit.task["arm"] is None:
            model = _warm(own, sizes, seed, progress)
        else:
            arm = Arm(**{**unit.task["arm"], "phases": tuple(unit.task["arm"]["phases"])})
            model = load_model(directory_of(run, unit.needs[0]) / "model")
            model = model.cuda() if torch.cuda.is_available() else model
            METHODS[arm.method](own, model, arm, sizes, seed, progress)
            measure.evaluate(own, model, arm, sizes, seed, progress, synthesis=bool(unit.task.get("synthesis")))
        save_model(model, own.directory / "model")
        own.finish()


def _warm(run: Run, sizes: Sizes, seed: int, progress: Progress) -> Decoder:
    """Vision stem first, then demonstrations in both styles until the dev score stands still."""
    model = model_of(sizes, seed)
    assert model.vision is not None
    seeing = [p for name, p in model.named_parameters() if name.startswith(("vision.", "embedding."))]
    eyes = Learner(model, adamw(seeing))
    drawn = torch.Generator().manual_seed(entropy("corners", seed) % 2**62)
    head = corner_maps(sizes.d_model, drawn).to(model.embedding.weight.device)
    maps = Learner(head, adamw(head.parameters()))

    def look(step: int) -> Mapping[str, float]:
        batch = [problems.picture(("eyes", seed, step, i), sizes) for i in range(sizes.eyes_batch)]
        tail = max(1, sizes.eyes_steps // 3)
        lr = sizes.eyes_lr * warmup(step, SFT_WARMUP) * cooldown(step, sizes.eyes_steps - tail, tail + 1)
        return eyes_step(eyes, maps, batch, label, lr)

    carry_out(
        run,
        Stage("eyes", sizes.eyes_steps, 100, shown=("accuracy", "localised")),
        {"model": eyes, "maps": maps},
        look,
        progress,
    )
    learner = Learner(model, optimizer(sizes.sft_optimizer, model, weight_decay=0.01))
    engine = Engine(model, rows=512)
    stage = Stage("warm", sizes.sft_steps, SAVE_EVERY, {"dev": [], "cool_from": None}, ("accuracy", "loss"))

    def imitate(step: int) -> Mapping[str, float]:
        memory = stage.memory
        cool = memory["cool_from"] if memory["cool_from"] is not None else sizes.sft_steps - sizes.sft_cooldown
        lr = sizes.sft_lr * warmup(step, SFT_WARMUP) * cooldown(step, cool, sizes.sft_cooldown)
        batch = demonstrations(("warm", seed, step), sizes, sizes.sft_batch)
        numbers = sft_step(model, learner.optimizer, batch, lr, MICRO)
        if (step + 1) % sizes.sft_every == 0:
            numbers |= measure.dev_accuracy(engine, sizes, seed)
            memory["dev"].append(numbers["accuracy"])
            if memory["cool_from"] is None and reached_plateau(memory["dev"], sizes.sft_patience, sizes.sft_gain):
                memory["cool_from"] = step + 1
        memory["stop"] = memory["cool_from"] is not None and step + 1 >= memory["cool_from"] + sizes.sft_cooldown
        return numbers

    carry_out(run, stage, {"model": learner}, imitate, progress)
    return model


def demonstrations(key: tuple[Any, ...], sizes: Sizes, n: int) -> list[Group]:
    """n demonstrated training problems, modalities evenly mixed, three pictures to two texts: seeing takes longer."""
    levels = problems.training_levels(sizes)
    names = scheduler.interleave({"image": 3, "text": 2})
    return [problems.demonstrated((*key, i), names[i % len(names)], sizes, levels) for i in range(n)]


def _control(run: Run, model: Decoder, arm: Arm, sizes: Sizes, seed: int, progress: Progress) -> None:
    """Supervised training goes on for as many demonstrations as PPO has rollouts, all of them new."""
    learner = Learner(model, optimizer(sizes.sft_optimizer, model, weight_decay=0.01))
    total = sizes.rl_steps * sizes.problems * sizes.samples // sizes.sft_batch
    tail = max(1, total // 4)

    def imitate(step: int) -> Mapping[str, float]:
        lr = sizes.sft_lr / 3 * warmup(step, RL_WARMUP) * cooldown(step, total - tail, tail + 1)
        batch = demonstrations(("control", seed, step), sizes, sizes.sft_batch)
        return sft_step(model, learner.optimizer, batch, lr, MICRO)

    carry_out(run, Stage(arm.name, max(1, total), SAVE_EVERY, shown=("loss",)), {"model": learner}, imitate, progress)


def roll_out(engine: Engine, arm: Arm, sizes: Sizes, key: tuple[Any, ...], counts: Mapping[str, int]) -> Rollout:
    """Fresh problems, `samples` responses each at temperature 1, judged by the arm's reward."""
    engine.refresh()
    names = scheduler.interleave(counts)
    asked = tuple(problems.fresh((*key, i), name, (sizes.level,)) for i, name in enumerate(names))
    seeds = [entropy(*key, i, "sampling") >> 2 for i in range(len(asked))]
    return measure.sample(engine, asked, seeds, sizes.samples, sizes.max_tokens, reward(arm.reward, key))


def _reinforce(run: Run, model: Decoder, arm: Arm, sizes: Sizes, seed: int, progress: Progress) -> None:
    """PPO or GRPO, phase by phase; both modalities in every batch where the phase is "joint"."""
    actor = Learner(model, adamw(model.parameters()))
    learners = {"model": actor}
    if arm.method == "ppo":
        critic = critic_of(model, torch.Generator().manual_seed(entropy("critic", seed) % 2**62)).to(
            model.embedding.weight.device
        )
        learners["critic"] = Learner(critic, adamw(critic.parameters()))
    engine = Engine(model, rows=512)
    quota = scheduler.Quota(dict.fromkeys(problems.MODALITIES, 1 / len(problems.MODALITIES)))
    stage = Stage(
        arm.name,
        sizes.rl_steps,
        SAVE_EVERY,
        {"share": dict(quota.share), "best": {}, "signs": []},
        ("accuracy", "reward"),
    )
    config = RlConfig(
        lam=sizes.lam, critic_batches=sizes.critic_batches, normalise=sizes.normalise, micro=sizes.rl_micro
    )

    def update(step: int) -> Mapping[str, float]:
        memory = stage.memory
        phase = arm.phases[step * len(arm.phases) // sizes.rl_steps]
        joint = scheduler.Quota(memory["share"], memory["best"])
        counts = joint.counts(sizes.problems) if phase == "joint" else {phase: sizes.problems}
        rollout = roll_out(engine, arm, sizes, ("rollout", seed, step), counts)
        factor = warmup(step, RL_WARMUP) * cooldown(step, sizes.rl_steps * 2 // 3, sizes.rl_steps // 3 + 1)
        if arm.method == "ppo":
            numbers = rl.ppo_update(
                actor, learners["critic"], rollout, config, sizes.actor_lr * factor, sizes.critic_lr * factor
            )
        else:
            numbers = rl.grpo_update(actor, rollout, config, sizes.actor_lr * factor)
        numbers |= measure.rollout_numbers(rollout)
        memory["signs"] = [*memory["signs"], vars(signs(rollout, numbers["entropy"]))][-5:]
        if (found := diagnose([Signs(**s) for s in memory["signs"]])) is not None and len(memory["signs"]) == 5:
            run.append("diagnosis.jsonl", [{"step": step + 1, **vars(found)}])
        if (step + 1) % sizes.rl_every == 0:
            numbers |= measure.dev_accuracy(engine, sizes, seed)
            if phase == "joint":
                by_modality = {name: numbers[f"accuracy/{name}"] for name in problems.MODALITIES}
                new = scheduler.update(joint, by_modality, sizes.dev)
                memory["share"], memory["best"] = dict(new.share), dict(new.best)
        return numbers

    carry_out(run, stage, learners, update, progress)


def _prefer(run: Run, model: Decoder, arm: Arm, sizes: Sizes, seed: int, progress: Progress) -> None:
    """DPO on pairs of the warm start's own verified samples: the same number of rollouts and gradient steps as PPO."""
    reference = copy_of(model)
    learner = Learner(model, adamw(model.parameters()))
    engine = Engine(reference, rows=512)
    counts = scheduler.Quota(dict.fromkeys(problems.MODALITIES, 1 / len(problems.MODALITIES))).counts(sizes.problems)

    def update(step: int) -> Mapping[str, float]:
        rollout = roll_out(engine, arm, sizes, ("rollout", seed, step), counts)
        found = pairs(rollout)
        numbers = measure.rollout_numbers(rollout)
        if found:
            numbers |= dpo_step(learner, reference, found, sizes.dpo_lr * warmup(step, RL_WARMUP), micro=MICRO // 2)
        return numbers

    carry_out(run, Stage(arm.name, sizes.rl_steps, SAVE_EVERY, shown=("ranked",)), {"model": learner}, update, progress)


def _nothing(run: Run, model: Decoder, arm: Arm, sizes: Sizes, seed: int, progress: Progress) -> None:
    """The warm start as it is."""


METHODS: Mapping[str, Callable[[Run, Decoder, Arm, Sizes, int, Progress], None]] = {
    "ppo": _reinforce,
    "grpo": _reinforce,
    "dpo": _prefer,
    "sft": _control,
    "none": _nothing,
}
