"""The running batch: rows that decode together, samples that wait, and what happens between two steps.

Shape letters: B active rows, V vocabulary, R tokens a response at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from consilience.engine.parts import token_forward
from consilience.engine.prefill import TOKENS, prefill
from consilience.engine.rows import LIMIT, POSITION, STEP, STOP, TOKEN, Row, Rows
from consilience.engine.sample import draw
from consilience.engine.shelf import Block
from consilience.engine.vocabulary import Stops, Vocabulary
from consilience.engine.window import make_cache
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt
from consilience.protocols import Sampling


@dataclass(frozen=True)
class Output:
    """One response. tokens: with the final end token (or the token that completed a stop string) when finish is
    "stop". logprobs: natural logarithms of the model's own probabilities at temperature 1."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


@dataclass(eq=False)
class Job:
    """A prompt and its samples on their way through the batch. done(sample, output) is called once a sample."""

    prompt: Prompt
    sampling: Sampling
    keys: Sequence[int]
    done: Callable[[int, Output], None]
    waiting: deque[int] = field(default_factory=deque)
    running: int = 0
    lane: int = -1
    block: Block | None = None
    entry: int = 0
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.waiting.extend(range(len(self.keys)))

    @property
    def shared(self) -> bool:
        return len(self.keys) > 1


