"""More picture benchmarks in their official layouts, plain tables, and what is said of broken rows."""

import pytest
from loader_files import b64, jsonl, message, opened, parquet, png, scored, tsv

from consilience.errors import InputError

MCQ = {"question": "Which animal?", "A": "red apple", "B": "banana", "C": "cat", "D": "dog", "answer": "C"}


@pytest.fixture
def mmbench(tmp_path):
    rows = []
    for index in (7, 8):
        for turn, letter in enumerate("ABCD"):
            texts = dict(zip("ABCD", [*"wxyz"[4 - turn :], *"wxyz"[: 4 - turn]], strict=True))
            image = b64() if (index, turn) == (7, 0) else "7"
            rows.append(
                {
                    "index": index + turn * 1_000_000,
                    "image": image,
                    "question": "?",
                    "hint": "",
                    **texts,
                    "answer": letter,
                    "category": "ocr",
                    "l2-category": "fine",
                    "split": "dev",
                }
            )
    return tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)


def test_mmbench_is_circular_and_shares_pictures_by_reference(mmbench):
    benchmark = opened("mmbench", mmbench)
    assert len(benchmark.problems) == 8
    assert [benchmark.group(p) for p in benchmark.problems] == ["7"] * 4 + ["8"] * 4
    assert len({p.images[0].digest for p in benchmark.problems}) == 1
    assert benchmark.chance == pytest.approx(4**-4)
    assert scored(benchmark, 1, "B").correct
    always_a = [scored(benchmark, k, "A").correct for k in range(8)]
    assert sum(always_a) == 2  # a quarter when rows count, no group when rotations do
    vanilla = opened("mmbench", mmbench, "vanilla")
    assert vanilla.group is None
    assert vanilla.chance == 0.25
    assert vanilla.cluster(vanilla.problems[0]) == vanilla.cluster(vanilla.problems[7])


def test_the_prompt_blocks_of_vlmevalkit(tmp_path):
    row = {"index": 1, "image": b64(), "hint": "Look.", **MCQ, "category": "animals", "l2-category": "coarse"}
    problem = opened("mmstar", tsv(tmp_path / "MMStar.tsv", [row])).problems[0]
    lines = problem.question.splitlines()
    assert lines[:3] == ["Hint: Look.", "Question: Which animal?", "Options:"]
    assert lines[3:7] == ["A. red apple", "B. banana", "C. cat", "D. dog"]


def test_any_tsv_keeps_none_as_a_text_and_takes_empty_cells_as_missing(tmp_path):
    row = {"index": 1, "image": b64(), "question": "?", "A": "None", "B": "NA", "C": "", "D": "nan", "answer": "A"}
    problem = opened("table", tsv(tmp_path / "Anything.tsv", [row])).problems[0]
    assert problem.truth["options"] == {"A": "None", "B": "NA", "D": "nan"}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
def test_plain_tables_of_other_formats(tmp_path, suffix):
    rows = [
        {"id": "a", "question": "2+2?", "answer": "4", "choices": ["3", "4"], "subject": "sums"},
        {"id": "b", "question": "Half of 1?", "answer": "0.5", "choices": [], "subject": "sums"},
    ]
    path = tmp_path / f"mine{suffix}"
    if suffix == ".jsonl":
        jsonl(path, rows)
    elif suffix == ".json":
        import json

        path.write_text(json.dumps({"version": 1, "data": rows}))
    elif suffix == ".parquet":
        parquet(path, rows)
    else:
        tsv(path, [{**row, "choices": str(row["choices"])} for row in rows])
    benchmark = opened("table", path)
    assert benchmark.problems[0].answer == "B"
    assert scored(benchmark, 0, "The answer is B.").correct
    assert scored(benchmark, 1, r"\boxed{\frac12}").correct
    assert benchmark.facets(benchmark.problems[0]) == {"subject": "sums"}
    assert len(opened("table", path, limit=1).problems) == 1


def test_a_file_that_is_not_the_published_one_is_noted(tmp_path):
    row = {"index": 1, "image": b64(), "question": "?", "answer": "4 m", "category": "Optics"}
    benchmark = opened("table", tsv(tmp_path / "PhyX_OE.tsv", [row]))
    assert "MD5" in benchmark.notes[0]


# OCRBench and CountQA


