"""A run of PaCoRe: what it leaves and refuses, that a kill changes no number, and that no trajectory is paid twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consilience.errors import ConsilienceError, InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.learn.pacore_data import Pool, load_pools, save_pools
from consilience.policy.loopback import Answer, LoopbackServer
from consilience.recipes.pacore.claims import CLAIMS
from consilience.recipes.pacore.recipe import evaluations_of, recipe
from consilience.recipes.pacore.tables import FRAMES
from consilience.recipes.pacore.work import BLIND, NANO, READER, SIMULATED, TRAINED, UNTRAINED
from consilience.request import RunRequest, Silent
from consilience.runs import Run
from consilience.store import Store
from consilience.units import Unit, directory_of


def request(out: Path | None, **fields: Any) -> RunRequest:
    return RunRequest("pacore", **{"scale": "smoke", "out": out, **fields})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipe().run(request(tmp_path_factory.mktemp("pacore") / "run"))


def records(run: Path) -> dict[Any, Any]:
    """What was measured, as text."""
    return {key: json.dumps(value, sort_keys=True) for key, value in evaluations_of(run).items()}


def test_a_smoke_run_leaves_everything(ran: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "samples.jsonl", "claims.json", "tables.json", "report.html"):
        assert (ran / name).stat().st_size > 0, name
    assert read_json(ran / "state.json")["finished"]
    assert set(evaluations_of(ran)) == {(0, part) for part in (SIMULATED, BLIND, NANO, READER, UNTRAINED, TRAINED)}
    page = (ran / "report.html").read_text("utf-8")
    assert all(claim.sentence in page for claim in CLAIMS)


def test_a_smoke_run_names_every_claim_and_judges_none(ran: Path) -> None:
    rows = read_json(ran / "claims.json")
    assert [row["id"] for row in rows] == [claim.id for claim in CLAIMS]
    assert {row["verdict"] for row in rows} == {"not_measured"}


def test_every_point_has_a_row_and_simulations_are_labelled_wherever_they_stand(ran: Path) -> None:
    tables = read_json(ran / "tables.json")
    titles = [table["title"] for table in tables]
    assert len(titles) == 18
    assert sum("SIMULATED" in title and "no evidence about models" in title for title in titles) == 6
    assert sum("nano, untrained" in title for title in titles) == 3
    assert sum(title.startswith("Training the synthesis") for title in titles) == 2
    points = [row[:3] for row in next(t for t in tables if "nano, untrained" in t["title"])["rows"]]
    some = (["plain vote", "4", 5], ["parallel [K]", "4", 5], ["sequential [1, …, 1]", "4", 5])
    assert points[0] == ["one trajectory", "–", 1]
    assert all(row in points for row in some)
    for claim in CLAIMS:
        assert ("SIMULATED" in claim.sentence) == claim.metrics[0].startswith((SIMULATED, BLIND))


def test_the_gallery_shows_the_widest_round_before_one_trajectory(ran: Path) -> None:
    models = list(dict.fromkeys(sample["model"] for sample in read_jsonl(ran / "samples.jsonl")))
    nano = ["parallel-4", "one", "vote-4", "sequential-4", "pasted-4"]
    assert models == ["trained parallel-3", "trained one", *nano]


def test_curves_are_accuracy_over_generated_tokens(ran: Path) -> None:
    parts = {frame: part for part, frame in FRAMES.items()}
    rows = list(read_jsonl(ran / "metrics.jsonl"))
    for part, record in ((parts[r["stage"]], r) for r in rows if r["stage"] in parts):
        tokens = {round(sum(p["tokens"]) / len(p["tokens"])) for p in evaluations_of(ran)[0, part].values()}
        assert record["step"] in tokens
        name = next(key for key in record if key.startswith("accuracy/"))
        assert record[f"{name}_low"] <= record[name] <= record[f"{name}_high"]
    trained = {r["stage"]: r["step"] for r in rows if r["stage"] not in parts}
    assert trained == {"learn": 2, "format": 2, "ppo-stage1": 2, "ppo-stage2": 1}


def test_what_training_kept_is_written_and_rewards_were_logged(ran: Path) -> None:
    ppo, start = directory_of(ran, "seed0-ppo"), directory_of(ran, "seed0-start")
    kept = read_json(ppo / "kept.json")
    pools = load_pools(start / "pools.jsonl")
    assert kept == {"pools": 8, "stage1": 8, "stage2": 8}  # a smoke run filters nothing
    assert set(read_json(ppo / "filter.json")) == {pool.problem.id for pool in pools}
    assert all(pool.attempts == 4 and pool.problem.split == "train" for pool in pools)
    lines = list(read_jsonl(ppo / "metrics.jsonl"))
    assert all(0 <= line["reward"] <= 1 and line["clip_fraction"] == 0 for line in lines)
    assert {"dev/synthesis", "dev/free"} <= set(lines[1])
    assert (ppo / "model" / "model.safetensors").exists()


def test_problems_that_are_never_right_cannot_be_trained_on(ran: Path, tmp_path: Path) -> None:
    from consilience.recipes.pacore.training import reinforce

    shutil.copytree(directory_of(ran, "seed0-start"), directory_of(tmp_path, "seed0-start"))
    sizes = {**read_json(ran / "config.json")["training"], "filters": 1}
    pools = load_pools(directory_of(ran, "seed0-start") / "pools.jsonl")
    wrong = [Pool(pool.problem, pool.messages, (0.0,) * len(pool.messages), pool.attempts) for pool in pools]
    save_pools(directory_of(tmp_path, "seed0-start") / "pools.jsonl", wrong)
    unit = Unit("seed0-ppo", ("seed0-start",), {"seed": 0, "training": sizes})
    with (
        Run.create(directory_of(tmp_path, "seed0-ppo"), {}) as own,
        Store(tmp_path / "t.db") as store,
        pytest.raises(InputError, match="none of the 8 training problems"),
    ):
        reinforce(tmp_path, own, unit, store, Silent())


class Killed(Silent):
    """Ends the process at a point of a part's curve as Ctrl-C would."""

    def __init__(self, stage: str, after: int) -> None:
        self.stage, self.left = stage, after

    def start(self, stage: str, total: int, step: int = 0) -> None:
        self.here = stage

    def update(self, step: int, **numbers: float) -> None:
        self.left -= self.here == self.stage
        if self.left < 0:
            raise KeyboardInterrupt

    def fork(self) -> Silent:
        return self


