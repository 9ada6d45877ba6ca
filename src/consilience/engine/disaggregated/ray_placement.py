"""Disaggregated decoding over several hosts: Ray places one actor a worker; needs the extra `ray`.

The workers and their messages are those of one machine; Ray starts them where there is room, tells them where to meet,
and says when one is lost. Every host must see the checkpoint under the same path.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from consilience.engine.disaggregated.layout import Decoded, Job, Layout, WorkerLost, gathered, jobs
from consilience.engine.disaggregated.shares import config_of
from consilience.errors import ConsilienceError, InputError, MissingExtra
from consilience.protocols import Sampling

_PATIENCE = 300.0
"""Seconds for Ray to find room for all workers and for these to read their shares."""


class _Actor:
    """A worker inside a Ray actor. Expected failures come back as values, so that their sentence survives."""

    def address(self) -> str:
        """Where workers can meet: a free port of this actor's host."""
        import ray

        host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def start(self, layout: Layout, rank: int, checkpoint: Path, rendezvous: str) -> ConsilienceError | None:
        from consilience.engine.disaggregated.worker import Worker

        try:
            self.worker = Worker(layout, rank, checkpoint, rendezvous)
        except ConsilienceError as error:
            return error
        return None

    def decode(self, job: Job) -> Decoded | ConsilienceError:
        try:
            return self.worker.decode(job)
        except ConsilienceError as error:
            return error

    def serve(self) -> ConsilienceError | None:
        try:
            self.worker.serve()
        except ConsilienceError as error:
            return error
        return None

    def close(self) -> None:
        self.worker.close()


class RayDisaggregated:
    """As `Disaggregated`, with a Ray actor a worker, spread over the hosts of the cluster that `ray.init` joined.

    Args:
        cpus: cores that Ray sets aside for each worker; on cards each also has a card of its own.

    Raises:
        MissingExtra: Ray is not installed. InputError: it was not started, or the checkpoint cannot be used.
        WorkerLost: there is no room for all workers, or one did not start.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], layout: Layout = Layout(), cpus: float = 1.0) -> None:
        try:
            import ray
            from ray.util.placement_group import placement_group
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
        except ImportError:
            raise MissingExtra("placement over several hosts", "ray") from None
        if not ray.is_initialized():
            raise InputError("Ray is not running here: call ray.init() first, with the cluster's address.")
        self.layout, self.config = layout, config_of(Path(checkpoint))
        resources = {"CPU": cpus, **({"GPU": 1.0} if layout.device == "cuda" else {})}
        self._group = placement_group([resources] * layout.workers, strategy="SPREAD")
        self._actors: list[Any] = []
        self._serving: list[Any] = []
        try:
            if not self._group.wait(_PATIENCE):
                raise WorkerLost(f"Ray finds no room for {layout.workers} workers of {resources}: add hosts.")
            actor = ray.remote(_Actor)
            for rank in range(layout.workers):
                strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
                options = {"num_cpus": cpus, "num_gpus": resources.get("GPU", 0), "scheduling_strategy": strategy}
                self._actors.append(actor.options(**options).remote())
            rendezvous = ray.get(self._actors[0].address.remote(), timeout=_PATIENCE)
            path = Path(checkpoint).resolve()
            self._get(
                [a.start.remote(layout, rank, path, rendezvous) for rank, a in enumerate(self._actors)], _PATIENCE
            )
            self._serving = [self._actors[rank].serve.remote() for rank in layout.ffn_ranks]
        except BaseException:
            self._end()
            raise

    def decode(self, prompts: Sequence[Sequence[int]], sampling: Sampling, logits: bool = False) -> Decoded:
        """As `Disaggregated.decode`."""
        if not self._actors:
            raise InputError("the workers have been ended: open RayDisaggregated again.")
        asked = jobs(self.layout, self.config, prompts, sampling, logits)
        return gathered(self._get([actor.decode.remote(job) for actor, job in zip(self._actors, asked, strict=False)]))

    def close(self) -> None:
        """End the workers and give their places back."""
        import ray

        if self._actors:
            ray.wait([self._actors[rank].close.remote() for rank in self.layout.attention_ranks], timeout=5)
            ray.wait(self._serving, num_returns=len(self._serving), timeout=5)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if kind is None else self._end()

    def _get(self, answers: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """The values of all; ends everything when one of them or an FFN worker is lost."""
        import ray

        values: dict[int, Any] = {}
        while len(values) < len(answers):
            missing = [answer for i, answer in enumerate(answers) if i not in values]
            ready, _ = ray.wait([*missing, *self._serving], timeout=timeout)
            if not ready:
                self._fail(f"the workers did not start within {timeout:g} s: look at Ray's logs.")
            for done in ready:
                try:
                    value = ray.get(done)
                except ray.exceptions.RayError as error:
                    rank = self._rank(answers, done)
                    kind = type(error).__name__
                    self._fail(f"the {self.layout.name_of(rank)} died ({kind}): look at Ray's logs and start again.")
                if isinstance(value, ConsilienceError):
                    self._end()
                    raise value
                if done in missing:
                    values[list(answers).index(done)] = value
        return [values[i] for i in range(len(answers))]

    def _rank(self, answers: Sequence[Any], done: Any) -> int:
        if done in self._serving:
            return self.layout.attention + self._serving.index(done)
        return list(answers).index(done)

    def _fail(self, sentence: str) -> NoReturn:
        self._end()
        raise WorkerLost(sentence)

    def _end(self) -> None:
        import ray
        from ray.util.placement_group import remove_placement_group

        for actor in self._actors:
            ray.kill(actor)
        self._actors, self._serving = [], []
        remove_placement_group(self._group)
