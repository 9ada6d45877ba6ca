"""Training of the small policy and of the value models of a round; every stage resumes at its last checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from consilience.learn.batch import Group
from consilience.learn.loop import Body, Stage, carry_out
from consilience.learn.optim.adamw import adamw, warmup
from consilience.learn.optim.muon import Muon
from consilience.learn.process_preference import (
    StepPreference,
    epochs_of,
    last_values,
    pair_accuracy,
    preference_step,
    process_model_of,
    value_step,
)
from consilience.learn.rl import Learner
from consilience.learn.sft import sft_step
from consilience.learn.state import copy_of
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.problem import Problem
from consilience.recipes.rstar_math import world
from consilience.recipes.rstar_math.sizes import Sizes
from consilience.recipes.rstar_math.writer import (
    Valued,
    corpus,
    known_words,
    lessons,
    marked,
    path_of,
    prompt_of,
    spelled,
)
from consilience.request import Progress
from consilience.runs import Run
from consilience.synth.evolve import Comparison, Trajectory

BASE_LR, REVIEW_LR, SFT_LR, VALUE_LR = 5e-3, 5e-3, 1e-3, 1e-3
WARMUP, SAVE_EVERY, MICRO = 20, 100, 64
HELD_OUT = 10
"""One problem in ten of a value model's is kept to measure how many pairs it ranks rightly."""


def fresh(sizes: Sizes, seed: int) -> Decoder:
    """A decoder without any training."""
    heads = sizes.d_model // 32
    model = Decoder(
        ModelConfig(
            d_model=sizes.d_model,
            n_layers=sizes.n_layers,
            n_heads=heads,
            n_kv_heads=heads // 2 if heads % 2 == 0 else heads,
            head_dim=32,
            d_ff=3 * sizes.d_model,
            max_context=1024,  # a question and the longest path a search can write
        )
    )
    model.initialise(torch.Generator().manual_seed(seed))
    return placed(model)


def placed(model: Decoder) -> Decoder:
    """The model on the GPU where there is one."""
    return model.cuda() if torch.cuda.is_available() else model


def _falling(rate: float, step: int, steps: int) -> float:
    return rate * warmup(step, WARMUP) * (1 - 0.9 * step / max(1, steps))


def _stage(run: Run, name: str, steps: int, body: Body, learner: Learner, progress: Progress) -> None:
    carry_out(run, Stage(name, steps, SAVE_EVERY, shown=("loss",)), {"model": learner}, body, progress)


def base(run: Run, sizes: Sizes, seed: int, progress: Progress) -> Decoder:
    """A decoder that has read `corpus`: it writes the format, copies numbers, and knows none of the problems' words."""
    model, known = fresh(sizes, seed), _known(sizes, seed)
    learner = Learner(model, Muon(model))

    def body(step: int) -> Mapping[str, float]:
        batch = corpus(sizes.words, known, sizes.depths, sizes.batch, np.random.default_rng((seed, 1, step)))
        return sft_step(model, learner.optimizer, batch, _falling(BASE_LR, step, sizes.base_steps), MICRO)

    _stage(run, "base", sizes.base_steps, body, learner, progress)
    return model


def _known(sizes: Sizes, seed: int) -> world.Language:
    return known_words(sizes.twofold, np.random.default_rng((seed, 4)))


def policy(
    run: Run,
    name: str,
    start: Decoder,
    examples: Sequence[tuple[str, str]],
    sizes: Sizes,
    seed: int,
    progress: Progress,
    *,
    near: bool,
) -> Decoder:
    """The base model after supervised training on (question, response); as it is where there is no example."""
    model = placed(copy_of(start))
    learner = Learner(model, adamw(model.parameters(), weight_decay=0.1))
    taught = [lessons(world.near(asked) if near else asked, response) for asked, response in examples]
    order = epochs_of(max(1, len(taught)), sizes.batch, seed)
    steps = sizes.updates(sizes.sft_steps, len(taught), sizes.batch)

    def body(step: int) -> Mapping[str, float]:
        batch = [group for i in order(step) for group in taught[i]]
        return sft_step(model, learner.optimizer, batch, _falling(SFT_LR, step, steps), MICRO)

    _stage(run, name, steps, body, learner, progress)
    return model


# value models


def preferences(problem: Problem, found: Sequence[Comparison]) -> list[StepPreference]:
    """Pairs of texts as pairs of tokens, behind the whole question."""
    start = prompt_of(problem.question)
    return [
        StepPreference(
            replace(start, tokens=(*start.tokens, *spelled(one.prefix))),
            tuple(spelled(text) for text in one.positives),
            tuple(spelled(text) for text in one.negatives),
            one.kept,
        )
        for one in found
    ]