def test_a_killed_run_resumes_to_the_same_numbers(ran: Path, tmp_path: Path) -> None:
    for stage in ("ppo-stage1", "parallel-4"):
        with pytest.raises(KeyboardInterrupt):
            recipe().run(request(tmp_path / "killed", resume=True, progress=Killed(stage, 1)))
    assert records(recipe().run(request(tmp_path / "killed", resume=True))) == records(ran)


def test_a_part_of_a_study_writes_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"seeds": 2, "simulated": 4, "widths": "2"}
    run = recipe().run(request(tmp_path / "run", study=True, part="simulation", settings=settings))
    assert set(evaluations_of(run)) == {(seed, part) for seed in (0, 1) for part in (SIMULATED, BLIND)}
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "## pacore" in text
    assert "SIMULATED reasoner that reads its references: mechanism, no evidence about models" in text
    assert "Mean over 2 seeds" in text


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"settings": {"problms": 3}}, UnknownName, "did you mean 'problems'"),
        ({"settings": {"problems": 0}}, InputError, "problems=0 must be at least 1"),
        ({"settings": {"problems": 1.5}}, InputError, "must be of type int"),
        ({"settings": {"widths": "4,2"}}, InputError, "must rise"),
        ({"settings": {"widths": "4,0"}}, InputError, "whole numbers from 1"),
        ({"settings": {"deep": "4"}}, InputError, "schedule of two rounds"),
        ({"settings": {"level": "eazy"}}, UnknownName, "did you mean 'easy'"),
        ({"settings": {"modality": "sound"}}, UnknownName, "unknown modality"),
        ({"settings": {"questions": "/nowhere.jsonl"}}, InputError, "there is no file"),
        ({"settings": {"seeds": 0}}, InputError, "seeds=0 must be a whole number"),
        ({"study": True, "part": "simulating"}, UnknownName, "did you mean 'simulation'"),
        ({"scale": "paper"}, InputError, "add --model openai:NAME"),
        ({"scale": "paper", "model": "openai:m"}, InputError, "--set questions=FILE.jsonl"),
        ({"model": "openai"}, InputError, "unknown model"),
    ],
)
def test_a_fault_is_one_sentence(
    fields: dict[str, Any], error: type[ConsilienceError], words: str, tmp_path: Path
) -> None:
    settings = {"simulated": 0, **fields.pop("settings", {})}
    with pytest.raises(error, match=words):
        recipe().run(request(tmp_path / "run", settings=settings, **fields))


