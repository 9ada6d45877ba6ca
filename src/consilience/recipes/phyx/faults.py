"""What is wrong with a wrong answer: PhyX's four kinds of error, decided by rules against the known truth.

PhyX (arXiv 2505.15929) had people label 96 errors of GPT-4o. Problems of the world `physics` need no people where a
response shows its working as the world's own solutions do,

    L = 12.5 m, θ = 20.0°; h = L·sin θ = 4.28 m</think>4.28 m

since every quantity, the formula and the value are known. The first thing that is wrong names the error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from consilience.bench.loaders.diagrams import is_choice, mistake_in
from consilience.bench.loaders.strict import agree, strict_answer, strict_letter
from consilience.problem import Problem
from consilience.recipes.phyx.quantities import si_of
from consilience.trace import THINK_END
from consilience.verify.markup import split_response
from consilience.worlds.physics_families import FAMILIES
from consilience.worlds.physics_family import Family, Given
from consilience.worlds.physics_protocol import significant, written

VISUAL, TEXT, KNOWLEDGE, CALCULATION = KINDS = (
    "visual reasoning",
    "text reasoning",
    "lack of knowledge",
    "calculation",
)
"""PhyX's kinds of error."""

FINAL, UNDECIDED, NO_ANSWER, CUT = OTHERS = ("final answer", "undecided", "no answer", "cut off")
"""Ours: the working is right and the answer is not its result; no working and a value that no rule knows; no answer; a
response that ended at its limit of tokens."""

PUBLISHED: Mapping[str, float] = {VISUAL: 0.396, KNOWLEDGE: 0.385, TEXT: 0.136, CALCULATION: 0.083}
"""Shares of 96 errors of GPT-4o, as the project's page prints them."""

_MARKUP = re.compile(r"<box>.*?</box>")
_SLIPS = [10.0**power for power in (-6, -3, -2, -1, 1, 2, 3, 6)]
_SAME = 1e-6


@dataclass(frozen=True)
class Working:
    """A worked solution. readings: symbol → quantity as written. formula, result: as written, "" where missing."""

    readings: Mapping[str, str]
    formula: str
    result: str


def working(response: str) -> Working | None:
    """The working that a response shows before its answer: quantities, a semicolon, the formula and its value; None
    where it shows none. There may be no quantity (`; …`): whoever works so has found none."""
    head, sign, rest = _MARKUP.sub("", response.partition(THINK_END)[0]).partition(";")
    parts = [part for part in head.split(", ") if part.strip()]
    if not sign or not all(" = " in part for part in parts):
        return None
    formula, _, result = rest.strip().rpartition(" = ")
    return Working(dict(part.strip().split(" = ", 1) for part in parts), formula, result)


def fault(problem: Problem, response: str) -> str:
    """The kind of error of a response that is wrong: one of KINDS or OTHERS.

    A needed quantity that is missing or differs in value is an error of text reasoning where the words of this form
    tell it, else of visual reasoning; another formula than the family's is lack of knowledge; another value than its
    own is calculation. Without working, an answer that a named mistake of the family leads to is lack of knowledge, and
    one that is off by a power of ten is calculation.

    Args:
        problem: of the world `physics`.
        response: `reasoning</think>answer`.
    """
    family, truth = FAMILIES[problem.truth["family"]], problem.truth
    shown = working(response)
    if shown is None:
        return _by_value(problem, family, split_response(response)[1].strip())
    for given in needed(family):
        said, true = si_of(given, shown.readings.get(given.symbol, "")), truth["values"][given.symbol][2]
        if said is None or abs(said - true) > _SAME * max(abs(true), 1e-30):
            return TEXT if in_words(problem, given) else VISUAL
    if _plain(shown.formula) != _plain(family.formula):
        return KNOWLEDGE
    return FINAL if agree(shown.result, truth["gold"], unit_given=True) else CALCULATION


def needed(family: Family) -> list[Given]:
    """The quantities without which the family cannot be solved."""
    return [given for given in family.givens if not given.spare]


def in_words(problem: Problem, given: Given) -> bool:
    """Whether the text of this form tells the quantity: full text does, and so does a caption."""
    return problem.modality == "text" or (given.told and problem.task.endswith("_ft"))


def calculated(problem: Problem, response: str) -> str:
    """The response with the value that its own readings and formula lead to, worked out by a calculator: what is left
    of its errors are those of reading and of knowledge. Without a working that can be followed it stays as it is.

    The formula is looked up among the families', never evaluated as text.
    """
    shown = working(response)
    family = next((f for f in FAMILIES.values() if shown and _plain(f.formula) == _plain(shown.formula)), None)
    if shown is None or family is None:
        return response
    found = {given.symbol: si_of(given, shown.readings.get(given.symbol, "")) for given in needed(family)}
    values = {symbol: value for symbol, value in found.items() if value is not None}
    if len(values) < len(found):
        return response
    try:
        value = family.solve(values)
    except (ValueError, ZeroDivisionError, OverflowError):
        return response
    answer = nearest(problem, value) if is_choice(problem) else written(significant(value), family.unit)
    return f"{response.partition(THINK_END)[0]}{THINK_END}{answer}"


def nearest(problem: Problem, value: float) -> str:
    """The letter of the option whose number is nearest to a value."""
    options: dict[str, str] = problem.truth["options"]
    return min(options, key=lambda letter: abs(float(options[letter].split()[0].rstrip("°")) - value))


def _by_value(problem: Problem, family: Family, answer: str) -> str:
    said = strict_letter(problem, answer) if is_choice(problem) else strict_answer(answer)[0]
    if not said:
        return NO_ANSWER
    named = mistake_in(problem, said)
    if named:
        return CALCULATION if named == "factor 10" else KNOWLEDGE
    if is_choice(problem):
        return UNDECIDED
    values = {symbol: value for symbol, (_, _, value) in problem.truth["values"].items()}

    def equals(value: float) -> bool:
        return agree(said, written(significant(value), family.unit), unit_given=True) is True

    if any(equals(wrong(values)) for _, wrong in family.mistakes):
        return KNOWLEDGE
    return CALCULATION if any(equals(slip * problem.truth["value"]) for slip in _SLIPS) else UNDECIDED


def _plain(formula: str) -> str:
    return "".join(formula.split())
