"""Worlds: problems per second on one core, how often the non-learned detectors are right, and the baselines.

    python benchmarks/worlds.py [--n 400] [--record]

Every rate is the best of three passes over all levels with tasks drawn by the seed. "round trip" is the share of
pictures whose detected scene gives the problem's own answer; baselines answer counting questions of the test split.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.stats import binomtest

from _record import leave
from consilience import registry
from consilience.problem import Image
from consilience.protocols import World
from consilience.worlds import digits_detect, scenes_detect
from consilience.worlds.baselines import majority_answer, pixel_regression, tally
from consilience.worlds.program import Scene

DETECTORS: dict[str, Callable[[Image, str], Scene]] = {
    "digits": digits_detect.detect,
    "scenes": lambda image, split: scenes_detect.detect(image),
}
ISSUE = {"text": 2000, "image": 300}


def rates(world: World, n: int) -> list[dict[str, Any]]:
    """Problems per second of each modality."""
    rows = []
    for modality in world.modalities:
        for level in world.levels:
            world.problem(0, level=level, modality=modality)  # loads what is loaded lazily
        seconds = []
        for again in range(3):
            start = time.perf_counter()
            for seed in range(n):
                world.problem(again * n + seed, level=world.levels[seed % len(world.levels)], modality=modality)
            seconds.append(time.perf_counter() - start)
        rows.append(
            {"world": world.name, "modality": modality, "per_second": n / min(seconds), "asked": ISSUE.get(modality)}
        )
    return rows


def round_trips(world: World, n: int) -> list[dict[str, Any]]:
    """Per level: share of pictures whose detected scene gives the answer, its Wilson interval, time of a detection."""
    detect, rows = DETECTORS[world.name], []
    for level in world.levels:
        problems = [world.problem(seed, level=level, split="test", modality="image") for seed in range(n)]
        start = time.perf_counter()
        right = sum(tally(problem, lambda image: detect(image, "test")) == problem.answer for problem in problems)
        took = (time.perf_counter() - start) / n
        interval = binomtest(right, n).proportion_ci(method="wilson")
        rows.append(
            {
                "world": world.name,
                "level": level,
                "round_trip": right / n,
                "low": interval.low,
                "high": interval.high,
                "detect_ms": 1e3 * took,
            }
        )
    return rows


def baselines(world: World, n: int) -> list[dict[str, Any]]:
    """Accuracy on counting questions of the test split, fitted on the medium level of the training split."""
    train = [world.problem(seed, level="medium", task="count", modality="image") for seed in range(2 * n)]
    pixels, counts = np.stack([p.images[0].pixels for p in train]), np.array([int(p.answer) for p in train])
    common = majority_answer([p.answer for p in train])
    rows = []
    for level in ("medium", "ood"):
        test = [world.problem(seed, split="test", level=level, task="count", modality="image") for seed in range(n)]
        truth = [problem.answer for problem in test]
        guesses = {
            "majority answer": [common] * n,
            "pixel regression": [
                str(number) for number in pixel_regression(pixels, counts, np.stack([p.images[0].pixels for p in test]))
            ],
            "detector, then tally": [tally(p, lambda image: DETECTORS[world.name](image, "test")) for p in test],
        }
        for name, answers in guesses.items():
            right = sum(a == b for a, b in zip(answers, truth, strict=True))
            rows.append({"world": world.name, "level": level, "baseline": name, "accuracy": right / n})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=400, help="problems per measurement")
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    options = parser.parse_args()
    worlds = {name: registry.load("world", name)() for name in registry.names("world")}
    speed = [row for world in worlds.values() for row in rates(world, options.n)]
    trips = [row for name in DETECTORS for row in round_trips(worlds[name], options.n)]
    guesses = [row for name in DETECTORS for row in baselines(worlds[name], options.n)]
    tables = [
        {
            "title": "Problems per second of one core",
            "columns": ["world", "modality", "problems/s", "asked"],
            "rows": [[r["world"], r["modality"], f"{r['per_second']:,.0f}", r["asked"] or "–"] for r in speed],
        },
        {
            "title": "Round trip: from the picture back to the answer, without learning",
            "columns": ["world", "level", "right", "ms a picture"],
            "rows": [[r["world"], r["level"], _interval(r, options.n), f"{r['detect_ms']:.1f}"] for r in trips],
            "note": "Where noise or occlusion makes it fail, the problem is dropped from the data.",
        },
        {
            "title": "Baselines on counting questions of the test split",
            "columns": ["world", "level", "baseline", "accuracy"],
            "rows": [[r["world"], r["level"], r["baseline"], f"{r['accuracy']:.3f}"] for r in guesses],
        },
    ]
    leave("worlds", tables, record=options.record)


def _interval(row: dict[str, Any], n: int) -> dict[str, Any]:
    return {"value": row["round_trip"], "low": row["low"], "high": row["high"], "n": n}


if __name__ == "__main__":
    main()
