"""The engine: requests in, responses with log-probabilities out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from consilience.engine.batch import Batch, Job, Output
from consilience.engine.sample import check_sampling, keys_from
from consilience.engine.speculative import Speculation, SpeculativeBatch
from consilience.engine.speculative_law import Acceptance
from consilience.engine.vocabulary import Vocabulary, house
from consilience.errors import InputError
from consilience.nn import tokenizer as tk
from consilience.nn.config import ModelConfig
from consilience.nn.count import count, kv_elements
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt
from consilience.protocols import Sampling

OnDone = Callable[[int, int, Output], None]


@dataclass(frozen=True)
class Request:
    """n samples of one prompt. With a seed in `sampling`, sample i uses seed + i; max_tokens 0 means: as many as the
    model's context holds."""

    prompt: Prompt
    sampling: Sampling
    n: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes that decoding takes: weights, the cache of the layers, and that of the drafting heads."""

    weights: int
    cache: int
    drafting_cache: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.drafting_cache


def memory(
    config: ModelConfig, rows: int, context: int, dtype: torch.dtype = torch.bfloat16, drafts: int = 0
) -> Memory:
    """What decoding `rows` samples of up to `context` tokens takes, from the configuration alone: before loading.

    Exact for what attention reads; stores grow ahead of it by up to an eighth, and samples of one prompt share it.

    Args:
        drafts: drafting heads in use.

    Raises:
        InputError: no row, no token, or more tokens than the context holds.
    """
    if rows < 1 or not 1 <= context <= config.max_context:
        raise InputError(f"rows must be 1 or more and context 1 to {config.max_context}, not {rows} and {context}.")
    numbers = rows * kv_elements(config, context)
    heads = config.drafts[:drafts]
    drafting = rows * kv_elements(replace(config, n_layers=drafts, layers=heads), context) if heads else 0
    size = dtype.itemsize
    return Memory(count(config).total * size, numbers * size, drafting * size)


def fast_dtype(stored: torch.dtype, device: torch.device, rows: int) -> torch.dtype:
    """The precision that decodes fastest: bfloat16 for float32 weights where the hardware multiplies it and enough rows
    (on a CPU 8 or more) share each weight; otherwise the stored one.

    A rule and not a measurement, so that the same command gives the same numbers on the same machine.
    """
    if stored != torch.float32:
        return stored
    if device.type == "cpu":
        return torch.bfloat16 if rows >= 8 and torch.ops.mkldnn._is_mkldnn_bf16_supported() else stored
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else stored


class Engine:
    """Samples from a decoder: batched key/value cache, shared prompts, continuous batching.

    A seeded sample is a function of weights, prompt, seed and sampling parameters: what else is in the batch changes it
    only where two tokens' cumulative probabilities differ by less than float rounding.

    Args:
        model: a language-model decoder; its weights are read at construction and at `refresh`.
        rows: samples that decode at the same time at most.
        dtype: precision of weights and cache; None takes `fast_dtype` of the model.
        device: where to run; None leaves the model where it is.
        vocabulary: None means a house model (byte tokenizer).
        seed: randomness of samples whose request has no seed.
        speculation: who drafts tokens that the model then reads several at a time; None decodes one by one. The law of
            samples is the same, the samples of a seed are not; greedy answers are.
    """

    def __init__(
        self,
        model: Decoder,
        *,
        rows: int = 256,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        vocabulary: Vocabulary | None = None,
        seed: int = 0,
        speculation: Speculation | None = None,
    ) -> None:
        if model.config.head != "lm":
            raise InputError(f"the engine samples from language models; this decoder has a {model.config.head} head.")
        if rows < 1:
            raise InputError(f"rows must be at least 1, not {rows}.")
        self.source = model
        weight = model.embedding.weight
        place = torch.device(device) if device is not None else weight.device
        kind = dtype or fast_dtype(weight.dtype, place, rows)
        self.model = model
        if weight.device != place or weight.dtype != kind:
            self.model = copy.deepcopy(model).to(place, kind).requires_grad_(False)
        self.vocabulary = vocabulary or house(model.config.vocab_size)
        self.rows, self.seed = rows, seed
        self._drafter = speculation.model if speculation is not None else None
        self.speculation = speculation
        if speculation is not None:
            speculation.check(model)
            if self._drafter is not None:
                twin = copy.deepcopy(self._drafter).to(place, kind).requires_grad_(False)
                self.speculation = replace(speculation, model=twin)
        self.reset()
        self._unseeded = 0

    def reset(self) -> None:
        """Forget all requests and free the cache; for going on after a failure in the middle of a step."""
        self.batch = (
            Batch(self.model, self.vocabulary, self.rows)
            if self.speculation is None
            else SpeculativeBatch(self.model, self.vocabulary, self.rows, self.speculation)
        )

    @property
    def acceptance(self) -> Acceptance | None:
        """Passes, tokens and accepted drafts since the last `reset`; None without speculation."""
        return self.batch.acceptance if isinstance(self.batch, SpeculativeBatch) else None

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the source model's present weights, after a training step.

        Raises:
            RuntimeError: samples are still running; they would mix two models.
        """
        if self.batch.busy:
            raise RuntimeError("refresh() while samples are running would mix two models; finish or cancel them first")
        pairs = [(self.model, self.source)]
        if self.speculation is not None and self.speculation.model is not None and self._drafter is not None:
            pairs.append((self.speculation.model, self._drafter))
        for own, source in pairs:
            if own is not source:
                for mine, theirs in zip(own.parameters(), source.parameters(), strict=True):
                    mine.copy_(theirs)
        self.batch.forward.refresh()
        if isinstance(self.batch, SpeculativeBatch):
            self.batch.drafter.refresh()

    def generate(self, requests: Sequence[Request], on_done: OnDone | None = None) -> list[list[Output]]:
        """All samples of all requests, [request][sample].

        Args:
            on_done: called as (request index, sample index, output) at once when a sample ends.

        Raises:
            InputError: a request that cannot be sampled; nothing has run then.
        """
        outputs: list[dict[int, Output]] = [{} for _ in requests]

        def done(request: int, sample: int, output: Output) -> None:
            outputs[request][sample] = output
            if on_done is not None:
                on_done(request, sample, output)

        jobs = [self._job(request, partial(done, i)) for i, request in enumerate(requests)]
        # what may take longest starts first, and prompts of like length are prefilled together
        order = sorted(jobs, key=lambda job: (-self.batch.limit(job), -len(job.prompt)))
        for job in order:
            self.batch.submit(job)
        try:
            while self.batch.busy:
                self.batch.step()
        except BaseException:
            for job in order:
                self.batch.cancel(job)
            raise
        return [[samples[i] for i in range(len(samples))] for samples in outputs]

    def submit(self, request: Request, done: Callable[[int, Output], None]) -> Job:
        """Queue a request beside those that run; done(sample index, output) is called from `step`.

        Raises:
            InputError: the request cannot be sampled.
        """
        job = self._job(request, done)
        self.batch.submit(job)
        return job

    def _job(self, request: Request, done: Callable[[int, Output], None]) -> Job:
        _check(request, self.model.config.max_context)
        seed = request.sampling.seed
        if seed is not None:
            first = seed
        else:
            # unseeded samples draw from a sequence far from any plausible seed
            first = -(1 << 62) + (self.seed << 40) + self._unseeded
            self._unseeded += request.n
        return Job(request.prompt, request.sampling, keys_from(first, request.n), done)


def _check(request: Request, max_context: int) -> None:
    s, prompt = request.sampling, request.prompt
    if request.n < 1:
        raise InputError(f"n must be at least 1, not {request.n}.")
    if not prompt.tokens:
        raise InputError("the prompt is empty; give at least one token.")
    if len(prompt) >= max_context:
        raise InputError(f"the prompt has {len(prompt)} tokens; the model's context of {max_context} leaves no answer.")
    if prompt.tokens[-1] == tk.IMAGE and prompt.pictures:
        raise InputError("a prompt must not end in a picture; put text behind it.")
    check_sampling(s)
