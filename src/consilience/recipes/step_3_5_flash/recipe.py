"""`consilience run step_3_5_flash`: MIS-PO against other answers to rollouts that come from another policy, and the
architecture in byte-level language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import read_jsonl
from consilience.recipes.step_3_5_flash import tables
from consilience.recipes.step_3_5_flash.claims import CLAIMS, Found, measured
from consilience.recipes.step_3_5_flash.language_claims import RECIPE
from consilience.recipes.step_3_5_flash.sizes import EXTRAS, LANGUAGE, LAPTOP, PARTS, Sizes, sizes_of
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, finished, run_units

WORK = "consilience.recipes.step_3_5_flash.work:work"
EXTENT = ("workers",)
_PAPER = (
    "scales gpu and paper need a mixture of experts and its two engines: train with consilience.learn.mis_po, or run "
    "--scale laptop."
)


@dataclass(frozen=True)
class Step35Flash:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("step_3_5_flash"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part, scale or model that this recipe cannot take.
        """
        from consilience.report import build_report

        if request.scale in ("paper", "gpu"):
            raise InputError(_PAPER)
        if request.model != "nano":
            raise InputError(f"this recipe trains its own models and takes no --model {request.model}: leave it out.")
        settings = request.settings_but(*EXTENT)
        sizes = sizes_of(request.scale, request.study, settings)
        workers, units = request.count("workers", 1 if request.scale == "smoke" else 2), _units(request, sizes)
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes)}
        config["settings"] = settings
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, request)
            run.finish()
            build_report(run.directory)
            return run.directory


def _units(request: RunRequest, sizes: Sizes) -> list[Unit]:
    """A unit a mismatch, extra or language part and seed; without `study` the parts of the laptop alone."""
    chosen = [request.part] if request.part else list(PARTS) if request.study else list(LAPTOP)
    for name in chosen:
        if name not in PARTS:
            raise UnknownName("part", name, PARTS)
    names = [name for part in chosen for name in PARTS[part]]
    extras = EXTRAS if set(chosen) - set(LANGUAGE) else ()
    numbers = asdict(sizes)
    return [
        Unit(f"{name}-seed{seed}", (), {"mismatch": name, "seed": seed, "sizes": numbers})
        for name in (*extras, *names)
        for seed in range(request.seed, request.seed + (sizes.models if name in LANGUAGE else sizes.seeds))
    ]


def found_in(directory: Path) -> Found:
    """What the finished units of a run measured."""
    found: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for path in sorted((directory / "units").glob("*-seed*/records.jsonl")):
        if finished(directory, path.parent.name):
            mismatch, _, seed = path.parent.name.rpartition("-seed")
            for record in read_jsonl(path):
                found.setdefault((mismatch, int(seed), record["method"]), []).append(record)
    return found


def _conclude(run: Run, request: RunRequest) -> None:
    """Gather the units' numbers into the run's claims, tables and curves."""
    found = found_in(run.directory)
    numbers = {} if request.scale == "smoke" else measured(found)  # two iterations decide nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(found))
    if not run.done("curves"):
        with run.stage("curves"):
            run.append("metrics.jsonl", tables.curves(found, request.seed))
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)


def recipe() -> Step35Flash:
    """The recipe, for the registry."""
    return Step35Flash()
