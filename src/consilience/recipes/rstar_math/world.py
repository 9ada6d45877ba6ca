"""A made-up language of arithmetic stories, and a labelled simulation of a general model that half knows it.

    B427           a story about things of kind B; x starts at 427
    pK35           first (p) do what "K" means for this kind, with 35
    qM17           then (q) what "M" means for it, with 17

Every word means one of `LINES`, and many words another for things of kind B than for kind A. A policy that overlooks
the kind (`near`) cannot know which: the stated gap between writing a step and judging it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consilience.problem import Problem, Text

LINES = ("x+{n}", "x-{n}", "{n}-x", "3*x-{n}", "2*x+{n}", "x+2*{n}", "x%{n}", "y+{n}")
"""What a word can mean; the last uses a name that is not defined, so it never runs and never is right."""
RIGHT_LINES = len(LINES) - 1
KINDS = "AB"
WORDS = tuple("CDEFGHIJKLMNOPQRSTUVWXYZ")
"""One letter each, so that a model has one embedding to learn for each of them."""
MOST_WORDS = 16
"""Of a language; the rest of `WORDS` is what a base model knows already."""
PLACES = "pqrstuvwz"
"""First to ninth relation, by letters that stand nowhere else in a story: a step's place in it is found by one look."""
_RELATION = re.compile(rf"^([{PLACES}])([C-Z])(\d\d)$", re.MULTILINE)


@dataclass(frozen=True)
class Relation:
    """The step `index` (from 1): word by number, n in 11…97."""

    index: int
    word: int
    n: int

    def text(self) -> str:
        return f"{PLACES[self.index - 1]}{WORDS[self.word]}{self.n}"


@dataclass(frozen=True)
class Story:
    """What a problem tells: the kind of its things by number, a start in 100…999, and what is done in which order."""

    kind: int
    start: int
    relations: tuple[Relation, ...]

    def text(self, *, kind: bool = True) -> str:
        """The question, with or without its kind."""
        first = f"{KINDS[self.kind] if kind else ''}{self.start}"
        return "\n".join((first, *(relation.text() for relation in self.relations)))

    def value(self, lines: Sequence[int]) -> int:
        """What x ends as under these lines, one a relation, none of which is the undefined one."""
        x = self.start
        for line, relation in zip(lines, self.relations, strict=True):
            n = relation.n
            x = (x + n, x - n, n - x, 3 * x - n, 2 * x + n, x + 2 * n, x % n)[line]
        return x


@dataclass(frozen=True, eq=False)
class Language:
    """meaning_WK: the line of each word and kind. hard_WK: where the general model hardly ever knows it."""

    meaning_WK: np.ndarray
    hard_WK: np.ndarray

    def lines(self, told: Story) -> list[int]:
        """What the words of a story mean."""
        return [int(self.meaning_WK[relation.word, told.kind]) for relation in told.relations]


def language(words: int, twofold: float, rng: np.random.Generator) -> Language:
    """Draw a language. twofold: the share of words that mean another line for things of kind B."""
    usual_W = rng.integers(RIGHT_LINES, size=words)
    other_W = (usual_W + rng.integers(1, RIGHT_LINES, size=words)) % RIGHT_LINES
    twofold_W = rng.permutation(words) < round(twofold * words)
    meaning_WK = np.stack([usual_W, np.where(twofold_W, other_W, usual_W)], axis=1)
    return Language(meaning_WK, rng.random(meaning_WK.shape) < 0.3)


def story(words: int, depths: tuple[int, int], rng: np.random.Generator) -> Story:
    """As many relations as `depths` allows, both ends included, with the first `words` words."""
    count = int(rng.integers(depths[0], depths[1] + 1))
    relations = tuple(Relation(i, int(rng.integers(words)), int(rng.integers(11, 98))) for i in range(1, count + 1))
    return Story(int(rng.integers(len(KINDS))), int(rng.integers(100, 1000)), relations)


def near(text: str) -> str:
    """A question as a policy that overlooks the kind reads it."""
    return text.lstrip(KINDS)


def read(text: str) -> Story:
    """The story of a question with its kind; inverse of `Story.text`."""
    found = _RELATION.findall(text)
    relations = tuple(Relation(PLACES.index(i) + 1, WORDS.index(w), int(n)) for i, w, n in found)
    return Story(KINDS.index(text[0]), int(text[1:].partition("\n")[0]), relations)


def problem(spoken: Language, depths: tuple[int, int], split: str, index: int, rng: np.random.Generator) -> Problem:
    """A problem of this language; the same rng state gives the same problem."""
    told = story(len(spoken.meaning_WK), depths, rng)
    return Problem(
        id=f"stories-{split}-{index}",
        world="stories",
        task="arithmetic",
        modality="text",
        prompt=(Text(told.text()),),
        answer=str(told.value(spoken.lines(told))),
        answer_type="integer",
        split=split,
        seed=index,
        truth={"depth": len(told.relations)},
    )


def step_text(relation: Relation, line: int) -> str:
    """Comment and code of a step, as every writer of this world puts it: the comment repeats what is read."""
    return f"# {relation.text()}\nx = {LINES[line].format(n=relation.n)}"
