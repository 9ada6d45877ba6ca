"""Judges of judges: verdicts on analyses, reasons matched one by one, and the studies that compare them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from judge_helpers import a_pair, asked, says

from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Message
from consilience.verify.judges import (
    JudgeModel,
    genrm,
    meta_judge,
)
from consilience.verify.judges.atomic import judge_reasons, match_reasons
from consilience.verify.judges.meta import MetaState, MetaVerdict, strongest
from consilience.verify.judges.study import audit, controls, generation_failures, metrics_of, order_check

# meta-judge


def verdict(word: str) -> str:
    points = "<golden_key_points>x</golden_key_points>"
    return f"{points}<genrm_analysis>y</genrm_analysis><final_verdict>{word}</final_verdict>"


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (verdict("Correct"), "Correct"),
        (verdict("incorrect."), "Incorrect"),
        (verdict("maybe"), "ParseFail"),
        ("<think>" + verdict("Correct") + "</think>" + verdict("Incorrect"), "Incorrect"),
        (Reply(verdict("Correct"), reasoning=verdict("Incorrect")), "Correct"),
        (Reply(verdict("Correct"), finish="length"), "ParseFail"),
        (Reply(error="429"), "CallFail"),
    ],
)
async def test_meta_states(reply: Reply | str, state: str) -> None:
    found = await meta_judge(says(reply), a_pair(), "A is right.", prediction="A")
    assert (found.state, found.calls) == (state, 1)
    assert found.score == {"Correct": 1.0, "Incorrect": 0.0}.get(state)


async def test_a_wrong_label_costs_no_call() -> None:
    model = says(verdict("Correct"))
    for prediction in ("B", None):
        assert (await meta_judge(model, a_pair(), "x", prediction=prediction)).state is MetaState.SKIPPED
    assert asked(model) == 0


async def test_one_of_several_golds_is_enough() -> None:
    pair = a_pair(golden=("one", "two", "three"))
    model = says(verdict("Incorrect"), verdict("Correct"))
    found = await meta_judge(model, pair, "x", prediction="A")
    assert (found.state, found.calls, asked(model)) == (MetaState.CORRECT, 2, 2)


def test_a_failure_is_not_hidden_behind_another_golds_incorrect() -> None:
    states = [MetaVerdict(MetaState.INCORRECT), MetaVerdict(MetaState.PARSE_FAIL)]
    assert strongest(states).state is MetaState.PARSE_FAIL
    assert strongest([*states, MetaVerdict(MetaState.CORRECT)]).state is MetaState.CORRECT
    assert strongest([]).state is MetaState.CALL_FAIL


async def test_thinking_is_cut_from_gold_and_explanation() -> None:
    shown: list[str] = []

    def script(messages: Sequence[Message], _: int) -> str:
        shown.append(messages[-1].text)
        return verdict("Correct")

    pair = a_pair(golden=("gold thought</think>gold reason",))
    await meta_judge(JudgeModel(ScriptedPolicy(script)), pair, "own thought</think>own reason", prediction="A")
    assert "thought" not in shown[0]
    assert "gold reason" in shown[0]
    assert "own reason" in shown[0]


# atomic reasons


def test_reasons_are_matched_once_each() -> None:
    match = match_reasons(3, 2, [(0, 0), (1, 0), (1, 1), (2, 1)])
    assert len(match.matched) == 2
    assert (match.precision, match.recall, match.f1) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8))
    assert match_reasons(2, 2, []).f1 == 0.0


async def test_atomic_judgement() -> None:
    judge = says("<matches>\nG1 = H2\nG2=H2\n</matches>")
    found = await judge_reasons(judge, ["sum is wrong", "rude"], ["longer", "sum is wrong"])
    assert (found.score, found.evidence["matched"]) == (0.5, [(0, 1)])
    assert (await judge_reasons(says("<matches>\nG3 = H1\n</matches>"), ["x"], ["y"])).score is None
    assert (await judge_reasons(says("<matches></matches>"), ["x"], ["y"])).score == 0.0
    nothing = says("x")
    assert (await judge_reasons(nothing, [], ["y"])).code == "no_reasons"
    assert asked(nothing) == 0


# the study


def by_rule(messages: Sequence[Message], _: int) -> str:
    """A meta-judge that compares golden text and explanation, word for word."""
    import re

    text = messages[-1].text
    blocks = {m[1]: m[3] for m in re.finditer(r"<(golden_judge|genrm_output) (\w{10})>\n(.*?)\n</\1 \2>", text, re.S)}
    return verdict("Correct" if blocks["golden_judge"] in blocks["genrm_output"] else "Incorrect")


async def test_audit_metrics_and_controls() -> None:
    pairs = [a_pair(golden=(f"A states {i}.",), name=str(i)) for i in range(10)]
    replies = [*(f"A states {i}. \\boxed{{A}}" for i in range(8)), "A is nice. \\boxed{A}", "\\boxed{B}"]
    model, meta = says(*replies), JudgeModel(ScriptedPolicy(by_rule, name="meta"))
    audited = await audit(pairs, model, meta, at_once=1)
    found = metrics_of(audited)
    assert (found.label_accuracy, found.fidelity) == (0.9, 0.8)
    assert asked(meta) == 9
    record = audited[0].to_json()
    assert (record["model_pred"], record["metarm_verdict"], record["metarm_score"]) == ("A", "Correct", 1.0)
    assert (record["meta"]["model_name"], record["meta"]["metarm_model_name"]) == ("judge", "meta")
    json.dumps(record)
    outputs = [item.output for item in audited]
    assert generation_failures(outputs) == {"call_failed": 0, "truncated": 0, "unparsed": 0}
    check = await controls(pairs, outputs, meta, seed=0, repeats=2)
    assert (check.shuffled.spurious, check.gold.spurious, check.flips) == (1.0, 0.0, 0.0)


async def test_order_check_renames_the_gold() -> None:
    def reads(messages: Sequence[Message], _: int) -> str:
        text = messages[-1].text
        side = "A" if text.index("first") < text.index("second") else "B"
        return f"{side} is right. \\boxed{{{side}}}"

    pairs = [a_pair(), a_pair(golden=("A better text.",), name="2")]
    model, meta = JudgeModel(ScriptedPolicy(reads)), JudgeModel(ScriptedPolicy(by_rule))
    outputs = [await genrm(model, pair) for pair in pairs]
    check = await order_check(pairs, outputs, model, meta)
    assert (check.compared, check.consistent, check.refused) == (1, 1, 1)
    assert [item.meta.state for item in check.swapped] == ["Correct"]
