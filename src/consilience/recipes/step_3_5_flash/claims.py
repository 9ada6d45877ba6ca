"""What the report of Step 3.5 Flash says about MIS-PO, as comparisons on measured numbers; no torch here.

What it says about its architecture is in language_claims.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.claims import Claim, Measured
from consilience.recipes.step_3_5_flash.language_claims import LANGUAGE_CLAIMS, PAPER, RECIPE, Finals, finals, value
from consilience.recipes.step_3_5_flash.sizes import LANGUAGE
from consilience.stats import Estimate

LAST = 5

Records = Sequence[Mapping[str, Any]]
Found = Mapping[tuple[str, int, str], Records]
"""(mismatch, seed, method) → iterations in order; ("band", seed, "acceptance") holds simulated shares,
("cut", seed, "zero" or "bootstrap") what a length limit teaches, (part, seed, arm) a language model's curve and end."""


def _claim(name: str, sentence: str, source: str, *metrics: str, **rule: Any) -> Claim:
    return Claim(name, RECIPE, sentence, source, metrics, **{"seeds": 3, "share": None, **rule})


MIS_PO_CLAIMS = (
    _claim(
        "variance_is_removed",
        "MIS-PO removes the variance of importance weighting: where routes flip, the gradient norm of trajectory "
        "weights varies more than twice as much (coefficient of variation).",
        f"{PAPER}, §5.2",
        "flips/cv/is:mis_po_wide",
        threshold=math.log10(2),
    ),
    _claim(
        "beats_importance_weights",
        "MIS-PO ends with a higher reward than trajectory importance weights where routes flip.",
        f"{PAPER}, §5.2",
        "flips/reward/mis_po-is",
        "flips/reward/mis_po_wide-is",
    ),
    _claim(
        "beats_gspo",
        "Under the same masks MIS-PO ends with a higher reward than GSPO.",
        f"{PAPER}, App. D.2.3",
        "mild/reward/mis_po-gspo",
        "flips/reward/mis_po-gspo",
    ),
    _claim(
        "beats_ppo",
        "MIS-PO ends with a higher reward than token-clipped PPO.",
        f"{PAPER}, App. D.2.3 (PPO: spiky gradient norms, on a mixture of experts over 5,000 steps)",
        "mild/reward/mis_po_wide-ppo",
        "flips/reward/mis_po_wide-ppo",
    ),
    _claim(
        "beats_no_correction",
        "MIS-PO ends with a higher reward than no correction at all.",
        f"{PAPER}, §5.2",
        "mild/reward/mis_po_wide-none",
        "flips/reward/mis_po_wide-none",
    ),
    _claim(
        "band_depends_on_length",
        "The published band is for long responses: at logit noise 0.05 the share it keeps at 8,192 tokens is more than "
        "0.6 above that at 16 tokens.",
        "our reading of the asymmetric band",
        "band/acceptance/8192-16",
        threshold=0.6,
    ),
    _claim(
        "wider_band_for_short_responses",
        "On responses of 256 tokens a wider band ends with a higher reward than the published one where routes flip.",
        "our reading of the asymmetric band",
        "flips/reward/mis_po_wide-mis_po",
    ),
    _claim(
        "bootstrapping_keeps_length",
        "Where responses are cut off, the critic's last value in place of 0 keeps them long and right: without a limit "
        "the policy then searches longer and succeeds more often.",
        f"{PAPER}, §5.2 (truncation-aware values)",
        "cut/length/bootstrap-zero",
        "cut/success/bootstrap-zero",
    ),
    _claim(
        "stale_beats_importance_weights",
        "With weights six iterations old MIS-PO ends with a higher reward than trajectory importance weights.",
        f"{PAPER}, App. D.2.4 (staleness of about 20 steps is tolerated)",
        "stale/reward/mis_po_wide-is",
        "stale-fast/reward/mis_po_wide-is",
    ),
    _claim(
        "stale_beats_no_correction",
        "With weights six iterations old MIS-PO ends with a higher reward than no correction and than PPO.",
        f"{PAPER}, App. D.2.4",
        "stale/reward/mis_po_wide-none",
        "stale/reward/mis_po_wide-ppo",
        "stale-fast/reward/mis_po_wide-none",
        "stale-fast/reward/mis_po_wide-ppo",
    ),
)
CLAIMS = MIS_PO_CLAIMS + LANGUAGE_CLAIMS


def final_reward(records: Records) -> float:
    """Mean expected reward of the last five iterations."""
    return float(np.mean([record["reward"] for record in records[-LAST:]]))


def variation(records: Records) -> float:
    """Coefficient of variation of the gradient norm over iterations."""
    norms = [record["grad_norm"] for record in records]
    return float(np.std(norms) / max(np.mean(norms), 1e-12))


def measured(found: Found) -> Measured:
    """Every number the claims name, by seed. A seed gives one number without an interval of its own; claims are judged
    by the t interval over seeds."""
    numbers: dict[str, dict[int, Estimate]] = {}
    for name in dict.fromkeys(metric for claim in CLAIMS for metric in claim.metrics):
        mismatch, kind, pair = name.split("/")
        by_seed = language_finals(found, mismatch) if mismatch in LANGUAGE else {}
        for seed in sorted({key[1] for key in found if key[0] == mismatch}):
            if by_seed:
                number = value(mismatch, kind, pair, by_seed, seed)
            else:
                number = _value(found, mismatch, seed, kind, pair)
            if number is not None:
                numbers.setdefault(name, {})[seed] = Estimate(number, number, number, 1)
    return numbers


def language_finals(found: Found, part: str) -> dict[int, Finals]:
    """Seed → arm → what the trained model of one part measured."""
    seeds = sorted({key[1] for key in found if key[0] == part})
    return {seed: finals({key[2]: rs for key, rs in found.items() if key[:2] == (part, seed)}) for seed in seeds}


def _value(found: Found, mismatch: str, seed: int, kind: str, pair: str) -> float | None:
    if kind == "acceptance":
        shares = {r["length"]: r["kept"] for r in found[mismatch, seed, "acceptance"] if r["noise"] == 0.05}
        long, short = map(int, pair.split("-"))
        return float(shares[long] - shares[short]) if {long, short} <= shares.keys() else None
    a, b = pair.split(":" if kind == "cv" else "-")
    first, second = found.get((mismatch, seed, a)), found.get((mismatch, seed, b))
    if not first or not second:
        return None
    if kind == "cv":
        return math.log10(max(variation(first), 1e-6) / max(variation(second), 1e-6))
    if mismatch == "cut":
        return float(first[-1][kind] - second[-1][kind])
    return final_reward(first) - final_reward(second)
