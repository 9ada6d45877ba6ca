"""How large the training of synthesis is at each scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError, UnknownName
from consilience.reason.pacore import parse_schedule
from consilience.request import with_settings

TASKS = ("strips", "arithmetic")


@dataclass(frozen=True)
class TrainingSizes:
    """Counts of everything that takes time, and what is asked.

    task: "strips" of digits in noise, read by the shipped nano, or "arithmetic" in text by a model trained from
    nothing (d_model, n_layers). digits: of a strip, or at most of an operand. noise: of a glimpse of a strip. learned ×
    learned_batch: demonstrations without references. pools: training problems; cache: trajectories of each. filters: 1
    applies both, 0 none (of a handful of problems they leave nothing).
    least, most: messages an episode shows. format_steps × format_prompts: prompts that show the form of synthesis.
    iterations × instances × samples: trajectories of PPO on stage-1 pools; second: iterations on stage-2 pools.
    free: share of them without messages. dev: problems watched while training, every `watch` iterations.
    answer_tokens: of a trajectory at most. tests: test problems. k: trajectories of the one round before the last, in
    rising order; k_deep: a schedule of two rounds. chain: K at which the sequential schedule is measured, 0 for none.
    """

    learned: int
    pools: int
    cache: int
    least: int
    most: int
    format_steps: int
    iterations: int
    tests: int
    k: str
    k_deep: str
    second: int = 0
    chain: int = 0
    format_prompts: int = 24
    instances: int = 16
    samples: int = 8
    free: float = 0.25
    filters: int = 1
    dev: int = 50
    watch: int = 25
    task: str = "strips"
    digits: int = 3
    noise: float = 0.35
    learned_batch: int = 64
    learned_lr: float = 1.5e-3
    format_lr: float = 1e-3
    actor_lr: float = 1e-4
    critic_lr: float = 1e-4
    answer_tokens: int = 24
    d_model: int = 384
    n_layers: int = 6

    @property
    def widths(self) -> tuple[int, ...]:
        """K of the single rounds that are evaluated."""
        return parse_schedule(self.k)


SCALES: Mapping[str, TrainingSizes] = {
    "smoke": TrainingSizes(
        learned=2, learned_batch=4, pools=8, cache=4, least=2, most=3, format_steps=2, format_prompts=2, iterations=2,
        filters=0, second=1, instances=2, samples=2, dev=2, watch=2, tests=3, k="2,3", k_deep="2,2", chain=2,
    ),
    "laptop": TrainingSizes(
        learned=100, pools=1000, cache=12, least=6, most=8, format_steps=90, iterations=130, tests=400, k="2,4,8",
        k_deep="8,4",
    ),
    "study": TrainingSizes(
        digits=4, learned=300, pools=1500, cache=24, least=16, most=24, format_steps=400, iterations=250, second=450,
        samples=16, dev=200, tests=1500, k="4,16,32", k_deep="32,4", chain=16, actor_lr=5e-5,
    ),
    "gpu": TrainingSizes(
        task="arithmetic", digits=5, learned=4000, learned_batch=256, learned_lr=1e-3, pools=4000, cache=24, least=8,
        most=16, format_steps=400, format_prompts=64, iterations=300, samples=64, dev=200, tests=1000, k="4,16,32",
        k_deep="32,4", chain=16, answer_tokens=192, format_lr=3e-4, critic_lr=5e-4,
    ),
}  # fmt: skip
"""There is no training at scale paper: its start checkpoint and its cluster are not for everybody."""


def training_of(scale: str, study: bool, settings: Mapping[str, Any]) -> TrainingSizes:
    """The sizes of a scale with the caller's settings on top. k is written "4,16,32".

    Raises:
        UnknownName: a setting is no field of `TrainingSizes`, or a task is unknown.
        InputError: a setting has the wrong type or an impossible value.
    """
    base = SCALES["study" if study and scale == "laptop" else scale]
    written = {name: str(v) if name in ("k", "k_deep") and type(v) is int else v for name, v in settings.items()}
    sizes = with_settings(base, written)
    _check(sizes)
    return sizes


def _check(sizes: TrainingSizes) -> None:
    none = ("second", "chain", "format_steps", "dev", "iterations", "filters")
    for name, value in vars(sizes).items():
        least = 0 if name in none else 1
        if isinstance(value, int) and value < least:
            raise InputError(f"setting {name}={value} must be at least {least}.")
        if isinstance(value, float) and value < 0:
            raise InputError(f"setting {name}={value} must be 0 or larger.")
    if sizes.task not in TASKS:
        raise UnknownName("task", sizes.task, TASKS)
    if not sizes.least <= sizes.most <= sizes.cache or sizes.cache < 2:
        raise InputError(
            f"least={sizes.least}, most={sizes.most} and cache={sizes.cache} must rise, the cache holding two or more."
        )
    if not sizes.widths or list(sizes.widths) != sorted(set(sizes.widths)):
        raise InputError(f"setting k={sizes.k} must rise, as in k=4,16,32.")
    if len(parse_schedule(sizes.k_deep)) not in (0, 2):
        raise InputError(
            f"setting k_deep={sizes.k_deep!r} must be a schedule of two rounds, as in k_deep=32,4, or empty."
        )
    if not 1 <= sizes.digits <= 9:
        raise InputError(f"setting digits={sizes.digits} must be between 1 and 9.")
