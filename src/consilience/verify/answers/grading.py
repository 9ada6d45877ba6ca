"""Verdicts on answers: extract, read, compare, and judge by a policy.

`verify` decides one prediction, `compile_gold` reads a gold once for a whole group of rollouts, and `equivalent`
compares two written answers under one kind. Nothing here uses eval, signals or global state; it is safe in threads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from consilience.errors import InputError, UnknownName
from consilience.verdict import Verdict
from consilience.verify.answers.answer import Answer, read
from consilience.verify.answers.compare import compare_answers
from consilience.verify.answers.extract import Extraction, extract
from consilience.verify.answers.kinds import Gold, Kind, infer, kind_named
from consilience.verify.answers.limits import BUDGET, Meter, OutOfBudget
from consilience.verify.answers.outcome import Outcome, unknown
from consilience.verify.answers.texts import words
from consilience.verify.answers.tree import Apply, Node, show

VERSION = 2
LEGACY = ("hendrycks", "prm800k", "dapo", "qwen")
_TEXT_KINDS = frozenset({"choice", "choices", "boolean", "time", "date", "text"})
_TRANSFORM = re.compile(
    r"\b(?:simplif\w*|factor\w*|expand\w*|solve|rationali[sz]e|evaluate|compute|reduce|rewrite)\b", re.I
)
_DECIMAL_COMMA = re.compile(r"[-+]?(?:0|\d+),(?!\d{3}$)\d+|[-+]?0,\d+", re.ASCII)
_EXPRESSION = re.compile(r"\$\$?([^$]{1,500})\$\$?|\\\((.{1,500}?)\\\)|\\\[(.{1,500}?)\\\]", re.DOTALL)


LastResort = Callable[[Answer, Gold], Outcome | None]


class Code(StrEnum):
    """What a verdict says; `Verdict.code` holds one of these."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSED_PRED = "unparsed_pred"
    UNPARSED_GOLD = "unparsed_gold"
    AMBIGUOUS = "ambiguous"
    TIMEOUT = "timeout"
    RESOURCE = "resource"
    REFUSED_UNSAFE = "refused_unsafe"


@dataclass(frozen=True)
class GradingPolicy:
    """How strict a verdict is.

    reward: exact numbers, units kept where the gold has them, one answer in a box, after an anchor or alone; what
    cannot be decided is not correct. evaluation: decimals to their written digits, lenient about percent, missing
    units and names, and the last maths span counts. legacy:<name>: an older grader's rules, see `legacy`.
    """

    name: str
    lenient: bool = False
    legacy: str = ""

    @classmethod
    def reward(cls) -> GradingPolicy:
        """The strict policy for training."""
        return cls("reward")

    @classmethod
    def evaluation(cls) -> GradingPolicy:
        """The lenient policy for tables."""
        return cls("evaluation", lenient=True)


def grading_policy(policy: str | GradingPolicy) -> GradingPolicy:
    """The policy of a name: reward, evaluation, or legacy:hendrycks | prm800k | dapo | qwen.

    Raises:
        UnknownName: with the nearest known name.
    """
    if isinstance(policy, GradingPolicy):
        return policy
    known = {"reward": GradingPolicy.reward(), "evaluation": GradingPolicy.evaluation()}
    known |= {f"legacy:{name}": GradingPolicy(f"legacy:{name}", legacy=name) for name in LEGACY}
    if policy not in known:
        raise UnknownName("grading policy", policy, known)
    return known[policy]


def compile_gold(
    text: str,
    type: str | None = None,  # noqa: A002 - the column's name in data files
    *,
    policy: str | GradingPolicy = "reward",
    choices: Mapping[str, str] | None = None,
) -> Gold:
    """Read a true answer once, to be reused over a group of predictions.

    Args:
        text: the gold: a bare answer, one in maths delimiters or a box, or (evaluation) a whole solution.
        type: its kind, inferred when None: value, quantity, ratio, set, tuple, matrix, assignments, region,
            inequality, equation, choice, choices, boolean, time, date, text, or a common name of one of these.
        choices: content by letter, for multiple choice.

    Raises:
        InputError: the gold cannot be read as that kind. UnknownName: the type is unknown.
    """
    rules = grading_policy(policy)
    decimal_comma = rules.lenient and type is None and _DECIMAL_COMMA.fullmatch(text.strip())
    found = text.replace(",", ".") if decimal_comma else _gold_text(text, rules)
    return _as_gold(found, type, choices or {}, guess=rules.lenient)