def valued(problem: Problem, trajectory: Trajectory) -> Valued:
    """A trajectory with its searched values, as a regression target."""
    path = path_of(problem.question, [node.text for node in trajectory.nodes])
    return Valued(path, tuple(node.q for node in trajectory.nodes))


def reviewer(run: Run, start: Decoder, sizes: Sizes, seed: int, progress: Progress) -> Decoder:
    """What value models start from: the base model, after it has learnt to mark work about other words."""
    model, known = placed(process_model_of(start, torch.Generator().manual_seed(seed))), _known(sizes, seed)
    learner = Learner(model, Muon(model))

    def body(step: int) -> Mapping[str, float]:
        batch = marked(sizes.words, known, sizes.depths, sizes.batch, np.random.default_rng((seed, 5, step)))
        return _regress(learner, batch, _falling(REVIEW_LR, step, sizes.review_steps))

    _stage(run, "reviewer", sizes.review_steps, body, learner, progress)
    return model


def _regress(learner: Learner[Decoder], batch: Sequence[Valued], lr: float) -> dict[str, float]:
    targets_S = torch.tensor([q for one in batch for q in one.q])
    return value_step(learner.model, learner.optimizer, [one.path for one in batch], targets_S, lr, MICRO)


def preference_model(
    run: Run,
    name: str,
    start: Decoder,
    data: Sequence[StepPreference],
    held_out: Sequence[StepPreference],
    sizes: Sizes,
    seed: int,
    progress: Progress,
) -> tuple[Decoder, float | None]:
    """A model trained on pairs, from a reviewer's weights, with its share of rightly ranked held-out pairs."""
    model, learner = _value_model(start, seed)
    order, steps = _schedule(len(data), sizes, seed)

    def body(step: int) -> Mapping[str, float]:
        batch = [data[i] for i in order(step)]
        return preference_step(model, learner.optimizer, batch, _falling(VALUE_LR, step, steps), MICRO)

    _stage(run, name, steps, body, learner, progress)
    return model, pair_accuracy(model, held_out) if held_out else None


def regression_model(
    run: Run, name: str, start: Decoder, data: Sequence[Valued], sizes: Sizes, seed: int, progress: Progress
) -> Decoder:
    """The baseline PQM: the same model, trained on the values of steps."""
    model, learner = _value_model(start, seed)
    order, steps = _schedule(len(data), sizes, seed)

    def body(step: int) -> Mapping[str, float]:
        return _regress(learner, [data[i] for i in order(step)], _falling(VALUE_LR, step, steps))

    _stage(run, name, steps, body, learner, progress)
    return model


def _schedule(count: int, sizes: Sizes, seed: int) -> tuple[Callable[[int], list[int]], int]:
    """The batches of a value model's training, and how many there are."""
    steps = sizes.updates(sizes.value_steps, count, sizes.value_batch)
    return epochs_of(max(1, count), sizes.value_batch, seed), steps


def _value_model(start: Decoder, seed: int) -> tuple[Decoder, Learner[Decoder]]:
    """A reviewer with a new head, so that every step is worth 0 at first. Its own head calls whatever it does not know
    wrong, so surely that tanh passes hardly any gradient."""
    model = placed(process_model_of(start, torch.Generator().manual_seed(seed)))
    return model, Learner(model, adamw(model.parameters()))


@dataclass(frozen=True, eq=False)
class Values:
    """A value model as a scorer of paths; next steps after one prefix share its computation."""

    model: Decoder
    micro: int = 64

    async def __call__(self, items: Sequence[tuple[Problem, str]]) -> list[float]:
        """Values in (−1, 1), in order; every path has at least one step."""
        groups: list[Group] = []
        start = 0
        while start < len(items):
            problem = items[start][0]
            end = start + 1
            while end < len(items) and items[end][0] is problem:
                end += 1
            groups.append(_siblings(problem, [spelled(text) for _, text in items[start:end]]))
            start = end
        with torch.no_grad():
            parts = [last_values(self.model, groups[i : i + self.micro]) for i in range(0, len(groups), self.micro)]
        return [float(value) for part in parts for value in part.tolist()]


def _siblings(problem: Problem, paths: Sequence[tuple[int, ...]]) -> Group:
    """Paths of one problem as responses behind what they have in common."""
    shortest = min(len(path) for path in paths)
    shared = next((i for i in range(shortest - 1) if len({path[i] for path in paths}) > 1), shortest - 1)
    prompt = prompt_of(problem.question)
    prompt = replace(prompt, tokens=(*prompt.tokens, *paths[0][:shared]))
    return Group(prompt, tuple(path[shared:] for path in paths))
