"""Every benchmark that is offered: a hand-made file in its official layout is loaded, run and scored."""

import asyncio
import base64
import json
import pickle
import zlib

import pytest
from loader_files import b64, jsonl, opened, parquet, png, scored, tsv

from consilience.bench.matrix import Matrix
from consilience.bench.rows import RowLog
from consilience.bench.runner import run_matrix
from consilience.bench.session import config_of, open_session, summarise
from consilience.policy.scripted import ScriptedPolicy
from consilience.protocols import Sampling
from consilience.registry import names
from consilience.store import Store

PICTURE = {"bytes": png(), "path": None}
OPTIONS = {"A": "one", "B": "two", "C": "three", "D": "four"}
CHOICE = {"index": 1, "image": b64(), "question": "How many?", **OPTIONS, "answer": "B", "category": "counting"}
TESTS = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]

RAW_PHYX = {
    "index": 1,
    "question": "How long?",
    "question_description": "A rod of 3 m hangs.",
    "question_simply": "A rod hangs.",
    "options": 'A:"1 m", B:"3 m", C:"9 m", D:"6 m"',
    "answer": "B",
    "image": "1.png",
    "image_caption": "a rod, 3 m",
    "category": "Mechanics",
    "subfield": "Statics",
    "reasoning_type": ["Numerical Reasoning"],
}
VISTA = {
    "pid": "1",
    "query": "Hint: an integer.\nQuestion: How many?",
    "question": "How many?",
    "decoded_image": PICTURE,
    "choices": None,
    "unit": None,
    "precision": None,
    "answer": "12",
    "question_type": "free_form",
    "answer_type": "integer",
    "metadata": {"task": "tqa", "skills": ["geometry"], "category": "general"},
}
VISTA_TSV = {
    "index": 1,
    "image": b64(),
    "question": "How many?",
    "question_type": "free_form",
    "answer_type": "integer",
    "answer": "12",
    "choices": "",
    "answer_option": "",
    "task": "x",
    "skills": "['one']",
    "category": "y",
}
VISION = {
    "id": "1",
    "question": "How long is x?\n<image1>",
    "options": [],
    "image": "images/1.jpg",
    "decoded_image": PICTURE,
    "answer": "0.75",
    "level": 3,
    "subject": "algebra",
}
VERSE = {
    "sample_index": "1",
    "problem_index": "1",
    "problem_version": "Text Dominant",
    "question": "Find x. A:1 B:2",
    "question_for_eval": "Find x. A:1 B:2",
    "image": PICTURE,
    "answer": "B",
    "question_type": "multi-choice",
    "metadata": {"split": "testmini", "subject": "Plane Geometry", "subfield": "Angle"},
    "query_cot": "Think. Find x. A:1 B:2",
    "query_wo": "Find x.",
}
MMMU = {
    "id": "validation_Physics_1",
    "question": "See <image 1>. Which?",
    "options": "['red', 'blue', 'green', 'yellow']",
    "answer": "B",
    "question_type": "multiple-choice",
    "image_1": PICTURE,
    "subfield": "Optics",
    "topic_difficulty": "Easy",
}
GPQA = {
    "Record ID": "rec1",
    "Question": "Which?",
    "Correct Answer": "right",
    **{f"Incorrect Answer {k}": f"w{k}" for k in (1, 2, 3)},
    "High-level domain": "Physics",
    "Subdomain": "Optics",
}
CODE = {
    "question_id": "abc1",
    "question_content": "Add one.",
    "starter_code": "",
    "difficulty": "easy",
    "platform": "atcoder",
    "public_test_cases": json.dumps(TESTS),
    "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(json.dumps(TESTS)))).decode(),
    "metadata": "{}",
}
IMO = {"Problem ID": "imo-1", "Problem": "Find N.", "Short Answer": "3", "Category": "Algebra", "Subcategory": "x"}
ROTATED = [{**CHOICE, "index": 1 + k * 1_000_000} for k in range(2)]
PROGRAM = "```python\nprint(int(input()) + {})\n```"

