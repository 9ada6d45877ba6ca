"""The parts of the r_align recipe: bandit, text pairs, claims and settings, by known answers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.claims import evaluate
from consilience.errors import ConsilienceError, InputError
from consilience.recipes.r_align import bandit, published, texts
from consilience.recipes.r_align.bandit import FACTORS, FORMAT, GenRM, MetaJudge, Training
from consilience.recipes.r_align.claims import CLAIMS, crossing, measured, phase_numbers, state_difference
from consilience.recipes.r_align.sizes import SCALES, sizes_of
from consilience.recipes.r_align.tables import tables
from consilience.recipes.r_align.work import LETTERS, drawing, meta_states
from consilience.verify.judges import JudgeModel, MetaState, predicts, rationale_metrics
from consilience.verify.judges.pairs import relabel
from consilience.verify.judges.study import audit, controls, metrics_of, order_check

# the bandit


@pytest.fixture(scope="module")
def models() -> dict[str, GenRM]:
    """Both rewards, trained as the recipe does at laptop scale."""
    found = {}
    rewards: tuple[bandit.Reward, ...] = ("label", "align")
    for reward in rewards:
        *_, (_, model, _) = bandit.course(np.random.default_rng(0), reward, drawing(0.88), Training())
        found[reward] = model
    return found


def scored(model: GenRM, n: int = 20_000) -> tuple[float, float, float]:
    """L-Acc, S-Corr, F-Score on held-out pairs."""
    held = bandit.draw_pairs(np.random.default_rng(1), n, 0.88)
    m = rationale_metrics(meta_states(bandit.states(np.random.default_rng(2), model, held)))
    assert m.spurious is not None
    assert m.fidelity is not None
    return m.label_accuracy, m.spurious, m.fidelity


def test_the_untrained_reward_model() -> None:
    assert scored(GenRM.fresh()) == pytest.approx((0.706, 0.662, 0.238), abs=0.012)


def test_a_judge_by_format_is_right_as_often_as_format_is() -> None:
    accuracy, spurious, fidelity = scored(GenRM.format_prior())
    assert accuracy == pytest.approx(0.88, abs=0.01)
    assert (spurious, fidelity) == (1.0, 0.0)


def test_label_only_training_collapses_to_format(models: dict[str, GenRM]) -> None:
    accuracy, spurious, fidelity = scored(models["label"])
    assert accuracy == pytest.approx(0.874, abs=0.012)
    assert spurious > 0.99
    assert fidelity < 0.01
    assert bandit.actor_gold(np.random.default_rng(3), models["label"], steps=300) == pytest.approx(0, abs=0.1)


def test_the_rationale_reward_keeps_to_content(models: dict[str, GenRM]) -> None:
    assert scored(models["align"]) == pytest.approx((0.826, 0.198, 0.662), abs=0.015)
    gold = bandit.actor_gold(np.random.default_rng(3), models["align"], steps=300)
    assert gold == pytest.approx(1.40, abs=0.03)
    assert gold <= np.linalg.norm(bandit.WEIGHTS_C)


def test_content_allows_no_more_than_its_best_reader() -> None:
    assert bandit.content_accuracy(np.random.default_rng(0), 50_000) == pytest.approx(0.83, abs=0.015)


def test_training_repeats_itself() -> None:
    def last(seed: int) -> bytes:
        *_, (_, model, _) = bandit.course(np.random.default_rng(seed), "align", drawing(0.88), Training(steps=5))
        return model.weights_FF.tobytes() + model.bias_F.tobytes()

    assert last(0) == last(0) != last(1)


def test_pairs_are_what_they_say() -> None:
    pairs = bandit.draw_pairs(np.random.default_rng(0), 20_000, 0.7)
    assert (np.sign(pairs.seen_NF[:, FORMAT]) == pairs.label_N).mean() == pytest.approx(0.7, abs=0.01)
    assert set(np.abs(pairs.seen_NF[:, FORMAT])) == {1.0}
    assert set(pairs.decisive_N) == set(range(FORMAT))
    assert np.bincount(pairs.decisive_N).argmax() == 0  # the weightiest decides most often


def test_the_reward_is_the_papers_table() -> None:
    rng = np.random.default_rng(0)
    right, same = np.array([True, True, False, False]), np.array([True, False, True, False])
    exact = MetaJudge(0.0, 0.0)
    assert bandit.rewards(rng, "label", exact, right, same).tolist() == [1, 1, 0, 0]
    assert bandit.rewards(rng, "align", exact, right, same).tolist() == [1, 0, 0, 0]


def test_the_noisy_meta_judge_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(40_000) % 2 == 0
    accepted = MetaJudge(0.1, 0.05).accepts(rng, same)
    assert accepted[same].mean() == pytest.approx(0.9, abs=0.01)
    assert accepted[~same].mean() == pytest.approx(0.05, abs=0.01)


def test_the_policy_gradient_is_the_gradient_of_the_expected_reward() -> None:
    """One pair, both roads: the mean step over many rollouts against finite differences of Σ π(f)·r(f)."""
    seen = np.array([[0.5, -1.2, 0.3, 1.0]])
    pairs = bandit.Pairs(seen, np.array([1.0]), np.array([0]))
    reward_F = (np.sign(seen[0]) == 1.0).astype(float)
    rng = np.random.default_rng(0)
    model = GenRM(0.1 * rng.standard_normal((FACTORS, FACTORS)), 0.1 * rng.standard_normal(FACTORS))
    rollouts = 400_000
    training = Training(pairs=1, rollouts=rollouts, step=1.0)
    after, _ = bandit.improved(np.random.default_rng(1), model, pairs, "label", MetaJudge(), training)
    numeric = np.zeros(FACTORS)
    for f in range(FACTORS):
        shift = 1e-5 * np.eye(FACTORS)[f]
        high, low = (GenRM(model.weights_FF, model.bias_F + s).probabilities(seen)[0] for s in (shift, -shift))
        numeric[f] = (high - low) @ reward_F / 2e-5
    assert after.bias_F - model.bias_F == pytest.approx(numeric, abs=0.004)
    assert after.weights_FF - model.weights_FF == pytest.approx(np.outer(numeric, np.abs(seen[0])), abs=0.006)


# text pairs


PAIRS = texts.text_pairs(7, 60, 0.88)


def test_text_pairs_have_exactly_one_reason() -> None:
    for item in PAIRS:
        pair = item.pair
        loser, winner = (pair.answer_a, pair.answer_b) if pair.label == "B" else (pair.answer_b, pair.answer_a)
        numbers = [int(word) for word in pair.question.split() if word.isdigit()]
        right = f"total is {sum(numbers)}"
        if item.decisive == 0:
            assert right in winner
            assert right not in loser
        else:
            assert (right in winner) == (right in loser)
        if item.decisive == 2:
            assert any(rude in loser for rude in texts.RUDE)
            assert not any(rude in winner for rude in texts.RUDE)
        assert f"loses by {texts.FACTOR_NAMES[item.decisive]}" in pair.golden[0]
        assert relabel(pair.golden[0]) is not None
    assert texts.text_pairs(7, 60, 0.88) == PAIRS
    assert len({item.pair.golden[0] for item in PAIRS}) == len(PAIRS)
    assert texts.FACTOR_NAMES[FORMAT] == "format"
    assert len(texts.FACTOR_NAMES) == FACTORS


def test_the_reader_misses_what_the_docstring_says() -> None:
    question = "Ada has 20 pens and gets 30 more. How many pens does Ada have? Answer in one sentence."
    right, ten_off, one_off = (f"The total is {n} pens." for n in (50, 60, 51))
    assert texts.seen(question, right, one_off)[0] == 1.0
    assert texts.seen(question, one_off, right)[0] == -1.0
    assert abs(texts.seen(question, right, ten_off)[0]) == texts.COIN
    assert texts.seen(question, right, right.replace(".", ", how silly."))[2] in (texts.COIN, -texts.COIN)
    assert texts.seen(question, right, right.replace(".", f", {texts.KNOWN_RUDE[0]}."))[2] == 1.0
    assert texts.seen(question, f"* {right}", right)[FORMAT] == 1.0
    assert texts.seen(question, right, right + " That is all of them.")[1] == 1.0


async def test_the_study_on_text_pairs_is_exact() -> None:
    pairs = [item.pair for item in PAIRS]
    meta = JudgeModel(texts.rule_meta_judge("rule"))
    by_format = JudgeModel(texts.simulated_genrm(GenRM.format_prior(), "format"))
    found = metrics_of(await audit(pairs, by_format, meta))
    bulleted = sum(("* " in p.answer_a) == (p.label == "A") for p in pairs)
    assert found.label_accuracy == bulleted / len(pairs)
    assert (found.spurious, found.fidelity) == (1.0, 0.0)
    any_factor = JudgeModel(texts.simulated_genrm(GenRM.fresh(), "any"))
    audited = await audit(pairs, any_factor, meta)
    outputs = [item.output for item in audited]
    check = await controls(pairs, outputs, meta, seed=0, repeats=2)
    assert (check.shuffled.spurious, check.gold.spurious, check.flips) == (1.0, 0.0, 0.0)
    noisy = JudgeModel(texts.rule_meta_judge("noisy", MetaJudge(0.3, 0.3)))
    assert ((await controls(pairs, outputs, noisy, seed=0, repeats=3)).flips or 0) > 0.1
    order = await order_check(pairs, outputs, any_factor, meta)
    assert (order.compared, order.refused) == (len(pairs), 0)


def test_injected_failures_are_counted() -> None:
    pairs = [item.pair for item in PAIRS]
    model = JudgeModel(texts.simulated_genrm(GenRM.fresh(), "any", fails=0.3))
    meta = JudgeModel(texts.rule_meta_judge("rule", fails=0.3))
    audited = asyncio.run(audit(pairs, model, meta))
    found = metrics_of(audited)
    assert found.counts["ParseFail"] > 0
    assert sum(a.output.failure == "unparsed" for a in audited) > 0
    low, high = found.fidelity_bounds
    assert low < (found.fidelity or 0) < high


# claims and settings


def test_letters_stand_for_states() -> None:
    assert meta_states("CISFP") == list(MetaState)
    assert [LETTERS[str(state)] for state in MetaState] == list("CISFP")


def test_paired_differences_by_hand() -> None:
    a, b = "CCCCIIIISS" * 40, "CCIIIISSSS" * 40
    accuracy = state_difference(a, b, "lacc", 0)
    spurious = state_difference(a, b, "scorr", 0)
    fidelity = state_difference(a, b, "fscore", 0)
    assert accuracy is not None
    assert spurious is not None
    assert fidelity is not None
    assert accuracy.value == pytest.approx(0.2)
    assert spurious.value == pytest.approx(4 / 8 - 4 / 6)
    assert fidelity.value == pytest.approx(0.2)
    for estimate in (accuracy, spurious, fidelity):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 400
    # Wald for the paired difference of two proportions: 80 of 400 pairs are discordant, all one way
    half = 1.96 * np.sqrt(0.2 * 0.8 / 400)
    assert accuracy.high - accuracy.low == pytest.approx(2 * half, rel=0.1)
    assert state_difference("SS", "CS", "scorr", 0) is None
    for wrong in ("C", "CX"):
        with pytest.raises(InputError, match="letters C, I, S"):
            state_difference("CI", wrong, "lacc", 0)


@given(st.text("CIS", min_size=5, max_size=40))
def test_a_system_does_not_differ_from_itself(found: str) -> None:
    for metric in ("lacc", "fscore"):
        estimate = state_difference(found, found, metric, 0, resamples=50)  # type: ignore[arg-type]
        assert estimate is not None
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_where_a_series_crosses() -> None:
    assert crossing([(0.5, 0.0), (0.7, 0.25), (0.8, 0.75), (0.9, 1.0)]) == pytest.approx(0.75)
    assert crossing([(0.5, 0.0), (0.9, 0.4)]) is None
    assert crossing([(0.5, 0.9), (0.9, 1.0)]) is None


def test_phase_numbers_by_hand() -> None:
    points = [
        {"agreement": a, "label": {"format_share": s}} for a, s in ((0.5, 0.0), (0.8, 0.4), (0.9, 0.98), (0.95, 1))
    ]
    numbers = phase_numbers(points, 0.83)
    assert numbers["phase/above"].value == 0.98
    assert numbers["phase/boundary-content"].value == pytest.approx(0.8 + 0.1 * 0.1 / 0.58 - 0.83)
    assert phase_numbers(points[:2], 0.83) == {}


def evaluations(seeds: int = 3) -> dict[tuple[int, str], Any]:
    """Made-up units in which everything the paper says holds, and the boundary lies elsewhere."""
    states = {"untrained": "CIIS" * 25, "format": "IIIS" * 25, "label": "IIIS" * 25, "align": "CCIC" * 25}
    control = {"spurious": None}
    found: dict[tuple[int, str], Any] = {}
    for seed in range(seeds):
        gold = {"untrained": 1.1, "format": 0.0, "label": 0.01 * seed, "align": 1.4 + 0.01 * seed}
        found[seed, "bandit"] = {
            "states": states, "gold": gold, "format_share": dict.fromkeys(states, 0.5), "content_accuracy": 0.83
        }  # fmt: skip
        found[seed, "text"] = {
            "states": {**states, "failing": "CISP" * 25},
            "controls": {"shuffled": {"spurious": 0.99 + 0.001 * seed}, "gold": {"spurious": 0.01 * seed}},
            "noisy_controls": {"shuffled": control, "gold": control},
            "flips": {"exact": 0.0, "noisy": None},
            "kappa": 0.8,
            "order": {"compared": 10, "consistent": 9, "refused": 0},
        }
        arm = {"states": states["label"], "gold": 0.0}
        found[seed, "phase"] = {
            "content_accuracy": 0.83,
            "points": [
                {"agreement": a, "label": {**arm, "format_share": s}, "align": arm}
                for a, s in ((0.5, 0.0), (0.7, 0.9), (0.9, 0.99 - 0.001 * seed))
            ],
        }
        scores = {"a": (0.7, 0.2, 0.5), "b": (0.9, 0.1, 0.2), "c": (0.8, 0.6 + 0.01 * seed, 1.2), "d": (0.6, 0.5, 1.0)}
        systems = [{"name": n, "label_accuracy": x, "fidelity": y, "gold": z} for n, (x, y, z) in scores.items()]
        golds = [s["gold"] for s in systems]
        correlations = {m: vars(predicts([s[m] for s in systems], golds)) for m in ("label_accuracy", "fidelity")}
        found[seed, "predictor"] = {"systems": systems, "correlations": correlations}
        found[seed, "decoder"] = {
            "states": {"start": "CIIS" * 25, "label": "IIIS" * 25, "align": "CCIC" * 25},
            "gold": {"start": 0.0, "label": 0.01 * seed, "align": 0.3},
            "named": {arm: {"look": 0.5} for arm in ("start", "label", "align")},
            "layout_accuracy": 0.88,
        }
    return found


def test_claims_are_judged_by_what_was_measured() -> None:
    numbers = measured(evaluations())
    verdicts = {claim.id: evaluate(claim, numbers).verdict for claim in CLAIMS}
    assert verdicts.pop("boundary_at_content") == "does_not_hold"
    assert set(verdicts.values()) == {"holds"}
    few = measured(evaluations(2))
    assert {evaluate(claim, few).verdict for claim in CLAIMS} == {"not_measured"}
    assert {evaluate(claim, {}).verdict for claim in CLAIMS} == {"not_measured"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_tables_of_every_part_render(seeds: int) -> None:
    from consilience.report.tables import table_view
    from consilience.results import section

    found = tables(evaluations(seeds))
    assert len(found) == 7
    assert all("SIMULATION" in table["note"] for table in found[:-1])
    assert "trained from nothing" in found[-1]["note"]
    for table in found:
        table_view(table)
    text = section({}, found)
    assert "label and rationale (R-Align)" in text
    assert not re.search(r"\bnan\b", text.lower())
    shares = [cell for table in found[:2] for row in table["rows"] for cell in row[1:4] if isinstance(cell, dict)]
    assert shares
    assert all(0 <= cell["low"] <= cell["value"] <= cell["high"] <= 1 for cell in shares)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stpes": 3}, "unknown setting 'stpes': did you mean 'steps'?"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"steps": "many"}, "steps='many' must be of type int"),
        ({"steps": True}, "must be of type int"),
        ({"rollouts": 1}, "the nearest valid setting is rollouts=2"),
        ({"rl_rollouts": 1}, "the nearest valid setting is rl_rollouts=2"),
        ({"width": 20}, "the nearest valid setting is width=16"),
        ({"text_held": 4}, "the nearest valid one is 8"),
        ({"agreement": 1.5}, "agreement=1.5 is a share"),
        ({"step": 0.0}, "step=0.0 is a step length above 0"),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConsilienceError) as caught:
        sizes_of("laptop", settings)
    assert sentence in str(caught.value)


def test_settings_override_the_scale() -> None:
    assert sizes_of("laptop", {"steps": 7}).steps == 7
    assert sizes_of("smoke", {}) == SCALES["smoke"]


def test_the_published_table_obeys_its_identity_but_for_one_row_with_failures() -> None:
    """F = L·(1 − S) without failed verdicts. One published cell lies below, as 4 % of failed ones would put it."""
    off = {
        (name, benchmark)
        for name, cells in published.TABLE.items()
        for benchmark, (accuracy, spurious, fidelity) in zip(published.BENCHMARKS, cells, strict=True)
        if abs(fidelity - accuracy * (1 - spurious / 100)) > 0.1
    }
    assert off == {("GPT-5 thinking", "PPE-Preference")}
    failing = rationale_metrics(meta_states("C" * 5634 + "I" * 418 + "F" * 418 + "S" * 3530))
    found = (failing.label_accuracy, failing.spurious, failing.fidelity)
    assert found == pytest.approx((0.647, 0.069, 0.588), abs=0.0006)


def test_the_predictors_of_the_published_tables() -> None:
    y = list(published.DOWNSTREAM.values())
    found = [predicts([published.TABLE[n][0][i] for n in published.DOWNSTREAM], y).pearson for i in (0, 2)]
    assert found == pytest.approx([0.3659, 0.9473], abs=5e-5)
