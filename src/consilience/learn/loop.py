"""One resumable training stage: run a body step by step, log it, checkpoint it, go on where it was killed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from consilience.learn import state
from consilience.learn.rl import Learner
from consilience.request import Progress, Silent
from consilience.runs import Run

Body = Callable[[int], Mapping[str, float]]
_BEST = "kept"


@dataclass
class Stage:
    """A named stage of a run.

    total: steps at most. save_every: steps between checkpoints. memory: JSON-able state of the body, saved and restored
    with the weights; the body ends the stage early by setting memory["stop"]. shown: numbers shown beside the bar.
    best: a number that the body returns at some steps; the models where it was highest are kept beside the last
    checkpoints, see `best`.
    """

    name: str
    total: int
    save_every: int
    memory: dict[str, Any] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    best: str = ""


def carry_out(
    run: Run, stage: Stage, learners: Mapping[str, Learner], body: Body, progress: Progress | None = None
) -> None:
    """Run `body(step)` for every step that is not done; afterwards the learners hold the stage's final weights.

    A stage that finished earlier is only loaded. What the body returns is logged under its step, together with
    `step_s`, its duration in seconds. All randomness of the body must follow from the step, so that a resumed stage
    ends in the same weights and lines.
    """
    progress = progress or Silent()
    found = run.latest(stage.name)
    begin = found.step if found else 0
    if found:
        stage.memory.update(state.load(found.path, learners))
    _drop_beaten(run, stage)
    if run.done(stage.name):
        return
    with run.stage(stage.name):
        progress.start(stage.name, stage.total, begin)
        step = saved = begin
        while step < stage.total and not stage.memory.get("stop"):
            start = perf_counter()
            numbers = body(step)
            step += 1
            run.log(step, **numbers, step_s=round(perf_counter() - start, 4))
            progress.update(step, **{k: float(v) for k, v in numbers.items() if k in stage.shown})
            if _is_best(stage, numbers):
                _keep(run, stage, step, float(numbers[stage.best]), learners)
            if step % stage.save_every == 0:
                _save(run, step, learners, stage)
                saved = step
        if saved != step or (found is None and step == 0):
            _save(run, step, learners, stage)
        progress.done()


def best(run: Run, stage: Stage) -> Path | None:
    """Where the best models of a stage lie, one directory each under the learners' names, written by `state.export`;
    None before `Stage.best` was measured. `stage.memory["kept"]` holds its step and score."""
    kept = stage.memory.get(_BEST)
    return run.directory / "best" / f"{stage.name}-{kept['step']:08d}" if kept else None


def _save(run: Run, step: int, learners: Mapping[str, Learner], stage: Stage) -> None:
    with run.checkpoint(step) as folder:
        state.save(folder, learners, stage.memory)
    _drop_beaten(run, stage)


def _is_best(stage: Stage, numbers: Mapping[str, float]) -> bool:
    if not stage.best or stage.best not in numbers:
        return False
    kept: Mapping[str, float] = stage.memory.get(_BEST, {})
    return float(numbers[stage.best]) > kept.get("score", -math.inf)


def _keep(run: Run, stage: Stage, step: int, score: float, learners: Mapping[str, Learner]) -> None:
    """Export the models of this step. What it beats goes only after the next checkpoint: a run that is killed before
    then resumes from a state that names it."""
    stage.memory[_BEST] = {"step": step, "score": score}
    final = best(run, stage)
    assert final is not None
    partial = final.with_name(f".{final.name}.partial")
    for path in (partial, final):
        shutil.rmtree(path, ignore_errors=True)
    for name, learner in learners.items():
        state.export(learner.model, partial / name)
    partial.rename(final)


def _drop_beaten(run: Run, stage: Stage) -> None:
    if stage.best:
        kept = best(run, stage)
        for path in (run.directory / "best").glob(f"*{stage.name}-*"):
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)


def reached_plateau(history: list[float], patience: int, gain: float) -> bool:
    """Whether the best of the last `patience` scores beats the best before them by less than `gain`."""
    if len(history) <= patience:
        return False
    return max(history[-patience:]) < max(history[:-patience]) + gain
