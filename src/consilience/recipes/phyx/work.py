"""A unit of the recipe: one seed's problems in all forms, answered by simulated solvers or a nano that learns them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consilience.bench.loaders.diagrams import rule as strict_rule
from consilience.bench.loaders.rules_phyx import choice_rule, open_rule
from consilience.bench.loaders.scoring import RuleScore
from consilience.problem import Problem
from consilience.recipes.phyx.faults import fault
from consilience.recipes.phyx.quantities import si_of
from consilience.recipes.phyx.reader import Reader, train
from consilience.recipes.phyx.sizes import FORMATS, LEVELS, SHOWN, SOLVERS, STYLES, WORKING, Sizes
from consilience.recipes.phyx.solvers import err, from_figure, recognised, respond
from consilience.request import Progress
from consilience.runs import start
from consilience.units import Unit, directory_of
from consilience.worlds.physics import world
from consilience.worlds.setting import generator

FIRST_SEED = 2_000_000_000
SEEDS_APART = 1_000_000
RECORDS = "evaluations.jsonl"
STRICT = RuleScore("strict", strict_rule)
OFFICIAL = {"oe": RuleScore("official", open_rule), "mc": RuleScore("official", choice_rule)}


def forms() -> Iterator[tuple[str, str]]:
    """(task, modality) of the twelve forms."""
    return ((f"{form}_{style}", shown) for shown in SHOWN for form in FORMATS for style in STYLES)


def questions(seed: int, count: int, level: str, task: str, modality: str) -> list[Problem]:
    """The test problems of a seed in one form; every form asks the same ones."""
    first = FIRST_SEED + SEEDS_APART * seed
    return [world().problem(first + k, split="test", level=level, task=task, modality=modality) for k in range(count)]


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"part", "seed", "sizes"}`. A form is a stage; a finished one is not run again."""
    sizes, seed = Sizes(**unit.task["sizes"]), int(unit.task["seed"])
    if unit.task["part"] == "nano":
        from consilience.recipes.phyx.nano import learn  # needs torch

        learn(run, unit, sizes, seed, progress)
        return
    directory = directory_of(run, unit.name)
    config = {"recipe": "phyx", "unit": unit.name, **unit.task}
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        stages = [*(f"{task}-{shown}" for task, shown in forms()), "readings", "facets", "errors"]
        pending = own.pending(stages)
        progress.start(unit.name, len(stages), len(stages) - len(pending))
        reader = train(sizes.strings, generator("phyx", "reader", seed)) if pending else None
        for stage in pending:
            assert reader is not None
            with own.stage(stage):
                own.append(RECORDS, _measured(stage, reader, sizes, seed))
            progress.update(len(stages) - len(own.pending(stages)))
        progress.done()
        own.finish()


def _measured(stage: str, reader: Reader, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    if stage == "readings":
        return readings(reader, sizes, seed)
    if stage == "facets":
        return [facets(sizes, seed)]
    return errors(sizes, seed) if stage == "errors" else evaluated(stage, reader, sizes, seed)


def evaluated(stage: str, reader: Reader, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    """One record a solver: which problems of a form it got right by the strict and by the official rule, as 0 and 1,
    and the kinds of its errors where it shows its working."""
    task, _, shown = stage.partition("-")
    asked = questions(seed, sizes.problems, sizes.level, task, shown)
    told = "".join(str(int(_is_told(problem))) for problem in asked)
    records: list[dict[str, Any]] = []
    for solver in SOLVERS:
        rng = random.Random(f"{seed}/{stage}/{solver}")
        said = [respond(solver, problem, reader, sizes.skill, rng) for problem in asked]
        strict, official = bits(STRICT, asked, said), bits(OFFICIAL[task[:2]], asked, said)
        record = {"solver": solver, "form": stage, "strict": strict, "official": official, "told": told}
        records.append({**record, "faults": faults(asked, said, strict)} if solver in WORKING else record)
    if task.startswith("mc"):
        bare = [f"x</think>{problem.answer}" for problem in asked]
        fair, faulty = bits(STRICT, asked, bare), bits(OFFICIAL["mc"], asked, bare)
        records.append({"solver": "bare letter", "form": stage, "strict": fair, "official": faulty, "told": told})
    return records


def bits(score: RuleScore, asked: list[Problem], said: list[str]) -> str:
    """Which responses are right, as a text of 0 and 1."""
    return "".join(str(int(score(problem, text).score)) for problem, text in zip(asked, said, strict=True))


def faults(asked: list[Problem], said: list[str], right: str) -> dict[str, int]:
    """How often each kind of error occurs among the wrong responses."""
    wrong = (pair for pair, bit in zip(zip(asked, said, strict=True), right, strict=True) if bit == "0")
    return dict(Counter(fault(problem, text) for problem, text in wrong))


def _is_told(problem: Problem) -> bool:
    """Whether words can tell everything that this question needs."""
    family = recognised(problem)
    return family is not None and all(given.told for given in family.givens if not given.spare)


def readings(reader: Reader, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    """How many labels are read right at each level."""
    records = []
    for level in LEVELS:
        right = total = 0
        for problem in questions(seed, sizes.readings, level, "oe_tm", "image"):
            family = recognised(problem)
            assert family is not None
            read = from_figure(problem, family, reader)
            for given in family.givens:
                if given.symbol in problem.truth["values"] and (given.unit or given.told):
                    true, said = problem.truth["values"][given.symbol][2], si_of(given, read.get(given.symbol, ""))
                    total += 1
                    right += said is not None and abs(said - true) <= 1e-9 * max(1e-9, abs(true))
        records.append({"level": level, "right": right, "total": total})
    return records


def facets(sizes: Sizes, seed: int) -> dict[str, Any]:
    """Domain, sub-domain and reasoning types of each problem of a seed, in order."""
    asked = questions(seed, sizes.problems, sizes.level, "oe_tm", "text")
    names = ("category", "subfield", "reasoning_type")
    return {"facets": [[problem.truth[name] for name in names] for problem in asked]}


def errors(sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    """What the rules say about errors whose kind is known: counts by kind made and kind found, in four forms."""
    records = []
    for task, shown in (("oe_ft", "image"), ("oe_dr", "image"), ("mc_dr", "image"), ("oe_tm", "text")):
        asked = questions(seed, sizes.problems, sizes.level, task, shown)
        rng = random.Random(f"{seed}/{task}-{shown}/erring")
        made = [err(problem, rng) for problem in asked]
        right = bits(STRICT, asked, [text for text, _ in made])
        wrong = [(p, text, kind) for p, (text, kind), bit in zip(asked, made, right, strict=True) if bit == "0"]
        counts = Counter((kind, fault(problem, text)) for problem, text, kind in wrong)
        records.append({"erring": f"{task}-{shown}", "counts": [[*kinds, count] for kinds, count in counts.items()]})
    return records


def task_of(part: str, seed: int, sizes: Sizes) -> dict[str, Any]:
    """What a unit is told."""
    return {"part": part, "seed": seed, "sizes": asdict(sizes)}
