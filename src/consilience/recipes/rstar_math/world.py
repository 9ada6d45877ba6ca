"""A made-up language of arithmetic stories, and a labelled simulation of a general model that half knows it.

    427            x starts at 427
    pka35B         first (p) do what "ka" means for things of kind B, with 35
    qmo17D         then (q) what "mo" means for kind D, with 17

Every word has a usual meaning, one of `LINES`, and for each kind of thing it may mean another. A policy that reads
without the kinds (`near`) cannot know which: the stated gap between writing a step and judging it.
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
KINDS = "ABCD"
WORDS = tuple(c + v for c in "bdfgkm" for v in "aeio")
MOST_WORDS = 16
"""Of a language; the rest of `WORDS` is what a base model knows already."""
PLACES = "pqrstuvwz"
"""First to ninth relation, by letters that stand nowhere else in a story: a step's place in it is found by one look."""
_RELATION = re.compile(rf"^([{PLACES}])([a-z]{{2}})(\d\d)([A-D]?)$", re.MULTILINE)


@dataclass(frozen=True)
class Relation:
    """The step `index` (from 1): word and kind by number, n in 11…97."""

    index: int
    word: int
    kind: int
    n: int

    def text(self, *, kind: bool = True) -> str:
        return f"{PLACES[self.index - 1]}{WORDS[self.word]}{self.n}{KINDS[self.kind] if kind else ''}"


@dataclass(frozen=True, eq=False)
class Language:
    """meaning_WK: the line of each word and kind. hard_WK: where the general model hardly ever knows it."""

    meaning_WK: np.ndarray
    hard_WK: np.ndarray


def language(words: int, exceptions: float, rng: np.random.Generator) -> Language:
    """Draw a language. exceptions: the share of (word, kind) that do not have the word's usual meaning."""
    usual_W = rng.integers(RIGHT_LINES, size=words)
    other_WK = (usual_W[:, None] + rng.integers(1, RIGHT_LINES, size=(words, len(KINDS)))) % RIGHT_LINES
    meaning_WK = np.where(rng.random((words, len(KINDS))) < exceptions, other_WK, usual_W[:, None])
    return Language(meaning_WK, rng.random((words, len(KINDS))) < 0.3)


def story(words: int, depths: tuple[int, int], rng: np.random.Generator) -> tuple[int, tuple[Relation, ...]]:
    """A start in 100…999 and as many relations as `depths` allows, both ends included."""
    count = int(rng.integers(depths[0], depths[1] + 1))
    relations = tuple(
        Relation(i, int(rng.integers(words)), int(rng.integers(len(KINDS))), int(rng.integers(11, 98)))
        for i in range(1, count + 1)
    )
    return int(rng.integers(100, 1000)), relations


def value(start: int, lines: Sequence[int], relations: Sequence[Relation]) -> int:
    """What x ends as under these lines, none of which is the undefined one."""
    x = start
    for line, relation in zip(lines, relations, strict=True):
        n = relation.n
        x = (x + n, x - n, n - x, 3 * x - n, 2 * x + n, x + 2 * n, x % n)[line]
    return x


def question(start: int, relations: Sequence[Relation], *, kind: bool = True) -> str:
    return "\n".join((str(start), *(relation.text(kind=kind) for relation in relations)))


def near(text: str) -> str:
    """A question as a policy that overlooks the kinds reads it."""
    return _RELATION.sub(r"\1\2\3", text)


def read(text: str) -> tuple[int, tuple[Relation, ...]]:
    """Start and relations of a question with kinds; inverse of `question`."""
    found = _RELATION.findall(text)
    relations = tuple(Relation(PLACES.index(i) + 1, WORDS.index(w), KINDS.index(k), int(n)) for i, w, n, k in found)
    return int(text.partition("\n")[0]), relations


def problem(spoken: Language, depths: tuple[int, int], split: str, index: int, rng: np.random.Generator) -> Problem:
    """A problem of this language; the same rng state gives the same problem."""
    start, relations = story(len(spoken.meaning_WK), depths, rng)
    lines = [int(spoken.meaning_WK[r.word, r.kind]) for r in relations]
    text = question(start, relations)
    return Problem(
        id=f"stories-{split}-{index}",
        world="stories",
        task="arithmetic",
        modality="text",
        prompt=(Text(text),),
        answer=str(value(start, lines, relations)),
        answer_type="integer",
        split=split,
        seed=index,
        truth={"depth": len(relations)},
    )


def step_text(relation: Relation, line: int, *, kind: bool = False) -> str:
    """Comment and code of a step, as every writer of this world puts it: the comment repeats what is read."""
    return f"# {relation.text(kind=kind)}\nx = {LINES[line].format(n=relation.n)}"
