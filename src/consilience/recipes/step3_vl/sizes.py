"""How large each scale is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError, UnknownName
from consilience.request import with_settings


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time.

    Model: d_model, layers of the decoder; width, blocks of the tower. level: of the digits world, which decides how
    many digits a canvas holds. keep: share of the pixels that one glimpse shows; training shows at least as much.
    pointing: share of the warm start that points instead of counting.

    Stages: eyes_steps of eyes_batch pictures align the tower; sft_steps of sft_batch demonstrations warm the model up;
    pools training problems get `responses` cached messages each; rl_steps of instances × samples episodes train the
    synthesis, and as many of fresh problems the pointing.

    Measuring: problems of the test split; narrow and wide are the widths K of the parallel schedules, looks the samples
    of a pointing problem. max_tokens: of one trajectory, 0 leaves it to the server.
    """

    eyes_steps: int
    eyes_batch: int
    sft_steps: int
    sft_batch: int
    pools: int
    responses: int
    rl_steps: int
    instances: int
    samples: int
    problems: int
    narrow: int = 2
    wide: int = 8
    looks: int = 8
    d_model: int = 64
    layers: int = 4
    width: int = 48
    blocks: int = 2
    level: str = "easy"
    keep: float = 0.7
    pointing: float = 0.2
    eyes_lr: float = 4e-3
    sft_lr: float = 4e-3
    actor_lr: float = 5e-4
    critic_lr: float = 2e-3
    max_tokens: int = 20


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(
        eyes_steps=2,
        eyes_batch=4,
        sft_steps=40,
        sft_batch=4,
        sft_lr=2e-2,
        pools=3,
        responses=3,
        rl_steps=2,
        instances=2,
        samples=2,
        problems=4,
        wide=3,
        looks=2,
        d_model=16,
        layers=1,
        width=16,
        blocks=1,
    ),
    "laptop": Sizes(
        eyes_steps=900,
        eyes_batch=48,
        eyes_lr=6e-3,
        sft_steps=650,
        sft_batch=32,
        keep=0.8,
        pools=400,
        responses=10,
        rl_steps=100,
        instances=12,
        samples=16,
        problems=150,
        pointing=0.0,
    ),
    "study": Sizes(
        eyes_steps=1500,
        eyes_batch=64,
        sft_steps=2000,
        sft_batch=32,
        pools=1000,
        responses=16,
        rl_steps=400,
        instances=16,
        samples=16,
        problems=400,
        level="wide",
    ),
    "gpu": Sizes(
        eyes_steps=4000,
        eyes_batch=256,
        sft_steps=8000,
        sft_batch=256,
        pools=4000,
        responses=24,
        rl_steps=600,
        instances=64,
        samples=16,
        problems=1000,
        wide=16,
        d_model=256,
        layers=6,
        width=192,
        blocks=6,
        eyes_lr=1e-3,
        sft_lr=1e-3,
        actor_lr=1e-4,
        critic_lr=5e-4,
        level="wide",
    ),
    "paper": Sizes(
        eyes_steps=1,
        eyes_batch=1,
        sft_steps=1,
        sft_batch=1,
        pools=1,
        responses=1,
        rl_steps=1,
        instances=1,
        samples=1,
        problems=500,
        narrow=4,
        wide=16,
        level="hard",
        keep=1.0,
        max_tokens=0,
    ),
}
SEEDS = {"study": 3}
"""Seeds of a study; other scales take one."""
LEVELS = ("clean", "easy", "wide")
"""Levels whose canvases the small model is trained on: they ask for a digit or a parity."""


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top.

    Raises:
        UnknownName: a setting is not a field of `Sizes`, or the level is not known.
        InputError: a setting has the wrong type or an impossible value.
    """
    sizes = with_settings(SCALES["study" if study and scale == "laptop" else scale], settings)
    zero = ("max_tokens",)
    for name, value in vars(sizes).items():
        if isinstance(value, int) and value < (0 if name in zero else 1):
            raise InputError(f"setting {name}={value} must be at least {0 if name in zero else 1}.")
        if isinstance(value, float) and not (0 < value <= 1 or (value == 0 and name == "pointing")):
            raise InputError(f"setting {name}={value:g} must lie above 0 and not above 1.")
    if sizes.narrow >= sizes.wide:
        raise InputError(f"setting narrow={sizes.narrow} must be smaller than wide={sizes.wide}.")
    if sizes.d_model % 16 or sizes.width % 16:
        raise InputError(f"d_model={sizes.d_model} and width={sizes.width} must be multiples of 16.")
    known = (*LEVELS, "medium", "hard") if scale == "paper" else LEVELS
    if sizes.level not in known:
        raise UnknownName("level", sizes.level, known)
    return sizes
