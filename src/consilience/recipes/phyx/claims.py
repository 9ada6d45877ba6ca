"""What PhyX's tables say about its forms, as comparisons on measured numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.claims import Claim, Measured
from consilience.recipes.phyx.faults import VISUAL
from consilience.stats import Estimate, bootstrap, discordant, paired_difference, t_interval, wilson

RECIPE = "phyx"
PAPER = "PhyX (arXiv 2505.15929)"
CLAIMS = (
    Claim(
        "figure_is_needed",
        RECIPE,
        "Whoever reads the words but not the figure loses when the words are made less redundant, and has nothing left "
        "when only the question is asked.",
        f"{PAPER}, full text against de-redundancy and minimal text",
        ("text ft-dr oe", "text ft-tm oe", "text ft-dr mc"),
        seeds=3,
    ),
    Claim(
        "reading_makes_up",
        RECIPE,
        "Whoever reads the figure as well loses at most 5 points from full to minimal text.",
        f"{PAPER}, construction: the figure holds what the text leaves out",
        ("reader ft-tm oe", "reader ft-tm mc"),
        relation="within",
        threshold=0.05,
        seeds=3,
    ),
    Claim(
        "choice_is_easier",
        RECIPE,
        "Multiple choice is easier than open-ended questions for every imperfect solver.",
        f"{PAPER}, leaderboard",
        ("noisy mc-oe", "random mc-oe"),
        seeds=3,
    ),
    Claim(
        "by_the_guessing_term",
        RECIPE,
        "The gap is what guessing gives: accuracy with options is p + (1 − p)/4.",
        "arithmetic of four options",
        ("noisy guessing",),
        relation="within",
        threshold=0.06,
        seeds=3,
    ),
    Claim(
        "captions_are_complete",
        RECIPE,
        "A complete caption with the question alone is worth the full text, where words can tell everything.",
        f"{PAPER}, text-only files",
        ("text caption-ft oe",),
        relation="within",
        threshold=0.01,
        seeds=3,
    ),
    Claim(
        "rules_fail_bare_letters",
        RECIPE,
        "The rule-based score of multiple choice fails correct answers that are a bare letter.",
        "scorer of PhyX's repository",
        ("bare letter strict-official",),
        threshold=0.99,
        seeds=3,
    ),
    Claim(
        "errors_are_named",
        RECIPE,
        "The rules name nearly all errors of known kinds rightly, where the working is shown.",
        f"{PAPER}, kinds of error; ours, as the truth is known",
        ("errors named rightly",),
        threshold=0.95,
        seeds=3,
    ),
    Claim(
        "nano_reads_figures",
        RECIPE,
        "A nano that learnt figures reads more quantities rightly than one that sees other figures, and than one that "
        "learnt without them, where the words leave the numbers out.",
        f"{PAPER}, construction: the figure holds what the text leaves out",
        ("nano reads figures-other", "nano reads figures-words"),
    ),
    Claim(
        "nano_needs_its_figure",
        RECIPE,
        "With a calculator for its arithmetic, it answers more such open-ended questions than with other figures, "
        "without figures, and by the most frequent answer.",
        f"{PAPER}, construction: the figure holds what the text leaves out",
        ("nano oe figures-other", "nano oe figures-words", "nano oe figures-majority"),
    ),
    Claim(
        "nano_choice_needs_its_figure",
        RECIPE,
        "The same for multiple choice.",
        f"{PAPER}, multiple choice",
        ("nano mc figures-other", "nano mc figures-words", "nano mc figures-majority"),
    ),
    Claim(
        "nano_full_text_is_easier",
        RECIPE,
        "Full text is easier than minimal text for a nano, open-ended and with a calculator.",
        f"{PAPER}, leaderboard: full text at least as good as de-redundant, minimal worst",
        ("nano ft-tm oe",),
    ),
    Claim(
        "nano_errs_in_seeing",
        RECIPE,
        "Where the words leave the numbers out, most errors of a nano are errors of visual reasoning.",
        f"{PAPER}, error analysis: visual reasoning leads with 39.6 %",
        ("nano visual errors",),
        threshold=0.5,
    ),
)

Found = Mapping[tuple[int, str, str], Mapping[str, Any]]
"""(seed, solver, form) → record."""
HARD_STYLES = ("dr", "tm")
"""Styles whose words leave the numbers out."""


def bits(record: Mapping[str, Any], rule: str = "strict") -> np.ndarray:
    """0 and 1 by problem."""
    return np.array([int(bit) for bit in record[rule]])


def measured(found: Found, learnt: Found, erring: Mapping[int, Mapping[tuple[str, str], int]]) -> Measured:
    """The metrics of the claims by seed.

    Args:
        found: records of the simulated solvers.
        learnt: of the nanos, by (seed, condition, form).
        erring: seed → (kind of error made, kind found) → count.
    """
    numbers: dict[str, dict[int, Estimate]] = {}
    for seed in sorted({key[0] for key in found}):
        for name, estimate in _of_seed(found, seed).items():
            numbers.setdefault(name, {})[seed] = estimate
    for seed, counts in erring.items():
        right = sum(count for (made, said), count in counts.items() if made == said)
        numbers.setdefault("errors named rightly", {})[seed] = wilson(right, sum(counts.values()))
    for seed in sorted({key[0] for key in learnt}):
        for name, estimate in _of_nano(learnt, seed).items():
            numbers.setdefault(name, {})[seed] = estimate
    return numbers


def _of_nano(learnt: Found, seed: int) -> dict[str, Estimate]:
    """Differences over problems, each problem's forms taken together."""

    def of(condition: str, form: str, rule: str, styles: Sequence[str] = HARD_STYLES) -> np.ndarray:
        records = [learnt[seed, condition, f"{form}_{style}"] for style in styles]
        scores = [record["read"] if rule == "read" else bits(record, rule) for record in records]
        return np.asarray(np.mean(scores, axis=0))

    numbers = {}
    for short, other in (("other", "other figures"), ("words", "words alone"), ("majority", "majority")):
        for form in ("oe", "mc"):
            gap = of("figures", form, "calculated") - of(other, form, "calculated")
            numbers[f"nano {form} figures-{short}"] = bootstrap(gap, seed)
        if short != "majority":
            reads = [np.mean([of(c, form, "read") for form in ("oe", "mc")], axis=0) for c in ("figures", other)]
            numbers[f"nano reads figures-{short}"] = bootstrap(reads[0] - reads[1], seed)
    styles = [of("figures", "oe", "calculated", (style,)) for style in ("ft", "tm")]
    numbers["nano ft-tm oe"] = bootstrap(styles[0] - styles[1], seed)
    kinds: Counter[str] = Counter()
    for style in HARD_STYLES:
        kinds.update(learnt[seed, "figures", f"oe_{style}"]["faults"])
    if kinds.total():
        numbers["nano visual errors"] = wilson(kinds[VISUAL], kinds.total())
    return numbers


