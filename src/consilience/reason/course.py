"""The running of one strategy on one problem: rounds of parallel calls, within its caps, as events."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from consilience.errors import InputError, PolicyError
from consilience.policy.streams import StreamingPolicy
from consilience.problem import Message, Problem
from consilience.protocols import Event, Policy, Sampling
from consilience.reason.answers import Ballot, Equivalence, ballot_of, verified_equivalence, vote
from consilience.reason.flights import Flight, Flights, Piece
from consilience.reason.rounds import FAILED, Round, round_seed
from consilience.reason.settings import Settings, assignments, shares
from consilience.reason.stopping import beta_probability
from consilience.store import key_of
from consilience.trace import Call, Trace


class StrategyError(PolicyError):
    """A strategy came to no answer. trace: what was done and spent until then, with an empty response."""

    def __init__(self, sentence: str, trace: Trace) -> None:
        super().__init__(sentence)
        self.trace = trace


class Course:
    """What a strategy works with: `await course.round(…)` runs calls, `course.trace(…)` closes the account.

    Events go to the queue `events`. To be closed in any case: then no task is left.
    """

    def __init__(self, problem: Problem, policy: Policy, sampling: Sampling, settings: Settings, strategy: str) -> None:
        self.problem, self.policy, self.sampling, self.settings = problem, policy, sampling, settings
        self.strategy = strategy
        self.rounds: list[Round] = []
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._started = time.monotonic()
        self._flights = Flights()

    @cached_property
    def equivalence(self) -> Equivalence:
        """When answers agree."""
        return self.settings.equivalence or verified_equivalence()

    @property
    def begun(self) -> bool:
        """Whether any call was launched."""
        return any(r.width for r in self.rounds)

    @property
    def problem_tokens(self) -> int | None:
        """Tokens of the problem's prompt as the server counted them, pictures included; None where it did not."""
        cold = [call.usage for r in self.rounds if r.cold for call in r.succeeded]
        return max((usage.prompt for usage in cold if not usage.estimated), default=0) or None

    def want_logprobs(self) -> None:
        """Ask for log-probabilities from now on."""
        self.sampling = replace(self.sampling, logprobs=True)

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._flights.close()

    def emit(self, kind: str, call: Call | None = None, **data: Any) -> None:
        """Hand an event to whoever watches."""
        self.events.put_nowait(Event(kind, data, call))

    async def round(
        self,
        messages: Sequence[Message],
        width: int,
        *,
        first: int = 0,
        cold: bool = False,
        alone: bool = False,
        final: bool = True,
        reserve: int = 0,
        rounds_left: int = 1,
    ) -> Round:
        """Run `width` calls on one prompt and wait until the round may end.

        Args:
            first: index of the first sample; for several cold rounds on one problem.
            cold: the prompt is the unchanged problem, whose trajectories may come from the store.
            alone: the policy answers without the proposers.
            final: no round follows: stragglers of earlier rounds are cancelled at the end, too.
            reserve: calls that the caps keep for later rounds.
            rounds_left: rounds to come including this one, to share the time that is left.

        Returns:
            The round; narrower than asked for, down to width 0, where the caps leave no room.

        Raises:
            InputError: the caps do not cover a single call.
        """
        width = self._affordable(width, reserve=reserve)
        if width < 1 and not reserve and not self.begun:
            raise InputError("the budget does not cover one call: raise it, or lower max_tokens.")
        deadline = self._deadline(rounds_left)
        current = Round(len(self.rounds), width, first, cold, final, alone, reserve, deadline)
        self.rounds.append(current)
        self.emit("round", index=current.index, width=width)
        if width:
            self._launch(current, tuple(messages))
        while not (stop := self._stop(current)):
            item = await self._flights.next(self._wake(current))
            if isinstance(item, Piece):
                flight, delta = item.flight, item.delta
                self.emit(
                    "delta", round=flight.round, index=flight.indices[0], text=delta.text, reasoning=delta.reasoning
                )
            elif item is not None:
                await self._land(item, current)
            self._hedge(current)
        await self._end(current, stop)
        return current

    def ballot(self, calls: Sequence[Call]) -> Ballot:
        """The vote of calls on this problem."""
        return ballot_of(self.problem, calls, self.equivalence)

    def support(self, response: str, calls: Sequence[Call]) -> float:
        """Share of the calls that agree with a response; 1 where there are no calls to agree."""
        ballot = self.ballot(calls)
        if not ballot.cast:
            return 1.0
        return ballot.share(self.equivalence.find(self.problem, response), self._same)

    def trace(self, response: str, support: float = 1.0, **detail: Any) -> Trace:
        """The account of the course so far with this response."""
        names = dict.fromkeys([self.policy.name, *(p.policy.name for p in self.settings.proposers)])
        rounds = [
            {"width": r.width, "stopped": r.stopped, "reused": r.reused, "counted": len(r.counted)} for r in self.rounds
        ]
        account = {
            "rounds": rounds,
            "critical_path": sum(r.waited_tokens for r in self.rounds),
            "seconds": round(time.monotonic() - self._started, 6),
        }
        calls = tuple(r.all_calls for r in self.rounds)
        return Trace(self.problem.id, self.strategy, "+".join(names), calls, response, support, {**account, **detail})

    def failure(self, sentence: str) -> StrategyError:
        """The error of a course that ends without an answer."""
        return StrategyError(f"{self.strategy} came to no answer: {sentence}", self.trace("", 0.0))

    def check(self, current: Round) -> None:
        """Go on only with a round that has something to go on with.

        Raises:
            StrategyError: every call failed, or none was finished in time.
        """
        if current.width and not current.succeeded:
            raise self.failure(current.error or "no call was finished in time; allow more seconds or fewer tokens.")

    def _same(self, a: str, b: str) -> bool:
        return self.equivalence.same(self.problem, a, b)

    def _affordable(self, wanted: int, *, reserve: int) -> int:
        calls = [call for r in self.rounds for call in r.all_calls]
        pending = sum(len(flight.indices) for flight in self._flights.airborne)
        limit = self.sampling.max_tokens
        tokens = sum(call.usage.completion for call in calls) + pending * max(0, limit)
        return self.settings.caps.width(
            wanted, calls=len(calls) + pending, tokens=tokens, max_tokens=limit, reserve=reserve
        )

    def _deadline(self, rounds_left: int) -> float:
        now = time.monotonic()
        limits = [math.inf if self.settings.deadline is None else now + self.settings.deadline]
        if self.settings.caps.seconds is not None:
            left = self._started + self.settings.caps.seconds - now
            limits.append(now + max(0.0, left) / max(1, rounds_left))
        return min(limits)

    def _launch(self, current: Round, messages: tuple[Message, ...]) -> None:
        shared = () if current.alone else self.settings.proposers
        counts = shares(shared, current.width) if shared else [current.width]
        policies = list(zip([p.policy for p in shared] or [self.policy], counts, strict=True))
        owners = [policy for policy, count in policies for _ in range(count)]
        missing = self._reuse(current, messages, owners) if current.cold else list(range(current.width))
        seed = round_seed(self.sampling.seed, current.index, cold=current.cold)
        streamed = self.settings.stream == "all" or (self.settings.stream == "final" and current.final)
        for number, (policy, positions) in enumerate(assignments(policies, missing)):
            indices = tuple(current.first + position for position in positions)
            flight = Flight(
                current.index,
                indices,
                policy,
                messages,
                self.sampling if seed is None else self.sampling.with_seed(seed + indices[0]),
                delay=self.settings.lead if number else 0.0,
                streamed=streamed and len(indices) == 1 and isinstance(policy, StreamingPolicy),
                cold=current.cold,
            )
            self._flights.launch(flight)

    def _reuse(self, current: Round, messages: tuple[Message, ...], owners: Sequence[Policy]) -> list[int]:
        """Take stored trajectories; the positions that have none."""
        store = self.settings.store
        if store is None:
            return list(range(len(owners)))
        indices = range(current.first, current.first + len(owners))
        keys = [
            key_of(owner.name, messages, self.sampling, index) for owner, index in zip(owners, indices, strict=True)
        ]
        stored, missing = store.get_many(keys), []
        for position, (index, key) in enumerate(zip(indices, keys, strict=True)):
            call = stored.get(key)
            if call is None:
                missing.append(position)
                continue
            current.calls[index] = call
            current.reused += 1
            self.emit("call", call, round=current.index, index=index, reused=True)
        return missing

    def _stop(self, current: Round) -> str:
        """Why the round may end now, "" while it may not."""
        if not current.width:
            return "budget"
        if self.settings.agreement is not None and not current.final and self._agree(current, self.settings.agreement):
            return "agreement"
        if not any(flight.round == current.index for flight in self._flights.airborne):
            return "complete"
        if len(current.succeeded) >= math.ceil(self.settings.quorum * current.width - 1e-9):
            return "quorum"
        return "deadline" if time.monotonic() >= current.deadline else ""

    def _agree(self, current: Round, threshold: float) -> bool:
        """Whether the answers agree, at the earliest place in launch order, as far as they are in without a gap."""
        arrived = current.in_launch_order
        for call in arrived[len(current.answers) :]:
            spoken = call.finish not in (*FAILED, "length")
            current.answers.append(self.equivalence.find(self.problem, call.full_text) if spoken else None)
            lead, second = (*vote(current.answers, self._same).counts, 0, 0)[:2]
            if lead and beta_probability(lead, second) >= threshold:
                current.used = [current.first + place for place in range(len(current.answers))]
                return True
        return False

    def _wake(self, current: Round) -> float | None:
        """When something is due even if nothing arrives: the deadline, or the next hedge."""
        due = [current.deadline]
        if self.settings.hedge and (after := current.straggles_after(self.settings.hedge)) is not None:
            due += [f.started + after for f in self._flights.airborne if f.round == current.index and f.may_hedge]
        return None if min(due) == math.inf else min(due)

    def _hedge(self, current: Round) -> None:
        """Send stragglers a second time, as far as the caps allow."""
        if not self.settings.hedge or (after := current.straggles_after(self.settings.hedge)) is None:
            return
        now = time.monotonic()
        for flight in tuple(self._flights.airborne):
            late = flight.round == current.index and flight.may_hedge and now >= flight.started + after
            if late:
                flight.may_hedge = False
                if self._affordable(1, reserve=current.reserve):
                    self.emit("hedge", round=flight.round, index=flight.indices[0])
                    self._flights.launch(flight.twin())

    async def _land(self, flight: Flight, current: Round) -> None:
        """Book the calls of a flight; the first success for a sample wins, its rivals are cancelled."""
        target = self.rounds[flight.round]
        for index, call in zip(flight.indices, flight.calls or (), strict=True):
            rivals = [f for f in self._flights.airborne if f.round == flight.round and index in f.indices]
            if index in target.calls or (call.finish in FAILED and rivals):
                target.extra.append(call)
                continue
            target.calls[index] = call
            if target is not current:
                current.folded.append(call)
            if flight.cold and self.settings.store is not None and call.finish not in FAILED:
                self.settings.store.put(key_of(flight.policy.name, flight.messages, self.sampling, index), call)
            self.emit("call", call, round=flight.round, index=index)
            await self._flights.cancel(rivals)
            target.extra += _final_calls(rivals, target)

    async def _end(self, current: Round, stop: str) -> None:
        """Deal with stragglers and close the round's account."""
        current.stopped = stop
        current.waited_tokens = max((call.usage.completion for call in current.calls.values()), default=0)
        if self.settings.late == "fold" and stop in ("quorum", "deadline") and not current.final:
            current.used = sorted(current.calls)
            return
        left = [f for f in self._flights.airborne if f.round == current.index or current.final]
        await self._flights.cancel(left)
        for flight in left:
            target = self.rounds[flight.round]
            for index, call in zip(flight.indices, _final_calls([flight], target), strict=True):
                if index in target.calls:
                    target.extra.append(call)
                    continue
                target.calls[index] = call
                self.emit("call", call, round=flight.round, index=index)


def _final_calls(flights: Sequence[Flight], target: Round) -> list[Call]:
    """Calls of stopped flights: finished ones as they are, the others cancelled with estimated cost."""
    speed = target.tokens_per_second
    return [call for flight in flights for call in (flight.calls or flight.cancelled(speed))]
