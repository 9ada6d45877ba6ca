"""How large each scale is, and what the parts of the study vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError
from consilience.recipes.rstar_math.world import MOST_WORDS
from consilience.request import with_settings
from consilience.synth.evolve_search import Round


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time, and the settings all arms share.

    words: of the language; twofold: share of words that mean another line for the second kind. shortest, deepest: steps
    of a problem. problems, test: how many. rounds: of self-evolution. rollouts, width: of a problem in rounds 2 and
    later, half the rollouts and five candidates in the first; more: rollouts of the last round for unsolved problems,
    with twice the candidates. test_rollouts, test_width: at answer time; samples: most sampled solutions a test
    problem. d_model, n_layers: of policy and value models. *_steps: updates at most, of `batch` solutions or
    `value_batch` prefixes; what a round has found is gone through at most `passes` times. seeds: of a run.
    """

    words: int = 4
    twofold: float = 0.75
    shortest: int = 2
    deepest: int = 4
    problems: int = 150
    test: int = 100
    rounds: int = 4
    rollouts: int = 16
    width: int = 8
    more: int = 32
    test_rollouts: int = 4
    test_width: int = 8
    samples: int = 32
    d_model: int = 64
    n_layers: int = 2
    base_steps: int = 600
    review_steps: int = 900
    sft_steps: int = 100
    value_steps: int = 120
    batch: int = 32
    value_batch: int = 16
    passes: int = 15
    seeds: int = 1

    @property
    def depths(self) -> tuple[int, int]:
        return self.shortest, self.deepest

    def updates(self, most: int, examples: int, batch: int) -> int:
        """Updates on so many examples: none without any, at most `most`."""
        return min(most, self.passes * -(-examples // batch))

    def plan(self, number: int) -> Round:
        """How round `number`, from 1, searches: without values on steps before the third."""
        if number == 1:
            return Round(max(1, self.rollouts // 2), 5)
        if number == self.rounds and number > 2:
            return Round(self.rollouts, self.width, more=self.more, more_width=2 * self.width, scored=True)
        return Round(self.rollouts, self.width, scored=number > 2)


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(
        words=3,
        deepest=2,
        problems=6,
        test=4,
        rounds=3,
        rollouts=4,
        width=3,
        more=2,
        test_rollouts=1,
        test_width=2,
        samples=3,
        d_model=32,
        n_layers=1,
        base_steps=2,
        review_steps=2,
        sft_steps=2,
        value_steps=2,
        batch=4,
        value_batch=4,
    ),
    "laptop": Sizes(),
    "study": Sizes(problems=400, test=200, value_steps=300, seeds=5),
    "gpu": Sizes(
        words=16,
        deepest=6,
        problems=2000,
        test=300,
        d_model=384,
        n_layers=8,
        base_steps=1500,
        review_steps=1500,
        sft_steps=500,
        value_steps=800,
        batch=128,
        value_batch=64,
    ),
}
PARTS: Mapping[str, bool] = {"main": True, "sighted": False}
"""Part of the study → whether the policy overlooks the kind. "sighted" is the control without the gap."""
_LEAST = {"more": 0}


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top.

    Raises:
        UnknownName: a setting is not a field of `Sizes`.
        InputError: a setting has the wrong type or an impossible value.
    """
    sizes = with_settings(SCALES["study" if study and scale == "laptop" else scale], settings)
    for name, value in settings.items():
        if value < _LEAST.get(name, 0 if isinstance(value, float) else 1):
            raise InputError(f"setting {name}={value} is too small: {_LEAST.get(name, 1)} or more.")
    if not 1 <= sizes.shortest <= sizes.deepest <= 9:
        raise InputError(f"shortest={sizes.shortest} and deepest={sizes.deepest} must rise within 1…9.")
    if sizes.words > MOST_WORDS or sizes.twofold > 1:
        raise InputError(f"words={sizes.words} must not exceed {MOST_WORDS}, nor twofold={sizes.twofold} 1.")
    if sizes.d_model % 32:
        raise InputError(f"d_model={sizes.d_model} must be a multiple of 32, the size of a head.")
    return sizes
