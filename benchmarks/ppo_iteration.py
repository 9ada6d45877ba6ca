"""One PPO iteration of nano beside a plain eager one, and where its time goes.

    python benchmarks/ppo_iteration.py [--rounds N] [--threads N] [--record]

An iteration draws 8 samples to each of 32 problems (text and pictures in turn), checks them and takes one actor and
four critic steps. The reference (plain_ppo.py) has the same weights, problems, verifier, losses and optimizer, but
pads, copies prompts and keeps full logits; it runs in float32 and in bfloat16 autocast, and the faster one counts.
Every iteration begins from the shipped weights; sides alternate. Processor time is compared, because another program on
the machine hardly disturbs it. The account names floating-point operations as counted by torch, against a matrix
product of 1024 × 1024 measured in the same process.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import plain_ppo
from _record import leave
from consilience.engine import Engine
from consilience.learn import forward, rl
from consilience.learn.batch import Group
from consilience.learn.optim.adamw import adamw
from consilience.learn.rl import Learner, RlConfig
from consilience.learn.rollout import judge
from consilience.learn.state import critic_of
from consilience.nn import tokenizer as tk
from consilience.nn.checkpoint import load_model
from consilience.policy.local import nano_directory
from consilience.problem import Problem
from consilience.recipes.step_r1_v_mini import measure, problems
from consilience.recipes.step_r1_v_mini.rewards import reward
from consilience.worlds.setting import entropy

TARGET = 1.5
PROBLEMS, SAMPLES, TOKENS, MICRO = 32, 8, 192, 8
LR = 1e-4, 1e-3


def asked(step: int) -> tuple[Problem, ...]:
    """The problems of an iteration."""
    return tuple(problems.fresh(("iteration", step, i), problems.MODALITIES[i % 2], ("easy",)) for i in range(PROBLEMS))


def learners() -> tuple[Learner, Learner]:
    model = load_model(nano_directory())
    critic = critic_of(model, torch.Generator().manual_seed(0))
    return Learner(model, adamw(model.parameters())), Learner(critic, adamw(critic.parameters()))


class Phases:
    """Exclusive processor seconds and operations by name: what runs inside another phase is taken off that one."""

    def __init__(self, count: bool) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.operations: defaultdict[str, float] = defaultdict(float)
        self._stack: list[list[float]] = []
        self._counter = FlopCounterMode(display=False) if count else None

    def __enter__(self) -> Phases:
        if self._counter:
            self._counter.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._counter:
            self._counter.__exit__(*error)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began, flops = time.process_time(), self._flops()
        self._stack.append([0.0, 0.0])
        yield
        inner = self._stack.pop()
        whole = time.process_time() - began, self._flops() - flops
        self.seconds[name] += whole[0] - inner[0]
        self.operations[name] += whole[1] - inner[1]
        if self._stack:
            self._stack[-1] = [a + b for a, b in zip(self._stack[-1], whole, strict=True)]

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **named)

        return timed

    def _flops(self) -> float:
        return float(self._counter.get_total_flops()) if self._counter else 0.0


def ours(step: int, phases: Phases) -> int:
    """One iteration; sampled tokens."""
    actor, critic = learners()
    engine = Engine(actor.model, rows=512)
    config = RlConfig(micro=MICRO)
    before = {name: getattr(rl, name) for name in ("values", "policy_steps", "critic_steps")}
    seeds = [entropy("iteration", step, i) >> 2 for i in range(PROBLEMS)]
    try:
        rl.values = phases.wrap("values", rl.values)
        rl.policy_steps = phases.wrap("actor step", rl.policy_steps)
        rl.critic_steps = phases.wrap("critic backward", rl.critic_steps)
        with phases.phase("rest"):
            check = phases.wrap("verify", reward("joint", ()))
            with phases.phase("sample"):
                rollout = measure.sample(engine, asked(step), seeds, SAMPLES, TOKENS, check)
            rl.ppo_update(actor, critic, rollout, config, *LR)
    finally:
        for name, function in before.items():
            setattr(rl, name, function)
    return sum(rollout.lengths)


def plain(step: int, phases: Phases, autocast: bool) -> int:
    """One iteration of the reference; sampled tokens."""
    actor, critic = learners()
    generator = torch.Generator().manual_seed(step)
    chosen = asked(step)
    prompts = [problems.prompt_of(p) for p in chosen]
    place: AbstractContextManager[Any] = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
    with phases.phase("rest"), place:
        with phases.phase("sample"):
            rows = plain_ppo.sample(actor.model, prompts, SAMPLES, TOKENS, generator)
        drawn = [
            tuple(t[-rows.real_BR.shape[1] :][m].tolist()) for t, m in zip(rows.tokens_BT, rows.real_BR, strict=True)
        ]
        groups = [Group(p, tuple(drawn[SAMPLES * i : SAMPLES * (i + 1)])) for i, p in enumerate(prompts)]
        with phases.phase("verify"):
            check = reward("joint", ())
            verdicts = judge(chosen, groups, check)
        rewards_B = torch.tensor([v.score for v in verdicts])
        pictures = [len(p.pictures) for p in prompts for _ in range(SAMPLES)]
        config = RlConfig(micro=MICRO * SAMPLES)
        with phases.phase("update"):
            plain_ppo.update(actor, critic, rows, rewards_B, pictures, config, *LR)
    assert all(r and (r[-1] == tk.END or len(r) == TOKENS) for r in drawn)
    return sum(map(len, drawn))


def peak(dtype: torch.dtype) -> float:
    """Measured GFLOP/s of a 1024 × 1024 matrix product."""
    a = torch.randn(1024, 1024).to(dtype)
    best = 0.0
    for _ in range(12):
        began = time.process_time()
        for _ in range(4):
            a @ a
        best = max(best, 4 * 2 * 1024**3 / 1e9 / (time.process_time() - began))
    return best


def compare(rounds: int) -> tuple[list[list[Any]], str]:
    sides: dict[str, Callable[[int, Phases], int]] = {
        "consilience": ours,
        "plain, float32": lambda step, phases: plain(step, phases, False),
        "plain, bfloat16": lambda step, phases: plain(step, phases, True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    tokens: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(rounds + 1):
        for name, iterate in sides.items():
            began = time.process_time()
            count = iterate(step, Phases(False))
            if step:  # the first round warms up
                seconds[name].append(time.process_time() - began)
                tokens[name].append(count / (PROBLEMS * SAMPLES))
    best = min(list(sides)[1:], key=lambda name: median(seconds[name]))
    rows = [[name, median(seconds[name]), median(tokens[name]), None] for name in sides]
    ratios = [p / o for o, p in zip(seconds["consilience"], seconds[best], strict=True)]
    rows.append(["ratio", median(ratios), None, f"{min(ratios):.2f}–{max(ratios):.2f}, target ≥ {TARGET:g}"])
    return rows, best


def account(rounds: int) -> list[list[Any]]:
    """Where an iteration's processor time goes; operations from one counted iteration."""
    timed = [Phases(False) for _ in range(rounds)]
    for step, phases in enumerate(timed, 1):
        with phases:
            ours(step, phases)
    with Phases(True) as counted:
        ours(1, counted)
    kind = torch.bfloat16 if forward.mixed_precision("cpu") else torch.float32
    most = peak(kind)
    names = sorted(counted.seconds, key=lambda name: -median(p.seconds[name] for p in timed))
    total = sum(median(p.seconds[name] for p in timed) for name in names)
    rows: list[list[Any]] = []
    for name in names:
        seconds, giga = median(p.seconds[name] for p in timed), counted.operations[name] / 1e9
        rate = giga / seconds if giga else None
        rows.append([name, seconds, 100 * seconds / total, giga or None, rate, 100 * rate / most if rate else None])
    giga = sum(counted.operations.values()) / 1e9
    rows.append(["all", total, 100.0, giga, giga / total, 100 * giga / total / most])
    rows.append([f"1024 × 1024 product, {str(kind).removeprefix('torch.')}", None, None, None, most, 100.0])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows, best = compare(arguments.rounds)
    note = f"{PROBLEMS} problems × {SAMPLES} samples of at most {TOKENS} tokens, shipped weights, "
    note += f"{arguments.threads} thread; medians of {arguments.rounds} rounds after one to warm up, against {best}."
    first = {
        "title": "One PPO iteration: sample, verify, update",
        "columns": ["", "processor s an iteration", "tokens a sample", "of the rounds"],
        "rows": rows,
        "note": note,
    }
    second = {
        "title": "Where the time of a PPO iteration goes",
        "columns": ["", "processor s", "%", "GFLOP", "GFLOP/s", "% of the peak"],
        "rows": account(arguments.rounds),
        "note": "Exclusive times; operations are products and convolutions as torch counts them.",
    }
    leave("ppo-iteration", [first, second], record=arguments.record)


if __name__ == "__main__":
    main()
