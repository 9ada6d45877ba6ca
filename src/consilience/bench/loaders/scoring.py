"""Scores of benchmarks: a rule that reads the answer first, and a judge, passed in, for what it leaves open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError
from consilience.problem import Message, Problem
from consilience.protocols import Policy, Sampling
from consilience.reason.answers import Equivalence
from consilience.verdict import Verdict
from consilience.verify.check import truncated_verdict
from consilience.verify.markup import split_response

Rule = Callable[[Problem, str], Verdict]
"""(problem, the response's text after its reasoning) → verdict. Never raises on text."""

OPEN = ("unparsed", "undecided")
JUDGE_TOKENS = 128
TEMPERATURES = (0.0, 0.5, 1.0, 1.5, 2.0)


def right(reason: str, **evidence: Any) -> Verdict:
    """The answer is the gold."""
    return Verdict(1.0, reason, "equal", evidence)


def wrong(reason: str, **evidence: Any) -> Verdict:
    """The answer is another one."""
    return Verdict(0.0, reason, "different", evidence)


def unparsed(reason: str = "No answer was found.", **evidence: Any) -> Verdict:
    """There is no answer."""
    return Verdict(0.0, reason, "unparsed", evidence)


def undecided(reason: str, **evidence: Any) -> Verdict:
    """There is an answer, and rules cannot say whether it is right."""
    return Verdict(0.0, reason, "undecided", evidence)


def compared(equal: bool, answer: str, gold: str, **evidence: Any) -> Verdict:
    """Right or wrong, with both texts."""
    facts = {"answer": answer, **evidence}
    shown = answer[:80]
    return right(f"{shown} is {gold[:80]}.", **facts) if equal else wrong(f"{shown} is not {gold[:80]}.", **facts)


@dataclass(frozen=True)
class RuleScore:
    """A score by rules alone. beside: another rule whose verdict is recorded too, never counted."""

    name: str
    rule: Rule
    beside: Rule | None = None

    def __call__(self, problem: Problem, response: str, *, truncated: bool = False) -> Verdict:
        if truncated:
            return truncated_verdict()
        answer = split_response(response)[1].strip()
        verdict = self.rule(problem, answer)
        if self.beside is None:
            return verdict
        other = self.beside(problem, answer)
        return Verdict(
            verdict.score,
            verdict.reason,
            verdict.code,
            {**verdict.evidence, "beside": {"score": other.score, "code": other.code, "reason": other.reason}},
        )


@dataclass(frozen=True)
class JudgeScore:
    """A score by rules first, and by a model where they leave the answer open.

    name: with the judge's. rule: its verdict stands unless `asks` says otherwise. prompt: what the judge is asked.
    read: the judge's reply as a verdict, None to ask again. temperatures: of the tries, one after the other.
    """

    name: str
    rule: Rule
    judge: Policy
    prompt: Callable[[Problem, str, Verdict], str]
    read: Callable[[Problem, str, str], Verdict | None]
    asks: Callable[[Verdict], bool] = lambda verdict: verdict.code in OPEN
    temperatures: tuple[float, ...] = TEMPERATURES
    max_tokens: int = JUDGE_TOKENS

    async def __call__(self, problem: Problem, response: str, *, truncated: bool = False) -> Verdict:
        if truncated:
            return truncated_verdict()
        answer = split_response(response)[1].strip()
        first = self.rule(problem, answer)
        if not self.asks(first):
            return first
        message = Message.user(self.prompt(problem, answer, first))
        reply = ""
        for number, temperature in enumerate(self.temperatures, 1):
            sampling = Sampling(temperature=temperature, max_tokens=self.max_tokens, seed=number)
            (call,) = await self.judge.sample([message], sampling)
            reply = "" if call.error else split_response(call.full_text)[1].strip()
            verdict = self.read(problem, answer, reply) if reply else None
            if verdict is not None:
                facts = {
                    **first.evidence,
                    **verdict.evidence,
                    "judge": self.judge.name,
                    "reply": reply,
                    "tries": number,
                }
                return Verdict(verdict.score, verdict.reason, verdict.code, {**facts, "rule_code": first.code})
        facts = {**first.evidence, "judge": self.judge.name, "reply": reply, "rule_code": first.code}
        return undecided(f"The judge {self.judge.name} gave no verdict in {len(self.temperatures)} tries.", **facts)


def zero_or_one(problem: Problem, answer: str, reply: str) -> Verdict | None:
    """A judge's reply as most official scorers read it: any "1" accepts, else any "0" rejects."""
    if "1" in reply:
        return right("The judge accepts.", answer=answer[:200])
    return wrong("The judge rejects.", answer=answer[:200]) if "0" in reply else None


def exactly_zero_or_one(problem: Problem, answer: str, reply: str) -> Verdict | None:
    """A judge's reply that must be 0 or 1 and nothing else."""
    return zero_or_one(problem, answer, reply) if reply in ("0", "1") else None


def equality_prompt(problem: Problem, answer: str, first: Verdict) -> str:
    """What a judge is asked: whether answer and gold mean the same. Worded here, not by any benchmark."""
    said = str(first.evidence.get("answer") or answer)
    return (
        "Decide whether a given answer agrees with the reference answer of a question. Equal values in other units "
        "agree (0.5 m and 50 cm). So does a small rounding where the answer says that it is approximate. Another "
        "number does not (12 m/s and 11.3 m/s). Reply with 1 if they agree and with 0 if they do not, nothing else.\n\n"
        f"Question: {problem.question}\nReference answer: {problem.answer}\nGiven answer: {said}\nReply (0 or 1):"
    )


def needs_judge(judge: Policy | None, name: str) -> Policy:
    """The judge, or a sentence that one is needed.

    Raises:
        InputError: there is none.
    """
    if judge is None:
        raise InputError(f"{name} is scored by a judge: name a model for it with --judge, or leave out the variant.")
    return judge


def facets_of(problem: Problem) -> Mapping[str, str]:
    """The break-down a loader stored in the problem's truth."""
    facets: Mapping[str, str] = problem.truth.get("facets", {})
    return facets


def group_of(problem: Problem) -> str:
    """Which problems count as one."""
    return str(problem.truth["group"])


def cluster_of(problem: Problem) -> str:
    """Problems that show the same pictures belong together."""
    return "/".join(picture.digest[:16] for picture in problem.images) or problem.id


def letters_agree(find: Callable[[Problem, str], str | None]) -> Equivalence:
    """Votes on letters: two responses agree when the same letter is found in them."""

    def found(problem: Problem, response: str) -> str | None:
        return find(problem, split_response(response)[1].strip())

    return Equivalence(found, lambda problem, a, b: a == b)
