"""The tables of the report and of RESULTS.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consilience.recipes.r_align.claims import Evaluations, exactly
from consilience.recipes.r_align.work import FAILING, SYSTEMS, meta_states
from consilience.stats import Estimate, t_interval
from consilience.verify.judges.rationale import RationaleMetrics, rationale_intervals, rationale_metrics

NAMES = {
    "untrained": "untrained (any factor)",
    "format": "judge by format",
    "label": "label-only reward",
    "align": "label and rationale (R-Align)",
    "failing": f"R-Align, {FAILING:.0%} of replies unreadable",
}
SIMULATED = "SIMULATION: reward models and judges are small programs; no language model was run."


def tables(evaluations: Evaluations) -> list[dict[str, Any]]:
    """One table a part that was run, and the controls."""
    by_part: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for (seed, part), found in sorted(evaluations.items()):
        by_part.setdefault(part, []).append((seed, found))
    out = []
    for part, make in _MAKERS.items():
        if part in by_part:
            out += make(by_part[part])
    return out


Rows = Sequence[tuple[int, Mapping[str, Any]]]


def over(estimates: Sequence[Estimate | None]) -> dict[str, Any] | None:
    """A cell: the estimate of one seed, or the mean over seeds with a t interval; None where nothing is defined."""
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        return None
    return (known[0] if len(known) == 1 else t_interval([e.value for e in known])).to_json()


def share(estimates: Sequence[Estimate | None], lowest: float = 0.0) -> dict[str, Any] | None:
    """The cell of a share (or, from −1, of a correlation): its interval ends where its values do."""
    cell = over(estimates)
    return cell and {**cell, "low": max(cell["low"], lowest), "high": min(cell["high"], 1.0)}


def exact(values: Sequence[float | None]) -> dict[str, Any] | float | None:
    """A cell of numbers that are computed, not sampled: the number of one seed, or the mean over seeds."""
    known = [value for value in values if value is not None]
    return known[0] if len(known) == 1 else over([exactly(value) for value in known])


def _note(rows: Rows, one: str) -> str:
    spread = f"Mean over {len(rows)} seeds with a t interval." if len(rows) > 1 else one
    return f"{spread} {SIMULATED}"


def _metric_cells(rows: Rows, system: str) -> list[dict[str, Any] | None]:
    found = [rationale_intervals(meta_states(e["states"][system]), seed) for seed, e in rows]
    return [share([f.get(name) for f in found]) for name in ("label_accuracy", "spurious", "fidelity")]


def _bandit(rows: Rows) -> list[dict[str, Any]]:
    lines: list[list[Any]] = []
    for system in SYSTEMS:
        more = [exact([e[key][system] for _, e in rows]) for key in ("format_share", "gold")]
        lines.append([NAMES[system], *_metric_cells(rows, system), *more])
    best = exact([e["content_accuracy"] for _, e in rows])
    lines.append(["best reader of content", best, None, None, 0.0, None])
    return [
        {
            "title": "Bandit: a reward model that names one factor, and the actor trained against it",
            "columns": ["", "L-Acc", "S-Corr", "F-Score", "rationale is format", "gold of the actor"],
            "rows": lines,
            "note": f"Gold is at most 1.414. {_note(rows, 'Bootstrap intervals over pairs.')}",
        }
    ]


def _text(rows: Rows) -> list[dict[str, Any]]:
    lines = []
    for system in (*SYSTEMS, "failing"):
        counted = [rationale_metrics(meta_states(e["states"][system])) for _, e in rows]
        failed = sum(m.failures for m in counted)
        lines.append([NAMES[system], *_metric_cells(rows, system), failed, *_bounds(counted)])
    note = "Bounds: every failed verdict Correct, or every one Incorrect."
    metrics = {
        "title": "Text pairs, through the judges' prompts and parsers",
        "columns": ["", "L-Acc", "S-Corr", "F-Score", "verdicts failed", "S-Corr bounds", "F-Score bounds"],
        "rows": lines,
        "note": f"{note} {_note(rows, 'Bootstrap intervals over pairs.')}",
    }
    return [metrics, _controls(rows)]


def _bounds(counted: Sequence[RationaleMetrics]) -> list[str]:
    """Lowest to highest over seeds of the mean bounds, as text."""
    spurious = [m.spurious_bounds for m in counted if m.spurious_bounds is not None]
    fidelity = [m.fidelity_bounds for m in counted]
    return [
        f"{sum(b[0] for b in bounds) / len(bounds):.3f} to {sum(b[1] for b in bounds) / len(bounds):.3f}"
        if bounds
        else "—"
        for bounds in (spurious, fidelity)
    ]


def _controls(rows: Rows) -> dict[str, Any]:
    def line(name: str, read: Callable[[Mapping[str, Any]], float | None]) -> list[Any]:
        return [name, exact([read(e) for _, e in rows])]

    lines = [
        line("S-Corr with shuffled golds, exact meta-judge", lambda e: e["controls"]["shuffled"]["spurious"]),
        line("S-Corr with the gold as explanation, exact", lambda e: e["controls"]["gold"]["spurious"]),
        line("S-Corr with shuffled golds, noisy meta-judge", lambda e: e["noisy_controls"]["shuffled"]["spurious"]),
        line("S-Corr with the gold as explanation, noisy", lambda e: e["noisy_controls"]["gold"]["spurious"]),
        line("verdicts that flip when repeated, exact", lambda e: e["flips"]["exact"]),
        line("verdicts that flip when repeated, noisy", lambda e: e["flips"]["noisy"]),
        line("Cohen's kappa, exact and noisy", lambda e: e["kappa"]),
        line("same answer in both orders", lambda e: e["order"]["consistent"] / max(e["order"]["compared"], 1)),
    ]
    note = "The noisy meta-judge rejects 10 % of golden rationales and accepts 5 % of others."
    return {
        "title": "Controls on the R-Align reward model's text rationales",
        "columns": ["", "value"],
        "rows": lines,
        "note": f"{note} {_note(rows, 'One seed.')}",
    }


def _phase(rows: Rows) -> list[dict[str, Any]]:
    lines = []
    for i, point in enumerate(rows[0][1]["points"]):
        cells: list[Any] = []
        for reward in ("label", "align"):
            points = [e["points"][i][reward] for _, e in rows]
            found = [
                rationale_intervals(meta_states(p["states"]), seed) for (seed, _), p in zip(rows, points, strict=True)
            ]
            cells += [share([f.get(name) for f in found]) for name in ("label_accuracy", "spurious")]
            cells.append(exact([p["gold"] for p in points]))
        lines.append([point["agreement"], *cells])
    content = sum(e["content_accuracy"] for _, e in rows) / len(rows)
    columns = [f"{metric}, {name}" for name in ("label-only", "R-Align") for metric in ("L-Acc", "S-Corr", "gold")]
    return [
        {
            "title": "How often format must go with the label before label-only training collapses to it",
            "columns": ["format agrees", *columns],
            "rows": lines,
            "note": f"The best reader of content has an L-Acc of {content:.3f}. {_note(rows, 'One seed.')}",
        }
    ]


def _predictor(rows: Rows) -> list[dict[str, Any]]:
    systems = []
    for i, system in enumerate(rows[0][1]["systems"]):
        found = [e["systems"][i] for _, e in rows]
        cells = [exact([s[key] for s in found]) for key in ("label_accuracy", "fidelity", "gold")]
        systems.append([system["name"], *cells])
    lines = []
    for metric, name in (("label_accuracy", "L-Acc"), ("fidelity", "F-Score")):
        found = [e["correlations"][metric] for _, e in rows]
        without = [f["without"] for f in found if f["without"]]
        left_out = f"{min(w[0] for w in without):.3f} to {max(w[1] for w in without):.3f}" if without else "—"
        cells = [share([exactly(f[key]) for f in found], -1.0) for key in ("pearson", "spearman")]
        lines.append([name, found[0]["n"], *cells, left_out])
    return [
        {
            "title": "What predicts the actor's gold",
            "columns": ["", "systems", "Pearson", "Spearman", "Pearson without any one system"],
            "rows": lines,
            "note": _note(rows, "One seed."),
        },
        {
            "title": "The population of reward models",
            "columns": ["", "L-Acc", "F-Score", "gold of the actor"],
            "rows": systems,
            "note": _note(rows, "One seed."),
        },
    ]


DECODER_NAMES = {
    "start": "warm start (names any difference)",
    "label": "label-only reward",
    "align": "label and rationale (R-Align)",
}


def _decoder(rows: Rows) -> list[dict[str, Any]]:
    lines: list[list[Any]] = []
    for arm, name in DECODER_NAMES.items():
        more = [exact([e["named"][arm]["look"] for _, e in rows]), exact([e["gold"][arm] for _, e in rows])]
        lines.append([name, *_metric_cells(rows, arm), *more])
    lines.append(["judge by layout", exact([e["layout_accuracy"] for _, e in rows]), 1.0, 0.0, 1.0, None])
    spread = f"Mean over {len(rows)} seeds with a t interval." if len(rows) > 1 else "Bootstrap intervals over pairs."
    return [
        {
            "title": "Nano decoder: a reward model that judges notes, and the writer trained against it",
            "columns": ["", "L-Acc", "S-Corr", "F-Score", "rationale is layout", "gold of the writer"],
            "rows": lines,
            "note": f"{spread} A decoder trained from nothing on notes whose truth is known by construction; the "
            "meta-judge is a rule. Gold is at most 0.5, and 0 for a writer that only sees to layout.",
        }
    ]


_MAKERS: Mapping[str, Callable[[Rows], list[dict[str, Any]]]] = {
    "bandit": _bandit,
    "text": _text,
    "phase": _phase,
    "predictor": _predictor,
    "decoder": _decoder,
}
