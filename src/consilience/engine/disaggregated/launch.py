"""Disaggregated decoding on this machine: one process a worker, watched, and ended together."""

from __future__ import annotations

import multiprocessing as mp
import os
import tempfile
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from consilience.engine.disaggregated.layout import Decoded, Job, Layout, WorkerLost, gathered, jobs
from consilience.engine.disaggregated.links import LOCAL_ENVIRONMENT, START
from consilience.engine.disaggregated.shares import config_of
from consilience.errors import ConsilienceError, InputError
from consilience.nn.checkpoint import save_model
from consilience.nn.decoder import Decoder
from consilience.protocols import Sampling

_WORKER = "consilience.engine.disaggregated.worker"
_GRACE = 5.0
"""Seconds that workers have for leaving, and for telling why they failed."""


class Disaggregated:
    """A decoder whose attention and feed-forward parts run in processes of their own; a context manager.

    Args:
        model: a decoder (stored in a temporary directory for the workers), or the directory of a house checkpoint.

    Raises:
        InputError: no such checkpoint, no language model, or a layout it cannot be cut into.
        WorkerLost: a worker did not start.
    """

    def __init__(self, model: Decoder | str | os.PathLike[str], layout: Layout = Layout()) -> None:
        self.layout = layout
        self._scratch = tempfile.TemporaryDirectory(prefix="consilience-afd-")
        scratch = Path(self._scratch.name)
        self._workers: list[tuple[Any, Connection]] = []
        try:
            checkpoint = Path(model) if isinstance(model, str | os.PathLike) else scratch / "model"
            if isinstance(model, Decoder):
                save_model(model, checkpoint)
            self.config = config_of(checkpoint)
            self._start(checkpoint.resolve(), (scratch / "rendezvous").as_uri())
        except BaseException:
            self._end()
            raise

    def decode(self, prompts: Sequence[Sequence[int]], sampling: Sampling, logits: bool = False) -> Decoded:
        """One response a prompt. Prompt i draws with seed + i, as the engine does; rows stay together to the end.

        Args:
            sampling: `max_tokens` steps are taken; stop strings are not known here.
            logits: keep the raw logits of every step.

        Raises:
            InputError: a prompt or parameter that cannot be decoded; nothing has run then.
            WorkerLost: a worker died, failed or was silent for too long; all have been ended.
        """
        if not self._workers:
            raise InputError("the workers have been ended: open Disaggregated again.")
        for rank, job in enumerate(jobs(self.layout, self.config, prompts, sampling, logits)):
            self._send(rank, job)
        self._hear(list(self.layout.attention_ranks), self.layout.timeout_s)  # that the job has arrived
        return gathered(self._hear(list(self.layout.attention_ranks)))

    def close(self) -> None:
        """End the workers; a second time does nothing."""
        for rank in self.layout.attention_ranks if self._workers else ():
            self._send(rank, None)
        for process, _ in self._workers:
            process.join(_GRACE)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if kind is None else self._end()

    def _start(self, checkpoint: Path, rendezvous: str) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload([_WORKER])  # torch is imported once, before any thread or card is in use
        for rank in range(self.layout.workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_child, args=(theirs, self.layout, rank, checkpoint, rendezvous), daemon=True
            )
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        self._hear(list(range(self.layout.workers)), 2 * START.total_seconds())

    def _send(self, rank: int, job: Job | None) -> None:
        try:
            self._workers[rank][1].send(job)
        except OSError:
            self._fail(rank)

    def _hear(self, ranks: list[int], patience: float | None = None) -> list[Any]:
        """One message of each of these workers, each within `patience` seconds of another; meanwhile nobody may die."""
        heard: dict[int, Any] = {}
        while len(heard) < len(ranks):
            ready = wait([c for _, c in self._workers] + [p.sentinel for p, _ in self._workers], patience)
            if not ready:
                silent = self.layout.name_of(min(set(ranks) - heard.keys()))
                self._fail(0, "lost", f"the {silent} was silent for {patience:g} s: start the workers again.")
            for rank, (process, connection) in enumerate(self._workers):
                if connection in ready:
                    heard[rank] = self._message(rank)
                elif process.sentinel in ready:
                    self._fail(rank)
        return [heard[rank] for rank in ranks]

    def _message(self, rank: int) -> Any:
        try:
            kind, content = self._workers[rank][1].recv()
        except (EOFError, OSError):
            self._fail(rank)
        if kind != "done":
            self._fail(rank, kind, content)
        return content

    def _fail(self, rank: int, kind: str = "died", content: str = "") -> NoReturn:
        """End everything and raise what went wrong: a death rather than what others say of it."""
        dead = wait([p.sentinel for p, _ in self._workers], 0.0 if kind == "died" else _GRACE)
        for other, (process, _) in enumerate(self._workers):
            if process.sentinel in dead and process.exitcode:
                rank, kind = other, "died"
        process, name = self._workers[rank][0], self.layout.name_of(rank)
        process.join(_GRACE if kind == "died" else 0)
        code = process.exitcode
        self._end()
        if kind == "refused":
            raise InputError(content)
        if kind == "died":
            raise WorkerLost(f"the {name} died (exit code {code}): look at its output and start the workers again.")
        raise WorkerLost(content if kind == "lost" else f"the {name} failed: {content}")

    def _end(self) -> None:
        for process, _ in self._workers:
            process.kill()
        for process, connection in self._workers:
            process.join()
            connection.close()
        self._workers = []
        self._scratch.cleanup()


def _child(connection: Connection, layout: Layout, rank: int, checkpoint: Path, rendezvous: str) -> None:
    from consilience.engine.disaggregated.worker import Worker, work

    os.environ.update({k: v for k, v in LOCAL_ENVIRONMENT.items() if k not in os.environ})
    try:
        worker = Worker(layout, rank, checkpoint, rendezvous)
        connection.send(("done", None))

        def next_job() -> Job | None:
            job: Job | None = connection.recv()
            return job

        work(worker, next_job, lambda decoded: connection.send(("done", decoded)))
    except (EOFError, KeyboardInterrupt):
        pass  # the parent is gone
    except WorkerLost as error:
        connection.send(("lost", str(error)))
    except ConsilienceError as error:
        connection.send(("refused", str(error)))
    except Exception:
        connection.send(("failed", traceback.format_exc()))
