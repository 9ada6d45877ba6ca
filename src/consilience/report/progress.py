"""How far long work is: a live view on a terminal, a few plain lines elsewhere.

Recipes report to a `consilience.request.Progress` that is passed in; the two here are chosen by `open_progress`.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from consilience.request import Progress

WINDOW = 24
EVERY_S = 20.0


class Pace:
    """Steps per second over the last updates and what is left at that pace. clock: seconds, monotonic."""

    def __init__(self, total: int, step: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.step, self.clock = total, step, clock
        self.began = clock()
        self._seen: deque[tuple[float, int]] = deque([(self.began, step)], maxlen=WINDOW)

    def update(self, step: int) -> None:
        self.step = step
        self._seen.append((self.clock(), step))

    @property
    def elapsed(self) -> float:
        return self.clock() - self.began

    @property
    def rate(self) -> float:
        """Steps per second; 0 until a step was made."""
        (t0, first), (t1, last) = self._seen[0], self._seen[-1]
        return (last - first) / (t1 - t0) if t1 > t0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end of the stage, None while unknown; it runs down between updates."""
        if self.rate <= 0:
            return None
        return max(0.0, (self.total - self.step) / self.rate - (self.clock() - self._seen[-1][0]))


def clock_text(seconds: float | None) -> str:
    """Seconds as m:ss or h:mm:ss; `-:--` for None."""
    if seconds is None:
        return "-:--"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def rate_text(rate: float) -> str:
    """Steps a second, or a minute where they are slower than one a second."""
    if rate == 0:
        return "–/s"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


def numbers_text(numbers: Mapping[str, float]) -> str:
    """`accuracy 0.831  seen 12,000`: counts as they are, others to three decimals."""
    return "  ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in numbers.items())


def _short(value: float) -> str:
    whole = isinstance(value, int) or (value > 1 and value == int(value))
    return f"{int(value):,}" if whole else f"{value:.3f}"


class Lines:
    """Plain lines for a pipe or a log file: when a stage begins and ends, and every 20 seconds between."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self._stage, self._numbers = "", ""
        self._pace, self._said = Pace(0, clock=clock), clock()

    def start(self, stage: str, total: int, step: int = 0) -> None:
        self._stage, self._numbers = stage, ""
        self._pace, self._said = Pace(total, step, self.clock), self.clock()
        self._say(f"{total:,} steps" + (f", continued at {step:,}" if step else ""))

    def update(self, step: int, **numbers: float) -> None:
        self._pace.update(step)
        self._numbers = numbers_text(numbers) or self._numbers
        if self.clock() - self._said >= EVERY_S:
            pace = self._pace
            left = f"{rate_text(pace.rate)}, {clock_text(pace.remaining)} left"
            self._say(f"{step:,}/{pace.total:,}, {left}{self._tail()}")

    def done(self) -> None:
        self._say(f"done in {clock_text(self._pace.elapsed)}{self._tail()}")

    def fork(self) -> Lines:
        return Lines(self.stream, self.clock)

    def _tail(self) -> str:
        return f", {self._numbers}" if self._numbers else ""

    def _say(self, text: str) -> None:
        self._said = self.clock()
        print(f"{self._stage}: {text}", file=self.stream, flush=True)


class Live:
    """Bars on a terminal: one line a stage with rate, remaining time and the numbers of its last update."""

    def __init__(self, bars: Bars, clock: Callable[[], float] = time.monotonic) -> None:
        self.bars, self.clock = bars, clock
        self._pace: Pace | None = None

    def start(self, stage: str, total: int, step: int = 0) -> None:
        self._pace = Pace(total, step, self.clock)
        self._task = self.bars.add_task(stage, total=total, completed=step, pace=self._pace, numbers="", ended=False)

    def update(self, step: int, **numbers: float) -> None:
        if self._pace is None:
            return
        self._pace.update(step)
        shown = {"numbers": numbers_text(numbers)} if numbers else {}
        self.bars.update(self._task, completed=step, **shown)  # type: ignore[arg-type]

    def done(self) -> None:
        if self._pace is not None:
            self.bars.update(self._task, ended=self._pace.elapsed)
            self.bars.stop_task(self._task)

    def fork(self) -> Live:
        return Live(self.bars, self.clock)


class _PaceColumn(ProgressColumn):
    """Rate and remaining time; how long it took once the stage has ended."""

    max_refresh = 0.25

    def render(self, task: Task) -> Text:
        if task.fields["ended"] is not False:
            return Text(f"done in {clock_text(task.fields['ended'])}", style="dim")
        pace: Pace = task.fields["pace"]
        return Text(f"{rate_text(pace.rate)}  {clock_text(pace.remaining)} left")


def columns() -> tuple[ProgressColumn, ...]:
    """What a line of the live view shows: stage, bar, steps, pace, numbers."""
    return (
        TextColumn("{task.description}", style="bold"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _PaceColumn(),
        TextColumn("{task.fields[numbers]}", style="cyan"),
    )


class _BarsAbove(Bars):
    """Bars with something else below them."""

    below: Callable[[int], RenderableType] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below is not None:
            yield self.below(self.console.width)


@contextmanager
def open_progress(
    stream: TextIO | None = None, below: Callable[[int], RenderableType] | None = None
) -> Iterator[Progress]:
    """A view of running work on `stream` (default: standard error), live on a terminal and in plain lines elsewhere.

    Args:
        below: what else to show on a terminal, drawn anew several times a second for its width in columns.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    bars = _BarsAbove(*columns(), console=Console(file=stream), refresh_per_second=6)
    bars.below = below
    with bars:
        yield Live(bars)
