"""What rStar-Math's paper says, as comparisons on measured numbers; no torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilience.claims import Claim, Measured
from consilience.stats import Estimate, discordant, paired_difference

RECIPE = "rstar_math"
PAPER = "rStar-Math (arXiv 2501.04519)"
SEEDS = 5

Found = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
"""(part, seed) → records of its unit: one a round and arm."""

CLAIMS = (
    Claim(
        "coverage_grows",
        RECIPE,
        "Self-evolution solves more and more of the training problems: more in the last round than in the first.",
        f"{PAPER}, Table 2 (60.17 → 90.25 %)",
        ("main/coverage/last-first",),
    ),
    Claim(
        "search_improves",
        RECIPE,
        "With each other's help policy and preference model answer more test problems after the last round than after "
        "the first.",
        f"{PAPER}, Table 6 (MATH 75.2 → 89.4)",
        ("main/last:ppm-first:ppm",),
    ),
    Claim(
        "search_beats_majority",
        RECIPE,
        "Search guided by the preference model beats the majority of solutions sampled with as many tokens.",
        f"{PAPER}, Table 5, at equal tokens",
        ("main/last:ppm-last:majority",),
    ),
    Claim(
        "search_beats_greedy",
        RECIPE,
        "Search guided by the preference model beats the policy alone.",
        f"{PAPER}, Tables 3 and 6 (78.4 → 89.4)",
        ("main/last:ppm-last:greedy",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "search_beats_orm",
        RECIPE,
        "Search guided by the preference model beats the best by an outcome model of solutions sampled with as many "
        "tokens.",
        f"{PAPER}, Table 8 (82.6 against 89.4), at equal tokens",
        ("main/last:ppm-last:orm",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "preferences_beat_values",
        RECIPE,
        "Preferences between steps are better to learn from than the searched values of steps.",
        f"{PAPER}, Table 8 (PQM 88.2, PPM 89.4)",
        ("main/last:ppm-last:pqm",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "second_round_jumps",
        RECIPE,
        "The second round's preference model is the first reliable one: search answers more after it than after the "
        "first.",
        f"{PAPER}, Table 6 and §3.4",
        ("main/second:ppm-first:ppm",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "policy_improves",
        RECIPE,
        "The policy alone answers more after the last round than after the first.",
        f"{PAPER}, Table 3 (69.6 → 78.4)",
        ("main/last:greedy-first:greedy",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "later_models_judge_better",
        RECIPE,
        "With the first policy kept, the last preference model finds more answers than the first.",
        f"{PAPER}, Table 4 (75.2 → 87.0)",
        ("main/last:first_policy-first:ppm",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "search_recombines",
        RECIPE,
        "Search finds answers that none of the solutions sampled with as many tokens has.",
        "ours: what no choice among samples can give",
        ("main/last:ppm-last:any",),
        seeds=SEEDS,
        share=None,
    ),
    Claim(
        "no_gap_no_need",
        RECIPE,
        "Control: where the policy reads all that the preference model reads, search adds less than 0.05.",
        "ours",
        ("sighted/last:ppm-last:greedy",),
        relation="<",
        threshold=0.05,
        seeds=SEEDS,
        share=None,
    ),
)


def arms_of(records: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], Mapping[str, Any]]:
    """(round, arm) → record."""
    return {(record["round"], record["arm"]): record for record in records}


def measured(found: Found) -> Measured:
    """Every number the claims name, by seed; each compares the same problems pair by pair."""
    numbers: dict[str, dict[int, Estimate]] = {}
    for name in dict.fromkeys(metric for claim in CLAIMS for metric in claim.metrics):
        part, _, what = name.partition("/")
        for (own, seed), records in found.items():
            if own == part and (estimate := _compared(what, arms_of(records))) is not None:
                numbers.setdefault(name, {})[seed] = estimate
    return numbers


def _compared(what: str, arms: Mapping[tuple[int, str], Mapping[str, Any]]) -> Estimate | None:
    last = max((number for number, _ in arms), default=0)
    rounds = {"first": 1, "second": 2, "last": last}
    if what == "coverage/last-first":
        pair = [arms.get((number, "search")) for number in (last, 1)]
        hits = [[solved for _, solved in one["solved"]] if one else [] for one in pair]
    else:
        sides = [side.split(":") for side in what.split("-")]
        pair = [arms.get((rounds[number], arm)) for number, arm in sides]
        hits = [one["right"] if one else [] for one in pair]
    if last < 2 or not all(hits) or len(hits[0]) != len(hits[1]):
        return None
    only_first, only_second = discordant(*hits)
    return paired_difference(only_first, only_second, len(hits[0]))
