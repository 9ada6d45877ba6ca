"""What the report says, as comparisons on measured numbers. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.claims import Claim, Measured
from consilience.recipes.step3_vl.measure import ARMS, ONE, PARALLEL, SEQUENTIAL, VOTE
from consilience.recipes.step3_vl.work import DECAY, MODEL, TRAINED, UNTRAINED
from consilience.stats import (
    Estimate,
    bootstrap,
    discordant,
    doubling_slope,
    paired_bootstrap,
    paired_difference,
    pass_at_k,
    wilson,
)

RECIPE = "step3_vl"
PAPER = "STEP3-VL-10B (arXiv 2601.09668)"
FLAT = 0.03
"""Change of accuracy for each doubling of K that counts as none."""

CLAIMS = (
    Claim(
        "parallel_beats_one",
        RECIPE,
        "Counting digits from glimpses, after training in synthesis: K parallel trajectories and a synthesis beat one "
        "trajectory of the same weights.",
        f"{PAPER}, SeRe against PaCoRe",
        (f"{TRAINED}/{PARALLEL}-{ONE}",),
    ),
    Claim(
        "parallel_beats_sequential",
        RECIPE,
        "The same against as many trajectories one after the other, each seeing the conclusion of the one before: "
        "sequential perception does not scale.",
        f"{PAPER}, missing traces; PaCoRe (arXiv 2601.05593), Fig. 4 left",
        (f"{TRAINED}/{PARALLEL}-{SEQUENTIAL}",),
    ),
    Claim(
        "training_makes_synthesis",
        RECIPE,
        "At the same K, training in synthesis beats the warm start, which was shown references that say nothing.",
        "PaCoRe (arXiv 2601.05593), Fig. 1 right",
        (f"{TRAINED}-{UNTRAINED}/{PARALLEL}",),
    ),
    Claim(
        "synthesis_beats_vote",
        RECIPE,
        "After training in synthesis: K parallel trajectories and a synthesis beat a plain vote of K + 1.",
        "PaCoRe (arXiv 2601.05593), Table 2",
        (f"{TRAINED}/{PARALLEL}-{VOTE}",),
    ),
    Claim(
        "untrained_flat",
        RECIPE,
        "Synthesis by the warm start does not depend on K: less than 0.03 for each doubling. It follows from what the "
        "warm start was shown, and is checked, not discovered.",
        "PaCoRe (arXiv 2601.05593), Fig. 1 right",
        (f"{UNTRAINED}/slope",),
        relation="within",
        threshold=FLAT,
    ),
    Claim(
        "pointing_one_try",
        RECIPE,
        "PPO on the reward that decays with distance raises the hits of one try at temperature 1.",
        f"{PAPER}, §3.3–3.4",
        (f"{DECAY}/pass@1",),
        seeds=3,
    ),
    Claim(
        "pointing_sharpens",
        RECIPE,
        "Most of that gain is many tries turned into one: hits of one try gain more than hits of any of many tries.",
        f"{PAPER}, dynamics of reinforcement",
        (f"{DECAY}/pass@1-pass@N",),
        seeds=3,
    ),
    Claim(
        "pointing_entropy",
        RECIPE,
        "The entropy of answer tokens falls under that training.",
        f"{PAPER}, dynamics of reinforcement",
        (f"{DECAY}/entropy",),
        relation="<",
        seeds=3,
    ),
    Claim(
        "pointing_shortens",
        RECIPE,
        "Answers of a deterministic perception task get shorter under that training, without a penalty on length.",
        f"{PAPER}, length diminishment",
        (f"{DECAY}/length",),
        relation="<",
        seeds=3,
    ),
    Claim(
        "model_parallel",
        RECIPE,
        "A model at an endpoint, counting digits in whole pictures: K parallel trajectories and a synthesis beat one.",
        f"{PAPER}, SeRe against PaCoRe",
        (f"{MODEL}/{PARALLEL}-{ONE}",),
    ),
)

Record = Mapping[str, Any]
Evaluations = Mapping[tuple[int, str], Mapping[str, Record]]
"""(seed, kind of unit) → name → record: points of `measure`, or "pointing"."""


def measured(evaluations: Evaluations) -> Measured:
    """Every metric the claims name, by seed; pairs at the widest K. Counts of a model whose single trajectories are not
    surely better than always giving the most frequent answer decide nothing and are left out."""
    out: dict[str, dict[int, Estimate]] = {}
    for (seed, kind), records in sorted(evaluations.items()):
        found: dict[str, Estimate] = {}
        if "pointing" in records:
            found = {f"{kind}/{name}": value for name, value in pointing(records["pointing"], seed).items()}
        elif ONE in records and above_chance(records[ONE]):
            best = widest(records, PARALLEL)
            for arm in ARMS[:-1]:
                found[f"{kind}/{PARALLEL}-{arm}"] = difference(best, widest(records, arm))
            found[f"{kind}/slope"] = slope(records, seed)
            base = evaluations.get((seed, UNTRAINED), {})
            if kind == TRAINED and base and above_chance(base[ONE]):
                found[f"{TRAINED}-{UNTRAINED}/{PARALLEL}"] = difference(best, widest(base, PARALLEL))
        for name, value in found.items():
            out.setdefault(name, {})[seed] = value
    return out


def above_chance(record: Record) -> bool:
    """Whether the 95 % interval of an arm's accuracy lies above the share of the most frequent true answer."""
    guess = max(Counter(record["truth"]).values()) / len(record["truth"])
    return wilson(sum(record["right"]), len(record["right"])).low > guess


def widest(records: Mapping[str, Record], arm: str) -> Record:
    """The record of an arm at its largest K."""
    return max((r for r in records.values() if r["arm"] == arm), key=lambda r: int(r["width"]))


def difference(a: Record, b: Record) -> Estimate:
    """Accuracy of a minus accuracy of b on the same problems, with Tango's interval."""
    only_a, only_b = discordant(a["right"], b["right"])
    return paired_difference(only_a, only_b, len(a["right"]))


def slope(records: Mapping[str, Record], seed: int) -> Estimate:
    """Change of the parallel arm's accuracy for each doubling of K."""
    line = sorted((r for r in records.values() if r["arm"] == PARALLEL), key=lambda r: int(r["width"]))
    return doubling_slope([int(record["width"]) for record in line], [record["right"] for record in line], seed)


def pointing(record: Record, seed: int) -> dict[str, Estimate]:
    """After minus before, paired on the problems: hits of one try and of any of N, greedy hits, entropy, length."""
    before, after = record["before"], record["after"]
    tries = record["looks"]
    one, many = ([np.asarray(tried(r["right"], tries, k)) for r in (before, after)] for k in (1, tries))
    gained, reached = one[1] - one[0], many[1] - many[0]
    return {
        "pass@1": bootstrap(gained, seed),
        "pass@N": bootstrap(reached, seed),
        "pass@1-pass@N": paired_bootstrap(gained, reached, seed),
        "greedy": paired_bootstrap(after["greedy"], before["greedy"], seed),
        "entropy": paired_bootstrap(after["entropy"], before["entropy"], seed),
        "length": paired_bootstrap(after["length"], before["length"], seed),
    }


def tried(right: Sequence[int], tries: int, k: int) -> list[float]:
    """pass@k of each problem, without bias, from hits of `tries` answers."""
    return [pass_at_k(tries, hits, k) for hits in right]
