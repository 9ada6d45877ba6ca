"""How rounds are run, whatever the strategy: when a round may end early, who answers, what is reused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from consilience.errors import InputError
from consilience.policy.streams import prefers_batch
from consilience.protocols import Policy
from consilience.reason.accounting import Caps
from consilience.reason.answers import Equivalence
from consilience.trace import Call


class CallStore(Protocol):
    """The trajectory store as rounds use it; `consilience.store.Store` is one."""

    def get_many(self, keys: Iterable[str]) -> Mapping[str, Call]: ...

    def put(self, key: str, call: Call) -> None: ...


@dataclass(frozen=True)
class Proposer:
    """A model that takes a share of the calls of a round, by weight."""

    policy: Policy
    weight: float = 1.0


@dataclass(frozen=True)
class Settings:
    """Options that every strategy takes.

    quorum: a round ends when this share of its calls has succeeded. It favours short answers, which finish first.
    late: what happens to the others: "cancel", or "fold": they run on, and their messages join those of the round
        during which they arrive.
    deadline: seconds a round may last.
    hedge: a call that has taken `hedge` times the median of the finished ones, when half of the round is in, is sent
        a second time; whichever comes first counts.
    agreement: a round ends early when the answers agree so far that P(leader beats runner-up) reaches this value;
        looked at in launch order, so that the outcome does not depend on who finished first.
    lead: seconds the first call of a round is sent ahead of the others, for servers that share its cached prompt.
    proposers: models that share the calls of a round, the final synthesis excepted, which is the policy's; empty: the
        policy alone, as in the paper.
    caps: hard limits on calls, tokens and seconds.
    store: where cold trajectories (of the unchanged problem) are looked up, and put.
    equivalence: when answers agree; None: as the verifiers find and compare them.
    stream: which calls are followed live as "delta" events: none, the last round's, or all.

    Raises:
        InputError: a value out of range.
    """

    quorum: float = 1.0
    late: Literal["cancel", "fold"] = "cancel"
    deadline: float | None = None
    hedge: float | None = None
    agreement: float | None = None
    lead: float = 0.0
    proposers: tuple[Proposer, ...] = ()
    caps: Caps = field(default_factory=Caps)
    store: CallStore | None = None
    equivalence: Equivalence | None = None
    stream: Literal["off", "final", "all"] = "off"

    def __post_init__(self) -> None:
        checks = (
            ("quorum", 0 < self.quorum <= 1, "a share in (0, 1]"),
            ("deadline", self.deadline is None or self.deadline > 0, "positive seconds"),
            ("hedge", self.hedge is None or self.hedge > 1, "a factor above 1"),
            ("agreement", self.agreement is None or 0.5 < self.agreement <= 1, "a probability in (0.5, 1]"),
            ("lead", self.lead >= 0, "seconds, 0 or more"),
            ("late", self.late in ("cancel", "fold"), "'cancel' or 'fold'"),
            ("stream", self.stream in ("off", "final", "all"), "'off', 'final' or 'all'"),
            ("proposers", all(p.weight > 0 for p in self.proposers), "models with positive weights"),
        )
        for name, fine, wanted in checks:
            if not fine:
                raise InputError(f"{name} must be {wanted}, not {getattr(self, name)!r}.")


def shares(proposers: Sequence[Proposer], width: int) -> list[int]:
    """How many of `width` calls each proposer gets: proportional to weight, remainders to the largest fractions."""
    total = sum(proposer.weight for proposer in proposers)
    exact = [width * proposer.weight / total for proposer in proposers]
    counts = [int(value) for value in exact]
    by_fraction = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for index in by_fraction[: width - sum(counts)]:
        counts[index] += 1
    return counts


def assignments(policies: Sequence[tuple[Policy, int]], indices: Sequence[int]) -> list[tuple[Policy, tuple[int, ...]]]:
    """Requests for the samples `indices`: (policy, its samples) with one request per sample, or, for a policy that
    prefers batches, one per run of consecutive samples.

    policies: (policy, number of samples), covering 0 … n−1 in blocks; indices: those still to be sampled.
    """
    requests: list[tuple[Policy, tuple[int, ...]]] = []
    end = 0
    for policy, count in policies:
        start, end = end, end + count
        run: list[int] = []
        for index in [i for i in indices if start <= i < end]:
            if run and (not prefers_batch(policy) or index != run[-1] + 1):
                requests.append((policy, tuple(run)))
                run = []
            run.append(index)
        if run:
            requests.append((policy, tuple(run)))
    return requests
