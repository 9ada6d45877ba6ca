"""One self-contained HTML page from a run directory alone."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

import consilience
from consilience.files import atomic_write
from consilience.learn.alarms import alarms_by_stage
from consilience.report.claims_view import claim_view, measured_first, tally
from consilience.report.courses import MINUTES, courses
from consilience.report.curves import draw_panel, measured_once, panels
from consilience.report.gallery import PER_CELL, card, choose
from consilience.report.rundir import RunFiles, read_run, read_samples
from consilience.report.tables import accuracy_table, paired_table, table_view

LEADING_CHARTS = 12
MOST_PROBLEMS = 128
_HIDDEN = ("command", "created", "versions", "machine")


def build_report(directory: Path, out: Path | None = None) -> Path:
    """Write `report.html` of a run: header, claims, tables, curves and a gallery of answers with what they cite.

    The page needs no network and no other file, and nothing is recomputed but counts, intervals and drawings.
    Same files, same bytes.

    Args:
        directory: the run directory; `docs/report.md` states which files of it are read.
        out: where the page goes; None means report.html in the directory.

    Returns:
        The path of the page.

    Raises:
        InputError: the directory holds no run, one of its files is damaged, or `out` cannot be written.
    """
    run = read_run(Path(directory))
    path = out or run.directory / "report.html"
    atomic_write(path, render(run))
    return path


def render(run: RunFiles) -> str:
    """The page's HTML. Everything a model or a file said is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consilience.report"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    script = environment.get_template("page.js.jinja").render()
    return environment.get_template("report.html.jinja").render(
        **_head(run),
        **_claims(run),
        **_results(run),
        **_gallery(run),
        style=environment.get_template("style.css.jinja").render(),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=consilience.__version__,
    )


def _head(run: RunFiles) -> dict[str, Any]:
    config = run.config
    facts = [(name, config.get(key)) for name, key in (("scale", "scale"), ("model", "model"), ("seed", "seed"))]
    facts += [
        ("part of the study", config.get("part") or ("all" if config.get("study") else None)),
        ("begun", str(config.get("created", "")).replace("T", " ")[:16]),
        ("duration", duration(run.state.get("elapsed_s"))),
        ("machine", machine_text(config.get("machine"))),
        ("state", {True: "finished", False: "unfinished"}.get(run.state.get("finished", None), "")),
    ]
    rest = {key: value for key, value in config.items() if key not in _HIDDEN}
    return {
        "title": str(config.get("recipe") or run.directory.name),
        "facts": [(name, value) for name, value in facts if value not in (None, "")],
        "command": config.get("command", ""),
        "settings": json.dumps({**rest, "versions": config.get("versions", {})}, indent=2, ensure_ascii=False),
        "directory": str(run.directory),
    }


def duration(seconds: float | None) -> str:
    """Seconds for reading: "48 s", "7 min 12 s", "3 h 5 min"; empty for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def machine_text(machine: Any) -> str:
    if not isinstance(machine, Mapping):
        return str(machine or "")
    cores, memory = machine.get("cores"), machine.get("memory_gib")
    parts = (
        machine.get("processor"),
        cores and f"{cores} cores",
        memory and f"{memory} GiB",
        machine.get("accelerator"),
    )
    return ", ".join(str(part) for part in parts if part)


def _claims(run: RunFiles) -> dict[str, Any]:
    return {"claims": [claim_view(claim) for claim in measured_first(run.claims)], "claim_counts": tally(run.claims)}


def _results(run: RunFiles) -> dict[str, Any]:
    tables = list(run.tables)
    if not tables and run.samples:
        tables = [t for t in (accuracy_table(run.samples), paired_table(run.samples)) if t]
    tables += [table for table in (measured_once(run.metrics),) if table]
    drawn = courses(run.metrics)
    told = {line for panel in drawn if panel.x == MINUTES for line in panel.lines}  # not once more by step
    drawn += [panel for panel in panels(run.metrics) if panel.name not in told]
    charts = [
        {"name": panel.name, "lines": panel.lines, "wide": panel.wide, "svg": draw_panel(panel, f"curve{index}")}
        for index, panel in enumerate(drawn)
    ]
    rung = [{"stage": stage, "alarm": alarm} for stage, found in alarms_by_stage(run.metrics) for alarm in found]
    return {"tables": [table_view(t) for t in tables], "charts": charts, "leading": LEADING_CHARTS, "alarms": rung}


def _gallery(run: RunFiles) -> dict[str, Any]:
    cells = list(dict.fromkeys(s.cell for s in run.samples))
    chosen = choose(run.samples, max(4, min(PER_CELL, MOST_PROBLEMS // max(1, len(cells)))))
    return {
        "cards": [card(record) for record in read_samples(run, chosen)],
        "models": list(dict.fromkeys(s.model for s in chosen)),
        "cells": cells,
        "recorded": len(run.samples),
    }