def _as_gold(text: str, type: str | None, choices: Mapping[str, str], *, guess: bool = False) -> Gold:  # noqa: A002
    """A bare answer as a gold; with `guess` what cannot be read as mathematics is taken as text."""
    answer = read(text, measured=type is not None and kind_named(type) == "quantity")
    kind: Kind = kind_named(type) if type is not None else infer(answer)
    if type is None and len(answer.text) <= 12 and answer.text.strip("() .").upper() in choices:
        kind = "choice"
    unreadable = answer.node is None and (kind not in _TEXT_KINDS or _looks_mathematical(answer))
    kind = "text" if unreadable and guess else kind
    wordless = kind == "text" and not words(answer.text)
    if not answer.text or wordless or (unreadable and not guess):
        fault = answer.fault or "no words"
        raise InputError(f"the gold answer {text[:80]!r} cannot be read ({fault}): correct the record.")
    return Gold(answer, kind, {letter.upper(): read(content) for letter, content in choices.items()})


def _gold_text(text: str, rules: GradingPolicy) -> str:
    bare = read(text)
    boxed = "boxed" in text
    if bare.node is not None and not boxed and len(text) <= 200:
        return text
    found = extract(text, lenient=rules.lenient, wordy=True)
    return found.text or text


def _looks_mathematical(answer: Answer) -> bool:
    """Whether an unreadable answer was meant as mathematics, so that comparing its letters would be a guess."""
    return bool(re.search(r"[\d=<>+^_\\]", answer.text)) and not re.search(r"[A-Za-z]{3,}\s+[A-Za-z]{2,}", answer.text)


def verify(
    prediction: str,
    gold: str | Gold,
    *,
    policy: str | GradingPolicy = "reward",
    type: str | None = None,  # noqa: A002
    question: str = "",
    choices: Mapping[str, str] | None = None,
    budget: int = BUDGET,
    last_resort: LastResort | None = None,
) -> Verdict:
    """Whether a response's final answer is right.

    Args:
        prediction: the whole response, reasoning included.
        gold: the true answer, as text or compiled.
        policy: "reward" (default), "evaluation" or "legacy:<name>".
        type: the gold's kind when it is given as text; see `compile_gold`.
        question: the problem; for tasks such as simplify or factor an answer that repeats its expression is refused.
        choices: content by letter, for multiple choice.
        budget: counted work units, about a microsecond each, the same on every machine; past it the verdict is
            "timeout". Wall time is limited only where a process can be killed, see `pool`.
        last_resort: decides what the ladder leaves unknown; only where it can be killed, see `pool`.

    Returns:
        A verdict with score 1 for correct, else 0. Its code is one of `Code`; its evidence holds extracted, span,
        rule, kind, method, confidence, reason_codes and elapsed_ms. It never raises on text.
    """
    started = time.perf_counter()
    rules = grading_policy(policy)
    if rules.legacy:
        from consilience.verify.answers.legacy import legacy_verdict

        verdict = legacy_verdict(rules.legacy, prediction, gold.text if isinstance(gold, Gold) else gold, budget)
        return _timed(verdict, started)
    try:
        target = gold if isinstance(gold, Gold) else compile_gold(gold, type, policy=rules, choices=choices)
    except InputError as error:
        return _timed(Verdict(0.0, str(error), Code.UNPARSED_GOLD, {"reason_codes": ["unparsed_gold"]}), started)
    return _timed(_judge(prediction, target, rules, question, Meter(budget), last_resort), started)


def _timed(verdict: Verdict, started: float) -> Verdict:
    elapsed = round(1000 * (time.perf_counter() - started), 3)
    return Verdict(verdict.score, verdict.reason, verdict.code, {**verdict.evidence, "elapsed_ms": elapsed})


def _judge(
    prediction: str, gold: Gold, rules: GradingPolicy, question: str, meter: Meter, last_resort: LastResort | None
) -> Verdict:
    found = extract(prediction, lenient=rules.lenient, wordy=gold.kind in _TEXT_KINDS)
    if not found.text:
        return _verdict(Code.UNPARSED_PRED, "No final answer was found.", gold, found)
    if "several_boxes" in found.codes:
        return _verdict(Code.AMBIGUOUS, "Different answers are boxed without a revision.", gold, found)
    answer = read(found.text, measured=gold.kind == "quantity")
    try:
        if question and _repeats_question(answer, gold, question):
            reason = "The answer repeats the expression of the question."
            return _verdict(Code.INCORRECT, reason, gold, found, answer, unknown("question", "repeats_question"))
        outcome = compare_answers(answer, gold, meter, lenient=rules.lenient)
    except OutOfBudget:
        outcome = unknown("budget", "timeout")
    except RecursionError:
        outcome = unknown("limits", "too_large")
    if outcome.state == "unknown" and last_resort is not None:
        outcome = last_resort(answer, gold) or outcome
    return _from_outcome(outcome, gold, found, answer)


