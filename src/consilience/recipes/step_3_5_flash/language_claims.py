"""What the report says about its architecture, as comparisons of byte-level language models; no torch here.

Metrics are named part/number/arm or part/number/arm-arm, a difference; numbers are those of an arm's `final` record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.claims import Claim
from consilience.recipes.step_3_5_flash.sizes import ARMS

RECIPE = "step_3_5_flash"
PAPER = "Step 3.5 Flash (arXiv 2602.10604)"
Finals = Mapping[str, Mapping[str, Any]]
"""Arm → its `final` record, of one part and seed."""


def _claim(name: str, sentence: str, source: str, *metrics: str, **rule: Any) -> Claim:
    return Claim(name, RECIPE, sentence, source, metrics, **{"seeds": 5, "share": None, **rule})


DRAFTING_CLAIMS = (
    _claim(
        "cloned_heads_need_tuning",
        "Drafting heads cloned from the first and then tuned together give more tokens a pass than cloned ones, when "
        "sampling at temperature 1.",
        f"{PAPER}, §2.2",
        "drafting/sampled_tokens/tuned-cloned",
        seeds=3,
        threshold=0.1,
    ),
    _claim(
        "later_heads_pay",
        "The second and third head bring more than half a token a pass beyond what the first brings alone.",
        f"{PAPER}, §2.2 (MTP-3; acceptance rates are not published)",
        "drafting/beyond_first/tuned",
        seeds=3,
        threshold=0.5,
    ),
    _claim(
        "greedy_answers_are_the_same",
        "Greedy answers with speculation are those of plain decoding, byte by byte.",
        "speculative decoding (arXiv 2211.17192)",
        "drafting/greedy_equal/tuned",
        seeds=3,
        threshold=0.999,
    ),
    _claim(
        "speculation_is_faster",
        "Three drafting heads decode a single answer in less processor time than plain decoding.",
        f"{PAPER}, §2.2 (on GPUs)",
        "drafting/speedup_1/tuned",
        seeds=3,
        threshold=1.0,
    ),
    _claim(
        "greedy_overstates_acceptance",
        "Greedy decoding of a small model accepts more drafts than sampling from it: its loops are easy to draft.",
        "our reading; report the sampled rate",
        "drafting/overstated/tuned",
        seeds=3,
    ),
)
STUDY_CLAIMS = (
    _claim(
        "every_second_window_is_free",
        "A window in every second layer costs less than 0.02 bits a byte.",
        f"{PAPER}, ablation of layouts (S1F1 54.6, FFFF 54.1 on average)",
        "layouts/test_bits/S1F1-FFFF",
        relation="<",
        threshold=0.02,
    ),
    _claim(
        "three_windows_cost",
        "Windows in three of four layers cost quality at equal parameters and tokens.",
        f"{PAPER}, ablation of layouts (S3F1 53.6, FFFF 54.1)",
        "layouts/test_bits/S3F1-FFFF",
    ),
    _claim(
        "more_heads_recover",
        "1.5 times the query heads in the layers with windows make S3F1 better.",
        f"{PAPER}, ablation of layouts (55.7 after 53.6)",
        "layouts/test_bits/S3F1-S3F1.heads",
    ),
    _claim(
        "gates_beat_sinks",
        "Head-wise gates give fewer bits a byte than learned sinks.",
        f"{PAPER}, Table 2 (64.43 after 62.46)",
        "gates/test_bits/sink-gate",
    ),
    _claim(
        "gates_beat_plain_softmax",
        "Head-wise gates give fewer bits a byte than plain softmax.",
        f"{PAPER}, App. A.1",
        "gates/test_bits/neither-gate",
    ),
    _claim(
        "biases_balance_experts",
        "Loss-free balance lowers the load of the busiest expert.",
        f"{PAPER}, §2.2",
        "experts/expert_load/none-bias",
    ),
    _claim(
        "balance_is_free",
        "Loss-free balance costs less than 0.03 bits a byte.",
        f"{PAPER}, §2.2; arXiv 2408.15664",
        "experts/test_bits/bias-none",
        relation="<",
        threshold=0.03,
    ),
    _claim(
        "group_loss_balances_devices",
        "The balance loss over groups of experts lowers the load of the busiest group further.",
        f"{PAPER}, §2.2",
        "experts/group_load/bias-bias.groups",
    ),
    _claim(
        "muon_beats_adamw",
        "Muon gives fewer bits a byte than AdamW at equal steps, each at its best of three learning rates.",
        f"{PAPER}, §4.1.1 (trained with Muon)",
        "optimizers/best/adamw-muon",
    ),
)
LANGUAGE_CLAIMS = DRAFTING_CLAIMS + STUDY_CLAIMS


def finals(records_by_arm: Mapping[str, Sequence[Mapping[str, Any]]]) -> Finals:
    """The `final` records of one part and seed; those of the drafting heads by state, cloned or tuned."""
    return {
        record.get("arm", arm): record
        for arm, records in records_by_arm.items()
        for record in records
        if record.get("final")
    }


def value(part: str, number: str, pair: str, by_seed: Mapping[int, Finals], seed: int) -> float | None:
    """One number of one seed; None where an arm has not finished."""
    found = by_seed[seed]
    if part == "optimizers" and number == "best":
        rates = {name: best_arm(name, by_seed) for name in pair.split("-")}
        bits = [found[arm]["test_bits"] for arm in rates.values() if arm in found]
        return float(bits[0] - bits[1]) if len(bits) == 2 else None
    arms = _arms(pair)
    if not set(arms) <= found.keys():
        return None
    first, *second = [_number(found[arm], number) for arm in arms]
    return first - second[0] if second else first


def best_arm(optimizer: str, by_seed: Mapping[int, Finals]) -> str:
    """The optimizer's arm with the fewest bits a byte on the dev split, mean over its seeds; "" if none."""
    arms = [arm for arm in ARMS["optimizers"] if arm.startswith(f"{optimizer}_")]
    bits = {
        arm: float(np.mean([found[arm]["dev_bits"] for found in by_seed.values() if arm in found]))
        for arm in arms
        if any(arm in found for found in by_seed.values())
    }
    return min(bits, key=bits.__getitem__) if bits else ""


def _arms(pair: str) -> list[str]:
    return pair.split("-")


def _number(final: Mapping[str, Any], name: str) -> float:
    if name == "beyond_first":
        return float(final["sampled_tokens"]) - 1 - float(final["sampled_accepted"][0])
    if name == "overstated":
        return float(final["greedy_tokens"]) - float(final["sampled_tokens"])
    return float(final[name])
