"""A run of r_align: what it leaves, that a kill changes nothing, what it refuses, and the audit of a served model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from consilience import registry
from consilience.errors import ConsilienceError, InputError, PolicyError
from consilience.files import read_json, read_jsonl
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.protocols import Policy
from consilience.recipes.r_align import endpoint, texts
from consilience.recipes.r_align import recipe as module
from consilience.recipes.r_align.bandit import GenRM
from consilience.recipes.r_align.claims import CLAIMS
from consilience.recipes.r_align.recipe import evaluations_of, recipe
from consilience.recipes.r_align.sizes import CORE, PARTS, SCALES
from consilience.recipes.r_align.work import SYSTEMS
from consilience.request import RunRequest
from consilience.units import directory_of

SMOKE = SCALES["smoke"]


def request(out: Path | None = None, **fields: Any) -> RunRequest:
    return RunRequest("r_align", **{"scale": "smoke", "out": out, **fields})


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken smoke run, not to be written."""
    out = tmp_path_factory.mktemp("r_align") / "run"
    return recipe().run(request(out))


def lines(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if not k.endswith("_s")} for record in read_jsonl(path)]


def test_the_registry_finds_it() -> None:
    assert "r_align" in registry.names("recipe")
    assert registry.load("recipe", "r-align")().claims == CLAIMS


def test_a_smoke_run_leaves_everything(smoke_run: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "claims.json", "tables.json", "report.html"):
        assert (smoke_run / name).stat().st_size > 0, name
    assert read_json(smoke_run / "state.json")["finished"]
    rows = read_json(smoke_run / "claims.json")
    assert {row["id"] for row in rows} == {claim.id for claim in CLAIMS}
    assert {row["verdict"] for row in rows} == {"not_measured"}
    page = (smoke_run / "report.html").read_text()
    assert "SIMULATION" in page


def test_units_hold_one_letter_a_pair_and_every_audited_record(smoke_run: Path) -> None:
    found = evaluations_of(smoke_run)
    assert set(found) == {(0, part) for part in CORE}
    assert {len(s) for s in found[0, "bandit"]["states"].values()} == {SMOKE.held}
    assert {len(s) for s in found[0, "text"]["states"].values()} == {SMOKE.text_held}
    records = lines(directory_of(smoke_run, "seed0-text") / "audited.jsonl")
    assert len(records) == len(SYSTEMS) * SMOKE.text_held
    assert {r["metarm_verdict"] for r in records} <= {"Correct", "Incorrect", "SkippedLabelMismatch"}
    assert {r["metarm_score"] for r in records} <= {1.0, 0.0, None}


def test_metrics_follow_both_trainings(smoke_run: Path) -> None:
    names = {name for record in lines(smoke_run / "metrics.jsonl") for name in record}
    assert {"reward", "label_accuracy", "masked", "writer_gold/align"} <= names
    for part in ("bandit", "text"):
        for reward in ("label", "align"):
            assert {f"{part}/{reward}/reward", f"{part}/{reward}/format_share"} <= names


