"""E6: five algorithms from one under-trained start, on the same prompts, with a verified and with a random reward;
two of them also on easier prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import log_softmax

from consilience.recipes.redstar.data import Scores, Setting, setting_of
from consilience.recipes.redstar.sizes import Sizes
from consilience.recipes.redstar.training import (
    ALGORITHMS,
    Learner,
    Reinforcement,
    Table,
    coin,
    reinforce,
    rollout,
    supervise,
    verified,
)
from consilience.recipes.redstar.world import Chains, Floats, draw

START_CHAINS, START_UPDATES = 200, 20
RATES = (0.01, 0.03, 0.1)
BETAS = (0.1, 0.3, 1.0)
FIXED = 0.03
DIFFICULTY = ("reinforce", "baseline")
"""Algorithms that are also trained on easier prompts: a mean over the whole batch, and one over each group."""
PROBED = 400
"""Prompts by which advantages are compared."""


def chances(setting: Setting, table: Table, chains: Chains) -> Floats:
    """The probability that a response sampled at temperature 1 solves each problem, exact, (N,)."""
    logp_SA = log_softmax(table.logits_RA, 1)[table.row_S]
    logp_M = logp_SA[chains.skill_M, setting.world.right_S[chains.skill_M]]
    return np.asarray(np.exp(np.bincount(chains.owner_M, logp_M, minlength=len(chains))))


def arms(seed: int, sizes: Sizes) -> Iterator[Scores]:
    """Sweeps on the dev problems, then the chosen settings on the test problems; records of both."""
    setting = setting_of(seed, sizes)
    start = supervise(setting.start(seed=seed), setting.data("hard", START_CHAINS), START_UPDATES)
    dev, pool = (draw(setting.world, "hard", n, setting.rng) for n in (sizes.dev, 32 * sizes.rl_steps))
    plan = Reinforcement(steps=sizes.rl_steps)

    tested = partial(_tested, setting)
    yield tested("start", start)
    for number, algorithm in enumerate(ALGORITHMS):
        tried: dict[tuple[float, float], tuple[float, Table]] = {}
        for lr in RATES:
            for beta in BETAS if algorithm == "dpo" else BETAS[1:2]:
                chosen = replace(plan, lr=lr, beta=beta)
                table, curve = reinforce(start, setting.world, pool, algorithm, chosen, (seed, 1, number))
                value = float(chances(setting, table, dev).mean())
                tried[lr, beta] = value, table
                yield {"arm": f"sweep_{algorithm}", "lr": lr, "beta": beta, "dev": value, "reward": curve[-1]["reward"]}
        best = max(tried, key=lambda key: tried[key][0])
        yield tested(algorithm, tried[best][1], lr=best[0], beta=best[1])
        yield tested(f"{algorithm}_fixed", tried[FIXED, BETAS[1]][1])
        random, _ = reinforce(
            start, setting.world, pool, algorithm, replace(plan, lr=best[0], beta=best[1]), (seed, 2, number), coin
        )
        yield tested(f"{algorithm}_coin", random)
    yield from arms_by_difficulty(setting, start, plan, seed)


def _tested(setting: Setting, arm: str, table: Table, **facts: float) -> Scores:
    """The chances of a table on both kinds of test problems."""
    found = {mix: chances(setting, table, test).round(5).tolist() for mix, test in setting.test.items()}
    return {"arm": arm, **found, **facts}


def arms_by_difficulty(setting: Setting, start: Table, plan: Reinforcement, seed: int) -> Iterator[Scores]:
    """Easier prompts at the fixed step size, and whom the first advantages push: `short` chains of up to two steps and
    `long` ones of five and more, mean advantage of their steps before any update."""
    for number, algorithm in enumerate(DIFFICULTY):
        for mix in ("easy", "mixed"):
            prompts = draw(setting.world, mix, plan.prompts * plan.steps, np.random.default_rng((seed, 3, number)))
            table, _ = reinforce(start, setting.world, prompts, algorithm, replace(plan, lr=FIXED), (seed, 4, number))
            yield _tested(setting, f"{algorithm}_on_{mix}", table)
        rng = np.random.default_rng((seed, 5))
        found = rollout(start, setting.world, draw(setting.world, "mixed", PROBED, rng), plan.samples, verified, rng)
        length_M = found.length_N.repeat_interleave(found.length_N)
        pushed_M = Learner(start, algorithm, plan).advantages(found)
        short, long = (float(pushed_M[chosen].mean()) for chosen in (length_M <= 2, length_M >= 5))
        yield {"arm": f"pushed_{algorithm}", "short": short, "long": long}
