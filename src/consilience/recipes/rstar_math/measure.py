"""What a round's models answer on the test problems: the policy alone, votes and best-of-n, and tree search."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consilience.engine import Engine
from consilience.nn.decoder import Decoder
from consilience.problem import Problem
from consilience.protocols import Sampling
from consilience.reason.answers import vote
from consilience.reason.code_executor import CodeExecutor, Execution
from consilience.reason.code_steps import END_OF_ANSWER, END_OF_CODE, CodeSteps, code_of, parse
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_files import tree_to_json
from consilience.reason.tree_policy import Ask, Continuation, PathScorer
from consilience.reason.tree_search import Search, choose_answer
from consilience.recipes.rstar_math.sizes import Sizes
from consilience.recipes.rstar_math.train import Values
from consilience.recipes.rstar_math.writer import TOKENS, Writer, seed_of
from consilience.trace import Call
from consilience.verify.final import same_answer

ROWS = 512
WHOLE = TreeSettings(rollouts=1, width=1, max_depth=2)
"""One path of two steps: a whole program, then the answer to what it printed."""


class WholePrograms(CodeExecutor):
    """Runs every candidate as one program with the steps before it, all problems' in one sandbox. Where a step is one
    addition, this costs less than a process that waits for each prefix, and a sandbox for each problem.
    """

    def run(self, problem: str, path: Sequence[str], codes: Sequence[str]) -> list[Execution]:
        """What each candidate does behind the path, in order."""
        return super().run("stories", (), ["\n".join((*path, code)) for code in codes])


@dataclass(frozen=True, eq=False)
class Executed:
    """A continuation whose new steps are run all at once, before the search asks for them one tree after another: one
    exchange with the sandbox for each lockstep. The runner remembers what they gave."""

    continuation: Continuation
    runner: CodeExecutor

    async def __call__(self, asks: Sequence[Ask], sampling: Sampling) -> list[list[Call]]:
        """As the continuation."""
        answered = await self.continuation(asks, sampling)
        programs = [
            "\n".join((*parse(ask.prefix).steps, code_of(call.full_text)))
            for ask, calls in zip(asks, answered, strict=True)
            for call in calls
            if END_OF_CODE not in ask.prefix
        ]
        if programs:
            await asyncio.to_thread(self.runner.run, "", (), programs)
        return answered


def executor() -> CodeExecutor:
    """The sandboxed runner of a unit. Raises SandboxUnavailable, at its first step, where the machine has none."""
    return WholePrograms(seconds=5.0, sessions=1)


def right(problem: Problem, answer: str) -> bool:
    """Whether a final answer is the true number."""
    return same_answer(answer, problem.answer, problem.answer_type)


def judge(problem: Problem, answer: str) -> float:
    """+1 for a right answer, else −1."""
    return 1.0 if right(problem, answer) else -1.0


@dataclass(frozen=True)
class Solved:
    """One arm on the test problems, in order: whether each answer was right, what it cost in tokens, and what more
    there is to say. right may be a share, where it is a mean over samples."""

    arm: str
    right: list[float]
    tokens: list[int]
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"arm": self.arm, "right": self.right, "tokens": self.tokens, **self.more}


@dataclass(frozen=True, eq=False)
class Exam:
    """The test problems and what is needed to sit them. near: whether policies overlook the kind."""

    problems: Sequence[Problem]
    steps: CodeSteps
    sizes: Sizes
    seed: int
    near: bool

    def search(self, policy: Decoder, value: Decoder, arm: str) -> tuple[Solved, dict[str, Any]]:
        """Tree search with a value model on steps and answers; also the first problem's tree, for drawing."""
        settings = TreeSettings(rollouts=self.sizes.test_rollouts, width=self.sizes.test_width)
        trees = self._grown(policy, settings, 1, Sampling(max_tokens=TOKENS, seed=self._seed(3)), Values(value))
        chosen = [choose_answer([tree]) for tree in trees]
        hits = [
            float(one is not None and right(p, one.node.answer)) for p, one in zip(self.problems, chosen, strict=True)
        ]
        drawn = {"tree": tree_to_json(trees[0]), "chosen": chosen[0].node.tag if chosen[0] else ""}
        return Solved(arm, hits, [tree.tokens for tree in trees]), drawn

    def greedy(self, policy: Decoder) -> Solved:
        """The policy alone, its most likely solution."""
        sampling = Sampling(temperature=0.0, max_tokens=self._longest, seed=0, stop=(END_OF_CODE, END_OF_ANSWER))
        trees = self._grown(policy, WHOLE, 1, sampling, None)
        hits = [
            float(bool(tree.answers) and right(p, tree.answers[0].answer))
            for p, tree in zip(self.problems, trees, strict=True)
        ]
        return Solved("greedy", hits, [tree.tokens for tree in trees])

    def sampled(self, policy: Decoder, outcome: Decoder, budget: Sequence[int]) -> Iterator[Solved]:
        """Sampled solutions within as many tokens a problem as search took: their mean, the majority, the best by the
        outcome model, and whether any is right, which no choice among them can exceed."""
        sampling = Sampling(max_tokens=self._longest, seed=self._seed(4), stop=(END_OF_CODE, END_OF_ANSWER))
        count = self.sizes.samples
        trees = self._grown(policy, WHOLE, count, sampling, None)
        pools = [affordable(trees[i * count : (i + 1) * count], allowed) for i, allowed in enumerate(budget)]
        tokens = [sum(tree.tokens for tree in pool) for pool in pools]
        scores = self._scores(pools, outcome)
        rows: dict[str, list[float]] = {"sample": [], "majority": [], "orm": [], "any": []}
        for problem, pool in zip(self.problems, pools, strict=True):
            answers = [tree.answers[0].answer if tree.answers else None for tree in pool]
            hits = [float(answer is not None and right(problem, answer)) for answer in answers]
            rows["sample"].append(sum(hits) / len(hits))
            rows["any"].append(max(hits))
            rows["majority"].append(_elected(hits, answers))
            rated = [(scores[id(tree)], hit) for tree, hit in zip(pool, hits, strict=True) if tree.answers]
            rows["orm"].append(max(rated, key=lambda pair: pair[0])[1] if rated else 0.0)
        for arm, hits in rows.items():
            yield Solved(arm, hits, tokens, {"solutions": [len(pool) for pool in pools]})

    def _scores(self, pools: Sequence[Sequence[Tree]], outcome: Decoder) -> dict[int, float]:
        """The outcome model's values of whole solutions, by tree."""
        answered = [(p, tree) for p, pool in zip(self.problems, pools, strict=True) for tree in pool if tree.answers]
        paths = [(p, tree.answers[0].path_text()) for p, tree in answered]
        values = asyncio.run(Values(outcome)(paths)) if paths else []
        return {id(tree): value for (_, tree), value in zip(answered, values, strict=True)}

    def _grown(
        self, policy: Decoder, settings: TreeSettings, count: int, sampling: Sampling, scorer: PathScorer | None
    ) -> list[Tree]:
        """`count` trees of each problem, one problem's after another's. Without a scorer answers are worth nothing."""
        trees = [Tree.of(p.id, p.question, key) for p in self.problems for key in range(count)]
        writer = Executed(Writer(Engine(policy, rows=ROWS), near=self.near), self.steps.executor)
        judged = None if scorer is not None else _nothing
        search = Search(writer, self.steps, settings, sampling, judged, scorer)
        asyncio.run(search.grow(trees, {p.id: p for p in self.problems}))
        return trees

    @property
    def _longest(self) -> int:
        return TOKENS + 20 * self.sizes.deepest

    def _seed(self, what: int) -> int:
        return seed_of(self.seed, what)


def _nothing(problem: Problem, answer: str) -> float:
    return 0.0


def affordable(trees: Sequence[Tree], tokens: int) -> Sequence[Tree]:
    """The first trees that together cost no more than `tokens`; at least one."""
    spent, kept = 0, 0
    for tree in trees:
        spent += tree.tokens
        if spent > tokens:
            break
        kept += 1
    return trees[: max(1, kept)]


def _elected(hits: Sequence[float], answers: Sequence[str | None]) -> float:
    """Whether the most frequent answer is right, the first of equally frequent ones; solutions without one abstain."""
    winner = vote(answers).winner
    return 0.0 if winner is None else hits[winner]
