"""The attention worker: embedding, attention with its cache, norms, routers, the residual stream, head and sampling.

Shape letters as in engine/forward.py: N tokens of any rows, B rows of a micro-batch, D width, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.engine.batch import Output
from consilience.engine.disaggregated.layout import Decoded, Job, Layout, Pace, announcement, micro_batches
from consilience.engine.disaggregated.links import Links
from consilience.engine.disaggregated.wire import Tokens, contracts
from consilience.engine.forward import Attend
from consilience.engine.parts import PartsForward
from consilience.engine.prefill import prefill
from consilience.engine.sample import Settings, draw, uniforms
from consilience.engine.shelf import Block as Prefilled
from consilience.engine.vocabulary import Vocabulary, house
from consilience.engine.window import make_cache
from consilience.nn.decoder import Block, Decoder
from consilience.nn.parts.attention import FactoredAttention
from consilience.nn.parts.ffn import MixtureOfExperts
from consilience.nn.template import Prompt

Cut = Generator[tuple[int, Tokens], Tensor, Tensor]
"""Yields (layer, what its feed-forward part is asked), takes the answer (N, D), returns the residual stream (N, D)."""


def cut_blocks(model: Decoder, x_ND: Tensor, position_N: Tensor, attend: Attend) -> Cut:
    """`PartsForward.layers_of`, cut open at the feed-forward parts."""
    x_N1D = x_ND[:, None]
    rotations = model.rotations(position_N[:, None], x_ND.dtype)
    scale = model.config.head_dim**-0.5
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        part, normed = block.attention, block.attention_norm(x_N1D)
        keys_alone = part if isinstance(part, FactoredAttention) and part.reuse is not None else None
        qkv = part.qkv_heads if keys_alone is None else keys_alone.stored
        q, k, v = (x[:, :, 0] for x in qkv(normed, *rotations[i]))
        o_NHC = attend(i, q * scale, k, v)
        if o_NHC is None:
            break
        if keys_alone is not None:
            o_NHC = keys_alone.values(o_NHC)
        x_N1D = x_N1D + part.close(o_NHC[:, :, None], normed)
        y_ND = yield i, _question(block, block.ffn_norm(x_N1D)[:, 0])
        x_N1D = x_N1D + y_ND[:, None]
    return x_N1D[:, 0]


def _question(block: Block, z_ND: Tensor) -> Tokens:
    if isinstance(block.ffn, MixtureOfExperts):
        routing = block.ffn.router(z_ND)
        return Tokens(z_ND, routing.expert_NA, routing.weight_NA)
    return Tokens(z_ND, z_ND.new_zeros(len(z_ND), 0, dtype=torch.int64), z_ND.new_zeros(len(z_ND), 0))


class AttentionWorker:
    """Decodes its rows in micro-batches that take turns: while one computes here, others travel or are with FFNs."""

    def __init__(self, model: Decoder, layout: Layout, links: Links, vocabulary: Vocabulary | None = None) -> None:
        self.model, self.layout, self.links = model, layout, links
        weight = model.embedding.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.contracts = contracts(model.config, layout.wire, self.dtype)
        self.vocabulary = vocabulary or house(model.config.vocab_size)
        self.allowed_V = self.vocabulary.allowed(self.device)
        self.waited = 0.0

    @torch.inference_mode()
    def decode(self, job: Job) -> Decoded:
        """All rows of a job.

        Raises:
            WorkerLost: an FFN worker died or was silent for too long.
        """
        parts = micro_batches(len(job.prompts), self.layout.micro_batches)
        prompts = [[Prompt(job.prompts[i]) for i in rows] for rows in parts]
        padded = [len(some) * (max(map(len, some), default=1) - 1) for some in prompts]
        for rank in self.layout.ffn_ranks:
            self.links.tell(rank, announcement(job.steps, padded, [len(rows) for rows in parts]))
        batches = [
            _MicroBatch(self, some, [job.keys[i] for i in rows], job)
            for some, rows in zip(prompts, parts, strict=True)
            if some
        ]
        start, self.waited = time.perf_counter(), 0.0
        take_turns([batch.decode() for batch in batches])
        elapsed, waited = time.perf_counter() - start, self.waited
        measured = [torch.zeros(2, dtype=torch.float64) for _ in self.layout.ffn_ranks]
        for rank, numbers in zip(self.layout.ffn_ranks, measured, strict=True):
            self.links.hear(rank, numbers)
        pace = self._pace(job.steps, max(1, len(batches)), elapsed, waited, max(m.tolist() for m in measured))
        return Decoded(
            tuple(output for batch in batches for output in batch.outputs()),
            pace,
            tuple(rows for batch in batches for rows in batch.logits()),
        )

    def ask(self, layer: int, tokens: Tokens) -> Callable[[], Tensor]:
        """Send a question to all FFN workers; call the result to wait for the sum of their answers, (N, D)."""
        contract, n = self.contracts[layer], len(tokens.x_ND)
        if not n:
            return lambda: tokens.x_ND
        message = contract.ask(tokens)
        answers = [
            torch.empty(n, contract.answer_bytes, dtype=torch.uint8, device=self.device) for _ in self.layout.ffn_ranks
        ]
        tickets = [self.links.send(rank, message) for rank in self.layout.ffn_ranks]
        tickets += [
            self.links.receive(rank, into, answer=True)
            for rank, into in zip(self.layout.ffn_ranks, answers, strict=True)
        ]

        def answer() -> Tensor:
            start = time.perf_counter()
            for ticket in tickets:
                ticket.wait()
            self.waited += time.perf_counter() - start
            return contract.total(answers)

        return answer

    def _pace(self, steps: int, batches: int, elapsed: float, waited: float, busiest: Sequence[float]) -> Pace:
        visits, (ffn_busy, ffn_elapsed) = steps * batches * len(self.contracts), busiest
        return Pace(
            step_s=elapsed / steps,
            attention_s=(elapsed - waited) / visits,
            ffn_s=ffn_busy / visits,
            attention_idle=waited / elapsed,
            ffn_idle=1 - ffn_busy / ffn_elapsed if ffn_elapsed else 0.0,
            sent=float(np.mean([c.question_bytes for c in self.contracts])) * self.layout.ffn,
            received=float(np.mean([c.answer_bytes for c in self.contracts])) * self.layout.ffn,
        )


class _MicroBatch:
    """Rows that travel together, with their cache; prompts are prefilled at construction."""

    def __init__(self, worker: AttentionWorker, prompts: Sequence[Prompt], keys: Sequence[int], job: Job) -> None:
        self.worker, self.job = worker, job
        device = worker.device
        block = prefill(_Whole(worker), prompts) if max(map(len, prompts)) > 1 else _nothing(worker, len(prompts))
        self.cache = make_cache(worker.model.config, worker.dtype, device)
        self.cache.reserve(len(prompts), block.columns)
        self.cache.join(block, range(len(prompts)), [len(prompt) - 1 for prompt in prompts])
        self.token_B = torch.tensor([prompt.tokens[-1] for prompt in prompts], device=device)
        self.position_B = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
        self.key_B = torch.tensor(keys, dtype=torch.int64, device=device)
        s, ones = job.sampling, torch.ones(len(prompts), device=device)
        self.settings = Settings(ones * s.temperature, ones * s.top_p, ones * s.min_p, (ones * s.top_k).long())
        self.drawn: list[tuple[Tensor, Tensor]] = []
        self.kept: list[Tensor] = []

    def decode(self) -> Iterator[None]:
        """All steps; stops for others to compute whenever a question is under way."""
        worker, plan = self.worker, self.settings.plan()
        model = worker.model
        for step in range(self.job.steps):
            self.cache.begin()
            x_ND = F.embedding(self.token_B, model.embedding.weight)
            cut = cut_blocks(model, x_ND, self.position_B, self.cache.attend)
            asked = next(cut)
            while True:
                answer = worker.ask(*asked)
                yield
                try:
                    asked = cut.send(answer())
                except StopIteration as end:
                    x_ND = end.value
                    break
            logits_BV = model.logits(model.norm(x_ND))
            noise_B = uniforms(self.key_B, torch.full_like(self.key_B, step), 1)[:, 0]
            token_B, logprob_B = draw(logits_BV, noise_B, self.settings, plan, worker.allowed_V)
            self.cache.end()
            self.drawn.append((token_B, logprob_B))
            if self.job.logits:
                self.kept.append(logits_BV)
            self.token_B, self.position_B = token_B, self.position_B + 1

    def outputs(self) -> Iterator[Output]:
        """The rows' responses up to their end tokens."""
        tokens, logprobs = (torch.stack(parts, 1).tolist() for parts in zip(*self.drawn, strict=True))
        for row, numbers in zip(tokens, logprobs, strict=True):
            end = next((i + 1 for i, token in enumerate(row) if token in self.worker.vocabulary.end), None)
            yield Output(tuple(row[:end]), tuple(numbers[:end]), "length" if end is None else "stop")

    def logits(self) -> Iterator[np.ndarray]:
        """(steps, V) of each row, if they were kept."""
        if self.kept:
            yield from torch.stack(self.kept, 1).float().cpu().numpy()


def _nothing(worker: AttentionWorker, rows: int) -> Prefilled:
    """Prompts of one token, which the first step feeds, leave nothing to prefill."""
    config = worker.model.config
    empty = torch.empty(rows, config.n_kv_heads, 0, config.head_dim, dtype=worker.dtype, device=worker.device)
    return Prefilled([empty] * config.n_layers, [empty] * config.n_layers)


class _Whole(PartsForward):
    """The blocks one after the other, waiting for each answer: for prompts."""

    def __init__(self, worker: AttentionWorker) -> None:
        super().__init__(worker.model)
        self.worker = worker

    def layers_of(self, x_ND: Tensor, position_N: Tensor, attend: Attend) -> Tensor:
        cut = cut_blocks(self.model, x_ND, position_N, attend)
        try:
            asked = next(cut)
            while True:
                asked = cut.send(self.worker.ask(*asked)())
        except StopIteration as end:
            x: Tensor = end.value
            return x


def take_turns(runs: Sequence[Iterator[None]]) -> None:
    """Advance all by one stop each, again and again, in their order; they all have as many stops."""
    running = list(runs)
    while running:
        running = [run for run in running if next(run, running) is not running]
