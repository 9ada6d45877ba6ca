"""Pairs of short notes whose better one, and the reason for it, are known by construction: what the decoder arm judges.

    question   37+26 ok?             an addition, and the word that the note must end with
    notes      *63 ok      53 duh now

A note may state a wrong sum, end with another word (not as asked), or be rude. The decisive difference is the first of
the three, in this order, in which the notes differ; the golden rationale names it and the note that loses by it:
`sum B`. A star in front is layout: no merit, but it goes with the better note as often as `agreement` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience.problem import Problem, Text

CONTENT = ("sum", "word", "tone")
LAYOUT = "look"
FACTORS = (*CONTENT, LAYOUT)
WORDS = ("ok", "now", "sir")
RUDE = ("duh", "pah", "meh")
LABELS = ("A", "B")


@dataclass(frozen=True)
class Note:
    """One note and what is true of it. total: as stated; ending: its last word; rude: "" or the rude word."""

    total: int
    ending: str
    rude: str
    starred: bool

    def text(self) -> str:
        """As it is written."""
        return f"{'*' if self.starred else ''}{self.total}{f' {self.rude}' if self.rude else ''} {self.ending}"


def question(rng: np.random.Generator) -> tuple[int, int, str]:
    """(two numbers to add, the word to end with)."""
    first, second = (int(v) for v in rng.integers(10, 50, 2))
    return first, second, WORDS[int(rng.integers(len(WORDS)))]


def note_pair(rng: np.random.Generator, number: int, agreement: float, split: str) -> Problem:
    """A pair as a problem: the answer is the better note's letter.

    `truth` holds "decisive" (the golden factor), "loses" (factor → letter of the note that loses by it, for every
    factor in which they differ, layout included) and "golden", the golden rationale.
    """
    first, second, asked = question(rng)
    decisive, better = int(rng.integers(len(CONTENT))), int(rng.integers(2))
    defects = rng.random((2, len(CONTENT))) < 0.5
    defects[:, :decisive] = defects[0, :decisive]  # level in what weighs more
    defects[better, decisive], defects[1 - better, decisive] = False, True
    starred = better if rng.random() < agreement else 1 - better
    texts = [make_note(rng, first + second, asked, defects[i].tolist(), starred=i == starred).text() for i in range(2)]
    loses = {
        name: LABELS[int(defects[1, f])] for f, name in enumerate(CONTENT) if bool(defects[0, f]) != bool(defects[1, f])
    }
    loses[LAYOUT] = LABELS[1 - starred]
    golden = f"{CONTENT[decisive]} {LABELS[1 - better]}"
    truth = {"decisive": CONTENT[decisive], "loses": loses, "golden": golden}
    return as_problem(f"{split}/{number}", first, second, asked, texts, LABELS[better], split, truth)


def as_problem(
    name: str,
    first: int,
    second: int,
    asked: str,
    texts: Sequence[str],
    answer: str,
    split: str,
    truth: Mapping[str, Any],
) -> Problem:
    """The question and two notes as the reward model sees them."""
    prompt = f"{first}+{second} {asked}?\nA {texts[0]}\nB {texts[1]}"
    return Problem(
        id=f"notes/{name}",
        world="notes",
        task="judge",
        modality="text",
        prompt=(Text(prompt),),
        answer=answer,
        answer_type="choice",
        demonstration=f"{truth['golden']}</think>{answer}" if "golden" in truth else "",
        split=split,
        truth=truth,
    )


def make_note(rng: np.random.Generator, total: int, asked: str, defects: Sequence[bool], *, starred: bool) -> Note:
    """A note with these defects (wrong sum, other word, rude). A wrong sum is off by one or by ten."""
    wrong_sum, other_word, is_rude = defects
    shift = int(rng.choice([-10, -1, 1, 10]))
    others = [word for word in WORDS if word != asked]
    ending = others[int(rng.integers(len(others)))] if other_word else asked
    rude = RUDE[int(rng.integers(len(RUDE)))] if is_rude else ""
    return Note(total + shift * wrong_sum, ending, rude, starred)


def note_pairs(seed: int, n: int, agreement: float, split: str) -> list[Problem]:
    """n pairs of a seed."""
    rng = np.random.default_rng(seed)
    return [note_pair(rng, i, agreement, split) for i in range(n)]


def any_reason(problem: Problem, rng: np.random.Generator) -> str:
    """A worked response that names any difference between the notes, decisive or not, layout included, and decides by
    it: what a judge writes that has been taught to read, but not what matters."""
    loses = problem.truth["loses"]
    factor = list(loses)[int(rng.integers(len(loses)))]
    loser = loses[factor]
    return f"{factor} {loser}</think>{LABELS[1 - LABELS.index(loser)]}"


def names_golden(problem: Problem, rationale: str) -> bool:
    """The meta-judge by rule: whether a rationale is the golden one, up to outer space."""
    return bool(rationale.strip() == problem.truth["golden"])


def reads_truly(problem: Problem, rationale: str) -> bool | None:
    """Whether the note named does lose by the factor named; None where the notes do not differ in it, or the rationale
    is of another form."""
    factor, _, loser = rationale.strip().partition(" ")
    loses = problem.truth["loses"]
    return bool(loses[factor] == loser) if factor in loses else None
