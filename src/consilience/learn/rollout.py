"""Rollouts: problems in, sampled and verified responses out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.nn import tokenizer as tk
from consilience.problem import Problem
from consilience.verdict import Verdict

Reward = Callable[[Problem, str, bool], Verdict]
"""(problem, response text, truncated) → verdict; its score is the reward."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """Sampled groups with their verdicts. Order of rows: the G responses of a problem are consecutive.

    logprobs: the engine's, one tuple a response; finished: the response ended by itself.
    """

    problems: tuple[Problem, ...]
    groups: tuple[Group, ...]
    logprobs: tuple[tuple[float, ...], ...]
    finished: tuple[bool, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def rewards_BG(self) -> Tensor:
        return torch.tensor([v.score for v in self.verdicts]).view(len(self.problems), -1)

    @property
    def lengths(self) -> list[int]:
        return [len(r) for g in self.groups for r in g.responses]

    def split(self, pieces: int) -> list[Rollout]:
        """Consecutive problems with their responses, as many in each piece.

        Raises:
            InputError: the problems cannot be divided so.
        """
        if pieces < 1 or not self.problems or len(self.problems) % pieces:
            raise InputError(f"{len(self.problems)} problems cannot be divided into {pieces} equal pieces.")
        count, size = len(self.problems) // pieces, len(self.verdicts) // len(self.problems)
        return [
            Rollout(
                self.problems[first : first + count],
                self.groups[first : first + count],
                self.logprobs[first * size : (first + count) * size],
                self.finished[first * size : (first + count) * size],
                self.verdicts[first * size : (first + count) * size],
            )
            for first in range(0, len(self.problems), count)
        ]


def merge(rollouts: Sequence[Rollout]) -> Rollout:
    """One rollout of several, in the order given."""
    return Rollout(
        tuple(p for r in rollouts for p in r.problems),
        tuple(g for r in rollouts for g in r.groups),
        tuple(x for r in rollouts for x in r.logprobs),
        tuple(f for r in rollouts for f in r.finished),
        tuple(v for r in rollouts for v in r.verdicts),
    )


def text_of(tokens: Sequence[int]) -> str:
    """The response's text without its closing `<|end|>`."""
    return tk.decode(tokens[:-1] if tokens and tokens[-1] == tk.END else tokens)


def judge(problems: Sequence[Problem], groups: Sequence[Group], reward: Reward) -> tuple[Verdict, ...]:
    """Verdicts of every response; one that did not end by itself counts as truncated."""
    return tuple(
        reward(problem, text_of(response), response[-1] != tk.END)
        for problem, group in zip(problems, groups, strict=True)
        for response in group.responses
    )
