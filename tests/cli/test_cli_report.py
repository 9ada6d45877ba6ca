"""`consilience report`: following a run, exports, and what `run` says of alarms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consilience.cli import main
from consilience.cli.run import conclude

Captured = pytest.CaptureFixture[str]


def run_at(directory: Path, records: int = 40, **config: object) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"recipe": "r", **config}))
    (directory / "state.json").write_text(json.dumps({"finished": True, "elapsed_s": 1}))
    lines = [{"stage": "ppo", "step": i, "reward": 0.5 if i < 12 else 0.0} for i in range(records)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    return directory


def test_live_follows_to_the_end_and_builds_the_page(tmp_path: Path, capsys: Captured) -> None:
    run = run_at(tmp_path / "run")
    assert main(["report", str(run), "--live"]) == 0
    said = capsys.readouterr()
    assert "alarm: ppo, step 21, zero_rewards" in said.err
    assert "ppo: step 39, reward 0" in said.err
    assert said.out == f"Report: {run / 'report.html'}\n"
    assert 'id="alarms"' in (run / "report.html").read_text()


def test_an_export_says_how_to_look_at_it(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("tensorboard")
    run = run_at(tmp_path / "run", records=3)
    board = tmp_path / "board"
    assert main(["report", str(run), "--tensorboard", str(board), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(run / "report.html"), "tensorboard": str(board)}
    assert len(list(board.rglob("events.out.tfevents.*"))) == 1
    assert main(["report", str(run), "--tensorboard", str(board)]) == 2
    assert "already holds TensorBoard files" in capsys.readouterr().err


@pytest.mark.parametrize(("study", "name"), [(True, "r"), (False, "r-laptop")])
def test_a_record_bears_the_scale_unless_a_study_wrote_it(
    study: bool, name: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_at(tmp_path / "run", study=study, scale="laptop")
    (run / "tables.json").write_text(json.dumps([{"title": "Arms", "columns": ["arm", "n"], "rows": [["ppo", 7]]}]))
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(run), "--record"]) == 0
    assert f"RESULTS.md: section {name}\n" in capsys.readouterr().out
    written = (tmp_path / "RESULTS.md").read_text()
    assert f"<!-- begin {name} -->" in written
    assert "| ppo | 7 |" in written


@pytest.mark.parametrize(
    ("config", "words", "sentence"),
    [
        ({"kind": "bench"}, ["--live"], "is a benchmark run"),
        ({"kind": "bench"}, ["--wandb", "w"], "is a benchmark run"),
        ({"kind": "bench"}, ["--record"], "has a --record of its own"),
    ],
)
def test_what_cannot_be_followed(
    config: dict[str, str], words: list[str], sentence: str, tmp_path: Path, capsys: Captured
) -> None:
    run = run_at(tmp_path / "run", **config)
    assert main(["report", str(run), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_no_run_no_view(tmp_path: Path, capsys: Captured) -> None:
    assert main(["report", str(tmp_path / "absent"), "--live"]) == 2
    assert "no run directory" in capsys.readouterr().err


def test_a_run_ends_with_its_alarms(tmp_path: Path) -> None:
    said: list[str] = []
    payload = conclude(run_at(tmp_path / "run"), lambda text="": said.append(text))
    assert said[0].startswith("Alarm: ppo, step 21, zero_rewards: 100% earn no reward at all.")
    assert payload["claims"] == []


def test_claims_that_a_run_did_not_measure_come_last_on_terminal_and_page(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run")
    row = {"id": "c", "recipe": "r", "value": None, "low": None, "high": None, "n": None, "seeds": []}
    rows = [
        row | {"sentence": "Only the other part measures this.", "verdict": "not_measured"},
        row | {"sentence": "Training helps.", "verdict": "holds", "value": 0.2},
    ]
    (run / "claims.json").write_text(json.dumps(rows))
    said: list[str] = []
    assert conclude(run, lambda text="": said.append(text))["claims"] == rows
    for text in ("\n".join(said), (run / "report.html").read_text()):
        assert 0 < text.index("Training helps.") < text.index("Only the other part")
