import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.errors import InputError
from consilience.report.rundir import SampleRef
from consilience.report.tables import accuracy_table, number, paired_table, signed, table_view


def samples(cell: str, model: str, right: list[bool]) -> list[SampleRef]:
    return [SampleRef(cell, model, f"p{i}", r, False, 0) for i, r in enumerate(right)]


def test_accuracy_with_wilson_interval() -> None:
    table = accuracy_table(samples("a", "rl", [True] * 8 + [False] * 2) + samples("b", "warm", [False] * 4))
    assert table["columns"] == ["cell", "rl", "warm"]
    (_, ours, none), (_, missing, theirs) = table["rows"]
    assert ours["value"] == 0.8
    assert (ours["low"], ours["high"]) == (pytest.approx(0.490162, abs=1e-6), pytest.approx(0.943318, abs=1e-6))
    assert ours["n"] == 10
    assert (none, missing) == (None, None)
    assert theirs["value"] == 0.0


def test_paired_difference_uses_shared_problems_only() -> None:
    ours = samples("a", "rl", [True, True, True, False, True])
    theirs = samples("a", "warm", [True, False, False, True])
    table = paired_table(ours + theirs)
    assert table is not None
    ((cell, against, difference, p),) = table["rows"]
    assert (cell, against) == ("a", "warm")
    assert difference["n"] == 4
    assert difference["value"] == 0.25
    assert p == 1.0  # 2 against 1 discordant pairs: 2 · P(X ≤ 1 | 3, ½)


def test_nothing_to_pair() -> None:
    assert paired_table(samples("a", "rl", [True])) is None
    assert paired_table([]) is None


def test_repeated_answers_count_a_problem_once() -> None:
    table = accuracy_table(samples("a", "rl", [True, False]) + samples("a", "rl", [False, False]))
    assert table["rows"][0][1]["value"] == 0.5
    assert table["rows"][0][1]["n"] == 2


def test_interval_geometry_is_in_percent_of_the_column() -> None:
    view = table_view(
        {
            "title": "t",
            "columns": ["d"],
            "rows": [[{"value": 0.1, "low": -0.1, "high": 0.3, "n": 12}], [0.25], [None], ["x"]],
        }
    )
    cell = view["rows"][0][0]
    assert (cell["low"], cell["at"], cell["high"], cell["zero"]) == (0.0, 50.0, 100.0, 25.0)
    assert cell["text"] == "0.100"
    assert cell["interval"] == "−0.100 to 0.300"
    assert [row[0]["text"] for row in view["rows"][1:]] == ["0.250", "—", "x"]


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_intervals_stay_inside_their_axis(estimates: list[tuple[float, float, float]]) -> None:
    rows = [[{"value": v, "low": v - a, "high": v + b}] for v, a, b in estimates]
    for (cell,) in table_view({"title": "t", "columns": ["c"], "rows": rows})["rows"]:
        assert -0.01 <= cell["low"] <= cell["at"] <= cell["high"] <= 100.01


@pytest.mark.parametrize(("table", "complaint"), [
    ({"title": "t", "columns": ["a"]}, "lacks rows"),
    ({"title": "t", "columns": ["a", "b"], "rows": [[1]]}, "2 columns but a row of 1"),
])  # fmt: skip
def test_broken_tables_are_named(table: dict, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        table_view(table)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12345, "12,345"),
        (0.5, "0.500"),
        (12.34, "12.3"),
        (1234.5, "1,234.5"),
        (2000.0, "2,000"),
        (1e-5, "1.0e-05"),
        (0.0, "0.000"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_true_minus() -> None:
    assert signed(-0.25) == "−0.250"
    assert signed(-6.9e-19) == number(0.0) == "0.000"
    assert number(6.9e-12) == "6.9e-12"
