"""The killable worker pool: hangs, memory, crashes, quarantine, threads and asyncio; real processes throughout."""

import asyncio
import os
import signal
import threading
import time

import pytest

from consilience.errors import InputError
from consilience.verify import Code
from consilience.verify.batch import averify, averify_many
from consilience.verify.pool import Item, PoolError, WorkerPool

HANG = "\\boxed{" + "\\int_0^1 x^{x^{x}} e^{\\sin(x^{x})} \\ln(1+x^{\\pi x}) dx" + "}"


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(1, deadline_s=30.0, symbolic=True) as opened:
        yield opened


def test_verdicts_are_those_of_this_process(pool):
    pairs = [(f"\\boxed{{{n}}}", str(n % 3)) for n in range(100)]
    verdicts = pool.verify_many([Item(p, g) for p, g in pairs])
    assert [v.correct for v in verdicts] == [n == n % 3 for n in range(100)]
    bad = pool.submit(Item("\\boxed{1}", "\\frac{1}{")).result()
    assert bad.code == Code.UNPARSED_GOLD


@pytest.mark.parametrize(
    ("prediction", "gold", "code"),
    [
        ("\\int_0^1 x^2 dx", "1/3", Code.CORRECT),
        ("\\lim_{x\\to0}\\frac{\\sin x}{x}", "1", Code.CORRECT),
        ("x^2<4", "-2<x<2", Code.CORRECT),
        ("x^2<4", "-2<x<3", Code.INCORRECT),
        ("\\int_0^1 x^2 dx", "1/2", Code.INCORRECT),
    ],
)
def test_sympy_decides_what_the_ladder_leaves_open(pool, prediction, gold, code):
    assert pool.submit(Item(prediction, gold)).result().code == code


def test_an_overrun_is_killed_replaced_and_quarantined():
    with WorkerPool(1, deadline_s=0.4, symbolic=True) as pool:
        pool.submit(Item("1", "1")).result()
        start = time.monotonic()
        verdicts = pool.verify_many([Item("\\boxed{7}", "7"), Item(HANG, "\\frac{1}{7}"), Item("\\boxed{8}", "8")])
        assert [v.code for v in verdicts] == [Code.CORRECT, Code.TIMEOUT, Code.CORRECT]
        assert time.monotonic() - start < 15
        again = pool.submit(Item(HANG, "\\frac{1}{7}")).result()
        assert again.code == Code.REFUSED_UNSAFE
        assert again.evidence["reason_codes"] == ["quarantined"]
        assert pool.counters["killed"] == 1
        assert pool.counters["started"] == 2
        assert pool.counters[Code.TIMEOUT] == 1


def test_a_crash_costs_one_item_and_an_idle_death_none():
    with WorkerPool(1, deadline_s=5.0) as pool:
        pool.submit(Item("1", "1")).result()
        (process,) = pool._processes
        os.kill(process.child.pid, signal.SIGKILL)
        process.child.wait()
        assert pool.submit(Item("\\boxed{7}", "7")).result().correct
        assert pool.counters["crashed"] == 0
        assert pool.counters["started"] == 2


def test_memory_is_limited_in_the_worker():
    limits = []
    with WorkerPool(1, memory_mb=64) as pool:
        pool.submit(Item("1", "1")).result()
        (process,) = pool._processes
        with open(f"/proc/{process.child.pid}/limits") as file:
            limits = [line.split() for line in file if line.startswith(("Max address space", "Max cpu time"))]
    cpu, memory = limits
    assert cpu[3] != "unlimited"
    assert int(memory[3]) < 2**30


def test_threads_and_asyncio_share_a_pool(pool):
    results: dict[int, bool] = {}

    def work(index):
        results[index] = pool.submit(Item(f"\\boxed{{{index}}}", "3")).result().correct

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {index: index == 3 for index in range(8)}

    async def gather():
        single = await asyncio.gather(*(averify(f"\\boxed{{{n}}}", "3", pool) for n in range(6)))
        many = await averify_many([("1", "1"), ("1", "2")], pool=pool)
        return [v.correct for v in single], [v.correct for v in many]

    assert asyncio.run(gather()) == ([n == 3 for n in range(6)], [True, False])


def test_odd_texts_cross_the_pipe(pool):
    for text in ("\ud800", "\x00", "\u2028\n\r", "𝑥" * 1000, "\\boxed{" * 5000, "x" * 300_000):
        assert not pool.submit(Item(text, "7")).result().correct


def test_workers_end_with_the_pool():
    with WorkerPool(2) as pool:
        pool.verify_many([Item(str(n), "1") for n in range(64)])
        children = [process.child for process in pool._processes]
    assert children
    assert all(child.poll() is not None for child in children)
    with pytest.raises(PoolError, match="closed"):
        pool.submit(Item("1", "1"))


@pytest.mark.parametrize("settings", [{"workers": 0}, {"deadline_s": 0}, {"memory_mb": 1}])
def test_settings_must_make_sense(settings):
    with pytest.raises(InputError):
        WorkerPool(**settings)
