"""Actors sample with weights that lag behind while the learner learns: bounded staleness, reproducible, replayable.

A *task* is a numbered piece of sampling: what it draws follows from its number and the weights alone. An *update*
trains on `parts` tasks. *Version* v of the weights is what the learner has after v updates; a rollout trained in update
u and drawn by version v is u − v updates stale, and never more than the schedule's bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor, nn

from consilience.errors import ConsilienceError, InputError
from consilience.files import read_jsonl
from consilience.learn.off_policy import staleness
from consilience.learn.rollout import Rollout, merge

MOST_LOSSES = 3
"""Actors that one task may take down before the run stops."""


@dataclass(frozen=True)
class Schedule:
    """When what is sampled.

    total: updates. parts: tasks an update. bound: updates that the weights of a rollout may be behind; 0 is the
    synchronous loop. drain: at every multiple of it nothing is under way, so that a checkpoint taken there (make
    `Stage.save_every` a multiple) is all that a resumed run needs. by_arrival: an update takes what is ready first
    instead of its own tasks; better where lengths are uneven, and repeated only from the log of arrivals (`replay`).

    Raises:
        InputError: a count is too small.
    """

    total: int
    parts: int = 2
    bound: int = 1
    drain: int = 20
    by_arrival: bool = False

    def __post_init__(self) -> None:
        if self.total < 0 or self.parts < 1 or self.bound < 0 or self.drain < 1:
            raise InputError("a schedule needs total ≥ 0, parts ≥ 1, bound ≥ 0 and drain ≥ 1.")

    def version(self, update: int) -> int:
        """The weights that sample for an update when tasks are taken in order."""
        return max(update - self.bound, update - update % self.drain)

    def end(self, update: int) -> int:
        """The number of the first task that may not start before the next drain."""
        return self.parts * min(self.total, (update // self.drain + 1) * self.drain)


@dataclass(frozen=True)
class Arrival:
    """A task as it was trained on: which weights drew it, in which update it was used, who drew it, in what order the
    tasks came (`rank`, from 0) and how long it took."""

    task: int
    version: int
    update: int
    rank: int
    actor: str
    seconds: float

    def record(self) -> dict[str, Any]:
        """What a line of the log holds."""
        return {**{k: v for k, v in vars(self).items() if k != "seconds"}, "sampling_s": round(self.seconds, 4)}


Plan = Mapping[int, tuple[int, int]]
"""Task → (version that draws it, update that uses it)."""


def replay(path: Path) -> dict[int, tuple[int, int]]:
    """The plan of a recorded run, so that another one takes the same tasks in the same updates.

    Raises:
        InputError: the file is missing or no log of arrivals.
    """
    try:
        tasks = [r for r in read_jsonl(path) if "lost" not in r]
        return {int(r["task"]): (int(r["version"]), int(r["update"])) for r in tasks}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is no log of arrivals: give the arrivals.jsonl of an asynchronous run.") from None


def in_order(schedule: Schedule) -> dict[int, tuple[int, int]]:
    """The plan of a schedule without `by_arrival`: every update has its own tasks, whoever is ready first."""
    updates = ((task, task // schedule.parts) for task in range(schedule.total * schedule.parts))
    return {task: (schedule.version(update), update) for task, update in updates}


def newest_allowed(versions: Iterable[int], update: int, need: int, schedule: Schedule) -> int:
    """The newest version that an update may take next so that no outstanding task misses the bound.

    Args:
        versions: of all tasks that were started and not used.
        need: tasks that this update still takes, at least 1.
    """
    started = list(versions)
    for ahead in range(schedule.bound):
        oldest = update + ahead - schedule.bound
        if sum(v <= oldest for v in started) >= need + ahead * schedule.parts:
            return oldest
    return update


@dataclass(frozen=True)
class Done:
    """A task was sampled."""

    task: int
    actor: str
    rollout: Rollout
    seconds: float


@dataclass(frozen=True)
class Lost:
    """An actor died, with its task or idle (None), and another one has taken its place."""

    task: int | None
    actor: str
    reason: str
    successor: str

    def record(self, update: int) -> dict[str, Any]:
        """What a line of the log holds."""
        return {"update": update, "lost": self.actor, **{k: v for k, v in vars(self).items() if k != "actor"}}


class Crew(Protocol):
    """Actors: processes of this machine (`asynchronous_processes`) or of a cluster (`asynchronous_ray`)."""

    def idle(self) -> int:
        """Actors without a task."""
        ...

    def publish(self, version: int, parameters: Sequence[Tensor]) -> None:
        """Hand over the weights of a version, and forget those that no task may use any more; the first call hires."""
        ...

    def begin(self, task: int, version: int) -> None:
        """Let an idle actor sample a task with the weights of a version."""
        ...

    def wait(self) -> list[Done | Lost]:
        """Block until something happens; empty after `close` or for no reason.

        Raises:
            ConsilienceError: an actor refused its task. RuntimeError: it failed.
        """
        ...

    def close(self) -> None:
        """End all actors."""
        ...


@dataclass(frozen=True)
class Delivery:
    """What one update trains on. arrivals: of its tasks, by number. versions: of the weights that drew each response.
    waited_s: seconds the learner stood still. queued: rollouts that were ready and left for later updates. losses:
    actors that died since the last delivery."""

    rollout: Rollout
    arrivals: tuple[Arrival, ...]
    versions: tuple[int, ...]
    waited_s: float
    queued: int
    losses: tuple[Lost, ...]

    def numbers(self) -> dict[str, float]:
        """For the metrics: staleness (mean, max, fresh share) over responses, and seconds waited."""
        stale = staleness(self.versions, self.arrivals[0].update)
        return {**stale, "waited_s": round(self.waited_s, 4)}

    def records(self) -> list[dict[str, Any]]:
        """For the log of arrivals, which holds what depends on the clock: a line for each task, and for each death."""
        update = self.arrivals[0].update
        tasks = [{**a.record(), "queued": self.queued} for a in self.arrivals]
        return tasks + [loss.record(update) for loss in self.losses]


class Rollouts:
    """Feeds a learner from a crew, in a thread that waits for actors while the learner computes.

        with Rollouts(crew, schedule) as rollouts:
            def body(step):
                batch = rollouts.take(step, actor.model)
                run.append("arrivals.jsonl", batch.records())
                return {**mis_po_update(actor, critic, batch.rollout, config, 1e-4, 1e-3), **batch.numbers()}
            carry_out(run, Stage("rl", schedule.total, schedule.drain), learners, body)

    Args:
        plan: take this plan (`replay`) instead of the schedule's own.
    """

    def __init__(self, crew: Crew, schedule: Schedule, plan: Plan | None = None) -> None:
        self.crew, self.schedule = crew, schedule
        self._plan = plan if plan is not None else (None if schedule.by_arrival else in_order(schedule))
        if self._plan is not None:
            _check(self._plan, schedule)
        self._changed = threading.Condition()
        self._version = -1
        self._need = 0
        self._next = 0
        self._started: dict[int, int] = {}
        self._ready: dict[int, tuple[Done, int]] = {}
        self._losses: list[Lost] = []
        self._deaths: dict[int, int] = {}
        self._again: list[int] = []
        self._ranks = 0
        self._error: BaseException | None = None
        self._closed = False
        self._feeder = threading.Thread(target=self._feed, name="rollouts", daemon=True)

    def take(self, update: int, model: nn.Module) -> Delivery:
        """Publish the model's weights as version `update`, let sampling go on, and return what this update trains on.

        Blocks until it is there. The merged rollout is in the order of task numbers.

        Raises:
            InputError: updates do not follow one another, or a run resumes between two drains.
            RuntimeError: an actor failed, or several died over one task.
        """
        began = time.perf_counter()
        schedule = self.schedule
        if not 0 <= update < schedule.total:
            raise InputError(f"update {update} is not among the {schedule.total} updates of this schedule.")
        with self._changed:
            if self._version < 0:
                self._resume_at(update)
            elif update != self._version + 1:
                raise InputError(f"update {update} cannot follow update {self._version}: take them one after another.")
            self.crew.publish(update, [p.detach() for p in model.parameters()])
            if self._version < 0:
                self._feeder.start()
            self._version, self._need = update, schedule.parts
            taken: list[tuple[Done, Arrival]] = []
            while self._need:
                self._raise()
                self._dispatch()
                found = self._choose()
                if found is None:
                    self._changed.wait()
                else:
                    taken.append(self._use(found))
            self._dispatch()
            losses, self._losses = tuple(self._losses), []
            queued = len(self._ready)
        taken.sort(key=lambda pair: pair[1].task)
        versions = tuple(arrival.version for done, arrival in taken for _ in done.rollout.verdicts)
        rollout, arrivals = merge([done.rollout for done, _ in taken]), tuple(arrival for _, arrival in taken)
        return Delivery(rollout, arrivals, versions, time.perf_counter() - began, queued, losses)

    def close(self) -> None:
        """End the actors; a crew serves one `Rollouts`."""
        with self._changed:
            self._closed = True
        self.crew.close()
        if self._feeder.is_alive():
            self._feeder.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resume_at(self, update: int) -> None:
        if update % self.schedule.drain:
            raise InputError(
                f"update {update} lies between two drains (every {self.schedule.drain} updates), where rollouts were "
                "under way: save checkpoints at multiples of `drain` only."
            )
        self._next = update * self.schedule.parts

    def _choose(self) -> int | None:
        """The task to use next, or None while it is not ready."""
        if self._plan is not None:
            return next((task for task in sorted(self._ready) if self._plan[task][1] == self._version), None)
        newest = newest_allowed(self._started.values(), self._version, self._need, self.schedule)
        return next((task for task in self._ready if self._started[task] <= newest), None)

    def _use(self, task: int) -> tuple[Done, Arrival]:
        done, rank = self._ready.pop(task)
        version = self._started.pop(task)
        self._need -= 1
        return done, Arrival(task, version, self._version, rank, done.actor, done.seconds)

    def _dispatch(self) -> None:
        """Give idle actors what may be sampled now: first what died with an actor, then new tasks."""
        while self.crew.idle() and not self._closed:
            if self._again:
                task = self._again.pop(0)
            else:
                if self._next >= self.schedule.end(self._version) or not self._may_start(self._next):
                    return
                task, self._next = self._next, self._next + 1
                self._started[task] = self._version if self._plan is None else self._plan[task][0]
            self.crew.begin(task, self._started[task])

    def _may_start(self, task: int) -> bool:
        if self._plan is not None:
            return self._plan[task][0] <= self._version
        return len(self._started) < self._need + self.schedule.bound * self.schedule.parts

    def _feed(self) -> None:
        while not self._closed:
            try:
                events = self.crew.wait()
            except BaseException as error:  # the learner's thread raises it
                with self._changed:
                    self._error = error
                    self._changed.notify()
                return
            with self._changed:
                for event in events:
                    self._hear(event)
                try:
                    self._dispatch()
                except Exception as error:
                    self._error = error
                self._changed.notify()

    def _hear(self, event: Done | Lost) -> None:
        if isinstance(event, Done):
            self._ready[event.task] = (event, self._ranks)
            self._ranks += 1
            return
        self._losses.append(event)
        if event.task is None:
            return
        self._again.append(event.task)
        self._deaths[event.task] = self._deaths.get(event.task, 0) + 1
        if self._deaths[event.task] >= MOST_LOSSES:
            self._error = RuntimeError(
                f"task {event.task} ended {MOST_LOSSES} actors, the last one {event.actor} ({event.reason})"
            )

    def _raise(self) -> None:
        if isinstance(self._error, ConsilienceError):
            raise self._error
        if self._error is not None:
            raise RuntimeError(str(self._error)) from self._error


def _check(plan: Plan, schedule: Schedule) -> None:
    """Raises InputError where a plan does not keep what the schedule promises."""
    used = [0] * schedule.total
    for version, update in plan.values():
        floor = update - update % schedule.drain
        if not (0 <= update < schedule.total and max(update - schedule.bound, floor) <= version <= update):
            raise InputError(
                f"the plan trains update {update} on version {version}, which total {schedule.total}, "
                f"bound {schedule.bound} and drain {schedule.drain} forbid: use the schedule of the recorded run."
            )
        used[update] += 1
    if sorted(plan) != list(range(len(plan))) or any(n != schedule.parts for n in used):
        raise InputError(f"the plan does not give each of {schedule.total} updates {schedule.parts} tasks.")
