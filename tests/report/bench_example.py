"""A small benchmark run with pictures, hostile texts and two strategies, made by the real runner and a script."""

import asyncio

from consilience.bench.benchmark import Benchmark, LoadRequest
from consilience.bench.matrix import Matrix
from consilience.bench.rows import RowLog
from consilience.bench.runner import run_matrix
from consilience.bench.session import STORE, config_of, open_session, summarise
from consilience.bench.worlds import world_benchmark
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Problem, Text
from consilience.protocols import Sampling
from consilience.store import Store
from consilience.verify.check import AnswerVerifier

NASTY = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def script(messages, seed):
    text = messages[-1].text
    if "strange" in text:
        return Reply(f"I say {NASTY}</think>{NASTY}", tokens=9)
    return Reply(f"I look.<box><10><20><40><60></box></think>{seed % 3}", tokens=10 + seed)


def make_run(directory, pictures=6, strange=2, samples=40):
    """A run of (pictures + strange) × samples × 2 results."""
    hostile = tuple(
        Problem(f"odd/{i}", "odd", "ask", "text", (Text(f"strange {i} {NASTY}"),), NASTY, "string")
        for i in range(strange)
    )
    benchmarks = (
        world_benchmark("digits", LoadRequest(limit=pictures, variant="image+count")),
        Benchmark("odd", hostile, AnswerVerifier()),
    )
    policy = ScriptedPolicy(script, prefers_batch=False)
    matrix = Matrix(benchmarks, {"scripted": policy}, ("direct", "vote:2"), Sampling(max_tokens=64, seed=0), samples)

    async def work():
        config = config_of(matrix, command="consilience bench digits odd")
        with open_session(directory, config, matrix, resume=False) as session, Store(directory / STORE) as store:
            log = RowLog(session.rows_path)
            await run_matrix(matrix, store, log)
            log.close()
            summarise(session, matrix, store)

    asyncio.run(work())
    return directory
