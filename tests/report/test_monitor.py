"""The view of a run while it trains: rows, one-line curves, files read as they grow, alarms, both kinds of output."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from consilience.errors import InputError
from consilience.learn.alarms import alarms_by_stage
from consilience.report.live import follow, line
from consilience.report.monitor import Monitor, Tail, dashboard, is_finished, newest_run, number, rows, spark
from consilience.report.progress import open_progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def record(step: int, stage: str = "ppo", **numbers: Any) -> dict[str, Any]:
    return {"stage": stage, "step": step, **numbers}


def append(directory: Path, *records: dict[str, Any], end: str = "\n") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "metrics.jsonl").open("a") as out:
        out.write("\n".join(json.dumps(r) for r in records) + end)


def run_at(directory: Path, *, finished: bool = False) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    (directory / "state.json").write_text(json.dumps({"finished": finished}))
    return directory


def shown(renderable: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_watched_comes_first_and_times_never() -> None:
    records = [
        {
            "stage": "ppo",
            "step": i,
            "zebra": 1,
            "entropy": 1.0 - i / 10,
            "reward": i,
            "accuracy/image": 0.5,
            "step_s": 1.0,
        }
        | {"reward_low": 0.0, "flag": True, "value_loss": None}
        for i in range(4)
    ]
    found = rows(records)
    assert [row.name for row in found] == ["reward", "accuracy/image", "entropy", "zebra"]
    assert (found[0].values, found[0].step, found[0].last) == ((0, 1, 2, 3), 3, 3)
    assert [row.name for row in rows(records, most=2)] == ["reward", "accuracy/image"]
    assert rows([]) == []


def test_a_curve_in_one_line() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert spark([0, 0, 7, 7], 2) == "▁█"
    assert spark([3, 3, 3], 5) == "▁▁▁"
    assert spark([], 5) == spark([1.0], 0) == ""


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_a_curve_is_never_longer_than_asked_and_ends_touch_both_bars(values: list[float], width: int) -> None:
    drawn = spark(values, width)
    assert len(drawn) == min(width, len(values))
    if len(set(drawn)) > 1:
        assert {"▁", "█"} <= set(drawn)


@pytest.mark.parametrize(("value", "text"), [(12000.0, "12,000"), (0.123456, "0.1235"), (-3e-8, "-3e-08"), (0.0, "0")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_the_dashboard_shows_first_and_last_value_and_the_alarm() -> None:
    records = [record(i, reward=0.2 if i < 15 else 0.0, kl=0.01) for i in range(40)]
    rung = [(stage, alarm) for stage, found in alarms_by_stage(records) for alarm in found]
    text = shown(dashboard("ppo", records, rung, 90), 90)
    assert "ppo  40 records" in text
    reward = next(row for row in text.splitlines() if row.startswith("reward"))
    assert reward.split()[1:3] == ["0.2", "0"]
    assert "! ppo, step 24, zero_rewards" in text
    assert max(map(len, text.splitlines())) <= 90
    assert shown(dashboard("", [], [], 90)).strip() == ""


def test_files_are_read_as_they_grow(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    assert tail.poll() == 0
    append(tmp_path, record(1, "warm", loss=1.0), record(2, "warm", loss=0.5))
    assert (tail.poll(), tail.poll()) == (2, 0)
    append(tmp_path, record(1, reward=0.1), end="")  # a line that is not complete yet
    assert tail.poll() == 0
    append(tmp_path, end="\n")
    assert tail.poll() == 1
    assert tail.stage[0] == "ppo"
    assert [r["reward"] for r in tail.stage[1]] == [0.1]
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record(1, "warm", loss=2.0)) + "\n")  # resumed: cut back
    assert tail.poll() == 1
    assert [r["loss"] for r in tail.stage[1]] == [2.0]


def test_units_are_followed_too_and_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    append(tmp_path / "units" / "seed0-ppo", record(1, reward=0.5), {"note": 1}, [1])  # type: ignore[arg-type]
    with (tmp_path / "units" / "seed0-ppo" / "metrics.jsonl").open("a") as out:
        out.write("torn{\n")
    assert tail.poll() == 1
    assert tail.stage[0] == "seed0-ppo/ppo"
    append(tmp_path / "units" / "seed0-ppo", *(record(i, reward=0.0) for i in range(2, 30)))
    tail.poll()
    assert [(stage, alarm.name) for stage, alarm in tail.alarms()] == [("seed0-ppo/ppo", "zero_rewards")]
    append(tmp_path, *tail.files["seed0-ppo"].records)  # gathered into the run: told once
    tail.poll()
    assert [(stage, alarm.name) for stage, alarm in tail.alarms()] == [("seed0-ppo/ppo", "zero_rewards")]


def test_the_monitor_looks_once_a_second(tmp_path: Path) -> None:
    clock = Clock()
    monitor = Monitor(lambda: tmp_path, clock)
    append(tmp_path, record(1, reward=0.5))
    assert "0.5" in shown(monitor.view())
    append(tmp_path, record(2, reward=0.7))
    assert "0.7" not in shown(monitor.view())
    clock.now += 1
    assert "0.7" in shown(monitor.view())
    assert shown(Monitor(lambda: None, clock).view()).strip() == ""
    append(tmp_path, record(3, reward=0.9))
    assert (monitor.poll(), monitor.poll(now=True)) == (0, 1)


def test_looking_takes_its_share_of_the_time_at_most(tmp_path: Path) -> None:
    clock = Clock()

    def slow() -> Path:
        clock.now += 2
        return tmp_path

    monitor = Monitor(slow, clock)
    append(tmp_path, record(1, reward=0.5))
    assert monitor.poll() == 1
    append(tmp_path, record(2, reward=0.7))
    clock.now = 2 + 39
    assert monitor.poll() == 0
    clock.now = 2 + 40
    assert monitor.poll() == 1


def test_the_newest_run_is_found_by_its_files(tmp_path: Path) -> None:
    assert newest_run(tmp_path / "absent", 0) is None
    for name, at in (("a", 100), ("b", 200)):
        run_at(tmp_path / name)
        for file in (tmp_path / name).iterdir():
            os.utime(file, (at, at))
    assert newest_run(tmp_path, 150) == tmp_path / "b"
    assert newest_run(tmp_path, 250) is None


def test_finished_or_not(tmp_path: Path) -> None:
    assert not is_finished(tmp_path)
    assert is_finished(run_at(tmp_path / "a", finished=True))
    (tmp_path / "a" / "state.json").write_text("{")
    assert not is_finished(tmp_path / "a")


def test_a_pipe_gets_a_line_now_and_then_and_each_alarm_once(tmp_path: Path) -> None:
    clock, stream = Clock(), io.StringIO()
    directory = run_at(tmp_path / "run")

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        append(directory, record(int(clock.now), reward=0.0, entropy=0.5))
        if clock.now >= 45:
            run_at(directory, finished=True)

    follow(directory, stream, clock=clock, sleep=sleep)
    said = stream.getvalue().splitlines()
    assert [s for s in said if s.startswith("alarm")] == [s for s in said if "zero_rewards" in s]
    assert len([s for s in said if s.startswith("alarm")]) == 1
    lines = [s for s in said if s.startswith("ppo: ")]
    assert lines[0].startswith("ppo: step 1, reward 0, entropy 0.5")
    assert len(lines) == 4  # at 1, 21 and 41 seconds, and at the end
    assert "step 45" in lines[-1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_dashboard(tmp_path: Path) -> None:
    directory = run_at(tmp_path / "run")
    append(directory, *(record(i, reward=i / 10) for i in range(8)))

    def sleep(seconds: float) -> None:
        run_at(directory, finished=True)

    stream = Terminal()
    follow(directory, stream, sleep=sleep)
    assert "8 records" in stream.getvalue()
    assert "▁▂▃▄▅▆▇█" in stream.getvalue()


def test_only_a_run_can_be_followed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run directory"):
        follow(tmp_path, io.StringIO())
    assert line(Monitor(lambda: tmp_path)) == "no record yet"


def test_bars_and_curves_share_a_terminal() -> None:
    stream = Terminal()
    with open_progress(stream, below=lambda width: "the curves" if width > 10 else "") as progress:
        progress.start("ppo", 4)
        progress.update(2, reward=0.5)
        progress.done()
    assert "the curves" in stream.getvalue()
    assert "2/4" in stream.getvalue()
