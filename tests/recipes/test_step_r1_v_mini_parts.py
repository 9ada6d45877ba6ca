"""The recipe's parts: demonstrations, rewards, claims, tables and sizes, without a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from consilience import claims as ledger
from consilience.errors import InputError
from consilience.learn.rollout import text_of
from consilience.nn.template import response_tokens
from consilience.problem import Problem
from consilience.recipes.step_r1_v_mini import problems, tables
from consilience.recipes.step_r1_v_mini.claims import CELLS, CLAIMS, difference, f1, f1_difference, measured
from consilience.recipes.step_r1_v_mini.claims import worse_difference as worse
from consilience.recipes.step_r1_v_mini.rewards import reward
from consilience.recipes.step_r1_v_mini.sizes import ARMS, PARTS, SCALES, batch_line, sizes_of

SIZES = SCALES["laptop"]
DRAWN = [(modality, i) for modality in problems.MODALITIES for i in range(30)]


def drawn(modality: str, i: int) -> Problem:
    return problems.fresh(("test", i), modality, problems.training_levels(SIZES))


# problems and demonstrations


@pytest.mark.parametrize("brief", [True, False])
def test_every_demonstration_earns_the_full_reward(brief: bool) -> None:
    """In both styles: right answer, right places, and the count stated is the count cited."""
    joint = reward("joint", ())
    for modality, i in DRAWN:
        problem = drawn(modality, i)
        response = problems.demonstration(problem, brief)
        verdict = joint(problem, response, False)
        assert verdict.score == 1, f"{problem.question} {response} {verdict.reason}"
        assert len(response_tokens(response)) <= SIZES.max_tokens
        assert text_of(response_tokens(response)) == response


def test_a_key_names_one_problem() -> None:
    levels = problems.training_levels(SIZES)
    for modality in problems.MODALITIES:
        assert problems.fresh(("k", 1), modality, levels) == problems.fresh(("k", 1), modality, levels)
        ids = {problems.fresh(("k", i), modality, levels).id for i in range(20)}
        assert len(ids) == 20
        assert {problems.fresh(("k", i), modality, levels).modality for i in range(5)} == {modality}
    a, b = (problems.demonstrated(("k", 1), "image", SIZES, levels) for _ in range(2))
    assert a.responses == b.responses
    assert a.prompt.tokens == b.prompt.tokens


def test_both_styles_occur_in_their_share() -> None:
    levels = problems.training_levels(SIZES)
    key = [("style", i) for i in range(200)]
    brief = sum(
        problems.demonstrated(k, "text", SIZES, levels).responses[0]
        == tuple(response_tokens(problems.demonstration(problems.fresh(k, "text", levels), brief=True)))
        for k in key
    )
    assert SIZES.brief * 200 - 30 <= brief <= SIZES.brief * 200 + 30


@pytest.mark.parametrize("modality", problems.MODALITIES)
def test_training_and_held_out_problems_have_no_truth_in_common(modality: str) -> None:
    def scenes(split: str) -> set[str]:
        asked = problems.held_out(modality, "easy", split, 40, problems.TASKS[modality])
        return {f"{p.question}{[i.digest for i in p.images]}" for p in asked}

    training = {
        f"{p.question}{[i.digest for i in p.images]}"
        for p in (problems.fresh(("overlap", i), modality, ("easy",)) for i in range(200))
    }
    assert not training & (scenes("dev") | scenes("test"))
    assert not scenes("dev") & scenes("test")


def test_held_out_problems_take_tasks_in_turn() -> None:
    tasks = problems.TASKS["image"]
    asked = problems.held_out("image", "easy", "test", 10, tasks)
    assert [p.task for p in asked] == [tasks[i % len(tasks)] for i in range(10)]
    assert {p.split for p in asked} == {"test"}


def test_pictures_for_the_eyes_have_one_size() -> None:
    assert len({problems.picture(("eyes", i), SIZES).images[0].pixels.shape for i in range(30)}) == 1


# rewards


@pytest.fixture(scope="module")
def counting() -> Problem:
    """A counting problem whose answer is not 0, so that leaving out a place matters."""
    found = (problems.world("text").problem(i, split="train", task="count", modality="text") for i in range(50))
    return next(p for p in found if p.answer != "0")


def score(kind: str, problem: Problem, response: str, truncated: bool = False, key: Sequence[object] = ()) -> float:
    return reward(kind, tuple(key))(problem, response, truncated).score


def test_what_each_reward_pays(counting: Problem) -> None:
    right, unsupported = counting.demonstration, f"</think>{counting.answer}"
    wrong = f"{counting.demonstration.partition('</think>')[0]}</think>{int(counting.answer) + 1}"
    garbled = "</think>many"
    paid = {
        kind: [score(kind, counting, r) for r in (right, unsupported, wrong, garbled)]
        for kind in ("joint", "answer", "format")
    }
    assert paid["answer"] == [1, 1, 0, 0]
    assert paid["format"] == [1, 1, 1, 0]
    assert paid["joint"] == [1, 0, 0, 0]  # a count without its places, or not that of its places, fails the gate


@pytest.mark.parametrize("kind", ["joint", "answer", "format"])
def test_what_was_cut_off_earns_nothing(kind: str, counting: Problem) -> None:
    assert score(kind, counting, counting.demonstration, truncated=True) == 0


def test_the_coin_is_fair_and_looks_at_nothing(counting: Problem) -> None:
    right, wrong = counting.demonstration, "</think>99"
    for response in (right, wrong):
        tosses = [score("random", counting, response, key=("toss", i)) for i in range(400)]
        assert set(tosses) == {0.0, 1.0}
        assert 150 < sum(tosses) < 250
    assert score("random", counting, right, key=("a",)) == score("random", counting, right, key=("a",))


def test_an_unknown_reward_is_an_error() -> None:
    with pytest.raises(KeyError):
        reward("applause", ())


# claims


def evaluation(
    right: float, grounded: float, *, vote: float | None = None, n: int = 200, seed: int = 0
) -> dict[str, Any]:
    """What measuring an arm would leave, drawn with these probabilities: synthetic numbers."""
    rng = np.random.default_rng(seed)
    luck = np.random.default_rng(99).random(n)  # the same problems are hard for every arm
    cell: dict[str, Any] = {
        "right": (luck < right).astype(int).tolist(),
        "greedy": (luck < right).astype(int).tolist(),
        "grounding": [[int(x), 1 - int(x), 1 - int(x)] for x in rng.random(n) < grounded],
        "tokens": rng.integers(20, 60, n).tolist(),
        "full_style": 0.5,
        "truncated": 0.0,
    }
    if vote is not None:
        cell |= {"vote_mean": (np.full(n, right)).tolist(), "vote": (luck < vote).astype(int).tolist()}
    return {"cells": dict.fromkeys(CELLS, cell), "digits_read": {"hits": 90, "n": 100, "value": 0.9}}


def study(ppo: float, other: float, seeds: int) -> dict[tuple[int, str], Mapping[str, Any]]:
    found: dict[tuple[int, str], Mapping[str, Any]] = {}
    for seed in range(seeds):
        for arm in ARMS:
            if arm == "ppo":
                found[seed, arm] = evaluation(ppo, ppo, vote=min(1, ppo + 0.2), seed=seed)
            else:
                found[seed, arm] = evaluation(other, other, seed=seed + 100)
    found |= {(seed, "answer"): evaluation((ppo + other) / 2, other, seed=seed) for seed in range(seeds)}
    return found


def test_a_full_study_measures_every_claim() -> None:
    found = measured(study(0.8, 0.5, 5))
    assert {metric for claim in CLAIMS for metric in claim.metrics} <= set(found)
    assert {claim.id: ledger.evaluate(claim, found).verdict for claim in CLAIMS} == {c.id: "holds" for c in CLAIMS}


def test_claims_fail_when_the_arms_are_equal_or_the_other_way_round() -> None:
    for ppo, other in ((0.5, 0.5), (0.5, 0.8)):
        found = measured(study(ppo, other, 5))
        for claim in CLAIMS:
            if claim.id != "vote_beats_one":  # the majority is drawn to be better whatever the arms are
                assert ledger.evaluate(claim, found).verdict == "does_not_hold", claim.id


def test_one_seed_judges_only_what_one_seed_can() -> None:
    found = measured({key: value for key, value in study(0.8, 0.5, 1).items() if key[1] in ("ppo", "control", "warm")})
    verdicts = {claim.id: ledger.evaluate(claim, found).verdict for claim in CLAIMS}
    assert {name for name, verdict in verdicts.items() if verdict == "holds"} == {
        "ppo_beats_imitation", "grounding_improves", "vote_beats_one"
    }  # fmt: skip
    assert set(verdicts.values()) == {"holds", "not_measured"}


def test_parts_of_the_study_hold_enough_seeds_for_their_claims() -> None:
    needed = {"no_seesaw": "seesaw", "space_reward_generalises": "rewards", "format_is_not_enough": "rewards"}
    needed |= {"ppo_beats_dpo": "methods", "ppo_beats_grpo": "methods", "ppo_beats_imitation": "core"}
    by_id = {claim.id: claim for claim in CLAIMS}
    for claim, part in needed.items():
        assert PARTS[part][1] >= by_id[claim].seeds


def test_f1_by_hand() -> None:
    counts = np.array([[2, 1, 1], [0, 0, 0], [0, 3, 0], [5, 0, 0]])
    assert f1(counts).tolist() == pytest.approx([2 / 3, 1, 0, 1])
    assert float(f1(counts.sum(0))) == pytest.approx(14 / 19)


def test_differences_are_paired() -> None:
    same = [1, 0, 1, 1, 0] * 20
    assert difference(same, same).value == 0
    better = difference([1] * 60 + [0] * 40, [1] * 40 + [0] * 60)
    assert better.value == pytest.approx(0.2)
    assert better.low > 0
    counts = [[1, 0, 0]] * 50 + [[0, 1, 1]] * 50
    equal = f1_difference(counts, counts, seed=0)
    assert (equal.value, equal.low, equal.high) == (0, 0, 0)


def test_the_worse_modality_counts() -> None:
    def cells(image: float, text: float) -> dict[str, Any]:
        return {"image/id": {"right": [1] * int(100 * image) + [0] * int(100 - 100 * image)},
                "text/id": {"right": [1] * int(100 * text) + [0] * int(100 - 100 * text)}}  # fmt: skip

    found = worse(cells(0.75, 0.5), cells(1.0, 0.25), seed=0)
    assert found.value == pytest.approx(0.25)  # .5 against .25, though the mean is equal
    assert found.low < 0.25 < found.high


# tables and sizes


def test_tables_have_a_cell_for_every_column() -> None:
    for found in (study(0.8, 0.5, 2), {(0, "ppo"): evaluation(0.8, 0.7, vote=0.9), (0, "warm"): evaluation(0.5, 0.5)}):
        for table in tables.tables(found):
            assert table["rows"], table["title"]
            assert {len(row) for row in table["rows"]} == {len(table["columns"])}
            for row in table["rows"]:
                for cell in row[1:]:
                    value = cell["value"] if isinstance(cell, Mapping) else cell
                    assert math.isfinite(value)


def test_tables_name_every_arm_in_order() -> None:
    first = tables.tables(study(0.8, 0.5, 1))[0]
    assert [row[0] for row in first["rows"]] == [tables.NAMES[arm] for arm in tables.ORDER]
    assert set(tables.ORDER) == set(tables.NAMES) == set(ARMS)


def test_batch_arithmetic_in_words() -> None:
    line = batch_line(sizes_of("laptop", False, {"problems": 8, "samples": 4, "rl_steps": 300, "critic_batches": 2}))
    assert line == (
        "8 problems × 4 samples = 32 rollouts a step, 300 steps, 9,600 rollouts in all; "
        "1 actor step and 2 critic steps each."
    )


@pytest.mark.parametrize("scale", SCALES)
def test_the_critic_takes_as_many_steps_as_are_announced(scale: str) -> None:
    sizes = SCALES[scale]
    assert -(-sizes.problems // sizes.rl_micro) >= sizes.critic_batches
    with pytest.raises(InputError, match=r"critic_batches=9 .* critic_batches=8"):
        sizes_of(scale, False, {"problems": 8, "critic_batches": 9})


def test_a_whole_number_is_a_rate_too() -> None:
    assert sizes_of("smoke", False, {"lam": 1}).lam == 1
    assert sizes_of("laptop", True, {}) == SCALES["study"]
    assert sizes_of("gpu", True, {}) == SCALES["gpu"]
