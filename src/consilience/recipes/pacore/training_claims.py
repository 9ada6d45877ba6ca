"""What training the synthesis is to bring (arXiv 2601.05593), as comparisons on measured numbers. No torch here.

Thresholds were written down before any test problem was answered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from consilience.claims import Claim
from consilience.recipes.pacore.arms import PARALLEL, SEQUENTIAL, VOTE
from consilience.recipes.pacore.reading import Evaluations, Record, curve, difference
from consilience.recipes.pacore.work import READER, TRAINED, UNTRAINED
from consilience.stats import Estimate, wilson

RECIPE = "pacore"
PAPER = "PaCoRe (arXiv 2601.05593)"
FACTOR = 4
"""How many times the emergent correctness of the untrained synthesizer the trained one must reach."""
MARGINS: Mapping[int, float] = {4: 0.10, 16: 0.05, 32: 0.05}
"""K → by how much trained synthesis must beat plain voting over as many trajectories."""
CHAIN = 0.2
"""By how much the parallel schedule must beat the sequential one of as many trajectories."""

TRAINING_CLAIMS = (
    Claim(
        "synthesis_untrained_flat",
        RECIPE,
        "(a) Before training, a model that knows the form of a synthesis prompt is flat: its accuracy changes by less "
        "than 0.03 for each doubling of K.",
        f"{PAPER}, Fig. 1 right",
        ("untrained/slope",),
        relation="within",
        threshold=0.03,
    ),
    Claim(
        "synthesis_rises",
        RECIPE,
        "(b) After training, accuracy rises at every step of K, and once more with a second round.",
        f"{PAPER}, Table 1, Fig. 1 right",
        ("trained/smallest-step",),
    ),
    *(
        Claim(
            f"synthesis_vote_{k}",
            RECIPE,
            f"(c) Trained synthesis at K = {k} beats plain voting of the reader that never saw references, over as "
            f"many trajectories, by more than {margin:.2f}.",
            f"{PAPER}, Table 2",
            (f"trained/parallel-vote@{k}",),
            threshold=margin,
        )
        for k, margin in MARGINS.items()
    ),
    Claim(
        "synthesis_emergent",
        RECIPE,
        "(e) Where every message is wrong, the trained model is right at least four times as often as the untrained "
        "one, at the widest single round.",
        f"{PAPER}, Fig. 5 right",
        ("trained/emergent-4x",),
    ),
    Claim(
        "synthesis_parallel",
        RECIPE,
        "(f) With trained synthesis the parallel schedule beats the sequential one of as many trajectories by more "
        "than 0.2.",
        f"{PAPER}, Fig. 4 left",
        ("trained/parallel-sequential@16",),
        threshold=CHAIN,
    ),
)


def synthesis_measured(evaluations: Evaluations) -> dict[str, dict[int, Estimate]]:
    """The numbers that compare points of one or both models, by seed; the untrained slope is among the general ones."""
    out: dict[str, dict[int, Estimate]] = {}
    for seed in sorted({seed for seed, part in evaluations if part == TRAINED}):
        after, before = evaluations[seed, TRAINED], evaluations.get((seed, UNTRAINED), {})
        reader = evaluations.get((seed, READER), {})
        found: dict[str, Estimate] = {}
        if (step := smallest_step(rising(after))) is not None:
            found["trained/smallest-step"] = step
        for record in curve(after, PARALLEL):
            k = int(record["width"])
            for arm, others in ((VOTE, reader), (SEQUENTIAL, after)):
                if (other := others.get(f"{arm}-{k}")) is not None:
                    found[f"trained/parallel-{arm}@{k}"] = difference(record, other)
        if (ratio := _emergence(after, before)) is not None:
            found[f"trained/emergent-{FACTOR}x"] = ratio
        for name, estimate in found.items():
            out.setdefault(name, {})[seed] = estimate
    return out


def rising(records: Mapping[str, Record]) -> list[Record]:
    """The parallel points in the order in which accuracy is to rise: by K, then the schedule of two rounds."""
    deep = [record for record in records.values() if record["arm"] == PARALLEL and record["schedule"]]
    return [*curve(records, PARALLEL), *deep]


def smallest_step(line: Sequence[Record]) -> Estimate | None:
    """The least difference between neighbours (that of the lowest lower bound), paired on the same problems."""
    steps = [difference(b, a) for a, b in pairwise(line)]
    return min(steps, key=lambda step: (step.low, step.value), default=None)


def emergent(record: Record) -> Estimate | None:
    """Of the problems whose every message was wrong, the share answered rightly; None where there are none."""
    right = np.asarray(record["right"])[np.asarray(record["hopeless"]) == 1]
    return wilson(int(right.sum()), len(right)) if len(right) else None


def _emergence(after: Mapping[str, Record], before: Mapping[str, Record]) -> Estimate | None:
    lines = curve(after, PARALLEL), curve(before, PARALLEL)
    if not all(lines):
        return None
    rates = [emergent(line[-1]) for line in lines]
    return None if rates[0] is None or rates[1] is None else exceeds(rates[0], rates[1], FACTOR)


def exceeds(a: Estimate, b: Estimate, factor: float) -> Estimate:
    """a − factor·b of two independent proportions, its interval recovered from theirs (Zou and Donner 2008)."""
    value = a.value - factor * b.value
    low = value - math.hypot(a.value - a.low, factor * (b.high - b.value))
    high = value + math.hypot(a.high - a.value, factor * (b.value - b.low))
    return Estimate(value, low, high, min(a.n, b.n))
