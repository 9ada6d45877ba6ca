"""Curves over something else than steps, and alarms on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consilience.report import build_report
from consilience.report.courses import courses
from consilience.report.curves import Panel, draw_panel, panels


def record(step: int, stage: str = "rl", **numbers: float) -> dict[str, object]:
    return {"stage": stage, "step": step, **numbers}


def test_gold_is_drawn_over_what_is_optimised_in_the_order_of_steps() -> None:
    (panel,) = courses([record(i, proxy=float(i), gold=5.0 - abs(i - 3), reward=9.0, accuracy=0.1) for i in range(6)])
    assert (panel.name, panel.x, panel.lines) == ("gold against proxy", "proxy", ("gold",))
    ((stage, (line,)),) = panel.stages
    assert (stage, line.steps, line.values) == ("rl", (0, 1, 2, 3, 4, 5), (2, 3, 4, 5, 4, 3))


def test_accuracy_over_reward_where_there_is_nothing_better_and_both_were_measured() -> None:
    sparse = [record(i, reward=i / 10, **({"accuracy": i / 20} if i % 2 else {})) for i in range(7)]
    (panel,) = courses([*sparse, *(record(i, "warm", accuracy=0.3) for i in range(5))])
    assert panel.name == "accuracy against reward"
    assert [stage for stage, _ in panel.stages] == ["rl"]
    assert panel.stages[0][1][0].steps == pytest.approx((0.1, 0.3, 0.5))
    assert courses(sparse[:3]) == []


def test_samples_over_the_minutes_they_took() -> None:
    (panel,) = courses([record(i, samples=64.0 * i, step_s=30.0) for i in range(1, 5)])
    assert (panel.name, panel.x) == ("samples over time", "minutes")
    assert panel.stages[0][1][0].steps == (0.5, 1.0, 1.5, 2.0)
    assert panel.stages[0][1][0].values == (64, 128, 192, 256)
    assert courses([record(i, samples=64.0 * i) for i in range(1, 5)]) == []


def test_a_course_is_drawn_with_its_own_axis() -> None:
    (panel,) = courses([record(i, proxy=float(i), gold=1.0) for i in range(4)])
    svg = draw_panel(panel, "c")
    assert 'aria-label="gold against proxy by proxy"' in svg
    assert ">proxy<" in svg
    assert draw_panel(panel, "c") == svg


def test_what_one_watches_comes_first() -> None:
    names = ("zebra", "staleness", "kl", "entropy", "loss", "reward", "accuracy")
    found = [panel.name for panel in panels([record(i, **dict.fromkeys(names, float(i))) for i in range(3)])]
    assert found == ["accuracy", "reward", "loss", "entropy", "kl", "staleness", "zebra"]
    assert Panel("x", ()).x == "step"


def test_the_page_tells_alarms_and_draws_samples_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    records = [record(i, reward=0.2 if i < 12 else 0.0, samples=8.0 * i, step_s=1.0) for i in range(1, 40)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    page = build_report(run).read_text()
    assert 'id="alarms"' in page
    assert "zero rewards" in page
    assert "Choose easier problems" in page
    assert page.count("<figcaption>samples") == 1
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records[:5]))
    assert 'id="alarms"' not in build_report(run).read_text()
