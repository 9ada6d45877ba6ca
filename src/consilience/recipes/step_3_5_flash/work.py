"""A unit of the recipe: all methods under one mismatch and one seed, the table of acceptance, the length limit, or all
arms of a part that trains language models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from consilience.recipes.step_3_5_flash import drafting, language, truncation
from consilience.recipes.step_3_5_flash.bigram import Study, acceptance
from consilience.recipes.step_3_5_flash.sizes import (
    ACCEPTANCE_LENGTHS,
    ACCEPTANCE_NOISES,
    ARMS,
    METHODS,
    MISMATCHES,
    TRUNCATED,
    Sizes,
)
from consilience.request import Progress
from consilience.runs import start
from consilience.units import Unit, directory_of

RECORDS = "records.jsonl"


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"mismatch", "seed", "sizes"}`. Each method is a stage; a finished one is not run again."""
    torch.set_num_threads(1)
    sizes, seed = Sizes(**unit.task["sizes"]), unit.task["seed"]
    directory = directory_of(run, unit.name)
    special = {"band": ["acceptance"], "cut": list(TRUNCATED), **{part: list(arms) for part, arms in ARMS.items()}}
    stages = special.get(unit.task["mismatch"], list(METHODS))
    config = {"recipe": "step_3_5_flash", "unit": unit.name, **unit.task}
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        progress.start(unit.name, len(stages), len(stages) - len(own.pending(stages)))
        for name in own.pending(stages):
            with own.stage(name):
                own.append(RECORDS, [{"method": name, **r} for r in _records(name, unit.task["mismatch"], sizes, seed)])
            progress.update(len(stages) - len(own.pending(stages)))
        progress.done()
        own.finish()


def _records(stage: str, mismatch: str, sizes: Sizes, seed: int) -> Iterator[dict[str, Any]]:
    if stage == "acceptance":
        return _band(sizes, seed)
    if stage in TRUNCATED:
        return truncation.train(stage == "bootstrap", sizes, seed)
    if mismatch == "drafting":
        return drafting.study(sizes, seed)
    if mismatch in ARMS:
        return language.compare(mismatch, stage, sizes, seed)
    return _trained(stage, mismatch, sizes, seed)


def _trained(method: str, mismatch: str, sizes: Sizes, seed: int) -> Iterator[dict[str, Any]]:
    study = Study(method, MISMATCHES[mismatch], sizes, seed)
    for step in range(1, sizes.iterations + 1):
        found = study.iterate()
        yield {"step": step, "reward": found.reward, "grad_norm": found.grad_norm, **found.numbers}


def _band(sizes: Sizes, seed: int) -> Iterator[dict[str, Any]]:
    """Long trajectories are simulated fewer times: their share scatters less around 0 and 1."""
    for noise in ACCEPTANCE_NOISES:
        for length in ACCEPTANCE_LENGTHS:
            trials = max(10, min(sizes.trials, sizes.trials * 256 // length))
            yield {"step": length, "noise": noise, "length": length, "kept": acceptance(noise, length, trials, seed)}
