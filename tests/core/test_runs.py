import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from consilience import runs
from consilience.errors import CheckpointMismatch, InputError
from consilience.files import read_jsonl
from consilience.runs import Checkpoint, Run

CONFIG = {"recipe": "toy", "seed": 1, "model": {"width": 8, "heads": (1, 2)}}


def lines(run_directory, name="metrics.jsonl"):
    return [(r["stage"], r["step"]) for r in read_jsonl(run_directory / name)]


def save(run, step, text="w"):
    with run.checkpoint(step) as folder:
        (folder / "weights.bin").write_text(f"{text}{step}")


def test_a_run_records_configuration_metrics_checkpoints_and_its_end(tmp_path):
    with Run.create(tmp_path / "r", CONFIG) as run:
        with run.stage("warm"):
            run.log(1, loss=np.float32(0.5), bad=float("nan"), seconds_s=0.1)
            save(run, 1)
        assert run.latest("warm") == Checkpoint("warm", 1, tmp_path / "r" / "checkpoints" / "warm-00000001")
        assert (run.latest().path / "weights.bin").read_text() == "w1"
        assert not run.finished
        run.finish()
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["model"] == {"width": 8, "heads": [1, 2]}
    assert config["created"].endswith("+00:00")
    assert config["machine"]["cores"] >= 1
    assert config["versions"]["consilience"]
    record = {"stage": "warm", "step": 1, "loss": 0.5, "bad": None, "seconds_s": 0.1}
    assert list(read_jsonl(tmp_path / "r" / "metrics.jsonl")) == [record]
    with Run.open(tmp_path / "r", CONFIG) as run:
        assert run.finished
        assert run.done("warm")
        assert run.pending(("warm", "rl")) == ["rl"]


def test_opening_discards_what_was_written_after_the_last_commit(tmp_path):
    with Run.create(tmp_path, CONFIG) as run, contextlib.suppress(KeyboardInterrupt), run.stage("rl"):
        for step in (1, 2, 3):
            run.log(step)
            if step == 2:
                save(run, 2)
        run.append("samples.jsonl", [{"stage": "rl", "step": 3}])
        raise KeyboardInterrupt
    assert lines(tmp_path) == [("rl", 1), ("rl", 2), ("rl", 3)]
    (tmp_path / "metrics.jsonl").open("a").write('{"stage": "rl", "st')
    (tmp_path / "notes.jsonl").write_text("mine\n")
    with Run.open(tmp_path) as run:
        assert lines(tmp_path) == [("rl", 1), ("rl", 2)]
        assert lines(tmp_path, "samples.jsonl") == []
        assert run.latest("rl").step == 2
        assert not run.done("rl")
    assert (tmp_path / "notes.jsonl").read_text() == "mine\n"


def test_a_finished_stage_keeps_its_lines_and_its_last_checkpoint(tmp_path):
    with Run.create(tmp_path, CONFIG, keep=2) as run:
        with run.stage("warm"):
            for step in range(1, 5):
                run.log(step)
                save(run, step)
                kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
                assert kept == [f"warm-{s:08d}" for s in (step - 1, step) if s > 0]
        with run.stage("rl"):
            save(run, 7)
            run.log(8)
        assert run.latest("warm").step == 4
        assert run.latest().step == 7
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["rl-00000007", "warm-00000004"]
    with Run.open(tmp_path):
        assert lines(tmp_path) == [*(("warm", s) for s in range(1, 5)), ("rl", 8)]


def test_a_failed_checkpoint_leaves_nothing_and_the_older_one_stands(tmp_path):
    with Run.create(tmp_path, CONFIG) as run, run.stage("rl"):
        save(run, 1)
        with contextlib.suppress(RuntimeError), run.checkpoint(2) as folder:
            (folder / "half").write_text("x")
            raise RuntimeError
        assert run.latest().step == 1
        assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["rl-00000001"]
        save(run, 2)
        assert run.latest().step == 2


