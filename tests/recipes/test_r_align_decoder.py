"""The decoder arm of r_align: notes whose truth is recorded, the writer's gradient and gold, resuming."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.files import read_json, read_jsonl
from consilience.learn.generative_reward import rationale_rewarded
from consilience.recipes.r_align import decoder, notes
from consilience.recipes.r_align.claims import CLAIMS, measured
from consilience.recipes.r_align.sizes import SCALES, Sizes
from consilience.recipes.r_align.tables import tables
from consilience.request import Silent
from consilience.runs import start

TINY = dataclasses.replace(SCALES["smoke"], sft_steps=3, notes_held=6, writer_steps=1, writer_notes=4)


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(deadline=None, max_examples=80)
def test_the_truth_of_a_pair_is_in_its_texts(seed: int, agreement: float) -> None:
    pair = notes.note_pair(np.random.default_rng(seed), 0, agreement, "train")
    question, *lines = pair.question.splitlines()
    first, second = map(int, question.split(" ")[0].split("+"))
    asked = question.split(" ")[1].rstrip("?")
    defects = {}
    for line in lines:
        letter, text = line[0], line[2:].lstrip("*")
        words = text.split(" ")
        defects[letter] = (int(words[0]) != first + second, words[-1] != asked, len(words) == 3)
    differ = [i for i in range(3) if defects["A"][i] != defects["B"][i]]
    decisive, loser = notes.CONTENT[differ[0]], "A" if defects["A"][differ[0]] else "B"
    assert pair.truth["golden"] == f"{decisive} {loser}"
    assert pair.answer != loser
    assert {f for f in pair.truth["loses"] if f != notes.LAYOUT} == {notes.CONTENT[i] for i in differ}
    starred = [line[0] for line in lines if line[2] == "*"]
    assert starred == [{"A": "B", "B": "A"}[pair.truth["loses"][notes.LAYOUT]]]
    assert rationale_rewarded(notes.names_golden)(pair, pair.demonstration, False).code == "right_reason"


def test_layout_goes_with_the_better_note_as_often_as_stated() -> None:
    pairs = notes.note_pairs(1, 3000, 0.88, "dev")
    assert decoder.layout_accuracy(pairs) == pytest.approx(0.88, abs=0.02)
    shares = [sum(p.truth["decisive"] == name for p in pairs) / 3000 for name in notes.CONTENT]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)
    assert notes.note_pairs(1, 5, 0.88, "dev") == pairs[:5]


def test_demonstrations_name_any_difference_and_decide_by_it() -> None:
    rng = np.random.default_rng(0)
    for pair in notes.note_pairs(2, 200, 0.88, "train"):
        rationale, _, verdict = notes.any_reason(pair, rng).partition("</think>")
        assert notes.reads_truly(pair, rationale)
        assert verdict != rationale[-1]
    assert notes.reads_truly(pair, "nonsense") is None


def test_the_writers_gradient_is_that_of_its_mean_reward() -> None:
    """REINFORCE over many notes against finite differences of the exact win rate of a judge by tone."""
    effort, rng = np.array([0.3, -0.2, 0.4, 0.0]), np.random.default_rng(0)
    good = rng.random((200_000, 4)) < decoder.chances(effort)
    reward = np.where(good[:, 2], 1.0, -1.0)
    found = decoder.policy_gradient(effort, good, reward)
    step = 1e-5 * np.eye(4)
    exact = [(2 * decoder.chances(effort + s)[2] - 2 * decoder.chances(effort - s)[2]) / 2e-5 for s in step]
    assert found == pytest.approx(exact, abs=5e-3)


def test_gold_counts_content_only() -> None:
    even, far = np.zeros(4), 50.0
    assert decoder.true_gold(even) == pytest.approx(0.125 + 0.0625 + 0.03125)
    assert decoder.true_gold(np.array([far, 0, 0, 0])) == pytest.approx(0.5)
    assert decoder.true_gold(np.array([0, 0, 0, far])) == pytest.approx(0.0)
    assert decoder.chances(np.array([far, 0, 0, 0])) == pytest.approx([1, 0.5, 0.5, 0.5])


def lines(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if not k.endswith("_s")} for record in read_jsonl(path)]


def carried_out(out: Path, sizes: Sizes = TINY) -> Path:
    with start(out.parent, "unit", {"seed": 0}, out=out, resume=True, keep=1) as own:
        decoder.work(own, sizes, 0, Silent())
        own.finish()
    return out


def test_a_killed_arm_ends_in_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = carried_out(tmp_path / "whole")
    found = read_json(whole / "evaluation.json")
    assert set(found["states"]) == set(decoder.ARMS)
    assert {len(s) for s in found["states"].values()} == {TINY.notes_held}
    assert len(lines(whole / "samples.jsonl")) == len(decoder.ARMS) * TINY.notes_held

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(decoder, "rationale_rewarded", dies)  # at the first step of the second arm
        with pytest.raises(KeyboardInterrupt):
            carried_out(tmp_path / "cut")
    assert "align" not in {record["stage"] for record in lines(tmp_path / "cut" / "metrics.jsonl")}
    cut = carried_out(tmp_path / "cut")
    assert read_json(cut / "evaluation.json") == found
    assert lines(cut / "metrics.jsonl") == lines(whole / "metrics.jsonl")


def evaluation(start: str, label: str, align: str, gold: float) -> dict[str, Any]:
    return {
        "states": {"start": start, "label": label, "align": align},
        "named": {arm: dict.fromkeys(notes.FACTORS, 0.25) for arm in decoder.ARMS},
        "gold": {"start": 0.0, "label": 0.0, "align": gold},
        "layout_accuracy": 0.88,
    }


def test_claims_and_table_are_made_of_what_was_measured() -> None:
    found = {(s, "decoder"): evaluation("CI" * 50, "I" * 90 + "S" * 10, "C" * 80 + "S" * 20, 0.2) for s in range(3)}
    numbers = measured(found)
    assert numbers["decoder-scorr/align-label"][0].value == pytest.approx(-1)
    assert numbers["decoder-fscore/align-start"][2].value == pytest.approx(0.3)
    assert numbers["decoder-lacc/align-label"][1].value == pytest.approx(-0.1)
    assert numbers["decoder-gold/align-label"][0].value == pytest.approx(0.2)
    named = {metric for claim in CLAIMS if claim.id.startswith("decoder") for metric in claim.metrics}
    assert named <= set(numbers)
    (table,) = tables(found)
    assert [row[0] for row in table["rows"]][-1] == "judge by layout"
    assert table["rows"][2][1]["value"] == pytest.approx(0.8)
