"""Judges through an injected policy: what is read, what fails under which name, and who is asked when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from judge_helpers import a_pair, asked, problem, says

from consilience.errors import InputError
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Image, Message, Problem, Text
from consilience.store import Store
from consilience.verify.judges import (
    Cascade,
    Criterion,
    JudgeModel,
    ReferenceJudge,
    RubricJudge,
    genrm,
    meta_judge,
    position_bias,
    prefer,
)
from consilience.verify.judges.meta import MetaState
from consilience.verify.judges.model import each
from consilience.verify.judges.pairwise import Winner, decide

# asking


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (Reply(error="503"), "call_failed"),
        (Reply(unreachable=True), "call_failed"),
        (Reply("\\boxed{A}", finish="length"), "truncated"),
        (Reply("<think>\\boxed{A}", finish="length"), "truncated"),
        (Reply("<think>\\boxed{A}"), "unparsed"),
        (Reply("I cannot say."), "unparsed"),
        (Reply(""), "unparsed"),
    ],
)
async def test_every_failure_has_its_name_and_counts_as_a_wrong_label(reply: Reply, failure: str) -> None:
    output = await genrm(says(reply), a_pair())
    assert (output.prediction, output.failure) == (None, failure)
    assert output.detail
    verdict = await meta_judge(says("never asked"), a_pair(), output.rationale, prediction=output.prediction)
    assert (verdict.state, verdict.calls) == (MetaState.SKIPPED, 0)


async def test_an_unreadable_reply_is_asked_anew_with_another_seed() -> None:
    seeds: list[int] = []

    def script(_: Sequence[Message], seed: int) -> str:
        seeds.append(seed)
        return "hm" if len(seeds) < 3 else "\\boxed{B}"

    output = await genrm(JudgeModel(ScriptedPolicy(script), attempts=3), a_pair())
    assert (output.prediction, output.facts["attempts"], len(set(seeds))) == ("B", 3, 3)
    assert output.facts["judge_tokens"] > 0
    assert output.facts["template"].startswith("genrm@")


async def test_replies_are_found_again_in_the_store(tmp_path: Path) -> None:
    with Store(tmp_path / "calls.db") as store:
        first, again = says("x \\boxed{A}", store=store), says("x \\boxed{B}", store=store)
        assert (await genrm(first, a_pair())).prediction == "A"
        assert (await genrm(again, a_pair())).prediction == "A"
        assert asked(again) == 0
        assert (await genrm(again, a_pair(), sample=1)).prediction == "B"


async def test_at_most_so_many_at_once_in_order() -> None:
    policy = ScriptedPolicy(lambda messages, _: Reply("\\boxed{A}", delay=0.01))
    model = JudgeModel(policy)
    pairs = [a_pair(name=str(i)) for i in range(12)]
    outputs = await each(pairs, lambda pair: genrm(model, pair), at_once=3)
    assert len(outputs) == 12
    assert policy.peak == 3

    async def late(i: int) -> int:
        await asyncio.sleep(0.01 * (3 - i))
        return i

    assert await each(range(3), late) == [0, 1, 2]


# pairwise


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (("A", "A"), ("A", "decided")),
        (("B", "B"), ("B", "decided")),
        (("A", "B"), ("tie", "order_disagrees")),
        (("B", "A"), ("tie", "order_disagrees")),
        (("A", "tie"), ("A", "decided")),
        (("tie", "B"), ("B", "decided")),
        (("tie", "tie"), ("tie", "tie")),
        (("A", None), (None, "unparsed")),
        (("A",), ("A", "decided")),
    ],
)
def test_votes_of_two_orders(votes: tuple[Winner | None, ...], expected: tuple[Winner | None, str]) -> None:
    assert decide(votes, "unparsed" if None in votes else "") == expected


async def test_a_judge_that_prefers_a_place_decides_nothing() -> None:
    pair = a_pair()
    preference = await prefer(says("\\boxed{A}"), pair)
    assert (preference.winner, preference.code, preference.points) == ("tie", "order_disagrees", 0.5)
    assert preference.votes == ("A", "B")
    single = await prefer(says("\\boxed{A}"), pair, both_orders=False)
    assert (single.winner, single.votes) == ("A", ("A",))


async def test_a_judge_that_reads_is_followed_in_both_orders() -> None:
    def script(messages: Sequence[Message], _: int) -> str:
        text = messages[-1].text
        return "\\boxed{A}" if text.index("first") < text.index("second") else "\\boxed{B}"

    preference = await prefer(JudgeModel(ScriptedPolicy(script)), a_pair())
    assert (preference.winner, preference.votes, preference.points) == ("A", ("A", "A"), 1.0)
    assert preference.judgement().score == 1.0


async def test_a_failed_order_fails_the_preference() -> None:
    preference = await prefer(says("\\boxed{A}", "neither"), a_pair())
    assert (preference.winner, preference.points, preference.code) == (None, None, "unparsed")
    judgement = preference.judgement()
    assert judgement.score is None
    assert judgement.verdict().evidence["masked"]


async def test_ties_are_refused_where_they_are_not_allowed() -> None:
    assert (await prefer(says("\\boxed{tie}"), a_pair())).code == "tie"
    assert (await prefer(says("\\boxed{tie}"), a_pair(), ties=False)).code == "unparsed"


async def test_position_bias() -> None:
    biased = [await prefer(says("\\boxed{A}"), a_pair()) for _ in range(4)]
    fair = [await prefer(says("\\boxed{A}", "\\boxed{B}"), a_pair()) for _ in range(4)]
    failed = [await prefer(says("?"), a_pair())]
    found = position_bias([*biased, *fair, *failed])
    assert found is not None
    assert (found.consistent.value, found.first.value, found.failed) == (0.5, 0.75, 1)
    assert position_bias(failed) is None


# rubric


RUBRIC = (Criterion("facts", "All numbers are right.", weight=3, most=2), Criterion("tone", "Polite."))


async def test_a_rubric_adds_weighted_shares() -> None:
    judge = RubricJudge(says("fine\n<scores>\nfacts: 1\ntone: 1\n</scores>"), RUBRIC)
    judgement = await judge.judge("q", "r")
    assert judgement.score == pytest.approx(0.75 * 0.5 + 0.25)
    assert judgement.evidence["shares"] == {"facts": pytest.approx(0.375), "tone": pytest.approx(0.25)}
    assert (judgement.code, judgement.reason) == ("partial", "Points lost on facts.")
    full = await RubricJudge(says("<scores>\nfacts: 2\ntone: 1\n</scores>"), RUBRIC).judge("q", "r")
    assert (full.score, full.code) == (1.0, "met")


async def test_an_incomplete_rubric_reply_is_no_zero() -> None:
    judgement = await RubricJudge(says("<scores>\nfacts: 2\n</scores>"), RUBRIC).judge("q", "r")
    assert (judgement.score, judgement.code) == (None, "unparsed")
    assert "tone is not scored" in judgement.reason


async def test_a_rubric_sees_the_picture_and_skips_what_was_cut_off() -> None:
    seen: list[object] = []

    def script(messages: Sequence[Message], _: int) -> str:
        seen.extend(messages[-1].parts)
        return "<scores>\nfacts: 2\ntone: 1\n</scores>"

    picture = Image(np.zeros((2, 2), np.uint8))
    asked_of = Problem("p", "w", "t", "image", (picture, Text("q")), "7", "integer")
    judge = RubricJudge(JudgeModel(ScriptedPolicy(script)), RUBRIC)
    assert (await judge(asked_of, "r", truncated=True)).score == 0.0
    assert seen == []
    assert (await judge(asked_of, "r")).score == 1.0
    assert picture in seen


@pytest.mark.parametrize(
    "criteria",
    [
        (),
        (RUBRIC[0], RUBRIC[0]),
        (Criterion("a b", "x"),),
        (Criterion("a", "x", weight=0),),
        (Criterion("a", "x", most=0),),
    ],
)
def test_a_wrong_rubric_is_refused(criteria: tuple[Criterion, ...]) -> None:
    with pytest.raises(InputError):
        RubricJudge(says("x"), criteria)


# reference and cascade


@pytest.mark.parametrize(
    ("reply", "score", "code"),
    [
        ("Final Judgment: \\boxed{A}", 1.0, "correct"),
        ("Final Judgment: \\boxed{B} - INCORRECT", 0.0, "incorrect"),
        ("\\boxed{C}", 0.0, "invalid"),
        ("\\boxed{D}", None, "unparsed"),
        ("correct", None, "unparsed"),
    ],
)
async def test_outcome_replies(reply: str, score: float | None, code: str) -> None:
    judgement = await ReferenceJudge(says(reply)).judge("q", "7", "r</think>seven")
    assert (judgement.score, judgement.code) == (score, code)


async def test_process_replies_and_what_each_subject_shows() -> None:
    shown: list[str] = []

    def script(messages: Sequence[Message], _: int) -> str:
        shown.append(messages[-1].text)
        return "\\boxed{A}" if "Final Judgment" in shown[-1] else "\\boxed{REJECT}"

    model = JudgeModel(ScriptedPolicy(script))
    assert (await ReferenceJudge(model).judge("q", "7", "persuasion</think>seven")).code == "correct"
    assert (await ReferenceJudge(model, "process").judge("q", "7", "luck</think>seven")).code == "incorrect"
    assert (await ReferenceJudge(model, "soundness").judge("q", "gold-7", "luck</think>seven")).code == "incorrect"
    assert "gold-7" not in shown.pop()
    assert "persuasion" not in shown[0]
    assert "luck" in shown[1]
    assert (await ReferenceJudge(model).judge("q", "7", "only thought</think> ")).code == "invalid"
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("response", "score", "calls"),
    [
        (r"\boxed{7}", 1.0, 0),
        (r"\boxed{8}", 0.0, 0),
        (r"\boxed{7} \boxed{8}", 0.0, 0),  # several boxes: a refusal, not a doubt
        ("the answer is 7 or 8", 0.0, 0),
        ("It is hard to say anything.", 0.0, 0),  # nothing found: no judge under the reward policy
        (r"\boxed{7 @@ §}", 1.0, 1),  # found but unreadable
        (r"\boxed{\int_0^7 1 dx}", 1.0, 1),  # read, but not decided
    ],
)
async def test_rules_first(response: str, score: float, calls: int) -> None:
    model = says("\\boxed{A}")
    cascade = Cascade(ReferenceJudge(model))
    judgement = await cascade.judge("q", "7", response)
    assert (judgement.score, asked(model)) == (score, calls)
    assert judgement.evidence["decided_by"] == ("judge" if calls else "rules")


async def test_evaluation_asks_about_a_missing_answer_too() -> None:
    model = says("\\boxed{B}")
    cascade = Cascade(ReferenceJudge(model), policy="evaluation")
    judgement = await cascade.judge("q", "7", "It is hard to say anything.")
    assert (judgement.score, judgement.evidence["rule_code"], asked(model)) == (0.0, "unparsed_pred", 1)


async def test_a_judge_that_fails_masks_only_what_the_rules_left_open() -> None:
    cascade = Cascade(ReferenceJudge(says(Reply(error="503"))), audit=1.0)
    assert (await cascade.judge("q", "7", r"\boxed{7}")).score == 1.0
    open_one = await cascade.judge("q", "7", r"\boxed{7 @@ §}")
    assert (open_one.score, open_one.code) == (None, "call_failed")
    assert cascade.log.failures == 2


async def test_the_log_of_disagreements(tmp_path: Path) -> None:
    cascade = Cascade(ReferenceJudge(says("\\boxed{A}")), audit=1.0)
    for i, response in enumerate((r"\boxed{7}", r"\boxed{8}", r"\boxed{7 @@ §}")):
        await cascade.judge("q", "7", response, id=str(i))
    log = cascade.log
    assert dict(log.counts) == {
        ("correct", "correct"): 1,
        ("incorrect", "correct"): 1,
        ("unparsed_pred", "correct"): 1,
    }
    assert (log.contradictions, [r["id"] for r in log.records]) == (1, ["1", "2"])
    assert log.table()["columns"] == ["rules", "correct"]
    log.write(tmp_path / "log.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["contradiction"] for row in rows] == [True, False]
    assert rows[0]["asked_because"] == "audit"


async def test_an_audit_takes_its_share_and_the_same_items_again() -> None:
    async def audited() -> tuple[int, list[bool]]:
        model = says("\\boxed{A}")
        cascade = Cascade(ReferenceJudge(model), audit=0.25)
        picked = []
        for i in range(400):
            before = asked(model)
            await cascade.judge("q", "7", f"{'so ' * (i % 5)}{i}: \\boxed{{7}}")
            picked.append(asked(model) > before)
        return asked(model), picked

    (calls, picked), (_, again) = await audited(), await audited()
    assert picked == again
    assert 60 <= calls <= 140
    with pytest.raises(InputError, match="share between 0 and 1"):
        Cascade(ReferenceJudge(says("x")), audit=2)


async def test_the_cascade_as_a_part_of_a_reward() -> None:
    cascade = Cascade(ReferenceJudge(says("\\boxed{B}")))
    assert (await cascade(problem("7"), "so</think>7")).score == 1.0
    assert (await cascade(problem("yes", "choice"), "so</think>yes")).score == 1.0
    assert (await cascade(problem("7"), "so</think>7", truncated=True)).score == 0.0
