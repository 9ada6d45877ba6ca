"""Which weights sample what, and which rollouts an update takes: the bound holds whatever the order of arrival."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_helpers import micro, property_test
from torch import Tensor

from consilience.errors import InputError
from consilience.files import atomic_write
from consilience.learn.asynchronous import (
    Done,
    Lost,
    Rollouts,
    Schedule,
    in_order,
    newest_allowed,
    replay,
)
from consilience.learn.rollout import Rollout
from consilience.problem import dumps
from consilience.verdict import Verdict

EMPTY = Rollout((), (), (), (), ())


class Shuffled:
    """A simulated crew: tasks end in an order drawn from a seed, one at a time."""

    def __init__(self, actors: int, seed: int, lose: Sequence[int] = ()) -> None:
        self.actors, self.running, self.published = actors, {}, []
        self.rng, self.lose, self.closed = np.random.default_rng(seed), list(lose), False
        self.wake: queue.Queue[None] = queue.Queue()

    def idle(self) -> int:
        return self.actors - len(self.running)

    def publish(self, version: int, parameters: Sequence[Tensor]) -> None:
        self.published.append(version)

    def begin(self, task: int, version: int) -> None:
        assert version in self.published
        self.running[task] = version
        self.wake.put(None)

    def wait(self) -> list[Done | Lost]:
        self.wake.get()
        if self.closed:
            return []
        task = int(self.rng.choice(sorted(self.running)))
        del self.running[task]
        if task in self.lose:
            self.lose.remove(task)
            return [Lost(task, "a", "exit -9", "b")]
        verdicts = (Verdict(task / 1000, ""),)
        return [Done(task, "a", Rollout((), (), ((0.0,),), (True,), verdicts), 0.0)]

    def close(self) -> None:
        self.closed = True
        self.wake.put(None)


def run(schedule: Schedule, crew: Shuffled, plan: dict[int, tuple[int, int]] | None = None, begin: int = 0):  # type: ignore[no-untyped-def]
    model = micro()
    with Rollouts(crew, schedule, plan) as rollouts:
        return [rollouts.take(update, model) for update in range(begin, schedule.total)]


@settings(parent=property_test, max_examples=25)
@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(0, 4), st.integers(1, 6), st.integers(1, 5), st.integers(0, 999)
)
def test_every_task_is_used_once_and_none_is_staler_than_the_bound(
    total: int, parts: int, bound: int, drain: int, actors: int, seed: int
) -> None:
    for by_arrival in (False, True):
        schedule = Schedule(total, parts, bound, drain, by_arrival)
        found = run(schedule, Shuffled(actors, seed))
        arrivals = [a for delivery in found for a in delivery.arrivals]
        assert sorted(a.task for a in arrivals) == list(range(total * parts))
        for update, delivery in enumerate(found):
            assert [a.task for a in delivery.arrivals] == sorted(a.task for a in delivery.arrivals)
            assert delivery.numbers()["staleness_max"] <= bound
            for a in delivery.arrivals:
                assert a.version >= update - update % drain  # nothing lives through a drain
            assert [v.score for v in delivery.rollout.verdicts] == [a.task / 1000 for a in delivery.arrivals]
        if not by_arrival:
            assert {a.task: (a.version, a.update) for a in arrivals} == in_order(schedule)


@settings(parent=property_test, max_examples=20)
@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(0, 3), st.integers(1, 4), st.integers(0, 99), st.integers(0, 99)
)
def test_a_recorded_order_is_repeated_by_other_actors_in_another_order(
    total: int, parts: int, bound: int, actors: int, first: int, second: int
) -> None:
    schedule = Schedule(total, parts, bound, drain=3, by_arrival=True)
    recorded = [a for d in run(schedule, Shuffled(actors, first)) for a in d.arrivals]
    plan = {a.task: (a.version, a.update) for a in recorded}
    again = [a for d in run(schedule, Shuffled(5 - actors, second), plan) for a in d.arrivals]
    assert {a.task: (a.version, a.update) for a in again} == plan


def test_the_synchronous_schedule_has_no_stale_rollout() -> None:
    for delivery in run(Schedule(4, 3, 0), Shuffled(2, 0)):
        numbers = delivery.numbers()
        assert (numbers["staleness"], numbers["fresh"], delivery.queued) == (0, 1, 0)


def test_in_order_staleness_is_the_bound_after_its_start() -> None:
    found = run(Schedule(6, 2, 2, drain=100), Shuffled(2, 0))
    assert [d.numbers()["staleness"] for d in found] == [0, 1, 2, 2, 2, 2]


def test_what_dies_with_an_actor_is_done_again_with_the_same_weights() -> None:
    schedule = Schedule(5, 2, 1)
    found = run(schedule, Shuffled(2, 3, lose=[3, 3, 6]))
    assert {a.task: (a.version, a.update) for d in found for a in d.arrivals} == in_order(schedule)
    losses = [loss for d in found for loss in d.losses]
    assert sorted(loss.task for loss in losses if loss.task is not None) == [3, 3, 6]
    lines = [r for d in found for r in d.records() if "lost" in r]
    assert [r["task"] for r in lines] == [loss.task for loss in losses]
    assert {(r["lost"], r["reason"], r["successor"]) for r in lines} == {("a", "exit -9", "b")}


def test_a_task_that_ends_every_actor_ends_the_run() -> None:
    with pytest.raises(RuntimeError, match="task 2 ended 3 actors"):
        run(Schedule(5, 2, 1), Shuffled(2, 3, lose=[2, 2, 2]))


@pytest.mark.parametrize(
    ("versions", "update", "need", "expected"),
    [
        ([3, 3, 3, 3], 3, 2, 3),  # all fresh: whatever comes first
        ([2, 2, 3, 3], 3, 2, 2),  # both old ones must be taken now
        ([2, 3, 3], 3, 2, 3),  # one of two places is free
        ([2, 3, 3], 3, 1, 2),  # the last place belongs to the old one
    ],
)
def test_what_may_be_taken_next(versions: list[int], update: int, need: int, expected: int) -> None:
    assert newest_allowed(versions, update, need, Schedule(9, parts=2, bound=1)) == expected


def test_resuming_is_possible_at_drains_only() -> None:
    schedule = Schedule(8, 2, 1, drain=4)
    assert len(run(schedule, Shuffled(2, 0), begin=4)) == 4
    with pytest.raises(InputError, match="between two drains"):
        run(schedule, Shuffled(2, 0), begin=3)


def test_updates_follow_one_another() -> None:
    with Rollouts(Shuffled(1, 0), Schedule(4)) as rollouts:
        rollouts.take(0, micro())
        with pytest.raises(InputError, match="cannot follow"):
            rollouts.take(2, micro())
        with pytest.raises(InputError, match="not among the 4"):
            rollouts.take(4, micro())


@pytest.mark.parametrize("field", [{"total": -1}, {"parts": 0}, {"bound": -1}, {"drain": 0}])
def test_a_schedule_refuses_counts_that_are_too_small(field: dict[str, int]) -> None:
    with pytest.raises(InputError, match="a schedule needs"):
        Schedule(**{"total": 3, **field})


def test_a_plan_of_another_schedule_is_refused() -> None:
    plan = in_order(Schedule(4, 2, 2))
    with pytest.raises(InputError, match="bound 1"):
        Rollouts(Shuffled(1, 0), Schedule(4, 2, 1), plan)
    with pytest.raises(InputError, match="does not give each"):
        Rollouts(Shuffled(1, 0), Schedule(5, 2, 2), plan)


def test_the_log_of_arrivals_gives_the_plan(tmp_path: Path) -> None:
    found = run(Schedule(3, 2, 1), Shuffled(2, 0, lose=[1]))
    atomic_write(tmp_path / "a.jsonl", "".join(dumps(r) + "\n" for d in found for r in d.records()))
    assert replay(tmp_path / "a.jsonl") == in_order(Schedule(3, 2, 1))
    atomic_write(tmp_path / "b.jsonl", '{"task": 1}\n')
    with pytest.raises(InputError, match="no log of arrivals"):
        replay(tmp_path / "b.jsonl")
