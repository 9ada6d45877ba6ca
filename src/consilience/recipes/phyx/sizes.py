"""How large each scale is, and who answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError, UnknownName
from consilience.request import with_settings

STYLES = ("ft", "dr", "tm")
FORMATS = ("oe", "mc")
SHOWN = ("image", "text")
SOLVERS = ("random", "text", "reader", "noisy")
"""Who answers: a letter by chance; physics with the words alone; physics with words and labels read from the picture;
the truth, spoilt in a share of cases and then guessed. All are simulations; none is a model."""
WORKING = ("text", "reader")
"""Solvers that show their working, so that the kinds of their errors are known."""
LEVELS = ("clean", "medium", "hard")
PARTS = ("solvers", "nano")
MOST_FAMILIES = 5


@dataclass(frozen=True)
class Sizes:
    """problems: of each seed. strings: labels the glyph reader learns from, for each noise. skill: how often the noisy
    solver knows the answer. seeds: of the simulated solvers. level: of their problems; readings: labels read at each
    level.

    learners: seeds of the nano, 0 for none. families: problem families it learns, the first of `sight.FITTING`.
    eyes_steps × eyes_batch: windows its encoder learns characters from.
    sft_steps × batch: demonstrations, as many for the one without figures. test: problems it is asked in each of six
    forms. tokens: of an answer at most. eyes_lr, sft_lr: peak learning rates.
    """

    problems: int = 500
    strings: int = 400
    skill: float = 0.6
    seeds: int = 3
    readings: int = 100
    level: str = "medium"
    learners: int = 1
    families: int = 2
    eyes_steps: int = 60
    eyes_batch: int = 32
    sft_steps: int = 260
    batch: int = 8
    test: int = 48
    tokens: int = 160
    eyes_lr: float = 3e-3
    sft_lr: float = 1.5e-3


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(
        problems=8,
        strings=60,
        seeds=1,
        readings=6,
        eyes_steps=1,
        eyes_batch=2,
        sft_steps=1,
        batch=2,
        test=2,
        tokens=12,
    ),
    "laptop": Sizes(),
    "study": Sizes(
        problems=1200, seeds=5, readings=400, learners=3, families=5, eyes_steps=400, sft_steps=1500, batch=16, test=200
    ),
}
_LEAST = {"learners": 0, "eyes_steps": 0}


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with overrides.

    Raises:
        UnknownName: an override names no size. InputError: a value is outside its range.
    """
    base = SCALES["study" if study and scale == "laptop" else scale]
    sizes = with_settings(base, settings)
    for name, value in vars(sizes).items():
        if isinstance(value, int) and value < _LEAST.get(name, 1):
            raise InputError(f"setting {name}={value} must be at least {_LEAST.get(name, 1)}.")
    if not 0 < sizes.skill < 1 or min(sizes.eyes_lr, sizes.sft_lr) < 0:
        raise InputError("skill lies between 0 and 1, and eyes_lr and sft_lr are 0 or larger.")
    if sizes.families > MOST_FAMILIES:
        raise InputError(f"families={sizes.families}: nano has {MOST_FAMILIES} families to learn at most.")
    if sizes.level not in LEVELS:
        raise UnknownName("level", sizes.level, LEVELS)
    return sizes
