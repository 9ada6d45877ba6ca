"""A unit of the recipe: one language model, or the disaggregated runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from consilience.cost.afd import Times, tpot
from consilience.engine.disaggregated import Decoded, Disaggregated, Layout
from consilience.engine.disaggregated.wire import dequantise, quantise
from consilience.learn.byte_language import ByteTraining, byte_learner, standard_library, train_steps, window_bits
from consilience.nn.attention import attend_causal
from consilience.nn.checkpoint import save_model
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Block, Decoder
from consilience.nn.layers import Layer, Mixture
from consilience.protocols import Sampling
from consilience.recipes.step3.arms import arm, fresh, parameters
from consilience.recipes.step3.sizes import RATES, Sizes
from consilience.request import Progress
from consilience.runs import start
from consilience.units import Unit, directory_of

RECORDS, CURVE = "records.jsonl", "curve.jsonl"
_EXPERTS = Mixture(experts=8, active=2, width=192, shared=192)
PIPELINE = ModelConfig(
    d_model=256,
    n_layers=4,
    n_heads=8,
    n_kv_heads=1,
    head_dim=64,
    qk_norm=False,
    tie_embeddings=False,
    layers=(Layer(8, query_rank=128, d_ff=640),) + (Layer(8, query_rank=128, mixture=_EXPERTS),) * 3,
)
"""A nano Step-3 whose two sides take about as long, and longer than a message."""
PROMPT = 8


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"arm", "seed", "sizes"}`, or without an arm the disaggregated runs."""
    torch.set_num_threads(1)
    sizes = Sizes(**unit.task["sizes"])
    directory = directory_of(run, unit.name)
    config = {"recipe": "step3", "unit": unit.name, **unit.task}
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        if not own.done("measured"):
            with own.stage("measured"):
                if "arm" in unit.task:
                    record, curve = language(unit.task["arm"], unit.task["seed"], sizes, progress, unit.name)
                    own.append(CURVE, curve)
                    own.append(RECORDS, [record])
                else:
                    own.append(RECORDS, pipeline(sizes, unit.task["seed"], progress))
        own.finish()


def language(
    name: str, seed: int, sizes: Sizes, progress: Progress, label: str
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Train an arm on the standard library's training files at every learning rate and measure the one that is best on
    its dev files on its test files: record, and curve of that one."""
    made = arm(name, sizes.length)
    progress.start(label, len(RATES) * sizes.steps)
    trained = [_trained(made.config, seed, rate, sizes, progress) for rate in RATES]
    progress.done()
    dev = [float(window_bits(m, standard_library("dev"), sizes.length, sizes.windows)[0].mean()) for m, _ in trained]
    best = int(np.argmin(dev))
    model, curve = trained[best]
    text = standard_library("test")
    bits_W, file_W = window_bits(model, text, sizes.length, sizes.windows)
    record = {
        "arm": name,
        "seed": seed,
        "cached": made.cached,
        "attention": made.attention,
        "parameters": parameters(made.config),
        "rate": RATES[best],
        "dev": dev,
        "bits_W": bits_W.tolist(),
        "file_W": file_W.tolist(),
        "text": text.digest,
    }
    if name == "mfa":
        round_messages(model)
        record["rounded_W"] = window_bits(model, text, sizes.length, sizes.windows)[0].tolist()
    return record, curve


def _trained(
    config: ModelConfig, seed: int, rate: float, sizes: Sizes, progress: Progress
) -> tuple[Decoder, list[dict[str, float]]]:
    """A model of this seed and learning rate, and its curve."""
    training = ByteTraining(steps=sizes.steps, rows=sizes.rows, length=sizes.length, lr=rate)
    learner, curve = byte_learner(config, training, seed), []
    done = RATES.index(rate) * sizes.steps
    for numbers in train_steps(learner, standard_library("train"), training, seed):
        curve.append(numbers)
        progress.update(done + int(numbers["step"]), bits=numbers["bits"])
    return learner.model, curve


def round_messages(model: Decoder) -> None:
    """From now on feed-forward inputs and outputs are rounded as messages between processes would be."""

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        x_ND = inputs[0].flatten(0, -2)
        return dequantise(*quantise(x_ND), x_ND.dtype).view(inputs[0].shape)

    def after(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output.bfloat16().to(output.dtype)

    for block in model.blocks:
        assert isinstance(block, Block)
        block.ffn.register_forward_pre_hook(before)
        block.ffn.register_forward_hook(after)


def pipeline(sizes: Sizes, seed: int, progress: Progress) -> Iterator[dict[str, Any]]:
    """One attention and one FFN process: first whether their logits are those of one process, then `repeats` times one
    micro-batch and three of the same rows, alternating, measured."""
    model = fresh(PIPELINE, seed)
    rng = np.random.default_rng(seed)
    prompts = rng.integers(97, 123, size=(sizes.sequences, PROMPT)).tolist()
    greedy = Sampling(max_tokens=sizes.tokens, temperature=0)
    progress.start("disaggregation", sizes.repeats)
    with tempfile.TemporaryDirectory() as scratch:
        save_model(model, Path(scratch) / "model")
        with (
            Disaggregated(Path(scratch) / "model", Layout(micro_batches=1, wire="exact")) as one,
            Disaggregated(Path(scratch) / "model", Layout(micro_batches=3, wire="exact")) as three,
        ):
            few = prompts[:3]
            yield {"difference": max(_difference(model, few, w.decode(few, greedy, logits=True)) for w in (one, three))}
            for repeat in range(sizes.repeats):
                yield _pair(one.decode(prompts, greedy), three.decode(prompts, greedy))
                progress.update(repeat + 1)
    progress.done()


@torch.no_grad()
def _difference(model: Decoder, prompts: list[list[int]], found: Decoded) -> float:
    """The largest distance between the logits found and those of the whole model on whole sequences, in parts of the
    largest logit."""
    distance = size = 0.0
    for prompt, output, logits in zip(prompts, found.outputs, found.logits, strict=True):
        ids = torch.tensor([[*prompt, *output.tokens]])
        t = ids.shape[1]
        hidden = model(model.embed(ids), torch.arange(t)[None], attend_causal(t))
        expected = model.logits(hidden[0, len(prompt) - 1 : -1]).numpy()
        distance = max(distance, float(np.abs(logits[: len(output.tokens)] - expected).max()))
        size = max(size, float(np.abs(expected).max()))
    return distance / size


def _pair(one: Decoded, three: Decoded) -> dict[str, Any]:
    """Both paces, how much faster three micro-batches are, and how far the law is from what they took.

    What a layer of the one micro-batch takes beyond its two computations is the time its messages travel; a third of
    the rows is taken to travel as long, because these messages are short.
    """
    layers = PIPELINE.n_layers
    travel = max(0.0, one.pace.step_s / layers - one.pace.attention_s - one.pace.ffn_s)
    stages = Times(three.pace.attention_s, travel / 2, three.pace.ffn_s, travel / 2)
    predicted = tpot([stages] * layers, 3)
    return {
        "speed": one.pace.step_s / three.pace.step_s,
        "law": three.pace.step_s / predicted - 1,
        "travel_s": travel,
        "predicted_s": predicted,
        "one": vars(one.pace),
        "three": vars(three.pace),
    }