def test_a_killed_run_ends_in_the_same_numbers(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("consilience.recipes.r_align.work.controls", dies)  # in the middle of the text unit
        with pytest.raises(KeyboardInterrupt):
            recipe().run(request(out))
    assert set(evaluations_of(out)) == {(0, "bandit")}
    recipe().run(request(out, resume=True))
    for name in ("tables.json", "claims.json"):
        assert read_json(out / name) == read_json(smoke_run / name)
    assert lines(out / "metrics.jsonl") == lines(smoke_run / "metrics.jsonl")
    assert evaluations_of(out) == evaluations_of(smoke_run)


def test_a_study_runs_every_part_and_records_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"seeds": 1, "steps": 3, "actor_steps": 2, "held": 50, "pool": 40, "text_held": 12}
    out = recipe().run(request(tmp_path / "run", study=True, settings=settings))
    assert {part for _, part in evaluations_of(out)} == set(PARTS)
    assert "<!-- begin r_align -->" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"study": True, "part": "phrase"}, "unknown part 'phrase': did you mean 'phase'?"),
        ({"settings": {"seeds": 0}}, "seeds=0"),
        ({"settings": {"stpes": 1}}, "did you mean 'steps'?"),
        ({"scale": "gpu"}, "scale gpu has no sizes of its own"),
        ({"scale": "paper"}, "add --model openai:NAME"),
        ({"model": "openai:m"}, "an audit needs a meta-judge"),
        ({"model": "openai:m", "settings": {"meta": "openai:n", "pears": 3}}, "did you mean 'pairs'?"),
        ({"model": "openai:m", "settings": {"meta": "openai:n", "pairs": 0}}, "pairs=0 must be at least 1"),
        ({"model": "openai:m", "settings": {"meta": "openai:n", "pairs": "all"}}, "must be of type int"),
        ({"model": "openai:m", "study": True, "settings": {"meta": "openai:n"}}, "leave out --study"),
        ({"model": "openai:m", "settings": {"meta": "openai:n", "data": "absent.jsonl"}}, "absent.jsonl"),
    ],
)
def test_what_it_cannot_do_is_one_sentence_and_leaves_nothing(
    fields: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("it got past the checks")

    monkeypatch.setattr(module, "run_units", started)
    with pytest.raises(ConsilienceError) as caught:
        recipe().run(request(tmp_path / "run", **fields))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


# the audit of a model behind an endpoint, with scripted ones in its place


def opens(monkeypatch: pytest.MonkeyPatch, **policies: Policy) -> None:
    monkeypatch.setattr(endpoint, "open_policy", lambda spec, base_url="": policies[spec.partition(":")[2]])


AUDIT = {"meta": "openai:meta", "pairs": 30, "attempts": 1}


def test_an_audit_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, meta = texts.simulated_genrm(GenRM.fresh(), "judge", fails=0.1), texts.rule_meta_judge("rule")
    opens(monkeypatch, judge=model, meta=meta)
    out = recipe().run(request(tmp_path / "run", scale="paper", model="openai:judge", settings=AUDIT))
    main, controls, paper = read_json(out / "tables.json")
    records = lines(out / "audited.jsonl")
    assert main["rows"][0][0] == len(records) == 30
    values = {row[0]: row[1] for row in controls["rows"]}
    assert values["S-Corr with shuffled golds (near 1)"] == 1.0
    assert values["S-Corr with the gold as explanation (near 0)"] == 0.0
    assert "not measured" in paper["title"]
    (row,) = csv.DictReader((out / "summary.csv").open())
    states = [r["metarm_verdict"] for r in records]
    accuracy = 100 * sum(s != "SkippedLabelMismatch" for s in states) / 30
    assert row["text__label_acc"] == f"{accuracy:.4f}"
    assert row["model"] == "openai:judge"
    assert "unparsed" in main["note"]
    assert (out / "report.html").exists()
    assert {r["verdict"] for r in read_json(out / "claims.json")} == {"not_measured"}


def test_a_killed_audit_pays_no_reply_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, meta = texts.simulated_genrm(GenRM.fresh(), "judge"), texts.rule_meta_judge("rule")
    opens(monkeypatch, judge=model, meta=meta)
    asked = request(tmp_path / "run", scale="paper", model="openai:judge", settings=AUDIT)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(endpoint, "order_check", dies)
        with pytest.raises(KeyboardInterrupt):
            recipe().run(asked)
    before = model.calls
    out = recipe().run(request(tmp_path / "run", scale="paper", model="openai:judge", settings=AUDIT, resume=True))
    assert model.calls == before + 30  # only the exchanged pairs are new
    assert len(lines(out / "audited.jsonl")) == 30


def test_an_audit_of_ones_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [item.pair for item in texts.text_pairs(3, 12, 0.88)]
    data = tmp_path / "helpsteer3_aug.jsonl"
    data.write_text("".join(json.dumps(pair.to_json()) + "\n" for pair in pairs))
    opens(monkeypatch, judge=texts.simulated_genrm(GenRM.fresh(), "judge"), meta=texts.rule_meta_judge("rule"))
    settings = {**AUDIT, "data": str(data), "pairs": 8}
    out = recipe().run(request(tmp_path / "run", scale="paper", model="openai:judge", settings=settings))
    assert [r["id"] for r in lines(out / "audited.jsonl")] == [pair.id for pair in pairs[:8]]
    bare = {**pairs[0].to_json(), "gt_judgment": None}
    data.write_text(json.dumps(bare) + "\n")
    with pytest.raises(InputError, match="has no gt_judgment"):
        recipe().run(request(tmp_path / "other", scale="paper", model="openai:judge", settings=settings))
    assert not (tmp_path / "other").exists()


def test_a_model_that_never_answers_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens(monkeypatch, judge=ScriptedPolicy(lambda _, __: Reply(error="503")), meta=texts.rule_meta_judge("rule"))
    with pytest.raises(PolicyError, match="answered nothing"):
        recipe().run(request(tmp_path / "run", scale="paper", model="openai:judge", settings=AUDIT))
    assert not (tmp_path / "run" / "tables.json").exists()
    shutil.rmtree(tmp_path / "run")
