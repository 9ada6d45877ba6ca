"""What the nano of the recipe `phyx` is shown, taught and measured by."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from consilience.files import read_jsonl
from consilience.recipes.phyx import asked, nano
from consilience.recipes.phyx.faults import KINDS, OTHERS, working
from consilience.recipes.phyx.sight import FITTING, WINDOW, blind, glyphs, quantity, windowed
from consilience.recipes.phyx.sizes import MOST_FAMILIES, Sizes
from consilience.recipes.phyx.work import RECORDS, STRICT, task_of
from consilience.request import Silent
from consilience.units import Unit
from consilience.verify.markup import split_response
from consilience.worlds.physics import world
from consilience.worlds.physics_families import FAMILIES
from consilience.worlds.physics_protocol import DOMAINS

SIZES = Sizes(eyes_steps=2, eyes_batch=2, sft_steps=2, batch=2, test=1, tokens=4)


def test_the_families_are_of_different_domains():
    assert len(FITTING) == MOST_FAMILIES
    domains = [FAMILIES[name].domain for name in FITTING]
    assert len(set(domains)) == len(domains)
    assert set(domains) <= set(DOMAINS)
    assert all(given.told for name in FITTING for given in FAMILIES[name].givens)


@pytest.mark.parametrize("name", FITTING)
def test_the_window_holds_every_label_and_its_places_are_those_of_the_labels(name):
    for seed in range(12):
        whole = world(name).problem(seed, level="clean", task="oe_tm", modality="image")
        seen = windowed(whole)
        assert seen.images[0].size == WINDOW
        for symbol, (x1, y1, x2, y2) in seen.truth["places"].items():
            assert 0 <= x1 < x2 <= WINDOW[0]
            assert 0 <= y1 < y2 <= WINDOW[1]
            left, top, right, bottom = map(int, whole.truth["places"][symbol])
            part = seen.images[0].pixels[int(y1) : int(y2), int(x1) : int(x2)]
            assert (part == whole.images[0].pixels[top:bottom, left:right]).all()
        assert STRICT(seen, seen.demonstration).correct


def test_what_does_not_fit_is_said():
    whole = world("wall").problem(0, level="clean", task="oe_tm", modality="image")
    with pytest.raises(ValueError, match="do not fit into 180 × 144"):
        windowed(whole)


def test_every_glyph_has_ink_where_it_is_said_to_stand():
    rng = random.Random(0)
    for name in FITTING:
        seen = windowed(world(name).problem(1, level="clean", task="oe_tm", modality="image"))
        objects = glyphs(seen, rng).truth["scene"]["objects"]
        text = "".join(quantity(seen, symbol) for symbol in seen.truth["places"])
        wanted = Counter(c for c in text if c.isascii() and c != " ")
        assert not wanted - Counter(thing["glyph"] for thing in objects)
        for thing in objects:
            x1, y1, x2, y2 = thing["box"]
            ink = 255 - seen.images[0].pixels[int(y1) : int(y2), int(x1) : round(x2)]
            assert ink.max() > 100, thing


def test_without_a_figure_nothing_is_cited():
    seen = windowed(world("plates").problem(1, level="clean", task="mc_dr", modality="image"))
    bare = blind(seen)
    assert bare.images == ()
    assert bare.question == seen.question
    assert "<box>" in seen.demonstration
    assert "<box>" not in bare.demonstration
    assert working(bare.demonstration) == working(seen.demonstration)
    assert split_response(bare.demonstration)[1] == seen.answer


def test_all_forms_ask_the_same_problems_and_both_learners_see_them():
    first, *others = ([p.truth["values"] for p in asked.asked_of(SIZES, 1, task)] for task in asked.TASKS)
    assert all(values == first for values in others)
    seen, words = (asked.demonstrated(replace(SIZES, batch=12), 1, 2, seen=flag) for flag in (True, False))
    assert [p.id for p in seen] == [p.id for p in words]
    assert Counter(p.task for p in seen) == Counter(asked.TAUGHT)
    assert {p.split for p in seen} == {"train"}
    assert {p.split for p in asked.asked_of(SIZES, 1, "oe_tm")} == {"test"}


def test_other_figures_are_of_the_same_family():
    problems = asked.asked_of(replace(SIZES, test=20, families=5), 0, "oe_tm")
    swapped = asked.shuffled(problems)
    assert [p.question for p in swapped] == [p.question for p in problems]
    alone = Counter(p.truth["family"] for p in problems)
    for mine, theirs in zip(problems, swapped, strict=True):
        source = next(p for p in problems if p.images[0] is theirs.images[0])
        assert source.truth["family"] == mine.truth["family"]
        assert (source is not mine) == (alone[mine.truth["family"]] > 1)


def test_the_most_frequent_answer_is_that_of_training_problems():
    problems = asked.asked_of(SIZES, 0, "mc_dr")
    said = asked.majority(problems, "mc_dr", 0)
    assert all(text.removeprefix("</think>") in "ABCD" for text in said)
    assert asked.majority(problems, "mc_dr", 0) == said


def test_a_record_of_perfect_answers():
    problems = asked.asked_of(replace(SIZES, test=4), 0, "oe_dr")
    found = asked.record("figures", "oe_dr", problems, [p.demonstration for p in problems])
    assert (found["strict"], found["calculated"], found["read"]) == ("1111", "1111", [1.0] * 4)
    assert (found["formula"], found["faults"]) == (4, {})
    silent = asked.record("figures", "oe_dr", problems, ["</think>"] * 4)
    assert (silent["strict"], silent["read"], silent["formula"]) == ("0000", [0.0] * 4, 0)
    assert silent["faults"] == {"no answer": 4}


def test_a_killed_nano_ends_in_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    unit = Unit("nano-seed0", (), task_of("nano", 0, SIZES))
    for name in ("whole", "torn"):
        (tmp_path / name / "units").mkdir(parents=True)
    nano.learn(tmp_path / "whole", unit, SIZES, 0, Silent())
    real, steps = nano.sft_step, iter(range(10))

    def dies(*args):
        if next(steps) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(nano, "SAVE_EVERY", 1)
    monkeypatch.setattr(nano, "sft_step", dies)
    with pytest.raises(KeyboardInterrupt):
        nano.learn(tmp_path / "torn", unit, SIZES, 0, Silent())
    monkeypatch.setattr(nano, "sft_step", real)
    nano.learn(tmp_path / "torn", unit, SIZES, 0, Silent())
    one, two = (list(read_jsonl(tmp_path / name / "units/nano-seed0" / RECORDS)) for name in ("whole", "torn"))
    assert one == two
    assert len(one) == 4 * 6
    assert all(set(record["faults"]) <= {*KINDS, *OTHERS} for record in one)
