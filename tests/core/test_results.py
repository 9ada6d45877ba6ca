import subprocess
import sys

import pytest

from consilience import results
from consilience.claims import Claim, evaluate, write
from consilience.errors import InputError
from consilience.runs import Run
from consilience.stats import Estimate, wilson

TABLE = {
    "title": "Accuracy",
    "columns": ["cell", "accuracy", "tokens"],
    "rows": [["image | in", wilson(19, 25).to_json(), 12345], ["text", {"value": None}, 0.00012], ["a\nb", None, True]],
    "note": "One seed.",
}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (74.0, "74"),
        (1100.4, "1,100"),
        (2e9, "2e+09"),
        (413.484, "413.5"),
        (13.25, "13.250"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (9.5e-07, "9.5e-07"),
        (-3.0, "-3"),
        (12345, "12345"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_as_long_as_they_need_to_be(value: float, shown: str) -> None:
    assert results.markdown_table(["x"], [[value]]).splitlines()[2] == f"| {shown} |"


def test_a_table_shows_intervals_counts_and_escapes_text():
    assert results.markdown_table(TABLE["columns"], TABLE["rows"]) == (
        "| cell | accuracy | tokens |\n"
        "| --- | --- | --- |\n"
        "| image \\| in | 0.760 [0.566, 0.885] (n=25) | 12345 |\n"
        "| text | — | 0.00012 |\n"
        "| a b | — | yes |\n"
    )


def test_a_run_records_its_section_deterministically(tmp_path):
    run, path = tmp_path / "run", tmp_path / "RESULTS.md"
    with Run.create(run, {"recipe": "toy", "command": "consilience run toy"}) as open_run:
        open_run.write_json("tables.json", [TABLE])
        claim = Claim("c", "toy", "A beats B.", "Paper", ("d",))
        write(run, [evaluate(claim, {"d": {0: Estimate(0.2, 0.1, 0.3, 50)}})])
    results.record(path, run)
    text = path.read_text()
    assert text.startswith(results.HEADER)
    assert "<!-- begin toy -->\n## toy\n\n`consilience run toy` · 20" in text
    assert "### Accuracy\n\n| cell |" in text
    assert "One seed." in text
    assert "| A beats B. | 0.200 [0.100, 0.300] (n=50) | holds |" in text
    results.record(path, run)
    assert path.read_text() == text


def test_updating_one_section_leaves_the_others_and_orders_them(tmp_path):
    path = tmp_path / "RESULTS.md"
    for name, text in (("b", "two"), ("a", "one"), ("b", "three <!-- note -->")):
        results.update(path, name, text)
    a = "<!-- begin a -->\n## a\n\none\n<!-- end a -->\n"
    b = "<!-- begin b -->\n## b\n\nthree <!-- note -->\n<!-- end b -->\n"
    assert path.read_text() == f"{results.HEADER}\n{a}\n{b}"


def test_a_cell_cannot_forge_a_marker():
    assert "<!--" not in results.markdown_table(["x"], [["<!-- end toy -->"]])


def test_a_damaged_file_or_name_is_one_sentence_and_nothing_is_written(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("<!-- begin a -->\nlost\n")
    with pytest.raises(InputError, match="marker without its partner"):
        results.update(path, "b", "x")
    assert path.read_text() == "<!-- begin a -->\nlost\n"
    with pytest.raises(InputError, match="is named by letters"):
        results.update(path, "a b", "x")
    with pytest.raises(InputError, match="cannot write"):
        results.update(path / "below" / "R.md", "b", "x")


def test_runs_that_finish_together_lose_no_section(tmp_path):
    code = "import sys; from pathlib import Path; from consilience.results import update\n"
    code += "for i in range(15): update(Path(sys.argv[1]), f's{sys.argv[2]}.{i}', 'x')"
    command = [sys.executable, "-c", code, str(tmp_path / "RESULTS.md")]
    processes = [subprocess.Popen([*command, str(i)]) for i in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "RESULTS.md").read_text().count("<!-- begin ") == 45
    assert [p.name for p in tmp_path.iterdir()] == ["RESULTS.md"]


def test_a_command_is_published_without_paths_of_the_machine():
    """Addresses stay; of an absolute path the last part does."""
    command = "run x --model hf:/data/models/tiny --out=/home/a/runs/s/ --base-url http://localhost:8000/v1 -o '/a b'"
    first = results.section({"command": command}, []).splitlines()[0]
    assert first == "`run x --model hf:tiny --out=s --base-url http://localhost:8000/v1 -o 'a b'`"
