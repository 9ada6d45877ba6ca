"""E1–E5, E7 and E8 of the study: how much data, how hard, how clean, how balanced, and with steps or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from consilience.recipes.redstar.sizes import EASY_SHARE, Sizes
from consilience.recipes.redstar.training import SFT_LR, Table, supervise, supervise_epochs
from consilience.recipes.redstar.world import (
    ACTIONS,
    MIXES,
    SKILLS,
    Chains,
    Floats,
    Ints,
    Truth,
    base_table,
    draw,
    final_answers,
    mislabelled,
    rows_of,
    solved,
    truth,
)

LEAK = 0.03
"""Wrong steps that verification lets through; 25 % without it."""

UNVERIFIED = 0.25
NOISES = (0.0, LEAK, UNVERIFIED, 0.5)
ROWS = (80, 120, SKILLS)
DIFFICULTY = (50, 200, 800, 3200)
CROSSING = (12, 25, 50, 100, 200)
VOTES = 8
EPOCHS, BATCH = 10, 50
"""Of the second series of data sets: as many epochs instead of as many updates."""
Scores = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One seed: a world, held-out problems, and pools whose beginnings are the data sets. rng: for what is left."""

    world: Truth
    test: Mapping[str, Chains]
    pools: Mapping[str, Chains]
    rng: np.random.Generator

    def start(self, rows: int = SKILLS, seed: int = 0) -> Table:
        """The pretrained model of this size."""
        rng = np.random.default_rng((seed, rows))
        row_S = rows_of(self.world, rows, rng)
        return Table(base_table(self.world, row_S, rows, rng), row_S)

    def clean(self, mix: str, n: int) -> Chains:
        return self.pools[mix].first(n)

    def data(self, mix: str, n: int, noise: float = LEAK) -> Chains:
        """The first n chains of a pool with wrong steps; whatever n, the same chains have the same ones."""
        pool = self.pools[mix]
        return mislabelled(pool, noise, np.random.default_rng((n_of(mix), round(100 * noise)))).first(n)


def n_of(mix: str) -> int:
    """A number for each mix, for seeds."""
    return list(MIXES).index(mix)


def setting_of(seed: int, sizes: Sizes) -> Setting:
    """Everything that the arms of a seed share; test problems are drawn before anything else."""
    rng = np.random.default_rng((seed, 6))
    world = truth(rng)
    test = {mix: draw(world, mix, sizes.test, rng) for mix in ("easy", "hard")}
    pools = {mix: draw(world, mix, sizes.largest, rng) for mix in MIXES}
    return Setting(world, test, pools, rng)


def scores(setting: Setting, arm: str, table: Table, **facts: Any) -> Scores:
    """A record: whole chains solved greedily, 0 or 1 a test problem."""
    found = {
        mix: solved(setting.world, test, table.greedy(test)).astype(int).tolist() for mix, test in setting.test.items()
    }
    return {"arm": arm, **found, **facts}


def arms(seed: int, sizes: Sizes) -> Iterator[Scores]:
    """Records of all arms that a table learns by supervision."""
    setting = setting_of(seed, sizes)
    start = setting.start(seed=seed)
    known: dict[str, Table] = {}

    def learnt(arm: str, chains: Chains, base: Table = start) -> Scores:
        known[arm] = supervise(base, chains, sizes.updates)
        return scores(setting, arm, known[arm], chains=len(chains), steps=len(chains.skill_M))

    yield scores(setting, "base", start)
    yield vote(setting, start)
    sets = {f"hard_{n}": ("hard", n) for n in sizes.series}
    sets |= {f"{mix}_{n}": (mix, n) for mix in MIXES for n in DIFFICULTY if n <= sizes.largest}
    for arm, (mix, n) in sets.items():
        yield learnt(arm, setting.data(mix, n))
    for n in sizes.series:
        taught = supervise_epochs(start, setting.data("hard", n), EPOCHS, BATCH)
        yield scores(setting, f"epochs_{n}", taught, chains=n, updates=EPOCHS * -(-n // BATCH))
    most = min(800, sizes.largest)
    for rows in ROWS[:-1]:
        small = setting.start(rows, seed)
        yield scores(setting, f"r{rows}_base", small)
        yield learnt(f"r{rows}_hard", setting.data("hard", most), small)
        easy = round(EASY_SHARE * most)
        yield learnt(f"r{rows}_mix", setting.data("hard", most - easy) + setting.data("easy", easy), small)
    for noise in NOISES:
        yield learnt(f"noise{round(100 * noise)}", setting.data("hard", 200, noise))
    for n in CROSSING:
        yield learnt(f"verified_{n}", setting.data("hard", n))
        yield learnt(f"unverified_{4 * n}", setting.data("hard", min(4 * n, sizes.largest), UNVERIFIED))
    for n in (50, 200):
        steps = len(setting.clean("hard", n).skill_M)
        yield learnt(f"easy_as_long_{n}", as_long(setting.data("easy", sizes.largest), steps))
    yield from direct(setting, min(3200, sizes.largest), sizes.updates, known[f"hard_{sizes.series[-1]}"], start)


def as_long(chains: Chains, steps: int) -> Chains:
    """The first chains that make up at least so many steps: equal tokens instead of equal samples."""
    enough = int(np.searchsorted(chains.length_N.cumsum(), steps)) + 1
    return chains.first(min(enough, len(chains)))


def vote(setting: Setting, table: Table) -> Scores:
    """Majority of 8 sampled final answers, the first of equals; right if it is the true final answer."""
    found: Scores = {"arm": "base_majority"}
    for mix, test in setting.test.items():
        sampled = [final_answers(test, table.sample(test, setting.rng)) for _ in range(VOTES)]
        count_NA = np.stack([np.bincount(column, minlength=ACTIONS) for column in np.stack(sampled, 1)])
        right_N = count_NA.argmax(1) == final_answers(test, test.action_M)
        found[mix] = right_N.astype(int).tolist()
    return found


def direct(setting: Setting, n: int, updates: int, long: Table, base: Table) -> Iterator[Scores]:
    """E8: the same problems without steps. What is scored is the final answer, by chance right in one of eight.

    Without steps the model is additive: the logits of a problem's skills are summed, trained on final answers.
    """
    chains = setting.clean("hard", n)
    weight_SA = torch.zeros(SKILLS, ACTIONS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adagrad([weight_SA], SFT_LR)
    x_NS, answer_N = bag(chains), torch.from_numpy(final_answers(chains, chains.action_M))
    for _ in range(updates):
        optimizer.zero_grad()
        loss = F.cross_entropy(x_NS @ weight_SA, answer_N)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learnt = weight_SA.detach()
    says: dict[str, Callable[[Chains], Ints]] = {
        "answers_direct": lambda test: np.asarray((bag(test) @ learnt).argmax(1).numpy()),
        "answers_base": lambda test: final_answers(test, base.greedy(test)),
        "answers_long": lambda test: final_answers(test, long.greedy(test)),
    }
    for arm, answer in says.items():
        right = {mix: answer(test) == final_answers(test, test.action_M) for mix, test in setting.test.items()}
        yield {"arm": arm, **{mix: r.astype(int).tolist() for mix, r in right.items()}}


def bag(chains: Chains) -> torch.Tensor:
    """How often each skill occurs in each problem, (N, S)."""
    count_NS: Floats = np.zeros((len(chains), SKILLS))
    owner: Ints = chains.owner_M
    np.add.at(count_NS, (owner, chains.skill_M), 1.0)
    return torch.from_numpy(count_NS)
