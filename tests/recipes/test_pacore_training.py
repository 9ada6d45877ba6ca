"""The training half of PaCoRe's recipe, part by part: what is asked, how it is voted, what the claims compare."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience import claims as ledger
from consilience.errors import ConsilienceError, InputError, UnknownName
from consilience.nn.config import nano
from consilience.nn.template import render
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Image, Message
from consilience.protocols import Sampling
from consilience.reason.synthesis import synthesis_prompt
from consilience.recipes.pacore import arithmetic
from consilience.recipes.pacore.arithmetic import Arithmetic
from consilience.recipes.pacore.arms import PARALLEL, PLACES, SEQUENTIAL, VOTE, Point, synthesis_points, voting_points
from consilience.recipes.pacore.asked import SHORT, family_of, held_out
from consilience.recipes.pacore.claims import CLAIMS, measured
from consilience.recipes.pacore.places import by_place, measure_places
from consilience.recipes.pacore.strips import Glimpse, GlimpsingPolicy, strip
from consilience.recipes.pacore.training_claims import MARGINS, emergent, exceeds, rising, smallest_step
from consilience.recipes.pacore.training_sizes import SCALES, training_of
from consilience.recipes.pacore.training_tables import training_tables
from consilience.request import Silent
from consilience.runs import Run
from consilience.stats import Estimate, wilson
from consilience.store import Store
from consilience.units import Unit, directory_of
from consilience.verify.check import AnswerVerifier

LAPTOP, STUDY, GPU = SCALES["laptop"], SCALES["study"], SCALES["gpu"]

# what is asked


def test_a_strip_is_read_by_its_demonstration_and_splits_share_no_bitmap() -> None:
    for number in range(5):
        problem = strip(number, "test", 3)
        shown = [thing["attributes"]["digit"] for thing in problem.truth["scene"]["objects"]]
        assert problem.answer == f"a{shown[0]}b{shown[1]}c{shown[2]}"
        assert AnswerVerifier()(problem, problem.demonstration).correct
        assert problem.images[0].size == (36, 12)
    rows = {
        split: {thing["style"]["row"] for i in range(40) for thing in strip(i, split, 3).truth["scene"]["objects"]}
        for split in ("train", "dev", "test")
    }
    assert not rows["train"] & rows["test"]
    assert not rows["dev"] & rows["test"]


def test_every_trajectory_has_a_glimpse_of_its_own_and_the_same_seed_the_same_one() -> None:
    first, second = strip(0, "dev", 3), strip(1, "dev", 3)
    glimpse = Glimpse(0.3)

    def noise(problem: Any, seed: int) -> np.ndarray:
        seen = glimpse(problem.messages, seed)[0]
        assert seen.text == problem.question
        assert isinstance(seen.parts[0], Image)
        return seen.parts[0].pixels.astype(float) - problem.images[0].pixels

    assert np.array_equal(noise(first, 3), noise(first, 3))
    assert not np.array_equal(noise(first, 3), noise(first, 4))
    assert not np.array_equal(noise(first, 3), noise(second, 3))
    dark = noise(first, 3)[first.images[0].pixels == 0]
    assert 0.3 < dark[dark > 0].mean() / 255 / np.sqrt(2 / np.pi) / 0.3 < 1.2  # half of the normal, clipped at 0
    assert np.array_equal(Glimpse(0.0)(first.messages, 1)[0].parts[0].pixels, first.images[0].pixels)  # type: ignore[union-attr]


def test_sample_i_of_a_glimpsing_policy_has_the_glimpse_of_its_seed() -> None:
    seen: dict[int, tuple[Message, ...]] = {}

    def script(messages: Sequence[Message], seed: int) -> Reply:
        seen[seed] = tuple(messages)
        return Reply(f"</think>{seed}")

    policy = GlimpsingPolicy(ScriptedPolicy(script), Glimpse(0.3))
    messages = strip(0, "dev", 3).messages
    calls = asyncio.run(policy.sample(messages, Sampling(seed=7), n=3))
    assert [call.text for call in calls] == ["</think>7", "</think>8", "</think>9"]
    assert seen == {seed: Glimpse(0.3)(messages, seed) for seed in (7, 8, 9)}
    assert policy.name != GlimpsingPolicy(ScriptedPolicy(script), Glimpse(0.2)).name
    with pytest.raises(InputError, match="give the sampling one"):
        asyncio.run(policy.sample(messages, Sampling()))


def test_scratchpads_by_hand() -> None:
    assert arithmetic.addition(57, 68) == "7+8+0=15 5+6+1=12"
    assert arithmetic.subtraction(52, 38) == "2-8-0=-6 5-3-1=1"
    assert arithmetic.multiplication(12, 34) == "12*4=48:48 12*30=360:408"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(("train", "dev", "test")), st.integers(1, 6))
def test_arithmetic_is_right_and_follows_from_its_number(number: int, split: str, digits: int) -> None:
    problem = Arithmetic(digits).problem(number, split)
    a, sign, b = next(problem.question.partition(s) for s in "+-*" if s in problem.question)
    assert int(problem.answer) == {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
    assert int(a) >= int(b) > 0
    assert len(a) <= digits
    assert AnswerVerifier()(problem, problem.demonstration).correct
    assert problem == Arithmetic(digits).problem(number, split)
    if digits <= GPU.digits:
        assert len(problem.demonstration) + 2 <= GPU.answer_tokens


@pytest.mark.parametrize("sizes", [LAPTOP, STUDY])
def test_all_messages_fit_the_context_of_nano(sizes: Any) -> None:
    """The cached 24 fit 1,024 positions with either template; the widest round of the study fits nano's 2,048."""
    problem = family_of(sizes).problem(0, "dev")
    for template in (SHORT, None):
        for count, room in ((sizes.cache, 1024), (max(sizes.widths), nano().max_context)):
            prompt = render(synthesis_prompt(problem.messages, ["a0b1c2d3"] * count, template), 12)
            assert len(prompt) + sizes.answer_tokens <= room, (template, count, len(prompt))


