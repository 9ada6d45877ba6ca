"""SIGKILL at any moment of PPO with shaping state, the best models kept, and checkpoints other programs load."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learn_helpers import bits, learner, micro, no_mixed_precision, ragged_groups, rollout_of, tiny

from consilience.files import read_jsonl
from consilience.learn import forward, state
from consilience.learn.loop import Stage, best, carry_out
from consilience.learn.rewards import Running, Shaping, shape
from consilience.learn.rl import RlConfig, ppo_update
from consilience.nn.checkpoint import load_model
from consilience.nn.decoder import Decoder
from consilience.runs import Run

STEPS = 12


def life(directory: Path, told: Connection) -> None:
    """What a process that will be killed does: it tells each step that it begins, and lingers after the last."""
    torch.set_num_threads(1)
    forward.mixed_precision = lambda device_type: False
    ppo(directory, told.send)
    time.sleep(60)


def ppo(directory: Path, tell: Callable[[int], None] = lambda step: None) -> None:
    """One process's life: PPO on rewards that a running minimum and maximum shape, a random walk as dev score."""
    actor = learner(micro())
    critic = learner(state.critic_of(micro(), torch.Generator().manual_seed(1)))
    groups = ragged_groups(2, pictures=False)
    stage = Stage("ppo", STEPS, 2, {"shaping": Running().to_json()}, best="dev")

    def body(step: int) -> Mapping[str, float]:
        tell(step)
        raw = np.random.default_rng((7, step)).normal(scale=1 + step, size=4)
        shaped, seen = shape(Shaping("minmax"), raw, seen=Running.from_json(stage.memory["shaping"]))
        stage.memory["shaping"] = seen.to_json()
        numbers = ppo_update(actor, critic, rollout_of(groups, shaped.tolist()), RlConfig(), 1e-2, 1e-2)
        return {**numbers, "low": seen.low, "dev": float(raw[0])} if step % 3 else numbers

    resumed = (directory / "config.json").exists()
    with Run.open(directory) if resumed else Run.create(directory, {}) as run:
        carry_out(run, stage, {"actor": actor, "critic": critic}, body)
        run.finish()


def contents(directory: Path) -> dict[str, Any]:
    """Every byte of a finished run that does not tell time."""
    files = {
        str(path.relative_to(directory)): path.read_bytes()
        for folder in ("checkpoints", "best")
        for path in (directory / folder).rglob("*")
        if path.is_file()
    }
    lines = read_jsonl(directory / "metrics.jsonl")
    return {**files, "lines": [{k: v for k, v in r.items() if not k.endswith("_s")} for r in lines]}


