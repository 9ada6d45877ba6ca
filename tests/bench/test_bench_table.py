"""Tables: units, clusters, intervals, paired comparisons and equal tokens, by known answers."""

import asyncio

import numpy as np
import pytest
from bench_helpers import additions, matrix_of, policy_of, question
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as peer_mcnemar
from statsmodels.stats.proportion import proportion_confint

from consilience.bench.equal import Pooled, curve_of, equal_tokens, pooled, vote_at, vote_between
from consilience.bench.rows import Row, RowLog
from consilience.bench.runner import run_matrix
from consilience.bench.session import config_of, open_session, summarise
from consilience.bench.table import adjusted, compare, comparisons, finding, line_of, lines_of, units_of
from consilience.reason.accounting import Price
from consilience.stats import clustered_difference, clustered_mean, pass_at_k
from consilience.store import Store
from consilience.trace import Call, Usage


def row(problem, right, *, strategy="direct", repeat=0, **more):
    facts = {"score": float(right), "generated": 20, "reasoning": 15, "prompt": 7, "calls": 1, "critical_path": 20}
    return Row("add", "m", strategy, f"add/{problem}", repeat, right=right, **{**facts, **more})


def test_a_line_has_wilsons_interval_and_all_that_was_spent():
    rows = [row(i, i < 5) for i in range(7)]
    line = line_of(additions(7), rows, Price(1.0, 2.0))
    low, high = proportion_confint(5, 7, method="wilson")
    assert line["accuracy"] == pytest.approx({"value": 5 / 7, "low": low, "high": high, "n": 7})
    assert (line["prompt_tokens"], line["reasoning_tokens"], line["answer_tokens"]) == (7, 15, 5)
    assert line["price"] == pytest.approx((7 * 1 + 20 * 2) / 1e6, abs=1e-6)
    assert "7 problems are few" in line["warnings"][0]


def test_shares_of_what_went_wrong():
    rows = [
        row(0, True),
        row(1, False, truncated=True, verdict={"code": "truncated"}),
        row(2, False, verdict={"code": "unparsed"}),
        row(3, False, status="timeout"),
        row(4, False, status="failed", error="no answer."),
    ]
    line = line_of(additions(5), rows)
    assert (line["truncated"], line["unparsed"], line["timed_out"]) == (0.25, 0.25, 0.25)
    assert (line["results"], line["failed"], line["accuracy"]["value"]) == (4, 1, 0.25)
    assert any("1 of 5 failed" in text and "no answer" in text for text in line["warnings"])


def test_repetitions_of_a_problem_are_no_new_problems():
    rows = [row(i, i < 50, repeat=r) for i in range(100) for r in range(4)]
    line = line_of(additions(100), rows)
    low, high = proportion_confint(50, 100, method="wilson")
    assert line["accuracy"]["n"] == 100
    assert line["accuracy"]["low"] == pytest.approx(low, abs=0.004)
    assert line["accuracy"]["high"] == pytest.approx(high, abs=0.004)
    assert line["pass_at_k"]["4"]["value"] == 0.5
    assert line["warnings"] == []


def test_pass_at_k_is_the_mean_of_the_unbiased_estimates():
    rights = [[True, False, False, False], [True, True, False, False]]
    rows = [row(i, right, repeat=r) for i, values in enumerate(rights) for r, right in enumerate(values)]
    line = line_of(additions(2), rows)
    assert line["pass_at_k"]["2"]["value"] == pytest.approx((pass_at_k(4, 1, 2) + pass_at_k(4, 2, 2)) / 2)


