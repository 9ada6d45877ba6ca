"""What a training run looks like while it runs: the curves that matter as one line each, and the alarms that rang.

Everything is read from the metrics.jsonl of a run directory and of its units; nothing here touches the run.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consilience.errors import InputError
from consilience.files import read_json
from consilience.learn.alarms import Alarm, alarms_by_stage
from consilience.report.curves import smoothed, smoothing_window

WATCHED = (
    *("reward", "accuracy", "proxy", "gold", "loss", "policy_loss", "value_loss", "entropy", "kl", "length"),
    *("clip_fraction", "explained_variance", "staleness", "zero_rewards", "truncated", "unparsed", "masked"),
    *("grad_norm", "samples", "tokens"),
)
"""Metrics of a training stage, the most telling first; each is shown where it is recorded."""

MOST_ROWS = 12
REFRESH_S, SHARE = 1.0, 0.05
_BARS = "▁▂▃▄▅▆▇█"
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One metric of one stage: its values in order, and the step of the last."""

    name: str
    values: tuple[float, ...]
    step: int

    @property
    def last(self) -> float:
        """The newest value, smoothed as in the report."""
        return smoothed(self.values, smoothing_window(len(self.values)))[-1]


def rows(records: Sequence[Record], most: int = MOST_ROWS) -> list[Row]:
    """The metrics of one stage's records that are worth a line: watched ones in their order, then those of a variant
    (`accuracy/image`) behind the metric they belong to, then others; times and what is no finite number are left out.
    """
    values: dict[str, list[float]] = {}
    steps: dict[str, int] = {}
    for record in records:
        for key, value in record.items():
            if key in ("stage", "step", "seed") or key.endswith(("_s", "_low", "_high")) or isinstance(value, bool):
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                values.setdefault(key, []).append(float(value))
                steps[key] = int(record["step"])

    def rank(name: str) -> tuple[int, str]:
        base = name.partition("/")[0]
        return (WATCHED.index(base) if base in WATCHED else len(WATCHED), base if "/" in name else "")

    return [Row(name, tuple(values[name]), steps[name]) for name in sorted(values, key=rank)][:most]


def spark(values: Sequence[float], width: int) -> str:
    """A curve in one line of at most `width` characters: the mean of equal stretches, from the lowest to the highest
    bar. A curve that does not move is a line of the lowest."""
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    if span <= 0:
        return _BARS[0] * count
    return "".join(_BARS[min(len(_BARS) - 1, int((mean - low) / span * len(_BARS)))] for mean in means)


def number(value: float) -> str:
    """A metric for reading: four significant digits, counts as counts."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.4g}"


def dashboard(name: str, records: Sequence[Record], rung: Sequence[tuple[str, Alarm]], width: int) -> RenderableType:
    """The view of one stage: a line for each metric, and below it every alarm of the run.

    Args:
        name: what the records are of, shown above them. width: columns of the terminal.
    """
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
    shown = rows(records)
    names = max((len(row.name) for row in shown), default=0)
    for row in shown:
        label = row.name.replace("_", " ")
        bars = Text(spark(row.values, max(8, min(60, width - names - 36))), style="cyan")
        first = Text(number(row.values[0]), style="dim")
        table.add_row(label, first, Text(number(row.last), style="bold"), bars)
    head = Text.assemble((name, "bold"), (f"  {len(records):,} records: metric, first, now", "dim"))
    said = [Text(f"! {stage}, {alarm}", style="bold red") for stage, alarm in rung]
    return Group(head, table, *said) if shown else Group(*said)


@dataclass
class _File:
    """One metrics.jsonl: how far it was read, and what it held."""

    offset: int = 0
    records: list[Record] = field(default_factory=list)


@dataclass
class Tail:
    """The records of a run and of its units, read as they are written.

    A file that became shorter, as a resumed run leaves it, is read anew. A line that is not complete yet waits.
    """

    directory: Path
    files: dict[str, _File] = field(default_factory=dict)
    newest: str = ""

    def poll(self) -> int:
        """Read what is new; returns the number of new records."""
        found = 0
        for name, path in self._paths():
            new = self._read(self.files.setdefault(name, _File()), path)
            if new:
                self.newest = name
            found += new
        return found

    def _paths(self) -> Iterator[tuple[str, Path]]:
        """(unit, file); the run's own file has no name and comes last, so that it is shown where both are new."""
        units = self.directory / "units"
        for unit in sorted(units.iterdir()) if units.is_dir() else ():
            yield unit.name, unit / "metrics.jsonl"
        yield "", self.directory / "metrics.jsonl"

    @staticmethod
    def _read(file: _File, path: Path) -> int:
        try:
            size = path.stat().st_size
            if size < file.offset:
                file.offset, file.records = 0, []
            if size == file.offset:
                return 0
            with path.open("rb") as source:
                source.seek(file.offset)
                data = source.read()
        except OSError:
            return 0
        complete = data[: data.rfind(b"\n") + 1]
        file.offset += len(complete)
        before = len(file.records)
        for line in complete.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # `report` names damaged lines; a monitor goes on
            if isinstance(record, dict) and isinstance(record.get("step"), int) and "stage" in record:
                file.records.append(record)
        return len(file.records) - before

    @property
    def stage(self) -> tuple[str, list[Record]]:
        """(name, records) of the stage that was written to last."""
        file = self.files.get(self.newest)
        if file is None or not file.records:
            return "", []
        stage = str(file.records[-1]["stage"])
        name = f"{self.newest}/{stage}" if self.newest and self.newest != stage else stage
        return name, [record for record in file.records if record["stage"] == stage]

    def alarms(self) -> list[tuple[str, Alarm]]:
        """(unit and stage, alarm) of everything read so far; what a run has gathered from a unit is told once."""
        units = [(name, *pair) for name, file in self.files.items() if name for pair in _rung(file.records)]
        seen = {(stage, alarm) for _, stage, alarm in units}
        own = _rung(self.files[""].records) if "" in self.files else []
        return [(f"{name}/{stage}", alarm) for name, stage, alarm in units] + [p for p in own if p not in seen]


