"""GRPO of the shipped nano with asynchronous rollouts, beside a synchronous loop that samples on all cores as well.

    python benchmarks/async_rollouts.py [--seeds N] [--updates N] [--bound N] [--critic] [--record]

Both sides are the same code: problems, actors in processes, truncated importance weights, number of samples. The
synchronous side has staleness bound 0: all actors sample with fresh weights, then the learner learns while they wait.
Each side runs at its best of the learner's threads (1, 2), the actors, and the tasks an update is sampled in, searched
before the first seed: one actor beside the learner, or two that share all cores with it; few large tasks or more small
ones. Then every seed runs both sides, one after the other. With --critic it is PPO, whose learner has more than twice
the work: two cores gain little where learning alone takes longer than both share. Accuracy is that of the dev split
before and after, one sample a problem at temperature 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import torch

from _record import leave
from consilience import stats
from consilience.engine import Engine
from consilience.learn.asynchronous import Rollouts, Schedule
from consilience.learn.asynchronous_processes import Actor, ProcessCrew
from consilience.learn.asynchronous_update import truncated_grpo_update, truncated_ppo_update
from consilience.learn.optim.adamw import adamw
from consilience.learn.rl import Learner, RlConfig
from consilience.learn.rollout import Rollout
from consilience.learn.state import critic_of
from consilience.nn.checkpoint import load_model
from consilience.nn.decoder import Decoder
from consilience.policy.local import nano_directory
from consilience.recipes.step_r1_v_mini import measure, problems
from consilience.recipes.step_r1_v_mini.rewards import reward
from consilience.recipes.step_r1_v_mini.sizes import SCALES
from consilience.worlds.setting import entropy

TARGET, MARGIN = 1.3, 2.0
PROBLEMS, SAMPLES, TOKENS = 32, 8, 192
LEVEL = "medium"
WARM = 2
"""Updates that are not timed: actors start, the queue fills."""


@dataclass(frozen=True)
class Setting:
    """How a side divides the work: the learner's threads, actors, tasks an update."""

    threads: int
    actors: int
    parts: int

    def __str__(self) -> str:
        return f"{self.threads}, {self.actors}, {self.parts}"


SETTINGS = [Setting(threads, *crew) for threads in (1, 2) for crew in ((1, 1), (2, 2), (2, 4))]


def nano() -> Decoder:
    return load_model(nano_directory())


def make(settings: Mapping[str, Any]) -> Actor:
    """An actor: a part of the problems of an update, alternating between text and pictures."""
    model, seed, count = nano(), settings["seed"], PROBLEMS // settings["parts"]
    engine, judge = Engine(model, rows=512), reward("answer", ())

    def sample(task: int) -> Rollout:
        engine.refresh()
        keys = [("async", seed, task * count + i) for i in range(count)]
        asked = tuple(problems.fresh(k, problems.MODALITIES[i % 2], (LEVEL,)) for i, k in enumerate(keys))
        seeds = [entropy(*key, "sampling") >> 2 for key in keys]
        return measure.sample(engine, asked, seeds, SAMPLES, TOKENS, judge)

    return Actor(model, sample)


def accuracy(model: Decoder, seed: int, count: int) -> float:
    """Percent of right answers on dev problems of both modalities."""
    engine, judge = Engine(model, rows=512), reward("answer", ())
    right = []
    for name in problems.MODALITIES:
        asked = problems.held_out(name, LEVEL, "dev", count, problems.TASKS[name])
        seeds = [entropy("dev", seed, name, i) >> 2 for i in range(len(asked))]
        right.append(float(measure.sample(engine, asked, seeds, 1, TOKENS, judge).rewards_BG.mean()))
    return 100 * mean(right)


@dataclass(frozen=True)
class Outcome:
    """samples/s, seconds the learner waited an update, mean and largest staleness, dev accuracy after."""

    rate: float
    waited: float
    staleness: float
    staleness_max: float
    accuracy: float


