"""Units: order, needs, workers, failures in one sentence, kills, and resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import unit_work

from consilience.errors import ConsilienceError, InputError
from consilience.files import read_jsonl
from consilience.request import Silent
from consilience.units import Unit, directory_of, finished, run_units

WORK = "unit_work:work"


def unit(name: str, *needs: str, value: int = 1, trouble: str | None = None) -> Unit:
    return Unit(name, needs, {"value": value, "trouble": trouble})


TREE = (unit("a"), unit("b", value=2), unit("ab", "a", "b"), unit("abc", "ab", "a", value=3))


def carry_out(run: Path, units: Sequence[Unit], workers: int = 1, progress: Any = None) -> None:
    run_units(run, units, WORK, workers=workers, progress=progress or Silent())


def diary(run: Path) -> list[str]:
    path = run / "diary.txt"
    return path.read_text().splitlines() if path.exists() else []


def left(run: Path, units: Sequence[Unit]) -> dict[str, Any]:
    """Results and metric lines of every unit."""
    return {
        u.name: (unit_work.result(run, u.name), list(read_jsonl(directory_of(run, u.name) / "metrics.jsonl")))
        for u in units
    }


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_units_run_in_order_and_use_what_they_need(tmp_path: Path) -> None:
    carry_out(tmp_path, TREE)
    assert diary(tmp_path) == [f"{what} {u.name}" for u in TREE for what in ("begin", "end")]
    assert {name: found[0] for name, found in left(tmp_path, TREE).items()} == {"a": 6, "b": 12, "ab": 24, "abc": 48}
    assert all(finished(tmp_path, u.name) for u in TREE)


def test_a_unit_waits_for_its_needs_wherever_it_stands(tmp_path: Path) -> None:
    carry_out(tmp_path, TREE[::-1])
    begun = [line.removeprefix("begin ") for line in diary(tmp_path) if line.startswith("begin")]
    assert begun == ["b", "a", "ab", "abc"]


def test_two_workers_compute_the_same(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        carry_out(tmp_path / name, TREE, workers)
    assert left(tmp_path / "two", TREE) == left(tmp_path / "one", TREE)
    lines = diary(tmp_path / "two")
    for u in TREE:
        for need in u.needs:
            assert lines.index(f"end {need}") < lines.index(f"begin {u.name}")


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_units_are_skipped(workers: int, tmp_path: Path) -> None:
    carry_out(tmp_path, TREE[:2])
    before = diary(tmp_path)
    carry_out(tmp_path, TREE, workers)
    assert [line for line in diary(tmp_path)[len(before) :] if line.startswith("begin")] == ["begin ab", "begin abc"]
    carry_out(tmp_path, TREE, workers)
    assert len(diary(tmp_path)) == 8


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("units", [[unit("x", "y"), unit("y", "x")], [unit("a"), unit("x", "nothing")]])
def test_needs_that_never_come_are_named(units: list[Unit], workers: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"never run: .*x"):
        carry_out(tmp_path, units, workers)


def test_no_units_is_nothing_to_do(tmp_path: Path) -> None:
    carry_out(tmp_path, [], workers=2)
    assert not diary(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refusal_is_one_sentence(workers: int, tmp_path: Path) -> None:
    with pytest.raises(ConsilienceError) as caught:
        carry_out(tmp_path, [unit("a", trouble="refuse")], workers)
    assert str(caught.value) == "the digits are missing: make them first."


def test_a_defect_in_a_worker_brings_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"unit a failed:[\s\S]*ZeroDivisionError: a defect"):
        carry_out(tmp_path, [unit("a", trouble="crash")], workers=2)


def test_a_worker_that_leaves_brings_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"unit a failed:[\s\S]*SystemExit: 3"):
        carry_out(tmp_path, [unit("a", trouble="exit")], workers=2)


def test_a_killed_worker_is_named_and_the_others_end_and_resume(tmp_path: Path) -> None:
    """A worker is lost (out of memory, say): the run fails, leaves no process, and goes on where each unit stood."""
    units = [unit("slow", trouble="linger"), unit("lost", trouble="kill"), unit("both", "slow", "lost")]
    with pytest.raises(RuntimeError, match=r"the process of unit lost died \(exit -9\)"):
        carry_out(tmp_path, units, workers=2)
    pid = tmp_path / "slow.pid"
    assert not pid.exists() or not alive(int(pid.read_text()))
    assert not finished(tmp_path, "lost")

    (tmp_path / "mended").touch()
    carry_out(tmp_path, units, workers=2)
    whole = tmp_path / "whole"
    whole.mkdir()
    carry_out(whole, [unit("slow"), unit("lost"), unit("both", "slow", "lost")])
    assert left(tmp_path, units) == left(whole, units)


PARENT = """
import signal
import sys
from pathlib import Path
from consilience.request import Silent
from consilience.units import Unit, run_units

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
sys.path.insert(0, sys.argv[2])
units = [Unit(name, (), {"value": 1, "trouble": "linger"}) for name in ("a", "b")]
if __name__ == "__main__":
    run_units(Path(sys.argv[1]), units, "unit_work:work", workers=2, progress=Silent())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_ends_leaves_no_worker(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        files = [tmp_path / "a.pid", tmp_path / "b.pid"]
        try:
            assert wait_for(lambda: all(f.exists() and f.read_text() for f in files))
            pids = [int(f.read_text()) for f in files]
            assert all(map(alive, pids))
            parent.send_signal(how)
            parent.wait(30)
            assert wait_for(lambda: not any(map(alive, pids)), 20)
        finally:
            parent.kill()
    (tmp_path / "mended").touch()
    units = [unit("a"), unit("b")]
    carry_out(tmp_path, units)
    assert {name: found[0] for name, found in left(tmp_path, units).items()} == {"a": 6, "b": 6}


def test_workers_get_the_environment_and_this_process_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONSILIENCE_TEST", raising=False)
    units = [Unit("a"), Unit("b")]
    run_units(
        tmp_path, units, "unit_work:environment", workers=2, progress=Silent(), env={"CONSILIENCE_TEST": "inside"}
    )
    assert [(tmp_path / f"{u.name}.env").read_text() for u in units] == ["inside", "inside"]
    assert "CONSILIENCE_TEST" not in os.environ


class Listener:
    """A progress that writes down what each of its forks hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.forks: list[Listener] = []

    def start(self, stage: str, total: int, step: int = 0) -> None:
        self.heard.append(("start", stage, total, step))

    def update(self, step: int, **numbers: float) -> None:
        self.heard.append(("update", step, numbers))

    def done(self) -> None:
        self.heard.append(("done",))

    def fork(self) -> Listener:
        self.forks.append(Listener())
        return self.forks[-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_of_a_unit_arrives(workers: int, tmp_path: Path) -> None:
    listener = Listener()
    carry_out(tmp_path, [unit("a"), unit("b")], workers, listener)
    assert len(listener.forks) == 2
    for fork, name in zip(listener.forks, "ab", strict=True):
        steps = [("update", step, {"total": total}) for step, total in ((1, 1), (2, 3), (3, 6))]
        assert fork.heard == [("start", name, 3, 0), *steps, ("done",)]