class Batch:
    """Continuous batching: `submit` jobs at any time, `step` until `busy` is False.

    A prompt is prefilled once, together with others that wait, before a row is free for it; a finished row's place
    goes to the next waiting sample before the next step, and without one the remaining rows close up.
    """

    def __init__(self, model: Decoder, vocabulary: Vocabulary, capacity: int) -> None:
        self.model, self.vocabulary, self.capacity = model, vocabulary, capacity
        weight = model.embedding.weight
        self.device = weight.device
        with torch.inference_mode():
            self.cache = make_cache(model.config, weight.dtype, self.device)
            self.rows = Rows(self.device)
            self.forward = token_forward(model)
        self.allowed_V = vocabulary.allowed(self.device)
        self.end = torch.tensor(vocabulary.end, device=self.device)
        self.queue: deque[Job] = deque()
        self.owners: list[tuple[Job, int]] = []
        self.lanes: list[Job] = []
        self._forget_stops()
        self._settings = self.rows.settings(0)
        self._plan = self._settings.plan()
        self._until_limit = 0

    @property
    def busy(self) -> bool:
        """Whether any sample waits or runs."""
        return bool(self.queue or self.owners)

    def submit(self, job: Job) -> None:
        """Queue a job; first come, first served."""
        stop = job.sampling.stop
        if not self.busy:
            self._forget_stops()
        if stop not in self.stops:
            self.stop_checks.append(Stops(stop, self.vocabulary))
            self.stops[stop] = len(self.stop_checks)
            tables = [torch.zeros(self.vocabulary.size, dtype=torch.bool), *(c.candidates_V for c in self.stop_checks)]
            self.stop_table = torch.stack(tables).to(self.device)
        self.queue.append(job)

    def _forget_stops(self) -> None:
        self.stops: dict[tuple[str, ...], int] = {(): 0}
        self.stop_checks: list[Stops] = []

    @torch.inference_mode()
    def cancel(self, job: Job) -> None:
        """Forget a job at once; samples of it that have not finished are never reported."""
        job.cancelled = True
        job.waiting.clear()
        if job in self.queue:
            self.queue.remove(job)
        self._remove([row for row, (owner, _) in enumerate(self.owners) if owner is job])
        job.running = 0
        self._close_lane(job)

    @torch.inference_mode()
    def so_far(self, job: Job) -> list[int]:
        """Tokens of the first running sample of a job; empty before it starts."""
        self.rows.write()
        for row, (owner, _) in enumerate(self.owners):
            if owner is job:
                return list(self.rows.tokens[row, : int(self.rows.integers[STEP, row])].tolist())
        return []

    @torch.inference_mode()
    def step(self) -> None:
        """Admit what fits, draw one token for every row, report and remove the finished rows."""
        self._admit()
        active = len(self.owners)
        if not active:
            return
        self.cache.begin()
        token_B, position_B = self.rows.integers[TOKEN, :active], self.rows.integers[POSITION, :active]
        logits_BV = self.forward(token_B, position_B, self.cache.attend)
        noise_B = self.rows.next_noise(active)
        token_B, logprob_B = draw(logits_BV, noise_B, self._settings, self._plan, self.allowed_V)
        self.cache.end()
        self.rows.record(token_B, logprob_B)
        self._finish(token_B)

    def _finish(self, token_B: Tensor) -> None:
        stopped_B = token_B == self.end if len(self.end) == 1 else torch.isin(token_B, self.end)
        if self.stop_checks:
            self._check_stops(token_B, stopped_B)
        self._until_limit -= 1
        if self._until_limit and not stopped_B.any():
            return
        self.rows.write()
        done = (stopped_B | (self._left(len(token_B)) <= 0)).nonzero()[:, 0]
        counts = self.rows.integers[STEP, done].tolist()
        finished = []
        for row, n, stopped in zip(done.tolist(), counts, stopped_B[done].tolist(), strict=True):
            tokens, logprobs = self.rows.tokens[row, :n].tolist(), self.rows.logprobs[row, :n].tolist()
            output = Output(tuple(tokens), tuple(logprobs), "stop" if stopped else "length")
            finished.append((*self.owners[row], output))
        self._remove(done.tolist())
        for job, sample, output in finished:
            if not job.cancelled:  # a callback may cancel other jobs
                job.running -= 1
                self._close_lane(job)
                job.done(sample, output)

    def _check_stops(self, token_B: Tensor, stopped_B: Tensor) -> None:
        candidate_B = self.stop_table[self.rows.integers[STOP, : len(token_B)], token_B]
        if not candidate_B.any():
            return
        self.rows.write()
        for row in candidate_B.nonzero()[:, 0].tolist():
            check = self.stop_checks[self.stops[self.owners[row][0].sampling.stop] - 1]
            n = int(self.rows.integers[STEP, row])
            stopped_B[row] |= check.hit(self.rows.tokens[row, max(0, n - check.longest) : n].tolist())

    def _remove(self, gone: Sequence[int]) -> None:
        """Take rows out; rows from the end fill their places."""
        if not gone:
            return
        self.rows.write()
        left, dead = len(self.owners) - len(gone), set(gone)
        target = np.array([row for row in gone if row < left], np.int64)
        source = np.array([row for row in range(left, len(self.owners)) if row not in dead], np.int64)
        self.cache.keep(target, source, left)
        if len(target):
            self.rows.move(torch.from_numpy(target).to(self.device), torch.from_numpy(source).to(self.device))
            for to, old in zip(target.tolist(), source.tolist(), strict=True):
                self.owners[to] = self.owners[old]
        del self.owners[left:]
        self._changed()

    def _changed(self) -> None:
        """Rows came or went: what to skip, and in how many steps the first one reaches its limit."""
        active = len(self.owners)
        self._settings = self.rows.settings(active)
        self._plan = self._settings.plan()
        self._until_limit = int(self._left(active).min()) if active else 0

    def _left(self, active: int) -> Tensor:
        """Tokens each row may still draw, (B,)."""
        return self.rows.integers[LIMIT, :active] - self.rows.integers[STEP, :active]

    def _close_lane(self, job: Job) -> None:
        if job.lane < 0 or job.running or job.waiting:
            return
        moved = self.lanes[self.cache.close_lane(job.lane)]
        self.lanes[job.lane] = moved
        moved.lane = job.lane
        self.lanes.pop()
        job.lane = -1

    def _admit(self) -> None:
        before = len(self.owners)
        if not before and not self.lanes:
            self.cache.reset()
        while self.queue and len(self.owners) < self.capacity:
            if self.queue[0].block is None:
                self._prefill()
            if self.queue[0].shared:
                self._admit_shared(self.queue[0])
            else:
                self._admit_single()
        if len(self.owners) != before:
            self._changed()

    def _prefill(self) -> None:
        """Prefill the jobs at the head of the queue, as many as fit."""
        jobs: list[Job] = []
        width = 1
        for job in self.queue:
            width = max(width, len(job.prompt) - 1)
            if job.block is not None or (jobs and width * (len(jobs) + 1) > TOKENS):
                break
            jobs.append(job)
        block = prefill(self.forward, [job.prompt for job in jobs])
        for entry, job in enumerate(jobs):
            job.block, job.entry = block, entry

    def _admit_shared(self, job: Job) -> None:
        assert job.block is not None
        n = min(self.capacity - len(self.owners), len(job.waiting))
        self.cache.reserve(len(self.owners) + n, 0)
        if job.lane < 0:
            job.lane = self.cache.open_lane(job.block, job.entry, len(job.prompt) - 1)
            self.lanes.append(job)
        self.cache.join_lane(job.lane, n)
        self._join([(job, job.waiting.popleft()) for _ in range(n)])
        if not job.waiting:
            self.queue.popleft()
            job.block = None  # the cache has its own copy

    def _admit_single(self) -> None:
        """The jobs with one sample at the head of the queue that were prefilled together."""
        block = self.queue[0].block
        assert block is not None
        jobs: list[Job] = []
        while (
            self.queue
            and self.queue[0].block is block
            and not self.queue[0].shared
            and len(self.owners) + len(jobs) < self.capacity
        ):
            jobs.append(self.queue.popleft())
        self.cache.reserve(len(self.owners) + len(jobs), block.columns)
        self.cache.join(block, [job.entry for job in jobs], [len(job.prompt) - 1 for job in jobs])
        for job in jobs:
            job.block = None
        self._join([(job, job.waiting.popleft()) for job in jobs])

    def _join(self, samples: Sequence[tuple[Job, int]]) -> None:
        self.rows.write()
        rows = [self._row(job, sample) for job, sample in samples]
        self.rows.reserve(len(self.owners) + len(rows), max(row.limit for row in rows))
        self.rows.join(len(self.owners), rows)
        self.owners.extend(samples)
        for job, _ in samples:
            job.running += 1

    def limit(self, job: Job) -> int:
        """Tokens a sample of the job may have: max_tokens (0: any number), and what the context holds."""
        room = self.model.config.max_context - len(job.prompt)
        return min(job.sampling.max_tokens or room, room)

    def _row(self, job: Job, sample: int) -> Row:
        s, prompt = job.sampling, job.prompt
        return Row(
            token=prompt.tokens[-1],
            position=len(prompt) - 1,
            key=job.keys[sample],
            limit=self.limit(job),
            top_k=s.top_k,
            stop=self.stops[s.stop],
            temperature=s.temperature,
            top_p=s.top_p,
            min_p=s.min_p,
        )
