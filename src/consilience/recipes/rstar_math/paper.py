"""`consilience run rstar_math --scale paper`: one round of search at the published settings with a served model, and
the data that the next round's policy and preference model are trained on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from consilience import claims as ledger
from consilience.errors import InputError
from consilience.policy.open import open_policy
from consilience.problem import Problem, Text
from consilience.protocols import Policy, Sampling
from consilience.reason.code_executor import CodeExecutor
from consilience.reason.code_steps import CodeSteps, bootstrap_prompt, policy_prompt
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_files import export_dump
from consilience.reason.tree_policy import continuation_of
from consilience.reason.tree_search import Search
from consilience.recipes.rstar_math.claims import CLAIMS, RECIPE
from consilience.request import RunRequest, with_settings
from consilience.runs import Run, start
from consilience.synth.evolve import comparisons, select, solution_comparison, trajectories, yield_of
from consilience.synth.evolve_files import (
    extraction_record,
    load_questions,
    preference_records,
    sft_record,
    write_json,
    write_jsonl,
)
from consilience.synth.evolve_search import PUBLISHED, search_round
from consilience.verify.answers.grading import verify

TRAINING: tuple[tuple[str, str, str], ...] = (
    ("supervised", "start", "the base model in every round (Qwen2.5-Math-7B, -1.5B, Qwen2-Math-7B, Phi3-mini)"),
    ("supervised", "epochs, batch, length", "2, 128, 4096 tokens"),
    ("supervised", "rate", "7e-6 falling linearly (Qwen); 5e-6 along a cosine (Phi3-mini)"),
    ("supervised", "release", "AdamW, weight decay 0.1, no warm-up, bfloat16, FSDP, loss on the response, seed 42"),
    ("preference model", "start, head", "the round's policy; dropout 0.1, linear N(5e-7, 1e-6), tanh"),
    ("preference model", "epochs, batch, rate", "1, 512, 7e-6 (the release: 2 epochs, 2048 tokens, no tanh)"),
    ("answering", "search", "depth 16, c = 2, 32 candidates, 4 rollouts, 1 to 64 trees"),
)
_NEEDS = (
    "scale paper needs a served model that continues a given prefix and a file of questions: add --model vllm:NAME or "
    "openai:NAME, --base-url where it is not the usual one, and --set questions=FILE.json round=1 or 2. Rounds 3 and 4 "
    "need the preference model of the round before, which was never released: train it on the ppm.json of round 2."
)


@dataclass(frozen=True)
class Paper:
    """questions: a JSON or JSON Lines file of {"question", "answer"}. round: 1 with a general model, 2 with a policy
    trained on round 1. first: how many questions; 0: all."""

    questions: str = ""
    round: int = 1
    first: int = 0


def run_paper(request: RunRequest) -> Path:
    """Search one round and write trees, rollout dump, extractions, sft.json and ppm.json into the run directory.

    Raises:
        InputError: no model or questions, or a round that this cannot search. PolicyError: the model gave nothing.
    """
    asked = with_settings(Paper(), request.settings)
    if request.model == "nano" or not asked.questions or asked.round not in (1, 2) or asked.first < 0:
        raise InputError(_NEEDS)
    problems = {p.id: p for p in load_questions(Path(asked.questions))[: asked.first or None]}
    policy = open_policy(request.model, base_url=request.base_url)
    continuation = continuation_of(policy)
    config = {"recipe": RECIPE, **request.to_json(), "round_settings": asdict(PUBLISHED[asked.round - 1])}
    with start(Path("runs"), RECIPE, config, out=request.out, resume=request.resume) as run, CodeExecutor() as executor:
        sampling = Sampling(temperature=0.7 if asked.round == 1 else 1.0, max_tokens=2048, seed=request.seed)
        settings = TreeSettings(errors=2 if asked.round == 1 else 1)
        search = Search(continuation, CodeSteps(executor), settings, sampling, judge=_judge)
        trees = asyncio.run(_searched(run, search, policy, asked, problems, request))
        _write(run, trees, problems, asked)
        ledger.write(run.directory, [ledger.evaluate(claim, {}) for claim in CLAIMS])
        run.finish()
        return _reported(run)


def _reported(run: Run) -> Path:
    from consilience.report import build_report

    build_report(run.directory)
    return run.directory


async def _searched(
    run: Run, search: Search, policy: Policy, asked: Paper, problems: Mapping[str, Problem], request: RunRequest
) -> list[Tree]:
    plan, total = PUBLISHED[asked.round - 1], len(problems) * PUBLISHED[asked.round - 1].rollouts
    prompted = {name: _prompted(problem, asked.round) for name, problem in problems.items()}
    request.progress.start(f"round {asked.round}", total)
    header = {"round": asked.round, "seed": request.seed, "model": request.model}
    try:
        trees = await search_round(
            search,
            prompted,
            plan,
            lambda name, answer: right(problems[name], answer),
            run.directory / "trees",
            header,
            lambda grown: request.progress.update(min(total, sum(tree.rollout for tree in grown))),
        )
    finally:
        await policy.close()
    request.progress.done()
    for tree in trees:
        tree.question = problems[tree.problem_id].question
    return trees


def _prompted(problem: Problem, number: int) -> Problem:
    """The problem as the model of a round is asked: with instructions and two examples in the first."""
    text = bootstrap_prompt(problem.question) if number == 1 else policy_prompt(problem.question, search=True)
    return replace(problem, prompt=(Text(text),))


def right(problem: Problem, answer: str) -> bool:
    """Whether a final answer is mathematically the reference's, by the strict rules of `verify`."""
    return verify(f"\\boxed{{{answer}}}", problem.answer).score >= 1


def _judge(problem: Problem, answer: str) -> float:
    return 1.0 if right(problem, answer) else -1.0


def _write(run: Run, trees: Sequence[Tree], problems: Mapping[str, Problem], asked: Paper) -> None:
    """All artefacts of the round, in the layouts of the release, and the tables of the report."""
    examples: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    extractions: list[dict[str, Any]] = []
    for name, problem in problems.items():
        own, correct = [tree for tree in trees if tree.problem_id == name], partial(right, problem)
        found = [one for tree in own for one in trajectories(tree, correct)]
        compared = [pair for tree in own for pair in comparisons(tree, correct)]
        whole = solution_comparison(found)
        examples += [sft_record(problem.question, one) for one in select(found)]
        extractions += [extraction_record(problem.question, problem.answer, one) for one in found if not one.dead]
        for one in (*compared, *([whole] if whole else ())):
            pairs += preference_records(problem.question, one)
    write_json(run.directory / "sft.json", examples)
    write_json(run.directory / "ppm.json", pairs)
    write_jsonl(run.directory / "extraction.jsonl", extractions)
    records = [{"index": t.problem_id, "question": t.question, "answer": problems[t.problem_id].answer} for t in trees]
    export_dump(run.directory / "rollout.jsonl", trees, records)
    gave = asdict(yield_of(trees, lambda name, answer: right(problems[name], answer)))
    gave |= {f"problems, {kind}": count for kind, count in gave.pop("difficulty").items()}
    gave |= {"SFT examples": len(examples), "pairs": len(pairs)}
    rows = [list(row) for row in TRAINING]
    counts = [list(item) for item in gave.items()]
    made = {"title": f"Round {asked.round}", "columns": ["what", "count"], "rows": counts}
    published = {"title": "Published training", "columns": ["of", "what", "setting"], "rows": rows}
    run.write_json("tables.json", [made, published])
