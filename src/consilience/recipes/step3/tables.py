"""The tables and curves of the report and of RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from consilience.recipes.step3.claims import Records
from consilience.recipes.step3.costs import PRINTED, computed, matching_cells
from consilience.recipes.step3.sizes import ARMS
from consilience.stats import bootstrap, t_interval

_CARDS = ("H800", "H20", "A800", "910B")


def tables(found: Records) -> list[dict[str, Any]]:
    """Attention kinds, disaggregated runs, cost table; each where it was measured."""
    parts = (_language(found), _pipeline(found.get("disaggregation", ())), _costs())
    return [table for table in parts if table is not None]


def _language(found: Records) -> dict[str, Any] | None:
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for records in found.values():
        if "bits_W" in records[0]:
            by_arm.setdefault(records[0]["arm"], []).append(records[0])
    if not by_arm:
        return None
    rows = []
    for name, label in ARMS.items():
        for record in by_arm.get(name, [])[:1]:
            numbers = [record["cached"], record["attention"], record["parameters"]]
            rate = ", ".join(sorted({f"{record['rate']:g}" for record in by_arm[name]}))
            rows.append([label, *numbers, rate, _bits(by_arm[name], "bits_W"), _bits(by_arm[name], "rounded_W")])
    seeds = max(map(len, by_arm.values()))
    note = (
        "Text: the Python standard library's modules, split by file. "
        + (f"t intervals over {seeds} seeds." if seeds > 1 else "One seed, bootstrap over files.")
        + " The last column rounds feed-forward inputs and outputs as messages."
    )
    columns = ["attention", "cached numbers", "attention parameters", "layer parameters", "rate", "bits a byte", "FP8"]
    return {"title": "Kinds of attention at equal parameters", "columns": columns, "rows": rows, "note": note}


def _bits(records: Sequence[Mapping[str, Any]], name: str) -> Any:
    if name not in records[0]:
        return None
    if len(records) == 1:
        return bootstrap(records[0][name], 0, clusters=records[0]["file_W"]).to_json()
    return t_interval([float(np.mean(record[name])) for record in records]).to_json()


def _pipeline(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    paired = [record for record in records if "speed" in record]
    if len(paired) < 2:
        return None

    def over(key: str, scale: float, arm: str = "") -> Any:
        numbers = [float((record[arm] if arm else record)[key]) * scale for record in paired]
        return t_interval(numbers).to_json()

    kinds = {"one": "1 micro-batch", "three": "3 micro-batches"}
    fields = {"step_s": 1e3, "attention_s": 1e3, "ffn_s": 1e3, "attention_idle": 1.0, "ffn_idle": 1.0}
    rows = [[label, *(over(key, scale, arm) for key, scale in fields.items())] for arm, label in kinds.items()]
    rows.append(["predicted by the law", over("predicted_s", 1e3), None, None, None, None])
    difference = next(record["difference"] for record in records if "difference" in record)
    bytes_ = paired[0]["three"]
    note = (
        f"Measured on this machine with random weights, {len(paired)} alternating pairs. Logits are within "
        f"{difference:.1e} of the largest of one process; {bytes_['sent']:.0f} bytes a token and layer sent, "
        f"{bytes_['received']:.0f} received (exact numbers)."
    )
    columns = ["", "ms a token", "attention, ms a layer", "FFN, ms a layer", "attention waits", "FFN waits"]
    return {"title": "Two processes, attention and FFN", "columns": columns, "rows": rows, "note": note}


def _costs() -> dict[str, Any]:
    parts = ("attention 8K", "attention 32K", "FFN")
    rows = []
    for name in PRINTED:
        cells = [f"{usd:.3f}" for usd in computed(name)]
        rows.append([name, *(" ".join(cells[i : i + 4]) for i in (0, 4, 8))])
    return {
        "title": "Dollars per million decoded tokens",
        "columns": ["model", *(f"{part} ({', '.join(_CARDS)})" for part in parts)],
        "rows": rows,
        "note": f"{matching_cells()} of {12 * len(PRINTED)} cells as printed in arXiv 2507.19427, Table 6.",
    }


def curves(found: Records, seed: int) -> Iterator[dict[str, Any]]:
    """Training curves of one seed, a line an arm."""
    runs = {name: found[f"{name}-seed{seed}"] for name in ARMS if f"{name}-seed{seed}" in found}
    for rows in zip(*runs.values(), strict=True):
        bits = {f"bits a byte/{ARMS[name]}": row["bits"] for name, row in zip(runs, rows, strict=True)}
        yield {"stage": "language", "step": rows[0]["step"], **bits}
