"""How large each scale is, and which arms a study compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError, UnknownName
from consilience.learn.optim import OPTIMIZERS
from consilience.request import with_settings
from consilience.worlds.digit_questions import LEVELS


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time. Stages are sized by these counts, never by the clock.

    eyes_steps × eyes_batch: pictures for the vision stem. sft_steps: at most; the warm start ends `sft_patience`
    evaluations after the dev score last gained `sft_gain`, then cools down for `sft_cooldown` steps. sft_optimizer: of
    warm start and control, adamw or muon.
    rl_steps × problems × samples: rollouts; the control sees as many demonstrations. critic_batches: steps of the
    critic a rollout, each on its share of the problems. test: problems a cell; subset: how
    many of them are also answered greedily and 16 times. dev: problems a modality at each evaluation during training.
    """

    eyes_steps: int
    sft_steps: int
    sft_cooldown: int
    sft_patience: int
    rl_steps: int
    problems: int
    samples: int
    test: int
    subset: int
    dev: int
    eyes_batch: int = 64
    sft_batch: int = 64
    sft_gain: float = 0.01
    sft_optimizer: str = "adamw"
    sft_every: int = 50
    rl_every: int = 20
    max_tokens: int = 192
    eyes_lr: float = 4e-3
    sft_lr: float = 3e-3
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    dpo_lr: float = 2e-4
    critic_batches: int = 2
    lam: float = 1.0
    normalise: str = "modality"
    brief: float = 0.25
    d_model: int = 128
    n_layers: int = 4
    level: str = "easy"
    ood: str = "wide"

    @property
    def rl_micro(self) -> int:
        """Prompts of a forward pass of PPO and GRPO: small enough for every step of the critic to have one."""
        return min(8, self.problems // self.critic_batches)


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(
        eyes_steps=6, sft_steps=8, sft_cooldown=4, sft_patience=9, rl_steps=2, problems=4, samples=4, test=8,
        subset=4, dev=8, eyes_batch=16, sft_batch=16, sft_every=4, rl_every=1, max_tokens=24, sft_optimizer="muon",
    ),
    "laptop": Sizes(
        eyes_steps=400, sft_steps=900, sft_cooldown=100, sft_patience=3, rl_steps=50, problems=32, samples=8,
        test=400, subset=100, dev=100, sft_gain=0.05, sft_optimizer="muon", sft_lr=5e-3,
    ),
    "study": Sizes(
        eyes_steps=500, sft_steps=1600, sft_cooldown=250, sft_patience=4, rl_steps=100, problems=32, samples=8,
        test=2000, subset=250, dev=200,
    ),
    "gpu": Sizes(
        eyes_steps=2000, sft_steps=4000, sft_cooldown=1000, sft_patience=5, rl_steps=300, problems=256, samples=16,
        test=2000, subset=500, dev=500, eyes_batch=512, sft_batch=512, d_model=384, n_layers=6, level="medium",
        ood="ood", eyes_lr=2e-3, sft_lr=2e-3, actor_lr=1e-4, critic_lr=5e-4, critic_batches=4,
    ),
}  # fmt: skip


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top.

    Raises:
        UnknownName: a setting is not a field of `Sizes`.
        InputError: a setting has the wrong type or an impossible value; the sentence gives the nearest valid one.
    """
    base = SCALES["study" if study and scale == "laptop" else scale]
    sizes = with_settings(base, settings)
    _check(sizes)
    return sizes


def _check(sizes: Sizes) -> None:
    for name, value in vars(sizes).items():
        least = 0 if name in ("eyes_steps", "rl_steps") else 1
        if isinstance(value, int) and value < least:
            raise InputError(f"setting {name}={value} must be at least {least}.")
        if name.endswith("_lr") and value < 0:
            raise InputError(f"setting {name}={value} is a learning rate, 0 or larger.")
    for name in ("level", "ood"):
        if getattr(sizes, name) not in LEVELS:
            raise UnknownName(name, getattr(sizes, name), LEVELS)
    if sizes.d_model % 64:
        nearest = max(64, round(sizes.d_model / 64) * 64)
        raise InputError(f"d_model={sizes.d_model} must be a multiple of 64; the nearest is {nearest}.")
    if sizes.samples < 2:
        raise InputError("samples=1 leaves a group without spread; the nearest valid setting is samples=2.")
    if sizes.problems < 2:
        raise InputError("problems=1 cannot hold both modalities; the nearest valid setting is problems=2.")
    if sizes.critic_batches > sizes.problems:
        raise InputError(
            f"critic_batches={sizes.critic_batches} splits {sizes.problems} problems; the nearest valid setting is "
            f"critic_batches={sizes.problems}."
        )
    if sizes.sft_optimizer not in OPTIMIZERS:
        raise UnknownName("sft_optimizer", sizes.sft_optimizer, OPTIMIZERS)
    if sizes.normalise not in ("batch", "modality", "none"):
        raise InputError(f"normalise={sizes.normalise!r} is none of batch, modality, none.")
    if sizes.sft_cooldown >= sizes.sft_steps:
        raise InputError(f"sft_cooldown={sizes.sft_cooldown} must be below sft_steps={sizes.sft_steps}.")
    if not 0 <= sizes.brief <= 1:
        raise InputError(f"brief={sizes.brief} is a share between 0 and 1.")


def batch_line(sizes: Sizes) -> str:
    """The batch arithmetic in one line, printed at the start."""
    rollouts = sizes.problems * sizes.samples
    return (
        f"{sizes.problems} problems × {sizes.samples} samples = {rollouts} rollouts a step, {sizes.rl_steps} steps, "
        f"{rollouts * sizes.rl_steps:,} rollouts in all; 1 actor step and {sizes.critic_batches} critic steps each."
    )


@dataclass(frozen=True)
class Arm:
    """One way to go on from the warm start.

    method: ppo | grpo | dpo | sft | none. reward: joint (answer and space) | answer | format | random.
    phases: modalities of each phase, phases share the steps equally; "joint" means both at once.
    """

    name: str
    method: str = "ppo"
    reward: str = "joint"
    phases: tuple[str, ...] = ("joint",)


ARMS = {
    arm.name: arm
    for arm in (
        Arm("ppo"),
        Arm("control", method="sft"),
        Arm("warm", method="none"),
        Arm("text-image", phases=("text", "image")),
        Arm("image-text", phases=("image", "text")),
        Arm("answer", reward="answer"),
        Arm("format", reward="format"),
        Arm("random", reward="random"),
        Arm("grpo", method="grpo"),
        Arm("dpo", method="dpo"),
    )
}
CORE = ("ppo", "control", "warm")
PARTS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "core": (CORE, 5),
    "seesaw": (("text-image", "image-text"), 5),
    "rewards": (("answer", "format", "random"), 3),
    "methods": (("grpo", "dpo"), 3),
}
"""Parts of the study: arms and number of seeds. Every part compares with the core arms of its seeds."""
