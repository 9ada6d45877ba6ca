"""The FFN worker: keeps nothing between messages; takes tokens, computes its share of a layer, sends its part back.

Shape letters as in engine/disaggregated/wire.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from consilience.engine.disaggregated.layout import Layout, announcement, visits
from consilience.engine.disaggregated.links import Links, Ticket
from consilience.engine.disaggregated.shares import Share
from consilience.engine.disaggregated.wire import Tokens, contracts
from consilience.nn.config import ModelConfig

Visit = tuple[int, tuple[int, ...]]
"""(layer, rows of each attention worker): messages that are computed together."""


class FfnWorker:
    """Serves all attention workers; the tokens that they send for a layer of a micro-batch are one product."""

    def __init__(
        self, config: ModelConfig, shares: Sequence[Share], layout: Layout, links: Links, device: torch.device
    ):
        self.config, self.shares, self.layout, self.links, self.device = config, shares, layout, links, device
        self.contracts = contracts(config, layout.wire, shares[0].dtype)

    def serve(self) -> None:
        """Until all attention workers close.

        Raises:
            WorkerLost: an attention worker died or was silent in the middle of a job.
        """
        while (job := self._next_job()) is not None:
            busy, elapsed = self._run(job)
            for rank in self.layout.attention_ranks:
                self.links.tell(rank, torch.tensor([busy, elapsed], dtype=torch.float64))

    def _next_job(self) -> tuple[list[Visit], int] | None:
        """All messages of the next job, and how many of them belong to prompts; None when there is no more."""
        m, layers = self.layout.micro_batches, len(self.contracts)
        heard = []
        for rank in self.layout.attention_ranks:
            numbers = announcement(0, [0] * m, [0] * m)
            self.links.hear(rank, numbers)
            heard.append(numbers.tolist())
        if not all(numbers[0] for numbers in heard):
            return None
        each = [visits(layers, steps, rows[:m], rows[m:]) for steps, *rows in heard]
        together = [(same[0][0], tuple(rows for _, rows in same)) for same in zip(*each, strict=True)]
        return [visit for visit in together if any(visit[1])], sum(any(r) for _, r in together[: m * (layers - 1)])

    @torch.inference_mode()
    def _run(self, job: tuple[list[Visit], int]) -> tuple[float, float]:
        """Seconds of computing and seconds in all, prompts aside. As many messages as there are micro-batches are
        received ahead, so that one arrives while another is computed."""
        order, prompts = job
        ahead = self.layout.micro_batches
        arriving = [self._expect(visit) for visit in order[:ahead]]
        leaving: list[list[tuple[Ticket, Tensor]]] = []
        busy, start = 0.0, time.perf_counter()
        for number, visit in enumerate(order):
            if number == prompts:
                busy, start = 0.0, time.perf_counter()
            tokens = self._arrived(visit, arriving.pop(0))
            if number + ahead < len(order):
                arriving.append(self._expect(order[number + ahead]))
            begin = time.perf_counter()
            y_ND = self.shares[visit[0]](tokens)
            message = self.contracts[visit[0]].answer(y_ND)
            busy += time.perf_counter() - begin
            leaving.append(self._answer(visit, message))
            if len(leaving) > ahead:
                for ticket, _ in leaving.pop(0):
                    ticket.wait()
        for tickets in leaving:
            for ticket, _ in tickets:
                ticket.wait()
        return busy, time.perf_counter() - start

    def _expect(self, visit: Visit) -> list[tuple[Ticket, Tensor]]:
        layer, rows = visit
        width, expected = self.contracts[layer].question_bytes, []
        for rank, n in zip(self.layout.attention_ranks, rows, strict=True):
            if n:
                message = torch.empty(n, width, dtype=torch.uint8, device=self.device)
                expected.append((self.links.receive(rank, message), message))
        return expected

    def _arrived(self, visit: Visit, expected: Sequence[tuple[Ticket, Tensor]]) -> Tokens:
        for ticket, _ in expected:
            ticket.wait()
        messages = [message for _, message in expected]
        return self.contracts[visit[0]].read(torch.cat(messages) if len(messages) > 1 else messages[0])

    def _answer(self, visit: Visit, message: Tensor) -> list[tuple[Ticket, Tensor]]:
        parts = message.split(list(visit[1]))
        return [
            (self.links.send(rank, part, answer=True), part)
            for rank, part in zip(self.layout.attention_ranks, parts, strict=True)
            if len(part)
        ]
