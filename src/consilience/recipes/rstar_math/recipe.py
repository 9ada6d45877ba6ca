"""`consilience run rstar_math`: a small policy and its preference model evolve together through tree search."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience import results
from consilience.errors import InputError, UnknownName
from consilience.files import atomic_write, read_json, read_jsonl
from consilience.recipes.rstar_math import tables
from consilience.recipes.rstar_math.claims import CLAIMS, RECIPE, Found, measured
from consilience.recipes.rstar_math.sizes import PARTS, Sizes, sizes_of
from consilience.request import RunRequest
from consilience.runs import Run, start
from consilience.units import ONE_THREAD, Unit, directory_of, finished, run_units

WORK = "consilience.recipes.rstar_math.rounds:work"
EXTENT = ("workers",)
_HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>rStar-Math: search trees</title>"
    "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1.5rem}</style><body>"
    "<h1>One test problem, searched after each round</h1><p>Policy and preference model of a round grow a tree "
    "together; each step is executed, the preference model values it. Point at a node for its whole text.</p>"
)


@dataclass(frozen=True)
class RStarMath:
    """The recipe, for the command line and for Python: `recipe().run(RunRequest("rstar_math"))`."""

    claims: tuple[ledger.Claim, ...] = CLAIMS

    def run(self, request: RunRequest) -> Path:
        """Carry out the request; returns the run directory.

        Raises:
            SandboxUnavailable: this machine cannot run steps safely.
            InputError: a setting, part, scale or model that this recipe cannot take.
        """
        from consilience.reason.code_executor import LIMITS
        from consilience.sandbox import Policy, probe

        probe().admit(Policy(), LIMITS)
        if request.scale == "paper":
            from consilience.recipes.rstar_math.paper import run_paper

            return run_paper(request)
        if request.model != "nano":
            raise InputError(
                f"rstar_math trains its own small models and takes no --model {request.model} at this scale: leave it "
                "out, or search with a served model at --scale paper."
            )
        settings = request.settings_but(*EXTENT)
        sizes = sizes_of(request.scale, request.study, settings)
        workers, units = request.count("workers", 1), _units(request, sizes)
        config = {"recipe": RECIPE, **request.to_json(), "sizes": asdict(sizes)}
        config["settings"] = settings
        with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run:
            run_units(run.directory, units, WORK, workers=workers, progress=request.progress, env=ONE_THREAD)
            _conclude(run, request, units)
            return run.directory


def _units(request: RunRequest, sizes: Sizes) -> list[Unit]:
    """A unit a part and seed; without `study` the main part alone."""
    chosen = [request.part] if request.part else list(PARTS) if request.study else ["main"]
    for name in chosen:
        if name not in PARTS:
            raise UnknownName("part", name, PARTS)
    numbers = asdict(sizes)
    return [
        Unit(f"{name}-seed{seed}", (), {"part": name, "seed": seed, "sizes": numbers})
        for name in chosen
        for seed in range(request.seed, request.seed + sizes.seeds)
    ]


def found_in(directory: Path) -> Found:
    """What the finished units of a run measured."""
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for path in sorted((directory / "units").glob("*-seed*/scores.jsonl")):
        if finished(directory, path.parent.name):
            part, _, seed = path.parent.name.rpartition("-seed")
            found[part, int(seed)] = list(read_jsonl(directory_of(directory, path.parent.name) / path.name))
    return found


def _conclude(run: Run, request: RunRequest, units: list[Unit]) -> None:
    """Gather the units' numbers into claims, tables, curves and the drawing of one tree."""
    from consilience.report import build_report

    found = found_in(run.directory)
    numbers = {} if request.scale == "smoke" else measured(found)  # a few updates decide nothing
    ledger.write(run.directory, [ledger.evaluate(claim, numbers) for claim in CLAIMS])
    run.write_json("tables.json", tables.tables(found))
    if not run.done("curves"):
        with run.stage("curves"):
            run.append("metrics.jsonl", tables.curves(found))
    draw(run.directory, directory_of(run.directory, units[0].name))
    run.finish()
    if request.study:
        results.record(Path("RESULTS.md"), run.directory)
    build_report(run.directory)


def draw(directory: Path, unit: Path) -> None:
    """tree.html: the first test problem's tree after each round, with the path to the answer that was given."""
    from consilience.report.tree import tree_fragment

    parts = []
    for path in sorted(unit.glob("tree*.json")):
        data = read_json(path)
        asked = html.escape(data["tree"]["question"])
        parts.append(f"<h2>Round {path.stem.removeprefix('tree')}</h2><pre>{asked}</pre>")
        parts.append(tree_fragment(data["tree"], data["chosen"]))
    atomic_write(directory / "tree.html", _HEAD + "".join(parts))


def recipe() -> RStarMath:
    """The recipe, for the registry."""
    return RStarMath()
