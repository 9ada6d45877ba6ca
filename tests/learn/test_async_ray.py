"""Ray actors give the numbers that processes give, and are replaced when they die.

The crew runs against a scripted stand-in for the calls of Ray everywhere, and against a real cluster in the slow tests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import learn_actors
import pytest
import torch
from learn_helpers import learner

from consilience.engine import Engine
from consilience.errors import InputError, MissingExtra
from consilience.learn.asynchronous import Lost, Rollouts, Schedule
from consilience.learn.asynchronous_ray import RayCrew

DEFECTS = pytest.mark.parametrize(
    ("settings", "error", "words"),
    [({"refuse": 0}, InputError, "choose another"), ({"fail": 1}, RuntimeError, "a defect in the sampler")],
)


class ActorDied(Exception):
    """Stands for ray.exceptions.ActorDiedError."""


class TaskFailed(Exception):
    """Stands for ray.exceptions.RayTaskError."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Reference(tuple):  # type: ignore[type-arg]
    """Compared by identity, as Ray's are."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class ScriptedRay:
    """The calls that a crew makes, answered in this process. The actor that first meets task `dies` dies of it."""

    exceptions = SimpleNamespace(RayActorError=ActorDied, ActorDiedError=ActorDied, RayTaskError=TaskFailed)

    def __init__(self, dies: int = -1) -> None:
        self.dies, self.options, self.alive, self.puts = dies, {}, 0, 0  # type: ignore[var-annotated]

    def is_initialized(self) -> bool:
        return True

    def remote(self, **options: Any) -> Callable[[type], Any]:
        self.options = options
        return lambda kind: SimpleNamespace(remote=lambda *arguments: self._hire(kind(*arguments)))

    def _hire(self, inner: Any) -> Any:
        self.alive += 1
        return SimpleNamespace(sample=SimpleNamespace(remote=lambda *a: Reference((inner, *a))))

    def put(self, value: Any) -> Any:
        self.puts += 1
        value.setflags(write=False)  # as in the object store
        return value

    def wait(self, references: Sequence[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return list(references[-num_returns:]), list(references[:-num_returns])

    def get(self, reference: Any) -> Any:
        inner, task, weights = reference
        if task == self.dies:
            self.dies, self.alive = -1, self.alive - 1
            raise ActorDied("the worker was killed")
        try:
            return inner.sample(task, weights)
        except Exception as error:
            raise TaskFailed(error) from error

    def kill(self, handle: Any) -> None:
        self.alive -= 1


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedRay:
    found = ScriptedRay(dies=3)
    monkeypatch.setitem(sys.modules, "ray", found)  # type: ignore[arg-type]
    return found


def follow(crew: RayCrew) -> list[Lost]:
    """Three updates whose rollouts must be those of the weights that the schedule names; the actors lost."""
    schedule = Schedule(3, parts=2, bound=1)
    own = learner(learn_actors.model_of(0))
    history, losses = [], []
    with Rollouts(crew, schedule) as rollouts:
        for update in range(3):
            history.append(learn_actors.model_of(update))
            own.model.load_state_dict(history[-1].state_dict())
            delivery = rollouts.take(update, own.model)
            engine = Engine(history[schedule.version(update)], rows=4, dtype=torch.float32)
            expected = [learn_actors.roll_out(engine, 2 * update + part) for part in range(2)]
            assert [g.responses for r in expected for g in r.groups] == [g.responses for g in delivery.rollout.groups]
            losses += delivery.losses
    return losses


def test_a_crew_samples_what_the_schedule_names_and_survives_a_death(scripted: ScriptedRay) -> None:
    (loss,) = follow(RayCrew("learn_actors:make", {}, 2, 1, resources={"num_cpus": 0.5}))
    assert (loss.task, loss.reason) == (3, "ActorDied")
    assert loss.successor == loss.actor.replace(".1", ".2")
    assert (scripted.alive, scripted.puts, scripted.options["num_cpus"]) == (0, 3, 0.5)


@DEFECTS
def test_what_goes_wrong_in_an_actor_is_told(
    settings: dict[str, Any], error: type[Exception], words: str, scripted: ScriptedRay
) -> None:
    with pytest.raises(error, match=words), Rollouts(RayCrew("learn_actors:make", settings, 1), Schedule(2)) as found:
        found.take(0, learn_actors.model_of(0))
    assert scripted.alive == 0


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"consilience\[ray\]"):
        RayCrew("learn_actors:make", {})
    with pytest.raises(InputError, match="at least one actor"):
        RayCrew("learn_actors:make", {}, 0)


@pytest.fixture
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    options: dict[str, Any] = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": paths}}, **options)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_real_cluster(cluster: None, tmp_path: Path) -> None:
    settings = {"die": 3, "times": 1, "directory": str(tmp_path)}
    assert [loss.task for loss in follow(RayCrew("learn_actors:make", settings, 2, 1))] == [3]


@pytest.mark.slow
@DEFECTS
def test_what_goes_wrong_in_a_real_cluster(
    settings: dict[str, Any], error: type[Exception], words: str, cluster: None
) -> None:
    with pytest.raises(error, match=words), Rollouts(RayCrew("learn_actors:make", settings, 1), Schedule(2)) as found:
        found.take(0, learn_actors.model_of(0))
