"""Byte-level language models shaped like Step 3.5 Flash: layouts of windows, gates and sinks, experts, optimizers.

Everything but what an arm changes is the same: data, steps, parameters and order of the batches. Shape letters as in
nn/decoder.py, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from consilience.learn import byte_language as bytes_
from consilience.learn.balance import load
from consilience.learn.byte_language import ByteTraining, Corpus, Seeing
from consilience.learn.byte_language_sinks import Sinks
from consilience.learn.optim.named import optimizer
from consilience.learn.rl import Learner
from consilience.nn.attention import attend_causal
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Mixture, Rope
from consilience.nn.parts.ffn import watch_routers
from consilience.recipes.step_3_5_flash.sizes import Sizes

Records = Iterator[dict[str, Any]]
LAYERS, HEADS, KV_HEADS = 8, 4, 2
EXPERTS, ACTIVE, GROUPS = 16, 2, 4
LR = 5e-3
BALANCE, GROUP_WEIGHT = 0.003, 0.01
EVERY = 10
"""Steps between two records of a curve."""


def flash(
    sizes: Sizes, layout: str = "S3F1", gate: bool = True, more: float = 1.0, mixture: Mixture | None = None
) -> ModelConfig:
    """A small decoder with full layers and windows as a layout names them: SxFy means x with a window, then y full.

    Full layers rotate half of each head with long waves, windows all of it, as published; the first layer is full.

    Args:
        more: times the query heads of layers with a window. mixture: in place of every dense layer but the first.
    """
    c, d = max(8, sizes.width // HEADS), sizes.width
    pattern = {"FFFF": "F", "S1F1": "FS", "S3F1": "FSSS"}[layout]

    def layer(i: int) -> Layer:
        far = pattern[i % len(pattern)] == "F"
        return Layer(
            n_heads=HEADS if far else round(more * HEADS),
            rope=Rope(10_000.0, dims=c // 4 * 2) if far else Rope(1_000.0),
            window=0 if far else sizes.window,
            gate=gate,
            d_ff=0 if mixture and i else d * 8 // 3,
            mixture=mixture if i else None,
        )

    return ModelConfig(
        vocab_size=bytes_.VOCABULARY,
        d_model=d,
        n_layers=LAYERS,
        n_heads=HEADS,
        n_kv_heads=KV_HEADS,
        head_dim=c,
        d_ff=d * 8 // 3,
        max_context=2 * (sizes.context + sizes.answer_bytes),
        layers=tuple(layer(i) for i in range(LAYERS)),
        norm="centred",
    )


def training_of(sizes: Sizes, **changes: Any) -> ByteTraining:
    """The training all arms share, with what one changes."""
    base = ByteTraining(sizes.steps, sizes.model_rows, sizes.context, lr=LR, warmup=max(1, sizes.steps // 15))
    return replace(base, **changes)


def attention_work(config: ModelConfig, context: int) -> int:
    """Multiplications of attention for a token behind `context` others: 2·H·C for each token a layer sees."""
    return sum(
        2 * layer.n_heads * config.head_dim * (min(context, layer.window) if layer.window else context)
        for layer in config.blocks
    )


def compare(part: str, arm: str, sizes: Sizes, seed: int) -> Records:
    """Train one arm of one part and measure it on the test split: records of the curve, and one with `final`."""
    builds: dict[str, Callable[[], Records]] = {
        "layouts": lambda: _layout(arm, sizes, seed),
        "gates": lambda: _gate(arm, sizes, seed),
        "experts": lambda: _experts(arm, sizes, seed),
        "optimizers": lambda: _optimizer(arm, sizes, seed),
    }
    return builds[part]()


def curve(steps: Iterator[dict[str, float]]) -> Records:
    """Every tenth step of a training, and its last."""
    record: dict[str, float] = {}
    for record in steps:
        if record["step"] % EVERY == 0:
            yield dict(record)
    if record and record["step"] % EVERY:
        yield dict(record)


def final_numbers(model: Decoder, sizes: Sizes, seeing: Seeing = attend_causal) -> dict[str, Any]:
    """Bits a byte on the dev and the test split, and how large the model is."""
    bits = {}
    for split in ("dev", "test"):
        found_W, _ = bytes_.window_bits(
            model, bytes_.standard_library(split), sizes.context, sizes.windows, seeing=seeing
        )
        bits[split] = float(found_W.mean())
    return {
        "final": True,
        "step": sizes.steps,
        "dev_bits": bits["dev"],
        "test_bits": bits["test"],
        "parameters": model.parameter_count,
    }


def _layout(arm: str, sizes: Sizes, seed: int) -> Records:
    layout, _, heads = arm.partition(".")
    config = flash(sizes, layout, more=1.5 if heads else 1.0)
    learner = bytes_.byte_learner(config, training_of(sizes), seed)
    yield from curve(bytes_.train_steps(learner, _text(), training_of(sizes), seed))
    work = {f"work_{n}": attention_work(config, n) for n in (sizes.context, 4096)}
    yield {**final_numbers(learner.model, sizes), **work}


def _gate(arm: str, sizes: Sizes, seed: int) -> Records:
    training = training_of(sizes)
    learner = bytes_.byte_learner(flash(sizes, gate=arm == "gate"), training, seed)
    seeing: Seeing = attend_causal
    if arm == "sink":
        sinks = Sinks(learner.model.config.blocks)
        learner.model.add_module("sinks", sinks)
        learner = Learner(learner.model, optimizer(training.optimizer, learner.model, training.weight_decay))
        seeing = sinks.seeing
    yield from curve(bytes_.train_steps(learner, _text(), training, seed, seeing))
    yield final_numbers(learner.model, sizes, seeing)


def _experts(arm: str, sizes: Sizes, seed: int) -> Records:
    mixture = Mixture(
        EXPERTS, ACTIVE, sizes.width // 2, shared=sizes.width // 2, router="sigmoid", normalise=True, scale=1.5
    )
    training = training_of(
        sizes,
        balance=0.0 if arm == "none" else BALANCE,
        groups=GROUPS,
        group_weight=GROUP_WEIGHT if arm == "bias.groups" else 0.0,
    )
    learner = bytes_.byte_learner(flash(sizes, mixture=mixture), training, seed)
    yield from curve(bytes_.train_steps(learner, _text(), training, seed))
    yield {**final_numbers(learner.model, sizes), **loads(learner.model, sizes)}


@torch.no_grad()
def loads(model: Decoder, sizes: Sizes) -> dict[str, float]:
    """How unevenly the test split loads experts and groups of experts: the largest over the mean, mean over layers."""
    tokens_BT, _ = bytes_.batch_of(bytes_.standard_library("test"), 16, sizes.context, 0, 0)
    with watch_routers(model) as seen:
        bytes_.run_trunk(model, tokens_BT)
    by_layer = [load(routing.expert_NA, EXPERTS) for _, routing in seen]
    groups = [load_E.view(GROUPS, -1).sum(1) for load_E in by_layer]
    return {
        "expert_load": float(np.mean([float(load_E.max() / load_E.mean()) for load_E in by_layer])),
        "group_load": float(np.mean([float(load_G.max() / load_G.mean()) for load_G in groups])),
    }


def _optimizer(arm: str, sizes: Sizes, seed: int) -> Records:
    name, rate = arm.split("_")
    training = training_of(sizes, optimizer=name, lr=float(rate))
    learner = bytes_.byte_learner(flash(sizes), training, seed)
    yield from curve(bytes_.train_steps(learner, _text(), training, seed))
    yield final_numbers(learner.model, sizes)


def _text() -> Corpus:
    return bytes_.standard_library("train")
