"""The units of a run: a part of it under one seed, each in a directory of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from consilience.policy.simulated import Reasoner, simulated_policy
from consilience.problem import Problem
from consilience.protocols import Policy, Sampling
from consilience.recipes.pacore import questions
from consilience.recipes.pacore.arms import PARALLEL, PLACES, Point, points, synthesis_points, voting_points
from consilience.recipes.pacore.asked import SHORT, family_of, held_out
from consilience.recipes.pacore.measure import measure
from consilience.recipes.pacore.places import measure_places
from consilience.recipes.pacore.sizes import Sizes
from consilience.recipes.pacore.training_sizes import TrainingSizes
from consilience.request import Progress
from consilience.runs import Run, start
from consilience.store import Store
from consilience.units import Unit, directory_of

SIMULATED, BLIND, NANO, MODEL = "simulated", "blind", "nano", "model"
"""Parts: the simulated reasoner; the same one when it never reads its references; the shipped nano, which was not
trained in synthesis; any other model."""
START, PPO, READER, UNTRAINED, TRAINED = "start", "ppo", "reader", "untrained", "trained"
"""Parts of the training of synthesis: what it starts from, and PPO; then what is answered by the reader that never saw
references, by the model that knows their form, and by the trained one."""
ANSWERING = {READER: "base", UNTRAINED: "model", TRAINED: "model"}
"""Part → the checkpoint that answers, in the directory of the unit it needs."""
REASONER = Reasoner(thought=50, window=600)
"""The simulation's own parameters with thoughts and window five times shorter, which is five times cheaper: sixteen
messages fit into the window, sixteen whole trajectories do not."""
SEED_STRIDE = 1_000_003
"""Between the sampling seeds of two run seeds: more than any schedule has samples."""


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"seed", "part", "sizes", "training", "model", "base_url"}`. What is finished is not done
    again.

    Every trajectory of an unchanged problem goes into the run's trajectory store, so that a wider schedule starts from
    those of a narrower one, all arms from the same ones, and a killed run from those it had.
    """
    sizes = Sizes(**{**unit.task["sizes"], "widths": tuple(unit.task["sizes"]["widths"])})
    config = {"recipe": "pacore", "unit": unit.name, **unit.task}
    directory = directory_of(run, unit.name)
    with (
        start(directory.parent, unit.name, config, out=directory, resume=True) as own,
        Store(run / "trajectories.db") as store,
    ):
        if unit.task["part"] in (START, PPO):
            import torch

            from consilience.recipes.pacore import training

            torch.set_num_threads(1)
            (training.prepare if unit.task["part"] == START else training.reinforce)(run, own, unit, store, progress)
        else:
            asyncio.run(_carry_out(own, run, unit, sizes, store, progress))
        own.finish()


async def _carry_out(own: Run, run: Path, unit: Unit, sizes: Sizes, store: Store, progress: Progress) -> None:
    part = unit.task["part"]
    training = TrainingSizes(**unit.task["training"])
    synthesis = part in ANSWERING
    problems, wanted = _asked(part, sizes, training)
    policy = _policy(part, run, unit, training)
    simulated = part in (SIMULATED, BLIND)
    limit = training.answer_tokens if synthesis else 0 if simulated else sizes.max_tokens
    sampling = Sampling(max_tokens=limit, seed=unit.task["seed"] * SEED_STRIDE)
    try:
        for point in wanted:
            if own.done(point.name):
                continue
            with own.stage(point.name):
                if point.arm == PLACES:
                    record = await measure_places(point, problems, policy, sampling, store=store, progress=progress)
                    own.write_json(f"{point.name}.json", record)
                    continue
                record, shown = await measure(
                    point,
                    problems,
                    policy,
                    sampling,
                    store=None if simulated else store,
                    concurrency=sizes.concurrency,
                    progress=progress,
                    template=SHORT if synthesis else None,
                )
                if point.name in shown_points(part, wanted):
                    own.append("samples.jsonl", [{**one, "model": shown_name(part, point.name)} for one in shown])
                own.write_json(f"{point.name}.json", record)
    finally:
        await policy.close()


def shown_points(part: str, found: Sequence[Point]) -> list[str]:
    """The points whose answers are in the report's gallery, its subject first: one trajectory and the widest round."""
    if part in (SIMULATED, BLIND, READER, UNTRAINED):
        return []
    widest = max((point.width for point in found if not point.schedule), default=0)
    chosen = [point for point in found if point.width in (0, widest) and not point.schedule]
    return [point.name for point in sorted(chosen, key=lambda point: point.arm != PARALLEL)]


def shown_name(part: str, name: str) -> str:
    """What the answers of a point are called in the gallery."""
    return f"trained {name}" if part == TRAINED else name


def _asked(part: str, sizes: Sizes, training: TrainingSizes) -> tuple[Sequence[Problem], list[Point]]:
    if part in (SIMULATED, BLIND):
        return questions.simulated(sizes.simulated), points(sizes, (PARALLEL,) if part == BLIND else ())
    if part == READER:
        return held_out(training), voting_points(training)
    if part in ANSWERING:
        return held_out(training), synthesis_points(training, part == TRAINED)
    return questions.asked(sizes), points(sizes)


def _policy(part: str, run: Path, unit: Unit, training: TrainingSizes) -> Policy:
    """Who answers. House models compute in float32, so that numbers do not hang on what else is in the batch."""
    if part in (SIMULATED, BLIND):
        return simulated_policy(replace(REASONER, reads=float(part == SIMULATED)))
    synthesis = part in ANSWERING
    model = str(directory_of(run, unit.needs[0]) / ANSWERING[part]) if synthesis else unit.task["model"]
    if model == NANO or Path(model).is_dir():
        import torch

        from consilience.policy.local import open_local

        torch.set_num_threads(1)
        if not synthesis:
            return open_local(model, dtype=torch.float32)
        where = "cuda" if torch.cuda.is_available() else None
        return family_of(training).seen(open_local(model, dtype=torch.float32, device=where))
    from consilience.policy.open import open_policy

    return open_policy(model, base_url=unit.task["base_url"])
