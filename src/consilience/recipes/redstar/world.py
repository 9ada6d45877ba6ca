"""A world in which coverage is everything: problems are chains of skills, a policy is a table of what to do for each.

Simulation, no language model. Each of 160 skills has one right action of eight; a problem names K skills and is solved
only if every step is right. 30 % of the skills are rare. Easy problems are short and hardly ever need a rare skill,
hard ones are long and do. A small model has fewer rows than there are skills, so that skills share what they know.

Shape letters: N chains, M steps of all chains one after another, S skills, R rows of a table, A = 8 actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SKILLS, ACTIONS = 160, 8
RARE = 0.3
MARGIN, RARE_MARGIN, NOISE = 1.6, 0.6, 0.3


class Mix(NamedTuple):
    """shortest … longest steps; rare: the share of rare skills that is kept when skills are drawn evenly."""

    shortest: int
    longest: int
    rare: float


MIXES: Mapping[str, Mix] = {"easy": Mix(1, 2, 0.05), "mixed": Mix(1, 6, 0.5), "hard": Mix(5, 6, 1.0)}


@dataclass(frozen=True)
class Truth:
    """right_S: the right action. rare_S: which skills are rare."""

    right_S: Ints
    rare_S: Bools


@dataclass(frozen=True)
class Chains:
    """skill_M, action_M: what each step asks for and what was done. length_N: steps of each chain."""

    skill_M: Ints
    action_M: Ints
    length_N: Ints

    def __len__(self) -> int:
        return len(self.length_N)

    @property
    def owner_M(self) -> Ints:
        """The chain of each step."""
        return np.repeat(np.arange(len(self)), self.length_N)

    def part(self, start: int, stop: int) -> Chains:
        """The chains from `start` up to `stop`."""
        a, b = (int(self.length_N[:n].sum()) for n in (start, stop))
        return Chains(self.skill_M[a:b], self.action_M[a:b], self.length_N[start:stop])

    def first(self, n: int) -> Chains:
        """The first n chains: smaller data sets are the beginnings of larger ones."""
        return self.part(0, n)

    def __add__(self, other: Chains) -> Chains:
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("skill_M", "action_M", "length_N"))
        return Chains(*(np.concatenate(pair) for pair in pairs))


def truth(rng: np.random.Generator, skills: int = SKILLS) -> Truth:
    """A world of its own."""
    rare_S = np.zeros(skills, bool)
    rare_S[rng.permutation(skills)[: round(RARE * skills)]] = True
    return Truth(rng.integers(ACTIONS, size=skills), rare_S)


def draw(world: Truth, mix: str, n: int, rng: np.random.Generator) -> Chains:
    """n problems of a mix, solved rightly."""
    kind = MIXES[mix]
    length_N = rng.integers(kind.shortest, kind.longest + 1, n)
    weight_S = np.where(world.rare_S, kind.rare, 1.0)
    skill_M = rng.choice(len(weight_S), size=int(length_N.sum()), p=weight_S / weight_S.sum())
    return Chains(skill_M, world.right_S[skill_M], length_N)


def mislabelled(chains: Chains, share: float, rng: np.random.Generator) -> Chains:
    """The same chains with a wrong action at each step with this probability: what a verifier lets through."""
    wrong_M = rng.random(len(chains.skill_M)) < share
    shift_M = rng.integers(1, ACTIONS, len(chains.skill_M))
    action_M = np.where(wrong_M, (chains.action_M + shift_M) % ACTIONS, chains.action_M)
    return Chains(chains.skill_M, action_M, chains.length_N)


def rows_of(world: Truth, rows: int, rng: np.random.Generator) -> Ints:
    """The row of each skill, (S,): its own where there are as many rows as skills, else shared at random."""
    return rng.permutation(len(world.right_S)) % rows


def base_table(world: Truth, row_S: Ints, rows: int, rng: np.random.Generator) -> Floats:
    """The "pretrained" model, logits (R, A): right actions ahead by 1.6, of rare skills by .6, and noise.

    Skills that share a row have their mean.
    """
    ahead_SA = np.where(world.rare_S, RARE_MARGIN, MARGIN)[:, None] * np.eye(ACTIONS)[world.right_S]
    table_RA = np.zeros((rows, ACTIONS))
    np.add.at(table_RA, row_S, ahead_SA)
    table_RA /= np.bincount(row_S, minlength=rows)[:, None]
    return table_RA + NOISE * rng.standard_normal((rows, ACTIONS))


def solved(world: Truth, chains: Chains, action_M: Ints) -> Bools:
    """Whether every step of each chain is right, (N,)."""
    wrong_N = np.bincount(chains.owner_M, action_M != world.right_S[chains.skill_M], minlength=len(chains))
    return np.asarray(wrong_N == 0)


def final_answers(chains: Chains, action_M: Ints) -> Ints:
    """The answer of each chain: the sum of its actions modulo 8, (N,)."""
    return np.asarray(np.bincount(chains.owner_M, action_M, minlength=len(chains)).astype(np.int64) % ACTIONS)


def chain_accuracy(step_accuracy: float, length: int) -> float:
    """a^K: a chain of independent steps."""
    return float(step_accuracy**length)
