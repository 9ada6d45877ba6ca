"""The recipe `rstar_math`: the smoke scale end to end, killed in a search and between rounds; the paper's scale with a
scripted model; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consilience import registry
from consilience.errors import InputError, UnknownName
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.reason.code_steps import DEMONSTRATIONS
from consilience.reason.tree_files import load_dump
from consilience.recipes.rstar_math import paper, rounds
from consilience.recipes.rstar_math.claims import CLAIMS
from consilience.recipes.rstar_math.recipe import found_in, recipe
from consilience.request import RunRequest
from consilience.sandbox import SandboxUnavailable, probe
from consilience.synth import evolve_search
from consilience.synth.evolve_files import load_preferences, load_sft

sandboxed = pytest.mark.skipif(probe().setup is None, reason="no sandbox on this machine; run tools/install_sandbox.sh")
UNIT = "units/main-seed0"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken smoke run, not to be written."""
    out = tmp_path_factory.mktemp("rstar") / "run"
    return recipe().run(RunRequest("rstar_math", scale="smoke", out=out))


@sandboxed
def test_the_smoke_run_leaves_everything(run: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "claims.json", "tables.json", "report.html", "tree.html"):
        assert (run / name).stat().st_size > 0, name
    rows = json.loads((run / "claims.json").read_text())
    assert {row["id"] for row in rows} == {claim.id for claim in CLAIMS}
    assert {row["verdict"] for row in rows} == {"not_measured"}
    searched, answered = json.loads((run / "tables.json").read_text())
    assert [row[0] for row in searched["rows"]] == [row[0] for row in answered["rows"]] == [1, 2, 3]
    assert "svg" in (run / "tree.html").read_text()
    records = found_in(run)["main", 0]
    arms = {record["arm"] for record in records if record["round"] == 3}
    assert arms == {"search", "data", "ppm", "pqm", "greedy", "sample", "majority", "orm", "any", "first_policy"}
    assert len(load_sft(run / UNIT / "round1" / "sft.json")) == records[1]["sft"]
    assert len(load_preferences(run / UNIT / "round1" / "ppm.json")) == records[1]["pairs"]
    assert (run / UNIT / "round3" / "second.json").exists()  # unsolved problems had their second pass


def interrupted(out: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int) -> None:
    """A smoke run that dies at the at-th call of a function of `rounds`."""
    real, calls = getattr(rounds, name), 0

    def dies(*args, **options):
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, name, dies)
        with pytest.raises(KeyboardInterrupt):
            recipe().run(RunRequest("rstar_math", scale="smoke", out=out, resume=out.exists()))


@sandboxed
def test_killed_in_a_search_and_between_rounds_it_ends_in_the_same_numbers(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(evolve_search, "SAVE_EVERY", 1)
    monkeypatch.setattr(rounds.measure, "judge", _dying(rounds.measure.judge, 5))
    with pytest.raises(KeyboardInterrupt):
        recipe().run(RunRequest("rstar_math", scale="smoke", out=out))
    assert (out / UNIT / "round1" / "first.json").exists()
    monkeypatch.undo()
    interrupted(out, monkeypatch, "trained", 2)  # after the search of round 2
    recipe().run(RunRequest("rstar_math", scale="smoke", out=out, resume=True))
    for name in (f"{UNIT}/scores.jsonl", f"{UNIT}/round3/first.json", f"{UNIT}/round2/sft.json", "tables.json"):
        assert (out / name).read_bytes() == (run / name).read_bytes(), name


def _dying(real, at: int):
    calls = 0

    def judge(problem, answer):
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return real(problem, answer)

    return judge


def test_without_a_sandbox_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from consilience.sandbox import capabilities

    monkeypatch.setattr("consilience.sandbox.probe", lambda: capabilities._nothing("bwrap is not installed"))
    with pytest.raises(SandboxUnavailable, match="bwrap is not installed"):
        recipe().run(RunRequest("rstar_math", scale="smoke", out=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


@sandboxed
def test_impossible_requests_are_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "x"
    with pytest.raises(InputError, match="takes no --model"):
        recipe().run(RunRequest("rstar_math", model="openai:x", out=out))
    with pytest.raises(UnknownName, match="sighted"):
        recipe().run(RunRequest("rstar_math", study=True, part="sight", out=out))
    for settings in ({}, {"questions": "x.json"}, {"questions": "x.json", "round": 3}):
        with pytest.raises(InputError, match="needs a served model"):
            recipe().run(RunRequest("rstar_math", scale="paper", out=out, settings=settings))
    with pytest.raises(UnknownName, match="questions"):
        recipe().run(RunRequest("rstar_math", scale="paper", model="vllm:x", out=out, settings={"question": "x"}))
    assert not out.exists()
    assert "rstar_math" in registry.names("recipe")


STEPS = (
    "<code>\n# pens bought\nbought = 4 * 12\n<end_of_step>",
    "\n# pens left after the gift\nleft = bought - 9\n<end_of_step>",
    "\n# Now print the final answer\nprint(left)\n<end_of_code>",
)


def _writes(messages, seed):
    """A demonstration, whose first step is wrong for odd seeds; the answer is what was printed."""
    prefix = messages[-1].text if messages[-1].role == "assistant" else ""
    if prefix.endswith("<end_of_output>"):
        printed = prefix.rpartition("<output>")[2].removesuffix("<end_of_output>")
        return Reply(f"\n<answer>There are \\boxed{{{printed}}} pens.<end_of_answer>")
    step = STEPS[prefix.count("<end_of_step>")]
    return Reply(step.replace("4 * 12", "4 + 12  # boxes and pens added up") if seed % 2 else step)


@sandboxed
def test_the_papers_scale_searches_with_a_served_model_and_leaves_the_next_rounds_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, answer = DEMONSTRATIONS[0][0], "39"
    (tmp_path / "q.json").write_text(json.dumps([{"question": question, "answer": answer}]))
    monkeypatch.setattr(paper, "open_policy", lambda spec, base_url="": ScriptedPolicy(_writes))
    settings = {"questions": str(tmp_path / "q.json")}
    request = RunRequest("rstar_math", scale="paper", model="vllm:x", out=tmp_path / "run", settings=settings)
    directory = recipe().run(request)
    ((_, tree),) = load_dump(directory / "rollout.jsonl")
    assert {node.answer for node in tree.answers} == {"39", "7"}
    ((asked, solution),) = load_sft(directory / "sft.json")
    assert (asked, "4 * 12" in solution, "4 + 12" in solution) == (question, True, False)
    pairs = load_preferences(directory / "ppm.json")
    assert len(pairs) == 2  # the first step, and whole solutions
    assert all("4 * 12" in pair["pos"] and "4 + 12" in pair["neg"] for pair in pairs)
    made, published = json.loads((directory / "tables.json").read_text())
    assert dict(made["rows"])["problems"] == 1
    assert any("7e-6" in row[2] for row in published["rows"])
    assert (directory / "extraction.jsonl").read_text().count("final_Q") >= 1
    assert (directory / "report.html").exists()
