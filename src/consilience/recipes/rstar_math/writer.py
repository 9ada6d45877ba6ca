"""Who writes steps: the simulated general model of the first round, and the small policy of the later ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from consilience.engine import Engine, Request
from consilience.learn.batch import Group
from consilience.learn.process_preference import Path
from consilience.nn import tokenizer as tk
from consilience.nn.template import Prompt, render
from consilience.problem import Message
from consilience.protocols import Sampling
from consilience.reason.code_steps import ANSWER, CODE, END_OF_CODE, END_OF_OUTPUT, END_OF_STEP, LAST_STEP, OUTPUT
from consilience.reason.code_steps import render as solution
from consilience.reason.tree_policy import Ask, generated
from consilience.recipes.rstar_math import world
from consilience.recipes.rstar_math.spelling import STOP, long, short
from consilience.trace import Call, Usage

TOKENS = 40
"""Most tokens of a step."""
ANSWERED = 0.5
WRONG = 0.3
"""Share of wrong steps in marked work; half of them would be right for the other kind, where the word is twofold."""


def seed_of(*parts: int | str | None) -> int:
    """A seed below 2³¹ from what names a sample."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def prompt_of(question: str) -> Prompt:
    """A question as a house model gets it."""
    return render((Message.user(question),))


def spelled(text: str) -> tuple[int, ...]:
    """Token ids of a part of a solution."""
    return tuple(tk.encode(short(text)))


@dataclass(frozen=True, eq=False)
class GeneralModel:
    """A simulation, no model: it writes the right line with probability `right`, or `right_hard` where the language has
    made the meaning hard to know, else any other line. It reads the kind."""

    spoken: world.Language
    right: float = 0.55
    right_hard: float = 0.15

    async def __call__(self, asks: Sequence[Ask], sampling: Sampling) -> list[list[Call]]:
        return [self._answers(ask) for ask in asks]

    def _answers(self, ask: Ask) -> list[Call]:
        texts = (self._step(ask, np.random.default_rng(seed_of(ask.seed, ask.problem.id, i))) for i in range(ask.n))
        return [Call(text, usage=Usage(0, len(spelled(text))), model="simulated general model") for text in texts]

    def _step(self, ask: Ask, rng: np.random.Generator) -> str:
        told = world.read(ask.problem.question)
        done = ask.prefix.count(END_OF_STEP)
        if END_OF_OUTPUT in ask.prefix:
            return f"\n{ANSWER}\\boxed{{{_printed(ask.prefix)}}}<end_of_answer>"
        if not done:
            return f"{CODE}\nx = {told.start}\n{END_OF_STEP}\n"
        if done > len(told.relations):
            return f"# {LAST_STEP}\nprint(x)\n{END_OF_CODE}"
        relation = told.relations[done - 1]
        meaning = int(self.spoken.meaning_WK[relation.word, told.kind])
        hard = self.spoken.hard_WK[relation.word, told.kind]
        line = meaning
        if rng.random() >= (self.right_hard if hard else self.right):
            line = (meaning + int(rng.integers(1, len(world.LINES)))) % len(world.LINES)
        return f"{world.step_text(relation, line)}\n{END_OF_STEP}\n"


def _printed(prefix: str) -> str:
    return prefix.rpartition(OUTPUT)[2].partition(END_OF_OUTPUT)[0]


class Writer:
    """A house model that continues solutions, many at once, each step in short spelling.

    Args:
        near: whether it overlooks the kind in a question.
    """

    def __init__(self, engine: Engine, *, near: bool = True) -> None:
        self.engine, self.near = engine, near

    async def __call__(self, asks: Sequence[Ask], sampling: Sampling) -> list[list[Call]]:
        """Steps in full spelling; tokens are counted in short spelling. Stop strings are this spelling's own, but for
        a sampling that stops at the end of the program alone."""
        stop = STOP if END_OF_STEP in sampling.stop else STOP[1:]
        chosen = replace(sampling, stop=stop)
        requests = [
            Request(self._prompt(ask), replace(chosen, seed=seed_of(ask.seed, ask.problem.id)), ask.n) for ask in asks
        ]
        return [
            [
                Call(
                    long(generated(output.tokens)),
                    finish=output.finish,
                    usage=Usage(len(request.prompt), len(output.tokens)),
                    model="policy",
                )
                for output in outputs
            ]
            for request, outputs in zip(requests, self.engine.generate(requests), strict=True)
        ]

    def _prompt(self, ask: Ask) -> Prompt:
        text = ask.problem.question
        start = prompt_of(world.near(text) if self.near else text)
        return replace(start, tokens=(*start.tokens, *spelled(ask.prefix)))


