"""How messages travel: two process groups, one for each direction, so that neither waits for the other."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from consilience.engine.disaggregated.layout import Layout, WorkerLost

START = datetime.timedelta(minutes=5)
"""How long workers wait for the others to start."""
IDLE = datetime.timedelta(days=365)
"""How long FFN workers wait for the next job."""
LOOP = "lo0" if sys.platform == "darwin" else "lo"
LOCAL_ENVIRONMENT = {"GLOO_SOCKET_IFNAME": LOOP, "NCCL_SOCKET_IFNAME": LOOP}
"""Workers of one machine talk over its loop-back interface, whatever its name resolves to."""

T = TypeVar("T")


class Ticket(Protocol):
    """A message on its way."""

    def wait(self) -> None:
        """Returns when the tensor may be read or used again. Raises WorkerLost: the other side is gone or silent."""
        ...


class Links(Protocol):
    """Messages between one worker and the others, by rank. Between two workers, messages of one kind arrive in the
    order in which they were sent; a tensor is not touched before its ticket was waited for."""

    def send(self, rank: int, tensor: Tensor, answer: bool = False) -> Ticket:
        """Begin to send a question, or an answer."""
        ...

    def receive(self, rank: int, tensor: Tensor, answer: bool = False) -> Ticket:
        """Begin to receive a question, or an answer, into `tensor`."""
        ...

    def tell(self, rank: int, numbers: Tensor) -> None:
        """Send what is no data: an announced job, or what was measured. CPU tensor."""
        ...

    def hear(self, rank: int, numbers: Tensor) -> None:
        """Wait without limit for what `tell` sends."""
        ...


class ProcessLinks:
    """`Links` over torch.distributed: gloo between CPUs, nccl between cards, and gloo for what is no data."""

    def __init__(self, layout: Layout, rank: int, rendezvous: str) -> None:
        """Meet the other workers at `rendezvous`, a URL of torch.distributed.

        Raises:
            WorkerLost: they did not come in time.
        """
        self.layout, self.rank = layout, rank
        self.timeout = datetime.timedelta(seconds=layout.timeout_s)
        backend, size = "nccl" if layout.device == "cuda" else "gloo", layout.workers
        try:
            dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size, timeout=START)
            self.control = dist.new_group(backend="gloo", timeout=IDLE)
            self.questions = dist.new_group(backend=backend, timeout=self.timeout)
            self.answers = dist.new_group(backend=backend, timeout=self.timeout)
        except (RuntimeError, ValueError) as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise WorkerLost(
                f"the {layout.name_of(rank)} did not meet the others within {START.seconds // 60} minutes ({why}): "
                "start them again."
            ) from None

    def send(self, rank: int, tensor: Tensor, answer: bool = False) -> Ticket:
        group = self.answers if answer else self.questions
        return _Pending(self, rank, self._tried(rank, lambda: dist.isend(tensor, rank, group=group)))

    def receive(self, rank: int, tensor: Tensor, answer: bool = False) -> Ticket:
        group = self.answers if answer else self.questions
        return _Pending(self, rank, self._tried(rank, lambda: dist.irecv(tensor, rank, group=group)))

    def tell(self, rank: int, numbers: Tensor) -> None:
        self._tried(rank, lambda: dist.send(numbers, rank, group=self.control))

    def hear(self, rank: int, numbers: Tensor) -> None:
        self._tried(rank, lambda: dist.recv(numbers, rank, group=self.control))

    def close(self) -> None:
        """Leave the others."""
        dist.destroy_process_group()

    def wait(self, rank: int, work: dist.Work | None) -> None:
        """Until a message has come through."""
        if work is not None:
            self._tried(rank, lambda: work.wait(self.timeout))

    def _tried(self, rank: int, action: Callable[[], T]) -> T:
        try:
            return action()
        except (RuntimeError, ValueError) as error:
            text = str(error).lower()
            late = "timed out" in text or "timeout" in text
            what = f"was silent for {self.layout.timeout_s:g} s" if late else "is gone"
            remedy = (
                "raise timeout_s if it only needs longer, otherwise start them again" if late else "start them again"
            )
            raise WorkerLost(
                f"the {self.layout.name_of(rank)} {what}, says the {self.layout.name_of(self.rank)}: {remedy}."
            ) from None


class _Pending:
    """A `Ticket` of torch.distributed."""

    def __init__(self, links: ProcessLinks, rank: int, work: dist.Work | None) -> None:
        self.links, self.rank, self.work = links, rank, work

    def wait(self) -> None:
        self.links.wait(self.rank, self.work)


def device_of(layout: Layout, rank: int) -> torch.device:
    """Where a worker computes: the CPU, or the card of its place on this host."""
    if layout.device == "cpu":
        return torch.device("cpu")
    card = torch.device("cuda", rank % torch.cuda.device_count())
    torch.cuda.set_device(card)
    return card
