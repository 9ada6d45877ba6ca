"""`consilience run step3`: attention kinds at equal cache, the cost table, disaggregated decoding in two processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import read_jsonl
from consilience.recipes.step3 import tables
from consilience.recipes.step3.claims import CLAIMS, RECIPE, Records, measured
from consilience.recipes.step3.sizes import ARMS, EQUAL, PARTS, Sizes, sizes_of
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, finished, run_units

WORK = "consilience.recipes.step3.work:work"
_LARGE = (
    "scales gpu and paper need Step-3's weights and servers: load them with consilience.nn.published.step3, price them "
    "with `consilience cost step3`, or run --scale laptop."
)


@dataclass(frozen=True)
class Step3:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("step3"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part, scale or model that this recipe cannot take.
        """
        from consilience.report import build_report

        if request.scale in ("paper", "gpu"):
            raise InputError(_LARGE)
        if request.model != "nano":
            raise InputError(f"this recipe trains its own models and takes no --model {request.model}: leave it out.")
        settings = request.settings_but("workers")
        sizes = sizes_of(request.scale, request.study, settings)
        workers, units = request.count("workers", 1), _units(request, sizes)
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes)}
        config["settings"] = settings
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, request)
            run.finish()
            build_report(run.directory)
            return run.directory


def _units(request: RunRequest, sizes: Sizes) -> list[Unit]:
    """A unit an arm and seed, and one for the disaggregated runs; without `study` the arms of equal cache."""
    if request.part and request.part not in PARTS:
        raise UnknownName("part", request.part, PARTS)
    numbers, units = asdict(sizes), []
    if request.part != "language":
        units.append(Unit("disaggregation", (), {"seed": request.seed, "sizes": numbers}))
    if request.part != "disaggregation":
        units += [
            Unit(f"{name}-seed{seed}", (), {"arm": name, "seed": seed, "sizes": numbers})
            for seed in range(request.seed, request.seed + sizes.seeds)
            for name in (ARMS if request.study else EQUAL)
        ]
    return units


def found_in(directory: Path, name: str = "records.jsonl") -> Records:
    """What the finished units of a run recorded."""
    paths = sorted((directory / "units").glob(f"*/{name}"))
    return {p.parent.name: list(read_jsonl(p)) for p in paths if finished(directory, p.parent.name)}


def _conclude(run: Run, request: RunRequest) -> None:
    """Gather the units' numbers into the run's claims, tables and curves."""
    found = found_in(run.directory)
    numbers: Mapping[str, Any] = {} if request.scale == "smoke" else measured(found)  # two steps decide nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(found))
    if not run.done("curves"):
        with run.stage("curves"):
            run.append("metrics.jsonl", tables.curves(found_in(run.directory, "curve.jsonl"), request.seed))
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)


def recipe() -> Step3:
    """The recipe, for the registry."""
    return Step3()
