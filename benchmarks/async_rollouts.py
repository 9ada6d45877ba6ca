"""GRPO of the shipped nano with asynchronous rollouts, beside a synchronous loop that samples on all cores as well.

    python benchmarks/async_rollouts.py [--seeds N] [--updates N] [--bound N] [--critic] [--record]

All sides are the same code: problems, actors in processes, truncated importance weights, number of samples and of
updates. The synchronous side has staleness bound 0: all actors sample with fresh weights, then the learner learns while
they wait. Rounds of two updates sample the problems of both at once, so that fewer rows run alone at the end; the
second update is then stale, and the synchronous loop in such rounds is a side of its own. Each side runs at its best
division of the work, searched before the first seed: the learner's threads, the actors, the tasks that a round is
sampled in, and for the asynchronous side the updates a round. Then every seed runs all sides, one after the other. With
--critic it is PPO, whose learner has more than twice the work. Accuracy is that of the dev split before and after, one
sample a problem at temperature 1.
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
    """How a side divides the work: the learner's threads, actors, tasks a round, updates a round."""

    threads: int
    actors: int
    tasks: int
    span: int = 1

    def __str__(self) -> str:
        return f"{self.threads}, {self.actors}, {self.tasks}, {self.span}"

    def rounds(self, bound: int) -> int:
        """The rounds that weights may be behind so that no update is staler than the bound."""
        return max(0, (bound - self.span + 1) // self.span)


CREWS = ((1, 1), (2, 2))
SEARCH = 24
"""Updates of a run that looks for the best division."""


@dataclass(frozen=True)
class Side:
    """What is compared. bound: updates that a rollout may be behind."""

    name: str
    bound: int
    spans: tuple[int, ...]

    def settings(self) -> list[Setting]:
        return [Setting(t, *crew, span) for span in self.spans for t in (1, 2) for crew in CREWS]


def nano() -> Decoder:
    return load_model(nano_directory())


def make(settings: Mapping[str, Any]) -> Actor:
    """An actor: a part of the problems of a round, alternating between text and pictures."""
    model, seed, count = nano(), settings["seed"], settings["problems"]
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


def train(side: Side, seed: int, updates: int, setting: Setting, dev: int, critic: bool) -> Outcome:
    """One side, one seed."""
    torch.set_num_threads(setting.threads)
    sizes, span = SCALES["laptop"], setting.span
    model = nano()
    actor = Learner(model, adamw(model.parameters()))
    value_model = critic_of(model, torch.Generator().manual_seed(seed))
    values = Learner(value_model, adamw(value_model.parameters()))
    rounds, behind = -(-updates // span), setting.rounds(side.bound)
    schedule = Schedule(rounds, setting.tasks, behind, drain=rounds, by_arrival=True)
    made = {"seed": seed, "problems": PROBLEMS * span // setting.tasks}
    config = RlConfig(
        lam=sizes.lam, critic_batches=sizes.critic_batches, normalise=sizes.normalise, micro=sizes.rl_micro
    )
    found = []
    began = ended = 0.0
    warm = -(-WARM // span)
    with Rollouts(ProcessCrew("async_rollouts:make", made, setting.actors, behind), schedule) as rollouts:
        for number in range(rounds):
            if number == warm:
                began = time.perf_counter()
            if number == rounds - behind:
                ended = time.perf_counter()  # as much lies ahead as at the beginning: a steady state
            delivery = rollouts.take(number, model)
            for rollout in delivery.rollout.split(span):
                if critic:
                    truncated_ppo_update(actor, values, rollout, config, sizes.actor_lr, sizes.critic_lr)
                else:
                    truncated_grpo_update(actor, rollout, config, sizes.actor_lr)
            found.append(delivery.numbers())
        seconds = (ended or time.perf_counter()) - began
    return Outcome(
        PROBLEMS * SAMPLES * span * (rounds - behind - warm) / seconds,
        mean(n["waited_s"] for n in found[warm:]) / span,
        mean(n["staleness"] for n in found[warm:]) * span + (span - 1) / 2,
        max(n["staleness_max"] for n in found) * span + span - 1,
        accuracy(model, seed, dev) if dev else 0.0,
    )


def best(side: Side, critic: bool) -> Setting:
    """The setting with which a side is fastest."""
    rates = {s: train(side, 0, WARM + side.bound + SEARCH, s, 0, critic).rate for s in side.settings()}
    shown = "; ".join(f"({setting}) {rate:.0f}" for setting, rate in rates.items())
    print(f"{side.name}: samples/s by (threads, actors, tasks, span): {shown}", file=sys.stderr, flush=True)
    return max(rates, key=rates.__getitem__)


def table(before: list[float], found: Mapping[Side, list[Outcome]], chosen: Mapping[Side, Setting]) -> dict[str, Any]:
    plain = next(iter(found))
    rows: list[list[Any]] = []
    for side, outs in found.items():
        ratios = [o.rate / p.rate for o, p in zip(outs, found[plain], strict=True)]
        gaps = [o.accuracy - p.accuracy for o, p in zip(outs, found[plain], strict=True)]
        rows.append(
            [
                side.name,
                median(o.rate for o in outs),
                None if side is plain else f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
                mean(o.waited for o in outs),
                f"{mean(o.staleness for o in outs):.2f} (≤ {max(o.staleness_max for o in outs):.0f})",
                mean(o.accuracy for o in outs),
                None if side is plain else _gaps(gaps),
                str(chosen[side]),
            ]
        )
    return {
        "title": "Training nano with asynchronous rollouts",
        "columns": [
            "",
            "samples/s",
            "ratio",
            "learner waited, s an update",
            "staleness, updates",
            "dev accuracy, %",
            "difference, points",
            "threads, actors, tasks, span",
        ],
        "rows": rows,
        "note": f"{len(before)} seeds; {PROBLEMS} problems × {SAMPLES} samples an update, equal samples and updates on "
        f"all sides; before training {mean(before):.1f} %. Targets of the asynchronous side against the first: ratio "
        f"≥ {TARGET:g}, accuracy ±{MARGIN:g} points. Tasks a round; span: updates a round.",
    }


def _gaps(gaps: list[float]) -> str:
    if len(gaps) < 2:
        return f"{gaps[0]:+.1f}"
    interval = stats.t_interval(gaps)
    return f"{mean(gaps):+.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=64)
    parser.add_argument("--bound", type=int, default=7, help="updates that an asynchronous rollout may be behind")
    parser.add_argument("--critic", action="store_true", help="PPO with a critic instead of GRPO")
    parser.add_argument("--dev", type=int, default=1000, help="dev problems a modality")
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    arguments = parser.parse_args()
    sides = (
        Side("synchronous", 0, (1,)),
        Side("synchronous, rounds of 2 updates", 1, (2,)),
        Side("asynchronous", arguments.bound, (1, 2, 4)),
    )
    chosen = {side: best(side, arguments.critic) for side in sides}
    before: list[float] = []
    found: dict[Side, list[Outcome]] = {side: [] for side in sides}
    for seed in range(1, arguments.seeds + 1):
        before.append(accuracy(nano(), seed, arguments.dev))
        for side in sides if seed % 2 else sides[::-1]:
            found[side].append(train(side, seed, arguments.updates, chosen[side], arguments.dev, arguments.critic))
            print(f"seed {seed}, {side.name}: {found[side][-1]}", file=sys.stderr, flush=True)
    leave("async-rollouts", [table(before, found, chosen)], record=arguments.record)


if __name__ == "__main__":
    main()