def test_killed_by_the_system_again_and_again_it_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at moments that chance chooses: while it trains, logs, saves or replaces the best."""
    no_mixed_precision(monkeypatch)
    ppo(tmp_path / "whole")
    context, rng = mp.get_context("forkserver"), np.random.default_rng(os.getpid())
    context.set_forkserver_preload(["consilience.learn.loop", "consilience.learn.rewards", "hypothesis", "pytest"])
    for step in (1, 4, 7, 11):
        heard, told = context.Pipe(duplex=False)
        process = context.Process(target=life, args=(tmp_path / "killed", told))
        process.start()
        told.close()
        while heard.recv() < step:
            pass
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    ppo(tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_the_last_k_and_the_best_are_kept(tmp_path: Path) -> None:
    ppo(tmp_path)
    lines = list(read_jsonl(tmp_path / "metrics.jsonl"))
    step = max((r for r in lines if "dev" in r), key=lambda r: r["dev"])["step"]
    assert [p.name for p in (tmp_path / "best").iterdir()] == [f"ppo-{step:08d}"]
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [f"ppo-{STEPS:08d}"]
    found = load_model(tmp_path / "best" / f"ppo-{step:08d}" / "critic")
    assert found.config.head == "value"


@pytest.mark.parametrize("keep", [1, 3])
def test_a_running_stage_keeps_its_last_k(keep: int, tmp_path: Path) -> None:
    seen = []

    def body(step: int) -> Mapping[str, float]:
        seen.append(len(list((tmp_path / "checkpoints").glob("s-*"))))
        return {}

    with Run.create(tmp_path, {}, keep=keep) as run:
        carry_out(run, Stage("s", 6, 1), {"model": learner(micro())}, body)
    assert seen == [min(i, keep) for i in range(6)]


def test_the_best_is_of_the_step_that_scored_and_survives_worse_ones(tmp_path: Path) -> None:
    own = learner(micro())
    stage = Stage("s", 5, 2, best="score")
    kept = {}

    def body(step: int) -> Mapping[str, float]:
        with torch.no_grad():
            own.model.embedding.weight.fill_(step)
        return {"score": [1.0, 3.0, 2.0, 3.0, 0.0][step]}

    with Run.create(tmp_path, {}) as run:
        assert best(run, stage) is None
        carry_out(run, stage, {"model": own}, body)
        folder = best(run, stage)
        assert folder is not None
        kept = stage.memory["kept"]
    assert kept == {"step": 2, "score": 3.0}  # the first of equals
    tensors = state.read_tensors(folder / "model" / "model.safetensors")
    assert tensors["model.embed_tokens.weight"].unique().tolist() == [1.0]


def test_a_stage_without_a_best_writes_none(tmp_path: Path) -> None:
    with Run.create(tmp_path, {}) as run:
        stage = Stage("s", 2, 1)
        carry_out(run, stage, {"model": learner(micro())}, lambda step: {"score": 1.0, "": 2.0})
        assert best(run, stage) is None
    assert not (tmp_path / "best").exists()
    assert stage.memory == {}


def test_a_resumed_checkpoint_is_loadable_by_transformers(tmp_path: Path) -> None:
    """Trained, saved, loaded into a fresh learner, exported: the logits are those of the trained weights."""
    import transformers

    own = learner(micro(3))
    critic = learner(state.critic_of(micro(), torch.Generator().manual_seed(1)))
    ppo_update(own, critic, rollout_of(ragged_groups(2, pictures=False), [0.0, 1.0, 1.0, 0.0]), RlConfig(), 0.1, 0.1)
    (tmp_path / "saved").mkdir()
    state.save(tmp_path / "saved", {"model": own}, {})
    fresh = learner(micro())
    state.load(tmp_path / "saved", {"model": fresh})
    assert state.export(fresh.model, tmp_path / "out") == "transformers"
    official = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = torch.tensor([[5, 80, 300, 7]])
    from consilience.nn.attention import attend_causal

    with torch.no_grad():
        mine = own.model.logits(own.model(own.model.embed(ids), torch.arange(4)[None], attend_causal(4)))
        assert torch.allclose(official(ids).logits, mine, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: tiny(eyes=True), lambda: state.critic_of(tiny(), torch.Generator())])
def test_what_transformers_cannot_hold_is_exported_for_the_house(make: Any, tmp_path: Path) -> None:
    model: Decoder = make()
    assert state.export(model, tmp_path / "out") == "consilience"
    assert bits(load_model(tmp_path / "out")) == bits(model)


def test_another_librarys_model_is_exported_as_its_trained_tensors(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    assert state.export(model, tmp_path / "out") == "tensors"
    assert torch.equal(state.read_tensors(tmp_path / "out" / "model.safetensors")["weight"], model.weight)


def test_a_checkpoint_holds_everything_a_stage_goes_on_from(tmp_path: Path) -> None:
    """Model, critic, both optimizers, data cursor (the step, which seeds everything random) and shaping state."""
    ppo(tmp_path)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert {p.name for p in folder.iterdir()} == {
        "actor.safetensors",
        "actor.optimizer.safetensors",
        "critic.safetensors",
        "critic.optimizer.safetensors",
        "state.json",
    }
    memory = json.loads((folder / "state.json").read_text())
    assert Running.from_json(memory["shaping"]).count == 4 * STEPS
