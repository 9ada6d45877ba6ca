"""The tables of the report and of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consilience.recipes.step_r1_v_mini.claims import CELLS, Evaluations, difference, f1_estimate, mean
from consilience.stats import Estimate, t_interval, wilson

ORDER = ("warm", "control", "ppo", "answer", "grpo", "dpo", "text-image", "image-text", "format", "random")
PACORE = "PaCoRe [15], untrained in synthesis"
NAMES = {
    "warm": "warm start",
    "control": "continued supervised",
    "ppo": "PPO, answer + space",
    "answer": "PPO, answer only",
    "grpo": "GRPO, answer + space",
    "dpo": "DPO, answer + space",
    "text-image": "PPO, text then image",
    "image-text": "PPO, image then text",
    "format": "PPO, format only",
    "random": "PPO, random reward",
}


def tables(evaluations: Evaluations) -> list[dict[str, Any]]:
    """One sample, greedy, grounding, votes, and paired differences; over seeds where there are several."""
    seeds = sorted({seed for seed, _ in evaluations})
    arms = [arm for arm in ORDER if any((seed, arm) in evaluations for seed in seeds)]
    several = len(seeds) > 1
    note = f"Mean over {len(seeds)} seeds with a t interval." if several else "Wilson intervals over problems."
    out = [
        _table("Right answers, one sample at temperature 1", arms, evaluations, "right", note),
        _table("Right answers, greedy", arms, evaluations, "greedy", note),
        _grounding(arms, evaluations),
    ]
    if any("vote" in result["cells"][CELLS[0]] for result in evaluations.values()):
        out.append(_votes(arms, evaluations))
    out += [_paired(evaluations, seeds), _conditions(arms, evaluations)]
    return out


def _seeds(evaluations: Evaluations, arm: str) -> list[Mapping[str, Any]]:
    return [evaluations[key]["cells"] for key in sorted(evaluations) if key[1] == arm]


def _over(estimates: list[Estimate]) -> dict[str, Any]:
    return (estimates[0] if len(estimates) == 1 else t_interval([e.value for e in estimates])).to_json()


def _table(title: str, arms: list[str], evaluations: Evaluations, key: str, note: str) -> dict[str, Any]:
    rows = []
    for arm in arms:
        found = _seeds(evaluations, arm)
        cells = [_over([wilson(sum(c[cell][key]), len(c[cell][key])) for c in found]) for cell in CELLS]
        rows.append([NAMES[arm], *cells])
    return {"title": title, "columns": ["", *CELLS], "rows": rows, "note": note}


def _grounding(arms: list[str], evaluations: Evaluations) -> dict[str, Any]:
    rows = [
        [NAMES[arm], *(_over([f1_estimate(c[cell]["grounding"]) for c in _seeds(evaluations, arm)]) for cell in CELLS)]
        for arm in arms
    ]
    return {
        "title": "Cited places: F1 at IoU 0.5 over all answers",
        "columns": ["", *CELLS],
        "rows": rows,
        "note": "Boxes in pictures, named objects in text; wrong answers included.",
    }


def _votes(arms: list[str], evaluations: Evaluations) -> dict[str, Any]:
    rows = []
    for arm in (arm for arm in arms if all("vote" in c[CELLS[0]] for c in _seeds(evaluations, arm))):
        for label, key in (("mean of 16", "vote_mean"), ("majority of 16", "vote"), (PACORE, "pacore")):
            found = _seeds(evaluations, arm)
            if not all(key in c[CELLS[0]] for c in found):
                continue
            rows.append([f"{NAMES[arm]}, {label}", *(_over([mean(c[cell][key], 0) for c in found]) for cell in CELLS)])
    return {
        "title": "One of sixteen against the majority of the same sixteen",
        "columns": ["", *CELLS],
        "rows": rows,
        "note": "Bootstrap over problems; ties go to the answer that came first." + _spent(evaluations),
    }


def _spent(evaluations: Evaluations) -> str:
    """What PaCoRe generated beside what the vote did; nothing where it was not measured."""
    found = [c[cell] for c in _seeds(evaluations, "ppo") for cell in CELLS if "pacore" in c[cell]]
    if not found:
        return ""
    vote, pacore = (
        sum(sum(cell[key]) for cell in found) / sum(len(cell[key]) for cell in found)
        for key in ("vote_tokens", "pacore_tokens")
    )
    return (
        " PaCoRe (arXiv 2601.05593) reads the conclusions of fifteen of the samples and writes a sixteenth: "
        f"{pacore:.0f} generated tokens a problem, the majority {vote:.0f}. This model never learned to read them; the "
        "recipe pacore trains that."
    )


def _paired(evaluations: Evaluations, seeds: list[int]) -> dict[str, Any]:
    rows = []
    for other in ("warm", "control"):
        for seed in seeds:
            if (seed, "ppo") in evaluations and (seed, other) in evaluations:
                a, b = evaluations[seed, "ppo"]["cells"], evaluations[seed, other]["cells"]
                cells = [difference(a[cell]["right"], b[cell]["right"]).to_json() for cell in CELLS]
                rows.append([f"PPO − {NAMES[other]}, seed {seed}", *cells])
    return {
        "title": "Paired differences on the same problems",
        "columns": ["", *CELLS],
        "rows": rows,
        "note": "Tango's interval of the paired difference, the interval of McNemar's test.",
    }


def _conditions(arms: list[str], evaluations: Evaluations) -> dict[str, Any]:
    rows = []
    for arm in arms:
        results = [result for key, result in sorted(evaluations.items()) if key[1] == arm]
        found = [r["cells"] for r in results]
        read = [r["digits_read"] for r in results]
        tokens = [t for c in found for cell in CELLS for t in c[cell]["tokens"]]
        style = [c[cell]["full_style"] for c in found for cell in CELLS]
        cut = [c[cell]["truncated"] for c in found for cell in CELLS]
        rows.append(
            [
                NAMES[arm],
                wilson(sum(r["hits"] for r in read), sum(r["n"] for r in read)).to_json(),
                sum(tokens) / len(tokens),
                sum(style) / len(style),
                sum(cut) / len(cut),
            ]
        )
    return {
        "title": "What else was seen",
        "columns": ["", "single clean digits read", "tokens an answer", "full style", "truncated"],
        "rows": rows,
        "note": "Full style: the share of answers that look at every object. Nothing rewards a style as such.",
    }
