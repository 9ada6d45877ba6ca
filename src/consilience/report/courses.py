"""Curves over something else than steps: a held-out score against the reward that is optimised, samples over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from consilience.report.curves import Line, Panel

PAIRS = (("proxy", "gold"), ("reward", "gold"), ("reward", "accuracy"))
"""(what is optimised, what is meant): the first pair that a stage has recorded together is drawn."""

MINUTES = "minutes"
FEWEST = 3


def courses(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The panels that these records allow: over-optimisation shows where the path turns down while it goes on to the
    right; samples (a count so far) over the minutes of `step_s`."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        stages.setdefault(str(record["stage"]), []).append(record)
    found = []
    for proxy, gold in PAIRS:
        lines = [(stage, _together(own, proxy, gold)) for stage, own in stages.items()]
        drawn = tuple((stage, (Line(gold, *points),)) for stage, points in lines if points)
        if drawn:
            found.append(Panel(f"{gold} against {proxy}", drawn, proxy))
            break
    times = [(stage, _over_time(own)) for stage, own in stages.items()]
    sampled = tuple((stage, (Line("samples", *points),)) for stage, points in times if points)
    return [*found, Panel("samples over time", sampled, MINUTES)] if sampled else found


Points = tuple[tuple[float, ...], tuple[float, ...]]


def _together(records: Sequence[Mapping[str, Any]], x: str, y: str) -> Points | None:
    """Both numbers of the records that have both; None for fewer than `FEWEST`."""
    points = [(float(r[x]), float(r[y])) for r in records if _is_number(r.get(x)) and _is_number(r.get(y))]
    return _split(points)


def _over_time(records: Sequence[Mapping[str, Any]]) -> Points | None:
    points, seconds = [], 0.0
    for record in records:
        if not _is_number(record.get("step_s")):
            return None
        seconds += float(record["step_s"])
        if _is_number(record.get("samples")):
            points.append((seconds / 60, float(record["samples"])))
    return _split(points)


def _split(points: Sequence[tuple[float, float]]) -> Points | None:
    if len(points) < FEWEST:
        return None
    xs, ys = zip(*points, strict=True)
    return xs, ys


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
