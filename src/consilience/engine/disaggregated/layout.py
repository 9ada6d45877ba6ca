"""How a decoder is spread over attention and FFN workers, what they are asked, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from consilience.engine.batch import Output
from consilience.engine.sample import check_sampling, keys_from
from consilience.errors import ConsilienceError, InputError, UnknownName
from consilience.nn.config import ModelConfig
from consilience.protocols import Sampling

Split = Literal["tensor", "expert"]
Wire = Literal["fp8", "exact"]


class WorkerLost(ConsilienceError):
    """An attention or FFN worker died, hung or failed; the sentence names it."""


@dataclass(frozen=True)
class Layout:
    """xA yF: ranks 0 … attention − 1 are attention workers, those behind them FFN workers.

    Args:
        micro_batches: parts of each attention worker's rows that are on their way at the same time; 3 fill the pipeline
            attention – network – FFN (arXiv 2507.19427, §7.1), 1 is lock-step.
        split: "tensor" gives each FFN worker a slice of every matrix; "expert" gives it whole routed experts, and
            slices of the rest.
        wire: "fp8" sends E4M3 numbers with a scale a token, and bfloat16 back; "exact" sends the model's own numbers.
        device: "cpu" (gloo) or "cuda" (nccl; worker i of a host takes card i).
        timeout_s: longest time a worker waits for a message of another.
        threads: of torch in each worker.

    Raises:
        InputError: a count below 1, a time that is not positive, or an unknown name.
    """

    attention: int = 1
    ffn: int = 1
    micro_batches: int = 3
    split: Split = "tensor"
    wire: Wire = "fp8"
    device: Literal["cpu", "cuda"] = "cpu"
    timeout_s: float = 60.0
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("attention", "ffn", "micro_batches", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.timeout_s <= 0:
            raise InputError(f"timeout_s must be above 0, not {self.timeout_s}.")
        for name, known in (("split", get_args(Split)), ("wire", get_args(Wire)), ("device", ("cpu", "cuda"))):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)

    @property
    def workers(self) -> int:
        return self.attention + self.ffn

    @property
    def attention_ranks(self) -> range:
        return range(self.attention)

    @property
    def ffn_ranks(self) -> range:
        return range(self.attention, self.workers)

    def name_of(self, rank: int) -> str:
        """What a worker is called in sentences."""
        kind, number = ("attention", rank) if rank < self.attention else ("FFN", rank - self.attention)
        return f"{kind} worker {number} (rank {rank})"


@dataclass(frozen=True)
class Job:
    """Rows for one attention worker. Row i draws with keys[i]; every row takes `steps` steps; `sampling` is all rows'.

    logits: whether the raw logits of every step are kept.
    """

    prompts: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...]
    sampling: Sampling
    steps: int
    logits: bool = False


@dataclass(frozen=True)
class Pace:
    """Measured seconds of the decoding steps, of the attention worker that took longest and the busiest FFN worker.

    step_s: mean time per output token of a row. attention_s, ffn_s: mean time of computing one layer of one
    micro-batch; on cards, of starting it. attention_idle, ffn_idle: share of the time spent waiting for messages.
    sent, received: bytes a token and layer from and to the attention side, mean over layers.
    """

    step_s: float
    attention_s: float
    ffn_s: float
    attention_idle: float
    ffn_idle: float
    sent: float
    received: float


@dataclass(frozen=True)
class Decoded:
    """One output a prompt, in order, and the pace. logits: (steps, V) a prompt where they were asked for; behind the
    end of a response they go on as if it had not ended."""

    outputs: tuple[Output, ...]
    pace: Pace
    logits: tuple[np.ndarray, ...] = ()


def micro_batches(rows: int, count: int) -> list[range]:
    """Consecutive rows in `count` parts whose sizes differ by at most 1; parts may be empty."""
    edges = [rows * i // count for i in range(count + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def visits(layers: int, steps: int, prefill: Sequence[int], decode: Sequence[int]) -> list[tuple[int, int]]:
    """(layer, rows) of every message of one attention worker, in the order in which it is sent and answered.

    Prompts first, one micro-batch after the other, through all layers but the last (its keys and values are all that is
    wanted there); then, step by step and layer by layer, one message a micro-batch.

    Args:
        prefill, decode: rows of each micro-batch in a message of either kind; messages without rows are not sent, but
            have their place in the order.
    """
    prompts = [(layer, rows) for rows in prefill for layer in range(layers - 1)]
    return prompts + [(layer, rows) for _ in range(steps) for layer in range(layers) for rows in decode]


def announcement(steps: int, prefill: Sequence[int], decode: Sequence[int]) -> Tensor:
    """What an attention worker tells FFN workers of a job: int64 (1 + 2m,) for m micro-batches; 0 steps close."""
    return torch.tensor([steps, *prefill, *decode], dtype=torch.int64)


def jobs(
    layout: Layout, config: ModelConfig, prompts: Sequence[Sequence[int]], sampling: Sampling, logits: bool
) -> list[Job]:
    """The job of each attention worker.

    Raises:
        InputError: no prompt, an empty or too long one, stop strings, or parameters that describe no distribution.
    """
    check_sampling(sampling)
    if sampling.stop:
        raise InputError("disaggregated decoding knows no stop strings: leave them out, or use the engine.")
    if not prompts or not all(prompts):
        raise InputError("there must be a prompt, and each must have at least one token.")
    room = config.max_context - max(map(len, prompts))
    if not 1 <= sampling.max_tokens <= room:
        raise InputError(
            f"max_tokens must be between 1 and {room}, what the longest prompt leaves of the context, not "
            f"{sampling.max_tokens}."
        )
    keys = keys_from(sampling.seed or 0, len(prompts))
    return [
        Job(tuple(tuple(prompts[i]) for i in rows), tuple(keys[i] for i in rows), sampling, sampling.max_tokens, logits)
        for rows in micro_batches(len(prompts), layout.attention)
    ]


def gathered(parts: Sequence[Decoded]) -> Decoded:
    """The answers of all attention workers as one, at the pace of the slowest."""
    slowest = max((part.pace for part in parts), key=lambda pace: pace.step_s)
    return Decoded(
        tuple(output for part in parts for output in part.outputs),
        slowest,
        tuple(rows for part in parts for rows in part.logits),
    )
