"""Curves of a run's metrics as inline SVG that follows the page's light or dark colours.

`panels` is the pure part: records → phases and lines. `draw_panel` hands them to matplotlib and replaces its
colours by CSS variables, so that one drawing is legible on either background and in print.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SERIES = 6  # colours the style sheet defines
_LEADING = (
    *("accuracy", "reward", "gold", "proxy", "f1", "pass", "vote", "loss", "entropy", "kl", "length", "clip_fraction"),
    *("explained_variance", "staleness", "zero_rewards", "truncated"),
)
INK, GRID = "#010203", "#040506"
COLOURS = tuple(f"#0a0b{i:02x}" for i in range(SERIES))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "consilience",
    "text.parse_math": False,
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
}
_DASHES = ("-", "-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)))


@dataclass(frozen=True)
class Line:
    """One curve within one stage: steps (or what else its panel's x counts), values and, where the run recorded them,
    its interval."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One metric: its lines by stage, in the order in which the stages ran. x: what the horizontal axis counts."""

    name: str
    stages: tuple[tuple[str, tuple[Line, ...]], ...]
    x: str = "step"

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of all lines, each once."""
        return tuple(dict.fromkeys(line.name for _, lines in self.stages for line in lines))

    @property
    def wide(self) -> bool:
        """More stages than fit beside another panel."""
        return len(self.stages) > 2


def panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Group metric records into panels.

    `accuracy/image` and `accuracy/text` are two lines of the panel `accuracy`; `x_low` and `x_high` are the
    interval of `x`. Left out are times (names ending in `_s`), what is no finite number, and metrics measured once
    (`measured_once` lists them). Panels of accuracies and rewards come first, the others as they first appear.
    """
    values: dict[str, dict[str, dict[str, list[tuple[int, float, float, float]]]]] = {}
    for record in records:
        for key, value in measured(record):
            name, _, variant = key.partition("/")
            low, high = record.get(f"{key}_low", math.nan), record.get(f"{key}_high", math.nan)
            lines = values.setdefault(name, {}).setdefault(str(record["stage"]), {})
            lines.setdefault(variant or name, []).append((record["step"], float(value), float(low), float(high)))
    found = [
        Panel(name, tuple((stage, tuple(_line(n, p) for n, p in lines.items())) for stage, lines in stages.items()))
        for name, stages in values.items()
    ]
    found = [panel for panel in found if any(len(line.values) > 1 for _, lines in panel.stages for line in lines)]
    return sorted(found, key=lambda p: next((i for i, w in enumerate(_LEADING) if w in p.name), len(_LEADING)))


def measured_once(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A table of the metrics of which a stage has a single record, as a final evaluation has; None without any."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        for key, value in measured(record):
            estimate = {"value": value, "low": record.get(f"{key}_low"), "high": record.get(f"{key}_high")}
            found.setdefault((str(record["stage"]), key), []).append(estimate)
    drawn = {panel.name for panel in panels(records)}
    rows = [[*at, many[0]] for at, many in found.items() if len(many) == 1 and at[1].partition("/")[0] not in drawn]
    return {"title": "Measured once", "columns": ["stage", "metric", "value"], "rows": rows} if rows else None


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Centred running mean over `window` values, narrower at both ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    half = window // 2
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return [float(v) for v in (total[high] - total[low]) / (high - low)]


def smoothing_window(count: int) -> int:
    """Records a running mean spans: none (1) for short curves, about a fifteenth of long ones, always odd."""
    return 1 if count < 80 else count // 30 * 2 + 1


def measured(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(name, value) of one record: no bookkeeping, no times, no bounds of intervals."""
    for key, value in record.items():
        if key not in ("step", "seed") and not key.endswith(("_s", "_low", "_high")) and _finite(value):
            yield key, value


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _line(name: str, points: Sequence[tuple[int, float, float, float]]) -> Line:
    steps, values, low, high = zip(*points, strict=True)
    known = all(map(math.isfinite, low + high))
    return Line(name, steps, values, low if known else (), high if known else ())


def draw_panel(panel: Panel, prefix: str) -> str:
    """The panel as an `<svg>` element. prefix: makes its ids unique within the page; same panel, same text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2 if panel.wide else 4.9, 2.35), layout="constrained")
        axes = figure.subplots(1, len(panel.stages), sharey=True, squeeze=False)[0]
        for ax, (stage, lines) in zip(axes, panel.stages, strict=True):
            draw = _draw_stage if panel.x == "step" else _draw_course
            draw(ax, stage, lines, panel.lines, first=ax is axes[0])
            if panel.x != "step":
                ax.set_xlabel(panel.x, fontsize=8.5)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return themed(buffer.getvalue(), prefix, label=f"{panel.name} by {panel.x}")


def _frame(ax: Any, stage: str, *, first: bool, whole: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_title(stage, loc="left", fontsize=8.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines["left"].set_visible(first)
    ax.tick_params(length=0, labelleft=first)
    ax.grid(axis="y", linewidth=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=3, integer=whole, min_n_ticks=1))
    ax.margins(x=0.03)


def _draw_course(ax: Any, stage: str, lines: Sequence[Line], names: Sequence[str], *, first: bool) -> None:
    """Points in the order of steps, joined; the last one is marked."""
    _frame(ax, stage, first=first, whole=False)
    for line in lines:
        colour = COLOURS[names.index(line.name) % SERIES]
        ax.plot(line.steps, line.values, color=colour, linewidth=1.2, marker=".", markersize=3)
        ax.plot(line.steps[-1:], line.values[-1:], "o", color=colour, markersize=6)


def _draw_stage(ax: Any, stage: str, lines: Sequence[Line], names: Sequence[str], *, first: bool) -> None:
    _frame(ax, stage, first=first, whole=True)
    for line in lines:
        index = names.index(line.name) % SERIES
        colour, window = COLOURS[index], smoothing_window(len(line.values))
        if line.low and len(line.values) == 1:
            ax.vlines(line.steps, line.low, line.high, color=colour, linewidth=1.7, alpha=0.5)
        elif line.low:
            ax.fill_between(line.steps, line.low, line.high, color=colour, alpha=0.16, linewidth=0)
        if len(line.values) == 1:
            ax.plot(line.steps, line.values, "o", color=colour, markersize=4)
            continue
        if window > 1:
            ax.plot(line.steps, line.values, color=colour, linewidth=0.7, alpha=0.32)
        ax.plot(line.steps, smoothed(line.values, window), color=colour, linewidth=1.7, linestyle=_DASHES[index])


def themed(svg: str, prefix: str, label: str) -> str:
    """matplotlib's SVG made part of a page: CSS variables for colours, unique ids, the page's font, a spoken name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    for index, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--series-{index})")
    svg = svg.replace(INK, "var(--muted)").replace(GRID, "var(--line)")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*pt"', r"\1", svg)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*pt"', r"\1", svg)
    return svg.replace("<svg ", f'<svg class="chart" role="img" aria-label="{html.escape(label)}" ', 1)
