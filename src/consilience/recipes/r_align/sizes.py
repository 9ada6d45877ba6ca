"""How large each scale is, and what each part of the study varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError
from consilience.request import with_settings


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time.

    steps × pairs × rollouts: what a reward model is trained on. step: its step length. actor_steps: of the actor
    trained against it. held: held-out pairs of the bandit. agreement: how often format goes with the label. pool: text
    pairs to train on; text_held: text pairs on which judges are asked. repeats: meta-judge verdicts on each.

    Of the decoder arm: width of the model; sft_steps × sft_batch demonstrations; rl_steps × rl_pairs × rl_rollouts
    responses; notes_dev, notes_held: pairs it is watched and judged on; writer_steps × writer_notes: what the writer
    against it learns from.
    """

    steps: int = 1500
    pairs: int = 128
    rollouts: int = 8
    step: float = 0.5
    actor_steps: int = 300
    held: int = 5000
    agreement: float = 0.88
    pool: int = 4000
    text_held: int = 400
    repeats: int = 3
    width: int = 64
    sft_steps: int = 400
    sft_batch: int = 64
    rl_steps: int = 60
    rl_pairs: int = 32
    rl_rollouts: int = 8
    notes_dev: int = 200
    notes_held: int = 1000
    writer_steps: int = 40
    writer_notes: int = 64


_TINY = {"width": 16, "sft_steps": 4, "sft_batch": 8, "rl_steps": 2, "rl_pairs": 4, "rl_rollouts": 2}
_FEW = {"notes_dev": 8, "notes_held": 24, "writer_steps": 2, "writer_notes": 8}

SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(steps=40, actor_steps=20, held=200, pool=200, text_held=24, repeats=2, **_TINY, **_FEW),
    "laptop": Sizes(),
}
"""The study takes the laptop's sizes with more seeds and parts."""

PARTS: Mapping[str, str] = {
    "bandit": "label-only against rationale-aware reward, and an actor trained against each",
    "text": "S-Corr of reward models on text pairs, through the judges' own prompts and parsers",
    "phase": "how often format must go with the label before label-only training collapses to it",
    "predictor": "which metric of a reward model predicts the actor trained against it",
    "decoder": "a nano decoder that judges notes, trained by reinforcement with either reward, and a writer against it",
}
CORE = ("bandit", "text", "decoder")
SEEDS = {"smoke": 1, "laptop": 3, "study": 10}

AGREEMENTS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Part phase: how often format agrees with the label."""

CHECKPOINTS = (50, 150, 500)
"""Part predictor: reward models along a course of training, beside its end."""


def sizes_of(scale: str, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top.

    Raises:
        UnknownName: a setting is not a field of `Sizes`.
        InputError: a setting has the wrong type or an impossible value; the sentence gives the nearest valid one.
    """
    base = SCALES[scale]
    sizes = with_settings(base, settings)
    _check(sizes)
    return sizes


def _check(sizes: Sizes) -> None:
    for name, value in vars(sizes).items():
        if isinstance(value, int) and value < 1:
            raise InputError(f"setting {name}={value} must be at least 1; the nearest valid one is 1.")
    if sizes.rollouts < 2:
        raise InputError("rollouts=1 leaves a group without spread; the nearest valid setting is rollouts=2.")
    if sizes.rl_rollouts < 2:
        raise InputError("rl_rollouts=1 leaves a group without spread; the nearest valid setting is rl_rollouts=2.")
    if sizes.width % 8:
        nearest = max(8, round(sizes.width / 8) * 8)
        raise InputError(f"width={sizes.width} must be a multiple of 8; the nearest valid setting is width={nearest}.")
    if sizes.text_held < 8:
        raise InputError(f"text_held={sizes.text_held} is too few for the controls; the nearest valid one is 8.")
    if not 0 <= sizes.agreement <= 1:
        raise InputError(f"agreement={sizes.agreement} is a share between 0 and 1.")
    if not sizes.step > 0:
        raise InputError(f"step={sizes.step} is a step length above 0; the usual one is 0.5.")
