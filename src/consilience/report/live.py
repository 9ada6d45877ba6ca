"""Following a run from outside until it has finished: a dashboard on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.live import Live

from consilience.learn.alarms import Alarm
from consilience.report.monitor import REFRESH_S, Monitor, is_finished, number, rows, run_directory
from consilience.report.progress import EVERY_S

LINE_METRICS = 6


def follow(
    directory: Path,
    stream: TextIO,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show a run until it has finished; an interrupt ends the view, never the run.

    Args:
        stream: a terminal gets the dashboard; anything else a line every 20 seconds in which there was news, and
            each alarm once.

    Raises:
        InputError: the directory holds no run.
    """
    run_directory(directory)
    monitor = Monitor(lambda: directory, clock)
    if not stream.isatty():
        _lines(monitor, directory, stream, clock, sleep)
        return
    console = Console(file=stream)
    with Live(console=console, get_renderable=lambda: monitor.view(console.width), refresh_per_second=2):
        while not is_finished(directory):
            sleep(REFRESH_S)
        monitor.poll(now=True)


def _lines(
    monitor: Monitor,
    directory: Path,
    stream: TextIO,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    said_at, news = float("-inf"), False
    told: set[tuple[str, Alarm]] = set()
    while True:
        ended = is_finished(directory)
        news = bool(monitor.poll(now=ended)) or news
        for stage, alarm in monitor.alarms:
            if (stage, alarm) not in told:
                print(f"alarm: {stage}, {alarm}", file=stream, flush=True)
        told.update(monitor.alarms)
        if news and (ended or clock() - said_at >= EVERY_S):
            print(line(monitor), file=stream, flush=True)
            said_at, news = clock(), False
        if ended:
            return
        sleep(REFRESH_S)


def line(monitor: Monitor) -> str:
    """`seed0-ppo/ppo: step 40, reward 0.713, accuracy 0.81`: the newest stage in one line."""
    name, records = monitor.tail.stage if monitor.tail else ("", [])
    metrics = [f"{row.name.replace('_', ' ')} {number(row.last)}" for row in rows(records, LINE_METRICS)]
    return f"{name}: step {records[-1]['step']:,}, {', '.join(metrics)}" if records else "no record yet"
