"""Kinds of error: rules against known truth, the calculator, and labels that people gave."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from consilience.errors import InputError
from consilience.recipes.phyx import faults as f
from consilience.recipes.phyx.labels import agreement, kind_of, read_labels, shares
from consilience.recipes.phyx.solvers import err
from consilience.recipes.phyx.work import STRICT, questions
from consilience.worlds.physics import world


def slope(task="oe_dr", modality="image"):
    """A block on a ramp; L, θ and h = L·sin θ are known."""
    return world("incline_height").problem(3, split="test", level="clean", task=task, modality=modality)


def said(problem, *, length="", angle="", formula="h = L·sin θ", result="", answer=""):
    values = {symbol: f"{number} {unit}" for symbol, (number, unit, _) in problem.truth["values"].items()}
    result = result or problem.truth["gold"]
    return (
        f"L = {length or values['L']}<box><01><02><03><04></box>, θ = {angle or values['θ']}; {formula} = {result}"
        f"</think>{answer or result}"
    )


def test_the_first_thing_that_is_wrong_names_the_error():
    seen = slope()
    assert STRICT(seen, said(seen)).correct
    assert f.fault(seen, said(seen, length="77.7 m", result="9.99 m")) == f.VISUAL
    assert f.fault(slope("oe_ft"), said(seen, length="77.7 m", result="9.99 m")) == f.TEXT
    assert f.fault(slope("oe_tm", "text"), said(seen, angle="1.5°", result="9.99 m")) == f.TEXT
    assert f.fault(seen, said(seen, formula="h = L·cos θ", result="9.99 m")) == f.KNOWLEDGE
    assert f.fault(seen, said(seen, result="9.99 m")) == f.CALCULATION
    assert f.fault(seen, said(seen, answer="9.99 m")) == f.FINAL
    assert f.fault(seen, "; </think>I cannot tell.") == f.VISUAL
    assert f.fault(seen, "θ = ?; x</think>I cannot tell.") == f.VISUAL


def test_a_reading_in_another_unit_is_right():
    seen = slope()
    length = float(seen.truth["values"]["L"][0])
    assert f.fault(seen, said(seen, length=f"{100 * length:.0f} cm", result="9.99 m")) == f.CALCULATION


def test_answers_without_working_are_judged_by_their_value():
    seen, value = slope(), slope().truth["value"]
    (name, wrong), *_ = f.FAMILIES["incline_height"].mistakes
    assert name == "cosine for sine"
    true = {symbol: si for symbol, (_, _, si) in seen.truth["values"].items()}
    assert f.fault(seen, rf"Well.</think>\boxed{{{wrong(true):.4g} m}}") == f.KNOWLEDGE
    assert f.fault(seen, rf"Well.</think>\boxed{{{100 * value:.4g} m}}") == f.CALCULATION
    assert f.fault(seen, rf"Well.</think>\boxed{{{1.37 * value:.4g} m}}") == f.UNDECIDED
    assert f.fault(seen, "Well.</think>I would rather think about it for a long time and then say nothing at all, as "
                   "one should do in such cases.") == f.NO_ANSWER  # fmt: skip
    choice = slope("mc_dr")
    letter = next(iter(choice.truth["mistakes"]))
    assert f.fault(choice, f"Well; it is.</think>{letter}") in (f.KNOWLEDGE, f.CALCULATION)


@pytest.mark.parametrize(("task", "shown"), [("oe_ft", "image"), ("oe_dr", "image"), ("mc_tm", "image")])
def test_errors_of_known_kinds_are_named_rightly(task, shown):
    rng = random.Random(1)
    for problem in questions(7, 25, "medium", task, shown):
        text, kind = err(problem, rng)
        if not STRICT(problem, text).correct:
            assert f.fault(problem, text) == kind, text


def test_a_calculator_leaves_errors_of_reading_and_of_knowledge():
    seen = slope()
    assert STRICT(seen, f.calculated(seen, said(seen, result="9.99 m"))).correct
    assert not STRICT(seen, f.calculated(seen, said(seen, length="77.7 m", result="9.99 m"))).correct
    other = said(seen, formula="h = L/θ", result="9.99 m")
    assert f.calculated(seen, other) == other
    assert f.calculated(seen, "prose</think>4 m") == "prose</think>4 m"
    assert f.calculated(seen, said(seen, length="long")) == said(seen, length="long")
    choice = slope("mc_dr")
    assert f.calculated(choice, said(choice, result="9.99 m", answer="?")).endswith(f"</think>{choice.answer}")


def test_prose_is_no_working():
    assert f.working("The ramp; it is steep.</think>4 m") is None
    assert f.working("nothing</think>4 m") is None
    assert f.working("; </think>4 m") == f.Working({}, "", "")


def test_the_published_shares_are_those_of_96_answers():
    counts = {f.VISUAL: 38, f.KNOWLEDGE: 37, f.TEXT: 13, f.CALCULATION: 8}
    assert sum(counts.values()) == 96
    for kind, count in counts.items():
        assert f.PUBLISHED[kind] == pytest.approx(count / 96, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Visual Reasoning Error", f.VISUAL),
        ("visual", f.VISUAL),
        ("Text Reasoning Errors", f.TEXT),
        ("textual reasoning", f.TEXT),
        ("Lack of Knowledge", f.KNOWLEDGE),
        ("calculation error", f.CALCULATION),
    ],
)
def test_labels_are_recognised(text, kind):
    assert kind_of(text) == kind


def test_labels_of_people_are_read_and_broken_rows_named(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("index,error_type\n1.0,Visual Reasoning Error\n2,lack of knowledge\n3,bad luck\n2,visual\n4,\n")
    found, notes = read_labels(str(path))
    assert found == {"1": f.VISUAL, "2": f.KNOWLEDGE}
    assert [note.partition(": ")[0].rpartition("row ")[2] for note in notes] == ["3", "4", "5"]
    assert "two kinds of error" in notes[1]
    assert shares(found)[f.VISUAL] == (1, 2)
    (tmp_path / "x.csv").write_text("index,mood\n1,visual\n")
    with pytest.raises(InputError, match="lacks the column"):
        read_labels(str(tmp_path / "x.csv"))
    (tmp_path / "y.csv").write_text("index,error\n1,luck\n")
    with pytest.raises(InputError, match="no label can be used"):
        read_labels(str(tmp_path / "y.csv"))


def test_agreement_is_cohens_kappa():
    rng = random.Random(0)
    one = {str(k): rng.choice(f.KINDS) for k in range(60)}
    other = {k: kind if rng.random() < 0.7 else rng.choice(f.KINDS) for k, kind in one.items()}
    found = agreement(one, {**other, "more": f.TEXT})
    assert found.kappa == pytest.approx(cohen_kappa_score(list(one.values()), list(other.values())))
    assert found.share == pytest.approx(sum(one[k] == other[k] for k in one) / 60)
    assert sum(found.counts.values()) == 60
    assert agreement({"1": f.TEXT}, {"1": f.TEXT}).kappa is None
    with pytest.raises(InputError, match="share no index"):
        agreement(one, {"x": f.TEXT})