def _rung(records: Sequence[Record]) -> list[tuple[str, Alarm]]:
    return [(stage, alarm) for stage, found in alarms_by_stage(records) for alarm in found]


class Monitor:
    """A view of a run that looks at its files once in `REFRESH_S` seconds, and less often where looking takes long: at
    most `SHARE` of the time is spent on it, as the run that is watched may share its process.

    Args:
        find: the run directory, or None while there is none yet. clock: seconds, monotonic.
    """

    def __init__(self, find: Callable[[], Path | None], clock: Callable[[], float] = time.monotonic) -> None:
        self.find, self.clock = find, clock
        self.tail: Tail | None = None
        self.alarms: list[tuple[str, Alarm]] = []
        self._look_at = -math.inf
        self._view: tuple[int, RenderableType] | None = None

    def poll(self, *, now: bool = False) -> int:
        """Read what is new, unless that was just done; returns the number of new records. now: in any case."""
        if not now and self.clock() < self._look_at:
            return 0
        began = self.clock()
        directory = self.find()
        if directory is not None and (self.tail is None or self.tail.directory != directory):
            self.tail = Tail(directory)
        new = self.tail.poll() if self.tail else 0
        if new and self.tail:
            self.alarms, self._view = self.tail.alarms(), None
        self._rest(began)
        return new

    def _rest(self, began: float) -> None:
        spent = self.clock() - began
        self._look_at = max(self._look_at, self.clock() + max(REFRESH_S, spent / SHARE))

    def view(self, width: int = 100) -> RenderableType:
        """The dashboard as of now; empty before the first record."""
        self.poll()
        if self._view is None or self._view[0] != width:
            began = self.clock()
            name, records = self.tail.stage if self.tail else ("", [])
            self._view = width, dashboard(name, records, self.alarms, width)
            self._rest(began)
        return self._view[1]


def run_directory(path: Path) -> Path:
    """The path, if a run is or was there.

    Raises:
        InputError: it holds none.
    """
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is no run directory: it has no config.json.")
    return path


def newest_run(home: Path, since: float) -> Path | None:
    """The run under `home` whose files were written last, and after `since` (seconds of the epoch); None without one.

    It finds the directory that a recipe chooses for itself.
    """

    def written(directory: Path) -> float:
        files = [directory / name for name in ("config.json", "state.json", "metrics.jsonl")]
        return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)

    found = [(written(path), path) for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    last, path = max(found, default=(0.0, None), key=lambda pair: pair[0])
    return path if last >= since else None


def is_finished(directory: Path) -> bool:
    """Whether the run says that it has finished."""
    state = directory / "state.json"
    try:
        return state.is_file() and bool(read_json(state).get("finished"))
    except InputError:
        return False
