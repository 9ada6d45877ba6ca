"""The units of a run, each in a directory of its own: the warm start of a seed, and what goes on from it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from consilience.protocols import Policy, Sampling
from consilience.recipes.step3_vl import problems
from consilience.recipes.step3_vl.glimpse import GlimpsePolicy
from consilience.recipes.step3_vl.measure import measure, points
from consilience.recipes.step3_vl.sizes import Sizes
from consilience.request import Progress
from consilience.runs import Run, start
from consilience.store import Store
from consilience.units import Unit, directory_of

START, UNTRAINED, TRAINED, DECAY, BINARY, MODEL = "start", "untrained", "trained", "decay", "binary", "model"
"""Units of a seed: the warm start; its counts; its counts after training in synthesis; pointing after PPO with a
decaying reward, or with hit or miss; and the counts of another model."""
SEED_STRIDE = 1_000_003
"""Between the sampling seeds of two run seeds."""


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"seed", "kind", "sizes", "model", "base_url"}`. What is finished is not done again."""
    sizes, kind, seed = Sizes(**unit.task["sizes"]), unit.task["kind"], unit.task["seed"]
    config = {"recipe": "step3_vl", "unit": unit.name, **unit.task}
    directory = directory_of(run, unit.name)
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        if kind == MODEL:
            asyncio.run(_counts(own, _served(unit), sizes, seed, small=False, progress=progress))
        else:
            _small(own, run, unit, sizes, progress)
        own.finish()


def _small(own: Run, run: Path, unit: Unit, sizes: Sizes, progress: Progress) -> None:
    import torch

    from consilience.nn.checkpoint import load_model, save_model
    from consilience.recipes.step3_vl import pointing, training
    from consilience.recipes.step3_vl.model import placed

    torch.set_num_threads(1)
    kind, seed = unit.task["kind"], unit.task["seed"]
    if kind == START:
        save_model(training.train_start(own, sizes, seed, progress), own.directory / "model")
        return
    model = placed(load_model(directory_of(run, unit.needs[0]) / "model"))
    if kind == TRAINED:
        own.write_json("pools.json", training.train_to_synthesise(own, model, sizes, seed, progress))
        save_model(model, own.directory / "model")
    if kind in (DECAY, BINARY):
        before = pointing.measured(model, sizes, seed)
        training.train_to_point(own, model, kind == DECAY, sizes, seed, progress)
        after = pointing.measured(model, sizes, seed)
        own.write_json("pointing.json", {"looks": sizes.looks, "before": before, "after": after})
        return
    from consilience.engine import Engine
    from consilience.policy.local import LocalPolicy

    policy = GlimpsePolicy(LocalPolicy(Engine(model, rows=256), f"{kind}-{seed}"), sizes.keep)
    asyncio.run(_counts(own, policy, sizes, seed, small=True, progress=progress))


def _served(unit: Unit) -> Policy:
    from consilience.policy.open import open_policy

    return open_policy(unit.task["model"], base_url=unit.task["base_url"])


async def _counts(own: Run, policy: Policy, sizes: Sizes, seed: int, *, small: bool, progress: Progress) -> None:
    """Every point's record and samples. A trajectory of the unchanged problem is sampled once for all of them."""
    asked = problems.held_out("count", sizes.level, "test", sizes.problems)
    sampling = Sampling(max_tokens=sizes.max_tokens, seed=seed * SEED_STRIDE)
    options: dict[str, Any] = {"template": problems.TEMPLATE if small else None, "concurrency": 64 if small else 8}
    try:
        with Store(own.directory / "trajectories.db") as store:
            for point in points(sizes):
                if own.done(point.name):
                    continue
                with own.stage(point.name):
                    record, shown = await measure(
                        point, asked, policy, sampling, store=store, progress=progress, **options
                    )
                    if point.width in (0, sizes.wide):
                        own.append("samples.jsonl", shown)
                    own.write_json(f"{point.name}.json", record)
    finally:
        await policy.close()
