"""The tables and curves of the byte-level language models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from consilience.recipes.step_3_5_flash.language_claims import Finals
from consilience.recipes.step_3_5_flash.sizes import ARMS
from consilience.stats import t_interval

Cell = Callable[[Mapping[str, Any]], float]


def _of(name: str) -> Cell:
    return lambda final: float(final[name])


def _accepted(mode: str, i: int) -> Cell:
    return lambda final: float(final[f"{mode}_accepted"][i])


TITLES = {
    "drafting": "Three drafting heads",
    "layouts": "Where windows are",
    "gates": "Gates and sinks",
    "experts": "Balance of experts",
    "optimizers": "Optimizers",
}
COLUMNS: Mapping[str, Mapping[str, Cell]] = {
    "drafting": {
        "sampled: draft 1 stays": _accepted("sampled", 0),
        "draft 2": _accepted("sampled", 1),
        "draft 3": _accepted("sampled", 2),
        "tokens a pass": _of("sampled_tokens"),
        "greedy: tokens a pass": _of("greedy_tokens"),
        "speed-up, 1 row": _of("speedup_1"),
        "8 rows": _of("speedup_8"),
        "greedy answers equal": _of("greedy_equal"),
    },
    "layouts": {
        "bits a byte, test": _of("test_bits"),
        "parameters": _of("parameters"),
        "attention's multiplications a token behind 4,096": _of("work_4096"),
    },
    "gates": {"bits a byte, test": _of("test_bits"), "parameters": _of("parameters")},
    "experts": {
        "bits a byte, test": _of("test_bits"),
        "busiest expert over mean": _of("expert_load"),
        "busiest group over mean": _of("group_load"),
    },
    "optimizers": {"bits a byte, dev": _of("dev_bits"), "test": _of("test_bits")},
}
NOTES = {
    "drafting": "Shares are of passes in which the drafts before stayed. Speed-up in processor time, one thread.",
    "optimizers": "The claim compares each optimizer at the rate that is best on dev.",
}


def language_table(part: str, by_seed: Mapping[int, Finals]) -> dict[str, Any]:
    """One part: a row an arm, means over seeds with t intervals."""
    arms = {"cloned": "cloned heads", "tuned": "tuned heads"} if part == "drafting" else ARMS[part]
    columns = COLUMNS[part]
    rows = []
    for arm, label in arms.items():
        found = [finals[arm] for finals in by_seed.values() if arm in finals]
        if found:
            name = label if part == "drafting" else f"{arm}: {label}"
            rows.append([name, *(_over_seeds(found, cell) for cell in columns.values())])
    note = f"Seeds: {len(by_seed)}, t intervals. {NOTES.get(part, '')}".strip()
    return {"title": TITLES[part], "columns": ["", *columns], "rows": rows, "note": note}


def _over_seeds(finals: list[Mapping[str, Any]], cell: Cell) -> Any:
    try:
        values = [cell(final) for final in finals]
    except KeyError:  # measured for another arm alone
        return None
    return t_interval(values).to_json() if len(set(values)) > 1 else values[0]


def language_curves(part: str, by_arm: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Metric records of one part and seed: bits a byte on the training text, a line an arm."""
    lines = {arm: [r for r in records if "bits" in r] for arm, records in by_arm.items()}
    for rows in zip(*lines.values(), strict=False):
        yield {"stage": part, "step": rows[0]["step"]} | {
            f"bits/{arm}": row["bits"] for arm, row in zip(lines, rows, strict=True)
        }
