"""A unit of the recipe: one seed's self-evolution, every artefact on disk, killed and resumed at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from consilience.engine import Engine
from consilience.nn.decoder import Decoder
from consilience.problem import Problem
from consilience.protocols import Sampling
from consilience.reason.code_executor import CodeExecutor
from consilience.reason.code_steps import CodeSteps
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_policy import Continuation
from consilience.reason.tree_search import Search
from consilience.recipes.rstar_math import measure, train, world
from consilience.recipes.rstar_math.measure import Exam, Executed
from consilience.recipes.rstar_math.sizes import PARTS, Sizes
from consilience.recipes.rstar_math.train import Values
from consilience.recipes.rstar_math.writer import TOKENS, GeneralModel, Writer, seed_of
from consilience.request import Progress
from consilience.runs import Run, start
from consilience.synth.evolve import (
    Comparison,
    PairRules,
    Trajectory,
    comparisons,
    select,
    solution_comparison,
    trajectories,
    yield_of,
)
from consilience.synth.evolve_files import preference_records, sft_record, write_json
from consilience.synth.evolve_search import load_round, search_round
from consilience.units import Unit, directory_of

RECORDS = "scores.jsonl"
RULES = PairRules(distance=1)
"""Steps of this world are short and differ by a sign or a factor: one edit is a difference."""


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"part", "seed", "sizes"}`."""
    torch.set_num_threads(1)
    sizes, seed, near = Sizes(**unit.task["sizes"]), unit.task["seed"], PARTS[unit.task["part"]]
    directory = directory_of(run, unit.name)
    config = {"recipe": "rstar_math", "unit": unit.name, **unit.task}
    with (
        start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own,
        measure.executor() as executor,
    ):
        evolve(own, sizes, seed, executor, progress, near=near)
        own.finish()


@dataclass(frozen=True, eq=False)
class Models:
    """What a round ends with. ppm, pqm, orm: preference, regression and outcome model, from the same trees."""

    policy: Decoder
    ppm: Decoder
    pqm: Decoder
    orm: Decoder


def evolve(run: Run, sizes: Sizes, seed: int, executor: CodeExecutor, progress: Progress, *, near: bool) -> None:
    """All rounds: search, supervised training from the base model, value models, test."""
    spoken = world.language(sizes.words, sizes.twofold, np.random.default_rng((seed, 0)))
    problems = problems_of(spoken, sizes, "train", sizes.problems, seed)
    exam = Exam(
        list(problems_of(spoken, sizes, "test", sizes.test, seed).values()), CodeSteps(executor), sizes, seed, near
    )
    start = train.base(run, sizes, seed, progress)
    reviewer = train.reviewer(run, start, sizes, seed, progress)
    before: Models | None = None
    first: Decoder | None = None
    for number in range(1, sizes.rounds + 1):
        writer: Continuation = GeneralModel(spoken)
        if before is not None:
            writer = Writer(Engine(before.policy, rows=measure.ROWS), near=near)
        trees = searched(run, number, writer, before, problems, exam, progress)
        before = trained(run, number, (start, reviewer), trees, problems, exam, progress)
        first = first or before.policy
        tested(run, number, before, first, exam, progress)


def problems_of(spoken: world.Language, sizes: Sizes, split: str, count: int, seed: int) -> dict[str, Problem]:
    """Problems of a split, by id; train and test are drawn apart and share no question."""
    part = ("train", "test").index(split)
    made = [
        world.problem(spoken, sizes.depths, split, i, np.random.default_rng((seed, 2 + part, i))) for i in range(count)
    ]
    return {p.id: p for p in made}


def searched(
    run: Run,
    number: int,
    writer: Continuation,
    before: Models | None,
    problems: Mapping[str, Problem],
    exam: Exam,
    progress: Progress,
) -> list[Tree]:
    """The trees of a round, in `round<number>/`."""
    plan, folder, name = exam.sizes.plan(number), run.directory / f"round{number}", f"r{number}.search"
    if run.done(name):
        return load_round(folder)
    search = Search(
        Executed(writer, exam.steps.executor),
        exam.steps,
        TreeSettings(),
        Sampling(max_tokens=TOKENS, seed=seed_of(exam.seed, number, "search")),
        judge=measure.judge,
        scorer=Values(before.ppm) if before is not None else None,
    )
    total = len(problems) * plan.trees * plan.rollouts
    progress.start(name, total)

    def right(problem: str, answer: str) -> bool:
        return measure.right(problems[problem], answer)

    def after(grown: Sequence[Tree]) -> None:
        progress.update(min(total, sum(tree.rollout for tree in grown)))

    with run.stage(name):
        header = {"round": number, "seed": exam.seed}
        trees = asyncio.run(search_round(search, problems, plan, right, folder, header, after))
        solved = {t.problem_id for t in trees if any(right(t.problem_id, node.answer) for node in t.answers)}
        depths = [[p.truth["depth"], int(p.id in solved)] for p in problems.values()]
        run.append(RECORDS, [{"round": number, "arm": "search", **asdict(yield_of(trees, right)), "solved": depths}])
    progress.done()
    return trees


