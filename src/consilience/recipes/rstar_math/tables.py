"""The tables and curves of the report and of RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from consilience.recipes.rstar_math.claims import Found, arms_of
from consilience.stats import bootstrap, t_interval

TITLES = {"main": "The policy overlooks the kind", "sighted": "Control: the policy reads everything"}
ARMS: Mapping[str, str] = {
    "greedy": "policy alone",
    "sample": "mean of samples",
    "majority": "majority",
    "orm": "best by ORM",
    "any": "any sample right",
    "pqm": "search, PQM",
    "ppm": "search, PPM",
}
_NOTE = (
    "Accuracy on the same test problems. Samples, majority, ORM and “any” have as many tokens a problem as search with "
    "the PPM; “any” is what no choice among samples can exceed."
)


def tables(found: Found) -> list[dict[str, Any]]:
    """Two tables a part, by round: what search gave, and what the models answer."""
    made = []
    for part, title in TITLES.items():
        runs = [arms_of(records) for (own, _), records in sorted(found.items()) if own == part]
        if runs:
            made += [_searched(runs, title), _answered(runs, title)]
    return made


Arms = Mapping[tuple[int, str], Mapping[str, Any]]


def _rounds(runs: Sequence[Arms]) -> list[int]:
    return sorted({number for run in runs for number, _ in run})


def _over(values: Sequence[float | None]) -> Any:
    """One value, a t interval over several, None where one is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return t_interval(known).to_json() if len(known) > 1 else known[0]


def _searched(runs: Sequence[Arms], title: str) -> dict[str, Any]:
    depths = sorted({depth for run in runs for depth, _ in run[1, "search"]["solved"]})
    columns = ["round", "solved", *(f"solved, {depth} steps" for depth in depths)]
    columns += ["easy", "medium", "hard", "tokens a problem", "SFT examples", "pairs", "held-out pairs ranked rightly"]
    rows = []
    for number in _rounds(runs):
        searches, data = ([run.get((number, arm), {}) for run in runs] for arm in ("search", "data"))
        row: list[Any] = [number, _over([one.get("coverage") for one in searches])]
        row += [_over([_share(one, depth) for one in searches]) for depth in depths]
        row += [_mean(one.get("difficulty", {}).get(kind) for one in searches) for kind in ("easy", "medium", "hard")]
        row.append(_mean(one["tokens"] / one["problems"] if one else None for one in searches))
        row += [_mean(one.get(name) for one in data) for name in ("sft", "pairs", "ranked")]
        rows.append(row)
    note = "Shares of the training problems with a right trajectory; the first round is the simulated general model's."
    return {"title": f"{title}: search", "columns": columns, "rows": rows, "note": note}


def _share(record: Mapping[str, Any], depth: int) -> float | None:
    solved = [hit for own, hit in record.get("solved", ()) if own == depth]
    return sum(solved) / len(solved) if solved else None


def _mean(values: Iterator[float | None]) -> float | None:
    known = list(values)
    return None if not known or any(v is None for v in known) else float(np.mean([v for v in known if v is not None]))


def _answered(runs: Sequence[Arms], title: str) -> dict[str, Any]:
    rows = []
    for number in _rounds(runs):
        row: list[Any] = [number]
        for arm in ARMS:
            own = [run[number, arm]["right"] for run in runs if (number, arm) in run]
            row.append(_accuracy(own, len(runs)))
        for arm in ("ppm", "majority", "greedy"):
            tokens = [float(np.mean(run[number, arm]["tokens"])) for run in runs if (number, arm) in run]
            row.append(_mean(iter(tokens)))
        rows.append(row)
    columns = ["round", *ARMS.values(), "tokens, search", "tokens, samples", "tokens, alone"]
    last = _rounds(runs)[-1]
    first = [run[last, "first_policy"]["right"] for run in runs if (last, "first_policy") in run]
    note = _NOTE
    if first:
        accuracy = float(np.mean([np.mean(right) for right in first]))
        note += f" The first policy with the last PPM: {accuracy:.3f}."
    return {"title": f"{title}: answers", "columns": columns, "rows": rows, "note": note}


def _accuracy(runs: Sequence[Sequence[float]], wanted: int) -> Any:
    if not runs or len(runs) < wanted:
        return None
    if len(runs) > 1:
        return t_interval([float(np.mean(right)) for right in runs]).to_json()
    return bootstrap(runs[0], 0, resamples=2000).to_json()


def curves(found: Found) -> Iterator[dict[str, Any]]:
    """Metric records by part and round, means over seeds."""
    for part in TITLES:
        runs = [arms_of(records) for (own, _), records in sorted(found.items()) if own == part]
        for number in _rounds(runs):
            searches = [run[number, "search"]["coverage"] for run in runs if (number, "search") in run]
            record: dict[str, Any] = {"stage": part, "step": number, "solved in training": float(np.mean(searches))}
            for arm, label in ARMS.items():
                own = [np.mean(run[number, arm]["right"]) for run in runs if (number, arm) in run]
                if own:
                    record[f"accuracy/{label}"] = float(np.mean(own))
            yield record
