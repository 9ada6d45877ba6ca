"""What a watcher sees of a request at work: events as JSON, live or from a stored trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consilience.problem import Problem
from consilience.protocols import Event
from consilience.reason.answers import ballot_of, verified_equivalence
from consilience.reason.compaction import compact
from consilience.reason.tree_drawing import chosen_tree, tree_fragment
from consilience.serve.split import split_call
from consilience.trace import Call, Trace


def event_json(problem: Problem, event: Event, *, choice: int = 0, inside: bool = False) -> dict[str, Any]:
    """One event. Kinds: "round" (round, width), "delta" (round, index, text, reasoning), "call" (as `call_json`),
    "hedge" (round, index), "messages" (round, count), "ballot" (support) and "answer" (support, voting, and tree: the
    search tree that gave it as a drawing whose text is escaped, None without one)."""
    data: dict[str, Any] = {"kind": event.kind, "choice": choice}
    match event.kind:
        case "round":
            return {**data, "round": event.data["index"], "width": event.data["width"]}
        case "call" if event.call is not None:
            place = {"round": event.data["round"], "index": event.data["index"]}
            return {**data, **place, **call_json(problem, event.call, inside=inside)}
        case "messages":
            return {**data, "round": event.data["round"], "count": len(event.data["messages"])}
        case "ballot":
            return {**data, "support": event.data["support"]}
        case "answer" if event.trace is not None:
            found = chosen_tree(event.trace.detail)
            tree = tree_fragment(*found, style="") if found else None
            voting = None if found else plain_voting(problem, event.trace)  # the first round of a search are steps
            return {**data, "support": event.trace.support, "voting": voting, "tree": tree}
    return {**data, **{name: value for name, value in event.data.items() if isinstance(value, str | int | float)}}


def call_json(problem: Problem, call: Call, *, inside: bool = False) -> dict[str, Any]:
    """One generation. message: its conclusion, as it crosses to the next round, None where it has none; answer: the
    final answer found in it, by which generations agree."""
    spoken = call.finish not in ("error", "cancelled")
    return {
        "finish": call.finish,
        "message": compact(call).text if spoken else None,
        "reasoning": split_call(call, inside=inside)[0] if spoken else "",
        "answer": verified_equivalence().find(problem, call.full_text) if spoken and not call.truncated else None,
        "prompt_tokens": call.usage.prompt,
        "completion_tokens": call.usage.completion,
        "estimated": call.usage.estimated,
        "seconds": round(call.seconds, 3),
        "model": call.model,
        "error": call.error,
    }


def plain_voting(problem: Problem, trace: Trace) -> dict[str, Any] | None:
    """What plain voting over the first round would have said, and what it would have cost; None for a single call."""
    first = list(trace.rounds[0]) if trace.rounds else []
    if len(first) < 2:
        return None
    equivalence = verified_equivalence()
    ballot = ballot_of(problem, first, equivalence)
    leader = ballot.groups[0].answer if ballot.groups else None
    found = equivalence.find(problem, trace.response)
    return {
        "calls": len(first),
        "answer": leader,
        "support": ballot.support,
        "completion_tokens": sum(call.usage.completion for call in first),
        "agrees": leader is not None and found is not None and equivalence.same(problem, leader, found),
    }


def events_of(problem: Problem, trace: Trace, *, choice: int = 0, inside: bool = False) -> Iterator[dict[str, Any]]:
    """The events of a stored trace in the order in which they would come, without deltas."""
    for index, calls in enumerate(trace.rounds):
        yield event_json(problem, Event("round", {"index": index, "width": len(calls)}), choice=choice)
        for position, call in enumerate(calls):
            event = Event("call", {"round": index, "index": position}, call)
            yield event_json(problem, event, choice=choice, inside=inside)
    if trace.response:
        yield event_json(problem, Event("answer", trace=trace), choice=choice)
