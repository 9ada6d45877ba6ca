"""What is asked and how it is answered: counting and pointing on canvases of handwritten digits.

Every draw follows from a key, so that step 17 of a stage sees the same problems however often it is run. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from consilience import registry
from consilience.problem import Message, Problem
from consilience.protocols import World
from consilience.reason.synthesis import SynthesisTemplate, synthesis_prompt
from consilience.trace import THINK_END
from consilience.worlds.digits import CELL, label
from consilience.worlds.markup import point_markup
from consilience.worlds.program import Object
from consilience.worlds.setting import generator

TEMPLATE = SynthesisTemplate(
    "{{ original_prompt }}{% for response in ref_responses %}\n{{ loop.index }}: {{ response }}{% endfor %}",
    "template of the small model",
)
"""Problem and numbered references in few bytes: each byte is a token of the small model."""
MOST = 6
"""The largest count of a canvas at the levels used here."""
FIRST = {"dev": 0, "test": 5_000_000}
"""Where the problems of a split begin."""


@cache
def world() -> World:
    """The world of digits."""
    found: World = registry.load("world", "digits")()
    return found


def fresh(key: Sequence[object], task: str, level: str) -> Problem:
    """The training problem of a key."""
    return world().problem(generator(*key).getrandbits(40), split="train", level=level, task=task, modality="image")


def held_out(task: str, level: str, split: str, n: int) -> list[Problem]:
    """The first n problems of a held-out split: the same ones for every arm and seed."""
    first = FIRST[split]
    return [world().problem(first + i, split=split, level=level, task=task, modality="image") for i in range(n)]


def demonstration(problem: Problem) -> str:
    """A right answer. A count: every digit as the crops show them, then those that are meant, then how many; a place:
    the middle of what was asked for."""
    if problem.task == "locate":
        x1, y1, x2, y2 = problem.evidence.boxes[0]
        return THINK_END + point_markup(((x1 + x2) / 2, (y1 + y2) / 2), problem.images[0].size)
    things = sorted(problem.truth["scene"]["objects"], key=_order)
    meant = (thing for thing in things if thing["id"] in problem.evidence.ids)
    return "".join(map(label, things)) + ":" + "".join(map(label, meant)) + THINK_END + problem.answer


def _order(thing: Object) -> tuple[int, int, int, int]:
    """Where the middle of an object comes: row and column of its crop, then of its cell in the crop."""
    x1, y1, x2, y2 = thing["box"] or (0, 0, 0, 0)
    column, row = int((x1 + x2) / 2 // CELL), int((y1 + y2) / 2 // CELL)
    return row // 2, column // 2, row, column


def blind_references(key: Sequence[object], most: int) -> list[str]:
    """1 to `most` random counts, drawn without a look at any problem: the form of references without their use."""
    rng = generator(*key)
    return [str(rng.randint(0, MOST)) for _ in range(rng.randint(1, most))]


def with_references(messages: Sequence[Message], references: Sequence[str]) -> tuple[Message, ...]:
    """P(x, M) in the wording of the small model."""
    return synthesis_prompt(messages, references, TEMPLATE)
