"""What a nano is taught and asked of the physics world, and what its answers are worth. No torch here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from typing import Any

from consilience.problem import Problem
from consilience.recipes.phyx.faults import calculated, needed, working
from consilience.recipes.phyx.quantities import si_of
from consilience.recipes.phyx.sight import FITTING, blind, windowed
from consilience.recipes.phyx.sizes import FORMATS, STYLES, Sizes
from consilience.recipes.phyx.work import FIRST_SEED, OFFICIAL, SEEDS_APART, STRICT, bits, faults
from consilience.trace import THINK_END
from consilience.worlds.baselines import majority_answer
from consilience.worlds.physics import world
from consilience.worlds.physics_families import FAMILIES
from consilience.worlds.setting import entropy

LEVEL = "clean"
TASKS = tuple(f"{form}_{style}" for form in FORMATS for style in STYLES)
TAUGHT = (*TASKS[:3] * 3, *TASKS[3:])
"""Forms in the order of teaching: open-ended ones three times as often, whose prompts are shorter."""
CONDITIONS = ("figures", "other figures", "words alone", "majority")
"""The nano with its figures, the same with figures of other problems, the nano that learnt without, and the most
frequent answer of a family."""
KNOWN = 200
"""Training problems that the most frequent answers are counted in."""


def _problem(families: int, seed: int, split: str, task: str) -> Problem:
    made = world(*FITTING[:families])
    return windowed(made.problem(seed, split=split, level=LEVEL, task=task, modality="image"))


def figures(sizes: Sizes, seed: int, step: int) -> list[Problem]:
    """Training problems whose figures teach the encoder."""
    seeds = (entropy("phyx", "eyes", seed, step, k) for k in range(sizes.eyes_batch))
    return [_problem(sizes.families, s, "train", "oe_tm") for s in seeds]


def demonstrated(sizes: Sizes, seed: int, step: int, *, seen: bool) -> list[Problem]:
    """Training problems with worked solutions, the forms in turn; without figures where not `seen`."""
    asked = []
    for k in range(sizes.batch):
        task = TAUGHT[(step * sizes.batch + k) % len(TAUGHT)]
        asked.append(_problem(sizes.families, entropy("phyx", "sft", seed, step, k), "train", task))
    return asked if seen else [blind(problem) for problem in asked]


def asked_of(sizes: Sizes, seed: int, task: str, split: str = "test") -> list[Problem]:
    """Test problems of a seed in one form; every form asks the same ones."""
    first = FIRST_SEED + SEEDS_APART * seed
    return [_problem(sizes.families, first + k, split, task) for k in range(sizes.test)]


def shuffled(problems: list[Problem]) -> list[Problem]:
    """Each problem with the figure of the next problem of its family; its own where there is no other."""
    families: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        families[problem.truth["family"]].append(problem)
    following = {p.id: row[(k + 1) % len(row)] for row in families.values() for k, p in enumerate(row)}
    return [replace(p, prompt=(*following[p.id].images, *blind(p).prompt)) for p in problems]


@lru_cache(maxsize=2)
def _known(seed: int) -> tuple[Problem, ...]:
    """Training problems of a seed, of every family."""
    seeds = (entropy("phyx", "majority", seed, k) for k in range(KNOWN))
    made = world(*FITTING)
    return tuple(made.problem(s, split="train", level=LEVEL, task="oe_tm", modality="text") for s in seeds)


def majority(problems: list[Problem], task: str, seed: int) -> list[str]:
    """The most frequent answer to training problems of each problem's family as its response."""
    name = "gold" if task.startswith("oe") else "letter"
    known: dict[str, list[str]] = defaultdict(list)
    for problem in _known(seed):
        known[problem.truth["family"]].append(problem.truth[name])
    said = {family: majority_answer(answers) for family, answers in known.items()}
    return [f"{THINK_END}{said[problem.truth['family']]}" for problem in problems]


def record(condition: str, task: str, asked: list[Problem], said: list[str]) -> dict[str, Any]:
    """What the responses of one condition in one form are worth, a character a problem where it is a text.

    strict, official: by those rules. calculated: by the strict rule when a calculator takes over the arithmetic.
    read: share of the needed quantities stated rightly, by problem. formula: formulas of the right family.
    """
    strict = bits(STRICT, asked, said)
    return {
        "condition": condition,
        "form": task,
        "strict": strict,
        "official": bits(OFFICIAL[task[:2]], asked, said),
        "calculated": bits(STRICT, asked, [calculated(p, text) for p, text in zip(asked, said, strict=True)]),
        "read": [round(read_share(p, text), 4) for p, text in zip(asked, said, strict=True)],
        "formula": sum(names_formula(p, text) for p, text in zip(asked, said, strict=True)),
        "faults": faults(asked, said, strict),
        "example": {"problem": asked[0].id, "response": said[0]},
    }


def read_share(problem: Problem, response: str) -> float:
    """The share of the needed quantities that a response states rightly."""
    shown = working(response)
    right = 0
    quantities = needed(FAMILIES[problem.truth["family"]])
    for given in quantities:
        said = si_of(given, shown.readings.get(given.symbol, "")) if shown else None
        true = problem.truth["values"][given.symbol][2]
        right += said is not None and abs(said - true) <= 1e-9 * max(1e-9, abs(true))
    return right / len(quantities)


def names_formula(problem: Problem, response: str) -> bool:
    """Whether the working names the formula of the problem's family."""
    shown = working(response)
    return shown is not None and shown.formula == FAMILIES[problem.truth["family"]].formula