@pytest.mark.parametrize(
    ("index", "reply", "score"),
    [
        (0, "The word is centre.", 1),
        (0, "center", 0),
        (1, "x^ 2\n+ 1", 1),
        (1, "X^2 +1", 0),
        (2, "TWO\nwords", 1),
        (2, "", 0),
    ],
)
def test_ocrbench(tmp_path, index, reply, score):
    formula = "Handwritten Mathematical Expression Recognition"
    rows = [
        {
            "index": 0,
            "image": b64(),
            "question": "What is written?",
            "answer": "['CENTRE', 'CENTRES']",
            "category": "Regular Text Recognition",
        },
        {"index": 1, "image": b64(), "question": "Which formula?", "answer": "['x^2+1']", "category": formula},
        {"index": 2, "image": b64(), "question": "What?", "answer": "two words", "category": "Scene Text-centric VQA"},
        {"index": 3, "image": b64(), "question": "What?", "answer": "[]", "category": "Scene Text-centric VQA"},
    ]
    benchmark = opened("ocrbench", tsv(tmp_path / "OCRBench.tsv", rows))
    assert "row 4: its list of answers is empty" in benchmark.notes[0]
    assert scored(benchmark, index, reply).score == score


def test_countqa_asks_each_question_of_a_picture(tmp_path):
    picture = {"bytes": png(), "path": None}
    rows = [
        {"image": picture, "questions": ["How many cups?", "How many spoons?"], "answers": ["12", "1,024"]},
        {"image": picture, "questions": ["How many cups?"], "answers": ["some"]},
        {"image": picture, "questions": ["a", "b"], "answers": ["1"]},
    ]
    benchmark = opened("countqa", parquet(tmp_path / "test.parquet", rows))
    assert [(p.id, p.answer) for p in benchmark.problems] == [("countqa/1-0", "12"), ("countqa/1-1", "1024")]
    assert benchmark.cluster(benchmark.problems[0]) == benchmark.cluster(benchmark.problems[1])
    assert scored(benchmark, 0, "There are twelve cups.").correct
    assert scored(benchmark, 0, "I count 3 rows of 4, so the answer is 12.").correct
    assert scored(benchmark, 0, "many").code == "unparsed"
    assert any("2 questions and 1 answers" in note for note in benchmark.notes)
    assert any("'some' is no whole number" in note for note in benchmark.notes)


# broken input


def test_each_broken_picture_is_named_with_file_row_and_remedy(tmp_path):
    def row(index, image):
        return {"index": index, "image": image, **MCQ}

    rows = [
        row(1, b64()),
        row(2, "!!!" + b64()),
        row(3, b64()[:72]),
        row(4, "999"),
        row(5, ""),
        row(6, "1"),
        row(7, "[" + b64()),
        {**row(8, b64()), "answer": "Q"},
        row(1, b64()),
    ]
    path = tsv(tmp_path / "MMStar.tsv", rows)
    benchmark = opened("mmstar", path)
    assert [p.id for p in benchmark.problems] == ["mmstar/1", "mmstar/6"]
    notes = "\n".join(benchmark.notes)
    for number, words in (
        (2, "not base64"),
        (3, "not a readable picture"),
        (4, "row '999'"),
        (5, "no picture"),
        (7, "literal"),
    ):
        assert f"{path}, row {number}: " in notes
        assert words in notes
    assert "2 more rows" in notes


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.tsv", "index\tanswer\n1\t2\n", "lacks the column"),
        ("x.tsv", "question\tquestion\n1\t2\n", "twice"),
        ("x.tsv", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "LFS"),
        ("x.txt", "hello", "no known format"),
        ("x.json", "{", "not JSON"),
        ("x.json", "3", "no list of records"),
        ("x.jsonl", '{"question": "a", "answer": "1"', "not JSON"),
        ("x.tsv", "question\tanswer\n", "no row"),
        ("x.parquet", "no parquet", "parquet"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as error:
        opened("table", path)
    assert words in message(error)
    assert "x." in str(error.value)


def test_files_that_are_not_there(tmp_path):
    for source, words in ((tmp_path / "no.tsv", "no file"), (tmp_path, "folder"), ("", "table@")):
        with pytest.raises(InputError) as error:
            opened("table", source)
        assert words in message(error)
    (tmp_path / "latin.tsv").write_bytes("question\tanswer\n\xe9\t1\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        opened("table", tmp_path / "latin.tsv")


def test_one_broken_line_does_not_lose_the_others(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "a", "answer": "1"}\n{"question"\n[1]\n{"question": "b", "answer": "2"}\n')
    benchmark = opened("table", path)
    assert len(benchmark.problems) == 2
    assert "row 2: it is not JSON" in benchmark.notes[0]
    assert "row 3" in benchmark.notes[1]


def test_limits_and_circular_sets_without_numbers(tmp_path):
    path = tsv(
        tmp_path / "X_circular.tsv", [{"index": "a", "image": b64(), **MCQ}, {"index": "5", "image": b64(), **MCQ}]
    )
    assert "row 1: the index 'a' is no whole number" in opened("table", path).notes[0]
    with pytest.raises(InputError, match="at least one"):
        opened("table", path, limit=0)
