"""`consilience run step3_vl`: visual reasoning in parallel, by a small STEP3-VL trained on digits or a served model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.recipes.step3_vl import tables
from consilience.recipes.step3_vl.claims import CLAIMS, RECIPE, measured
from consilience.recipes.step3_vl.sizes import SEEDS, Sizes, sizes_of
from consilience.recipes.step3_vl.work import BINARY, DECAY, MODEL, START, TRAINED, UNTRAINED
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, directory_of, finished, run_units

WORK = "consilience.recipes.step3_vl.work:work"
EXTENT = ("workers", "seeds")
"""Settings that say how much of a study to do now and how; a run resumed with others goes on from what there is."""
PARTS: Mapping[str, tuple[str, ...]] = {"synthesis": (UNTRAINED, TRAINED), "pointing": (DECAY, BINARY)}
_PAPER = (
    "scale paper asks the released model, served: add --model openai:NAME --base-url URL "
    "(stepfun-ai/Step3-VL-10B with its reasoning parser, context 131,072), or --model hf:NAME."
)


@dataclass(frozen=True)
class Step3Vl:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("step3_vl"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part or model that this recipe cannot take.
            PolicyError: the model cannot be reached.
        """
        from consilience.report import build_report

        sizes = sizes_of(request.scale, request.study, request.settings_but(*EXTENT))
        units = _units(request, sizes)
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes)}
        config["settings"] = request.settings_but(*EXTENT)
        workers = request.count("workers", 2 if request.study else 1)
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, request, sizes)
            run.finish()
            build_report(run.directory)
            return run.directory


def _units(request: RunRequest, sizes: Sizes) -> list[Unit]:
    """A warm start for each seed and what goes on from it; or another model's counts."""
    if request.part and request.part not in PARTS:
        raise UnknownName("part", request.part, PARTS)
    common = {"sizes": asdict(sizes), "model": request.model, "base_url": request.base_url}
    if request.model != "nano":
        return [Unit(f"seed{request.seed}-{MODEL}", (), {"seed": request.seed, "kind": MODEL, **common})]
    if request.scale == "paper":
        raise InputError(_PAPER)
    everything = request.study or request.scale == "smoke"
    parts = [request.part] if request.part else list(PARTS) if everything else ["synthesis"]
    seeds = request.count("seeds", SEEDS["study"] if request.study else 1)
    units = []
    for seed in range(request.seed, request.seed + seeds):
        first = f"seed{seed}-{START}"
        units.append(Unit(first, (), {"seed": seed, "kind": START, **common}))
        units += [
            Unit(f"seed{seed}-{kind}", (first,), {"seed": seed, "kind": kind, **common})
            for part in parts
            for kind in PARTS[part]
        ]
    return units


def _conclude(run: Run, request: RunRequest, sizes: Sizes) -> None:
    """Gather the units' numbers and answers into the run's own files, and judge the claims."""
    evaluations = evaluations_of(run.directory)
    for kind, records in tables.curves(evaluations, request.seed):
        if not run.done(f"gather-{kind}"):
            with run.stage(f"gather-{kind}"):
                run.append("metrics.jsonl", records)
                answers = directory_of(run.directory, f"seed{request.seed}-{kind}") / "samples.jsonl"
                wanted = {f"parallel-{sizes.wide}": 0, "one": 1}
                shown = [s for s in read_jsonl(answers) if s["model"] in wanted]
                run.append("samples.jsonl", sorted(shown, key=lambda sample: wanted[sample["model"]]))
    numbers = {} if request.scale == "smoke" else measured(evaluations)  # a handful of problems decides nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(evaluations))
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)


def evaluations_of(directory: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """What the finished units of a run measured: (seed, kind) → name → record."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for unit in sorted((directory / "units").glob("seed*-*")):
        seed, _, kind = unit.name.removeprefix("seed").partition("-")
        if kind == START or not finished(directory, unit.name):
            continue
        if kind in (DECAY, BINARY):
            found[int(seed), kind] = {"pointing": read_json(unit / "pointing.json")}
        else:
            names = [name for name in read_json(unit / "state.json")["done"] if name != "synthesis"]
            found[int(seed), kind] = {name: read_json(unit / f"{name}.json") for name in names}
    return found


def recipe() -> Step3Vl:
    """The recipe, for the registry."""
    return Step3Vl()
