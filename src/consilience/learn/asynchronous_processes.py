"""Actors in processes of this machine; weights reach them through shared memory.

The learner writes version v into slot v mod (bound + 1) of one block that all actors map. A slot is written again only
when no task of its old version is left, which the staleness bound guarantees; so a task that is repeated after
an actor's death is repeated with the same weights.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from consilience.errors import ConsilienceError, InputError
from consilience.learn.asynchronous import Done, Lost
from consilience.learn.rollout import Rollout
from consilience.units import ONE_THREAD

PRELOADED = ("consilience.engine", "consilience.learn.rollout")
"""Imported once by the server that forks actors, so that each starts, and is replaced, in milliseconds."""


@dataclass(frozen=True)
class Actor:
    """What an actor's process builds once. model: its parameters are set before every task, in the order and shapes
    of the learner's. sample(task): a rollout that follows from the task's number and the weights alone (an engine must
    `refresh` first)."""

    model: nn.Module
    sample: Callable[[int], Rollout]


def make_actor(factory: str, settings: Mapping[str, Any]) -> Actor:
    """Call "module:function" with the settings."""
    module, _, name = factory.partition(":")
    found: Actor = getattr(importlib.import_module(module), name)(settings)
    return found


@torch.no_grad()
def set_weights(model: nn.Module, flat_W: Tensor) -> None:
    """Copy a flat vector of all parameters, one after another, into a model.

    Raises:
        InputError: the model has another number of parameters.
    """
    parameters = list(model.parameters())
    sizes = [p.numel() for p in parameters]
    if sum(sizes) != len(flat_W):
        raise InputError(f"the actor's model has {sum(sizes)} parameters, the learner's {len(flat_W)}: build the same.")
    for parameter, piece in zip(parameters, flat_W.split(sizes), strict=True):
        parameter.copy_(piece.view_as(parameter))


def flatten(parameters: Sequence[Tensor], out: Tensor) -> None:
    """Write all parameters one after another into a float32 vector."""
    with torch.no_grad():
        for piece, p in zip(out.split([p.numel() for p in parameters]), parameters, strict=True):
            piece.copy_(p.reshape(-1))


@dataclass
class _Worker:
    name: str
    process: Any
    connection: Connection
    lifeline: Connection
    task: int | None = None
    ready: bool = False


class ProcessCrew:
    """Actors that this machine runs, one process and one thread each. An actor that dies is replaced.

    Args:
        factory: "module:function", called as function(settings) → `Actor` in each process.
        settings: JSON-able.
        actors: processes.
        bound: the schedule's; bound + 1 versions of the weights are held, in float32.
    """

    def __init__(self, factory: str, settings: Mapping[str, Any], actors: int = 2, bound: int = 1) -> None:
        if actors < 1:
            raise InputError(f"at least one actor is needed, not {actors}.")
        self._factory, self._settings = factory, dict(settings)
        self._actors, self._slots = actors, bound + 1
        self._weights: Tensor | None = None
        self._workers: list[_Worker] = []
        self._names = [0] * actors
        self._closed = False
        self._swapping = threading.Lock()

    def idle(self) -> int:
        return sum(w.task is None for w in self._workers)

    def publish(self, version: int, parameters: Sequence[Tensor]) -> None:
        if self._weights is None:
            size = sum(p.numel() for p in parameters)
            self._weights = torch.zeros(self._slots, size).share_memory_()
            self._workers = [self._hire(i) for i in range(self._actors)]
        flatten(parameters, self._weights[version % self._slots])

    def begin(self, task: int, version: int) -> None:
        with self._swapping:
            worker = next(w for w in self._workers if w.task is None)
            worker.task = task
            with contextlib.suppress(OSError):  # it is dead: `wait` reports the task as lost
                worker.connection.send((task, version % self._slots))

    def wait(self) -> list[Done | Lost]:
        events: list[Done | Lost] = []
        by_connection = {w.connection: i for i, w in enumerate(self._workers)}
        for connection in wait(list(by_connection)):
            index = by_connection[connection]  # type: ignore[index]
            try:
                message = self._workers[index].connection.recv()
            except (EOFError, OSError):
                if self._closed:
                    return []
                events.append(self._replace(index))
            else:
                events += self._heard(self._workers[index], message)
        return events

    def close(self) -> None:
        self._closed = True
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.lifeline.close()

    def _heard(self, worker: _Worker, message: tuple[Any, ...]) -> list[Done | Lost]:
        kind, *data = message
        match kind:
            case "ready":
                worker.ready = True
                return []
            case "done":
                worker.task = None
                return [Done(data[0], worker.name, data[1], data[2])]
            case "refused":
                raise InputError(data[0])
        raise RuntimeError(f"{worker.name} failed in task {worker.task}:\n{data[0]}")

    def _replace(self, index: int) -> Lost:
        old = self._workers[index]
        old.process.join()
        reason = f"exit {old.process.exitcode}"
        if not old.ready and old.task is None:
            raise RuntimeError(f"{old.name} died before it was ready ({reason})")
        new = self._hire(index)
        with self._swapping:  # no task may reach the old one between these lines
            self._workers[index] = new
            task = old.task
            old.connection.close()
            old.lifeline.close()
        return Lost(task, old.name, reason, new.name)

    def _hire(self, index: int) -> _Worker:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        ours, theirs = context.Pipe()
        end, lifeline = context.Pipe(duplex=False)
        self._names[index] += 1
        name = f"actor-{index}.{self._names[index]}"
        arguments = (theirs, end, self._factory, self._settings, self._weights)
        before = {key: os.environ.get(key) for key in ONE_THREAD}
        os.environ.update(ONE_THREAD)  # the server that forks actors reads it at start-up
        try:
            process = context.Process(target=_act, args=arguments, name=name, daemon=True)
            process.start()
        finally:
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)
        theirs.close()
        end.close()
        return _Worker(name, process, ours, lifeline)


def _act(
    connection: Connection, lifeline: Connection, factory: str, settings: Mapping[str, Any], weights_SW: Tensor
) -> None:
    """An actor's life: build, then sample whatever it is told."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    try:
        actor = make_actor(factory, settings)
        connection.send(("ready",))
        while True:
            task, slot = connection.recv()
            began = time.perf_counter()
            set_weights(actor.model, weights_SW[slot])
            rollout = actor.sample(task)
            connection.send(("done", task, rollout, time.perf_counter() - began))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except ConsilienceError as error:
        connection.send(("refused", str(error)))
    except BaseException:
        connection.send(("failed", traceback.format_exc()))


def _end_with(lifeline: Connection) -> None:
    """End this process as soon as the learner's is gone: a killed run must not go on in the dark."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)