def test_a_checkpoint_renamed_but_not_committed_is_no_checkpoint(tmp_path, monkeypatch):

    def cut(_):
        raise RuntimeError("power cut")

    with Run.create(tmp_path, CONFIG) as run, contextlib.suppress(RuntimeError), run.stage("rl"):
        save(run, 1)
        monkeypatch.setattr(run, "_save", cut)
        save(run, 2)
    assert (tmp_path / "checkpoints" / "rl-00000002").exists()
    monkeypatch.undo()
    with Run.open(tmp_path) as run:
        assert run.latest().step == 1
        assert not (tmp_path / "checkpoints" / "rl-00000002").exists()
        with run.stage("rl"):
            save(run, 2, "again")
        assert (run.latest().path / "weights.bin").read_text() == "again2"


def test_stages_are_named_once_and_one_at_a_time(tmp_path):
    with Run.create(tmp_path, CONFIG) as run:
        with run.stage("a"):
            with pytest.raises(ValueError, match="still running"), run.stage("b"):
                pass
            run.log(0)
            save(run, 3)
            with pytest.raises(ValueError, match="already has a checkpoint of step 3"):
                save(run, 3)
        for name in ("a", "../up", ""):
            with pytest.raises(ValueError, match="stage"), run.stage(name):
                pass
        with pytest.raises(ValueError, match="no stage is running"):
            run.log(1)
        with pytest.raises(ValueError, match="no stage is running"):
            save(run, 9)
        with pytest.raises(ValueError, match=r"named <name>\.jsonl"):
            run.append("../x.jsonl", [{}])


def test_bad_directories_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write .*file.sub"):
        Run.create(tmp_path / "file" / "sub", CONFIG)
    with pytest.raises(InputError, match="holds no run to resume"):
        Run.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with Run.create(tmp_path / "r", CONFIG), pytest.raises(InputError, match="in use by another run"):
        Run.open(tmp_path / "r")
    with pytest.raises(InputError, match="already holds a run: add --resume"):
        Run.create(tmp_path / "r", CONFIG)
    with pytest.raises(CheckpointMismatch, match=r"another configuration \(model.width, seed\)"):
        Run.open(tmp_path / "r", {**CONFIG, "seed": 2, "model": {"width": 9, "heads": [1, 2]}})
    (tmp_path / "r" / "state.json").write_text('{"what": 1}')
    with pytest.raises(InputError, match="not the state of a run"):
        Run.open(tmp_path / "r")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        Run.create(tmp_path / "r", CONFIG)


