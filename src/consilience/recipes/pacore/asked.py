"""What the training of synthesis asks, and the prompt it asks it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consilience.problem import Message, Problem
from consilience.protocols import Policy
from consilience.reason.synthesis import SynthesisTemplate
from consilience.recipes.pacore.arithmetic import Arithmetic
from consilience.recipes.pacore.strips import Strips
from consilience.recipes.pacore.training_sizes import TrainingSizes

FIRST_TEST = 6_000_000
"""Where the test problems begin. Trials were made on dev problems; those from 5,000,000 on had been answered by earlier
sizes before the rates of PPO were chosen anew."""
FAMILIES_SEED = 100_000_000
"""Between the training problems of two seeds."""
SHORT = SynthesisTemplate(
    "Problem:\n{{ original_prompt }}\n{% for response in ref_responses %}Reference {{ loop.index }}:\n{{ response }}\n"
    "{% endfor %}",
    "short synthesis template",
)
"""The labels of the paper's prompt without its sentences: a byte-level model of a million weights pays for every letter
and is not instructed by them."""


class Family(Protocol):
    """Problems of one kind, and what a trajectory sees of them."""

    def problem(self, number: int, split: str) -> Problem:
        """Problem `number` of train, dev or test."""
        ...

    def look(self, messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
        """The conversation as the trajectory of this seed sees it."""
        ...

    def seen(self, policy: Policy) -> Policy:
        """A policy whose trajectories look."""
        ...


def family_of(sizes: TrainingSizes) -> Family:
    """The problems of a run."""
    return Strips(sizes.digits, sizes.noise) if sizes.task == "strips" else Arithmetic(sizes.digits)


def held_out(sizes: TrainingSizes) -> list[Problem]:
    """The held-out problems, the same ones for every seed and arm."""
    family = family_of(sizes)
    return [family.problem(FIRST_TEST + i, "test") for i in range(sizes.tests)]
