"""Alarms on the curves of a run: each rings for its own fault, and a healthy run rings nothing."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest

from consilience.errors import InputError
from consilience.learn.alarms import Limits, alarms, alarms_by_stage, best_step


def healthy(steps: int = 60) -> list[dict[str, float]]:
    rng = random.Random(0)
    return [
        {
            "step": i + 1,
            "reward": 0.3 + 0.005 * i + rng.gauss(0, 0.02),
            "accuracy": 0.3 + 0.004 * i + rng.gauss(0, 0.02),
            "entropy": 1.0 - 0.008 * i,
            "length": 100 + 0.5 * i,
            "zero_rewards": 0.5,
            "expert_max_median": 2.0,
            "expert_min_median": 0.6,
        }
        for i in range(steps)
    ]


def test_a_healthy_run_rings_nothing() -> None:
    assert alarms(healthy()) == []
    assert alarms([]) == []
    assert alarms([{"step": 1, "reward": math.nan, "note": "x"}]) == []


@pytest.mark.parametrize(
    ("key", "change", "name"),
    [
        ("entropy", lambda i, v: 0.02, "entropy_collapse"),
        ("length", lambda i, v: v * (1 + 0.1 * (i - 30)), "length_blow_up"),
        ("zero_rewards", lambda i, v: 0.99, "zero_rewards"),
        ("accuracy", lambda i, v: v - 0.03 * (i - 30), "reward_hacking"),
        ("expert_min_median", lambda i, v: 0.01, "dead_experts"),
        ("expert_max_median", lambda i, v: 50.0, "expert_blow_up"),
    ],
)
def test_each_alarm_rings_for_its_fault_alone_and_soon(key: str, change: object, name: str) -> None:
    records = healthy()
    for i in range(30, len(records)):
        records[i][key] = change(i, records[i][key])  # type: ignore[operator]
    found = alarms(records)
    assert [alarm.name for alarm in found] == [name]
    assert 31 <= found[0].step <= 55
    assert str(found[0]).startswith(f"step {found[0].step}, {name}: ")
    assert alarms(records, Limits(window=5))[0].step <= found[0].step


def test_a_reward_that_falls_with_the_held_out_score_is_no_hack() -> None:
    records = healthy()
    for i in range(30, len(records)):
        records[i]["accuracy"] -= 0.03 * (i - 30)
        records[i]["reward"] -= 0.03 * (i - 30)
    assert [alarm.name for alarm in alarms(records)] == []


def test_where_to_stop() -> None:
    points = [(10, 0.1), (20, 0.5), (30, 0.6), (40, 0.55), (50, 0.1)]
    assert best_step(points) == 30
    assert best_step(points[:1]) == 10
    with pytest.raises(InputError, match="at least one"):
        best_step([])


def test_little_entropy_is_no_alarm_where_nothing_is_left_to_learn() -> None:
    records = [{"step": i, "entropy": 1.0 if i < 20 else 0.01, "reward": 0.5 if i < 20 else 0.97} for i in range(60)]
    assert alarms(records) == []
    assert [alarm.name for alarm in alarms(records, Limits(solved=0.99))] == ["entropy_collapse"]


def test_without_its_share_zero_reward_is_read_off_the_mean() -> None:
    records = [{"step": i, "reward": 0.2 if i < 15 else 0.0} for i in range(40)]
    assert [(alarm.name, alarm.step) for alarm in alarms(records)] == [("zero_rewards", 24)]
    assert alarms([{"step": i, "reward": 0.01} for i in range(40)]) == []


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_rings_at_once(value: float | None) -> None:
    records = [{"step": i, "loss": 1.0, "policy_loss": value if i >= 7 else 0.1} for i in range(12)]
    assert [(alarm.name, alarm.step) for alarm in alarms(records)] == [("not_finite", 7)]
    assert "policy_loss" in alarms(records)[0].finding


def test_a_proxy_and_a_gold_score_do_as_well() -> None:
    rng = random.Random(1)
    records = [
        {"step": i, "proxy": 0.02 * i + rng.gauss(0, 0.02), "gold": 1 - abs(i - 30) / 30 + rng.gauss(0, 0.02)}
        for i in range(60)
    ]
    (alarm,) = alarms(records)
    assert alarm.name == "reward_hacking"
    assert 31 <= alarm.step <= 55


def test_stages_are_judged_by_themselves() -> None:
    warm = [{"stage": "warm", "step": i, "entropy": 5.0} for i in range(20)]
    ppo = [{"stage": "ppo", "step": i, "entropy": 0.5} for i in range(20)]
    late = [{"stage": "late", "step": i, "entropy": 0.5 if i < 15 else 0.01} for i in range(30)]
    assert alarms_by_stage([*warm, *ppo]) == []
    ((stage, (alarm,)),) = alarms_by_stage([*warm, *ppo, *late])
    assert (stage, alarm.name) == ("late", "entropy_collapse")


def test_alarms_need_no_torch() -> None:
    code = "import sys, consilience.learn.alarms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
