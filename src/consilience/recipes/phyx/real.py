"""A model over PhyX's forms: its own files at scale paper, fresh problems of the physics world at every other.

The forms are benchmarks and go through the runner of `consilience.bench`: samples are kept as they come, and a run
that was killed pays for none twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consilience.bench.benchmark import Benchmark, LoadRequest
from consilience.bench.caps import Limits
from consilience.bench.catalog import open_benchmark
from consilience.bench.loaders.diagrams import rule as strict_rule
from consilience.bench.loaders.rules_phyx import choice_rule, open_rule
from consilience.bench.loaders.scoring import RuleScore
from consilience.bench.loaders.strict import strict_choice, strict_value
from consilience.bench.matrix import Matrix
from consilience.bench.rows import Row, RowLog
from consilience.bench.runner import Conduct, Spent, run_matrix
from consilience.bench.session import STORE, Session, config_of, note_spent, open_session, summarise
from consilience.errors import InputError, UnknownName
from consilience.policy.open import open_policy
from consilience.problem import Problem
from consilience.protocols import Policy, Sampling
from consilience.recipes.phyx.faults import CUT, fault
from consilience.recipes.phyx.sizes import FORMATS, LEVELS, STYLES
from consilience.request import Progress, RunRequest, with_settings
from consilience.runs import Run
from consilience.store import Store

FORMS = tuple(f"{form}-{style}{tail}" for tail in ("", "-tl") for form in FORMATS for style in STYLES)
"""PhyX's twelve forms; `tl` has the figure's caption instead of the figure."""
FOLDER = "bench"


@dataclass(frozen=True)
class Asked:
    """What a model is asked.

    source: PhyX's raw table (JSONL, parquet or a name of the `datasets` library); "" for the physics world. forms:
    "all" or some of FORMS, with "+" between them. mini: 1 for the first 1,000 indices of the table, 0 for all.
    problems: of each form, 0 for all of a table. level: of the world's problems. judge: a model that is asked what
    PhyX's rules leave open, "" for none. labels: a table of kinds of error that people named. max_tokens,
    temperature: of a sample. calls: samples that this invocation may ask for, 0 for no limit.
    """

    source: str = ""
    forms: str = "all"
    mini: int = 1
    problems: int = 100
    level: str = "medium"
    judge: str = ""
    labels: str = ""
    max_tokens: int = 8192
    temperature: float = 1.0
    calls: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The forms by name."""
        return FORMS if self.forms == "all" else tuple(self.forms.split("+"))


SCALES = {
    "smoke": Asked(problems=2, max_tokens=256),
    "laptop": Asked(problems=20, max_tokens=1024),
    "gpu": Asked(problems=200),
    "paper": Asked(problems=0, max_tokens=16_384),
}


def asked_of(request: RunRequest, settings: Mapping[str, Any]) -> Asked:
    """What a request asks of a model.

    Raises:
        UnknownName: a setting, form or level. InputError: a setting of the wrong type or out of range, or a paper-scale
            run without PhyX's table.
    """
    asked = with_settings(SCALES[request.scale], settings)
    for name in asked.names:
        if name not in FORMS:
            raise UnknownName("form", name, FORMS)
    if asked.level not in LEVELS:
        raise UnknownName("level", asked.level, LEVELS)
    if min(asked.problems, asked.calls, asked.mini) < 0 or asked.max_tokens < 1:
        raise InputError("problems, calls and mini must be 0 or larger, and max_tokens at least 1.")
    if request.scale == "paper" and not asked.source:
        raise InputError(
            "scale paper asks PhyX's own problems: add --set source=PhyX_test.jsonl (the raw table, its figures beside "
            "it), or take --scale gpu for fresh problems of the physics world."
        )
    if not asked.source and not asked.problems:
        raise InputError("the physics world has no last problem: say how many with --set problems=N.")
    if asked.judge and not asked.source:
        raise InputError("the physics world needs no judge, as its rules know the truth: leave out judge.")
    return asked