def test_test_problems_are_of_the_test_split_and_no_two_are_the_same() -> None:
    for sizes in (LAPTOP, GPU):
        asked = held_out(sizes)
        assert {p.split for p in asked} == {"test"}
        assert len({p.id for p in asked}) == sizes.tests


# votes and claims


def test_the_vote_on_every_place() -> None:
    assert by_place(["123", "124", "153"]) == "123"
    assert by_place(["12", "999", "999"]) == "999"
    assert by_place(["12", "34"]) == "12"  # ties go to the first
    assert by_place([]) == ""


def test_the_vote_on_every_place_counts_the_trajectories_of_the_plain_vote(tmp_path: Path) -> None:
    problem = strip(0, "dev", 3)
    first, second, third = problem.answer[1::2]
    said = [f"ax b{second} c{third}", f"a{first} bx c{third}", f"a{first} b{second} cx"]
    said = [text.replace(" ", "") for text in said]
    policy = ScriptedPolicy(lambda messages, seed: Reply(f"</think>{said[seed]}", tokens=5))
    with Store(tmp_path / "s.db") as store:
        record = asyncio.run(
            measure_places(Point(PLACES, 2), [problem], policy, Sampling(seed=0), store=store, progress=Silent())
        )
    assert (record["right"], record["tokens"], record["critical"], record["lost"]) == ([1], [15], [5], [0])


def test_points_before_and_after_training_generate_as_many_trajectories() -> None:
    votes, before, after = voting_points(STUDY), synthesis_points(STUDY, False), synthesis_points(STUDY, True)
    assert {(p.arm, p.width) for p in votes} == {(arm, k) for arm in (VOTE, PLACES) for k in (4, 16, 32, 36)} | {
        ("one", 0)
    }
    assert after == [*before, Point(SEQUENTIAL, 16)]
    assert [(p.width, p.schedule) for p in after if p.arm == PARALLEL] == [(4, ""), (16, ""), (32, ""), (36, "32,4")]
    for point in (p for p in (*votes, *after) if p.arm != PLACES):
        made = point.strategy(None, SHORT)
        calls = sum(made.schedule) + 1 if hasattr(made, "schedule") else getattr(made, "width", 1)
        assert calls == point.trajectories, point
        if point.arm in (PARALLEL, SEQUENTIAL):
            assert made.template is SHORT  # type: ignore[attr-defined]


