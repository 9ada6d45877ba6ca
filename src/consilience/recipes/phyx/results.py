"""What the finished units of a run measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consilience.files import read_jsonl
from consilience.recipes.phyx.work import RECORDS
from consilience.units import directory_of, finished


@dataclass
class Results:
    """solvers: (seed, solver, form) → record. learnt: (seed, condition, form) → record of a nano. facets: seed →
    domain, sub-domain and reasoning types of each problem. erring: seed → (kind made, kind found) → count."""

    solvers: dict[tuple[int, str, str], Mapping[str, Any]] = field(default_factory=dict)
    learnt: dict[tuple[int, str, str], Mapping[str, Any]] = field(default_factory=dict)
    readings: list[Mapping[str, Any]] = field(default_factory=list)
    facets: dict[int, list[list[Any]]] = field(default_factory=dict)
    erring: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)


def results_of(directory: Path) -> Results:
    """The records of all finished units."""
    results = Results()
    for path in sorted((directory / "units").glob(f"*-seed*/{RECORDS}")):
        if not finished(directory, path.parent.name):
            continue
        seed = int(path.parent.name.rpartition("-seed")[2])
        for record in read_jsonl(directory_of(directory, path.parent.name) / RECORDS):
            _add(results, seed, record)
    return results


def _add(results: Results, seed: int, record: Mapping[str, Any]) -> None:
    if "solver" in record:
        results.solvers[seed, record["solver"], record["form"]] = record
    elif "condition" in record:
        results.learnt[seed, record["condition"], record["form"]] = record
    elif "facets" in record:
        results.facets[seed] = record["facets"]
    elif "erring" in record:
        counts = results.erring.setdefault(seed, Counter())
        for made, said, count in record["counts"]:
            counts[made, said] += count
    else:
        results.readings.append(record)
