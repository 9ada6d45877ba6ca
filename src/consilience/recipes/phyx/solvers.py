"""Solvers without weights, each a labelled simulation: chance, physics from words, physics from words and figure, the
truth spoilt at a known rate, and one that makes errors of known kinds."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from consilience.problem import Problem
from consilience.recipes.phyx.faults import (
    CALCULATION,
    KNOWLEDGE,
    PUBLISHED,
    TEXT,
    VISUAL,
    in_words,
    nearest,
    needed,
)
from consilience.recipes.phyx.quantities import si_of
from consilience.recipes.phyx.reader import Reader
from consilience.worlds.physics_families import FAMILIES
from consilience.worlds.physics_family import Family
from consilience.worlds.physics_protocol import LETTERS, significant, written

_VALUE = r" is (-?\d+(?:\.\d+)?) ?(.*?)\.(?:\s|$)"
WRONG = 1.37
"""Factor of a wrong value; far from every tolerance."""


def recognised(problem: Problem) -> Family | None:
    """The family whose question the text contains."""
    return next((family for family in FAMILIES.values() if family.question in problem.question), None)


def from_words(problem: Problem, family: Family) -> dict[str, str]:
    """Quantities that the text tells, by symbol, as written there."""
    found = {}
    for given in family.givens:
        told = re.search(re.escape(given.noun) + _VALUE, problem.question)
        if told:
            found[given.symbol] = f"{told[1]} {told[2]}".strip()
    return found


def from_figure(problem: Problem, family: Family, reader: Reader) -> dict[str, str]:
    """Quantities that the reader finds in the labels, whose places it is told."""
    found = {}
    for given in family.givens:
        place = problem.truth["places"].get(given.symbol)
        read = None if place is None else reader.reading(problem.images[0].pixels, tuple(place), given)
        if read:
            found[given.symbol] = " ".join(read).strip()
    return found


def values_of(family: Family, quantities: Mapping[str, str]) -> dict[str, float]:
    """SI values of those needed quantities that can be understood."""
    found = {given.symbol: si_of(given, quantities.get(given.symbol, "")) for given in needed(family)}
    return {symbol: value for symbol, value in found.items() if value is not None}


def solved(family: Family, values: Mapping[str, float]) -> float | None:
    """The answer, if every quantity it needs is known and together they make sense."""
    if not {given.symbol for given in needed(family)} <= set(values):
        return None
    try:
        return family.solve(values)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def reply(problem: Problem, family: Family | None, answer: float | None, rng: random.Random, working: str = "") -> str:
    """A response: the answer, the option nearest to it, or, where there is none, a guess or an honest no."""
    if problem.task.startswith("mc"):
        letter = rng.choice(LETTERS) if answer is None else nearest(problem, answer)
        return f"{working}</think>The correct answer is {letter}"
    if answer is None or family is None:
        return f"{working}</think>I cannot tell."
    return rf"{working}</think>\boxed{{{written(significant(answer), family.unit)}}}"


def worked(quantities: Mapping[str, str], formula: str, family: Family, value: float | None) -> str:
    """Working as `faults.working` reads it."""
    seen = ", ".join(f"{symbol} = {text}" for symbol, text in quantities.items())
    return f"{seen}; " + ("" if value is None else f"{formula} = {written(significant(value), family.unit)}")


def respond(solver: str, problem: Problem, reader: Reader, skill: float, rng: random.Random) -> str:
    """The response of a solver: random, text, reader or noisy."""
    family = recognised(problem)
    if family is None or solver == "random":
        return reply(problem, None, None, rng)
    if solver == "noisy":
        knows = random.Random(f"{problem.seed}/{skill}").random() < skill
        if knows or problem.task.startswith("mc"):
            return reply(problem, family, problem.truth["value"] if knows else None, rng)
        return reply(problem, family, WRONG * problem.truth["value"], rng)
    found = from_words(problem, family)
    if solver == "reader" and problem.images:
        found = {**from_figure(problem, family, reader), **found}
    value = solved(family, values_of(family, found))
    return reply(problem, family, value, rng, worked(found, family.formula, family, value))


def err(problem: Problem, rng: random.Random) -> tuple[str, str]:
    """A worked solution with one error of a kind drawn as often as PhyX found it, and that kind.

    A quantity is misread where the words or the figure state it, another formula is taken (a named mistake of the
    family), or the value is miscalculated.
    """
    family, truth = FAMILIES[problem.truth["family"]], problem.truth
    kind = rng.choices(list(PUBLISHED), list(PUBLISHED.values()))[0]
    quantities = {given.symbol: " ".join(truth["values"][given.symbol][:2]).strip() for given in needed(family)}
    true = values_of(family, quantities)
    if kind in (VISUAL, TEXT):
        given = rng.choice(needed(family))
        number, _, unit = quantities[given.symbol].partition(" ")
        quantities[given.symbol] = f"{float(number) * WRONG:.3f} {unit}".strip()
        value = solved(family, values_of(family, quantities))
        kind = TEXT if in_words(problem, given) else VISUAL
        value = truth["value"] * WRONG if value is None else value
        return reply(problem, family, value, rng, worked(quantities, family.formula, family, value)), kind
    if kind == KNOWLEDGE:
        name, wrong = rng.choice(family.mistakes)
        value = wrong(true)
        return reply(problem, family, value, rng, worked(quantities, name, family, value)), kind
    value = WRONG * truth["value"]
    return reply(problem, family, value, rng, worked(quantities, family.formula, family, value)), CALCULATION
