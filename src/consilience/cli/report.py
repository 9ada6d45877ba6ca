"""`consilience report`: the page of a run directory; the run while it trains; its metrics for other tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from consilience.cli import Out
from consilience.errors import InputError

EXAMPLES = (
    "consilience report runs/step_r1_v_mini/20260901-101500-1a2b3c",
    "consilience report runs/step_r1_v_mini/20260901-101500-1a2b3c --live",
    "consilience report runs/mine --tensorboard runs/mine/tensorboard",
    "consilience report runs/step3/20260901-101500-1a2b3c --record",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the page goes (default: DIR/report.html)")
    parser.add_argument("--live", action="store_true", help="first follow the run until it has finished")
    parser.add_argument("--tensorboard", type=Path, metavar="LOGDIR", help="also write the metrics for TensorBoard")
    parser.add_argument("--wandb", type=Path, metavar="FOLDER", help="also write the metrics as an offline W&B run")
    parser.add_argument(
        "--record",
        action="store_true",
        help="also write the tables and claims into RESULTS.md, as a study does by itself",
    )


def run(args: argparse.Namespace, out: Out) -> Any:
    from consilience.files import read_json

    config = args.directory / "config.json"
    bench = config.exists() and read_json(config).get("kind") == "bench"
    if bench and (args.live or args.tensorboard or args.wandb or args.record):
        raise InputError(
            f"{args.directory} is a benchmark run: leave out --live and exports, which follow training; "
            "consilience bench has a --record of its own."
        )
    if args.live:
        from consilience.report.live import follow

        follow(args.directory, sys.stderr)
    return {"report": str(page(args, out, bench=bench)), **exported(args, out)}


def page(args: argparse.Namespace, out: Out, *, bench: bool) -> Path:
    """Build the page and say where it is."""
    if bench:
        from consilience.report.bench import build_bench_report

        path = build_bench_report(args.directory, out=args.out)
    else:
        from consilience.report import build_report

        path = build_report(args.directory, args.out)
    out(f"Report: {path}")
    return path


def exported(args: argparse.Namespace, out: Out) -> dict[str, str]:
    """Write the exports that were asked for; returns where they are."""
    files = {}
    if args.record:
        from consilience.results import record

        files["results"] = "RESULTS.md"
        out(f"RESULTS.md: section {record(Path('RESULTS.md'), args.directory)}")
    if not (args.tensorboard or args.wandb):
        return files
    from consilience.report.rundir import read_run
    from consilience.report.writers import to_tensorboard, to_wandb

    found = read_run(args.directory)
    if args.tensorboard:
        files["tensorboard"] = str(to_tensorboard(found, args.tensorboard))
        out(f"TensorBoard: tensorboard --logdir {args.tensorboard}")
    if args.wandb:
        files["wandb"] = str(to_wandb(found, args.wandb))
        out(f"W&B, offline: wandb sync {files['wandb']}")
    return files
