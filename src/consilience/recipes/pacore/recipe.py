"""`consilience run pacore`: schedules of a simulated reasoner, of the untrained nano or of a model at an endpoint, and
the training of the synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.recipes.pacore import tables
from consilience.recipes.pacore.arms import Point, points, synthesis_points, voting_points
from consilience.recipes.pacore.claims import CLAIMS, RECIPE, measured
from consilience.recipes.pacore.sizes import SEEDS, Sizes, sizes_of
from consilience.recipes.pacore.training_sizes import TrainingSizes, training_of
from consilience.recipes.pacore.work import (
    BLIND,
    MODEL,
    NANO,
    PPO,
    READER,
    SIMULATED,
    START,
    TRAINED,
    UNTRAINED,
    shown_name,
    shown_points,
)
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, directory_of, finished, run_units

WORK = "consilience.recipes.pacore.work:work"
EXTENT = ("workers", "seeds")
"""Settings that say how much of a study to do now and how; a run resumed with others goes on from what there is."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "training": (START, PPO, TRAINED, UNTRAINED, READER),
    "sampling": (NANO,),
    "simulation": (SIMULATED, BLIND),
}
"""Parts of the study, the long ones first."""
DRAWN = ("stage", "step", "loss", "reward", "dev", "emergent", "entropy", "cross_checks")
NEEDS = {PPO: START, TRAINED: PPO, UNTRAINED: START, READER: START}

_PAPER = (
    "scale paper asks a model trained in synthesis (stepfun-ai/PaCoRe-8B behind any OpenAI-style server, context "
    "131,072) and needs questions with answers: add --model openai:NAME --base-url URL --set questions=FILE.jsonl."
)


