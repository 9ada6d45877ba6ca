"""The page of a benchmark run, in a real browser and from disk: everything is there, fast, and nothing runs."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "serve"))

from bench_example import make_run
from browser import PROGRAM, browser

from consilience.bench.session import ROWS, STORE
from consilience.errors import InputError
from consilience.report import bench
from consilience.report.bench import build_bench_report, render
from consilience.report.bench_data import details, index_of, read_asked, sharded
from consilience.store import Store

needs_browser = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"), reason="needs Chromium (required in continuous integration)"
)
READY = "!!window.benchFilter && document.readyState === 'complete'"
COUNT = "document.querySelector('.finder output').textContent"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = make_run(tmp_path_factory.mktemp("bench") / "run")
    build_bench_report(made)
    return made


def test_500_results_stand_in_the_page_and_the_others_beside_it(directory):
    asked = read_asked(directory, ["direct", "vote:2"])
    shards = sharded(asked)
    inside = sum(len(item.rows) for item, shard in zip(asked, shards, strict=True) if shard == 0)
    assert (sum(len(item.rows) for item in asked), inside) == (640, 480)
    assert {item.benchmark for item, shard in zip(asked, shards, strict=True) if shard == 0} == {
        "digits:image+count",
        "odd",
    }
    assert sorted(path.name for path in (directory / "report_data").iterdir()) == ["0001.js"]
    with Store(directory / STORE) as store:
        data = dict(details(asked, shards, store))
    assert sum(len(part["rows"]) for part in data.values()) == 640
    assert len(data[0]["rows"]) == 480


def test_the_page_shows_what_the_files_say_and_no_markup_of_a_model(directory):
    html = (directory / "report.html").read_text()
    assert "At equal cost" in html
    assert "consilience bench digits odd" in html
    assert 'onerror="document' not in html
    assert html.count("<script>") == 1
    assert all("<" not in path.read_text() for path in (directory / "report_data").iterdir())


def test_the_same_files_give_the_same_page_and_shards_of_an_earlier_one_go(directory, tmp_path):
    first = (directory / "report.html").read_bytes()
    (directory / "report_data" / "0099.js").write_text("old")
    build_bench_report(directory)
    assert (directory / "report.html").read_bytes() == first
    assert not (directory / "report_data" / "0099.js").exists()


def test_a_directory_without_a_benchmark_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        build_bench_report(tmp_path)
    (tmp_path / "config.json").write_text('{"recipe": "other"}')
    with pytest.raises(InputError, match="holds no benchmark run"):
        build_bench_report(tmp_path)


def test_a_run_that_was_stopped_has_a_page(tmp_path):
    made = make_run(tmp_path / "run", pictures=1, strange=1, samples=1)
    (made / ROWS).write_text("")
    table = json.loads((made / "table.json").read_text())
    empty = {"lines": [], "comparisons": [], "equal_tokens": [], "results": 0, "stopped": "the limit of 1 calls"}
    (made / "table.json").write_text(json.dumps({**table, **empty}))
    assert "no results" in build_bench_report(made).read_text()


@needs_browser
async def test_from_disk_results_are_filtered_opened_and_loaded_on_demand(directory):
    async with browser() as page:
        await page.open((directory / "report.html").as_uri())
        await page.until(READY)
        assert await page.js(COUNT) == "640 of 640"
        assert await page.js("document.querySelectorAll('.detail .picture .truth').length") > 0
        assert await page.js("document.querySelectorAll('.detail .cite').length") == 1
        assert await page.js("document.querySelectorAll('.item').length") < 60
        await page.js("document.querySelector('[name=strategy]').value = 'vote:2'; benchFilter()")
        assert await page.js(COUNT) == "320 of 640"
        await page.until("document.querySelectorAll('.detail .others tr').length === 2")
        await page.js("document.querySelector('[name=benchmark]').value = 'digits:image+count'; benchFilter()")
        assert await page.js(COUNT) == "240 of 640"
        loaded = "[...document.scripts].filter(s => s.src).length"
        assert await page.js(loaded) == 0
        await page.js("const list = document.querySelector('.list'); list.scrollTop = list.scrollHeight; 1")
        await asyncio.sleep(0.2)
        await page.js("[...document.querySelectorAll('.item')].at(-1).click()")
        await page.until(f"{loaded} === 1 && document.querySelector('.detail .question') !== null")
        await page.until("document.querySelector('.item[aria-selected=true]') !== null")
        assert "row=" in await page.js("location.hash")
        assert page.problems == []


@needs_browser
async def test_what_a_model_says_is_text(directory):
    async with browser() as page:
        await page.open((directory / "report.html").as_uri() + "#benchmark=odd")
        await page.until(READY)
        await page.until("document.querySelector('.detail .question')?.textContent.includes('strange')")
        assert "<img" in await page.js("document.querySelector('.detail .reasoning').textContent")
        assert await page.js("document.querySelectorAll('.detail img, .list img').length") == 0
        assert await page.js("document.title") != "owned"
        assert page.problems == []


@needs_browser
async def test_a_missing_shard_is_said(directory, tmp_path):
    lonely = tmp_path / "report.html"
    lonely.write_bytes((directory / "report.html").read_bytes())
    last = 640 - 160 - 1
    async with browser() as page:
        await page.open(f"{lonely.as_uri()}#row={last}")
        await page.until(READY)
        await page.until("document.querySelector('.detail').textContent.includes('keep report_data/ beside the page')")


@needs_browser
async def test_20000_results_open_within_3_seconds_and_filter_within_200_milliseconds(directory, tmp_path):
    asked = read_asked(directory, ["direct", "vote:2"])
    many = [item for item in asked for _ in range(20_000 // 640 + 1)]
    shards = [0, *([1] * (len(many) - 1))]
    index = index_of(many, shards)
    with Store(directory / STORE) as store:
        inline = dict(details(asked, [0] * len(asked), store))[0]
    config, table = (json.loads((directory / name).read_text()) for name in ("config.json", "table.json"))
    path = tmp_path / "report.html"
    path.write_text(render(config, table, index, inline))
    assert len(index["rows"]["p"]) >= 20_000
    spent = "const t = performance.now(); benchFilter(); document.body.offsetHeight; return performance.now() - t"
    async with browser() as page:
        await page.open(path.as_uri())
        await page.until(READY)
        opened = await page.js("performance.timing.loadEventEnd - performance.timing.navigationStart")
        times = []
        for choice in (
            "[name=strategy]').value='direct'",
            "[name=text]').value='count'",
            "[name=outcome]').value='wrong'",
        ):
            await page.js(f"document.querySelector('{choice}")
            times.append(await page.js(f"(() => {{ {spent} }})()"))
    assert opened < 3000
    assert max(times) < 200


def test_the_shards_folder_goes_when_everything_fits_in_the_page(directory, tmp_path, monkeypatch):
    made = make_run(tmp_path / "run", pictures=1, strange=1, samples=1)
    (made / "report_data").mkdir()
    (made / "report_data" / "0001.js").write_text("old")
    build_bench_report(made)
    assert not (made / bench.SHARDS).exists()
