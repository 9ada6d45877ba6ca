"""`consilience run`: one recipe at one scale."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from consilience.cli import Out
from consilience.errors import InputError
from consilience.request import SCALES, RunRequest

EXAMPLES = (
    "consilience run step_r1_v_mini --scale smoke",
    "consilience run step_r1_v_mini --study --part seesaw --resume",
    "consilience run pacore --model openai:NAME --base-url http://localhost:8000/v1 --set problems=200",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="name of a published system; a wrong one suggests the nearest")
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="laptop",
        help="smoke: seconds; laptop: ten minutes on two cores; gpu: ten minutes on one card; paper: as published",
    )
    parser.add_argument("--model", default="nano", help="nano | PATH | openai:NAME | hf:NAME | vllm:NAME")
    parser.add_argument("--base-url", default="", metavar="URL", help="address of the server for openai: and vllm:")
    parser.add_argument("--study", action="store_true", help="evaluate every claim, not only the primary one")
    parser.add_argument("--part", default="", metavar="P", help="one part of the study")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings of the recipe"
    )
    run_options(parser)


def run_options(parser: argparse.ArgumentParser) -> None:
    """Options that every verb shares which leaves a run directory."""
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="same seed, same numbers (default 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run directory (default: a new one under runs/)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with --out, or with the newest unfinished run of equal settings"
    )


def natural(text: str) -> int:
    """A whole number, 0 or larger, as argparse wants it."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


natural.__name__ = "whole number"  # what argparse calls it in its complaint


def run(args: argparse.Namespace, out: Out) -> Any:
    request = {"scale": args.scale, "model": args.model, "base_url": args.base_url}
    request |= {"study": args.study, "part": args.part, "settings": settings(args.set)}
    return carry_out(args, out, args.recipe, **request)


def settings(pairs: list[str]) -> dict[str, Any]:
    """`key=value` words as a mapping; values that read as JSON numbers or booleans become such, the rest stays text.

    Raises:
        InputError: a word has no `=`, an empty key, or a key comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not (key and sign):
            raise InputError(f"--set takes KEY=VALUE, not {pair!r}.")
        if key in found:
            raise InputError(f"--set gives {key!r} twice: keep one of them.")
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool | str) or value is None else text


def carry_out(args: argparse.Namespace, out: Out, recipe: str, **request: Any) -> dict[str, Any]:
    """Run a recipe with a live view, make sure of its report, show its claims; returns the verb's payload.

    On a terminal the view has the curves of the stage that runs below its bars.
    """
    from consilience import registry
    from consilience.report.monitor import Monitor, newest_run
    from consilience.report.progress import open_progress

    assembled = registry.load("recipe", recipe)()
    home, began = Path("runs") / recipe.replace("-", "_"), time.time()
    monitor = Monitor(lambda: args.out or newest_run(home, began))
    with open_progress(below=monitor.view) as progress:
        directory = assembled.run(
            RunRequest(
                recipe.replace("-", "_"),
                seed=args.seed,
                out=args.out,
                resume=args.resume,
                command=args.command,
                progress=progress,
                **request,
            )
        )
    return conclude(Path(directory), out)


def conclude(directory: Path, out: Out) -> dict[str, Any]:
    """Print a finished run's alarms, claims and where its report is; build the report if the recipe has not."""
    from consilience.files import read_json
    from consilience.learn.alarms import alarms_by_stage
    from consilience.report import build_report
    from consilience.report.claims_view import claim_lines, measured_first
    from consilience.report.rundir import read_run

    page = directory / "report.html"
    if not page.exists():
        build_report(directory)
    path = directory / "claims.json"
    claims = read_json(path) if path.exists() else []
    for stage, rung in alarms_by_stage(read_run(directory).metrics):
        for alarm in rung:
            out(f"Alarm: {stage}, {alarm}")
    for line in claim_lines(measured_first(claims)):
        out(line)
    out(f"Report: {page}")
    return {"directory": str(directory), "report": str(page), "claims": claims}