LAYOUTS = {
    "phyx raw, open-ended": ("phyx", "oe-ft", "PhyX_test.jsonl", [RAW_PHYX], r"\boxed{3 m}", r"\boxed{9 m}"),
    "phyx raw, choice": ("phyx", "mc-tm", "PhyX_test.jsonl", [RAW_PHYX], "The correct answer is B", "Answer: C"),
    "phyx raw, caption": ("phyx", "oe-dr-tl", "PhyX_test.parquet", [RAW_PHYX], r"\boxed{3 m}", "I cannot tell."),
    "phyx TSV, open-ended": (
        "phyx", "", "PhyX_mini_OE.tsv",
        [{"index": 1, "image": b64(), "question": "How?", "answer": "4.28 m", "category": "Optics"}],
        "Final answer: 4.28 m", "Final answer: 5 m",
    ),
    "phyx TSV, choice": (
        "phyx", "", "PhyX_mini_MC.tsv",
        [{**CHOICE, "question": "How?" + "OPTION: A: 1 m B: 2 m C: 3 m D: 4 m", "category": "Optics"}],
        "The correct answer is B", "The correct answer is A",
    ),
    "phyx lmms-eval parquet": (
        "phyx", "oe", "phyx_mini_oe.parquet",
        [{"index": 1, "image": b64(), "question": "How?", "answer": "4.28 m", "category": "Optics"}],
        "Final answer: 4.28 m", "Final answer: 5 m",
    ),
    "mathvista hub": ("mathvista", "", "testmini.parquet", [VISTA], "The answer is 12.", "13"),
    "mathvista TSV": ("mathvista", "", "MathVista_MINI.tsv", [VISTA_TSV], "12", "13"),
    "mathvision hub": ("mathvision", "", "test.parquet", [VISION], r"\boxed{\frac{3}{4}}", r"\boxed{0.76}"),
    "mathverse hub": ("mathverse", "", "testmini.parquet", [VERSE], "The answer is B", "The answer is A"),
    "mathverse TSV": (
        "mathverse", "", "MathVerse_MINI.tsv",
        [{**VERSE, "index": 1, "image": b64(), "metadata": str(VERSE["metadata"])}],
        "The answer is B", "The answer is A",
    ),
    "mmmu hub": ("mmmu", "", "validation.parquet", [MMMU], "I choose B because", "I choose C because"),
    "mmmu TSV": (
        "mmmu", "vlmeval", "MMMU_DEV_VAL.tsv",
        [{**CHOICE, "split": "validation", "category": "Physics"}], "**B**", "**A**",
    ),
    "mmbench TSV": ("mmbench", "", "MMBench_DEV_EN.tsv", ROTATED, "B", "A"),
    "mmstar TSV": ("mmstar", "", "MMStar.tsv", [CHOICE], "The answer is B.", "The answer is C."),
    "ocrbench TSV": (
        "ocrbench", "", "OCRBench.tsv",
        [{"index": 0, "image": b64(), "question": "?", "answer": "['CENTRE']", "category": "Regular Text Recognition"}],
        "The word is centre.", "center",
    ),
    "countqa hub": (
        "countqa", "", "test.parquet", [{"image": PICTURE, "questions": ["How many?"], "answers": ["12"]}],
        "There are twelve.", "There are 13.",
    ),
    "aime": ("aime", "", "aime.jsonl", [{"id": 1, "problem": "p", "answer": "073"}], r"\boxed{73}", r"\boxed{7}"),
    "hmmt": (
        "hmmt", "", "hmmt.parquet", [{"problem_idx": 3, "problem": "p", "answer": r"\frac{\sqrt{3}}{2}"}],
        r"\boxed{\sqrt{3}/2}", r"\boxed{\sqrt{3}}",
    ),
    "beyondaime": (
        "beyondaime", "", "x.parquet", [{"problem": "p", "answer": 1234567}], r"\boxed{1234567}", r"\boxed{1}",
    ),
    "imo_answerbench": ("imo_answerbench", "", "answerbench.csv", [IMO], "The answer is 3.", "The answer is 4."),
    "math500": (
        "math500", "", "test.jsonl",
        [{"unique_id": "a/1", "problem": "p", "answer": r"\frac{1}{2}", "subject": "Algebra", "level": 2}],
        r"\boxed{0.5}", r"\boxed{2}",
    ),
    "gpqa": ("gpqa", "", "gpqa_diamond.csv", [GPQA], "Answer: {gold}", "Answer: Z"),
    "livecodebench": ("livecodebench", "", "test6.jsonl", [CODE], PROGRAM.format(1), PROGRAM.format(2)),
    "VLMEvalKit TSV": ("table", "", "Anything.tsv", [CHOICE], "The answer is B.", "The answer is A."),
    "plain parquet": (
        "table", "", "mine.parquet", [{"id": "a", "question": "Half of 1?", "answer": "0.5"}],
        r"\boxed{\frac12}", r"\boxed{2}",
    ),
    "physics": ("physics", "mc_dr+clean+image", "", [], "The answer is {gold}.", "The answer is E."),
    "geometry": ("geometry", "oe_ft+clean+image", "", [], r"\boxed{{{gold}}}", r"\boxed{12345678}"),
}  # fmt: skip
"""layout → loader, variant, file, rows, a right reply and a wrong one; {gold} is the problem's answer."""

