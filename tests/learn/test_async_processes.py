"""Real actor processes: shared weights, the same numbers with any number of them, deaths, defects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import learn_actors
import pytest
import torch
from learn_helpers import bits, learner, no_mixed_precision

from consilience.engine import Engine
from consilience.errors import InputError
from consilience.files import read_jsonl
from consilience.learn import state
from consilience.learn.asynchronous import Delivery, Rollouts, Schedule, in_order, replay
from consilience.learn.asynchronous_processes import ProcessCrew, flatten, set_weights
from consilience.learn.loop import Stage, carry_out
from consilience.learn.mis_po import MisPoConfig, mis_po_update
from consilience.learn.off_policy import AutoBand
from consilience.learn.rl import RlConfig, grpo_update
from consilience.nn.checkpoint import read_tensors
from consilience.nn.decoder import Decoder
from consilience.runs import Run


def train(directory: Path, schedule: Schedule, actors: int, settings: dict[str, Any]) -> list[Delivery]:
    """A run: metrics, arrivals and a checkpoint in the directory."""
    own = learner(learn_actors.model_of(0))
    found: list[Delivery] = []
    crew = ProcessCrew("learn_actors:make", settings, actors, schedule.bound)
    with Run.create(directory, {}) as run, Rollouts(crew, schedule) as rollouts:

        def body(step: int) -> dict[str, float]:
            found.append(rollouts.take(step, own.model))
            run.append("arrivals.jsonl", found[-1].records())
            return {**grpo_update(own, found[-1].rollout, RlConfig(), 1e-2), **found[-1].numbers()}

        carry_out(run, Stage("rl", schedule.total, schedule.drain), {"model": own}, body)
    return found


def files(directory: Path) -> dict[str, Any]:
    """Every byte of weights and optimizer, and every number that does not tell time."""
    found: dict[str, Any] = {p.name: p.read_bytes() for p in (directory / "checkpoints").rglob("*.*") if p.is_file()}
    records = read_jsonl(directory / "metrics.jsonl")
    return {**found, "lines": [{k: v for k, v in r.items() if not k.endswith("_s")} for r in records]}


def contents(found: list[Delivery]) -> list[Any]:
    return [
        (d.rollout.groups[i].responses, d.rollout.logprobs, d.versions, d.rollout.problems[i].id)
        for d in found
        for i in range(len(d.rollout.groups))
    ]


def test_one_two_and_four_actors_and_a_killed_one_leave_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the learner's own process, sampling with the weights the schedule names, draws the same."""
    no_mixed_precision(monkeypatch)
    schedule = Schedule(4, parts=2, bound=1)
    found = train(tmp_path / "one", schedule, 1, {})
    history: list[Decoder] = []
    own = learner(learn_actors.model_of(0))
    for update, delivery in enumerate(found):
        history.append(state.copy_of(own.model))
        engine = Engine(history[schedule.version(update)], rows=4, dtype=torch.float32)
        rollouts = [learn_actors.roll_out(engine, 2 * update + part) for part in range(2)]
        assert [g.responses for r in rollouts for g in r.groups] == [g.responses for g in delivery.rollout.groups]
        assert tuple(x for r in rollouts for x in r.logprobs) == delivery.rollout.logprobs
        grpo_update(own, delivery.rollout, RlConfig(), 1e-2)
    killed = {"die": 3, "times": 1, "directory": str(tmp_path)}
    for name, actors, settings in (("two", 2, killed), ("four", 4, {"slow": {"2": 0.2}})):
        others = train(tmp_path / name, schedule, actors, settings)
        assert files(tmp_path / name) == files(tmp_path / "one")
        assert contents(others) == contents(found)
        assert replay(tmp_path / name / "arrivals.jsonl") == in_order(schedule)
        if settings is killed:
            (loss,) = [loss for d in others for loss in d.losses]
            assert (loss.task, loss.reason) == (3, "exit -9")
            assert loss.successor == loss.actor.replace(".1", ".2")
    assert bits(own.model) == {
        n: t.numpy().tobytes()
        for n, t in read_tensors(tmp_path / "one/checkpoints/rl-00000004/model.safetensors").items()
    }