def benchmarks_of(asked: Asked, seed: int, judge: Policy | None) -> tuple[Benchmark, ...]:
    """A benchmark for each form, scored by PhyX's rules (or by them and the judge), the strict rules beside them."""
    request = LoadRequest(limit=asked.problems or None, seed=seed, judge=judge)
    if asked.source:
        words = ("-mini" if asked.mini else "") + ("-judge" if judge else "")
        return tuple(open_benchmark(f"phyx:{name}{words}@{asked.source}", request) for name in asked.names)
    return tuple(_fresh(name, asked, request) for name in asked.names)


def _fresh(name: str, asked: Asked, request: LoadRequest) -> Benchmark:
    form, style, *shown = name.split("-")
    variant = f"{form}_{style}+{asked.level}+{'text' if shown else 'image'}"
    official = choice_rule if form == "mc" else open_rule
    score = RuleScore(f"phyx-{form}-official-str/1", official, beside=strict_rule)
    return replace(open_benchmark(f"physics:{variant}", request), name=name, score=score)


def ask(run: Run, request: RunRequest, asked: Asked) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ask the model; returns a record a problem and form, and the bench's table.

    A record has form, domain, sub-domain, reasoning types, official and strict (None where undecided) verdicts, the
    kind of error of a wrong answer (of the world's problems), tokens, and whether the response was cut off.

    Raises:
        InputError: files or settings that cannot be used. PolicyError: the model cannot be reached.
    """
    policy = open_policy(request.model, base_url=request.base_url)
    served = asked.judge.startswith(("openai:", "vllm:"))
    judge = open_policy(asked.judge, base_url=request.base_url if served else "") if asked.judge else None
    benchmarks = benchmarks_of(asked, request.seed, judge)
    sampling = Sampling(temperature=asked.temperature, max_tokens=asked.max_tokens, seed=request.seed)
    matrix = Matrix(benchmarks, {request.model: policy}, ("direct",), sampling)
    folder = run.directory / FOLDER
    with (
        open_session(folder, config_of(matrix, asked=list(asked.names)), matrix, resume=True) as session,
        Store(folder / STORE) as store,
    ):
        spent = asyncio.run(_sampled(session, matrix, store, asked, request.progress, (policy, judge)))
        note_spent(session, spent.to_json())
        table = summarise(session, matrix, store, stopped=spent.stopped)
        wanted = {cell.key for cell in matrix.cells()}
        rows = sorted((row for row in session.rows() if row.key in wanted), key=lambda row: row.key)
    return [_record(row, benchmarks) for row in rows if row.status != "failed"], table


async def _sampled(
    session: Session, matrix: Matrix, store: Store, asked: Asked, progress: Progress, policies: Sequence[Policy | None]
) -> Spent:
    """Fill the session's log, and close the policies."""
    log = RowLog(session.rows_path)
    done = {row.key for row in session.rows() if row.status != "failed"}
    conduct = Conduct(Limits(calls=asked.calls or None))
    try:
        return await run_matrix(matrix, store, log, done=done, conduct=conduct, progress=progress)
    finally:
        log.close()
        for policy in filter(None, policies):
            await policy.close()


def _record(row: Row, benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    benchmark = next(b for b in benchmarks if b.name == row.benchmark)
    problem = next(p for p in benchmark.problems if p.id == row.problem)
    form = row.benchmark.removeprefix("phyx:").removesuffix("-mini")
    facets, strict, kind = benchmark.facets(problem), _strict(form, problem, row), ""
    if problem.world == "physics" and strict is False:
        kind = CUT if row.truncated else fault(problem, row.response)
    return {
        "form": form,
        "problem": row.problem,
        "category": facets.get("category", ""),
        "subfield": facets.get("subfield", ""),
        "reasoning_type": [name.partition(": ")[2] for name in facets if name.startswith("reasoning: ")],
        "official": row.right,
        "strict": strict,
        "fault": kind,
        "tokens": row.generated,
        "truncated": row.truncated,
    }


def _strict(form: str, problem: Problem, row: Row) -> bool | None:
    """Whether the strict rules take the response as right; None where they cannot tell."""
    of_files = strict_choice if form.startswith("mc") else strict_value
    rule = strict_rule if problem.world == "physics" else of_files
    verdict = RuleScore("strict", rule)(problem, row.response, truncated=row.truncated)
    return None if verdict.code == "undecided" else verdict.score >= 1
