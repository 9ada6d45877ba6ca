"""A run of the recipe: what it leaves, what it refuses, and that a kill changes no number."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from consilience.cli import main
from consilience.errors import ConsilienceError, InputError
from consilience.files import read_json, read_jsonl
from consilience.nn.checkpoint import load_model
from consilience.recipes.step_r1_v_mini import recipe as module
from consilience.recipes.step_r1_v_mini.arms import METHODS
from consilience.recipes.step_r1_v_mini.claims import CELLS, CLAIMS
from consilience.recipes.step_r1_v_mini.recipe import evaluations_of, recipe
from consilience.recipes.step_r1_v_mini.sizes import ARMS, CORE, PARTS, SCALES, batch_line
from consilience.request import RunRequest
from consilience.units import Unit, directory_of, finished

SMOKE = SCALES["smoke"]
UNITS = ("seed0-start", *(f"seed0-{arm}" for arm in CORE))


def request(out: Path | None = None, **fields: Any) -> RunRequest:
    return RunRequest("step_r1_v_mini", **{"scale": "smoke", "out": out, **fields})


def lines(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if not k.endswith("_s")} for record in read_jsonl(path)]


def tensors(directory: Path) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in load_model(directory).named_parameters()}


# what a run leaves


def test_a_smoke_run_leaves_everything(smoke: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "samples.jsonl", "claims.json", "tables.json", "report.html"):
        assert (smoke / name).stat().st_size > 0, name
    assert read_json(smoke / "state.json")["finished"]
    assert all(finished(smoke, name) for name in UNITS)
    config = read_json(smoke / "config.json")
    assert config["recipe"] == "step_r1_v_mini"
    assert config["batch"] == batch_line(SMOKE)
    assert "4 problems × 4 samples = 16 rollouts a step, 2 steps, 32 rollouts in all" in config["batch"]
    page = (smoke / "report.html").read_text()
    assert all(claim.sentence in page for claim in CLAIMS)


def test_metrics_hold_every_step_of_every_stage_once(smoke: Path) -> None:
    steps: dict[str, list[int]] = {}
    for record in read_jsonl(smoke / "metrics.jsonl"):
        steps.setdefault(record["stage"], []).append(record["step"])
    control = SMOKE.rl_steps * SMOKE.problems * SMOKE.samples // SMOKE.sft_batch
    expected = {"eyes": SMOKE.eyes_steps, "warm": SMOKE.sft_steps, "ppo": SMOKE.rl_steps, "control": control}
    assert steps == {stage: list(range(1, n + 1)) for stage, n in expected.items()}


def test_reinforcement_logs_what_it_must_be_judged_by(smoke: Path) -> None:
    for record in lines(directory_of(smoke, "seed0-ppo") / "metrics.jsonl"):
        assert record["clip_fraction"] == 0  # strictly on-policy
        assert {"reward/image", "reward/text"} <= record.keys()  # both modalities in every batch
        assert {"entropy", "length", "truncated", "explained_variance", "grad_norm"} <= record.keys()
        assert {"accuracy/image", "accuracy/text"} <= record.keys()


def test_a_smoke_run_names_every_claim_and_judges_none(smoke: Path) -> None:
    """A handful of problems decides nothing."""
    rows = {row["id"]: row for row in read_json(smoke / "claims.json")}
    assert set(rows) == {claim.id for claim in CLAIMS}
    assert {row["verdict"] for row in rows.values()} == {"not_measured"}


def test_evaluations_cover_the_same_problems_in_every_arm(smoke: Path) -> None:
    found = evaluations_of(smoke)
    assert set(found) == {(0, arm) for arm in CORE}
    for (_, arm), result in found.items():
        assert set(result["cells"]) == set(CELLS)
        for cell in result["cells"].values():
            assert {len(cell[key]) for key in ("right", "grounding", "tokens")} == {SMOKE.test}
            assert len(cell["greedy"]) == SMOKE.subset
            assert set(cell["right"]) <= {0, 1}
            assert max(cell["tokens"]) <= SMOKE.max_tokens
            assert ("vote" in cell) == (arm == "ppo")
    shown: dict[str, list[str]] = {arm: [] for arm in CORE}
    for record in read_jsonl(smoke / "samples.jsonl"):
        shown[record["model"]].append(record["problem"]["id"])
    assert shown["ppo"] == shown["control"] == shown["warm"]
    assert len(shown["ppo"]) == len(CELLS) * SMOKE.test


def test_arms_start_from_the_same_weights_and_part_ways(smoke: Path) -> None:
    start, warm, ppo, control = (tensors(directory_of(smoke, name) / "model") for name in (
        "seed0-start", "seed0-warm", "seed0-ppo", "seed0-control"
    ))  # fmt: skip
    assert warm == start
    assert ppo != start
    assert control not in (start, ppo)


def test_a_finished_run_is_not_run_again(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "run"
    shutil.copytree(smoke, copy)
    with pytest.raises(InputError, match="already holds a run"):
        recipe().run(request(copy))
    monkeypatch.setattr("consilience.recipes.step_r1_v_mini.arms.work", None)  # no unit may be carried out
    recipe().run(request(copy, resume=True))
    assert lines(copy / "metrics.jsonl") == lines(smoke / "metrics.jsonl")
    assert read_json(copy / "claims.json") == read_json(smoke / "claims.json")


# killed and resumed


def has_lines(path: Path, stage: str, count: int) -> bool:
    if not path.exists():
        return False
    return sum(record["stage"] == stage for record in read_jsonl(path)) >= count


def in_eyes(run: Path) -> bool:
    return has_lines(directory_of(run, "seed0-start") / "metrics.jsonl", "eyes", 2)


def in_warm(run: Path) -> bool:
    return has_lines(directory_of(run, "seed0-start") / "metrics.jsonl", "warm", 2)


def in_evaluation(run: Path) -> bool:
    samples = directory_of(run, "seed0-ppo") / "samples.jsonl"
    return samples.exists() and samples.stat().st_size > 0


def run_until(moment: Callable[[Path], bool], out: Path) -> None:
    """Start or resume the run by its command, and SIGKILL it at the moment."""
    command = [sys.executable, "-m", "consilience.cli", "run", "step_r1_v_mini", "--scale", "smoke"]
    with subprocess.Popen([*command, "--out", str(out), "--resume"], stdout=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None and not moment(out):
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before its moment came"


def test_killed_three_times_a_run_ends_in_the_same_numbers(smoke: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for moment, stage in ((in_eyes, "eyes"), (in_warm, "warm"), (in_evaluation, "evaluate")):
        run_until(moment, out)
        unit = directory_of(out, "seed0-ppo" if stage == "evaluate" else "seed0-start")
        assert stage not in read_json(unit / "state.json")["done"]
    recipe().run(request(out, resume=True))
    for name in UNITS:
        killed, unbroken = directory_of(out, name), directory_of(smoke, name)
        assert (killed / "model" / "model.safetensors").read_bytes() == (
            unbroken / "model" / "model.safetensors"
        ).read_bytes(), name
        if (unbroken / "metrics.jsonl").exists():
            assert lines(killed / "metrics.jsonl") == lines(unbroken / "metrics.jsonl"), name
    assert evaluations_of(out) == evaluations_of(smoke)
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert lines(out / name) == lines(smoke / name), name
    assert read_json(out / "tables.json") == read_json(smoke / "tables.json")


# what a run refuses


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sampels": 4}, "unknown setting 'sampels': did you mean 'samples'?"),
        ({"samples": "many"}, "setting samples='many' must be of type int."),
        ({"samples": True}, "setting samples=True must be of type int."),
        ({"samples": 1.5}, "setting samples=1.5 must be of type int."),
        ({"samples": 1}, "samples=1 leaves a group without spread; the nearest valid setting is samples=2."),
        ({"problems": 1}, "problems=1 cannot hold both modalities; the nearest valid setting is problems=2."),
        ({"test": 0}, "setting test=0 must be at least 1."),
        ({"sft_cooldown": 8}, "sft_cooldown=8 must be below sft_steps=8."),
        ({"normalise": "rows"}, "normalise='rows' is none of batch, modality, none."),
        ({"brief": 1.5}, "brief=1.5 is a share between 0 and 1."),
        ({"target": "giant"}, "unknown target 'giant'"),
        ({"workers": "two"}, "workers"),
        ({"workers": 0}, "workers"),
        ({"seeds": "three"}, "seeds"),
        ({"sft_every": 0}, "sft_every"),
        ({"sft_patience": 0}, "sft_patience"),
        ({"sft_optimizer": "sgd"}, "adamw"),
        ({"d_model": 48}, "d_model"),
        ({"subset": 0}, "subset"),
        ({"level": "brutal"}, "level"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_leaves_nothing(
    settings: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("the setting got past the checks")

    monkeypatch.setattr(module, "run_units", started)
    with pytest.raises(ConsilienceError) as caught:
        recipe().run(request(tmp_path / "run", settings=settings))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_scale_paper_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never published"):
        recipe().run(request(tmp_path / "run", scale="paper"))
    assert not (tmp_path / "run").exists()


def test_an_unknown_part_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown part 'seasaw': did you mean 'seesaw'"):
        recipe().run(request(tmp_path / "run", scale="laptop", study=True, part="seasaw"))
    assert not (tmp_path / "run").exists()


def test_the_command_line_ends_with_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "step_r1_v_mini", "--scale", "smoke", "--out", str(tmp_path / "run"), "--set", "samples=1"]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "nearest valid setting is samples=2" in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "run").exists()


def test_other_settings_than_the_run_in_out_are_named(smoke: Path, tmp_path: Path) -> None:
    shutil.copytree(smoke, tmp_path / "run")
    with pytest.raises(InputError, match=r"another configuration \(.*sizes\.samples"):
        recipe().run(request(tmp_path / "run", resume=True, settings={"samples": 8}))


# which units a request means


def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **fields: Any) -> list[Unit]:
    """The units a request would carry out."""
    seen: list[Unit] = []

    def capture(run: Path, units: Sequence[Unit], work: str, **_: object) -> None:
        seen.extend(units)
        raise InterruptedError

    monkeypatch.setattr(module, "run_units", capture)
    with pytest.raises(InterruptedError):
        recipe().run(request(tmp_path / "planned", **fields))
    return seen


def test_a_plain_run_has_the_core_arms_of_one_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    units = planned(monkeypatch, tmp_path, scale="laptop", seed=3)
    assert [u.name for u in units] == ["seed3-start", "seed3-ppo", "seed3-control", "seed3-warm"]
    assert [u.needs for u in units] == [(), *[("seed3-start",)] * 3]


@pytest.mark.parametrize("part", ["", *PARTS])
def test_a_study_compares_every_arm_with_the_core_of_its_seeds(
    part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    units = planned(monkeypatch, tmp_path, scale="laptop", study=True, part=part)
    names = [u.name for u in units]
    assert len(set(names)) == len(names)
    for u in units:
        assert all(names.index(need) < names.index(u.name) for need in u.needs)
        json.dumps(u.task)
    for arms, seeds in [PARTS[part]] if part else PARTS.values():
        for seed in range(seeds):
            assert {f"seed{seed}-{arm}" for arm in ("start", *CORE, *arms)} <= set(names)
    if not part:
        assert {name.partition("-")[2] for name in names} == {"start", *ARMS}


def test_target_nano_trains_the_shipped_model_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    units = planned(monkeypatch, tmp_path, settings={"target": "nano"})
    assert [u.name for u in units] == ["seed0-start", "seed0-ppo"]


def test_every_arm_has_a_method() -> None:
    assert {arm.method for arm in ARMS.values()} == set(METHODS)
    assert set(CORE) <= set(ARMS)


def pretend(smoke: Path) -> Callable[..., None]:
    """Units whose results are those of the smoke run's core arms: only the bookkeeping is under test."""

    def copy(run: Path, units: Sequence[Unit], work: str, **_: object) -> None:
        for u in units:
            arm = "start" if u.task["arm"] is None else u.task["arm"]["name"]
            source = f"seed0-{arm if arm in ('start', *CORE) else 'ppo'}"
            if not directory_of(run, u.name).exists():
                shutil.copytree(directory_of(smoke, source), directory_of(run, u.name))

    return copy


def test_target_nano_leaves_the_model(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_units", pretend(smoke))
    out = recipe().run(request(tmp_path / "run", settings={"target": "nano"}))
    assert tensors(out / "model") == tensors(directory_of(smoke, "seed0-ppo") / "model")
    assert (out / "report.html").exists()


def test_a_part_keeps_what_other_parts_measured(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parts in one directory: the claims of the first are still judged after the second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "run_units", pretend(smoke))
    out = tmp_path / "run"
    for part in ("seesaw", "methods"):
        recipe().run(request(out, scale="laptop", study=True, part=part, resume=True))
    verdicts = {row["id"]: row["verdict"] for row in read_json(out / "claims.json")}
    assert verdicts["ppo_beats_dpo"] != "not_measured"
    assert verdicts["no_seesaw"] != "not_measured"


def test_torch_stays_out_of_the_claims() -> None:
    """`consilience claims` and the report read claims without the extra that trains."""
    code = "import sys, consilience.recipes.step_r1_v_mini.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
