"""What the paper says, as comparisons on measured numbers; each says of whom it speaks. No torch here."""

from __future__ import annotations

import numpy as np

from consilience.claims import Claim, Measured
from consilience.recipes.pacore.arms import ONE, PARALLEL, PASTED, SEQUENTIAL, VOTE
from consilience.recipes.pacore.reading import Evaluations, curve, difference, equal_cost, slope, widest
from consilience.recipes.pacore.training_claims import TRAINING_CLAIMS, synthesis_measured
from consilience.recipes.pacore.work import BLIND, MODEL, NANO, SIMULATED, TRAINED, UNTRAINED
from consilience.stats import Estimate, paired_bootstrap

RECIPE = "pacore"
PAPER = "PaCoRe (arXiv 2601.05593)"
FLAT = 0.03
"""Change of accuracy for each doubling of K that counts as none."""

CLAIMS = (
    Claim(
        "simulated_parallel",
        RECIPE,
        "SIMULATED reasoner, no model: at equal generated tokens (within 5 %) the widest parallel schedule beats the "
        "sequential one.",
        f"{PAPER}, Fig. 4 left; mechanism only",
        ("simulated/parallel-sequential",),
    ),
    Claim(
        "simulated_compaction",
        RECIPE,
        "SIMULATED reasoner, no model: with compaction the widest schedule beats pasting whole trajectories.",
        f"{PAPER}, Fig. 4 right; mechanism only",
        ("simulated/parallel-pasted",),
    ),
    Claim(
        "simulated_vote",
        RECIPE,
        "SIMULATED reasoner, no model: the widest schedule beats plain voting over as many trajectories.",
        f"{PAPER}, Table 2; mechanism only",
        ("simulated/parallel-vote",),
    ),
    Claim(
        "simulated_rises",
        RECIPE,
        "SIMULATED reasoner, no model: when references are read, accuracy rises with K (slope for each doubling).",
        f"{PAPER}, Fig. 1 right; mechanism only",
        ("simulated/slope",),
    ),
    Claim(
        "simulated_blind",
        RECIPE,
        "SIMULATED reasoner that never reads its references, no model: accuracy is flat, within ±0.03 for each "
        "doubling of K.",
        f"{PAPER}, Fig. 1 right; mechanism only",
        ("blind/slope",),
        relation="within",
        threshold=FLAT,
    ),
    Claim(
        "untrained_flat",
        RECIPE,
        "The shipped nano, untrained in synthesis, is flat: its accuracy changes by less than 0.03 for each doubling "
        "of K.",
        f"{PAPER}, Fig. 1 right",
        ("nano/slope",),
        relation="within",
        threshold=FLAT,
    ),
    Claim(
        "untrained_level",
        RECIPE,
        "The shipped nano, untrained in synthesis, is flat at the level of one trajectory: its mean accuracy over K "
        "stays within ±0.03 of it.",
        f"{PAPER}, Fig. 1 right",
        ("nano/level",),
        relation="within",
        threshold=FLAT,
    ),
    Claim(
        "untrained_parallel",
        RECIPE,
        "The shipped nano, untrained in synthesis: the widest parallel schedule beats the sequential one of as many "
        "trajectories.",
        f"{PAPER}, Fig. 4 left",
        ("nano/parallel-sequential",),
    ),
    Claim(
        "untrained_compaction",
        RECIPE,
        "The shipped nano, untrained in synthesis: with compaction the widest schedule beats pasting whole "
        "trajectories.",
        f"{PAPER}, Fig. 4 right",
        ("nano/parallel-pasted",),
    ),
    Claim(
        "untrained_vote",
        RECIPE,
        "The shipped nano, untrained in synthesis: the widest schedule beats plain voting over as many trajectories.",
        f"{PAPER}, Table 2",
        ("nano/parallel-vote",),
    ),
    Claim(
        "model_rises",
        RECIPE,
        "A model trained in synthesis, at an endpoint: the widest schedule beats one trajectory, and accuracy rises "
        "with K (slope for each doubling).",
        f"{PAPER}, Table 1",
        ("model/parallel-one", "model/slope"),
    ),
    Claim(
        "model_vote",
        RECIPE,
        "A model trained in synthesis, at an endpoint: the widest schedule beats plain voting over as many "
        "trajectories.",
        f"{PAPER}, Table 2",
        ("model/parallel-vote",),
    ),
    *TRAINING_CLAIMS,
)


def measured(evaluations: Evaluations) -> Measured:
    """Every metric the claims name, by seed. Pairs are compared at the widest K at which both were measured."""
    out: dict[str, dict[int, Estimate]] = {}
    for (seed, part), records in sorted(evaluations.items()):
        for a, b in ((PARALLEL, SEQUENTIAL), (PARALLEL, PASTED), (PARALLEL, VOTE), (PARALLEL, ONE)):
            pair = widest(records, a, b)
            if pair is None or (part == SIMULATED and b == SEQUENTIAL and not equal_cost(*pair)):
                continue
            out.setdefault(f"{part}/{a}-{b}", {})[seed] = difference(*pair)
        line = curve(records, PARALLEL)
        if len(line) > 1:
            out.setdefault(f"{part}/slope", {})[seed] = slope(line, seed)
        if line and ONE in records:
            mean = np.mean([record["right"] for record in line], axis=0)
            out.setdefault(f"{part}/level", {})[seed] = paired_bootstrap(mean, records[ONE]["right"], seed)
    named = (SIMULATED, BLIND, NANO, MODEL, UNTRAINED, TRAINED)
    kept = {name: values for name, values in out.items() if name.partition("/")[0] in named}
    return kept | synthesis_measured(evaluations)
