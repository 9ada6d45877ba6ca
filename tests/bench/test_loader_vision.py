"""Picture benchmarks in their official layouts: loaded, and scored by each protocol."""

import pytest
from loader_files import b64, message, opened, parquet, png, scored, tsv

from consilience.errors import InputError, UnknownName
from consilience.policy.scripted import ScriptedPolicy

MCQ = {"question": "Which animal?", "A": "red apple", "B": "banana", "C": "cat", "D": "dog", "answer": "C"}


def saying(text):
    return ScriptedPolicy(lambda messages, seed: text, name="judge")


# MathVista


def vista(pid, **changes):
    row = {
        "pid": pid,
        "question": "How many?",
        "query": "Hint: an integer.\nQuestion: How many?",
        "image": f"images/{pid}.jpg",
        "decoded_image": {"bytes": png(), "path": None},
        "choices": None,
        "unit": None,
        "precision": None,
        "answer": "12",
        "question_type": "free_form",
        "answer_type": "integer",
        "metadata": {
            "category": "general-vqa",
            "task": "tqa",
            "context": "photo",
            "grade": "daily",
            "skills": ["numeric", "geometry"],
        },
    }
    return {**row, **changes}


@pytest.fixture
def mathvista(tmp_path):
    choice = vista(
        "2", choices=["4 cm", "5 cm", "6 cm"], answer="5 cm", question_type="multi_choice", answer_type="text"
    )
    decimal = vista("3", answer="1.24", answer_type="float", precision=2.0)
    listed = vista("4", answer="[1, 2]", answer_type="list")
    return parquet(tmp_path / "testmini.parquet", [vista("1"), choice, decimal, listed])


@pytest.mark.parametrize(
    ("index", "reply", "score"),
    [
        (0, "12", 1),
        (0, "12.7", 1),
        (0, "The answer is 12 apples.", 1),
        (0, "13", 0),
        (1, "(B)", 1),
        (1, "5 cm", 1),
        (1, "5.1 cm", 1),
        (1, "A", 0),
        (2, "1.239", 1),
        (2, "1.25", 0),
        (3, "[1, 2]", 1),
        (3, "[2, 1]", 0),
    ],
)
def test_mathvista_rules(mathvista, index, reply, score):
    assert scored(opened("mathvista", mathvista), index, reply).score == score


def test_mathvista_records(mathvista):
    benchmark = opened("mathvista", mathvista)
    assert benchmark.problems[0].question.startswith("Hint: an integer.")
    assert benchmark.problems[0].images[0].size == (32, 32)
    assert benchmark.facets(benchmark.problems[0])["skill: geometry"] == "yes"
    assert benchmark.facets(benchmark.problems[0])["task"] == "tqa"


def test_the_judge_of_mathvista_extracts_only_what_is_no_bare_answer(mathvista):
    judge = saying("(C)")
    benchmark = opened("mathvista", mathvista, "judge", judge=judge)
    assert scored(benchmark, 0, "12").correct
    assert judge.calls == 0
    assert scored(benchmark, 1, "surely not the first two").code == "different"
    assert scored(benchmark, 1, "surely not the first two").evidence["answer"] == "6 cm"
    assert judge.calls == 2


def test_mathvista_tsv_of_vlmevalkit(tmp_path):
    rows = [
        {
            "index": 1,
            "image": b64(),
            "question": "Q",
            "question_type": "multi_choice",
            "answer_type": "text",
            "answer": "b",
            "choices": "['a', 'b']",
            "answer_option": "B",
            "task": "x",
            "skills": "['one', 'two']",
            "category": "y",
        },
        {
            "index": 2,
            "image": b64(),
            "question": "Q",
            "question_type": "free_form",
            "answer_type": "integer",
            "answer": "two",
            "choices": "",
            "answer_option": "",
            "task": "x",
            "skills": "[]",
            "category": "y",
        },
        {
            "index": 3,
            "image": b64(),
            "question": "Q",
            "question_type": "multi_choice",
            "answer_type": "text",
            "answer": "c",
            "choices": "__import__('os')",
            "answer_option": "",
            "task": "x",
            "skills": "[]",
            "category": "y",
        },
    ]
    benchmark = opened("mathvista", tsv(tmp_path / "MathVista_MINI.tsv", rows))
    assert len(benchmark.problems) == 1
    assert "row 2: the answer 'two' is no integer" in benchmark.notes[1]
    assert "row 3: the cell choices is no Python literal" in benchmark.notes[2]


# MATH-Vision


@pytest.fixture
def mathvision(tmp_path):
    def row(**changes):
        base = {
            "id": "1",
            "question": "How long is x?\n<image1>",
            "options": [],
            "image": "images/1.jpg",
            "decoded_image": {"bytes": png(), "path": None},
            "answer": "0.75",
            "solution": None,
            "level": 3,
            "subject": "algebra",
        }
        return {**base, **changes}

    choice = row(id="2", options=["12", "13", "14", "15", "16"], answer="B")
    return parquet(tmp_path / "test.parquet", [row(), choice])


@pytest.mark.parametrize(
    ("index", "reply", "score"),
    [
        (0, r"\boxed{\frac{3}{4}}", 1),
        (0, r"\boxed{0.754}", 1),
        (0, r"\boxed{0.76}", 0),
        (1, r"\boxed{B}", 1),
        (1, r"\boxed{13}", 1),
        (1, "It must be (B).", 1),
        (1, r"\boxed{12}", 0),
    ],
)
def test_mathvision_rules(mathvision, index, reply, score):
    assert scored(opened("mathvision", mathvision), index, reply).score == score