def test_a_group_counts_once_and_only_when_all_of_it_is_right():
    circular = additions(8, group=lambda problem: str(int(problem.id[4:]) // 4))
    rows = [row(i, i != 6) for i in range(8)]
    units = units_of(circular, rows)
    assert {unit: list(v) for unit, v in units.right.items()} == {"0": [1.0], "1": [0.0]}
    assert units_of(circular, rows[:-1]).right.keys() == {"0"}
    assert line_of(circular, rows)["problems"] == 2


def test_problems_of_one_picture_widen_the_interval():
    rows = [row(i, (i // 4) % 2 == 0) for i in range(200)]
    alone = line_of(additions(200), rows)["accuracy"]
    shared = line_of(additions(200, cluster=lambda p: str(int(p.id[4:]) // 4)), rows)["accuracy"]
    assert shared["n"] == 50
    assert 1.8 < (shared["high"] - shared["low"]) / (alone["high"] - alone["low"]) < 2.2


@pytest.mark.parametrize(
    ("problems", "clusters", "words"),
    [
        (100, 100, ""),
        (100, 50, ""),
        (99, 99, "99 problems are few"),
        (100, 49, "100 problems in 49 clusters are few"),
    ],
)
def test_a_line_warns_below_the_numbers_for_which_coverage_is_shown(problems, clusters, words):
    of_cluster = {f"add/{i}": str(i % clusters) for i in range(problems)}
    benchmark = additions(problems, cluster=lambda problem: of_cluster[problem.id])
    warnings = line_of(benchmark, [row(i, i % 3 == 0) for i in range(problems)])["warnings"]
    assert [warning.partition(":")[0] for warning in warnings] == ([words] if words else [])


def test_facets_have_lines_of_their_own():
    benchmark = additions(10, facets=lambda p: {"parity": "even" if int(p.id[4:]) % 2 == 0 else "odd"})
    lines = lines_of([benchmark], [row(i, i % 2 == 0) for i in range(10)], models=["m"], strategies=["direct"])
    shown = {(line["facet"], line["value"]): line["accuracy"]["value"] for line in lines}
    assert shown == {("", ""): 0.5, ("parity", "even"): 1.0, ("parity", "odd"): 0.0}


def test_a_comparison_is_tangos_interval_and_mcnemars_test():
    a = [row(i, i < 12, strategy="vote:4") for i in range(20)]
    b = [row(i, i < 2 or 12 <= i < 14) for i in range(20)]
    compared = compare(additions(20), a, b)
    assert compared["difference"]["value"] == pytest.approx((10 - 2) / 20)
    assert compared["p"] == pytest.approx(peer_mcnemar([[2, 10], [2, 6]], exact=True).pvalue)
    assert compared["p"] == pytest.approx(0.0386, abs=1e-4)


def test_only_common_problems_are_compared_and_p_values_are_holms():
    rows = [row(i, True) for i in range(30)] + [row(i, i < 5, strategy="vote:4") for i in range(25)]
    rows += [row(i, True, strategy="vote:8") for i in range(30)]
    strategies = ["direct", "vote:4", "vote:8"]
    four, eight = comparisons([additions(30)], rows, models=["m"], strategies=strategies)
    assert (four["problems"], four["finding"], four["difference"]["value"]) == (25, "worse", -0.8)
    assert four["p_adjusted"] == pytest.approx(2 * four["p"])
    assert eight["finding"] == "no difference shown"
    assert adjusted([]) == []
    assert finding(0.2, 0.01) == "better"


def pool(answers, winners=(0,), tokens=10.0, name="add/0"):
    right = sum(answer in winners for answer in answers)
    return Pooled(name, name, tuple(answers), frozenset(winners), right, tokens)


def test_the_vote_of_a_pool_is_the_exact_expectation():
    assert vote_at(pool([0, 0, 1]), 1) == pytest.approx(2 / 3)
    assert vote_at(pool([0, 0, 1]), 3) == 1.0
    assert vote_at(pool([0, 1]), 2) == 0.5
    assert vote_at(pool([None, None]), 2) == 0.0
    assert vote_at(pool([0, 1, 2], winners=(0, 1)), 1) == pytest.approx(2 / 3)
    assert vote_between(pool([0, 0, 1]), 2.5) == pytest.approx((2 / 3 + 1) / 2)


@given(st.lists(st.sampled_from([0, 1, 2, None]), min_size=1, max_size=9), st.data())
def test_the_exact_vote_agrees_with_drawing(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    rng = np.random.default_rng(0)
    hits = 0.0
    for _ in range(200):
        drawn = [answers[i] for i in rng.permutation(len(answers))[:k]]
        counts = {a: drawn.count(a) for a in drawn if a is not None}
        best = [a for a, n in counts.items() if n == max(counts.values())] if counts else []
        hits += (0 in best) / max(1, len(best))
    assert vote_at(pool(answers), k) == pytest.approx(hits / 200, abs=0.17)


def test_pooled_samples_vote_as_strategies_do_and_a_cut_answer_has_none():
    texts = ["x</think>5", "x</think> 5.0", "x</think>6", "x"]
    calls = [Call(text, usage=Usage(3, 8)) for text in texts] + [Call("x</think>5", finish="length", usage=Usage(3, 8))]
    found = pooled(question(5), calls, [True, True, False, False, False], additions(6))
    assert found.answers[:3] == (0, 0, 1)
    assert found.answers[4] is None
    assert (found.winners, found.right, found.tokens) == (frozenset({0}), 2, 8.0)


def test_the_curve_ends_with_the_whole_pool():
    points = curve_of([pool([0, 0, 1, 1, 1, 0], name=f"add/{i}") for i in range(4)])
    assert [point["k"] for point in points] == [1, 2, 4, 6]
    assert points[0]["vote"]["value"] == points[0]["oracle"]["value"] == 0.5
    assert points[-1]["oracle"]["value"] == 1.0
    assert points[-1]["tokens"] == 60


def test_a_strategy_is_compared_with_a_vote_of_its_own_tokens():
    """Right everywhere for the tokens of a vote that reaches .5: better. Dearer than the pool: no comparison."""
    pools = [pool([0, 1, 0, 1], name=f"add/{i}") for i in range(60)]
    rows = [row(i, True, strategy="adaptive:4", generated=20) for i in range(60)]
    rows += [row(i, True, strategy="pacore-low", generated=50) for i in range(60)]
    rows += [row(i, True) for i in range(60)]
    asked = {"models": ["m"], "strategies": ["direct", "adaptive:4", "pacore-low"]}
    (entry,) = equal_tokens([additions(60)], rows, {("add", "m"): pools}, **asked)
    direct, adaptive, pacore = entry["strategies"]
    assert (adaptive["k"], adaptive["vote"]["value"], adaptive["difference"]["value"]) == (2.0, 0.5, 0.5)
    assert adaptive["finding"] == "better"
    assert "difference" not in pacore
    assert pacore["note"] == "no vote of equal tokens in a pool of 4: add the strategy vote:5."
    assert "difference" not in direct


def test_a_run_is_summed_up_from_its_directory(tmp_path):
    matrix = matrix_of([additions(60)], ("direct", "vote:8", "adaptive:8"), policy_of(0.5), samples=2)

    async def main():
        with (
            open_session(tmp_path / "run", config_of(matrix), matrix, resume=False) as session,
            Store(tmp_path / "run" / "store.sqlite") as store,
        ):
            log = RowLog(session.rows_path)
            await run_matrix(matrix, store, log)
            log.close()
            return summarise(session, matrix, store)

    table = asyncio.run(main())
    assert (table["results"], table["of"], table["notes"]) == (360, 360, [])
    (entry,) = table["equal_tokens"]
    direct, vote, adaptive = entry["strategies"]
    assert [point["k"] for point in entry["curve"]] == [1, 2, 4, 8, 16]
    assert 2 < adaptive["k"] < 8.5
    assert adaptive["finding"] == "no difference shown"
    assert vote["accuracy"]["value"] > direct["accuracy"]["value"]
    by_name = {line["strategy"]: line for line in table["lines"]}
    assert by_name["direct"]["pass_at_k"]["2"]["value"] > by_name["direct"]["accuracy"]["value"]


SETTINGS = [(p, design) for p in (0.1, 0.5, 0.9) for design in ("single", "scenes", "repeats")]
SETTINGS += [(0.3, "scenes"), (0.7, "single")]


@pytest.mark.parametrize(("p", "design"), SETTINGS)
def test_95_percent_intervals_cover_93_to_97_percent_of_2000_simulated_runs(p, design):
    rng = np.random.default_rng(7)
    sizes = {"single": np.ones(100, int), "scenes": np.arange(50) % 4 + 1, "repeats": np.full(100, 4)}[design]
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    hits = 0
    for _ in range(2000):
        rates = np.full(len(sizes), p) if design == "single" else rng.beta(2 * p, 2 * (1 - p), len(sizes))
        estimate = clustered_mean(rng.random(len(clusters)) < np.repeat(rates, sizes), clusters)
        hits += estimate.low <= p <= estimate.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_paired_differences_in_clusters_cover_as_well():
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(60), 2)
    hits = 0
    for _ in range(2000):
        rates = np.repeat(rng.beta(1, 1, 60), 2)
        a, b = rng.random(120) < rates, rng.random(120) < 0.8 * rates
        estimate, _ = clustered_difference(a, b, clusters)
        hits += estimate.low <= 0.1 <= estimate.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_without_clusters_the_mean_is_wilsons_and_the_difference_tangos():
    estimate = clustered_mean([1] * 19 + [0] * 6)
    assert (estimate.low, estimate.high) == pytest.approx((0.566, 0.885), abs=1e-3)
    difference, p = clustered_difference([1] * 10 + [0] * 5, [0] * 10 + [1] * 2 + [0] * 3)
    assert (difference.value, p) == pytest.approx((8 / 15, 0.0386), abs=1e-3)


def test_equal_values_keep_an_interval():
    same = clustered_mean([1, 1, 1, 1], ["a", "a", "b", "b"])
    assert same.low < 0.7
    difference, p = clustered_difference([0.5, 0.5], [0.5, 0.5], ["a", "b"])
    assert difference.low < 0 < difference.high
    assert p == 1.0
