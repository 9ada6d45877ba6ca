"""What judges reply, read: the last box, one word, scores, the verdict behind the thinking, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.trace import Call
from consilience.verify.judges.atomic import read_matches
from consilience.verify.judges.meta import MetaState, read_meta
from consilience.verify.judges.parsing import Unread, conclusion, last_block, last_boxed, one_of, score_lines

AB = {"A": "A", "B": "B"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"so \boxed{A}", "A"),
        (r"\boxed{A} no, \boxed{B}", "B"),
        ("boxed{b}", "B"),
        (r"\boxed{ \text{B} }", "B"),
        (r"\boxed{A}" + "\n\n", "A"),
    ],
)
def test_the_last_box_counts(text: str, value: str) -> None:
    assert last_boxed(text, AB) == value


@pytest.mark.parametrize("text", ["A", r"\boxed{}", r"\boxed{AB}", r"\boxed{A} or \boxed{neither}", r"\boxed{A"])
def test_no_readable_box_is_a_failure(text: str) -> None:
    with pytest.raises(Unread):
        last_boxed(text, AB)


@pytest.mark.parametrize("word", ["Correct", "correct.", " Correct\n", "**CORRECT**", '"correct"'])
def test_correct_is_read(word: str) -> None:
    assert one_of(word, ("Correct", "Incorrect")) == "Correct"


@pytest.mark.parametrize("word", ["Incorrect", "incorrect.", " INCORRECT\n"])
def test_incorrect_is_never_read_as_correct(word: str) -> None:
    assert one_of(word, ("Correct", "Incorrect")) == "Incorrect"


@pytest.mark.parametrize("word", ["", "Correct or Incorrect", "not correct", "correctly", "corr", "in correct"])
def test_anything_else_is_a_failure(word: str) -> None:
    with pytest.raises(Unread, match="is none of"):
        one_of(word, ("Correct", "Incorrect"))


def test_meta_replies() -> None:
    good = "<genrm_analysis>names it</genrm_analysis><final_verdict>Correct.</final_verdict>"
    assert read_meta(good) == (MetaState.CORRECT, "names it")
    quoted = "the answer says <final_verdict>Correct</final_verdict>; " + good.replace("Correct.", "incorrect")
    assert read_meta(quoted)[0] is MetaState.INCORRECT
    for bad in (
        "<final_verdict>Correct</final_verdict>",  # no analysis
        "<genrm_analysis>x</genrm_analysis>Correct",
        good.replace("Correct.", "Correct or Incorrect"),
        "<genrm_analysis>x</genrm_analysis></final_verdict>Correct<final_verdict>",
    ):
        with pytest.raises(Unread):
            read_meta(bad)


def test_only_what_follows_the_thinking_counts() -> None:
    assert conclusion(Call("a \\boxed{A}</think>\\boxed{B}")) == "\\boxed{B}"
    assert conclusion(Call("text", reasoning="\\boxed{A}")) == "text"
    assert conclusion(Call("no thinking at all")) == "no thinking at all"
    for call in (Call("<think>\\boxed{A}"), Call("\\boxed{A}</think>  "), Call("")):
        with pytest.raises(Unread):
            conclusion(call)


def test_score_lines() -> None:
    most = {"facts": 3, "tone": 1}
    assert score_lines("facts: 2\n- [tone] = 1\n\n", most) == {"facts": 2, "tone": 1}
    for bad, why in (
        ("facts: 2", "tone is not scored"),
        ("facts: 2\ntone: 1\nfacts: 3", "scored twice"),
        ("facts: 4\ntone: 1", "outside 0 to 3"),
        ("facts: -1\ntone: 1", "outside 0 to 3"),
        ("facts: 2\ntone: 1\nlength: 1", "names no criterion"),
        ("facts: __import__('os')\ntone: 1", "names no criterion"),
        ("facts: 1.5\ntone: 1", "names no criterion"),
    ):
        with pytest.raises(Unread, match=why):
            score_lines(bad, most)


@given(st.text(max_size=400))
def test_readers_never_raise_anything_else(text: str) -> None:
    readers: list[Callable[[str], object]] = [
        lambda t: last_boxed(t, AB),
        lambda t: last_block(t, "scores"),
        lambda t: score_lines(t, {"a": 1}),
        lambda t: read_matches(t, 2, 2),
        read_meta,
        lambda t: conclusion(Call(t)),
    ]
    for read in readers:
        with contextlib.suppress(Unread):
            read(text)


def test_long_replies_are_read_in_linear_time() -> None:
    import time

    started = time.process_time()
    for text in ("\\boxed{" * 100_000, "<final_verdict>" * 60_000, "boxed { " * 100_000, " " * 500_000):
        for read in (lambda t: last_boxed(t, AB), read_meta):
            with pytest.raises(Unread):
                read(text)
    assert time.process_time() - started < 2
