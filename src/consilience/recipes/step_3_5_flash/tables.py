"""The tables and curves of the report and of RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from consilience.recipes.step_3_5_flash.claims import Found, Records, final_reward, language_finals, variation
from consilience.recipes.step_3_5_flash.language_tables import language_curves, language_table
from consilience.recipes.step_3_5_flash.sizes import (
    ACCEPTANCE_LENGTHS,
    ACCEPTANCE_NOISES,
    LANGUAGE,
    METHODS,
    MISMATCHES,
    TRUNCATED,
)
from consilience.stats import t_interval

TITLES = {
    "mild": "Engine noise 0.05",
    "flips": "Engine noise 0.05 and 2 % of tokens routed otherwise",
    "stale": "Weights six iterations old, 10 % of tokens routed otherwise",
    "stale-fast": "Weights six iterations old, four times the step, 2 % of tokens routed otherwise",
}
COLUMNS = ("", "expected reward, end", "gradient norm: CV", "its largest", "trajectories kept", "KL a token")


def tables(found: Found) -> list[dict[str, Any]]:
    """One table a mismatch, the acceptance of the published band, the length limit, and one for each language part."""
    settings = {key[0] for key in found}
    out = [_table(found, name) for name in MISMATCHES if name in settings]
    out += [table(found) for name, table in (("band", _acceptance), ("cut", _cut)) if name in settings]
    return out + [language_table(part, language_finals(found, part)) for part in LANGUAGE if part in settings]


def _over(values: Sequence[float]) -> Any:
    return t_interval(values).to_json() if len(values) > 1 else float(values[0])


def _table(found: Found, mismatch: str) -> dict[str, Any]:
    seeds = sorted({key[1] for key in found if key[0] == mismatch})
    rows = []
    for method, label in METHODS.items():
        runs = [found[mismatch, seed, method] for seed in seeds if (mismatch, seed, method) in found]
        if runs:
            kept = _mean(runs, "kept_trajectories") if method in ("gspo", "mis_po", "mis_po_wide") else None
            cells = [_over([f(run) for run in runs]) for f in (final_reward, variation, _largest)]
            rows.append([label, *cells, kept, _mean(runs, "kl")])
    band = MISMATCHES[mismatch].wide
    note = (
        f"Exact rewards; 0.125 is chance. Seeds: {len(seeds)}, t intervals. The wider band is [{band[0]}, {band[1]}]."
    )
    return {"title": TITLES[mismatch], "columns": list(COLUMNS), "rows": rows, "note": note}


def _largest(run: Records) -> float:
    return max(float(record["grad_norm"]) for record in run)


def _mean(runs: Sequence[Records], name: str) -> float:
    return float(np.mean([record[name] for run in runs for record in run]))


def _acceptance(found: Found) -> dict[str, Any]:
    runs = [records for key, records in sorted(found.items()) if key[0] == "band"]
    rows = []
    for noise in ACCEPTANCE_NOISES:
        cells = []
        for length in ACCEPTANCE_LENGTHS:
            shares = [r["kept"] for run in runs for r in run if (r["noise"], r["length"]) == (noise, length)]
            cells.append(_over(shares) if shares else None)
        rows.append([f"logit noise {noise:g}", *cells])
    return {
        "title": "Share of trajectories the published band keeps, by length",
        "columns": ["", *(f"{length:,} tokens" for length in ACCEPTANCE_LENGTHS)],
        "rows": rows,
        "note": "Simulated: fresh noise at every token. The mean log-ratio tends to −KL; the band is [−0.004, 0.001].",
    }


def _cut(found: Found) -> dict[str, Any]:
    rows = []
    for method, label in TRUNCATED.items():
        runs = [records for key, records in sorted(found.items()) if (key[0], key[2]) == ("cut", method)]
        cells = [_over([run[at][name] for run in runs]) for name in ("success", "length") for at in (0, -1)]
        rows.append([label, *cells, _over([run[0]["cut"] for run in runs])])
    return {
        "title": "What a length limit teaches",
        "columns": ["reward of what was cut off", "success, start", "end", "length, start", "end", "cut off at start"],
        "rows": rows,
        "note": "Exact, of the policy without a limit; going on for ever succeeds always, after 10 steps on average.",
    }


def curves(found: Found, seed: int) -> Iterator[dict[str, Any]]:
    """Metric records of one seed: a stage a mismatch, a line a method."""
    for mismatch in MISMATCHES:
        runs = {method: found.get((mismatch, seed, method), ()) for method in METHODS}
        for rows in zip(*runs.values(), strict=True):
            record: dict[str, Any] = {"stage": mismatch, "step": rows[0]["step"]}
            for method, row in zip(runs, rows, strict=True):
                label = METHODS[method]
                record |= {f"reward/{label}": row["reward"], f"gradient norm/{label}": row["grad_norm"]}
                if method.startswith("mis_po"):
                    record[f"trajectories kept/{label}"] = row["kept_trajectories"]
            yield record
    for method, label in TRUNCATED.items():
        for row in found.get(("cut", seed, method), ()):
            yield {"stage": "limit", "step": row["step"], f"length without limit/{label}": row["length"]}
    for part in LANGUAGE:
        yield from language_curves(part, {key[2]: rs for key, rs in found.items() if key[:2] == (part, seed)})
