"""What R-Align says, as comparisons on measured numbers, and how the numbers are measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from consilience.claims import Claim, Measured
from consilience.errors import InputError
from consilience.stats import Estimate

RECIPE = "r_align"
PAPER = "R-Align (arXiv 2602.06763)"
Metric = Literal["lacc", "scorr", "fscore"]

CLAIMS = (
    Claim(
        "scorr_falls",
        RECIPE,
        "SIMULATION: rewarding label and rationale ends with fewer spurious rationales than rewarding the label alone.",
        f"{PAPER}, rationale-aware benchmark",
        ("bandit-scorr/align-label", "text-scorr/align-label"),
        relation="<",
        seeds=3,
        share=None,
    ),
    Claim(
        "fscore_rises",
        RECIPE,
        "SIMULATION: its F-Score is above that of label-only training, of no training and of a judge by format.",
        f"{PAPER}, rationale-aware benchmark",
        tuple(f"{part}-fscore/align-{b}" for part in ("bandit", "text") for b in ("label", "untrained", "format")),
        seeds=3,
        share=None,
    ),
    Claim(
        "downstream_rises",
        RECIPE,
        "SIMULATION: an actor trained against it earns more gold than one trained against a label-only, an untrained "
        "or a format judge.",
        f"{PAPER}, downstream results",
        tuple(f"gold/align-{b}" for b in ("label", "untrained", "format")),
        seeds=3,
        share=None,
    ),
    Claim(
        "label_training_raises_scorr",
        RECIPE,
        "SIMULATION: training on the label alone raises the share of spurious rationales above that of no training.",
        f"{PAPER}, rationale-aware benchmark, 14B",
        ("bandit-scorr/label-untrained", "text-scorr/label-untrained"),
        seeds=3,
        share=None,
    ),
    Claim(
        "label_accuracy_is_kept",
        RECIPE,
        "SIMULATION: rewarding the rationale as well costs less than a point of label accuracy.",
        f"{PAPER}, rationale-aware benchmark",
        ("bandit-lacc/align-label", "text-lacc/align-label"),
        threshold=-0.01,
        seeds=3,
        share=None,
    ),
    Claim(
        "decoder_scorr_falls",
        RECIPE,
        "A nano decoder rewarded for label and rationale ends with fewer spurious rationales than one rewarded for the "
        "label alone, and than its warm start.",
        f"{PAPER}, rationale-aware benchmark",
        ("decoder-scorr/align-label", "decoder-scorr/align-start"),
        relation="<",
        seeds=3,
        share=None,
    ),
    Claim(
        "decoder_fscore_rises",
        RECIPE,
        "A nano decoder rewarded for label and rationale has a higher F-Score than one rewarded for the label alone, "
        "and than its warm start.",
        f"{PAPER}, rationale-aware benchmark",
        ("decoder-fscore/align-label", "decoder-fscore/align-start"),
        seeds=3,
        share=None,
    ),
    Claim(
        "decoder_downstream_rises",
        RECIPE,
        "A writer trained against the nano decoder that was rewarded for label and rationale earns more gold than one "
        "trained against the label-only one or the warm start.",
        f"{PAPER}, downstream results",
        ("decoder-gold/align-label", "decoder-gold/align-start"),
        seeds=3,
        share=None,
    ),
    Claim(
        "decoder_label_training_raises_scorr",
        RECIPE,
        "Training the nano decoder on the label alone raises its share of spurious rationales above the warm start's.",
        f"{PAPER}, rationale-aware benchmark, 14B",
        ("decoder-scorr/label-start",),
        seeds=3,
        share=None,
    ),
    Claim(
        "decoder_label_accuracy_is_kept",
        RECIPE,
        "Rewarding the nano decoder's rationale as well costs less than a point of label accuracy.",
        f"{PAPER}, rationale-aware benchmark",
        ("decoder-lacc/align-label",),
        threshold=-0.01,
        seeds=3,
        share=None,
    ),
    Claim(
        "shuffled_gold_is_spurious",
        RECIPE,
        "With the golden rationales of other pairs nearly every rationale is found spurious.",
        "null control, not in the paper",
        ("control/shuffled",),
        threshold=0.95,
        seeds=3,
        share=None,
    ),
    Claim(
        "gold_is_not_spurious",
        RECIPE,
        "With the golden rationale itself as the explanation nearly none is found spurious.",
        "identity control, not in the paper",
        ("control/gold",),
        relation="<",
        threshold=0.05,
        seeds=3,
        share=None,
    ),
    Claim(
        "collapse_above_content",
        RECIPE,
        "SIMULATION: where format predicts the label better than content can, label-only training ends in format.",
        "phase study of this recipe, not in the paper",
        ("phase/above",),
        threshold=0.9,
        seeds=3,
        share=None,
    ),
    Claim(
        "boundary_at_content",
        RECIPE,
        "SIMULATION: it does so from where format passes the best accuracy that content allows, within 0.05.",
        "phase study of this recipe, not in the paper",
        ("phase/boundary-content",),
        relation="within",
        threshold=0.05,
        seeds=3,
        share=None,
    ),
    Claim(
        "fscore_predicts_better",
        RECIPE,
        "SIMULATION: over a population of reward models F-Score correlates with the actor's gold more than L-Acc does.",
        f"{PAPER}, correlation with downstream results",
        ("predictor/fscore-lacc",),
        seeds=3,
        share=None,
    ),
)

Evaluations = Mapping[tuple[int, str], Mapping[str, Any]]
"""(seed, part) → the unit's evaluation.json."""