def test_an_actor_killed_from_outside_is_replaced_and_named() -> None:
    schedule = Schedule(3, parts=1, bound=0)
    crew = ProcessCrew("learn_actors:make", {}, 1, 0)
    own = learner(learn_actors.model_of(0))
    with Rollouts(crew, schedule) as rollouts:
        rollouts.take(0, own.model)
        os.kill(crew._workers[0].process.pid, signal.SIGKILL)
        second = rollouts.take(1, own.model)
        losses = [*second.losses, *rollouts.take(2, own.model).losses]
    assert [(loss.actor, loss.successor) for loss in losses] == [("actor-0.1", "actor-0.2")]


def test_stale_rollouts_train_with_mis_po_and_say_how_stale_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    schedule = Schedule(3, parts=2, bound=2, by_arrival=True)
    own = learner(learn_actors.model_of(0))
    critic = learner(Decoder(learn_actors.ModelConfig(**learn_actors.SIZES, head="value", tie_embeddings=False)))
    critic.model.initialise(torch.Generator().manual_seed(0))
    gaps = []
    with Rollouts(ProcessCrew("learn_actors:make", {}, 2, 2), schedule) as rollouts:
        for update in range(3):
            delivery = rollouts.take(update, own.model)
            numbers = mis_po_update(own, critic, delivery.rollout, MisPoConfig(trajectory=AutoBand(kl=1.0)), 1e-2, 1e-2)
            gaps.append((delivery.numbers()["staleness"] > 0, numbers["gap"]))
    assert gaps[0][1] < 1e-5  # one engine, fresh weights
    assert all((gap > 1e-3) == stale for stale, gap in gaps)


@pytest.mark.parametrize(
    ("factory", "settings", "error", "words"),
    [
        ("learn_actors:make", {"refuse": 0}, InputError, "choose another"),
        ("learn_actors:make", {"fail": 1}, RuntimeError, "a defect in the sampler"),
        ("learn_actors:make_other", {}, InputError, "build the same"),
    ],
)
def test_what_goes_wrong_in_an_actor_is_told(
    factory: str, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    crew = ProcessCrew(factory, settings, 1)
    with pytest.raises(error, match=words), Rollouts(crew, Schedule(2)) as rollouts:
        rollouts.take(0, learn_actors.model_of(0))
    assert all(not worker.process.is_alive() for worker in crew._workers)


def test_weights_through_a_vector() -> None:
    mine, other = learn_actors.model_of(0), learn_actors.model_of(1)
    flat = torch.empty(sum(p.numel() for p in mine.parameters()))
    flatten(list(mine.parameters()), flat)
    set_weights(other, flat)
    assert bits(other) == bits(mine)


def test_a_crew_needs_an_actor() -> None:
    with pytest.raises(InputError, match="at least one actor"):
        ProcessCrew("learn_actors:make", {}, 0)


LEARNER = """
import time
import learn_actors
from consilience.learn.asynchronous_processes import ProcessCrew
if __name__ == "__main__":
    crew = ProcessCrew("learn_actors:make", {"slow": {"0": 60.0}}, 1, 0)
    crew.publish(0, list(learn_actors.model_of(0).parameters()))
    crew.begin(0, 0)
    crew.wait()
    print(crew._workers[0].process.pid, flush=True)
    time.sleep(60)
"""


def test_actors_end_with_a_learner_that_is_killed(tmp_path: Path) -> None:
    """Also one that is in the middle of a task."""
    script = tmp_path / "learner.py"
    script.write_text(LEARNER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        actor = int(process.stdout.readline())
        process.kill()
    for _ in range(200):
        if not Path(f"/proc/{actor}").exists() or "(zombie)" in Path(f"/proc/{actor}/status").read_text():
            return
        time.sleep(0.1)
    raise AssertionError("the actor outlived its learner")