WRITERS = {".tsv": tsv, ".csv": tsv, ".jsonl": jsonl, ".parquet": parquet}


def loaded(folder, layout):
    """(benchmark, right reply, wrong reply)."""
    name, variant, file, rows, good, bad = LAYOUTS[layout]
    if rows is not None and file:
        path = folder / file
        WRITERS[path.suffix](path, rows)
        (folder / "1.png").write_bytes(png())
        benchmark = opened(name, path, variant)
    else:
        benchmark = opened(name, "", variant, limit=1)
    gold = benchmark.problems[0].answer
    return benchmark, good.format(gold=gold) if "{gold}" in good else good, bad


def test_every_loader_has_a_layout_here():
    assert {name for name, *_ in LAYOUTS.values()} == set(names("benchmark"))


def table_of(folder, benchmark, replies):
    """The table of a run in which each model always gives its reply."""
    policies = {
        name: ScriptedPolicy(lambda messages, seed, text=text: f"x</think>{text}", name=name)
        for name, text in replies.items()
    }
    matrix = Matrix((benchmark,), policies, ("direct",), Sampling(max_tokens=64, seed=0))

    async def run():
        with (
            open_session(folder / "run", config_of(matrix), matrix, resume=False) as session,
            Store(folder / "store.sqlite") as store,
        ):
            log = RowLog(session.rows_path)
            await run_matrix(matrix, store, log)
            log.close()
            return summarise(session, matrix, store)

    return asyncio.run(run())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_in_the_official_layout_loads_runs_and_scores(layout, tmp_path):
    benchmark, good, bad = loaded(tmp_path, layout)
    assert benchmark.score.name
    if layout == "livecodebench":
        _needs_a_sandbox(benchmark, good)
    table = table_of(tmp_path, benchmark, {"right": good, "wrong": bad})
    shares = {line["model"]: line["accuracy"]["value"] for line in table["lines"] if not line["facet"]}
    assert shares == {"right": 1.0, "wrong": 0.0}, table["lines"]


@pytest.mark.parametrize(
    ("name", "variant", "file", "row", "reply"),
    [
        ("phyx", "oe-ft-judge", "PhyX_test.jsonl", RAW_PHYX, "some 300 cm"),
        ("mathvista", "judge", "testmini.parquet", VISTA, "I see a dozen of them, all in all."),
        ("mathverse", "judge", "testmini.parquet", VERSE, "the second"),
    ],
)
def test_a_judge_scores_what_rules_leave_open_and_is_asked_once_a_result(name, variant, file, row, reply, tmp_path):
    path = tmp_path / file
    WRITERS[path.suffix](path, [row])
    (tmp_path / "1.png").write_bytes(png())
    judge = ScriptedPolicy(lambda messages, seed: "12" if name == "mathvista" else "1", name="judge")
    table = table_of(tmp_path, opened(name, path, variant, judge=judge), {"model": reply})
    assert table["lines"][0]["accuracy"]["value"] == 1
    assert judge.calls == 1
    assert any("a judge would be asked" in note for note in table["notes"])


def _needs_a_sandbox(benchmark, good):
    from consilience.sandbox import SandboxUnavailable

    try:
        scored(benchmark, 0, good)
    except SandboxUnavailable as lacking:
        pytest.skip(str(lacking))