# a model at an endpoint


@contextmanager
def serving(answer: Any) -> Iterator[LoopbackServer]:
    """A scripted server on a thread of its own."""
    loop, server, ready, done = asyncio.new_event_loop(), LoopbackServer(answer), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()


def synthesizer(body: Any, number: int) -> Answer:
    """Alone it is right every second time; with references it always is."""
    text = body["messages"][-1]["content"]
    right = "Reference" in text or body["seed"] % 2 == 0
    return Answer(r"so it is \boxed{\frac{1}{2}}" if right else r"so it is \boxed{2}", reasoning="let me see")


def test_a_model_at_an_endpoint_answers_the_users_questions_and_no_trajectory_is_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    questions = tmp_path / "questions.jsonl"
    asked = [{"id": f"q{i}", "messages": [{"role": "user", "content": f"What is {i}?"}]} for i in range(3)]
    questions.write_text("\n".join(json.dumps({**q, "ground_truth": {"answer": "0.5"}}) for q in asked))
    settings = {"questions": str(questions), "widths": "4", "deep": "6,2"}
    with serving(synthesizer) as server:
        url = server.base_url
        run = recipe().run(request(tmp_path / "run", scale="paper", model="openai:m", base_url=url, settings=settings))
        cold, later = 9, 1 + 2 + 1  # vote of 9 takes all cold ones; [4] and [6, 2] add their syntheses
        assert len(server.requests) == 3 * (cold + later)
        assert {body["model"] for body in server.requests} == {"m"}
        assert all(body["temperature"] == 1.0 and body["top_p"] == 1.0 for body in server.requests)
    found = evaluations_of(run)[0, "model"]
    assert found["one"]["right"] == [1, 1, 1]
    assert found["parallel-4"]["right"] == found["parallel-6-2"]["right"] == [1, 1, 1]
    tokens = 4 + 3  # words of answer and reasoning, as the scripted server counts
    assert found["parallel-6-2"]["tokens"] == [9 * tokens] * 3
    assert found["parallel-6-2"]["critical"] == [3 * tokens] * 3
    verdicts = {claim["id"]: claim["verdict"] for claim in read_json(run / "claims.json")}
    assert (verdicts["model_vote"], verdicts["model_rises"]) == ("does_not_hold", "not_measured")


def test_an_endpoint_that_is_not_there_is_one_sentence_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"messages": [{"role": "user", "content": "?"}], "ground_truth": "4"}')
    settings = {"questions": str(questions), "widths": "2", "deep": ""}
    fields = {"scale": "paper", "model": "openai:m", "settings": settings}
    with serving(lambda body, number: Answer(status=401)) as server:
        url = server.base_url
        with pytest.raises(ConsilienceError, match="check the API key"):
            recipe().run(request(tmp_path / "run", base_url=url, **fields))
        server.behaviour = lambda body, number: Answer("4")
        run = recipe().run(request(tmp_path / "run", base_url=url, resume=True, **fields))
    assert evaluations_of(run)[0, "model"]["parallel-2"]["right"] == [1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1 is no JSON object"),
        ('{"messages": []}', "needs messages and a ground_truth"),
        ('{"messages": [{"content": "x"}], "ground_truth": "4"}', "a message without role"),
        ('{"messages": [{"role": "user", "content": []}], "ground_truth": "4"}', "only text questions"),
        ('{"messages": [{"role": "system", "content": "x"}], "ground_truth": "4"}', "at least one message of the user"),
        ("", "holds no question"),
    ],
)
def test_questions_that_are_none_are_named(line: str, words: str, tmp_path: Path) -> None:
    from consilience.recipes.pacore.questions import read_questions

    path = tmp_path / "questions.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=words):
        read_questions(path)
