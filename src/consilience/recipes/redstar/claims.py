"""What RedStar says, and what the small world adds, as comparisons on measured numbers; no torch here.

A metric is a split and a sum of arms with signs, such as `hard/hard_50-base`: per problem, then the mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from consilience.claims import Claim, Measured
from consilience.stats import Estimate, bootstrap

RECIPE = "redstar"
PAPER = "RedStar (arXiv 2501.11284)"
ALGORITHMS = ("reinforce", "baseline", "grpo", "ppo", "dpo")
SERIES = tuple(50 * 2**i for i in range(9))
_TERM = re.compile(r"([+-]?)([a-z0-9_]+)")

Found = Mapping[tuple[int, str], Mapping[str, Sequence[float]]]
"""(seed, arm) → split → a score a test problem."""


def _claim(name: str, sentence: str, source: str, metrics: Sequence[str], **rule: Any) -> Claim:
    """Judged by the mean over at least five seeds, with its t interval."""
    return Claim(name, RECIPE, sentence, source, tuple(metrics), seeds=5, share=None, **rule)


CLAIMS = (
    _claim(
        "few_samples_trigger",
        "A few hundred samples are enough: 200 hard chains give over half of the largest gain.",
        f"{PAPER}, abstract: a few thousand samples",
        [f"hard/hard_200+hard_200-base-hard_{SERIES[-1]}"],
    ),
    _claim(
        "more_data_no_worse",
        "More data never costs more than two points.",
        f"{PAPER}, abstract: ability grows with data",
        [f"hard/hard_{b}-hard_{a}" for a, b in pairwise(SERIES)],
        threshold=-0.02,
    ),
    _claim(
        "updates_look_like_data",
        "At equal epochs small data sets look worse than they are: the same samples give more with 200 updates than "
        "with ten epochs.",
        "our own; what a comparison of data sizes must fix",
        [f"hard/hard_{n}-epochs_{n}" for n in (50, 100)],
    ),
    _claim(
        "hard_beats_easy",
        "At equal numbers hard samples teach more than easy ones.",
        f"{PAPER}, abstract: difficulty is decisive",
        [f"hard/hard_{n}-easy_{n}" for n in (50, 200, 800)],
    ),
    _claim(
        "mixed_beats_easy",
        "Mixed samples lie above easy ones.",
        f"{PAPER}, abstract: difficulty is decisive",
        [f"hard/mixed_{n}-easy_{n}" for n in (50, 200, 800)],
    ),
    _claim(
        "hard_not_below_mixed",
        "Hard samples are nowhere more than two points below mixed ones.",
        f"{PAPER}, abstract: difficulty is decisive",
        [f"hard/hard_{n}-mixed_{n}" for n in (50, 200, 800)],
        threshold=-0.02,
    ),
    _claim(
        "fifty_hard_beat_thousands_easy",
        "50 hard samples beat 3,200 easy ones.",
        "our own prototype",
        ["hard/hard_50-easy_3200"],
    ),
    _claim(
        "larger_models_gain_more",
        "The same 800 hard samples help a larger model more.",
        f"{PAPER}, abstract: strongest for larger models",
        ["hard/hard_800-base-r120_hard+r120_base", "hard/r120_hard-r120_base-r80_hard+r80_base"],
    ),
    _claim(
        "noise_hurts",
        "At equal numbers a quarter of wrong steps costs accuracy, and half of them more.",
        "our own; verification is the third stage of the paper's overview",
        ["hard/noise3-noise25", "hard/noise25-noise50"],
    ),
    _claim(
        "verified_beats_more",
        "Few verified samples beat four times as many with a quarter of wrong steps (12 against 48).",
        "our own; hypothesis",
        ["hard/verified_12-unverified_48"],
    ),
    _claim(
        "hard_beats_easy_at_equal_tokens",
        "Hard samples teach more at equal numbers of steps, too.",
        "our own; hypothesis",
        ["hard/hard_50-easy_as_long_50", "hard/hard_200-easy_as_long_200"],
    ),
    _claim(
        "easy_data_keep_balance",
        "Small models trained on hard samples keep more easy accuracy with a fifth of easy samples among them.",
        f"{PAPER}, abstract: general ability is kept",
        ["easy/r80_mix-r80_hard", "easy/r120_mix-r120_hard"],
    ),
    _claim(
        "small_models_lose_balance",
        "Small models lose easy accuracy when trained on hard samples alone.",
        "our own prototype",
        ["easy/r80_base-r80_hard", "easy/r120_base-r120_hard"],
    ),
    _claim(
        "steps_are_what_helps",
        "Training on final answers alone stays within five points of chance on hard problems.",
        "our own; hypothesis",
        ["hard/answers_direct-chance"],
        relation="within",
        threshold=0.05,
    ),
    _claim(
        "training_beats_voting",
        "50 hard samples beat a majority of eight samples of the base model, with an eighth of the tokens.",
        "our own",
        ["hard/hard_50-base_majority"],
    ),
    _claim(
        "rl_gains",
        "Reinforcement on hard prompts improves on supervised training with every algorithm.",
        f"{PAPER}, abstract: RL gives further gains",
        [f"hard/{name}-start" for name in ALGORITHMS],
        threshold=0.1,
    ),
    _claim(
        "hard_prompts_teach_more",
        "Reinforcement on hard prompts gives more on hard problems than on easy prompts, at one step size.",
        f"{PAPER}, abstract: RL on hard prompts",
        [f"hard/{name}_fixed-{name}_on_easy" for name in ("reinforce", "baseline")],
    ),
    _claim(
        "random_reward_gains_nothing",
        "A random reward of the same mean improves nothing.",
        "negative control",
        [f"hard/{name}_coin-start" for name in ALGORITHMS],
        relation="<",
        threshold=0.02,
    ),
    _claim(
        "dpo_beats_ppo",
        "DPO is more effective than PPO, step sizes chosen on dev problems for both, and at one step size.",
        f"{PAPER}, as surveys report it",
        ["hard/dpo-ppo", "hard/dpo_fixed-ppo_fixed"],
    ),
    _claim(
        "words_before_steps",
        "Putting the figure into words and then reasoning beats acting on the picture directly, with a good reader and "
        "with a poor one.",
        f"{PAPER}, multimodal: figures are verbalised for a text-only teacher",
        ["hard/geo_verbalised-geo_direct_unverified", "hard/geo_verbalised_poor-geo_direct_unverified_poor"],
    ),
    _claim(
        "reading_bounds_reasoning",
        "What the reader misreads is lost: reasoning from pictures stays below reasoning from the truth.",
        "our own",
        ["hard/geo_told-geo_verbalised", "hard/geo_verbalised-geo_verbalised_poor"],
    ),
    _claim(
        "verified_figures_teach_better",
        "Dropping chains whose final answer is wrong helps a student that acts on pictures directly.",
        "our own; hypothesis",
        ["hard/geo_direct-geo_direct_unverified", "hard/geo_direct_poor-geo_direct_unverified_poor"],
    ),
)


def measured(found: Found) -> Measured:
    """Every number the claims name, by seed; intervals draw test problems again."""
    numbers: dict[str, dict[int, Estimate]] = {}
    seeds = sorted({seed for seed, _ in found})
    for name in dict.fromkeys(metric for claim in CLAIMS for metric in claim.metrics):
        for seed in seeds:
            estimate = combination(name, seed, found)
            if estimate is not None:
                numbers.setdefault(name, {})[seed] = estimate
    return numbers


def combination(metric: str, seed: int, found: Found) -> Estimate | None:
    """The mean of a sum of arms over test problems, None where an arm is missing; `chance` is one in eight."""
    split, _, terms = metric.partition("/")
    total: np.ndarray | float = 0.0
    for sign, arm in _TERM.findall(terms):
        scores = found.get((seed, arm), {}).get(split)
        if arm != "chance" and scores is None:
            return None
        value: np.ndarray | float = 1 / 8 if scores is None else np.asarray(scores, float)
        total = total - value if sign == "-" else total + value
    return bootstrap(np.asarray(total), seed, resamples=1000)