def test_damaged_runs_are_refused_rather_than_continued(tmp_path):
    with Run.create(tmp_path, CONFIG) as run, run.stage("a"):
        run.log(1)
        save(run, 1)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match=r"metrics\.jsonl is shorter"):
        Run.open(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(" " * 200)
    (tmp_path / "checkpoints" / "a-00000001").rename(tmp_path / "gone")
    with pytest.raises(InputError, match="a-00000001 is gone"):
        Run.open(tmp_path)


def test_resume_finds_the_newest_unfinished_run_of_equal_configuration(tmp_path):
    def make(seed, finish=False):
        config = {**CONFIG, "seed": seed, "command": f"run {time.time()}"}
        with runs.start(tmp_path, "toy", config) as run:
            if finish:
                run.finish()
            return run.directory

    make(1)
    time.sleep(0.002)
    newest = make(1)
    time.sleep(0.002)
    make(2), make(1, finish=True)
    (tmp_path / "toy" / "junk").mkdir()
    (tmp_path / "toy" / "junk" / "config.json").write_text("{")
    assert newest.parent == tmp_path / "toy"
    assert runs.find_resumable(tmp_path / "toy", CONFIG) == newest
    with runs.start(tmp_path, "toy", {**CONFIG, "command": "other words"}, resume=True) as run:
        assert run.directory == newest
    with pytest.raises(InputError, match=r"no unfinished run of this configuration \(.* differs in seed\)"):
        runs.start(tmp_path, "toy", {**CONFIG, "seed": 3}, resume=True)
    with pytest.raises(InputError, match="no unfinished run of this configuration: leave out --resume"):
        runs.start(tmp_path, "new", CONFIG, resume=True)


def test_a_resumed_run_names_the_command_that_went_on_with_it(tmp_path):
    out = tmp_path / "mine"
    with runs.start(tmp_path, "toy", {**CONFIG, "command": "run toy --set seeds=1"}, out=out) as run:
        created = run.config["created"]
    with runs.start(tmp_path, "toy", {**CONFIG, "command": "run toy --resume"}, out=out, resume=True) as run:
        assert run.config["command"] == "run toy --resume"
    stored = json.loads((out / "config.json").read_text())
    assert (stored["command"], stored["created"]) == ("run toy --resume", created)
    with Run.open(out) as run:
        assert run.config["command"] == "run toy --resume"


def test_resume_into_a_named_directory_begins_where_none_is_and_continues_where_one_is(tmp_path):
    out = tmp_path / "mine"
    with runs.start(tmp_path, "toy", CONFIG, out=out, resume=True) as run, run.stage("a"):
        run.log(1)
    with runs.start(tmp_path, "toy", CONFIG, out=out, resume=True) as run:
        assert run.done("a")
    with pytest.raises(InputError, match="already holds a run"):
        runs.start(tmp_path, "toy", CONFIG, out=out)


WORK = """
import json, os, random, signal, sys, time
from pathlib import Path
from consilience.runs import Run, start

TOUCHES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
left = int(sys.argv[2])  # touches of the disk before this process is killed; 0: never

def count(event, args):
    global left
    if event in TOUCHES:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def train(run, stage, steps):
    rng, total, first = random.Random(stage), 0.0, 1
    if (last := run.latest(stage)) is not None:
        total, (version, words, gauss) = json.loads((last.path / "state").read_text())
        rng.setstate((version, tuple(words), gauss))
        first = last.step + 1
    for step in range(first, steps + 1):
        total += rng.random()
        run.log(step, total=total, step_s=time.perf_counter())
        run.append("samples.jsonl", [{"step": step, "i": i} for i in range(3)])
        if step % 3 == 0:
            with run.checkpoint(step) as folder:
                (folder / "state").write_text(json.dumps((total, rng.getstate())))

sys.addaudithook(count)
with start(Path(sys.argv[1]), "toy", {"seed": 0}, out=Path(sys.argv[1]) / "run", resume=True) as run:
    for stage in run.pending(("warm", "rl", "evaluate")):
        with run.stage(stage):
            train(run, stage, 8)
    run.finish()
"""


def work(root, kill_at=0):
    """Run WORK to its end, or to its SIGKILL at the `kill_at`-th touch of the disk; returns the exit status."""
    return subprocess.run([sys.executable, "-c", WORK, str(root), str(kill_at)], check=False).returncode


def outcome(root):
    run = root / "run"
    metrics = [{k: v for k, v in r.items() if not k.endswith("_s")} for r in read_jsonl(run / "metrics.jsonl")]
    weights = {p.relative_to(run): p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()}
    return metrics, (run / "samples.jsonl").read_bytes(), weights


def test_a_run_killed_at_any_moment_ends_in_the_same_lines_and_checkpoints_as_an_unbroken_one(tmp_path):
    assert work(tmp_path / "whole") == 0
    rng = random.Random(0)
    for trial in range(2):
        kills, cut = 0, tmp_path / f"cut{trial}"
        while (status := work(cut, kill_at=rng.randrange(5, 120))) != 0:
            assert status == -signal.SIGKILL
            kills += 1
        assert kills
        assert outcome(cut) == outcome(tmp_path / "whole")
    assert len(outcome(tmp_path / "whole")[0]) == 24
