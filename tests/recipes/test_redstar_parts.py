"""The recipe `redstar`: its world, losses and data sets, against known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from consilience.learn import losses
from consilience.learn.advantages import reinforce_plus_plus, reinforce_plus_plus_baseline
from consilience.recipes.redstar import data, decoder, geo, rl
from consilience.recipes.redstar.claims import combination
from consilience.recipes.redstar.sizes import SCALES
from consilience.recipes.redstar.training import (
    ALGORITHMS,
    Reinforcement,
    Rollout,
    Table,
    coin,
    nll,
    pairs,
    reinforce,
    supervise,
    supervise_epochs,
    verified,
)
from consilience.recipes.redstar.world import (
    Chains,
    Truth,
    base_table,
    chain_accuracy,
    draw,
    final_answers,
    mislabelled,
    rows_of,
    solved,
    truth,
)
from consilience.trace import THINK_END

SMALL = replace(SCALES["laptop"], test=100, largest=400, updates=100, rl_steps=10, dev=100)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def chains(*steps: list[tuple[int, int]]) -> Chains:
    flat = [pair for chain in steps for pair in chain]
    skills, actions = (np.array(column) for column in zip(*flat, strict=True))
    return Chains(skills, actions, np.array([len(chain) for chain in steps]))


def test_a_chain_of_independent_steps() -> None:
    assert chain_accuracy(0.9, 5) == pytest.approx(0.59049)
    world = Truth(np.zeros(1, np.int64), np.zeros(1, bool))
    problems = Chains(np.zeros(100_000, np.int64), np.zeros(100_000, np.int64), np.full(20_000, 5))
    assert solved(world, problems, mislabelled(problems, 0.1, rng()).action_M).mean() == pytest.approx(
        0.59049, abs=0.015
    )


def test_chains_are_solved_whole() -> None:
    world = Truth(np.array([3, 5]), np.zeros(2, bool))
    found = chains([(0, 3), (1, 5)], [(0, 3), (1, 4)], [(1, 5)])
    assert solved(world, found, found.action_M).tolist() == [True, False, True]
    assert final_answers(found, found.action_M).tolist() == [0, 7, 5]
    assert found.first(2).action_M.tolist() == [3, 5, 3, 4]
    assert (found.first(1) + found.first(3)).length_N.tolist() == [2, 2, 2, 1]
    assert geo.keep(found, np.array([True, False, True])).skill_M.tolist() == [0, 1, 1]
    assert data.as_long(found, 3).length_N.tolist() == [2, 2]
    assert data.bag(found).tolist() == [[1, 1] + [0] * 158, [1, 1] + [0] * 158, [0, 1] + [0] * 158]


def test_mixes_are_what_they_are_called() -> None:
    world = truth(rng())
    assert world.rare_S.sum() == 48
    easy, hard = (draw(world, mix, 4000, rng(1)) for mix in ("easy", "hard"))
    assert set(easy.length_N) == {1, 2}
    assert set(hard.length_N) == {5, 6}
    assert world.rare_S[easy.skill_M].mean() == pytest.approx(0.3 * 0.05 / (0.7 + 0.3 * 0.05), abs=0.006)
    assert world.rare_S[hard.skill_M].mean() == pytest.approx(0.3, abs=0.02)
    assert solved(world, hard, hard.action_M).all()


def test_the_base_model_is_as_good_as_it_should_be() -> None:
    """Without noise: a margin of 1.6 or .6 on the right action; skills that share a row share its mean."""
    world = truth(rng())
    row_S = rows_of(world, 80, rng())
    assert np.bincount(row_S).tolist() == [2] * 80
    table = base_table(world, row_S, 80, rng())
    assert table.shape == (80, 8)
    found = []
    for seed in range(4):
        setting = data.setting_of(1000 + seed, replace(SMALL, test=400))
        found.append(np.mean(data.scores(setting, "base", setting.start(seed=seed))["hard"]))
    assert 0.5 < np.mean(found) < 0.72  # the prototype's .61–.65


def test_supervised_loss_and_gradient() -> None:
    logits = torch.zeros(1, 8, dtype=torch.float64, requires_grad=True)
    counts = torch.zeros(1, 8, dtype=torch.float64)
    counts[0, 2] = 5
    loss = nll(logits, counts)
    assert float(loss.detach()) == pytest.approx(2.079442, abs=1e-6)
    loss.backward()
    onehot = np.eye(8)[2]
    assert logits.grad is not None
    assert logits.grad[0].numpy() == pytest.approx(1 / 8 - onehot)


def test_dpo_at_the_start_and_at_margin_one() -> None:
    own = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    loss = losses.dpo_loss(own, zero, zero, zero, 0.1)
    assert float(loss.detach()) == pytest.approx(0.693147, abs=1e-6)
    loss.sum().backward()
    assert float(own.grad) == pytest.approx(-0.1 * 0.5)  # type: ignore[arg-type]
    assert float(losses.dpo_loss(zero + 1, zero, zero, zero, 0.1)) == pytest.approx(0.644397, abs=1e-6)


def test_advantages_of_the_family() -> None:
    plain = reinforce_plus_plus(torch.tensor([1.0, 0, 0, 1.0]))
    assert plain.tolist() == pytest.approx([1, -1, -1, 1])
    assert reinforce_plus_plus(torch.ones(4)).tolist() == [0] * 4
    group = losses.group_advantages(torch.tensor([[1.0, 0, 0, 0]]))[0].tolist()
    assert group == pytest.approx([1.732051, *[-0.577350] * 3], abs=1e-4)
    baseline = reinforce_plus_plus_baseline(torch.tensor([[1.0, 0], [1, 1]])).flatten().tolist()
    assert baseline == pytest.approx([1.414214, -1.414214, 0, 0], abs=1e-5)


def test_gae_and_the_clip() -> None:
    rewards, values = torch.tensor([0.0, 0, 1]), torch.tensor([0.2, 0.5, 0.8])
    last = torch.tensor([False, False, True])
    assert losses.gae(rewards, values, last, lam=1.0).tolist() == pytest.approx([0.8, 0.5, 0.2])
    assert losses.gae(rewards, values, last, lam=0.0).tolist() == pytest.approx([0.3, 0.3, 0.2])
    assert losses.gae(rewards, torch.zeros(3), last).tolist() == [1, 1, 1]
    for advantage, objective, moves in ((1.0, 1.2, False), (-1.0, -1.5, True)):
        logp = torch.tensor([float(np.log(1.5))], requires_grad=True)
        loss = losses.ppo_loss(logp, torch.zeros(1), torch.tensor([advantage])).sum()
        assert -float(loss.detach()) == pytest.approx(objective, abs=1e-6)
        loss.backward()
        assert (logp.grad is not None and float(logp.grad.abs()) > 0) is moves


def test_pairs_are_of_one_prompt_and_of_both_kinds() -> None:
    rewards = np.array([[1.0, 0, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]])
    better, worse = pairs(rewards, 2, rng())
    assert len(better) == len(worse) == 4 + 2
    flat = rewards.ravel()
    assert flat[better].tolist() == [1] * 6
    assert flat[worse].tolist() == [0] * 6
    assert (better // 5 == worse // 5).all()


def test_rewards_and_their_control() -> None:
    right = np.array([True, False, False, True])
    assert verified(right, rng()).tolist() == [1, 0, 0, 1]
    assert coin(right, rng()).sum() == 2


def test_supervision_teaches_what_it_shows() -> None:
    setting = data.setting_of(1000, SMALL)
    start = setting.start(seed=0)
    before = start.logits_RA.copy()
    taught = supervise(start, setting.data("hard", 400), 100)
    assert (start.logits_RA == before).all()
    assert np.mean(data.scores(setting, "x", taught)["hard"]) > 0.95
    again = supervise(start, setting.data("hard", 400), 100)
    assert (again.logits_RA == taught.logits_RA).all()
    untouched = supervise(start, setting.clean("hard", 1), 10).logits_RA
    seen = set(start.row_S[setting.clean("hard", 1).skill_M])
    changed = set(np.flatnonzero((untouched != start.logits_RA).any(1)))
    assert changed == seen


def test_data_sets_are_nested_and_noise_does_not_move() -> None:
    setting = data.setting_of(1000, SMALL)
    small, large = setting.data("hard", 50), setting.data("hard", 200)
    assert (large.first(50).action_M == small.action_M).all()
    assert (setting.data("hard", 50, 0.0).action_M == setting.clean("hard", 50).action_M).all()
    wrong = (setting.data("hard", 400, 0.25).action_M != setting.clean("hard", 400).action_M).mean()
    assert wrong == pytest.approx(0.25, abs=0.03)


def test_epochs_of_one_batch_are_updates_of_the_whole() -> None:
    setting = data.setting_of(1000, SMALL)
    start, taught = setting.start(seed=0), setting.data("hard", 30)
    assert (supervise(start, taught, 7).logits_RA == supervise_epochs(start, taught, 7, 50).logits_RA).all()
    halves, first = supervise_epochs(start, taught, 1, 15), supervise(start, taught.first(15), 1)
    only_later = set(start.row_S[taught.part(15, 30).skill_M]) - set(start.row_S[taught.first(15).skill_M])
    assert only_later
    assert set(np.flatnonzero((halves.logits_RA != first.logits_RA).any(1))) >= only_later


def test_parts_of_chains() -> None:
    found = chains([(0, 1)], [(1, 2), (2, 3)], [(3, 4), (4, 5), (5, 6)])
    part = found.part(1, 3)
    assert part.skill_M.tolist() == [1, 2, 3, 4, 5]
    assert part.action_M.tolist() == [2, 3, 4, 5, 6]
    assert part.length_N.tolist() == [2, 3]
    assert len(found.part(2, 9)) == 1


def test_a_mean_over_the_batch_pushes_short_chains_and_one_over_groups_does_not() -> None:
    setting = data.setting_of(1000, replace(SMALL, rl_steps=1))
    start = supervise(setting.start(seed=0), setting.data("hard", 200), 20)
    records = {record["arm"]: record for record in rl.arms_by_difficulty(setting, start, Reinforcement(steps=1), 0)}
    pushed = records["pushed_reinforce"]
    assert pushed["short"] > 0.2
    assert pushed["long"] < -0.1
    assert records["pushed_baseline"]["short"] == pytest.approx(0, abs=1e-6)
    assert records["pushed_baseline"]["long"] == pytest.approx(0, abs=1e-6)
    assert {"reinforce_on_easy", "reinforce_on_mixed", "baseline_on_easy", "baseline_on_mixed"} <= set(records)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_improves_on_its_start_and_repeats(algorithm: str) -> None:
    setting = data.setting_of(1000, SMALL)
    start = supervise(setting.start(seed=0), setting.data("hard", 200), 20)
    prompts = setting.clean("hard", 320)
    plan = Reinforcement(steps=10)
    one, records = reinforce(start, setting.world, prompts, algorithm, plan, (0, 1))
    two, _ = reinforce(start, setting.world, prompts, algorithm, plan, (0, 1))
    assert (one.logits_RA == two.logits_RA).all()
    assert len(records) == 10
    test = setting.test["hard"]
    before, after = (rl.chances(setting, table, test).mean() for table in (start, one))
    assert after > before + 0.1


def test_without_any_reward_nothing_moves() -> None:
    setting = data.setting_of(1000, SMALL)
    start = setting.start(seed=0)
    for algorithm in ("reinforce", "baseline", "grpo", "dpo"):
        table, _ = reinforce(
            start,
            setting.world,
            setting.clean("hard", 32),
            algorithm,
            Reinforcement(steps=2),
            (0,),
            lambda s, r: 0.0 * s,
        )
        assert np.allclose(table.logits_RA, start.logits_RA)


def test_chances_are_exact() -> None:
    setting = data.setting_of(1000, SMALL)
    start = supervise(setting.start(seed=0), setting.data("hard", 200), 20)
    test = setting.test["hard"]
    drawn = [solved(setting.world, test, start.sample(test, rng(i))).mean() for i in range(40)]
    assert np.mean(drawn) == pytest.approx(rl.chances(setting, start, test).mean(), abs=0.02)


def test_a_vote_of_a_sure_model_is_its_answer() -> None:
    setting = data.setting_of(1000, SMALL)
    sure = Table(100 * np.eye(8)[setting.world.right_S], np.arange(160))
    assert np.mean(data.vote(setting, sure)["hard"]) == 1


def test_rollouts_keep_a_prompts_responses_together() -> None:
    found = Rollout(chains([(0, 1), (1, 1)], [(0, 1)], [(1, 2)], [(0, 0)]), np.zeros(5, np.int64), torch.zeros(2, 2))
    assert found.last_M.tolist() == [False, True, True, True, True]


def test_pictures_are_of_their_split_and_read_rightly() -> None:
    world = truth(rng(), geo.SKILLS)
    problems = draw(world, "hard", 30, rng(1))
    shown = geo.show(problems, "dev", rng(2))
    assert shown.x_MP.shape[0] == len(problems.skill_M)
    assert not np.array_equal(shown.x_MP, geo.show(problems, "test", rng(2)).x_MP)
    named = geo.read(geo.reader(1000, 100), shown)
    assert (named.skill_M == problems.skill_M).mean() > 0.8
    told = geo.taught(world, named)
    assert solved(world, named, told.action_M).all()


def test_the_decoders_text() -> None:
    world = Truth(np.arange(20) % 8, np.zeros(20, bool))
    assert decoder.written([10, 2, 7], world, long=True) == ("1k 2c 3h", f"1k2=2 2c2=4 3h7=3{THINK_END}3")
    assert decoder.written([10, 2], world, long=False) == ("1k 2c", f"{THINK_END}4")


def test_combinations_of_arms() -> None:
    found = {(0, "a"): {"hard": [1, 1, 0, 0]}, (0, "b_2"): {"hard": [0, 1, 0, 0]}}
    estimate = combination("hard/a+a-b_2", 0, found)
    assert estimate is not None
    assert estimate.value == pytest.approx(0.75)
    assert estimate.low <= 0.75 <= estimate.high
    assert combination("hard/a-c", 0, found) is None
    assert combination("easy/a", 0, found) is None
    chance = combination("hard/b_2-chance", 0, found)
    assert chance is not None
    assert chance.value == pytest.approx(0.125)