def _from_outcome(outcome: Outcome, gold: Gold, found: Extraction, answer: Answer) -> Verdict:
    if outcome.state == "equal":
        return _verdict(Code.CORRECT, f"{answer.text} equals {gold.text}.", gold, found, answer, outcome)
    if outcome.state == "different":
        return _verdict(Code.INCORRECT, f"{answer.text} is not {gold.text}.", gold, found, answer, outcome)
    if answer.node is None and gold.kind not in _TEXT_KINDS:
        code = Code.RESOURCE if answer.fault.startswith("too_large") else Code.UNPARSED_PRED
        return _verdict(code, f"The answer {answer.text[:60]!r} cannot be read.", gold, found, answer, outcome)
    if "timeout" in outcome.codes:
        return _verdict(Code.TIMEOUT, "The budget of work ran out.", gold, found, answer, outcome)
    if "hedge" in outcome.codes:
        return _verdict(Code.AMBIGUOUS, "The answer offers alternatives.", gold, found, answer, outcome)
    if "too_large" in outcome.codes:
        return _verdict(Code.RESOURCE, "The comparison would pass the size limits.", gold, found, answer, outcome)
    if "needs_extra_verify" in outcome.codes:
        reason = "Deciding this answer needs python-flint: pip install 'consilience[verify]'."
        return _verdict(Code.AMBIGUOUS, reason, gold, found, answer, outcome)
    reason = f"Whether {answer.text} equals {gold.text} could not be decided."
    return _verdict(Code.AMBIGUOUS, reason, gold, found, answer, outcome)


def _verdict(
    code: Code,
    reason: str,
    gold: Gold,
    found: Extraction,
    answer: Answer | None = None,
    outcome: Outcome | None = None,
) -> Verdict:
    codes = [*found.codes, *(outcome.codes if outcome else ())]
    evidence = {
        "extracted": answer.text if answer else found.text,
        "span": list(found.span),
        "rule": found.rule,
        "kind": gold.kind,
        "method": outcome.method if outcome else "",
        "confidence": outcome.confidence if outcome else 0.0,
        "reason_codes": codes,
    }
    return Verdict(float(code is Code.CORRECT), reason if len(reason) < 400 else reason[:400] + "…", code, evidence)


def _repeats_question(answer: Answer, gold: Gold, question: str) -> bool:
    """Whether a task that asks to transform an expression was answered with that very expression."""
    if answer.node is None or not isinstance(answer.node, Apply) or not _TRANSFORM.search(question):
        return False
    if gold.answer.node == answer.node:
        return False
    given = (read(next(g for g in m.groups() if g is not None)).node for m in _EXPRESSION.finditer(question))
    return any(node is not None and _sides(node, answer.node) for node in given)


def _sides(given: Node, answer: Node) -> bool:
    return given == answer or (isinstance(given, Apply) and given.head == "=" and answer in given.args)


def equivalent(a: str, b: str, type: str | None = None, *, budget: int = BUDGET) -> Outcome:  # noqa: A002
    """Whether two written answers are the same under one kind, by the exact rules of the reward policy.

    Reflexive, symmetric and transitive among answers that can be read, "unknown" left aside. Two expressions that
    agree only where both are real are unknown here, because agreeing on ever other domains is not transitive.

    Raises:
        InputError: b cannot be read. UnknownName: the type is unknown.
    """
    gold = _as_gold(b, type, {})
    try:
        outcome = compare_answers(read(a, measured=gold.kind == "quantity"), gold, Meter(budget))
    except OutOfBudget:
        return unknown("budget", "timeout")
    if outcome.state == "equal" and "domain_differs" in outcome.codes:
        return outcome._replace(state="unknown", confidence=0.0)
    return outcome


def explain(prediction: str, gold: str, *, policy: str | GradingPolicy = "reward", type: str | None = None) -> str:  # noqa: A002
    """How one verdict was reached, in lines for a person."""
    verdict = verify(prediction, gold, policy=policy, type=type)
    rules = grading_policy(policy)
    facts = verdict.evidence
    lines = [
        f"verdict     {verdict.code} (reward {verdict.score:g}) under {rules.name}",
        f"because     {verdict.reason}",
        f"extracted   {facts.get('extracted', '')!r} by rule {facts.get('rule', '-')}, span {facts.get('span', '-')}",
    ]
    for name, text in (("prediction", str(facts.get("extracted", ""))), ("gold", _gold_text(gold, rules))):
        answer = read(text, measured=facts.get("kind") == "quantity")
        tree = show(answer.node) if answer.node is not None else f"no tree ({answer.fault})"
        unit = f"  unit {dict(answer.unit.unit.dimension)}" if answer.unit else ""
        lines.append(f"{name:<11} {tree}{unit}")
    lines.append(
        f"compared    as {facts.get('kind', '-')} by {facts.get('method') or '-'}, "
        f"confidence {facts.get('confidence', 0)}, codes {', '.join(facts.get('reason_codes', [])) or 'none'}, "
        f"{facts.get('elapsed_ms')} ms"
    )
    return "\n".join(lines)
