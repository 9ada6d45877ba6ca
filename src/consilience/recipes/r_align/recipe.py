"""`consilience run r_align`: the S-Corr study, the bandit-scale training studies, and audits of real reward models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.recipes.r_align import tables
from consilience.recipes.r_align.claims import CLAIMS, RECIPE, measured
from consilience.recipes.r_align.sizes import CORE, PARTS, SEEDS, sizes_of
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, directory_of, finished, run_units

WORK = "consilience.recipes.r_align.work:work"
EXTENT = ("workers", "seeds")
"""Settings that say how much of a study to do now and how; a run resumed with others goes on from what there is."""

_GPU = (
    "scale gpu has no sizes of its own here: use --scale laptop or --study, larger ones with --set width=… rl_steps=…, "
    "or audit a model of your own with --model openai:NAME, hf:NAME or vllm:NAME."
)


@dataclass(frozen=True)
class RAlign:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("r_align"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part or model that this recipe cannot take.
        """
        from consilience.report import build_report

        if request.model != "nano" or request.scale == "paper":
            from consilience.recipes.r_align.endpoint import run_endpoint

            return run_endpoint(request)
        if request.scale == "gpu":
            raise InputError(_GPU)
        sizes = sizes_of(request.scale, request.settings_but(*EXTENT))
        units = _units(request, asdict(sizes))
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes)}
        config["settings"] = request.settings_but(*EXTENT)
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            workers = request.count("workers", 1)
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, units, request)
            run.finish()
            build_report(run.directory)
            return run.directory


def _units(request: RunRequest, sizes: Mapping[str, Any]) -> list[Unit]:
    """Every part of every seed that this request asks for; none needs another."""
    if request.part and request.part not in PARTS:
        raise UnknownName("part", request.part, PARTS)
    parts = [request.part] if request.part else list(PARTS) if request.study else list(CORE)
    seeds = request.count("seeds", SEEDS["study" if request.study and request.scale == "laptop" else request.scale])
    return [
        Unit(f"seed{seed}-{part}", (), {"seed": seed, "part": part, "sizes": dict(sizes)})
        for seed in range(request.seed, request.seed + seeds)
        for part in parts
    ]


def _conclude(run: Run, units: Sequence[Unit], request: RunRequest) -> None:
    """Gather the units' numbers and claims into the run's own files."""
    for unit in units:
        if unit.task["seed"] == request.seed and not run.done(f"gather-{unit.name}"):
            with run.stage(f"gather-{unit.name}"):
                run.append("metrics.jsonl", read_jsonl(directory_of(run.directory, unit.name) / "metrics.jsonl"))
    evaluations = evaluations_of(run.directory)
    numbers = {} if request.scale == "smoke" else measured(evaluations)  # a handful of pairs decides nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(evaluations))
    for unit in units:
        lines = directory_of(run.directory, unit.name) / "samples.jsonl"
        if unit.task["seed"] == request.seed and lines.exists() and not run.done(f"samples-{unit.name}"):
            with run.stage(f"samples-{unit.name}"):
                run.append("samples.jsonl", read_jsonl(lines))
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)


def recipe() -> RAlign:
    """The recipe, for the registry."""
    return RAlign()


def evaluations_of(directory: Path) -> dict[tuple[int, str], Mapping[str, Any]]:
    """What the finished units of a run measured: (seed, part) → evaluation.json."""
    found: dict[tuple[int, str], Mapping[str, Any]] = {}
    for path in sorted((directory / "units").glob("seed*-*/evaluation.json")):
        if finished(directory, path.parent.name):
            seed, _, part = path.parent.name.removeprefix("seed").partition("-")
            found[int(seed), part] = read_json(path)
    return found