def record(
    arm: str, width: int, right: list[int], schedule: str = "", hopeless: list[int] | None = None
) -> dict[str, Any]:
    blank = [0] * len(right)
    found = {"arm": arm, "width": width, "schedule": schedule, "right": right, "tokens": [9] * len(right)}
    return {**found, "critical": blank, "prompt": blank, "lost": blank, "hopeless": hopeless or blank}


def of(*found: dict[str, Any]) -> dict[str, Any]:
    return {Point(r["arm"], r["width"], r["schedule"]).name: r for r in found}


def hits(n: int, of_: int = 200) -> list[int]:
    return [1] * n + [0] * (of_ - n)


def test_the_smallest_step_is_the_weakest_of_the_steps_along_k_and_to_the_second_round() -> None:
    line = rising(
        of(
            record(PARALLEL, 36, hits(140), "32,4"),
            record(PARALLEL, 16, hits(100)),
            record(PARALLEL, 4, hits(60)),
            record(PARALLEL, 32, hits(120)),
        )
    )
    assert [r["width"] for r in line] == [4, 16, 32, 36]
    step = smallest_step(line)
    assert step is not None
    assert step.value == pytest.approx(0.1)
    assert step.low > 0
    assert smallest_step(line[:1]) is None
    worse = smallest_step([line[0], line[2], line[1]])
    assert worse is not None
    assert worse.value == pytest.approx(-0.1)


def test_emergent_correctness_is_of_problems_without_a_right_message() -> None:
    found = emergent(record(PARALLEL, 4, [1, 0, 0, 1], hopeless=[1, 1, 0, 0]))
    assert found is not None
    assert (found.value, found.n) == (0.5, 2)
    assert emergent(record(PARALLEL, 4, [1, 1])) is None


def test_a_rate_against_a_multiple_of_another_by_hand() -> None:
    a, b = Estimate(0.5, 0.4, 0.6, 100), Estimate(0.05, 0.03, 0.08, 200)
    found = exceeds(a, b, 4)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - np.hypot(0.1, 0.12))
    assert found.high == pytest.approx(0.3 + np.hypot(0.1, 0.08))
    assert exceeds(wilson(30, 100), wilson(9, 100), 4).low < 0


def verdicts(evaluations: dict[Any, Any]) -> dict[str, str]:
    numbers = measured(evaluations)
    return {claim.id: ledger.evaluate(claim, numbers).verdict for claim in CLAIMS if claim.id.startswith("synthesis")}


def test_claims_of_a_model_that_learned_to_synthesise_and_of_one_that_did_not() -> None:
    lost = hits(0, 120) + hits(80, 80)
    before = of(
        record("one", 0, hits(60)),
        *(record(PARALLEL, k, hits(60), hopeless=[0] * 100 + [1] * 100) for k in (4, 16, 32)),
    )
    reader = of(*(record(VOTE, k, hits(n)) for k, n in ((4, 70), (16, 90), (32, 100))))
    after = of(
        *(record(PARALLEL, k, hits(n), hopeless=lost) for k, n in ((4, 130), (16, 145), (32, 160))),
        record(PARALLEL, 36, hits(180), "32,4"),
        record(SEQUENTIAL, 16, hits(60)),
    )
    found = verdicts({(0, "reader"): reader, (0, "untrained"): before, (0, "trained"): after})
    assert set(found.values()) == {"holds"}, found
    same = {**before, **of(record(PARALLEL, 36, hits(60), "32,4"), record(SEQUENTIAL, 16, hits(60)))}
    flat = verdicts({(0, "reader"): reader, (0, "untrained"): before, (0, "trained"): same})
    assert flat.pop("synthesis_untrained_flat") == "holds"
    assert flat.pop("synthesis_emergent") in ("does_not_hold", "not_measured")
    assert set(flat.values()) == {"does_not_hold"}
    assert set(verdicts({(0, "nano"): before}).values()) == {"not_measured"}


