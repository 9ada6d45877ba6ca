"""The page of a large benchmark run in a real browser: how long it takes to open, and to filter.

    python benchmarks/bench_report.py [--results N] [--rounds N] [--record]

The run is real: a script answers picture problems of the digits world and a few hostile texts; samples, store, page and
shards are what the runner and the report make of it. Headless Chromium opens the page from disk. Opening is the
browser's own figure from navigation to the end of the load event; filtering is one change of a filter, layout included.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "serve"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "report"))

from bench_example import make_run
from browser import browser

from _record import leave
from consilience.report.bench import SHARDS, build_bench_report

PROBLEMS = 250
READY = "!!window.benchFilter && document.readyState === 'complete'"
OPENED = "performance.timing.loadEventEnd - performance.timing.navigationStart"
FILTERED = (
    "(() => { const t = performance.now(); benchFilter(); document.body.offsetHeight; return performance.now() - t })()"
)
CHOICES = (
    "[name=strategy]').value='direct'",
    "[name=text]').value='count'",
    "[name=outcome]').value='wrong'",
)


async def look(page_path: Path) -> tuple[float, float]:
    """Milliseconds to open the page, and of the slowest change of a filter."""
    async with browser() as page:
        await page.open(page_path.as_uri())
        await page.until(READY)
        opened = await page.js(OPENED)
        filtered = []
        for choice in CHOICES:
            await page.js(f"document.querySelector('{choice}")
            filtered.append(await page.js(FILTERED))
        assert page.problems == [], page.problems
    return opened, max(filtered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        make_run(directory, PROBLEMS, samples=-(-args.results // (2 * PROBLEMS)))
        began = time.perf_counter()
        path = build_bench_report(directory)
        built = time.perf_counter() - began
        shards = sorted((directory / SHARDS).iterdir())
        seen = [asyncio.run(look(path)) for _ in range(args.rounds)]
        sizes = [path.stat().st_size / 1e6, sum(shard.stat().st_size for shard in shards) / 1e6]
    opened, filtered = (statistics.median(times) for times in zip(*seen, strict=True))
    rows = [
        ["opens, ms", round(opened), 3000],
        ["slowest filter, ms", round(filtered, 1), 200],
        ["built from the run's files, s", round(built, 1), "—"],
        ["page, MB", round(sizes[0], 1), "—"],
        [f"{len(shards)} shards beside it, MB", round(sizes[1], 1), "—"],
    ]
    note = f"Medians of {args.rounds} fresh browsers."
    title = f"A page of {args.results:,} results with pictures"
    leave(
        "bench-report",
        [{"title": title, "columns": ["", "measured", "at most"], "rows": rows, "note": note}],
        record=args.record,
    )


if __name__ == "__main__":
    main()
