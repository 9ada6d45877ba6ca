"""The page of a large benchmark run in a real browser: how long it takes to open, and to filter.

    python benchmarks/bench_report.py [--results N] [--rounds N] [--record]

A scripted policy answers picture problems of the digits world, so that samples, store, page and shards are those of a
real run. Headless Chromium opens the page from disk. Opening is the browser's own figure from navigation to the end of
the load event; filtering is the time of one change of a filter, layout included.
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

from browser import browser

from _record import leave
from consilience.bench.benchmark import LoadRequest
from consilience.bench.matrix import Matrix
from consilience.bench.rows import RowLog
from consilience.bench.runner import run_matrix
from consilience.bench.session import STORE, config_of, open_session, summarise
from consilience.bench.worlds import world_benchmark
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.protocols import Sampling
from consilience.report.bench import SHARDS, build_bench_report
from consilience.store import Store

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


def run(directory: Path, results: int) -> None:
    """A finished run of as many results, half of them by a vote of two."""

    def script(messages: object, seed: int) -> Reply:
        return Reply(f"I look.<box><10><20><40><60></box></think>{seed % 7}", tokens=12)

    policy = ScriptedPolicy(script, prefers_batch=False)
    benchmark = world_benchmark("digits", LoadRequest(limit=PROBLEMS, variant="image+count"))
    repetitions = -(-results // (2 * PROBLEMS))
    sampling = Sampling(max_tokens=64, seed=0)
    matrix = Matrix((benchmark,), {"scripted": policy}, ("direct", "vote:2"), sampling, repetitions)

    async def work() -> None:
        config = config_of(matrix, command="consilience bench digits:image+count")
        with open_session(directory, config, matrix, resume=False) as session, Store(directory / STORE) as store:
            log = RowLog(session.rows_path)
            await run_matrix(matrix, store, log)
            log.close()
            summarise(session, matrix, store)

    asyncio.run(work())


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
        run(directory, args.results)
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