def _of_seed(found: Found, seed: int) -> dict[str, Estimate]:
    def of(solver: str, form: str) -> np.ndarray:
        return bits(found[seed, solver, form])

    def gap(solver: str, one: str, other: str) -> Estimate:
        return difference(of(solver, one), of(solver, other))

    told = bits(found[seed, "text", "oe_ft-image"], "told").astype(bool)
    bare = found[seed, "bare letter", "mc_dr-image"]
    oe, mc = of("noisy", "oe_dr-image"), of("noisy", "mc_dr-image")
    return {
        "text ft-dr oe": gap("text", "oe_ft-image", "oe_dr-image"),
        "text ft-tm oe": gap("text", "oe_ft-image", "oe_tm-image"),
        "text ft-dr mc": gap("text", "mc_ft-image", "mc_dr-image"),
        "reader ft-tm oe": gap("reader", "oe_ft-image", "oe_tm-image"),
        "reader ft-tm mc": gap("reader", "mc_ft-image", "mc_tm-image"),
        "noisy mc-oe": gap("noisy", "mc_dr-image", "oe_dr-image"),
        "random mc-oe": gap("random", "mc_dr-image", "oe_dr-image"),
        "noisy guessing": t_interval(mc - 0.75 * oe - 0.25),
        "text caption-ft oe": difference(of("text", "oe_tm-text")[told], of("text", "oe_ft-image")[told]),
        "bare letter strict-official": difference(bits(bare), bits(bare, "official")),
    }


def difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Paired difference of two shares, with Tango's interval."""
    return paired_difference(*discordant(a, b), len(a))
