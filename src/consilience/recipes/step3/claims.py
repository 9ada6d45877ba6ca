"""What the papers say of MFA, of the cost of a token and of disaggregation, as comparisons on measured numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.claims import Claim, Measured
from consilience.recipes.step3.costs import matching_cells
from consilience.stats import Estimate, bootstrap, t_interval

RECIPE = "step3"
STEP3 = "Step-3 (arXiv 2507.19427)"
MFA = "Multi-matrix Factorization Attention (arXiv 2412.19255)"
Records = Mapping[str, Sequence[Mapping[str, Any]]]
"""Unit name → its records."""


def _ordering(name: str, sentence: str, source: str, metric: str, threshold: float = 0.0) -> Claim:
    return Claim(name, RECIPE, sentence, source, (f"bits/{metric}",), threshold=threshold, seeds=5, share=None)


CLAIMS = (
    _ordering(
        "mfa_beats_gqa",
        "At equal cache, parameters and training, MFA predicts bytes better than grouped-query attention.",
        f"{STEP3}, §5.1 (twice the effective rank of Qwen3's GQA)",
        "gqa-mfa",
    ),
    _ordering(
        "mfa_beats_mha",
        "At equal cache, parameters and training, MFA predicts bytes better than multi-head attention.",
        f"{MFA}, §4",
        "mha-mfa",
    ),
    _ordering(
        "mfa_beats_mla",
        "At equal cache, parameters and training, MFA predicts bytes better than multi-head latent attention.",
        f"{MFA}, §4 (49.9 against 48.3, with less cache)",
        "mla-mfa",
    ),
    _ordering(
        "mfa_beats_double_mha",
        "MFA predicts bytes better than multi-head attention with twice its cache.",
        f"{MFA}, §4 (49.9 against 49.0, with an eighth of the cache)",
        "mha_double-mfa",
    ),
    _ordering(
        "factors_cost_nothing",
        "Factorised queries lose less than 0.02 bits a byte against queries that are not.",
        "our reading: multi-query attention of equal heads is MFA without factors",
        "mqa-mfa",
        threshold=-0.02,
    ),
    _ordering(
        "key_reuse_costs_little",
        "MFA-KR, with half the cache of MFA, loses less than 0.1 bits a byte.",
        f"{MFA}, §4 (48.0 against 49.9)",
        "mfa-mfa_kr",
        threshold=-0.1,
    ),
    Claim(
        "fp8_messages_cost_nothing",
        RECIPE,
        "Feed-forward inputs in FP8 with a scale a token, and outputs in bfloat16, cost less than 0.005 bits a byte.",
        f"{STEP3}, §7.1",
        ("fp8/bits",),
        relation="<",
        threshold=0.005,
    ),
    Claim(
        "cost_table",
        RECIPE,
        "The closed form gives all 108 cells of the cost table as printed.",
        f"{STEP3}, Table 6",
        ("cost/cells",),
        threshold=107.5,
    ),
    Claim(
        "same_logits",
        RECIPE,
        "An attention and an FFN process give the logits of one process, to 1e-5 of the largest.",
        f"{STEP3}, §7.1",
        ("afd/difference",),
        relation="<",
        threshold=1e-5,
    ),
    Claim(
        "pipeline_is_faster",
        RECIPE,
        "Three micro-batches in flight decode more than 1.1 times as many tokens a second as one with as many rows.",
        f"{STEP3}, §7.1",
        ("afd/speed",),
        threshold=1.1,
    ),
    Claim(
        "pipeline_law",
        RECIPE,
        "The time per output token is layers × max(m × busiest stage, sum of the stages), within a quarter.",
        f"{STEP3}, §7.1",
        ("afd/law",),
        relation="within",
        threshold=0.25,
    ),
)


def measured(found: Records) -> Measured:
    """Every number the claims name, by seed."""
    numbers: dict[str, dict[int, Estimate]] = {"cost/cells": {0: _exact(matching_cells())}}
    models = {name: records[0] for name, records in found.items() if records and "bits_W" in records[0]}
    for metric in (metric for claim in CLAIMS for metric in claim.metrics if metric.startswith("bits/")):
        a, b = metric.removeprefix("bits/").split("-")
        for seed in sorted({int(record["seed"]) for record in models.values()}):
            pair = [models.get(f"{name}-seed{seed}") for name in (a, b)]
            if pair[0] is not None and pair[1] is not None:
                difference = np.subtract(pair[0]["bits_W"], pair[1]["bits_W"])
                estimate = bootstrap(difference, seed, clusters=pair[0]["file_W"])
                numbers.setdefault(metric, {})[seed] = estimate
    for record in models.values():
        if record["arm"] == "mfa":
            rounding = np.subtract(record["rounded_W"], record["bits_W"])
            estimate = bootstrap(rounding, int(record["seed"]), clusters=record["file_W"])
            numbers.setdefault("fp8/bits", {})[int(record["seed"])] = estimate
    return numbers | _pipeline(found.get("disaggregation", ()))


def _pipeline(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Estimate]]:
    """Of the disaggregated runs, whose measured pairs are the sample."""
    paired = [record for record in records if "speed" in record]
    if len(paired) < 2:
        return {}
    speed, law = (t_interval([float(record[name]) for record in paired]) for name in ("speed", "law"))
    difference = max(float(record["difference"]) for record in records if "difference" in record)
    return {"afd/speed": {0: speed}, "afd/law": {0: law}, "afd/difference": {0: _exact(difference)}}


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value, 1)
