"""A nano fine-tuned on physics figures: its encoder learns the characters, then it learns worked solutions.

It starts from the nano that ships with the package. A second one learns as many demonstrations without their figures:
what can be guessed from words. Both are asked test problems in six forms; the first one also with the figure of
another problem of the same family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from consilience.engine import Engine, Request
from consilience.learn.batch import Group
from consilience.learn.eyes import corner_maps, eyes_step
from consilience.learn.loop import Stage, carry_out
from consilience.learn.optim.adamw import adamw, cooldown, warmup
from consilience.learn.rl import Learner
from consilience.learn.sft import sft_step
from consilience.nn import tokenizer as tk
from consilience.nn.checkpoint import load_model, save_model
from consilience.nn.decoder import Decoder
from consilience.nn.template import render, response_tokens
from consilience.policy.local import nano_directory
from consilience.problem import Problem
from consilience.protocols import Sampling
from consilience.recipes.phyx.asked import (
    CONDITIONS,
    TASKS,
    asked_of,
    demonstrated,
    figures,
    majority,
    record,
    shuffled,
)
from consilience.recipes.phyx.sight import blind, glyphs
from consilience.recipes.phyx.sizes import Sizes
from consilience.recipes.phyx.work import RECORDS
from consilience.request import Progress
from consilience.runs import Run, start
from consilience.units import Unit, directory_of
from consilience.worlds.setting import entropy, generator

WARMUP, SAVE_EVERY, MICRO = 10, 20, 4

SHOWN_AS: Mapping[str, Callable[[list[Problem]], list[Problem]]] = {
    "figures": lambda problems: problems,
    "other figures": shuffled,
    "words alone": lambda problems: [blind(problem) for problem in problems],
}


def learn(run: Path, unit: Unit, sizes: Sizes, seed: int, progress: Progress) -> None:
    """Carry out one unit: encoder, decoder, the decoder without figures, evaluation. Each is a stage and resumable."""
    torch.set_num_threads(1)
    directory = directory_of(run, unit.name)
    config = {"recipe": "phyx", "unit": unit.name, **unit.task}
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        seeing, unseeing = load_model(nano_directory()), load_model(nano_directory())
        look(own, seeing, sizes, seed, progress)
        imitate(own, "seeing", seeing, sizes, seed, progress)
        imitate(own, "unseeing", unseeing, sizes, seed, progress)
        for condition in CONDITIONS:
            stage = condition.replace(" ", "-")
            if not own.done(stage):
                with own.stage(stage):
                    model = unseeing if condition == "words alone" else seeing
                    own.append(RECORDS, measured(model, condition, sizes, seed))
        save_model(seeing, own.directory / "model")
        own.finish()


def rate(step: int, steps: int, peak: float) -> float:
    """Warm-up over 10 steps, then constant, then falling to nothing over the last two fifths."""
    tail = max(1, 2 * steps // 5)
    return peak * warmup(step, WARMUP) * cooldown(step, steps - tail, tail + 1)


def look(run: Run, model: Decoder, sizes: Sizes, seed: int, progress: Progress) -> None:
    """The encoder learns which character stands on a patch, and where.

    The embeddings stay: what the decoder knows about reading is said in them.
    """
    eyes = Learner(model, adamw(p for name, p in model.named_parameters() if name.startswith("vision.")))
    head = corner_maps(model.config.d_model, torch.Generator().manual_seed(entropy("corners", seed) % 2**62))
    maps = Learner(head, adamw(head.parameters()))

    def body(step: int) -> Mapping[str, float]:
        rng = generator("phyx", "eyes", seed, step)
        batch = [glyphs(problem, rng) for problem in figures(sizes, seed, step)]
        lr = rate(step, sizes.eyes_steps, sizes.eyes_lr)
        return eyes_step(eyes, maps, batch, lambda thing: str(thing["glyph"]), lr)

    stage = Stage("eyes", sizes.eyes_steps, SAVE_EVERY, shown=("accuracy", "localised"))
    model.embedding.requires_grad_(False)
    carry_out(run, stage, {"model": eyes, "maps": maps}, body, progress)
    model.embedding.requires_grad_(True)


def imitate(run: Run, name: str, model: Decoder, sizes: Sizes, seed: int, progress: Progress) -> None:
    """Worked solutions in all six forms, with figures (`seeing`) or without; the same problems for both."""
    learner = Learner(model, adamw(model.parameters()))

    def body(step: int) -> Mapping[str, float]:
        batch = demonstrated(sizes, seed, step, seen=name == "seeing")
        groups = [Group(prompt_of(model, p), (tuple(response_tokens(p.demonstration)),)) for p in batch]
        return sft_step(model, learner.optimizer, groups, rate(step, sizes.sft_steps, sizes.sft_lr), MICRO)

    stage = Stage(name, sizes.sft_steps, SAVE_EVERY, shown=("loss",))
    carry_out(run, stage, {"model": learner}, body, progress)


def prompt_of(model: Decoder, problem: Problem) -> Any:
    """The problem as the model is shown it."""
    return render(problem.messages, model.config.pictures)


def measured(model: Decoder, condition: str, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    """A record for each form: what was answered rightly, read rightly, and what was wrong."""
    engine, records = Engine(model), []
    for task in TASKS:
        problems = asked_of(sizes, seed, task)
        if condition == "majority":
            said = majority(problems, task, seed)
        else:
            said = answers(engine, SHOWN_AS[condition](problems), sizes.tokens)
        records.append(record(condition, task, problems, said))
    return records


def answers(engine: Engine, problems: list[Problem], tokens: int) -> list[str]:
    """Greedy responses of so many tokens at most."""
    sampling = Sampling(temperature=0.0, max_tokens=tokens, seed=0)
    outputs = engine.generate([Request(prompt_of(engine.model, problem), sampling) for problem in problems])
    return [tk.decode([token for token in row[0].tokens if token != tk.END]) for row in outputs]
