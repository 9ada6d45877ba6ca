"""The tables of the report and of RESULTS.md, and the curves behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consilience.recipes.pacore.arms import NAMES, ONE, PARALLEL, PASTED, PLACES, SEQUENTIAL, VOTE
from consilience.recipes.pacore.reading import Evaluations, Record, curve, difference, over, slope, widest
from consilience.recipes.pacore.training_tables import training_tables
from consilience.recipes.pacore.work import BLIND, MODEL, NANO, READER, SIMULATED, TRAINED, UNTRAINED
from consilience.stats import wilson

PARTS = (TRAINED, UNTRAINED, READER, NANO, MODEL, SIMULATED, BLIND)
TITLES = {
    SIMULATED: "SIMULATED reasoner that reads its references: mechanism, no evidence about models",
    BLIND: "SIMULATED reasoner that never reads its references: mechanism, no evidence about models",
    NANO: "The shipped nano, untrained in synthesis, digits world",
    MODEL: "The model at the endpoint",
    READER: "The reader that never saw references",
    UNTRAINED: "Before training in synthesis, its form known",
    TRAINED: "After training in synthesis",
}
FRAMES = {
    SIMULATED: "SIMULATED, reads",
    BLIND: "SIMULATED, never reads",
    NANO: "nano, untrained in synthesis",
    MODEL: "model",
    READER: "the reader without references",
    UNTRAINED: "before training in synthesis",
    TRAINED: "after training in synthesis",
}
"""What the parts are called above their curves."""
ORDER = (ONE, VOTE, PLACES, PARALLEL, SEQUENTIAL, PASTED)
COLUMNS = ("", "K", "trajectories", "right", "tokens a problem", "longest chain", "last prompt", "no synthesis")


def tables(evaluations: Evaluations) -> list[dict[str, Any]]:
    """For each part: every point with what it cost, the paired differences, and emergent correctness."""
    out = training_tables(evaluations)
    for part in PARTS:
        seeds = [records for (_, name), records in sorted(evaluations.items()) if name == part and records]
        if seeds:
            out.append(_points(part, seeds))
            out += [_differences(part, seeds), _emergent(part, seeds)] if part != READER else []
    return out


def _points(part: str, seeds: list[Mapping[str, Record]]) -> dict[str, Any]:
    several = f"Mean over {len(seeds)} seeds with a t interval. " if len(seeds) > 1 else "Wilson intervals. "
    rows = []
    for name in _names(seeds):
        found = [records[name] for records in seeds if name in records]
        first = found[0]
        right = [wilson(sum(r["right"]), len(r["right"])) for r in found]
        k = first["schedule"] or (str(first["width"]) if first["width"] else "–")
        costs = [_mean(found, key) for key in ("tokens", "critical", "prompt")]
        lost = _mean(found, "lost")
        rows.append([NAMES[first["arm"]], k, first["width"] + 1, over(right), *map(round, costs), round(lost, 4)])
    note = (
        "Tokens are generated ones, prompts not counted; the longest chain is what had to be waited for. Without "
        "synthesis an answer counts as wrong. A vote of a row counts all its trajectories."
    )
    return {"title": TITLES[part], "columns": list(COLUMNS), "rows": rows, "note": several + note}


def _differences(part: str, seeds: list[Mapping[str, Record]]) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for other in (ONE, VOTE, SEQUENTIAL, PASTED):
        pairs = [pair for records in seeds if (pair := widest(records, PARALLEL, other)) is not None]
        if pairs:
            a, b = pairs[0]
            ratio = sum(a["tokens"]) / max(1, sum(b["tokens"]))
            rows.append(
                [f"[{a['schedule'] or a['width']}] − {NAMES[other]}", over([difference(*p) for p in pairs]), ratio]
            )
    lines = [line for records in seeds if len(line := curve(records, PARALLEL)) > 1]
    if lines:
        rows.append(
            ["slope for each doubling of K", over([slope(line, seed) for seed, line in enumerate(lines)]), None]
        )
    return {
        "title": f"{TITLES[part]}: differences at the widest schedule",
        "columns": ["", "right", "ratio of tokens"],
        "rows": rows,
        "note": "Paired on the same problems (Tango's interval); the slope by bootstrap over problems.",
    }


def _emergent(part: str, seeds: list[Mapping[str, Record]]) -> dict[str, Any]:
    rows = []
    for name in (n for n in _names(seeds) if seeds[0].get(n, {}).get("arm") == PARALLEL):
        found = [records[name] for records in seeds if name in records]
        hopeless = [(h, r) for record in found for h, r in zip(record["hopeless"], record["right"], strict=True) if h]
        cell = wilson(sum(r for _, r in hopeless), len(hopeless)).to_json() if hopeless else None
        rows.append([f"[{found[0]['schedule'] or found[0]['width']}]", len(hopeless), cell])
    return {
        "title": f"{TITLES[part]}: right although every message was wrong",
        "columns": ["schedule", "problems without a right message", "of them right"],
        "rows": rows,
        "note": "Emergent correctness (arXiv 2601.05593, Fig. 5). Seeds are pooled.",
    }


def _names(seeds: list[Mapping[str, Record]]) -> list[str]:
    known = {name: record for records in seeds for name, record in records.items()}
    return sorted(known, key=lambda n: (ORDER.index(known[n]["arm"]), known[n]["width"], known[n]["schedule"]))


def _mean(found: list[Record], key: str) -> float:
    values = [float(value) for record in found for value in record[key]]
    return sum(values) / len(values)


def curves(evaluations: Evaluations, seed: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(part, metric records) of one seed: accuracy of each arm; the steps are generated tokens a problem."""
    for part in PARTS:
        records = evaluations.get((seed, part), {})
        found = []
        for record in records.values():
            right = wilson(sum(record["right"]), len(record["right"]))
            line = f"accuracy/{NAMES[record['arm']]}" + (" of two rounds" if record["schedule"] else "")
            numbers = {line: right.value, f"{line}_low": right.low, f"{line}_high": right.high}
            found.append({"stage": FRAMES[part], "step": round(_mean([record], "tokens")), **numbers})
        if found:
            yield part, sorted(found, key=lambda entry: int(entry["step"]))
