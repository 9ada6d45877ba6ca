"""Metrics for TensorBoard and W&B, read back with the tools' own code."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consilience.errors import InputError, MissingExtra
from consilience.report.rundir import read_run
from consilience.report.writers import to_tensorboard, to_wandb

RECORDS = [
    {"stage": "warm", "step": 1, "loss": 2.0, "step_s": 0.5},
    {"stage": "warm", "step": 2, "loss": 1.0, "step_s": 0.25},
    {"stage": "ppo", "step": 1, "reward": 0.5, "accuracy/image": 0.25, "kl": None, "step_s": 2.0},
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"recipe": "r", "created": "2026-09-01T10:00:00+00:00"}))
    (directory / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    return directory


def test_tensorboard_reads_back_every_number(run: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = to_tensorboard(read_run(run), tmp_path / "board")
    found = {}
    for stage in ("warm", "ppo"):
        accumulator = events.EventAccumulator(str(folder / stage))
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            found[stage, tag] = [(e.step, e.value) for e in accumulator.Scalars(tag)]
        if stage == "warm":
            times = [e.wall_time for e in accumulator.Scalars("loss")]
    assert found == {
        ("warm", "loss"): [(1, 2.0), (2, 1.0)],
        ("ppo", "reward"): [(1, 0.5)],
        ("ppo", "accuracy/image"): [(1, 0.25)],
    }
    assert times == pytest.approx([1788256800.5, 1788256800.75])
    with pytest.raises(InputError, match="already holds TensorBoard files"):
        to_tensorboard(read_run(run), folder)


def log_entries(data: bytes) -> Iterator[bytes]:
    """The entries of a log in 32 KiB blocks: a header of 7 bytes, then pieces (checksum, length, kind: whole, first,
    middle, last)."""
    at, entry = 7, b""
    while at + 7 <= len(data):
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if kind == 0:  # the rest of the block is empty
            at = (at // 32768 + 1) * 32768
            continue
        entry += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield entry
            entry = b""
        if 32768 - at % 32768 < 7:
            at = (at // 32768 + 1) * 32768


def test_wandb_keeps_an_offline_run(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    folder = to_wandb(read_run(run), tmp_path / "wb")
    assert folder.name.startswith("offline-run-")
    history = []
    for data in log_entries(next(folder.glob("*.wandb")).read_bytes()):
        entry = wandb_internal_pb2.Record()
        entry.ParseFromString(data)
        if entry.HasField("history"):
            pairs = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in entry.history.item}
            history.append({key: value for key, value in pairs.items() if not key.startswith("_")})
    assert history == [
        {"warm/step": 1, "warm/loss": 2.0},
        {"warm/step": 2, "warm/loss": 1.0},
        {"ppo/step": 1, "ppo/reward": 0.5, "ppo/accuracy/image": 0.25},
    ]


@pytest.mark.parametrize(("write", "package"), [(to_tensorboard, "tensorboard"), (to_wandb, "wandb")])
def test_a_missing_package_is_one_sentence(
    write: object, package: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"consilience\[{package}\]"):
        write(read_run(run), tmp_path / "out")  # type: ignore[operator]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("write", "package"), [(to_tensorboard, "tensorboard"), (to_wandb, "wandb")])
def test_a_run_without_metrics_has_nothing_to_export(write: object, package: str, run: Path, tmp_path: Path) -> None:
    pytest.importorskip(package)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="no metrics"):
        write(read_run(run), tmp_path / "out")  # type: ignore[operator]
