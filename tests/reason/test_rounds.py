"""Rounds under trouble: stragglers, deadlines, early agreement, mixed models, the store, cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_helpers import PROBLEM, SEEDED, answering, delays, events_of, is_synthesis, references, trace_of

from consilience.errors import InputError
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Message
from consilience.protocols import Sampling
from consilience.reason import solve, strategy
from consilience.reason.accounting import Caps
from consilience.reason.course import StrategyError
from consilience.reason.rounds import round_seed
from consilience.reason.settings import Proposer, Settings, assignments, shares
from consilience.store import Store
from consilience.trace import Call

# quorum


async def test_a_quorum_goes_on_without_the_straggler_and_cancels_it() -> None:
    policy = delays(0.02, 0.02, 0.02, 30.0)
    started = time.monotonic()
    trace = await trace_of("pacore:4", policy, quorum=0.75)
    assert time.monotonic() - started < 1.0
    assert [call.finish for call in trace.rounds[0]] == ["stop", "stop", "stop", "cancelled"]
    assert trace.detail["rounds"][0]["stopped"] == "quorum"
    lost = trace.rounds[0][3].usage
    assert lost.estimated
    assert 0 < lost.completion <= 30, "a cancelled call costs what it can have written by then"
    assert trace.detail["critical_path"] == 10 + 5, "nobody waited for the straggler"
    assert policy.running == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.floats(0.05, 1.0))
def test_a_quorum_returns_after_q_successes(width: int, share: float) -> None:
    wanted = -(-share * width // 1)

    def script(messages: Sequence[Message], seed: int) -> Reply:
        return Reply("x</think>1", delay=0.0 if seed < wanted else 30.0)

    trace = asyncio.run(trace_of(f"vote:{width}", ScriptedPolicy(script), quorum=share))
    assert sum(call.finish == "stop" for call in trace.calls) == wanted


async def test_failures_do_not_count_towards_the_quorum() -> None:
    policy = answering(Reply(error="down"), Reply("x</think>1", delay=0.03), Reply("x</think>2", delay=30))
    trace = await trace_of("vote:3", policy, quorum=1 / 3)
    assert [call.finish for call in trace.calls] == ["error", "stop", "cancelled"]


async def test_folded_stragglers_join_the_round_in_which_they_arrive() -> None:
    prompts: list[list[str]] = []

    def script(messages: Sequence[Message], seed: int) -> Reply:
        if is_synthesis(messages):
            prompts.append(references(messages))
            return Reply("x</think>synth", delay=0.15 if len(prompts) <= 2 else 0.0)
        return Reply(f"x</think>cold {seed}", delay=0.05 if seed == 2 else 0.0)

    policy = ScriptedPolicy(script)
    events = await events_of("pacore:3,2", policy, quorum=2 / 3, late="fold")
    assert sorted(prompts[0]) == ["cold 0", "cold 1"]
    assert sorted(prompts[2]) == ["cold 2", "synth"] or sorted(prompts[2]) == ["cold 2", "synth", "synth"]
    trace = events[-1].trace
    assert trace is not None
    assert [call.finish for call in trace.rounds[0]] == ["stop"] * 3
    seen = [(e.data["round"], e.data["index"]) for e in events if e.kind == "call"]
    assert len(seen) == len(set(seen)) == len(trace.calls)


async def test_folded_stragglers_that_never_arrive_are_cancelled_at_the_end() -> None:
    policy = delays(0.0, 0.0, 30.0)
    trace = await trace_of("pacore:3", policy, quorum=0.6, late="fold")
    assert [call.finish for call in trace.rounds[0]] == ["stop", "stop", "cancelled"]
    assert policy.running == 0


# deadlines, hedges


async def test_a_round_ends_at_its_deadline_with_what_is_in() -> None:
    policy = delays(0.0, 30.0, 30.0)
    started = time.monotonic()
    trace = await trace_of("pacore:3", policy, deadline=0.1)
    assert 0.1 <= time.monotonic() - started < 1.0
    assert trace.detail["rounds"][0]["stopped"] == "deadline"
    assert trace.response == "synth</think>42"


async def test_a_straggler_is_sent_a_second_time_and_the_first_answer_wins() -> None:
    asked: dict[int, int] = {}

    def script(messages: Sequence[Message], seed: int) -> Reply:
        asked[seed] = asked.get(seed, 0) + 1
        slow = seed == 3 and asked[seed] == 1
        return Reply(f"x</think>{seed}", delay=30.0 if slow else 0.03, tokens=7)

    policy = ScriptedPolicy(script)
    started = time.monotonic()
    events = await events_of("vote:4", policy, hedge=2.0)
    assert time.monotonic() - started < 1.0
    trace = events[-1].trace
    assert trace is not None
    assert [e.data for e in events if e.kind == "hedge"] == [{"round": 0, "index": 3}]
    assert [call.finish for call in trace.calls] == ["stop"] * 4 + ["cancelled"]
    assert asked == {0: 1, 1: 1, 2: 1, 3: 2}
    assert policy.running == 0


async def test_a_hedge_that_loses_is_cancelled_and_paid_for() -> None:
    def script(messages: Sequence[Message], seed: int) -> Reply:
        first = policy.calls <= 4
        return Reply(f"x</think>{seed}", delay=(0.15 if seed == 3 else 0.02) if first else 30.0, tokens=10)

    policy = ScriptedPolicy(script)
    trace = await trace_of("vote:4", policy, hedge=2.0)
    assert [call.finish for call in trace.calls] == ["stop"] * 4 + ["cancelled"]
    assert policy.running == 0


async def test_hedges_respect_the_cap_on_calls() -> None:
    policy = delays(0.01, 0.01, 0.01, 0.2)
    trace = await trace_of("vote:4", policy, hedge=2.0, caps=Caps(calls=4))
    assert policy.calls == 4
    assert len(trace.calls) == 4


# agreement


async def test_a_round_stops_early_when_answers_agree_whoever_finishes_first() -> None:
    first, last = (0.0, 0.0, 0.0, 0.0), (0.2, 0.2, 0.2, 0.2)
    for wait in ((*first, *last), (0.05, 0.0, 0.03, 0.01, *last), (*last, *first)):
        policy = delays(*wait, text=lambda _: "x</think>42")
        events = await events_of("pacore:8", policy, agreement=0.95)
        (sent,) = [event.data for event in events if event.kind == "messages"]
        assert sent["messages"] == ["42"] * 4, "four equal answers give P = 0.969"
        trace = events[-1].trace
        assert trace is not None
        assert trace.detail["rounds"][0]["stopped"] == "agreement"
        assert trace.detail["rounds"][0]["counted"] == 4


async def test_without_agreement_the_round_is_complete() -> None:
    trace = await trace_of("pacore:6", answering(*(f"x</think>{i}" for i in range(6))), agreement=0.95)
    assert trace.detail["rounds"][0] == {"width": 6, "stopped": "complete", "reused": 0, "counted": 6}


# models


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(0, 50))
def test_shares_are_proportional_and_complete(weights: list[float], width: int) -> None:
    policy = answering("x")
    counts = shares([Proposer(policy, weight) for weight in weights], width)
    assert sum(counts) == width
    for weight, count in zip(weights, counts, strict=True):
        assert abs(count - width * weight / sum(weights)) < 1


async def test_mixed_models_share_the_rounds_and_the_policy_answers() -> None:
    big = answering("x</think>1", name="big")
    small, tiny = answering("x</think>2", name="small"), answering("x</think>3", name="tiny")
    trace = await trace_of("pacore:8", big, proposers=(Proposer(small, 3), Proposer(tiny)))
    assert [call.model for call in trace.rounds[0]] == ["small"] * 6 + ["tiny"] * 2
    assert [call.model for call in trace.rounds[1]] == ["big"]
    assert trace.model == "big+small+tiny"


class Batched(ScriptedPolicy):
    """Notes how its samples are asked for."""

    def __init__(self) -> None:
        super().__init__(lambda messages, seed: f"x</think>{seed}", prefers_batch=True)
        self.batches: list[tuple[int | None, int]] = []

    async def sample(self, messages: Sequence[Message], sampling: Sampling, *, n: int = 1) -> Any:
        self.batches.append((sampling.seed, n))
        return await super().sample(messages, sampling, n=n)


async def test_a_policy_that_prefers_batches_gets_a_round_in_one_request() -> None:
    policy = Batched()
    trace = await trace_of("vote:6", policy)
    assert policy.batches == [(0, 6)]
    assert [call.text for call in trace.calls] == [f"x</think>{i}" for i in range(6)]


async def test_a_policy_that_returns_too_few_samples_is_noticed() -> None:
    class Short(Batched):
        async def sample(self, messages: Sequence[Message], sampling: Sampling, *, n: int = 1) -> Any:
            return (await super().sample(messages, sampling, n=n))[:-1]

    trace = await trace_of("vote:3", Short())
    assert [call.finish for call in trace.calls] == ["stop", "stop", "error"]


def test_requests_are_runs_of_missing_samples() -> None:
    batched, single = Batched(), answering("x")
    assert assignments([(batched, 5)], [0, 1, 3, 4]) == [(batched, (0, 1)), (batched, (3, 4))]
    assert assignments([(single, 2), (batched, 3)], [0, 1, 2, 3, 4]) == [
        *((single, (i,)) for i in (0, 1)),
        (batched, (2, 3, 4)),
    ]


# store


async def test_cold_trajectories_are_reused_across_strategies_and_runs(tmp_path: Path) -> None:
    policy = answering(*(f"x</think>{i}" for i in range(8)))
    with Store(tmp_path / "store.sqlite") as store:
        await trace_of("vote:4", policy, store=store)
        assert policy.calls == 4
        trace = await trace_of("pacore:6", policy, store=store)
        assert policy.calls == 4 + 2 + 1, "two cold ones were missing; syntheses are not stored"
        assert [call.text for call in trace.rounds[0]] == [f"x</think>{i}" for i in range(6)]
        assert [entry["reused"] for entry in trace.detail["rounds"]] == [4, 0]
        again = await trace_of("vote:6", policy, store=store)
        assert policy.calls == 7
        assert again.detail["rounds"][0]["reused"] == 6
        await trace_of("vote:2", policy, store=store, sampling=SEEDED.with_seed(1))
        assert policy.calls == 9, "other sampling, other key"


async def test_a_round_asks_the_store_once_and_never_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched(Store):
        def __len__(self) -> int:
            raise AssertionError("counting reads the whole file")

        def get_many(self, keys: Iterable[str]) -> dict[str, Call]:
            wanted = list(keys)
            asked.append(len(wanted))
            return super().get_many(wanted)

    with Watched(tmp_path / "store.sqlite") as store:
        await trace_of("vote:6", answering(*[f"x</think>{i}" for i in range(6)]), store=store)
    assert asked == [6]


async def test_failed_calls_are_not_stored(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        await trace_of("vote:2", answering("x</think>1", Reply(error="down")), store=store)
        assert len(store) == 1


async def test_stored_gaps_keep_their_seeds(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        await trace_of("vote:2", answering("x</think>0", Reply(error="down"), "x</think>2"), store=store)
        policy = Batched()
        trace = await trace_of("vote:4", policy, store=store)
        assert policy.batches == [(1, 3)]
        assert [call.text for call in trace.calls] == ["x</think>0", "x</think>1", "x</think>2", "x</think>3"]


# seeds, streaming, cancellation


def test_seeds_of_rounds() -> None:
    assert round_seed(None, 3, cold=False) is None
    assert round_seed(5, 0, cold=True) == round_seed(5, 2, cold=True) == 5
    warm = {round_seed(seed, r, cold=False) for seed in range(20) for r in range(1, 4)}
    assert len(warm) == 60
    assert all(seed is not None and 0 <= seed < 2**31 for seed in warm)


async def test_the_final_answer_is_streamed_where_asked() -> None:
    policy = answering("x</think>1", final=Reply("the answer is 42", reasoning="so"))
    events = await events_of("pacore:2", policy, stream="final")
    deltas = [event.data for event in events if event.kind == "delta"]
    assert {delta["round"] for delta in deltas} == {1}
    assert "".join(delta["text"] for delta in deltas) == "the answer is 42"
    assert "".join(delta["reasoning"] for delta in deltas) == "so"
    everything = await events_of("pacore:2", policy, stream="all")
    assert {(e.data["round"], e.data["index"]) for e in everything if e.kind == "delta"} == {(0, 0), (0, 1), (1, 0)}


async def test_the_first_call_of_a_round_may_lead_to_warm_the_prefix() -> None:
    begun: list[float] = []

    def script(messages: Sequence[Message], seed: int) -> str:
        begun.append(time.monotonic())
        return "x</think>1"

    await trace_of("vote:4", ScriptedPolicy(script), lead=0.05)
    assert begun[1] - begun[0] >= 0.045
    assert begun[3] - begun[1] < 0.04


async def no_tasks_left() -> bool:
    await asyncio.sleep(0)
    return len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("name", ["direct", "vote:8", "adaptive:8", "best-of-n:8", "pacore:8,4", "sequential:4"])
async def test_cancelling_a_solve_leaves_no_task_behind(name: str) -> None:
    policy = ScriptedPolicy(lambda *_: Reply("x</think>1", delay=30))
    task = asyncio.create_task(solve(PROBLEM, policy, name, SEEDED))
    async with asyncio.timeout(10):
        while not policy.running:  # noqa: ASYNC110 - the state is the policy's
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert policy.running == 0
    assert await no_tasks_left()


async def test_leaving_the_events_early_cancels_everything() -> None:
    policy = delays(0.0, 30.0, 30.0)
    events: Any = strategy("pacore:3")(PROBLEM, policy, SEEDED)
    async with aclosing(events):
        async for event in events:
            if event.kind == "call":
                break
    assert policy.running == 0
    assert await no_tasks_left()


async def test_a_bug_in_a_policy_surfaces_and_cancels_the_rest() -> None:
    def script(messages: Sequence[Message], seed: int) -> Reply:
        if seed == 2:
            raise ZeroDivisionError("a bug")
        return Reply("x</think>1", delay=30)

    policy = ScriptedPolicy(script)
    with pytest.raises(ZeroDivisionError):
        await solve(PROBLEM, policy, "vote:4", SEEDED)
    assert policy.running == 0
    assert await no_tasks_left()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_fails_or_lags_every_call_is_reported_once(data: Any) -> None:
    kinds = data.draw(st.lists(st.sampled_from(["ok", "slow", "error", "empty", "cut"]), min_size=1, max_size=8))
    options: dict[str, Any] = {
        "quorum": data.draw(st.sampled_from([0.5, 1.0])),
        "late": data.draw(st.sampled_from(["cancel", "fold"])),
        "deadline": data.draw(st.sampled_from([None, 0.02])),
        "hedge": data.draw(st.sampled_from([None, 1.5])),
        "agreement": data.draw(st.sampled_from([None, 0.9])),
    }
    replies = {
        "ok": Reply("x</think>42"),
        "slow": Reply("x</think>42", delay=0.01),
        "error": Reply(error="down"),
        "empty": Reply(""),
        "cut": Reply("half", finish="length"),
    }

    async def check() -> None:
        policy = answering(*(replies[kind] for kind in kinds))
        try:
            events = await events_of(f"pacore:{len(kinds)},2", policy, **options)
        except StrategyError as error:
            assert error.trace.calls  # noqa: PT017 - both outcomes are allowed
        else:
            seen = [(e.data["round"], e.data["index"]) for e in events if e.kind == "call"]
            trace = events[-1].trace
            assert trace is not None
            assert len(seen) == len(set(seen))
            assert policy.calls <= len(trace.calls), "a twin may be cancelled before it is sent"
            assert len(seen) <= len(trace.calls)
        assert policy.running == 0
        assert await no_tasks_left()

    asyncio.run(check())


@pytest.mark.parametrize(
    "bad",
    [{"quorum": 0}, {"quorum": 1.5}, {"deadline": 0}, {"hedge": 1}, {"agreement": 0.4}, {"lead": -1}, {"late": "x"}],
)
def test_settings_out_of_range_are_one_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        Settings(**bad)
