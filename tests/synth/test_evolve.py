"""Self-evolution: which trajectories and pairs trees give, the files of the release, and a search that is killed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.errors import InputError, PolicyError
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Problem, Text
from consilience.protocols import Sampling
from consilience.reason.tree import TOO_MANY_ERRORS, TOO_MANY_STEPS, Node, Tree, TreeSettings
from consilience.reason.tree_files import tree_to_json
from consilience.reason.tree_policy import ChatContinuation
from consilience.reason.tree_search import Search
from consilience.synth.evolve import (
    PairRules,
    comparisons,
    difficulty,
    select,
    share_right,
    solution_comparison,
    trajectories,
    yield_of,
)
from consilience.synth.evolve_files import (
    extraction_record,
    load_preferences,
    load_questions,
    load_sft,
    preference_records,
    sft_record,
    write_json,
    write_jsonl,
)
from consilience.synth.evolve_search import PUBLISHED, Round, load_round, search_round

ANY = PairRules(margin=0.0, distance=0)


def right(answer: str) -> bool:
    return answer == "right"


def step(parent: Node, text: str, q: float, answer: str = "") -> Node:
    """A child with this Q from two visits, a leaf where it has an answer."""
    child = parent.child(text)
    child.n, child.w, child.value = 2, 2 * q, q
    child.terminal, child.answer = bool(answer), answer
    return child


def fan(better: list[float], worse: list[float]) -> Tree:
    """A root with a child for each Q, right below the better, wrong below the worse; texts far apart."""
    tree = Tree.of("p", "how many?")
    for kind, answer, values in (("a", "right", better), ("b", "wrong", worse)):
        for i, q in enumerate(values):
            child = step(tree.root, f"{kind}{i}" * 20, q)
            step(child, f"so {answer}", 1.0 if answer == "right" else -1.0, answer)
    return tree


def kept(tree: Tree, rules: PairRules | None = None) -> list[tuple[float, float]]:
    found = [c for c in comparisons(tree, right, rules) if not c.prefix]
    return [(c.q_positive[p], c.q_negative[n]) for c in found for p, n in c.kept]


# pairs: the known answers of the method


def test_two_best_against_two_worst_make_four_pairs_of_a_quarter():
    tree = fan([0.8, 0.2, -0.5], [-1.0, -0.6, 0.2])
    assert sorted(kept(tree)) == [(0.2, -1.0), (0.2, -0.6), (0.8, -1.0), (0.8, -0.6)]
    (found,) = comparisons(tree, right)
    assert found.factor == 0.25
    assert found.margins == pytest.approx((1.8, 1.4, 1.2, 0.8))


def test_one_against_five_takes_four():
    tree = fan([0.9], [-1.0, -0.9, -0.8, -0.7, -0.6])
    (found,) = comparisons(tree, right)
    assert found.q_negative == (-1.0, -0.9, -0.8, -0.7)
    assert (len(found.kept), found.factor) == (4, 0.25)
    (found,) = comparisons(fan([0.9, 0.8, 0.7, 0.6, 0.5], [-1.0]), right)
    assert (found.q_positive, found.factor) == ((0.9, 0.8, 0.7, 0.6), 0.25)


def test_small_margins_are_removed_and_the_factor_still_counts_the_lists():
    assert kept(fan([0.2], [-0.2])) == []
    (found,) = comparisons(fan([0.2, 0.9], [-0.2, -0.25]), right)
    assert found.kept == ((0, 0), (0, 1))
    assert found.factor == 0.25
    assert found.positives[0] == "a1" * 20


def test_steps_that_read_alike_are_no_pair():
    tree = Tree.of("p")
    for text, q, answer in (("x = y + 1", 1.0, "right"), ("x = y - 1", -1.0, "wrong")):
        step(step(tree.root, text, q), answer, q, answer)
    assert comparisons(tree, right) == []
    assert len(comparisons(tree, right, PairRules(distance=1))) == 1
    with pytest.raises(InputError, match="0 or more"):
        PairRules(distance=-1)


def test_the_best_path_through_the_better_must_beat_the_worst_through_the_other():
    """The better child has the higher Q, but its one right leaf is worth less on average than the worst wrong path."""
    tree = Tree.of("p")
    better, worse = step(tree.root, "a" * 30, 0.9), step(tree.root, "b" * 30, 0.2)
    step(better, "end", -0.9, "right")
    step(worse, "end", 0.1, "wrong")
    assert kept(tree) == []  # mean 0.0 against 0.15
    worse.children[0].w = -2.0
    assert kept(tree) == [(0.9, 0.2)]


def test_only_nodes_that_lead_to_both_and_failed_code_is_no_wrong_leaf():
    tree = fan([0.8], [])
    dead = step(tree.root, "c" * 30, -1.0, TOO_MANY_ERRORS)
    assert comparisons(tree, right) == []
    dead.answer = TOO_MANY_STEPS
    assert kept(tree) == [(0.8, -1.0)]


def test_pairs_further_down_have_the_path_as_prefix():
    tree = Tree.of("p")
    first = step(tree.root, "first\n", 0.5)
    for text, q, answer in (("a" * 30, 1.0, "right"), ("b" * 30, -1.0, "wrong")):
        step(first, text, q, answer)
    (found,) = comparisons(tree, right)  # above, the only child is better and worse at once: no pair with itself
    assert (found.prefix, found.positives, found.negatives) == ("first\n", ("a" * 30,), ("b" * 30,))


def test_whole_solutions_take_the_two_of_highest_and_lowest_mean():
    tree = fan([0.1, 0.9, 0.5], [-0.1, -0.9, -0.5])
    found = solution_comparison(trajectories(tree, right))
    assert found is not None
    assert found.whole
    assert found.q_positive == pytest.approx((0.95, 0.75))
    assert found.q_negative == pytest.approx((-0.95, -0.75))
    assert found.positives[0] == "a1" * 20 + "so right"
    assert (found.kept, found.factor) == (((0, 0), (0, 1), (1, 0), (1, 1)), 0.25)
    assert solution_comparison(trajectories(fan([0.1], []), right)) is None


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), max_size=5), st.lists(st.floats(-1, 1), max_size=5))
def test_properties_of_pairs(better, worse):
    for found in comparisons(fan(better, worse), right, ANY):
        assert len(found.positives) * len(found.negatives) <= 4
        assert all(found.q_positive[p] > found.q_negative[n] for p, n in found.kept)
        assert found.factor * len(found.positives) * len(found.negatives) == pytest.approx(1)


# trajectories


def test_selection_ranks_by_mean_then_least_value_and_passes_over_failures():
    tree = Tree.of("p")
    flat = step(step(tree.root, "flat ", 0.5), "end", 0.5, "right")
    steep = step(step(tree.root, "steep ", 0.1), "end", 0.9, "right")
    best = step(step(tree.root, "an Error was printed ", 1.0), "end", 1.0, "right")
    step(tree.root, "wrong", 1.0, "wrong")
    found = trajectories(tree, right)
    assert [one.nodes[-1] for one in select(found, keep=5)] == [flat, steep]
    assert [one.text for one in select(found, keep=1)] == ["flat end"]
    assert best in [one.nodes[-1] for one in found if one.failed]
    best.parent.text = "fine "
    best.parent.errors = 1
    assert len(select(trajectories(tree, right), keep=5)) == 2


def test_unfinished_paths_are_no_trajectories_and_a_tree_without_answers_gives_nothing():
    tree = Tree.of("p")
    step(tree.root, "goes on", 0.3)
    step(tree.root, "dead", -1.0, TOO_MANY_ERRORS)
    (dead,) = trajectories(tree, right)
    assert dead.dead
    assert not dead.right
    assert select([dead]) == []
    assert trajectories(Tree.of("q"), right) == []


def test_difficulty_and_doubtful_problems():
    easy, medium, hard = fan([0.5, 0.6], []), fan([0.5], [0.1, 0.2, 0.3]), fan([], [0.5])
    found = [trajectories(tree, right) for tree in (easy, medium, hard)]
    assert [difficulty(one) for one in found] == ["easy", "medium", "hard"]
    assert [share_right(one) for one in found] == [1.0, 0.25, 0.0]
    assert difficulty([]) == "hard"


def test_the_account_of_a_round_counts_problems_over_all_their_trees():
    trees = [fan([0.5], []), fan([], [0.5]), fan([], [0.1])]
    trees[0].problem_id = trees[1].problem_id = "a"
    trees[2].tokens = 7
    found = yield_of(trees, lambda name, answer: right(answer))
    assert (found.problems, found.coverage, found.tokens) == (2, 0.5, 7)
    assert (found.trajectories, found.right) == (3, 1)
    assert found.difficulty == {"easy": 0, "medium": 1, "hard": 1}


# files


def test_records_of_the_release_round_trip(tmp_path: Path):
    tree = fan([0.8], [-1.0])
    found = trajectories(tree, right)
    (pair,) = comparisons(tree, right)
    whole = solution_comparison(found)
    assert whole is not None
    records = preference_records("how many?", pair) + preference_records("how many?", whole)
    assert records[0]["prompt"].startswith("<|user|>:\nhow many?\n\n<|assistant|>: Let's think step by step")
    assert records[0]["pos"] == "a0" * 20
    assert records[1]["prompt"] == "<|user|>:\nhow many?"
    assert records[1]["pos"].startswith("\n<|assistant|>: Let's think")
    assert records[1]["pos"].endswith("so right")
    write_json(tmp_path / "ppm.json", records)
    assert load_preferences(tmp_path / "ppm.json") == records
    write_json(tmp_path / "sft.json", [sft_record("how many?", one) for one in select(found)])
    assert load_sft(tmp_path / "sft.json") == [("how many?", "a0" * 20 + "so right")]
    write_jsonl(tmp_path / "all.jsonl", [extraction_record("how many?", "right", one) for one in found])
    first = json.loads((tmp_path / "all.jsonl").read_text().splitlines()[0])
    assert (first["final_Q"], first["q_values"], first["visit_counts"]) == (1, [0.8, 1.0], [2, 2])
    assert json.loads(first["prm_full"])[0]["content"][0]["Q"] == 0.8
    assert first["pucts"][1] == pytest.approx(1.0 + 2 * (0.6931472 / 2) ** 0.5)


def test_other_spellings_and_damaged_files(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text('[{"instruction": "q", "output": "r"}]')
    assert load_sft(path) == [("q", "r")]
    path.write_text('[{"query": "q"}]')
    with pytest.raises(InputError, match="record 1 is no supervised example"):
        load_sft(path)
    path.write_text('[{"prompt": "", "pos": "a", "neg": "b", "pos_count": 1, "neg_count": "2"}]')
    with pytest.raises(InputError, match="record 1 is no preference"):
        load_preferences(path)
    path.write_text('"text"')
    with pytest.raises(InputError, match="holds no list"):
        load_sft(path)


def test_questions_keep_their_places(tmp_path: Path):
    path = tmp_path / "q.json"
    path.write_text('{"example": [{"question": "1+1?", "answer": 2}, {"question": "1+1?", "answer": ["2", "two"]}]}')
    assert [(p.id, p.answer) for p in load_questions(path)] == [("0", "2"), ("1", "2")]
    path.write_text('[{"question": "1+1?", "answer": "2", "index": 7}, {"question": "2?", "answer": "2", "index": 7}]')
    with pytest.raises(InputError, match="two questions one index"):
        load_questions(path)
    path.write_text('[{"question": " ", "answer": "2"}]')
    with pytest.raises(InputError, match="record 1 is no question"):
        load_questions(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no question"):
        load_questions(path)


# the search of a round


def problem(name: str) -> Problem:
    return Problem(name, "test", "sum", "text", (Text(f"{name}?"),), "right", "string")


def writer(silent: str = "") -> ScriptedPolicy:
    """Two steps and an answer, right for one seed in five."""

    def script(messages, seed):
        if messages[0].text == f"{silent}?":
            return Reply("")
        prefix = messages[-1].text if messages[-1].role == "assistant" else ""
        if prefix.count("\n\n") < 2:
            return Reply(f"step {seed % 3}")
        return Reply(f"\\boxed{{{'right' if seed % 5 == 0 else 'wrong'}}}")

    return ScriptedPolicy(script)


def search(policy: ScriptedPolicy) -> Search:
    return Search(
        ChatContinuation(policy),
        settings=TreeSettings(max_depth=4),
        sampling=Sampling(max_tokens=20, seed=3),
        judge=lambda asked, answer: 1.0 if answer == "right" else -1.0,
    )


def correct(name: str, answer: str) -> bool:
    return answer == "right"


HEADER = {"round": 1}
PLAN = Round(1, 2, more=2, more_width=4)


async def run_round(folder: Path, policy: ScriptedPolicy | None = None, after=None, plan: Round = PLAN):
    problems = {name: problem(name) for name in ("a", "b", "c")}
    return await search_round(search(policy or writer()), problems, plan, correct, folder, HEADER, after)


def as_json(trees: list[Tree]) -> list[str]:
    return [json.dumps(tree_to_json(tree)) for tree in trees]


async def test_unsolved_problems_have_a_second_pass_with_trees_of_their_own(tmp_path: Path):
    trees = await run_round(tmp_path)
    solved = {t.problem_id for t in trees[:3] if any(node.answer == "right" for node in t.answers)}
    assert 0 < len(solved) < 3 or len(trees) == 6
    assert [t.problem_id for t in trees[3:]] == [name for name in "abc" if name not in solved]
    assert all(tree.key == 1 for tree in trees[3:])
    assert as_json(load_round(tmp_path)) == as_json(trees)
    assert len(await run_round(tmp_path / "one", plan=Round(1, 2, trees=2))) == 6


@pytest.mark.parametrize("at", [2, 5])
async def test_a_killed_round_ends_in_the_same_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int):
    from consilience.synth import evolve_search

    whole = as_json(await run_round(tmp_path / "whole"))
    monkeypatch.setattr(evolve_search, "SAVE_EVERY", 1)
    seen = 0

    def dies(grown):
        nonlocal seen
        seen += 1
        if seen == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await run_round(tmp_path / "killed", after=dies)
    assert as_json(await run_round(tmp_path / "killed")) == whole


async def test_a_scorer_is_asked_only_where_the_plan_says_so(tmp_path: Path):
    from dataclasses import replace

    asked = []

    async def scorer(items):
        asked.append(len(items))
        return [0.0] * len(items)

    scored = replace(search(writer()), scorer=scorer)
    problems = {"a": problem("a")}
    await search_round(scored, problems, Round(1, 2), correct, tmp_path / "no", HEADER)
    assert asked == []
    await search_round(scored, problems, Round(1, 2, scored=True), correct, tmp_path / "yes", HEADER)
    assert asked


async def test_silence_is_one_clear_error_or_one_problem_less(tmp_path: Path):
    trees = await run_round(tmp_path / "some", writer(silent="b"))
    assert "gave no first step for the problem 'b'" in next(t for t in trees if t.problem_id == "b").error
    with pytest.raises(PolicyError, match="gave no first step"):
        await run_round(tmp_path / "none", ScriptedPolicy(lambda messages, seed: Reply("")))
    with pytest.raises(PolicyError, match="at least one problem"):
        await search_round(search(writer()), {}, PLAN, correct, tmp_path / "empty", HEADER)


async def test_another_rounds_folder_is_refused(tmp_path: Path):
    await run_round(tmp_path)
    with pytest.raises(InputError, match="another search"):
        await search_round(search(writer()), {"a": problem("a")}, PLAN, correct, tmp_path, {"round": 2})


def test_the_published_rounds():
    assert [(r.rollouts, r.width, r.scored) for r in PUBLISHED] == [
        (8, 5, False),
        (16, 8, False),
        (16, 8, True),
        (64, 16, True),
    ]
    assert (PUBLISHED[3].trees, PUBLISHED[3].more) == (2, 128)
    with pytest.raises(InputError, match="at least one rollout"):
        Round(0, 5)


def test_the_examples_of_the_page_run():
    page = (Path(__file__).resolve().parents[2] / "docs" / "evolve.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    check = "\nassert sft and ppm and good[0].right, (len(sft), len(ppm))"
    done = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
