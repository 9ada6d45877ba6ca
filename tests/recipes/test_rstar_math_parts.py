"""The recipe `rstar_math` in parts: its language, its spelling, who writes, what is taught, what is claimed."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.engine import Engine
from consilience.errors import InputError, UnknownName
from consilience.learn.process_preference import last_values, process_model_of
from consilience.nn import tokenizer as tk
from consilience.protocols import Sampling
from consilience.reason.code_steps import END_OF_CODE, END_OF_STEP, render
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_policy import Ask
from consilience.recipes.rstar_math import measure, train, world
from consilience.recipes.rstar_math.claims import CLAIMS, arms_of, measured
from consilience.recipes.rstar_math.sizes import SCALES, sizes_of
from consilience.recipes.rstar_math.spelling import PIECES, STOP, long, short
from consilience.recipes.rstar_math.tables import tables
from consilience.recipes.rstar_math.writer import (
    TOKENS,
    GeneralModel,
    Writer,
    corpus,
    known_words,
    lessons,
    marked,
    prompt_of,
    spelled,
)
from consilience.synth.evolve import Comparison, Trajectory

SPOKEN = world.language(6, 0.5, np.random.default_rng(1))
TINY = SCALES["smoke"]


def problem(index: int = 0):
    return world.problem(SPOKEN, (2, 3), "train", index, np.random.default_rng((1, index)))


# the language


def test_a_question_is_read_back_and_near_sight_drops_the_kind():
    told = world.story(6, (3, 3), np.random.default_rng(2))
    assert world.read(told.text()) == told
    assert world.near(told.text()) == told.text(kind=False)
    assert not set(told.text(kind=False)) & set(world.KINDS)
    assert all(11 <= r.n <= 97 for r in told.relations)


def test_every_line_means_what_it_says():
    told = world.Story(1, 100, (world.Relation(1, 0, 20),))
    assert told.text() == "B100\npC20"
    assert [told.value([line]) for line in range(world.RIGHT_LINES)] == [120, 80, -80, 280, 220, 140, 0]
    assert world.step_text(told.relations[0], 3) == "# pC20\nx = 3*x-20"
    assert world.step_text(told.relations[0], 7) == "# pC20\nx = y+20"


def test_the_share_of_words_with_two_meanings_is_as_told_and_no_word_means_the_undefined_line():
    plain, some, every = (world.language(16, share, np.random.default_rng(3)).meaning_WK for share in (0.0, 0.75, 1.0))
    assert (plain[:, 0] == plain[:, 1]).all()
    assert (some[:, 0] != some[:, 1]).sum() == 12
    assert (every[:, 0] != every[:, 1]).all()
    assert (every[:, 0] == plain[:, 0]).all()
    assert every.max() < world.RIGHT_LINES


def test_the_general_model_is_right_as_often_as_it_says():
    easy = replace(SPOKEN, hard_WK=np.zeros_like(SPOKEN.hard_WK))
    asked = problem()
    told = world.read(asked.question)
    ask = Ask(asked, f"<code>\nx = 1\n{END_OF_STEP}\n", 600, 5)
    (calls,) = asyncio.run(GeneralModel(easy)([ask], Sampling()))
    lines = Counter(call.text for call in calls)
    right = world.step_text(told.relations[0], easy.lines(told)[0])
    assert lines[f"{right}\n{END_OF_STEP}\n"] / 600 == pytest.approx(0.55, abs=0.06)
    assert len(lines) == len(world.LINES)
    (again,) = asyncio.run(GeneralModel(easy)([ask], Sampling()))
    assert [call.text for call in again] == [call.text for call in calls]
    other = replace(asked, id="another")
    (elsewhere,) = asyncio.run(GeneralModel(easy)([replace(ask, problem=other)], Sampling()))
    assert [call.text for call in elsewhere] != [call.text for call in calls]


# the spelling


def test_a_solution_is_short_and_comes_back():
    text = render(["x = 427", "# pK35\nx = x+35", "# Now print the final answer\nprint(x)"], "462", "\\boxed{462}")
    assert long(short(text)) == text
    assert len(spelled(text)) == 30
    assert short(f"\n{END_OF_STEP}\n") == STOP[0]
    assert short(f"\n{END_OF_CODE}") == STOP[1]
    assert len({short(piece) for piece in PIECES}) == len(PIECES)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(alphabet="# x=+\n<abc>19", max_size=8)), max_size=8))
def test_any_text_without_marks_comes_back(parts):
    text = "".join(parts)
    assert long(short(text)) == text


def test_the_corpus_is_well_formed_and_shows_kinds_half_of_the_time():
    groups = corpus(6, known_words(0.5, np.random.default_rng(9)), (2, 3), 40, np.random.default_rng(4))
    programs = [group for group in groups if group.responses[0][-1] != tk.END]
    texts = [long(tk.decode(group.responses[0])) for group in programs]
    assert len(programs) == 40
    assert 3 <= len(groups) - len(programs) <= 20
    assert all(text.startswith("<code>\nx = ") and text.endswith("print(x)\n<end_of_code>") for text in texts)
    shown = sum(any(kind in tk.decode(group.prompt.tokens) for kind in world.KINDS) for group in programs)
    assert 8 < shown < 32


def test_known_words_mean_what_their_language_says_and_the_problems_words_anything():
    known = known_words(0.5, np.random.default_rng(9))
    seen = {(word, kind): set() for word in world.WORDS for kind in ("", *world.KINDS)}
    for group in corpus(6, known, (2, 3), 600, np.random.default_rng(5)):
        text = long(bytes(t for t in group.responses[0] if t < 256).decode())
        kind = next((kind for kind in world.KINDS if kind in tk.decode(group.prompt.tokens)), "")
        for word, line in re.findall(r"# [p-z]([C-Z])\d\d\nx = (.*)", text):
            seen[word, kind].add(re.sub(r"\d\d", "{n}", line))
    for word, meanings in zip(world.WORDS[6:], known.meaning_WK[6:], strict=True):
        told = [{world.LINES[line]} for line in meanings]
        assert [seen[word, kind] for kind in world.KINDS] == told
        assert seen[word, ""] == told[0] | told[1]
    assert all(len(seen[word, kind]) > 3 for word in world.WORDS[:6] for kind in world.KINDS)


def test_marked_work_is_about_known_words_and_worth_nothing_from_its_first_wrong_step_on():
    known = known_words(0.5, np.random.default_rng(9))
    work = marked(6, known, (2, 3), 200, np.random.default_rng(6))
    wrong, other_kind, relations = 0, 0, 0
    for one in work:
        told = world.read(tk.decode(one.path.prompt.tokens).removeprefix("<|user|>").partition("<|end|>")[0])
        assert all(relation.word >= 6 for relation in told.relations)
        assert len(one.q) == len(one.path.ends)
        starts = (0, *(end + 1 for end in one.path.ends))
        steps = [long(tk.decode(one.path.tokens[a:b])) for a, b in itertools.pairwise(starts)]
        assert steps[0] == f"<code>\nx = {told.start}\n{END_OF_STEP}\n"
        meant, last = known.lines(told), len(told.relations) + 1
        ran = not any("= y" in step for step in steps)
        assert len(steps) == last + 2 * ran
        if ran:
            printed = re.search(r"<output>(.*)<end_of_output>", steps[last])[1]
            assert f"boxed{{{printed}}}" in steps[last + 1]
            assert one.q[-1] < 0 or printed == str(told.value(meant))
            assert one.q[-1] == one.q[last] == one.q[last - 1]
        relations += len(told.relations)
        for i, relation in enumerate(told.relations):
            right = [
                s == f"{world.step_text(r, m)}\n{END_OF_STEP}\n"
                for s, r, m in zip(steps[1:last], told.relations, meant, strict=True)
            ]
            assert one.q[i + 1] == (1.0 if all(right[: i + 1]) else -1.0)
            others = set(known.meaning_WK[relation.word].tolist()) - {meant[i]}
            wrong += not right[i]
            other_kind += any(world.step_text(relation, line) in steps[i + 1] for line in others)
    assert 0.22 < wrong / relations < 0.38
    assert other_kind > 20


# a house model writes


@pytest.fixture(scope="module")
def model():
    return train.fresh(TINY, 3)


def test_a_house_model_is_asked_in_its_spelling_and_answers_in_full(model):
    writer = Writer(Engine(model, rows=8))
    asks = [Ask(problem(i), f"<code>\nx = 1\n{END_OF_STEP}\n", 3, 7) for i in range(2)]
    found = asyncio.run(writer(asks, Sampling(max_tokens=12, stop=(END_OF_STEP,))))
    assert [len(calls) for calls in found] == [3, 3]
    assert [call.text for call in found[0]] != [call.text for call in found[1]]
    assert not any(mark in call.text for calls in found for call in calls for mark in "\x01\x02\x03\x04\x05\x06\x07")
    assert writer._prompt(asks[0]).tokens != Writer(writer.engine, near=False)._prompt(asks[0]).tokens
    assert all(0 < call.usage.completion <= 12 for calls in found for call in calls)


def test_what_python_printed_is_read_and_not_learnt():
    text = render(["x = 4", "# Now print the final answer\nprint(x)"], "4", "\\boxed{4}")
    program, answer = lessons("q", text)
    assert program.responses[0] == spelled(text.partition("\n<output>")[0])
    assert answer.prompt.tokens[-3:] == spelled("\n<output>4<end_of_output>")
    assert answer.responses[0][:-1] == spelled("\n<answer>\\boxed{4}<end_of_answer>")


# value models


def test_a_value_model_starts_undecided_however_sure_its_reviewer_is(model):
    reviewer = train.placed(process_model_of(model, torch.Generator().manual_seed(5)))
    with torch.no_grad():
        reviewer.head.weight.normal_(0, 4, generator=torch.Generator().manual_seed(0))
    items = [(problem(0), f"<code>\nx = {n}\n{END_OF_STEP}\n") for n in range(5)]
    assert max(map(abs, asyncio.run(train.Values(reviewer)(items)))) > 0.9
    fresh, learner = train._value_model(reviewer, 6)
    assert asyncio.run(train.Values(fresh)(items)) == pytest.approx([0.0] * 5, abs=1e-3)
    assert torch.equal(fresh.embedding.weight, reviewer.embedding.weight)
    assert learner.model is fresh


def test_sibling_paths_share_their_beginning_and_keep_their_values(model, monkeypatch):
    monkeypatch.setattr("consilience.learn.forward.mixed_precision", lambda device: False)
    value = train.placed(process_model_of(model, torch.Generator().manual_seed(5)))
    with torch.no_grad():
        value.head.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    first, second = problem(0), problem(1)
    start = f"<code>\nx = 1\n{END_OF_STEP}\n"
    items = [
        (first, start + "# pK35\nx = x+35"),
        (first, start + "# pK35\nx = x-35"),
        (first, start),
        (second, start),
    ]
    together = asyncio.run(train.Values(value)(items))
    alone = [asyncio.run(train.Values(value)([item]))[0] for item in items]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len({round(one, 3) for one in alone}) >= 3
    group = train._siblings(first, [spelled(text) for _, text in items[:2]])
    assert [len(response) for response in group.responses] == [3, 3]  # from the sign on
    assert len(last_values(value, [group])) == 2


def test_pairs_and_values_as_tokens():
    asked = problem()
    pair = Comparison("<code>\n", ("x = 1",), ("x = 2",), ((0, 0),), (1.0,), (-1.0,))
    (found,) = train.preferences(asked, [pair])
    assert found.prefix.tokens[-1:] == spelled("<code>\n")
    assert (found.positives, found.negatives, found.weight) == ((spelled("x = 1"),), (spelled("x = 2"),), 1.0)
    tree = Tree.of("p")
    node = tree.root.child("<code>\nx = 1").child("\n<end_of_code>")
    node.update(0.5)
    one = train.valued(asked, Trajectory(tuple(node.path()[1:]), right=True, dead=False))
    assert (one.q, one.path.ends) == ((0.0, 0.5), (2, 3))


# the exam


def test_equal_tokens_buy_the_first_solutions():
    trees = [Tree.of("p", key=k) for k in range(3)]
    for tree, tokens in zip(trees, (50, 60, 40), strict=True):
        tree.tokens = tokens
    assert [len(measure.affordable(trees, budget)) for budget in (10, 50, 109, 110, 149, 150)] == [1, 1, 1, 2, 2, 3]


def test_the_majority_takes_the_first_of_equals_and_lets_silence_abstain():
    assert measure._elected([0.0, 1.0, 1.0], ["3", "4", "4"]) == 1.0
    assert measure._elected([0.0, 1.0], ["3", "4"]) == 0.0
    assert measure._elected([0.0, 0.0, 1.0], [None, None, "4"]) == 1.0
    assert measure._elected([0.0], [None]) == 0.0


# sizes, claims, tables


def test_rounds_follow_the_paper():
    plans = [SCALES["laptop"].plan(number) for number in range(1, 5)]
    assert [(p.rollouts, p.width, p.scored) for p in plans] == [
        (8, 5, False),
        (16, 8, False),
        (16, 8, True),
        (16, 8, True),
    ]
    assert [p.more for p in plans[:3]] == [0, 0, 0]
    assert (plans[3].more, plans[3].more_width) == (32, 16)


def test_few_examples_are_not_gone_through_for_ever():
    sizes = sizes_of("laptop", False, {"passes": 10})
    assert [sizes.updates(100, count, 32) for count in (0, 20, 64, 1000)] == [0, 10, 20, 100]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"problems": 0}, "too small"),
        ({"shortest": 5}, "must rise"),
        ({"words": 17}, "must not exceed 16"),
        ({"d_model": 40}, "multiple of 32"),
        ({"problems": 1.5}, "type int"),
    ],
)
def test_impossible_sizes_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        sizes_of("laptop", False, given)
    with pytest.raises(UnknownName, match="'problems'"):
        sizes_of("laptop", False, {"problem": 3})


def unit(rounds: int = 2):
    """Records of a unit in which the last round's search solves all and nothing else anything."""
    records = []
    for number in range(1, rounds + 1):
        last = number == rounds
        solved = [[2 + i % 2, int(last or i == 0)] for i in range(20)]
        yielded = {
            "problems": 20,
            "coverage": sum(h for _, h in solved) / 20,
            "tokens": 400,
            "trajectories": 9,
            "right": 1,
        }
        kinds = {"easy": 1, "medium": 2, "hard": 17}
        records.append({"round": number, "arm": "search", **yielded, "difficulty": kinds, "solved": solved})
        records.append({"round": number, "arm": "data", "sft": 3, "pairs": 4, "ranked": None})
        for arm in ("ppm", "pqm", "greedy", "sample", "majority", "orm", "any"):
            records.append(
                {"round": number, "arm": arm, "right": [float(last and arm == "ppm")] * 20, "tokens": [9] * 20}
            )
    return [*records, {"round": rounds, "arm": "first_policy", "right": [1.0] * 20, "tokens": [9] * 20}]