@dataclass(frozen=True)
class PaCoReRecipe:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("pacore"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part or model that this recipe cannot take.
            PolicyError: the model cannot be reached.
        """
        from consilience.report import build_report

        sizes, training = _sizes(request)
        units = _units(request, sizes, training)
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes), "training": asdict(training)}
        config["settings"] = request.settings_but(*EXTENT)
        workers = request.count("workers", 1 if request.scale in ("smoke", "gpu", "paper") else 2)
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            request.progress.start(_line(sizes, training, units), 0)
            request.progress.done()
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, request, units)
            run.finish()
            build_report(run.directory)
            return run.directory


def _sizes(request: RunRequest) -> tuple[Sizes, TrainingSizes]:
    """The sizes of the scale, with each setting where it belongs."""
    settings = request.settings_but(*EXTENT)
    training = {f.name for f in fields(TrainingSizes)}
    known = {*training, *(f.name for f in fields(Sizes))}
    if unknown := sorted(set(settings) - known):
        raise UnknownName("setting", unknown[0], known)
    here = {name: value for name, value in settings.items() if name not in training}
    there = {name: value for name, value in settings.items() if name in training}
    return sizes_of(request.scale, request.study, here), _training(request, there)


def _training(request: RunRequest, settings: Mapping[str, Any]) -> TrainingSizes:
    """Scale paper trains nothing; its units carry the laptop's sizes, unused."""
    return training_of("laptop" if request.scale == "paper" else request.scale, request.study, settings)


def _units(request: RunRequest, sizes: Sizes, training: TrainingSizes) -> list[Unit]:
    """One unit for each part and seed."""
    if request.part and request.part not in PARTS:
        raise UnknownName("part", request.part, PARTS)
    if request.scale == "paper" and (request.model == NANO or not sizes.questions):
        raise InputError(_PAPER)
    if request.model == NANO and sizes.questions:
        raise InputError("nano answers questions about digits only: give --model for the questions of a file.")
    chosen = PARTS[request.part] if request.part else tuple(part for parts in PARTS.values() for part in parts)
    if not sizes.simulated:
        chosen = tuple(part for part in chosen if part not in (SIMULATED, BLIND))
    if request.model != NANO:  # what is trained is a house model
        chosen = tuple(MODEL if part == NANO else part for part in chosen if part not in PARTS["training"])
    if not chosen:
        raise InputError(f"part {request.part} is about the house's own model: leave --model {request.model} out.")
    common = {
        "sizes": asdict(sizes),
        "training": asdict(training),
        "model": request.model,
        "base_url": request.base_url,
    }
    return [
        Unit(_name(seed, part), _needs(seed, part), {"seed": seed, "part": part, **common})
        for part in chosen
        for seed in range(request.seed, request.seed + _seeds(request, part))
    ]


def _seeds(request: RunRequest, part: str) -> int:
    kind = "training" if part in PARTS["training"] else "study"
    return request.count("seeds", SEEDS[kind] if request.study else 1)


def _name(seed: int, part: str) -> str:
    return f"seed{seed}-{part}"


def _needs(seed: int, part: str) -> tuple[str, ...]:
    return (_name(seed, NEEDS[part]),) if part in NEEDS else ()


def _line(sizes: Sizes, training: TrainingSizes, units: list[Unit]) -> str:
    """The arithmetic in one line, printed at the start."""
    found = points(sizes)
    trajectories = sum(point.trajectories for point in found)
    trained = ""
    if any(unit.task["part"] == PPO for unit in units):
        found = [*voting_points(training), *(p for after in (False, True) for p in synthesis_points(training, after))]
        steps, asked = training.iterations + training.second, sum(point.trajectories for point in found)
        trained = (
            f" Training: {training.pools} problems × {training.cache} cached trajectories, {steps} iterations × "
            f"{training.instances} × {training.samples}; {training.tests} test problems × {asked}, first rounds shared."
        )
    return (
        f"{len(units)} units; {sizes.problems:,} problems at most × {trajectories} trajectories ({len(found)} "
        f"points of at most {max(point.trajectories for point in found)}), first rounds shared." + trained
    )


def _conclude(run: Run, request: RunRequest, units: list[Unit]) -> None:
    """Gather the units' numbers and answers into the run's own files, and judge the claims."""
    evaluations = evaluations_of(run.directory)
    for part in (START, PPO):
        curves = directory_of(run.directory, _name(request.seed, part)) / "metrics.jsonl"
        if curves.exists() and not run.done(f"gather-{part}"):
            with run.stage(f"gather-{part}"):
                run.append("metrics.jsonl", map(_drawn, read_jsonl(curves)))
    for part, records in tables.curves(evaluations, request.seed):
        if not run.done(f"gather-{part}"):
            with run.stage(f"gather-{part}"):
                run.append("metrics.jsonl", records)
                answers = directory_of(run.directory, _name(request.seed, part)) / "samples.jsonl"
                if answers.exists():
                    found = [
                        Point(r["arm"], r["width"], r["schedule"]) for r in evaluations[request.seed, part].values()
                    ]
                    order = [shown_name(part, name) for name in shown_points(part, found)]
                    run.append("samples.jsonl", sorted(read_jsonl(answers), key=lambda s: order.index(s["model"])))
    numbers = {} if request.scale == "smoke" else measured(evaluations)  # a handful of problems decides nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(evaluations))
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)


def _drawn(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a training step's numbers the report draws; all of them stay with the unit."""
    return {name: value for name, value in record.items() if name.partition("/")[0] in DRAWN}


def evaluations_of(directory: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """What the finished units of a run measured: (seed, part) → point → record."""
    found = {}
    for unit in sorted((directory / "units").glob("seed*-*")):
        seed, _, part = unit.name.removeprefix("seed").partition("-")
        if finished(directory, unit.name) and part not in (START, PPO):
            stages = read_json(unit / "state.json")["done"]
            found[int(seed), part] = {stage: read_json(unit / f"{stage}.json") for stage in stages}
    return found


def recipe() -> PaCoReRecipe:
    """The recipe, for the registry."""
    return PaCoReRecipe()
