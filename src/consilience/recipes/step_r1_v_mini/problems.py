"""Where problems and demonstrations come from: digits in pictures, the same programs and arithmetic as text.

Every draw follows from a key, so that step 17 of a stage sees the same problems however often it is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from consilience import registry
from consilience.learn.batch import Group
from consilience.nn.template import Prompt, render, response_tokens
from consilience.problem import Problem
from consilience.protocols import World
from consilience.recipes.step_r1_v_mini.sizes import Sizes
from consilience.worlds.digits import label
from consilience.worlds.setting import entropy, generator
from consilience.worlds.text import walkthrough

PATCH = 12
"""A cell of the canvas: what a patch shows is one digit or nothing, wherever in it the digit stands."""
WORLDS = {"image": "digits", "text": "sums"}
MODALITIES = tuple(WORLDS)
TASKS = {"image": ("read", "count", "remove", "locate", "compare"), "text": ("count", "remove", "locate", "compare")}
"""Questions asked. Sums are left out: a model of this size spends its minutes on addition facts."""
OOD_TASKS = ("count", "remove", "locate", "compare")
"""Questions asked out of distribution: a longer strip has another shape, so `read` is not one of them."""


@cache
def world(modality: str) -> World:
    """The world that asks in a modality."""
    found: World = registry.load("world", WORLDS[modality])()
    return found


def training_levels(sizes: Sizes) -> tuple[str, ...]:
    """Levels of the warm start: clean pictures among those of the training level."""
    return ("clean", sizes.level, sizes.level)


def fresh(key: Sequence[object], modality: str, levels: Sequence[str]) -> Problem:
    """The training problem of a key."""
    rng = generator(*key)
    seed, level, task = rng.getrandbits(40), rng.choice(levels), rng.choice(TASKS[modality])
    return world(modality).problem(seed, split="train", level=level, task=task, modality=modality)


def picture(key: Sequence[object], sizes: Sizes) -> Problem:
    """A training picture of one size (a canvas) for the vision stem."""
    rng = generator(*key)
    task = rng.choice(("count", "locate"))
    level = rng.choice(training_levels(sizes))
    return world("image").problem(rng.getrandbits(40), split="train", level=level, task=task, modality="image")


def prompt_of(problem: Problem) -> Prompt:
    """The problem as the house model reads it."""
    return render(problem.messages, PATCH)


def demonstration(problem: Problem, brief: bool) -> str:
    """A worked solution in one of two styles: brief ones cite only what counts, full ones look at every object."""
    return problem.demonstration if brief else walkthrough(problem, label, range(10), "digit")


def demonstrated(key: Sequence[object], modality: str, sizes: Sizes, levels: Sequence[str]) -> Group:
    """A training problem with a demonstration; its style is drawn and nowhere said."""
    problem = fresh(key, modality, levels)
    brief = entropy(*key, "style") % 1000 < 1000 * sizes.brief
    return Group(prompt_of(problem), (tuple(response_tokens(demonstration(problem, brief))),))


FIRST = {"dev": 0, "test": 2_000_000}
"""Where a split's problems begin. Learning rates were once compared on test problems below 1,000, and the demo's sizes
on those from 1,000,000 on; none of them is used again."""


def held_out(modality: str, level: str, split: str, n: int, tasks: Sequence[str]) -> list[Problem]:
    """The first n problems of a held-out split, tasks in turn: the same ones for every arm and seed."""
    ask = world(modality).problem
    first = FIRST[split]
    return [ask(first + i, split=split, level=level, task=tasks[i % len(tasks)], modality=modality) for i in range(n)]
