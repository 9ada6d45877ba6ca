"""`consilience run phyx`: PhyX's twelve forms for simulated solvers, a nano that learns figures, or a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from consilience import claims as ledger
from consilience import results as published
from consilience.errors import InputError, MissingExtra, UnknownName
from consilience.recipes.phyx import tables
from consilience.recipes.phyx.claims import CLAIMS, RECIPE, measured
from consilience.recipes.phyx.labels import read_labels
from consilience.recipes.phyx.real import ask, asked_of
from consilience.recipes.phyx.results import Results, results_of
from consilience.recipes.phyx.sizes import PARTS, Sizes, sizes_of
from consilience.recipes.phyx.work import task_of
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, run_units

WORK = "consilience.recipes.phyx.work:work"
EXTENT = ("workers",)
_NEEDS_MODEL = (
    "scale {} asks a model: add --model openai:NAME --base-url URL (and --set source=PhyX_test.jsonl at scale paper); "
    "nano and the simulated solvers run at --scale laptop."
)


@dataclass(frozen=True)
class PhyX:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("phyx"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            InputError: a setting, part, scale or model that this recipe cannot take.
            MissingExtra: torch is not installed, and a nano was asked for.
            PolicyError: the model cannot be reached.
        """
        if request.model != "nano":
            return _ask(request)
        if request.scale in ("paper", "gpu"):
            raise InputError(_NEEDS_MODEL.format(request.scale))
        settings = request.settings_but(*EXTENT)
        sizes = sizes_of(request.scale, request.study, settings)
        workers, units = request.count("workers", 1 if request.scale == "smoke" else 2), _units(request, sizes)
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes), "settings": settings}
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, request)
            return _closed(run, request)


def _units(request: RunRequest, sizes: Sizes) -> list[Unit]:
    """A unit a seed of the simulated solvers, and one a seed of the nano, the long ones first."""
    if request.part and request.part not in PARTS:
        raise UnknownName("part", request.part, PARTS)
    seeds = {"nano": sizes.learners, "solvers": sizes.seeds}
    if sizes.learners and request.part != "solvers" and find_spec("torch") is None:
        raise MissingExtra("the nano of phyx (without it: --set learners=0)", "nano")
    return [
        Unit(f"{part}-seed{seed}", (), task_of(part, seed, sizes))
        for part, count in seeds.items()
        if request.part in ("", part)
        for seed in range(request.seed, request.seed + count)
    ]


def _conclude(run: Run, request: RunRequest) -> None:
    """Claims, tables and curves from the units' records."""
    found = results_of(run.directory)
    numbers = {} if request.scale == "smoke" else numbers_of(found)  # a handful of problems decides nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(found))
    if not run.done("metrics"):
        with run.stage("metrics"):
            for step, record in enumerate(found.readings):
                run.log(step, **{f"read_{record['level']}": record["right"] / max(1, record["total"])})


def numbers_of(found: Results) -> ledger.Measured:
    """The claims' metrics."""
    return measured(found.solvers, found.learnt, found.erring)


def _ask(request: RunRequest) -> Path:
    """Ask a model: PhyX's forms through the bench."""
    if request.study or request.part:
        raise InputError("a model is asked all forms at once: leave out --study and --part.")
    asked = asked_of(request, request.settings)
    labels, faults = read_labels(asked.labels) if asked.labels else ({}, ())
    settings = request.settings_but("calls")  # how much to do now names no run
    config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(replace(asked, calls=0)), "settings": settings}
    with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
        records, table = ask(run, request, asked)
        made = tables.of_model(records, labels)
        notes = [*table["notes"], *faults, *([f"stopped: {table['stopped']}"] if table["stopped"] else [])]
        if made and notes:
            made[0]["note"] = " ".join([made[0]["note"], *notes])
        run.write_json("tables.json", made)
        run.write_json("records.json", records)
        ledger.write(run.directory, [ledger.evaluate(claim, {}) for claim in CLAIMS])
        if not run.done("metrics"):
            with run.stage("metrics"):
                run.log(0, answered=len(records), official=_share(records))
        return _closed(run, request) if not table["stopped"] else run.directory


def _share(records: list[dict[str, object]]) -> float:
    return sum(bool(record["official"]) for record in records) / max(1, len(records))


def _closed(run: Run, request: RunRequest) -> Path:
    from consilience.report import build_report

    if request.study:
        published.record(Path("RESULTS.md"), run.directory)
    run.finish()
    build_report(run.directory)
    return run.directory


def recipe() -> PhyX:
    """The recipe, for the registry."""
    return PhyX()
