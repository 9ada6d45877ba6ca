"""How large each scale is, which methods are compared, and under which mismatch between sampler and trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError
from consilience.request import with_settings

TOKENS, PROMPTS = 8, 7


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time. iterations of `batch` trajectories each, cut into `minibatches` steps.
    length: tokens a trajectory. trials: simulated trajectories for the table of acceptance. seeds: of a run.

    Of the byte-level language models: models: seeds of a run. steps of model_rows windows of `context` bytes; width:
    of the model; window: of its sliding layers. tuning: steps of the drafting heads alone. windows: of the test split.
    answers of answer_bytes bytes each: to measure drafting.
    """

    iterations: int = 60
    batch: int = 128
    length: int = 256
    minibatches: int = 4
    trials: int = 2000
    seeds: int = 3
    lr: float = 13.0
    models: int = 3
    steps: int = 300
    model_rows: int = 16
    context: int = 96
    width: int = 48
    window: int = 16
    tuning: int = 100
    windows: int = 192
    answers: int = 32
    answer_bytes: int = 64


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(
        iterations=2,
        batch=8,
        length=16,
        trials=20,
        seeds=1,
        models=1,
        steps=3,
        model_rows=2,
        context=24,
        width=16,
        tuning=2,
        windows=4,
        answers=2,
        answer_bytes=8,
    ),
    "laptop": Sizes(),
    "study": Sizes(seeds=10, models=5),
}


@dataclass(frozen=True)
class Mismatch:
    """How the sampling policy differs from the trainer's.

    noise: deviation of the noise on its logits, drawn anew every iteration (another engine's arithmetic). flips: share
    of tokens whose logits have a noise of 1.5 (another expert was routed to). lag: iterations its weights are behind.
    length, step: factors on trajectory length and learning rate. wide: the band MIS-PO is also run with.
    """

    name: str
    noise: float = 0.05
    flips: float = 0.0
    lag: int = 0
    length: float = 1.0
    step: float = 1.0
    wide: tuple[float, float] = (0.98, 1.005)


MISMATCHES: Mapping[str, Mismatch] = {
    m.name: m
    for m in (
        Mismatch("mild"),
        Mismatch("flips", flips=0.02),
        Mismatch("stale", flips=0.10, lag=6, length=0.5, wide=(0.95, 1.01)),
        Mismatch("stale-fast", flips=0.02, lag=6, length=0.5, step=4.0, wide=(0.95, 1.01)),
    )
}
LANGUAGE = ("drafting", "layouts", "gates", "experts", "optimizers")
"""Parts that train byte-level language models."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "engines": ("mild", "flips"),
    "staleness": ("stale", "stale-fast"),
    **{name: (name,) for name in LANGUAGE},
}
LAPTOP = ("engines", "drafting")
METHODS: Mapping[str, str] = {
    "none": "no correction",
    "ppo": "PPO, ε = 0.2",
    "is": "trajectory importance weights",
    "gspo": "GSPO, ε = 1e-4, masks of MIS-PO",
    "mis_po": "MIS-PO, published band",
    "mis_po_wide": "MIS-PO, wider band",
}
ARMS: Mapping[str, Mapping[str, str]] = {
    "drafting": {"heads": "heads cloned from the first, then tuned together"},
    "layouts": {
        "FFFF": "every layer sees everything",
        "S1F1": "every second layer has a window",
        "S3F1": "three of four layers have a window",
        "S3F1.heads": "and 1.5 times the query heads in them",
    },
    "gates": {
        "gate": "a gate a head, computed from the token",
        "sink": "a learned sink a head",
        "neither": "plain softmax",
    },
    "experts": {
        "none": "no balance",
        "bias": "loss-free balance of the biases",
        "bias.groups": "and the balance loss over groups",
    },
    "optimizers": {
        f"{name}_{rate:g}": f"{label}, learning rate {rate:g}"
        for name, label in (("adamw", "AdamW"), ("muon", "Muon"))
        for rate in (0.0015, 0.005, 0.015)
    },
}
"""What each language part compares."""
TRUNCATED: Mapping[str, str] = {"zero": "0 for what was cut off", "bootstrap": "the critic's value of the last state"}
EXTRAS = ("band", "cut")
"""Units beside the mismatches: acceptance of the published band, and responses under a length limit."""
ACCEPTANCE_LENGTHS = (16, 128, 1024, 8192)
ACCEPTANCE_NOISES = (0.05, 0.1, 0.2)


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top.

    Raises:
        UnknownName: a setting is not a field of `Sizes`.
        InputError: a setting has the wrong type or an impossible value.
    """
    base = SCALES["study" if study and scale == "laptop" else scale]
    sizes = with_settings(base, settings)
    for name, value in settings.items():
        if value <= 0:
            raise InputError(f"setting {name}={value} must be above 0.")
    if sizes.batch % sizes.minibatches:
        near = sizes.minibatches * max(1, round(sizes.batch / sizes.minibatches))
        raise InputError(f"batch={sizes.batch} must be a multiple of minibatches={sizes.minibatches}, such as {near}.")
    return sizes