PAIRED = (("align", "label"), ("align", "untrained"), ("align", "format"), ("label", "untrained"))
DECODER_PAIRED = (("align", "label"), ("align", "start"), ("label", "start"))
METRICS: tuple[Metric, ...] = get_args(Metric)


def measured(evaluations: Evaluations) -> Measured:
    """Every metric the claims name, by seed, from what was evaluated."""
    out: dict[str, dict[int, Estimate]] = {}
    for (seed, part), found in sorted(evaluations.items()):
        numbers: dict[str, Estimate] = {}
        if part in ("bandit", "text", "decoder"):
            for a, b in DECODER_PAIRED if part == "decoder" else PAIRED:
                for metric in METRICS:
                    estimate = state_difference(found["states"][a], found["states"][b], metric, seed)
                    if estimate is not None:
                        numbers[f"{part}-{metric}/{a}-{b}"] = estimate
        if part == "bandit":
            gold = found["gold"]
            numbers |= {f"gold/{a}-{b}": exactly(gold[a] - gold[b]) for a, b in PAIRED}
        if part == "decoder":
            gold = found["gold"]
            numbers |= {f"decoder-gold/{a}-{b}": exactly(gold[a] - gold[b]) for a, b in DECODER_PAIRED}
        if part == "text":
            for name in ("shuffled", "gold"):
                if (spurious := found["controls"][name]["spurious"]) is not None:
                    numbers[f"control/{name}"] = exactly(spurious)
        if part == "phase":
            numbers |= phase_numbers(found["points"], found["content_accuracy"])
        if part == "predictor":
            r = {metric: found["correlations"][metric]["pearson"] for metric in ("fidelity", "label_accuracy")}
            numbers["predictor/fscore-lacc"] = exactly(r["fidelity"] - r["label_accuracy"])
        for name, estimate in numbers.items():
            out.setdefault(name, {})[seed] = estimate
    return out


def exactly(value: float) -> Estimate:
    """A number of one seed that is computed, not sampled; its spread is that between seeds."""
    return Estimate(float(value), float(value), float(value), 1)


def value_of(counts: np.ndarray, metric: Metric) -> np.ndarray:
    """A metric from counts (…, 3) of C, I, S; NaN where it is undefined."""
    correct, incorrect, wrong = np.moveaxis(np.asarray(counts, float), -1, 0)
    total, right = correct + incorrect + wrong, correct + incorrect
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = {"lacc": right / total, "scorr": incorrect / right, "fscore": correct / total}[metric]
    return found


def state_difference(a: str, b: str, metric: Metric, seed: int, resamples: int = 2000) -> Estimate | None:
    """Metric of a minus metric of b on the same pairs, bootstrap over pairs; None where either is undefined.

    Args:
        a, b: one letter a pair, C, I or S (see `bandit.states`).

    Raises:
        InputError: the letters are others, or not of the same pairs.
    """
    if len(a) != len(b) or {*a, *b} - set("CIS"):
        raise InputError(f"a paired difference needs letters C, I, S of the same pairs, not {len(a)} and {len(b)}.")
    cells = Counter(zip(a, b, strict=True))
    keys = [(x, y) for x in "CIS" for y in "CIS"]
    share = np.array([cells[key] for key in keys]) / len(a)
    draws_R33 = np.random.default_rng(seed).multinomial(len(a), share, size=resamples).reshape(resamples, 3, 3)
    point_33 = np.array([cells[key] for key in keys]).reshape(3, 3)
    point = float(value_of(point_33.sum(1), metric) - value_of(point_33.sum(0), metric))
    if np.isnan(point):
        return None
    spread = value_of(draws_R33.sum(2), metric) - value_of(draws_R33.sum(1), metric)
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return Estimate(point, float(low), float(high), len(a))


def phase_numbers(points: Sequence[Mapping[str, Any]], content_accuracy: float) -> dict[str, Estimate]:
    """above: the lowest share of format rationales after label-only training where format is the better predictor;
    boundary-content: the agreement at which that share crosses one half, minus the best accuracy of content."""
    shares = [(float(p["agreement"]), float(p["label"]["format_share"])) for p in points]
    numbers = {}
    above = [share for agreement, share in shares if agreement > content_accuracy]
    if above:
        numbers["phase/above"] = exactly(min(above))
    if (boundary := crossing(shares)) is not None:
        numbers["phase/boundary-content"] = exactly(boundary - content_accuracy)
    return numbers


def crossing(points: Sequence[tuple[float, float]], level: float = 0.5) -> float | None:
    """Where a series (x, y) first rises through a level, by linear interpolation; None where it does not."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 < level <= y1:
            return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return None
