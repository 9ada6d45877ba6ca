"""One worker from start to end: read a share, meet the others, work. The same for processes here and for Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from consilience.engine.disaggregated.attention import AttentionWorker
from consilience.engine.disaggregated.ffn import FfnWorker
from consilience.engine.disaggregated.layout import Decoded, Job, Layout, announcement
from consilience.engine.disaggregated.links import ProcessLinks, device_of
from consilience.engine.disaggregated.shares import attention_side, ffn_side


class Worker:
    """Rank `rank` of a layout, with its share of the house checkpoint at `checkpoint`.

    Raises:
        InputError, CheckpointMismatch: the checkpoint cannot be used. WorkerLost: the others did not come.
    """

    def __init__(self, layout: Layout, rank: int, checkpoint: Path, rendezvous: str) -> None:
        torch.set_num_threads(layout.threads)
        device = device_of(layout, rank)
        self.layout, self.attention, self.ffn = layout, None, None
        if rank in layout.attention_ranks:
            model = attention_side(checkpoint, device)
            self.links = ProcessLinks(layout, rank, rendezvous)
            self.attention = AttentionWorker(model, layout, self.links)
        else:
            config, shares = ffn_side(checkpoint, device, rank - layout.attention, layout.ffn, layout.split)
            self.links = ProcessLinks(layout, rank, rendezvous)
            self.ffn = FfnWorker(config, shares, layout, self.links, device)

    def decode(self, job: Job) -> Decoded:
        """Of an attention worker: carry out a job. Raises WorkerLost."""
        assert self.attention is not None, "FFN workers decode nothing"
        return self.attention.decode(job)

    def serve(self) -> None:
        """Of an FFN worker: answer until all attention workers close. Raises WorkerLost."""
        assert self.ffn is not None, "attention workers serve nobody"
        self.ffn.serve()
        self.links.close()

    def close(self) -> None:
        """Of an attention worker: tell the FFN workers that no job follows."""
        nothing = [0] * self.layout.micro_batches
        for rank in self.layout.ffn_ranks:
            self.links.tell(rank, announcement(0, nothing, nothing))
        self.links.close()


def work(worker: Worker, next_job: Callable[[], Job | None], done: Callable[[Decoded | None], None]) -> None:
    """Serve, or carry out jobs until there is none; `done` hears None when one has arrived, and then its result."""
    if worker.ffn is not None:
        worker.serve()
        return
    while (job := next_job()) is not None:
        done(None)
        done(worker.decode(job))
    worker.close()
