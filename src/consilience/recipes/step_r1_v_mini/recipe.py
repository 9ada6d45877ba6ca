"""`consilience run step_r1_v_mini`: warm start, arms, evaluation, claims and report of one run or a study."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.recipes.step_r1_v_mini import tables
from consilience.recipes.step_r1_v_mini.claims import CLAIMS, RECIPE, measured
from consilience.recipes.step_r1_v_mini.sizes import ARMS, CORE, PARTS, Sizes, batch_line, sizes_of
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, directory_of, finished, run_units

WORK = "consilience.recipes.step_r1_v_mini.arms:work"
EXTENT = ("workers", "seeds")
"""Settings that say how much of a study to do now and how; a run resumed with others goes on from what there is."""


@dataclass(frozen=True)
class StepR1VMini:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("step_r1_v_mini"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part or model that this recipe cannot take.
        """
        from consilience.recipes.step_r1_v_mini.language import run_language_model
        from consilience.report import build_report

        target = request.settings.get("target")
        settings = request.settings_but("target", *EXTENT)
        if request.scale == "paper":
            raise InputError(_PAPER)
        if request.model != "nano":
            return run_language_model(request, settings)
        sizes = sizes_of(request.scale, request.study or target == "nano", settings)
        units = _units(request, sizes, str(target or ""))
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes), "batch": batch_line(sizes)}
        config["settings"] = request.settings_but(*EXTENT)
        workers = request.count("workers", 1 if request.scale in ("smoke", "gpu") else 2)
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            request.progress.start(batch_line(sizes), 0)
            request.progress.done()
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            if target == "nano":
                model = directory_of(run.directory, units[-1].name) / "model"
                shutil.copytree(model, run.directory / "model", dirs_exist_ok=True)
            _conclude(run, units, request)
            run.finish()
            build_report(run.directory)
            return run.directory


_PAPER = (
    "scale paper needs weights that were never published: Step-R1-V-Mini is closed. Run the published open lineage "
    "instead with --scale gpu, or with --model hf:NAME on one GPU."
)


def _units(request: RunRequest, sizes: Sizes, target: str) -> list[Unit]:
    """The warm starts and arms this request asks for, each arm after the warm start of its seed."""
    if target and target != "nano":
        raise UnknownName("target", target, ["nano"])
    request.count("seeds", 1)
    wanted: list[tuple[int, str]] = []
    if target == "nano":
        wanted = [(request.seed, "ppo")]
    elif not request.study:
        wanted = [(request.seed, arm) for arm in CORE]
    else:
        parts = [request.part] if request.part else list(PARTS)
        for part in parts:
            if part not in PARTS:
                raise UnknownName("part", part, PARTS)
            arms, seeds = PARTS[part]
            for i in range(request.count("seeds", seeds)):
                wanted += [(request.seed + i, arm) for arm in dict.fromkeys((*CORE, *arms))]
    units: dict[str, Unit] = {}
    numbers = asdict(sizes)
    for seed, arm in dict.fromkeys(wanted):
        warm = f"seed{seed}-start"
        units.setdefault(warm, Unit(warm, (), {"seed": seed, "arm": None, "sizes": numbers}))
        name = f"seed{seed}-{arm}"
        task = {"seed": seed, "arm": asdict(ARMS[arm]), "sizes": numbers}
        if arm == "ppo" and not (request.study or target):
            task["synthesis"] = True
        units[name] = Unit(name, (warm,), task)
    return list(units.values())


def _arm(unit: Unit) -> str | None:
    arm = unit.task["arm"]
    return None if arm is None else str(arm["name"])


def _conclude(run: Run, units: Sequence[Unit], request: RunRequest) -> None:
    """Gather the units' numbers, answers and claims into the run's own files."""
    done = [u for u in units if finished(run.directory, u.name)]
    evaluations = evaluations_of(run.directory)
    first = request.seed
    _gather(run, [u for u in done if u.task["seed"] == first])
    numbers = {} if request.scale == "smoke" else measured(evaluations)  # a handful of problems decides nothing
    outcomes = [ledger.evaluate(claim, numbers) for claim in CLAIMS]
    ledger.write(run.directory, outcomes)
    run.write_json("tables.json", tables.tables(evaluations))
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)


def _gather(run: Run, units: Iterable[Unit]) -> None:
    """Metrics and answers of one seed's units, trained model first."""
    rank = {None: 0, "ppo": 1, "control": 2, "warm": 3}
    ordered = sorted(units, key=lambda u: rank.get(_arm(u), 4))
    for unit in ordered:
        if run.done(f"gather-{unit.name}"):
            continue
        with run.stage(f"gather-{unit.name}"):
            directory = directory_of(run.directory, unit.name)
            if (directory / "metrics.jsonl").exists():
                run.append("metrics.jsonl", read_jsonl(directory / "metrics.jsonl"))
            if (directory / "samples.jsonl").exists() and _arm(unit) in ("ppo", "control", "warm"):
                run.append("samples.jsonl", read_jsonl(directory / "samples.jsonl"))


def recipe() -> StepR1VMini:
    """The recipe, for the registry."""
    return StepR1VMini()


def evaluations_of(directory: Path) -> Mapping[tuple[int, str], Mapping[str, Any]]:
    """What the finished units of a run measured: (seed, arm) → evaluation.json."""
    found = {}
    for path in sorted((directory / "units").glob("seed*-*/evaluation.json")):
        if not finished(directory, path.parent.name):
            continue
        seed, _, arm = path.parent.name.removeprefix("seed").partition("-")
        found[int(seed), arm] = read_json(path)
    return found
