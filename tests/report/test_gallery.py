import base64
import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage
from run_example import tone_problem

from consilience.problem import Evidence, Image, Problem, Text
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_files import tree_to_json
from consilience.reason.tree_steps import Draft, count, grow
from consilience.report.gallery import card, choose, pieces, waveform
from consilience.report.rundir import SampleRef
from consilience.verify.check import AnswerVerifier, CombinedVerifier


def test_pieces_number_places_once_and_in_order() -> None:
    numbers: dict[str, int] = {}
    found = pieces("a<box><01><02><03><04></box>b<point><05><06></point>", numbers)
    assert [(p.text, p.number) for p in found] == [
        ("a", 0), ("<box><01><02><03><04></box>", 1), ("b", 0), ("<point><05><06></point>", 2)
    ]  # fmt: skip
    assert [p.number for p in pieces("<point><05><06></point><box>1 2 3 4</box>", numbers)] == [2, 3]


@given(
    st.lists(
        st.sampled_from(
            ["<box>", "</box>", "<01>", "<99>", "<box>1 2 3 4</box>", "<point><05><06></point>", "x", "<", ";"]
        ),
        max_size=30,
    )
)
def test_pieces_joined_give_the_text_again(words: list[str]) -> None:
    text = "".join(words)
    assert "".join(p.text for p in pieces(text, {})) == text


def reference(cell: str, model: str, name: str, right: bool) -> SampleRef:
    return SampleRef(cell, model, name, right, False, 0)


def test_choice_takes_right_and_wrong_alike_and_all_models() -> None:
    samples = [reference("c", "rl", f"p{i}", i % 10 != 0) for i in range(100)]
    samples += [reference("c", "warm", f"p{i}", False) for i in range(100)]
    chosen = choose(samples, per_cell=6)
    mine = [s for s in chosen if s.model == "rl"]
    assert [s.problem_id for s in mine if s.right] == ["p1", "p2", "p3"]
    assert [s.problem_id for s in mine if not s.right] == ["p0", "p10", "p20"]
    assert {s.problem_id for s in chosen if s.model == "warm"} == {s.problem_id for s in mine}


@pytest.mark.parametrize(("right", "wrong"), [(0, 50), (50, 0), (1, 50), (50, 2), (3, 2)])
def test_choice_fills_up_where_one_kind_runs_short(right: int, wrong: int) -> None:
    samples = [reference("c", "rl", f"r{i}", True) for i in range(right)]
    samples += [reference("c", "rl", f"w{i}", False) for i in range(wrong)]
    assert len(choose(samples, per_cell=8)) == min(8, right + wrong)
    assert choose([], per_cell=8) == []


def picture_problem(width: int = 50, height: int = 100, answer: str = "1") -> Problem:
    pixels = np.zeros((height, width), np.uint8)
    evidence = Evidence(("a",), ((10.0, 20.0, 30.0, 60.0),))
    prompt = (Image(pixels), Text("How many?"))
    return Problem("w/1", "w", "count", "image", prompt, answer, "integer", evidence)


def record(problem: Problem, response: str, verifier: object = None) -> dict[str, object]:
    verdict = (verifier or CombinedVerifier())(problem, response)  # type: ignore[operator]
    return {"cell": "c", "model": "m", "problem": problem.to_json(), "response": response, "verdict": verdict.to_json()}


def test_card_places_are_in_pixels_of_the_picture() -> None:
    shown = card(record(picture_problem(), "7<box><20><20><60><60></box></think>1"))
    figure = shown["figure"]
    assert figure["cited"] == [pytest.approx({"x": 10.25, "y": 20.5, "w": 20.0, "h": 40.0})]
    assert figure["truth"] == [{"x": 10.0, "y": 20.0, "w": 20.0, "h": 40.0}]
    assert shown["right"]
    assert dict(shown["shares"])["answer"] == 1.0


def test_right_means_the_answer_and_not_its_places() -> None:
    shown = card(record(picture_problem(), "7<box><80><80><90><90></box></think>1"))
    assert shown["right"]
    assert shown["score"] < 1
    assert not card(record(picture_problem(), "</think>2", AnswerVerifier()))["right"]


def test_truth_that_is_a_place_is_described_not_printed() -> None:
    problem = picture_problem(answer="<box><20><20><60><60></box>")
    shown = card(record(problem, "<box><20><20><60><60></box></think><box><20><20><60><60></box>"))
    assert shown["truth"] == "outlined in green"
    assert shown["answer"][0].number == shown["reasoning"][0].number == 1
    assert len(shown["figure"]["cited"]) == 1


def test_large_pictures_are_reduced_but_keep_their_coordinates() -> None:
    figure = card(record(picture_problem(1500, 3000), "</think>1"))["figure"]
    picture = PILImage.open(io.BytesIO(base64.b64decode(figure["source"].split(",")[1])))
    assert picture.size == (512, 1024)
    assert (figure["width"], figure["height"]) == (1500, 3000)
    assert figure["truth"][0]["x"] == 10.0


def test_sound_places_are_intervals_in_columns() -> None:
    problem = tone_problem(0)
    shown = card(record(problem, problem.demonstration))
    figure = shown["figure"]
    assert figure["kind"] == "sound"
    assert figure["seconds"] == 1.0
    starts = [box[0] * 480 for box in problem.evidence.boxes]
    assert [m["x"] for m in figure["truth"]] == pytest.approx(starts)
    assert [m["x"] for m in figure["cited"]] == pytest.approx(starts, abs=4.8)


def test_waveform_shows_the_loudest_sample_of_each_column() -> None:
    samples = np.zeros(1000, np.int16)
    samples[510], samples[520] = 16384, -32768
    path = waveform(samples, 100)
    assert path.startswith("M0 ")
    assert "L51 -0.500" in path
    assert "52 1.000" in path
    assert waveform(np.zeros(3, np.int16), 10).count("L") == 19
    assert waveform(np.array([], np.int16), 4).count("L") == 7


def test_text_scene_lists_cited_and_true_ids() -> None:
    problem = Problem("t/1", "t", "count", "text", (Text("a7 b3. How many?"),), "1", "integer", Evidence(("a",)))
    assert card(record(problem, "a7</think>1"))["ids"] == (["a"], ("a",))


def test_a_record_with_a_search_shows_its_tree() -> None:
    tree = Tree.of("p")
    (answer,) = grow(tree, tree.root, [Draft("<b>so</b> 7", answer="7")], TreeSettings())
    count(tree, [answer], [1.0])
    problem = Problem("p", "user", "ask", "text", (Text("How many?"),), "7", "integer")
    record = {
        "cell": "text",
        "model": "mcts",
        "problem": problem.to_json(),
        "response": "so</think>7",
        "verdict": {"score": 1.0, "reason": "equal."},
        "trace": {"detail": {"trees": [tree_to_json(tree)], "choice": {"tree": 0, "tag": "0.1"}}},
    }
    drawn = card(record)["tree"]
    assert "2 nodes" in drawn
    assert 'class="chosen"' in drawn
    assert "<b>" not in drawn
    assert card({**record, "trace": {"detail": {}}})["tree"] is None
    assert card({k: v for k, v in record.items() if k != "trace"})["tree"] is None


def test_any_response_makes_a_card() -> None:
    rng = random.Random(3)
    words = ["</think>", "<box>", "<00>", "</box>", "<point><10><20></point>", "\x00", "é", "<script>", "7", "{{", "%}"]
    for _ in range(200):
        response = "".join(rng.choices(words, k=rng.randrange(12)))
        assert card(record(picture_problem(), response))["raw"] == response
