"""Tables with intervals: from recorded samples, and as the page shows them.

A table is plain JSON, `{"title", "columns", "rows", "note"}`; a cell is text, a number, null or an estimate
`{"value", "low", "high", "n"}` whose interval and n may be left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from consilience.errors import InputError
from consilience.report.rundir import SampleRef
from consilience.stats import discordant, mcnemar, paired_difference, wilson

Table = Mapping[str, Any]


ROUNDING = 1e-15
"""What differences of numbers around 1 leave where they ought to vanish."""


def number(value: float) -> str:
    """A number for reading: whole ones with thousands separators, others to three significant decimals."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) >= 1000):
        return f"{int(value):,}"
    if abs(value) < ROUNDING:
        return "0.000"
    if abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def signed(value: float) -> str:
    """A number with a true minus sign, as tables print it."""
    return number(value).replace("-", "−")


def table_view(table: Table) -> dict[str, Any]:
    """What the page's template needs of a table.

    Raises:
        InputError: the table lacks its title, columns or rows, or a row has another length than the columns.
    """
    missing = [field for field in ("title", "columns", "rows") if field not in table]
    if missing:
        raise InputError(f"a table in tables.json lacks {', '.join(missing)}.")
    columns, rows = list(table["columns"]), [list(row) for row in table["rows"]]
    if bad := next((row for row in rows if len(row) != len(columns)), None):
        raise InputError(f"the table {table['title']!r} has {len(columns)} columns but a row of {len(bad)} cells.")
    scales = [_scale([row[i] for row in rows]) for i in range(len(columns))]
    return {
        "title": table["title"],
        "note": table.get("note", ""),
        "columns": [
            {"name": name, "numeric": bool(rows) and all(_is_number(row[i]) for row in rows)}
            for i, name in enumerate(columns)
        ],
        "rows": [[_cell(cell, scale) for cell, scale in zip(row, scales, strict=True)] for row in rows],
    }


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _scale(cells: Sequence[Any]) -> tuple[float, float]:
    """(start, extent) of the axis on which a column's intervals are drawn; it contains zero where any is negative."""
    ends = [float(c[k]) for c in cells if isinstance(c, Mapping) for k in ("low", "high") if c.get(k) is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    low, high = (min(low, 0.0), max(high, 0.0)) if low < 0 else (low, high)
    return low, (high - low) or 1.0


def _cell(cell: Any, scale: tuple[float, float]) -> dict[str, Any]:
    """text, interval and n as text ("" where absent); low, high, at and zero (or None) in percent of the scale."""
    view: dict[str, Any] = {"text": "—", "interval": "", "n": "", "zero": None}
    if not isinstance(cell, Mapping):
        return view if cell is None else {**view, "text": signed(cell) if _is_number(cell) else str(cell)}
    value, low, high = (cell.get(key) for key in ("value", "low", "high"))
    if value is not None:
        view["text"] = signed(value)
    if cell.get("n") is not None:
        view["n"] = number(cell["n"])
    if value is not None and low is not None and high is not None:
        start, extent = scale
        view["interval"] = f"{signed(low)} to {signed(high)}"
        view |= {key: round(100 * (v - start) / extent, 2) for key, v in (("low", low), ("high", high), ("at", value))}
        view["zero"] = round(100 * -start / extent, 2) if start < 0 else None
    return view


def accuracy_table(samples: Sequence[SampleRef]) -> dict[str, Any]:
    """Share of right answers of each model in each cell, with Wilson's 95 % interval."""
    right = _first_answers(samples)
    models = list(dict.fromkeys(model for _, model in right))

    def estimate(answers: Mapping[str, bool]) -> dict[str, Any] | None:
        return wilson(sum(answers.values()), len(answers)).to_json() if answers else None

    return {
        "title": "Share of right answers",
        "columns": ["cell", *models],
        "rows": [[cell, *(estimate(right.get((cell, m), {})) for m in models)] for cell in _cells(right)],
        "note": "The first recorded answer to each problem; Wilson's 95 % interval.",
    }


def paired_table(samples: Sequence[SampleRef]) -> dict[str, Any] | None:
    """How much more often the first recorded model is right than each other one on the same problems, with Tango's
    95 % interval and McNemar's exact p; None where nothing can be paired."""
    right = _first_answers(samples)
    subject, *others = dict.fromkeys(model for _, model in right) or [""]
    rows: list[list[Any]] = []
    for cell in _cells(right):
        for other in others:
            ours, theirs = right.get((cell, subject), {}), right.get((cell, other), {})
            both = [name for name in ours if name in theirs]
            if both:
                only = discordant([ours[name] for name in both], [theirs[name] for name in both])
                rows.append([cell, other, paired_difference(*only, len(both)).to_json(), mcnemar(*only)])
    note = (
        "On the problems that both answered; Tango's 95 % score interval, McNemar's exact test, "
        "not corrected for the number of rows."
    )
    columns = ["cell", "against", "difference", "p"]
    return (
        {"title": f"How much more often {subject} is right", "columns": columns, "rows": rows, "note": note}
        if rows
        else None
    )


def _first_answers(samples: Sequence[SampleRef]) -> dict[tuple[str, str], dict[str, bool]]:
    """(cell, model) → problem → whether its first recorded answer is right."""
    found: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for sample in samples:
        found[sample.cell, sample.model].setdefault(sample.problem_id, sample.right)
    return dict(found)


def _cells(right: Mapping[tuple[str, str], Any]) -> list[str]:
    return list(dict.fromkeys(cell for cell, _ in right))