def test_numbers_of_the_claims_are_paired_differences():
    found = {("main", 0): unit(), ("sighted", 0): unit(), ("main", 1): unit(1)}
    numbers = measured(found)
    assert set(numbers) == {metric for claim in CLAIMS for metric in claim.metrics}
    assert numbers["main/last:ppm-last:majority"][0].value == 1.0
    assert numbers["main/coverage/last-first"][0].value == 0.95
    assert numbers["main/last:greedy-first:greedy"][0].value == 0.0
    assert all(set(by_seed) == {0} for by_seed in numbers.values())  # one round compares nothing
    assert arms_of(unit())[2, "ppm"]["right"][0] == 1.0


def test_tables_of_one_and_of_two_seeds():
    one, two = tables({("main", 0): unit()}), tables({("main", 0): unit(), ("main", 1): unit()})
    assert [len(row) for table in (*one, *two) for row in table["rows"]] == [
        len(table["columns"]) for table in (*one, *two) for _ in table["rows"]
    ]
    assert one[0]["rows"][1][1] == 1.0
    assert two[0]["rows"][1][1]["value"] == 1.0
    assert "The first policy with the last PPM: 1.000." in one[1]["note"]


def test_claims_are_declared_once_and_orderings_want_five_seeds():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.seeds == 5 and claim.share is None for claim in CLAIMS[3:])


def test_the_longest_path_of_a_search_fits_the_policy_s_context():
    story = world.problem(world.language(3, 0.3, np.random.default_rng(0)), (9, 9), "test", 0, np.random.default_rng(1))
    longest = len(prompt_of(story.question).tokens) + (TreeSettings().max_depth + 2) * TOKENS
    assert longest < train.fresh(sizes_of("smoke", False, {}), 0).config.max_context