def lessons(question: str, response: str) -> list[Group]:
    """A solution as supervised examples: the program, and the answer behind the output. What Python printed is not
    learnt: the policy never writes it, and a few examples would teach it by heart."""
    program, mark, rest = response.partition(f"\n{OUTPUT}")
    shown, closed, answer = rest.partition(END_OF_OUTPUT)
    start = prompt_of(question)
    behind = replace(start, tokens=(*start.tokens, *spelled(f"{program}{mark}{shown}{closed}")))
    return [Group(start, (spelled(program),)), Group(behind, ((*spelled(answer), tk.END),))]


def known_words(twofold: float, rng: np.random.Generator) -> world.Language:
    """What a base model takes words for: a language like that of the problems, with other meanings."""
    return world.language(len(world.WORDS), twofold, rng)


def corpus(
    words: int, known: world.Language, depths: tuple[int, int], count: int, rng: np.random.Generator
) -> list[Group]:
    """What a base model has read: well-formed programs. The first `words` words, those of the problems, stand for any
    line; the others for what `known` says, so that a base model knows what a word and a kind are for. Half of the
    stories tell their kind, and `ANSWERED` of the programs come with their answer.
    """
    groups: list[Group] = []
    for _ in range(count):
        told = world.story(len(world.WORDS), depths, rng)
        drawn = rng.integers(world.RIGHT_LINES, size=len(told.relations))
        both = zip(told.relations, drawn, known.lines(told), strict=True)
        lines = [int(line) if relation.word < words else meant for relation, line, meant in both]
        steps = [f"x = {told.start}", *map(world.step_text, told.relations, lines)]
        printed = str(told.value(lines))
        steps.append(f"# {LAST_STEP}\nprint(x)")
        text = solution(steps, printed, f"\\boxed{{{printed}}}")
        program, answer = lessons(told.text(kind=bool(rng.random() < 0.5)), text)
        groups += [program, answer] if rng.random() < ANSWERED else [program]
    return groups


@dataclass(frozen=True, eq=False)
class Valued:
    """A path with a value in [−1, 1] for each step."""

    path: Path
    q: tuple[float, ...]


def path_of(question: str, steps: Sequence[str]) -> Path:
    """Steps as a value model reads them, behind the whole question."""
    pieces = [spelled(step) for step in steps]
    ends = np.cumsum([len(piece) for piece in pieces]) - 1
    return Path(
        prompt_of(question), tuple(token for piece in pieces for token in piece), tuple(int(end) for end in ends)
    )


def marked(
    words: int, known: world.Language, depths: tuple[int, int], count: int, rng: np.random.Generator
) -> list[Valued]:
    """Marked work that a reviewer has read, about words the problems do not use: a step is worth 1 while all is right,
    and −1 from the first wrong one on, the printed number and the answer included."""
    found: list[Valued] = []
    for _ in range(count):
        drawn = world.story(len(world.WORDS) - words, depths, rng)
        told = replace(drawn, relations=tuple(replace(r, word=r.word + words) for r in drawn.relations))
        steps, values, written = [f"{CODE}\nx = {told.start}"], [1.0], []
        for relation, line in zip(told.relations, known.lines(told), strict=True):
            wrong = bool(rng.random() < WRONG)
            written.append(_mistaken(known, relation, line, rng) if wrong else line)
            steps.append(world.step_text(relation, written[-1]))
            values.append(-1.0 if wrong else values[-1])
        texts = [f"{step}\n{END_OF_STEP}\n" for step in steps]
        if max(written) < world.RIGHT_LINES:
            printed = told.value(written)
            texts.append(f"# {LAST_STEP}\nprint(x)\n{END_OF_CODE}\n{OUTPUT}{printed}{END_OF_OUTPUT}")
            texts.append(f"\n{ANSWER}\\boxed{{{printed}}}<end_of_answer>")
            values += [values[-1]] * 2
        found.append(Valued(path_of(told.text(), texts), tuple(values)))
    return found


def _mistaken(known: world.Language, relation: world.Relation, line: int, rng: np.random.Generator) -> int:
    others = {int(one) for one in known.meaning_WK[relation.word]} - {line}
    if others and rng.random() < 0.5:
        return others.pop()
    return (line + int(rng.integers(1, len(world.LINES)))) % len(world.LINES)