def test_the_table_keeps_one_round_and_two_of_as_many_trajectories_apart() -> None:
    after = of(record(PARALLEL, 4, hits(10)), record(PARALLEL, 12, hits(20)), record(PARALLEL, 12, hits(30), "8,4"))
    table = training_tables({(0, "untrained"): of(record("one", 0, hits(5))), (0, "trained"): after})[0]
    assert table["columns"] == ["", "–", "[4]", "[12]", "[8,4]"]
    row = next(row for row in table["rows"] if row[0] == "trained synthesis")
    assert [cell and cell["value"] for cell in row[1:]] == [None, 0.05, 0.1, 0.15]
    assert training_tables({(0, "nano"): after}) == []


def test_thresholds_are_those_of_the_acceptance_list() -> None:
    assert MARGINS == {4: 0.10, 16: 0.05, 32: 0.05}
    by_id = {claim.id: claim for claim in CLAIMS}
    assert by_id["synthesis_vote_4"].threshold == 0.10
    assert by_id["synthesis_untrained_flat"].threshold == 0.03
    assert by_id["synthesis_parallel"].threshold == 0.2


# sizes


def test_published_numbers_of_the_study() -> None:
    assert (STUDY.cache, STUDY.least, STUDY.most, STUDY.instances, STUDY.iterations, STUDY.second) == (
        24, 16, 24, 16, 250, 450,
    )  # fmt: skip
    assert STUDY.widths == (4, 16, 32)
    assert (LAPTOP.digits, LAPTOP.least, LAPTOP.most) == (3, 6, 8)
    assert LAPTOP.iterations + LAPTOP.second <= 150


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"pools": 0}, InputError, "pools=0 must be at least 1"),
        ({"noise": -0.1}, InputError, "noise=-0.1 must be 0 or larger"),
        ({"task": "sums"}, UnknownName, "unknown task"),
        ({"cache": 7}, InputError, "must rise"),
        ({"least": 9}, InputError, "must rise"),
        ({"k": "8,4"}, InputError, "as in k=4,16,32"),
        ({"k_deep": "4"}, InputError, "schedule of two rounds"),
        ({"learned": 0}, InputError, "learned=0 must be at least 1"),
        ({"digits": 12}, InputError, "between 1 and 9"),
        ({"pools": 1.5}, InputError, "must be of type int"),
    ],
)
def test_sizes_that_cannot_be_are_named(given: dict[str, Any], error: type[ConsilienceError], words: str) -> None:
    with pytest.raises(error, match=words):
        training_of("laptop", False, given)


def test_settings_reach_the_training() -> None:
    assert training_of("laptop", False, {"k": 4, "noise": 1}).widths == (4,)
    assert training_of("laptop", True, {}) == STUDY


def test_arithmetic_is_trained_from_nothing_by_the_same_units(tmp_path: Path) -> None:
    from consilience.nn.checkpoint import load_model
    from consilience.recipes.pacore.training import prepare, reinforce

    small = {"task": "arithmetic", "digits": 1, "d_model": 64, "n_layers": 1, "second": 0}
    changes = {**small, "learned": 60, "learned_batch": 32, "learned_lr": 1e-2}
    sizes = asdict(training_of("smoke", False, changes))
    start = Unit("seed0-start", (), {"seed": 0, "training": sizes})
    ppo = Unit("seed0-ppo", ("seed0-start",), {"seed": 0, "training": sizes})
    with Store(tmp_path / "t.db") as store:
        for unit, carry_out in ((start, prepare), (ppo, reinforce)):
            with Run.create(directory_of(tmp_path, unit.name), {}) as own:
                carry_out(tmp_path, own, unit, store, Silent())
    weights = [load_model(directory_of(tmp_path, name) / "model") for name in ("seed0-start", "seed0-ppo")]
    before, after = (model.state_dict()["embedding.weight"] for model in weights)
    assert weights[0].config.vision is None
    assert not before.equal(after)