@dataclass(frozen=True)
class Taught:
    """What the trees of one problem teach: trajectories for the policy, pairs of steps and of whole solutions for the
    preference and outcome models, all trajectories with their values for the regression."""

    best: list[Trajectory]
    steps: list[Comparison]
    whole: list[Comparison]
    every: list[Trajectory]


def extracted(trees: Sequence[Tree], problems: Mapping[str, Problem]) -> dict[str, Taught]:
    """By problem, in order; empty lists where its trees teach nothing."""
    by_problem: dict[str, list[Tree]] = {name: [] for name in problems}
    for tree in trees:
        by_problem[tree.problem_id].append(tree)
    taught = {}
    for name, own in by_problem.items():
        right = partial(measure.right, problems[name])
        found = [one for tree in own for one in trajectories(tree, right)]
        steps = [pair for tree in own for pair in comparisons(tree, right, RULES)]
        whole = solution_comparison(found, RULES)
        taught[name] = Taught(select(found), steps, [whole] if whole else [], found)
    return taught


def write_lessons(folder: Path, taught: Mapping[str, Taught], problems: Mapping[str, Problem]) -> dict[str, int]:
    """sft.json and ppm.json of a round, in the layouts of the release; returns how many records each has."""
    examples = (sft_record(problems[name].question, one) for name, own in taught.items() for one in own.best)
    pairs = (
        record
        for name, own in taught.items()
        for one in (*own.steps, *own.whole)
        for record in preference_records(problems[name].question, one)
    )
    return {"sft": write_json(folder / "sft.json", examples), "pairs": write_json(folder / "ppm.json", pairs)}


def trained(
    run: Run,
    number: int,
    starts: tuple[Decoder, Decoder],
    trees: Sequence[Tree],
    problems: Mapping[str, Problem],
    exam: Exam,
    progress: Progress,
) -> Models:
    """Policy and value models of a round, from base model and reviewer; those that are trained already are loaded. One
    problem in `HELD_OUT` teaches no value model and tells how many of its pairs the preference model ranks rightly."""
    taught, name = extracted(trees, problems), f"r{number}"
    counts = write_lessons(run.directory / f"round{number}", taught, problems)
    sizes, key = exam.sizes, seed_of(exam.seed, number, "train")
    start, reviewer = starts
    examples = [(problems[p].question, one.text) for p, own in taught.items() for one in own.best]
    policy = train.policy(run, f"{name}.sft", start, examples, sizes, key, progress, near=exam.near)
    kept = set(list(problems)[train.HELD_OUT - 1 :: train.HELD_OUT])
    steps, whole, paths, held_out = [], [], [], []
    for p, own in taught.items():
        if p in kept:
            held_out += train.preferences(problems[p], [*own.steps, *own.whole])
            continue
        whole += train.preferences(problems[p], own.whole)
        steps += train.preferences(problems[p], [*own.steps, *own.whole])
        paths += [train.valued(problems[p], one) for one in own.every]
    ppm, ranked = train.preference_model(run, f"{name}.ppm", reviewer, steps, held_out, sizes, key, progress)
    orm, _ = train.preference_model(run, f"{name}.orm", reviewer, whole, (), sizes, key, progress)
    pqm = train.regression_model(run, f"{name}.pqm", reviewer, paths, sizes, key, progress)
    if not run.done(f"{name}.data"):
        with run.stage(f"{name}.data"):
            counts |= {"prefixes": len(steps), "whole": len(whole), "paths": len(paths)}
            run.append(RECORDS, [{"round": number, "arm": "data", **counts, "ranked": ranked}])
    return Models(policy, ppm, pqm, orm)


def tested(run: Run, number: int, models: Models, first: Decoder, exam: Exam, progress: Progress) -> None:
    """All arms on the test problems. After the last round also the first policy with the last preference model."""
    name = f"r{number}.test"
    if run.done(name):
        return
    last = number == exam.sizes.rounds
    progress.start(name, 4 + last)
    with run.stage(name):
        searched, tree = exam.search(models.policy, models.ppm, "ppm")
        arms = [searched]
        progress.update(1)
        arms.append(exam.search(models.policy, models.pqm, "pqm")[0])
        progress.update(2)
        arms.append(exam.greedy(models.policy))
        progress.update(3)
        arms += exam.sampled(models.policy, models.orm, searched.tokens)
        progress.update(4)
        if last:
            arms.append(exam.search(first, models.ppm, "first_policy")[0])
        run.write_json(f"tree{number}.json", tree)
        run.append(RECORDS, [{"round": number, **arm.to_json()} for arm in arms])
    progress.done()
