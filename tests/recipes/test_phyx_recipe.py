"""The recipe `phyx`: its reader, its simulated solvers, its numbers, and a small run end to end, killed and resumed."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import consilience.recipes.phyx.recipe as module
from consilience.claims import evaluate
from consilience.errors import InputError, MissingExtra, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.recipes.phyx import work
from consilience.recipes.phyx.claims import CLAIMS
from consilience.recipes.phyx.quantities import si_of, si_value
from consilience.recipes.phyx.reader import cut, train
from consilience.recipes.phyx.recipe import numbers_of, recipe
from consilience.recipes.phyx.results import results_of
from consilience.recipes.phyx.sizes import Sizes, sizes_of
from consilience.recipes.phyx.solvers import from_words, recognised, respond
from consilience.recipes.phyx.work import questions, readings
from consilience.request import RunRequest
from consilience.worlds.physics import world
from consilience.worlds.physics_families import FAMILIES
from consilience.worlds.physics_protocol import DOMAINS, REASONING

TINY = {
    "problems": 8, "strings": 60, "readings": 3, "workers": 1,
    "eyes_steps": 1, "eyes_batch": 2, "sft_steps": 1, "batch": 2, "test": 2, "tokens": 12,
}  # fmt: skip


@pytest.fixture(scope="module")
def reader():
    return train(60, random.Random(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phyx") / "run"
    return recipe().run(RunRequest("phyx", scale="smoke", out=out, settings=TINY))


def test_the_reader_reads_labels_and_less_of_them_in_noise(reader):
    clean, _, hard = readings(reader, Sizes(readings=15), seed=0)
    assert clean["right"] / clean["total"] > 0.9
    assert hard["right"] / hard["total"] > 0.7
    assert clean["total"] > 30


def test_glyphs_are_cut_at_empty_columns():
    ink = np.zeros((10, 12), np.uint8)
    ink[2:8, 1:3] = ink[2:8, 6:9] = 255
    assert [int(glyph.sum()) for glyph in cut(ink)] == [12, 18]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_question_names_its_family_and_full_text_holds_every_told_value(name):
    problem = world(name).problem(3, level="medium", task="oe_ft", modality="text")
    family = recognised(problem)
    assert family is FAMILIES[name]
    found = from_words(problem, family)
    for given in family.givens:
        if given.symbol in problem.truth["values"]:
            assert si_of(given, found[given.symbol]) == pytest.approx(problem.truth["values"][given.symbol][2])


def test_units_are_brought_to_si():
    given = FAMILIES["throw"].givens[0]
    assert si_value(given, "85", "cm") == pytest.approx(0.85)
    assert si_value(given, "85", "kg") is None
    assert si_of(given, "85 cm") == pytest.approx(0.85)
    assert si_of(FAMILIES["incline_height"].givens[1], "20.0°") == pytest.approx(np.pi / 9)
    assert si_of(given, "high") is None


def test_words_alone_fail_without_numbers(reader):
    full, bare = (questions(0, 12, "clean", task, "image") for task in ("oe_ft", "oe_tm"))
    rng = random.Random(0)
    said = [[respond("text", problem, reader, 0.6, rng) for problem in asked] for asked in (full, bare)]
    assert sum("boxed" in text for text in said[0]) >= 8
    assert not any("boxed" in text for text in said[1])


def test_sizes_and_requests_that_cannot_be(tmp_path):
    with pytest.raises(UnknownName, match="problems"):
        sizes_of("laptop", False, {"problem": 3})
    with pytest.raises(InputError, match="problems=0 must be at least 1"):
        sizes_of("laptop", False, {"problems": 0})
    with pytest.raises(InputError, match="skill lies between"):
        sizes_of("laptop", False, {"skill": 1.0})
    with pytest.raises(UnknownName, match="hard"):
        sizes_of("laptop", False, {"level": "harder"})
    for scale in ("paper", "gpu"):
        with pytest.raises(InputError, match="--model openai:NAME"):
            recipe().run(RunRequest("phyx", scale=scale))
    with pytest.raises(UnknownName, match="nano"):
        recipe().run(RunRequest("phyx", study=True, part="nanos", out=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_without_torch_the_nano_is_refused_and_the_solvers_are_not(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    request = RunRequest("phyx", scale="smoke")
    with pytest.raises(MissingExtra, match="learners=0"):
        recipe().run(request)
    units = module._units(request, replace(sizes_of("smoke", False, {}), learners=0))
    assert [unit.name for unit in units] == ["solvers-seed0"]


def test_a_small_run_measures_every_claim(run):
    found = results_of(run)
    assert len(found.solvers) == 12 * 4 + 6
    assert len(found.readings) == 3
    assert len(found.learnt) == 4 * 6
    assert len(found.facets[0]) == 8
    numbers = numbers_of(found)
    for claim in CLAIMS:
        assert set(claim.metrics) <= set(numbers)
        if claim.seeds > 1:
            assert evaluate(claim, numbers).note.startswith("measured with 1 of the 3 seeds")
    assert all(row["verdict"] == "not_measured" for row in read_json(run / "claims.json"))
    assert numbers["bare letter strict-official"][0].value == 1
    assert (run / "report.html").exists()


def test_the_tables_have_every_domain_sub_domain_and_reasoning_type(run):
    tables = {table["title"]: table for table in read_json(run / "tables.json")}
    assert list(tables) == [
        "Accuracy by form, strict rules",
        "Accuracy by form, official rules",
        "Accuracy by domain",
        "Accuracy by sub-domain",
        "Accuracy by reasoning type",
        "Labels read right",
        "Kinds of error",
        "Errors of known kinds",
        "Nano on physics figures",
        "Nano: kinds of error",
    ]
    assert [row[0] for row in tables["Accuracy by domain"]["rows"]] == list(DOMAINS)
    assert len(tables["Accuracy by sub-domain"]["rows"]) == 25
    assert [row[0] for row in tables["Accuracy by reasoning type"]["rows"]] == list(REASONING)
    assert sum(row[1] for row in tables["Accuracy by domain"]["rows"]) == 8
    assert len(tables["Nano on physics figures"]["rows"]) == 4 * 6
    for table in tables.values():
        assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_a_killed_run_ends_in_the_same_numbers(run, tmp_path, monkeypatch):
    real = work.evaluated

    def dies(stage, *rest):
        if stage == "mc_dr-image":
            raise KeyboardInterrupt
        return real(stage, *rest)

    monkeypatch.setattr(work, "evaluated", dies)
    settings = {**TINY, "learners": 0}
    request = RunRequest("phyx", scale="smoke", out=tmp_path / "killed", settings=settings)
    with pytest.raises(KeyboardInterrupt):
        recipe().run(request)
    monkeypatch.undo()
    again = recipe().run(RunRequest("phyx", scale="smoke", out=tmp_path / "killed", settings=settings, resume=True))
    name = f"units/solvers-seed0/{work.RECORDS}"
    assert list(read_jsonl(again / name)) == list(read_jsonl(run / name))
