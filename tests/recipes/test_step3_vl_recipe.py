"""A run of step3_vl: what it leaves and refuses, that a kill changes no number, and what its parts promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consilience.errors import ConsilienceError, InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.policy.loopback import Answer, LoopbackServer
from consilience.recipes.step3_vl.claims import CLAIMS
from consilience.recipes.step3_vl.recipe import evaluations_of, recipe
from consilience.recipes.step3_vl.work import BINARY, DECAY, MODEL, TRAINED, UNTRAINED
from consilience.request import RunRequest, Silent

POINTS = ["one", "vote-2", "sequential-2", "parallel-2", "vote-3", "sequential-3", "parallel-3"]


def request(out: Path, **fields: Any) -> RunRequest:
    return RunRequest("step3_vl", **{"scale": "smoke", "out": out, **fields})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipe().run(request(tmp_path_factory.mktemp("step3_vl") / "run"))


def records(run: Path) -> dict[Any, str]:
    return {key: json.dumps(value, sort_keys=True) for key, value in evaluations_of(run).items()}


def test_a_smoke_run_leaves_everything(ran: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "samples.jsonl", "claims.json", "tables.json", "report.html"):
        assert (ran / name).stat().st_size > 0, name
    found = evaluations_of(ran)
    assert set(found) == {(0, kind) for kind in (UNTRAINED, TRAINED, DECAY, BINARY)}
    assert list(found[0, TRAINED]) == POINTS
    assert all(len(record["right"]) == 4 for record in found[0, TRAINED].values())
    page = (ran / "report.html").read_text("utf-8")
    assert all(claim.sentence in page for claim in CLAIMS)


def test_a_smoke_run_names_every_claim_and_judges_none(ran: Path) -> None:
    rows = read_json(ran / "claims.json")
    assert [row["id"] for row in rows] == [claim.id for claim in CLAIMS]
    assert {row["verdict"] for row in rows} == {"not_measured"}


def test_arms_of_a_width_generate_as_many_trajectories(ran: Path) -> None:
    table = next(t for t in read_json(ran / "tables.json") if t["title"].startswith("Counts after training"))
    assert sorted(row[2] for row in table["rows"]) == [1, 3, 3, 3, 4, 4, 4]


def test_the_capacity_table_states_published_sizes(ran: Path) -> None:
    rows = read_json(ran / "tables.json")[-1]["rows"]
    assert ["step3_vl_10b", 4096, 1024, 2048] in rows
    assert ["step3", 16384, 256, 512] in rows


def test_pictures_and_answers_are_in_the_gallery(ran: Path) -> None:
    shown = read_jsonl(ran / "samples.jsonl")
    assert {sample["model"] for sample in shown} == {"parallel-3", "one"}
    assert all(sample["problem"]["modality"] == "image" for sample in shown)


class Killed(Exception):
    pass


class Killer(Silent):
    """Dies at the n-th report of a stage."""

    def __init__(self, stage: str, at: int) -> None:
        self.stage, self.at, self.now = stage, at, ""

    def start(self, stage: str, total: int, step: int = 0) -> None:
        self.now = stage

    def update(self, step: int, **numbers: float) -> None:
        if self.now == self.stage and step >= self.at:
            raise Killed


def test_a_run_killed_again_and_again_ends_in_the_same_numbers(ran: Path, tmp_path: Path) -> None:
    """In the warm start, in reinforcement, between and within measurements, in every unit."""
    out = tmp_path / "run"
    for stage, at in (("warm", 30), ("sequential-3", 2), ("synthesis", 1), ("binary", 2)):
        with pytest.raises(Killed):
            recipe().run(request(out, resume=out.exists(), progress=Killer(stage, at)))
    recipe().run(request(out, resume=True))
    assert records(out) == records(ran)


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"scale": "paper"}, InputError, "asks the released model, served"),
        ({"settings": {"level": "hard"}}, UnknownName, "hard"),
        ({"settings": {"wide": 2}}, InputError, "narrow=2 must be smaller than wide=2"),
        ({"settings": {"keep": 1.5}}, InputError, "keep=1.5 must lie above 0"),
        ({"settings": {"problems": 0}}, InputError, "problems=0 must be at least 1"),
        ({"settings": {"width": 20}}, InputError, "multiples of 16"),
        ({"settings": {"pixels": 3}}, UnknownName, "pixels"),
        ({"study": True, "part": "audio"}, UnknownName, "audio"),
    ],
)
def test_what_it_cannot_do_is_a_sentence_and_nothing_is_written(
    fields: dict[str, Any], error: type[ConsilienceError], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=sentence):
        recipe().run(request(tmp_path / "run", **fields))
    assert not (tmp_path / "run").exists()


def test_scale_paper_asks_a_served_model_about_whole_pictures(tmp_path: Path) -> None:
    """SeRe and PaCoRe of a server that always counts three: pictures stay in the synthesis turn, once."""
    bodies: list[Any] = []

    def behaviour(asked: Any, number: int) -> Answer:
        bodies.append(asked)
        return Answer("The answer is 3.", reasoning="I look.")

    import asyncio

    async def serve() -> Path:
        async with LoopbackServer(behaviour) as server:
            settings = {"problems": 3, "narrow": 1, "wide": 2}
            fields = {"scale": "paper", "model": "openai:step3-vl", "base_url": server.base_url, "settings": settings}
            return await asyncio.to_thread(recipe().run, request(tmp_path / "run", **fields))

    run = asyncio.run(serve())
    found = evaluations_of(run)[0, MODEL]
    truth = found["parallel-2"]["truth"]
    assert found["parallel-2"]["right"] == [int(n == 3) for n in truth]
    for body in bodies:
        parts = body["messages"][-1]["content"]
        assert sum(part["type"] == "image_url" for part in parts) == 1
    texts = ["".join(p.get("text", "") for p in body["messages"][-1]["content"]) for body in bodies]
    assert any("Reference 2:\nThe answer is 3." in text for text in texts)
