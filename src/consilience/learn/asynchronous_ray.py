"""Actors as Ray actors, for several machines: the same tasks, schedule and numbers as `asynchronous_processes`.

Weights travel once a version through Ray's object store, which all actors of a machine share. An actor that dies, or
whose machine does, is replaced on any machine that has room.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from consilience.errors import ConsilienceError, InputError, MissingExtra
from consilience.learn.asynchronous import Done, Lost
from consilience.learn.asynchronous_processes import flatten, make_actor, set_weights
from consilience.units import ONE_THREAD

_POLL_S = 0.1


class _RayActor:
    """What runs in a Ray worker."""

    def __init__(self, factory: str, settings: Mapping[str, Any]) -> None:
        torch.set_num_threads(1)
        self._actor = make_actor(factory, settings)

    def sample(self, task: int, weights_W: Any) -> tuple[Any, float]:
        began = time.perf_counter()
        set_weights(self._actor.model, torch.from_numpy(weights_W.copy()))
        return self._actor.sample(task), time.perf_counter() - began


@dataclass
class _Worker:
    name: str
    handle: Any
    task: int | None = None
    reference: Any = None


class RayCrew:
    """Actors in the running Ray cluster (`ray.init()` first; without it a local one is started).

    Args:
        factory, settings, actors, bound: as for `ProcessCrew`; every machine must be able to import the factory.
        resources: what one actor asks for, as Ray's options: {"num_cpus": 1}, {"num_gpus": 0.5}, …

    Raises:
        MissingExtra: ray is not installed.
    """

    def __init__(
        self,
        factory: str,
        settings: Mapping[str, Any],
        actors: int = 2,
        bound: int = 1,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        if actors < 1:
            raise InputError(f"at least one actor is needed, not {actors}.")
        try:
            import ray
        except ImportError:
            raise MissingExtra("a crew of Ray actors", "ray") from None
        self._ray: Any = ray
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
        options = {"num_cpus": 1, "runtime_env": {"env_vars": dict(ONE_THREAD)}, **(resources or {})}
        self._class = ray.remote(**options)(_RayActor)
        self._arguments = (factory, dict(settings))
        self._names = [0] * actors
        self._bound = bound
        self._weights: dict[int, Any] = {}
        self._closed = False
        self._workers = [self._hire(i) for i in range(actors)]

    def idle(self) -> int:
        return sum(w.task is None for w in self._workers)

    def publish(self, version: int, parameters: Sequence[Tensor]) -> None:
        flat_W = torch.empty(sum(p.numel() for p in parameters))
        flatten(parameters, flat_W)
        self._weights[version] = self._ray.put(flat_W.numpy())
        self._weights = {v: reference for v, reference in self._weights.items() if v >= version - self._bound}

    def begin(self, task: int, version: int) -> None:
        worker = next(w for w in self._workers if w.task is None)
        worker.task = task
        worker.reference = worker.handle.sample.remote(task, self._weights[version])

    def wait(self) -> list[Done | Lost]:
        running = {w.reference: i for i, w in enumerate(self._workers) if w.task is not None}
        if not running or self._closed:
            time.sleep(_POLL_S)
            return []
        ready, _ = self._ray.wait(list(running), num_returns=1, timeout=_POLL_S)
        return [self._heard(running[reference]) for reference in ready]

    def close(self) -> None:
        self._closed = True
        for worker in self._workers:
            self._ray.kill(worker.handle)

    def _heard(self, index: int) -> Done | Lost:
        worker = self._workers[index]
        task = worker.task
        assert task is not None
        try:
            rollout, seconds = self._ray.get(worker.reference)
        except self._ray.exceptions.RayActorError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(error, self._ray.exceptions.ActorDiedError) and _failed_to_build(error):
                raise RuntimeError(f"{worker.name} could not be built: {error}") from None
            self._workers[index] = new = self._hire(index)
            return Lost(task, worker.name, type(cause).__name__, new.name)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ConsilienceError):
                raise InputError(str(error.cause)) from None
            raise RuntimeError(f"{worker.name} failed in task {task}:\n{error}") from None
        worker.task = None
        return Done(task, worker.name, rollout, seconds)

    def _hire(self, index: int) -> _Worker:
        self._names[index] += 1
        return _Worker(f"ray-{index}.{self._names[index]}", self._class.remote(*self._arguments))


def _failed_to_build(error: Exception) -> bool:
    return "creation task" in str(error)
