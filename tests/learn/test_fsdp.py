"""Two processes that share the work of a learner compute what one computes."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from learn_helpers import bits, micro, ragged_groups, rollout_of, tiny

from consilience.errors import InputError
from consilience.learn import distributed, forward, state
from consilience.learn.batch import collate
from consilience.learn.mis_po import MisPoConfig, mis_po_update
from consilience.learn.off_policy import AutoBand, Band
from consilience.learn.rl import Learner, RlConfig, grpo_update, ppo_update
from consilience.nn.decoder import Decoder

WORLD = 2


def models() -> tuple[Decoder, Decoder]:
    actor = tiny(eyes=True, n_layers=3)
    return actor, state.critic_of(actor, torch.Generator().manual_seed(1))


def train(actor: Learner, critic: Learner, steps: range) -> list[dict[str, float]]:
    """PPO, GRPO and MIS-PO in turn on ragged groups with pictures: 4 prompts, then 1 (a process without any)."""
    found = []
    for step in steps:
        groups = ragged_groups(2)[: 4 if step % 2 == 0 else 1]
        rollout = rollout_of(groups, [float((i + step) % 3 == 0) for i in range(2 * len(groups))])
        config = RlConfig(micro=3, critic_batches=2)
        numbers = ppo_update(actor, critic, rollout, config, 1e-3, 1e-3)
        numbers |= {f"grpo/{k}": v for k, v in grpo_update(actor, rollout, config, 1e-3).items()}
        loose = MisPoConfig(Band(0.0, 2.0), AutoBand(kl=100.0), actor_batches=1, critic_batches=1, micro=2)
        numbers |= {f"mis/{k}": v for k, v in mis_po_update(actor, critic, rollout, loose, 1e-3, 1e-3).items()}
        found.append(numbers)
    return found


def process(rank: int, directory: Path) -> None:
    """One of the processes: train, save, load into fresh shards, train on."""
    torch.set_num_threads(1)
    forward.mixed_precision = lambda device_type: False
    limit = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{directory}/meeting", rank=rank, world_size=WORLD, timeout=limit)
    actor, critic = (distributed.learner(model, shard=True) for model in models())
    found = train(actor, critic, range(1))
    own = directory / f"rank{rank}"
    own.mkdir()
    state.save(own, {"actor": actor, "critic": critic}, {"step": 1})
    fresh = [distributed.learner(model, shard=True) for model in models()]
    assert state.load(own, {"actor": fresh[0], "critic": fresh[1]}) == {"step": 1}
    found += train(*fresh, range(1, 2))
    whole = distributed.gather_model(actor.model)
    assert distributed.gather_model(fresh[0].model, whole) is whole
    merged = distributed.gather_rollouts(rollout_of(ragged_groups(1)[:1], [float(rank)]))
    result = {
        "numbers": found,
        "weights": {name: p.tolist() for name, p in whole.named_parameters()},
        "rewards": merged.rewards_BG.flatten().tolist(),
        "held": sum(p.to_local().numel() for p in fresh[0].model.parameters()),  # type: ignore[attr-defined]
    }
    (directory / f"{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("fsdp")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["consilience.learn.distributed", "torch.distributed.fsdp"])
    processes = [context.Process(target=process, args=(rank, directory)) for rank in range(WORLD)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    assert [each.exitcode for each in processes] == [0] * WORLD
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def single() -> tuple[list[dict[str, float]], Decoder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "mixed_precision", lambda device_type: False)
        actor, critic = (distributed.learner(model) for model in models())
        return train(actor, critic, range(2)), actor.model


def test_losses_and_every_other_number_equal_those_of_one_process(
    results: list[dict[str, Any]], single: tuple[list[dict[str, float]], Decoder]
) -> None:
    for result in results:
        for mine, expected in zip(result["numbers"], single[0], strict=True):
            assert mine.keys() == expected.keys()
            for name, value in expected.items():
                loss = name.endswith(("loss", "entropy"))
                assert mine[name] == pytest.approx(value, abs=1e-5 if loss else 1e-4), name


def test_the_weights_equal_those_of_one_process(
    results: list[dict[str, Any]], single: tuple[list[dict[str, float]], Decoder]
) -> None:
    assert results[0]["weights"] == results[1]["weights"]
    for name, expected in single[1].named_parameters():
        assert torch.allclose(torch.tensor(results[0]["weights"][name]), expected, atol=2e-4), name


def test_each_process_holds_its_shard_only(
    results: list[dict[str, Any]], single: tuple[list[dict[str, float]], Decoder]
) -> None:
    total = single[1].parameter_count
    assert sum(r["held"] for r in results) == total
    assert max(r["held"] for r in results) < 0.6 * total


def test_rollouts_of_all_processes_come_together_everywhere(results: list[dict[str, Any]]) -> None:
    assert [r["rewards"] for r in results] == [[0.0, 1.0]] * WORLD


def test_shares_of_a_batch() -> None:
    batch = collate(ragged_groups(2))
    parts = [distributed.share(batch, rank, 3, tiny(eyes=True).config)[0] for rank in range(3)]
    assert [len(p.lengths_B) for p in parts] == [2, 1, 1]
    assert [p.lengths_B.tolist() for p in parts] == [batch.lengths_B[r::3].tolist() for r in range(3)]
    assert [len(p.pictures) for p in parts] == [1, 0, 1]
    assert parts[0].pictures[0] is batch.pictures[1]
    assert torch.equal(parts[1].targets_NR, batch.targets_NR[2:4])


def test_sharding_needs_processes() -> None:
    with pytest.raises(InputError, match="torchrun"):
        distributed.learner(micro(), shard=True)


def test_without_the_flag_it_is_the_plain_learner() -> None:
    own = distributed.learner(micro())
    assert type(own.model) is Decoder
    assert bits(own.model) == bits(micro())
