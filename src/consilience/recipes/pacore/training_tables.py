"""The tables of trained synthesis: all methods over K, what training kept, and its curve."""

from __future__ import annotations

from typing import Any

from consilience.recipes.pacore.arms import ONE, PARALLEL, PLACES, SEQUENTIAL, VOTE
from consilience.recipes.pacore.reading import Evaluations, curve, over
from consilience.recipes.pacore.training_claims import emergent, rising, synthesis_measured
from consilience.recipes.pacore.work import READER, TRAINED, UNTRAINED
from consilience.stats import wilson

METHODS = (
    ("one trajectory of the reader", READER, ONE),
    ("plain vote of the reader, K + 1", READER, VOTE),
    ("vote on every place, K + 1 (knows the structure)", READER, PLACES),
    ("one trajectory, form of references known", UNTRAINED, ONE),
    ("untrained as synthesizer", UNTRAINED, PARALLEL),
    ("one trajectory after training", TRAINED, ONE),
    ("trained synthesis", TRAINED, PARALLEL),
    ("trained, sequential", TRAINED, SEQUENTIAL),
)


def training_tables(evaluations: Evaluations) -> list[dict[str, Any]]:
    """Nothing where synthesis was not trained."""
    seeds = sorted({seed for seed, part in evaluations if part == TRAINED})
    if not seeds:
        return []
    return [_methods(evaluations, seeds), _emergence(evaluations, seeds)]


def _methods(evaluations: Evaluations, seeds: list[int]) -> dict[str, Any]:
    line = rising(evaluations[seeds[0], TRAINED])
    columns = ["–", *(f"[{record['schedule'] or record['width']}]" for record in line)]
    places = [(0, ""), *((int(record["width"]), str(record["schedule"])) for record in line)]
    rows: list[list[Any]] = []
    for title, part, arm in METHODS:
        cells = [_cell(evaluations, seeds, part, arm, *place) for place in places]
        if any(cell is not None for cell in cells):
            rows.append([title, *cells])
    several = f"Mean over {len(seeds)} seeds with a t interval" if len(seeds) > 1 else "Wilson intervals over problems"
    return {
        "title": "Training the synthesis: right answers over K",
        "columns": ["", *columns],
        "rows": rows,
        "note": f"{several}. Each column generates as many trajectories (K + 1; the last column {places[-1][0] + 1}). "
        "Rounds of the trained model are its own throughout. It is an analogue of the mechanism at a million weights, "
        "no evidence about large models.",
    }


def _cell(
    evaluations: Evaluations, seeds: list[int], part: str, arm: str, width: int, schedule: str
) -> dict[str, Any] | None:
    found = [
        record
        for seed in seeds
        for record in evaluations.get((seed, part), {}).values()
        if (record["arm"], record["width"]) == (arm, width) and (arm != PARALLEL or record["schedule"] == schedule)
    ]
    return over([wilson(sum(r["right"]), len(r["right"])) for r in found]) if found else None


def _emergence(evaluations: Evaluations, seeds: list[int]) -> dict[str, Any]:
    numbers = synthesis_measured(evaluations)
    rows: list[list[Any]] = [
        [name, over(list(by_seed.values()))] for name, by_seed in sorted(numbers.items()) if by_seed
    ]
    for part in (UNTRAINED, TRAINED):
        lines = [line for seed in seeds if (line := curve(evaluations.get((seed, part), {}), PARALLEL))]
        found = [rate for line in lines if (rate := emergent(line[-1])) is not None]
        if found:
            rows.append([f"{part}: right where every message of the widest round is wrong", over(found)])
    return {
        "title": "Training the synthesis: what the claims compare",
        "columns": ["", "measured"],
        "rows": rows,
        "note": "smallest-step: the weakest of the steps along K and to the second round. parallel-vote@K: trained "
        "synthesis minus the plain vote of the reader. Paired on the same problems.",
    }
