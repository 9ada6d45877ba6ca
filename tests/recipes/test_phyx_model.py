"""The recipe `phyx` with a model behind an endpoint: fresh problems, official files, a judge, labels, and a kill."""

import asyncio
import json

import pytest

from consilience.bench.loaders.phyx_files import write_raw
from consilience.errors import InputError, UnknownName
from consilience.files import read_json
from consilience.policy.loopback import Answer, LoopbackServer
from consilience.recipes.phyx.real import FORMS, Asked, asked_of
from consilience.recipes.phyx.recipe import recipe
from consilience.request import RunRequest
from consilience.worlds.physics import world


def replies(request, number):
    """Letters for options, a value else; a judge always accepts."""
    asked = json.dumps(request["messages"])
    if "Reply (0 or 1)" in asked:
        return Answer("1")
    return Answer("The correct answer is A" if "OPTION" in asked else r"So \boxed{1.00 m}")


def run(out, server, **request):
    settings = {"problems": 2, "max_tokens": 64, **request.pop("settings", {})}
    return recipe().run(
        RunRequest("phyx", model="openai:m", base_url=server.base_url, out=out, settings=settings, **request)
    )


@pytest.fixture
def source(tmp_path):
    tasks = world()
    problems = [tasks.problem(k, split="test", level="clean", task="oe_dr", modality="image") for k in range(3)]
    write_raw(tmp_path / "files", problems)
    return next((tmp_path / "files").rglob("*.jsonl"))


async def test_fresh_problems_in_all_twelve_forms(tmp_path):
    async with LoopbackServer(replies) as server:
        directory = await asyncio.to_thread(run, tmp_path / "run", server)
        assert len(server.requests) == 12 * 2
    tables = {table["title"]: table for table in read_json(directory / "tables.json")}
    assert [row[0] for row in tables["Accuracy by form"]["rows"]] == sorted(FORMS)
    assert {"Accuracy by domain", "Accuracy by sub-domain", "Accuracy by reasoning type"} <= set(tables)
    assert "Kinds of error" in tables
    records = read_json(directory / "records.json")
    assert len(records) == 24
    assert all(record["fault"] or record["strict"] for record in records)
    choices = [record for record in records if record["form"].startswith("mc")]
    assert all(record["strict"] == record["official"] for record in choices)
    assert {row["verdict"] for row in read_json(directory / "claims.json")} == {"not_measured"}
    assert (directory / "report.html").exists()


async def test_official_files_with_a_judge_and_labels(tmp_path, source):
    (tmp_path / "labels.csv").write_text("index,error_type\n0,visual\n1,calculation\n2,luck\n")
    settings = {"problems": 3, "source": str(source), "forms": "oe-ft+mc-tm-tl", "labels": str(tmp_path / "labels.csv")}
    async with LoopbackServer(replies) as server:
        official = await asyncio.to_thread(run, tmp_path / "a", server, scale="paper", settings=settings)
        settings["judge"] = "openai:judge"
        judged = await asyncio.to_thread(run, tmp_path / "b", server, scale="paper", settings=settings)
    one, two = ({r["form"]: r for r in read_json(d / "records.json")} for d in (official, judged))
    assert set(one) == set(two) == {"oe-ft", "mc-tm-tl"}
    assert not one["oe-ft"]["official"]
    assert two["oe-ft"]["official"]  # the judge accepts everything
    assert not two["oe-ft"]["strict"]
    tables = {table["title"]: table for table in read_json(official / "tables.json")}
    assert [row[1] for row in tables["Kinds of error named by people"]["rows"]] == [1, 0, 0, 1]
    assert "row 3" in tables["Accuracy by form"]["note"]


async def test_a_run_that_was_stopped_goes_on_and_pays_for_no_sample_twice(tmp_path):
    async with LoopbackServer(replies) as server:
        some = {"forms": "oe-dr+mc-dr"}
        directory = await asyncio.to_thread(run, tmp_path / "run", server, settings={**some, "calls": 3})
        assert len(server.requests) == 3
        assert not (directory / "report.html").exists()
        await asyncio.to_thread(run, tmp_path / "run", server, resume=True, settings=some)
        assert len(server.requests) == 4
    assert len(read_json(directory / "records.json")) == 4
    assert "stopped" not in read_json(directory / "tables.json")[0]["note"]


@pytest.mark.parametrize(
    ("scale", "settings", "words"),
    [
        ("paper", {}, "add --set source=PhyX_test.jsonl"),
        ("laptop", {"forms": "oe-xx"}, "unknown form 'oe-xx'"),
        ("laptop", {"level": "harder"}, "unknown level 'harder'"),
        ("laptop", {"problems": 0}, "say how many"),
        ("laptop", {"judge": "nano"}, "needs no judge"),
        ("laptop", {"max_tokens": 0}, "max_tokens at least 1"),
        ("laptop", {"source": 3}, "must be of type str"),
        ("laptop", {"sauce": "x"}, "unknown setting 'sauce'"),
    ],
)
def test_impossible_questions_are_one_sentence(scale, settings, words):
    with pytest.raises((InputError, UnknownName), match=words):
        asked_of(RunRequest("phyx", scale=scale, model="openai:m"), settings)


def test_a_model_has_no_parts(tmp_path):
    with pytest.raises(InputError, match="leave out --study"):
        recipe().run(RunRequest("phyx", model="openai:m", study=True, out=tmp_path / "x"))
    assert Asked().names == FORMS
    assert len(FORMS) == 12
