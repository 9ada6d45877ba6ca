"""Drafting heads: cloned from the first and tuned together, what share of their drafts stays, and what that saves.

The first head is trained with the model; it is then cloned into the others, and all are tuned with the model as it is
(arXiv 2602.10604, §2.2). Speed is processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from consilience.engine import Engine, Output, Request, Speculation
from consilience.engine.speculative_law import expected_tokens
from consilience.learn import byte_language as bytes_
from consilience.learn.drafting import clone_first_head
from consilience.learn.optim.adamw import adamw
from consilience.learn.rl import Learner
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Rope
from consilience.nn.template import Prompt
from consilience.protocols import Sampling
from consilience.recipes.step_3_5_flash.language import HEADS, Records, curve, final_numbers, flash, training_of
from consilience.recipes.step_3_5_flash.sizes import Sizes

DRAFTS = 3
DRAFTING_WEIGHT = 0.3
PROMPT = 48
"""Bytes of test text before an answer."""
ROUNDS = 3


def study(sizes: Sizes, seed: int) -> Records:
    """Train the model with its first head, clone, measure, tune, measure: records of the curve, then two `final`."""
    head = Layer(round(1.5 * HEADS), Rope(1_000.0), window=sizes.window, gate=True, d_ff=sizes.width * 8 // 3)
    config = replace(flash(sizes), drafts=(head,))
    training = training_of(sizes, drafting=DRAFTING_WEIGHT)
    text = bytes_.standard_library("train")
    learner = bytes_.byte_learner(config, training, seed)
    yield from curve(bytes_.train_steps(learner, text, training, seed))
    model = with_heads(learner.model, DRAFTS)
    yield {"arm": "cloned", **final_numbers(model, sizes), **measure(model, sizes)}
    heads = Learner(model, adamw(model.drafts.parameters(), training.weight_decay))
    tuning = replace(training, steps=sizes.tuning)
    for step in range(tuning.steps):
        numbers = bytes_.tune_heads_step(heads, text, tuning, seed + 1_000_000, step)
    yield {"arm": "tuned", **final_numbers(model, sizes), **numbers, **measure(model, sizes), **speed(model, sizes)}


def with_heads(model: Decoder, heads: int) -> Decoder:
    """The same model with more drafting heads, copies of its first."""
    more = Decoder(replace(model.config, drafts=model.config.drafts[:1] * heads))
    more.load_state_dict({**more.state_dict(), **model.state_dict()})
    clone_first_head(more)
    return more


def requests(sizes: Sizes, temperature: float, count: int) -> list[Request]:
    """Prompts spread over the test split, one answer each."""
    text = bytes_.standard_library("test").tokens_N
    first = torch.linspace(0, len(text) - PROMPT, count).long().tolist()
    return [
        Request(
            Prompt(tuple(text[at : at + PROMPT].tolist())),
            Sampling(temperature=temperature, max_tokens=sizes.answer_bytes, seed=at),
        )
        for at in first
    ]


def engine(model: Decoder, rows: int, speculation: Speculation | None) -> Engine:
    """Float32, so that greedy answers differ in nothing but the order of summation."""
    return Engine(model, rows=rows, dtype=torch.float32, vocabulary=bytes_.vocabulary(), speculation=speculation)


def measure(model: Decoder, sizes: Sizes) -> dict[str, Any]:
    """How often draft i stays where those before it did, sampled and greedy, and the tokens a pass that this means."""
    numbers: dict[str, Any] = {}
    for mode, temperature in (("sampled", 1.0), ("greedy", 0.0)):
        spoken = engine(model, sizes.answers, Speculation())
        spoken.generate(requests(sizes, temperature, sizes.answers))
        found = spoken.acceptance
        assert found is not None
        numbers[f"{mode}_accepted"] = list(found.conditional_K)
        numbers[f"{mode}_tokens"] = expected_tokens(found.conditional_K)
        numbers[f"{mode}_measured"] = found.tokens_per_pass
    return numbers


def speed(model: Decoder, sizes: Sizes) -> dict[str, Any]:
    """Processor time of plain decoding over that of speculation, for one row and for several, sampled; and what share
    of greedy answers is the same. Medians of alternated rounds."""
    numbers: dict[str, Any] = {}
    for rows in (1, 8):
        asked = requests(sizes, 1.0, rows)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        engines = {kind: engine(model, rows, Speculation() if kind else None) for kind in seconds}
        for turn in range(ROUNDS + 1):
            for kind, found in seconds.items():
                begin = time.process_time()
                outputs = engines[kind].generate(asked)
                if turn:  # the first one warms up
                    found.append((time.process_time() - begin) / _tokens(outputs))
        numbers[f"plain_ms_{rows}"] = 1000 * median(seconds[False])
        numbers[f"speedup_{rows}"] = median(seconds[False]) / median(seconds[True])
    asked = requests(sizes, 0.0, sizes.answers)
    both = [engine(model, sizes.answers, found).generate(asked) for found in (None, Speculation())]
    same = [a[0].tokens == b[0].tokens for a, b in zip(*both, strict=True)]
    return {**numbers, "greedy_equal": sum(same) / len(same)}


def _tokens(outputs: Sequence[Sequence[Output]]) -> int:
    return sum(len(output.tokens) for samples in outputs for output in samples)
