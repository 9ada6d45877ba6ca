"""Parts of step3_vl with known answers: perception rewards, glimpses, targets of the tower, filters, and the rule of
off-policy weights."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from consilience.errors import InputError
from consilience.learn.off_policy import truncated_weights
from consilience.learn.pacore_data import Pool, stage1, stage2
from consilience.learn.rewards.generative import guarded
from consilience.nn import tokenizer as tk
from consilience.nn.pictures import TowerConfig
from consilience.nn.template import render, response_tokens
from consilience.problem import Image, Message, Text
from consilience.protocols import Sampling
from consilience.recipes.step3_vl import problems
from consilience.recipes.step3_vl.claims import measured, pointing, slope
from consilience.recipes.step3_vl.glimpse import GlimpsePolicy, glimpse
from consilience.recipes.step3_vl.model import config_of, freeze_eyes, model_of
from consilience.recipes.step3_vl.rewards import box_reward, perception, point_reward
from consilience.recipes.step3_vl.seeing import feature_targets
from consilience.recipes.step3_vl.sizes import LEVELS, SCALES
from consilience.recipes.step3_vl.training import least_seen
from consilience.verify.check import AnswerVerifier
from consilience.worlds.digits import label

CONFIG = config_of(16, 1, 16, 1)


def test_box_rewards() -> None:
    """IoU 25/175; below an IoU of .1 nothing."""
    assert box_reward([0, 0, 10, 10], [5, 5, 15, 15]) == pytest.approx(0.020408, abs=1e-6)
    assert box_reward([0, 0, 10, 10], [0, 0, 10, 10]) == 1
    assert box_reward([0, 0, 10, 10], [9, 9, 19, 19]) == 0


def test_point_rewards() -> None:
    """A target of 6 × 8 with a diagonal of 10: 1/e at a distance of 2.5, nothing beyond 10."""
    target = [0, 0, 6, 8]
    assert point_reward([3, 4], target) == 1
    assert point_reward([3, 6.5], target) == pytest.approx(0.367879, abs=1e-6)
    assert point_reward([3 + 9.99, 4], target) == pytest.approx(math.exp(-4), abs=1e-3)
    assert point_reward([3 + 10.01, 4], target) == 0


@given(st.floats(0, 12), st.floats(0.001, 3))
def test_a_nearer_point_never_earns_less(distance: float, more: float) -> None:
    target = [0.0, 0.0, 6.0, 8.0]
    assert point_reward([3 + distance, 4], target) >= point_reward([3 + distance + more, 4], target)


def test_rewards_of_answers() -> None:
    problem = problems.held_out("locate", "easy", "dev", 1)[0]
    right = problems.demonstration(problem)
    smooth, binary = perception(smooth=True), perception(smooth=False)
    assert binary(problem, right, False).score == 1
    assert 0.6 < smooth(problem, right, False).score <= 1
    assert binary(problem, problem.demonstration, False).score == 1  # a box, as the world answers
    for response in ("</think>", "</think>3", right + right.removeprefix("</think>")):
        assert smooth(problem, response, False).score == 0
    assert smooth(problem, right, True).score == 0


def test_the_cap_is_a_cap() -> None:
    weights = truncated_weights(torch.tensor([0.5, 3.0, 20.0]).log(), torch.zeros(3), cap=8.0)
    assert weights.tolist() == pytest.approx([0.5, 3, 8])


def test_guards_of_the_generative_reward() -> None:
    assert guarded(0.9, (0.2, 0.1)) == pytest.approx(0.6)
    assert guarded(0.2, (0.5,)) == 0
    assert guarded(0.9, fabricated=True) == 0


def test_some_accept_before_and_after_synthesis() -> None:
    """Neither hopeless nor trivial prompts are kept, nor those that messages make trivial."""
    problem = problems.held_out("count", "easy", "dev", 1)[0]
    pools = [
        Pool(replace(problem, id=f"p{hits}"), ("1",) * 24, (1.0,) * hits + (0.0,) * (24 - hits), 24)
        for hits in (0, 1, 12, 23, 24)
    ]
    kept = stage1(pools, {"math": 1.0})
    assert [pool.problem.id for pool in kept] == ["p1", "p12", "p23"]
    assert [p.problem.id for p in stage2(kept, {"p1": 0.5, "p12": 1.0, "p23": 0.0})] == ["p1"]


def test_glimpses_keep_a_share_of_the_pixels_and_follow_from_the_seed() -> None:
    picture = np.full((60, 60), 200, np.uint8)
    turns = (Message("user", (Image(picture), Text("?"))),)
    look = glimpse(0.6)
    (seen,) = look(turns, 1)
    pixels = seen.parts[0].pixels  # type: ignore[union-attr]
    assert 0.55 < (pixels > 0).mean() < 0.65
    assert set(np.unique(pixels)) == {0, 200}
    assert seen.parts[1] == turns[0].parts[1]
    assert np.array_equal(pixels, look(turns, 1)[0].parts[0].pixels)  # type: ignore[union-attr]
    assert not np.array_equal(pixels, look(turns, 2)[0].parts[0].pixels)  # type: ignore[union-attr]
    assert glimpse(1.0)(turns, 1) == turns
    colour = glimpse(0.5)((Message("user", (Image(np.full((20, 20, 3), 9, np.uint8)),)),), 3)[0].parts[0]
    assert ((colour.pixels > 0).all(-1) == (colour.pixels > 0).any(-1)).all()  # type: ignore[union-attr]


class Recorder:
    name = "recorder"

    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes]] = []

    async def sample(self, messages, sampling, *, n=1):  # type: ignore[no-untyped-def]
        from consilience.trace import Call

        self.seen.append((sampling.seed, messages[0].parts[0].pixels.tobytes()))
        return [Call(str(sampling.seed))] * n

    async def close(self) -> None:
        pass


async def test_every_sample_has_a_glimpse_of_its_own() -> None:
    inner = Recorder()
    policy = GlimpsePolicy(inner, 0.5)
    turns = (Message("user", (Image(np.full((20, 20), 9, np.uint8)),)),)
    calls = await policy.sample(turns, Sampling(seed=7), n=3)
    assert [call.text for call in calls] == ["7", "8", "9"]
    assert len({pixels for _, pixels in inner.seen}) == 3
    again = await policy.sample(turns, Sampling(seed=8), n=1)
    assert again[0].text == "8"
    assert inner.seen[-1] in inner.seen[:-1]
    with pytest.raises(InputError, match="give it one"):
        await policy.sample(turns, Sampling(), n=1)


def test_demonstrations_are_right_and_name_what_is_counted() -> None:
    check = AnswerVerifier()
    for level in LEVELS:
        for problem in problems.held_out("count", level, "dev", 10):
            told = problems.demonstration(problem)
            every, _, meant = told.partition("</think>")[0].partition(":")
            assert check(problem, told).correct
            assert sorted(every) == sorted(map(label, problem.truth["scene"]["objects"]))
            assert str(len(meant)) == problem.answer
            assert not Counter(meant) - Counter(every)
            assert int(problem.answer) <= problems.MOST
            assert len(response_tokens(told)) <= SCALES["laptop"].max_tokens


def test_digits_are_named_in_the_order_of_the_features() -> None:
    """As the targets of the tower have them, crop by crop."""
    vision = CONFIG.vision
    assert isinstance(vision, TowerConfig)
    for problem in problems.held_out("count", "wide", "dev", 10):
        targets = feature_targets(problem, vision, label)
        named = tk.decode([int(t) for t in targets if t != tk.PAD])
        assert problems.demonstration(problem).startswith(named + ":")


def test_the_small_wording_shows_problem_and_references_once() -> None:
    problem = problems.held_out("count", "easy", "dev", 1)[0]
    (turn,) = problems.with_references(problem.messages, ["2", "{{ 3 }}"])
    assert turn.parts[0] == problem.prompt[0]
    assert turn.parts[-1] == Text(f"{problem.prompt[1].text}\n1: 2\n2: {{{{ 3 }}}}")  # type: ignore[union-attr]


def test_targets_name_what_stands_in_each_part_of_a_crop() -> None:
    """Four crops of 2 × 2 cells: the 4 × 4 cells of a canvas, crop by crop."""
    vision = CONFIG.vision
    assert isinstance(vision, TowerConfig)
    for problem in problems.held_out("count", "wide", "dev", 5):
        targets = feature_targets(problem, vision, label).view(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(4, 4)
        by_cell = torch.full((4, 4), tk.PAD)
        for thing in problem.truth["scene"]["objects"]:
            x1, y1, x2, y2 = thing["box"]
            by_cell[(y1 + y2) // 24, (x1 + x2) // 24] = tk.encode(label(thing))[0]
        assert torch.equal(targets, by_cell)


def test_the_small_model_sees_by_the_published_rule() -> None:
    """48 × 48 pixels: four crops of four features, a row end, and the whole."""
    problem = problems.held_out("count", "easy", "dev", 1)[0]
    prompt = render(problem.messages, CONFIG.pictures)
    assert prompt.tokens.count(tk.IMAGE) == 4 * 4 + 4
    model = model_of(CONFIG, 0)
    frozen = {name for name, _ in model.named_parameters()} - {
        name for name, p in model.named_parameters() if any(p is q for q in freeze_eyes(model))
    }
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("vision.")}


def test_synthesis_prompts_fit_the_context() -> None:
    for scale, sizes in SCALES.items():
        if scale == "paper":
            continue
        config = config_of(sizes.d_model, sizes.layers, sizes.width, sizes.blocks)
        for problem in problems.held_out("count", sizes.level, "dev", 5):
            turns = problems.with_references(problem.messages, ["6"] * sizes.wide)
            assert len(render(turns, config.pictures)) + sizes.max_tokens <= config.max_context


def test_changes_of_pointing_by_hand() -> None:
    """Two problems, four tries: hits 1 and 0 of 4 before, 3 and 0 after."""
    before = {"right": [1, 0], "greedy": [0, 0], "entropy": [1.0, 2.0], "length": [6.0, 6.0]}
    after = {"right": [3, 0], "greedy": [1, 0], "entropy": [0.5, 1.5], "length": [4.0, 5.0]}
    change = pointing({"looks": 4, "before": before, "after": after}, 0)
    assert change["pass@1"].value == pytest.approx(0.25)
    assert change["pass@N"].value == 0
    assert change["pass@1-pass@N"].value == pytest.approx(0.25)
    assert change["entropy"].value == pytest.approx(-0.5)
    assert change["length"].value == pytest.approx(-1.5)


def test_the_slope_is_for_each_doubling() -> None:
    records = {
        f"parallel-{k}": {"arm": "parallel", "width": k, "right": right}
        for k, right in ((2, [0, 0, 1, 0]), (8, [1, 1, 1, 0]))
    }
    assert slope(records, 0).value == pytest.approx(0.25)


def test_a_model_at_chance_decides_nothing() -> None:
    truth = [0, 1, 2, 3] * 25

    def run(right: list[int]) -> dict[str, dict[str, object]]:
        arms = [
            ("one", 0),
            ("vote", 2),
            ("sequential", 2),
            ("parallel", 2),
            ("vote", 8),
            ("sequential", 8),
            ("parallel", 8),
        ]
        return {f"{a}-{k}" if k else a: {"arm": a, "width": k, "right": right, "truth": truth} for a, k in arms}

    good, chance = run([1] * 60 + [0] * 40), run([1] * 25 + [0] * 75)
    assert "trained/parallel-one" in measured({(0, "trained"): good})
    assert measured({(0, "trained"): chance}) == {}
    assert "trained-untrained/parallel" not in measured({(0, "trained"): good, (0, "untrained"): chance})


def test_training_begins_with_whole_pictures() -> None:
    shares = [least_seen(0.6, step, 100) for step in (0, 25, 50, 99)]
    assert shares == pytest.approx([1.0, 0.8, 0.6, 0.6])