def train(bound: int, seed: int, updates: int, setting: Setting, dev: int, critic: bool) -> Outcome:
    """One side, one seed."""
    torch.set_num_threads(setting.threads)
    sizes = SCALES["laptop"]
    model = nano()
    actor = Learner(model, adamw(model.parameters()))
    value_model = critic_of(model, torch.Generator().manual_seed(seed))
    values = Learner(value_model, adamw(value_model.parameters()))
    schedule = Schedule(updates, setting.parts, bound, drain=updates, by_arrival=True)
    crew = ProcessCrew("async_rollouts:make", {"seed": seed, "parts": setting.parts}, setting.actors, bound)
    config = RlConfig(
        lam=sizes.lam, critic_batches=sizes.critic_batches, normalise=sizes.normalise, micro=sizes.rl_micro
    )
    found = []
    began = ended = 0.0
    with Rollouts(crew, schedule) as rollouts:
        for update in range(updates):
            if update == WARM:
                began = time.perf_counter()
            if update == updates - bound:
                ended = time.perf_counter()  # as much lies ahead as at the beginning: a steady state
            delivery = rollouts.take(update, model)
            if critic:
                truncated_ppo_update(actor, values, delivery.rollout, config, sizes.actor_lr, sizes.critic_lr)
            else:
                truncated_grpo_update(actor, delivery.rollout, config, sizes.actor_lr)
            found.append(delivery.numbers())
        seconds = (ended or time.perf_counter()) - began
    return Outcome(
        PROBLEMS * SAMPLES * (updates - bound - WARM) / seconds,
        mean(n["waited_s"] for n in found[WARM:]),
        mean(n["staleness"] for n in found[WARM:]),
        max(n["staleness_max"] for n in found),
        accuracy(model, seed, dev) if dev else 0.0,
    )


def best(bound: int, critic: bool) -> Setting:
    """The setting with which a side is fastest."""
    rates = {setting: train(bound, 0, WARM + bound + 5, setting, 0, critic).rate for setting in SETTINGS}
    shown = "; ".join(f"({setting}) {rate:.0f}" for setting, rate in rates.items())
    print(f"bound {bound}: samples/s by (learner threads, actors, tasks): {shown}", file=sys.stderr, flush=True)
    return max(rates, key=rates.__getitem__)


def table(before: list[float], found: Mapping[int, list[Outcome]], chosen: Mapping[int, Setting]) -> dict[str, Any]:
    bound = max(found)
    rows: list[list[Any]] = []
    for side, name in ((0, "synchronous"), (bound, "asynchronous")):
        outs = found[side]
        rows.append(
            [
                name,
                median(o.rate for o in outs),
                mean(o.waited for o in outs),
                f"{mean(o.staleness for o in outs):.2f} (≤ {max(o.staleness_max for o in outs):.0f})",
                mean(o.accuracy for o in outs),
                str(chosen[side]),
            ]
        )
    ratios = [a.rate / s.rate for s, a in zip(found[0], found[bound], strict=True)]
    gaps = [a.accuracy - s.accuracy for s, a in zip(found[0], found[bound], strict=True)]
    spread = f"ratio {min(ratios):.2f}–{max(ratios):.2f}, target ≥ {TARGET:g}"
    rows.append(["ratio, difference", median(ratios), None, spread, mean(gaps), f"target ±{MARGIN:g} points"])
    between = ""
    if len(gaps) > 1:
        interval = stats.t_interval(gaps)
        between = f" (mean with 95 % t interval {interval.low:.1f} to {interval.high:.1f})"
    return {
        "title": "Training nano with asynchronous rollouts",
        "columns": [
            "",
            "samples/s",
            "learner waited, s an update",
            "staleness",
            "dev accuracy, %",
            "threads, actors, tasks",
        ],
        "rows": rows,
        "note": f"{len(ratios)} seeds; {PROBLEMS} problems × {SAMPLES} samples an update, equal samples on both sides; "
        f"before training {mean(before):.1f} %; accuracy differences by seed "
        f"{', '.join(f'{g:+.1f}' for g in gaps)}{between}.",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=24)
    parser.add_argument("--bound", type=int, default=2, help="staleness bound of the asynchronous side")
    parser.add_argument("--critic", action="store_true", help="PPO with a critic instead of GRPO")
    parser.add_argument("--dev", type=int, default=1000, help="dev problems a modality")
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    arguments = parser.parse_args()
    sides = (0, arguments.bound)
    chosen = {side: best(side, arguments.critic) for side in sides}
    before: list[float] = []
    found: dict[int, list[Outcome]] = {side: [] for side in sides}
    for seed in range(1, arguments.seeds + 1):
        before.append(accuracy(nano(), seed, arguments.dev))
        for side in sides if seed % 2 else sides[::-1]:
            found[side].append(train(side, seed, arguments.updates, chosen[side], arguments.dev, arguments.critic))
            print(f"seed {seed}, bound {side}: {found[side][-1]}", file=sys.stderr, flush=True)
    leave("async-rollouts", [table(before, found, chosen)], record=arguments.record)


if __name__ == "__main__":
    main()