def test_mathvision_pictures_stand_where_they_are_spoken_of(mathvision):
    benchmark = opened("mathvision", mathvision)
    parts = benchmark.problems[0].prompt
    assert [type(part).__name__ for part in parts] == ["Text", "Image", "Text"]
    assert "(B) 13" in benchmark.problems[1].question
    assert benchmark.facets(benchmark.problems[0]) == {"subject": "algebra", "level": "3"}


# MathVerse


def verse(index, version, **changes):
    row = {
        "sample_index": str(index),
        "problem_index": "1",
        "problem_version": version,
        "question": "Find x. A:1 B:2",
        "question_for_eval": "Find x. A:1 B:2",
        "image": {"bytes": png(), "path": None},
        "answer": "B",
        "question_type": "multi-choice",
        "metadata": {"split": "testmini", "subject": "Plane Geometry", "subfield": "Angle"},
        "query_cot": "Think. Find x. A:1 B:2",
        "query_wo": "Find x.",
    }
    return {**row, **changes}


@pytest.fixture
def mathverse(tmp_path):
    return parquet(
        tmp_path / "testmini.parquet",
        [verse(1, "Text Dominant"), verse(2, "Vision Only", question="", query_cot="", query_wo="")],
    )


def test_mathverse_versions_and_the_full_question_for_the_judge(mathverse):
    asked = []

    def script(messages, seed):
        asked.append(messages[0].text)
        return "yes, 1" if len(asked) == 1 else "1"

    judge = ScriptedPolicy(script, name="judge")
    benchmark = opened("mathverse", mathverse, "vision-only-judge", judge=judge)
    assert len(benchmark.problems) == 1
    assert scored(benchmark, 0, "two").evidence["tries"] == 2  # a reply must be exactly 0 or 1
    assert "Find x. A:1 B:2" in asked[0]
    assert "strict rules (inferred)" in opened("mathverse", mathverse).notes[0]
    assert scored(opened("mathverse", mathverse, "text-dominant"), 0, "The answer is B").correct
    with pytest.raises(UnknownName, match="vision-only"):
        opened("mathverse", mathverse, "vision-onl")


def test_mathverse_metadata_with_apostrophes(tmp_path):
    metadata = "{'subject': \"Euclid's plane\", 'subfield': 'Angle'}"
    row = {**verse(1, "Text Lite", image=b64()), "index": 1, "metadata": metadata}
    benchmark = opened("mathverse", tsv(tmp_path / "MathVerse_MINI.tsv", [row]))
    assert benchmark.facets(benchmark.problems[0])["subject"] == "Euclid's plane"


# MMMU


def mmmu(index, **changes):
    picture = {"bytes": png(), "path": None}
    row = {
        "id": index,
        "question": "See <image 1> and <image 2>. Which?",
        "options": "['red', \"blue whale\", 'None', 'yellow']",
        "answer": "B",
        "question_type": "multiple-choice",
        "image_1": picture,
        "image_2": picture,
        "image_3": None,
        "subfield": "Optics",
        "topic_difficulty": "Easy",
    }
    return {**row, **changes}


def test_mmmu_hub_layout(tmp_path):
    rows = [
        mmmu("validation_Physics_1"),
        mmmu(
            "validation_Math_2", options="[]", answer="['3.14', 'pi']", question_type="open", question="What? <image 1>"
        ),
        mmmu("dev_Math_1"),
        mmmu("validation_Art_3", question="<image 3>?"),
    ]
    benchmark = opened("mmmu", parquet(tmp_path / "validation.parquet", rows))
    first, second = benchmark.problems
    assert [type(part).__name__ for part in first.prompt] == ["Text", "Image", "Text", "Image", "Text"]
    assert first.truth["options"]["C"] == "None"
    assert scored(benchmark, 0, "I choose B because").correct
    assert scored(benchmark, 0, "**B**").code == "unparsed"
    assert scored(benchmark, 1, "So the result is 3.14159").correct
    assert benchmark.facets(first)["discipline"] == "Science"
    assert "speaks of image 3" in benchmark.notes[1]
    assert len(opened("mmmu", tmp_path / "validation.parquet", "dev").problems) == 1
    assert second.task == "open"


@pytest.mark.parametrize(
    ("variant", "reply", "score"),
    [("vlmeval", "**B**", 1), ("strict", "**B**", 1), ("pro", "talk\nAnswer: B", 1), ("pro", "Answer: A or B", 0)],
)
def test_mmmu_modes_on_the_tsv(tmp_path, variant, reply, score):
    row = {
        "index": 1,
        "image": f"['{b64(10)}', '{b64(20)}']",
        "split": "validation",
        "category": "Physics",
        **MCQ,
        "answer": "B",
    }
    benchmark = opened("mmmu", tsv(tmp_path / "MMMU_DEV_VAL.tsv", [row]), variant)
    assert len(benchmark.problems[0].images) == 2
    assert scored(benchmark, 0, reply).score == score


def test_placeholder_answers_of_hidden_splits_are_refused(tmp_path):
    with pytest.raises(InputError, match="placeholder"):
        opened("mmmu", parquet(tmp_path / "test.parquet", [mmmu("validation_Physics_1", answer="?")]))
    rows = [{key: value for key, value in MCQ.items() if key != "answer"} | {"index": 1, "image": b64()}]
    with pytest.raises(InputError) as error:
        opened("mmbench", tsv(tmp_path / "MMBench_TEST_EN.tsv", rows))
    assert "hidden" in message(error)


# VLMEvalKit's TSVs
