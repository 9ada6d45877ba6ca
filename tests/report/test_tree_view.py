"""Search trees drawn for reports, web pages and terminals."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import pytest
from rich.console import Console

from consilience.errors import InputError
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_drawing import (
    COLUMN,
    ROW,
    chosen_tree,
    colour,
    content,
    place,
    pruned,
    summary,
    tree_fragment,
)
from consilience.reason.tree_files import tree_to_json
from consilience.reason.tree_steps import Draft, count, grow
from consilience.report.tree import terminal_tree

SVG = "{http://www.w3.org/2000/svg}"


def example() -> Tree:
    tree, settings = Tree.of("p", "How many?"), TreeSettings(errors=1)
    good, bad, other = grow(
        tree,
        tree.root,
        [
            Draft("<code>\n# double it\nx = 2 * 4\n<end_of_step>", observation="", code="x = 2 * 4"),
            Draft("y = z", error=True, reason="NameError: name 'z' is not defined", observation="NameError"),
            Draft("# <script>alert(1)</script>\n", observation="8"),
        ],
        settings,
    )
    count(tree, grow(tree, good, [Draft("\\boxed{8}", answer="8")], settings), [1.0])
    count(tree, grow(tree, other, [Draft("\\boxed{<b>}", answer="<b>")], settings), [-1.0])
    assert bad.dead
    tree.rollout, tree.tokens = 2, 77
    return tree


def drawing(fragment: str) -> ElementTree.Element:
    svg = fragment[fragment.index("<svg") : fragment.index("</svg>") + 6]
    return ElementTree.fromstring(svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def test_the_drawing_shows_every_node_its_path_and_its_numbers():
    fragment = tree_fragment(json.loads(json.dumps(tree_to_json(example()))), "0.1.1")
    svg = drawing(fragment)
    assert len(svg.findall(f"{SVG}g")) == 6
    assert len([g for g in svg.findall(f"{SVG}g") if g.get("class") == "chosen"]) == 3
    assert len([p for p in svg.findall(f"{SVG}path") if p.get("class") == "edge chosen"]) == 2
    tips = [title.text for title in svg.iter(f"{SVG}title")]
    assert any("Q +1.00 · N 1 · ■ 8" in tip for tip in tips)
    assert any("✗ NameError: name 'z' is not defined" in tip for tip in tips)
    assert "6 nodes, 2 rollouts, 2 answers, 77 tokens" in fragment


def test_what_a_model_wrote_is_text_and_nothing_else():
    fragment = tree_fragment(tree_to_json(example()))
    assert "<script" not in fragment
    assert "&lt;script&gt;alert(1)" in fragment
    assert "<b>" not in fragment


def test_a_large_tree_is_pruned_around_the_chosen_path_and_counts_what_it_hides():
    tree, settings = Tree.of("p"), TreeSettings(width=40)
    for node in grow(tree, tree.root, [Draft(str(i)) for i in range(40)], settings):
        for child in grow(tree, node, [Draft(f"{node.tag}.{i}") for i in range(3)], settings):
            child.update(0.0)
    drawn = pruned(tree.root, "0.39.2", 20)
    shown = [each.node.tag for each in drawn.walk()]
    assert "0.39.2" in shown
    assert 20 <= len(shown) <= 22
    hidden = sum(each.hidden for each in drawn.walk())
    below = sum(len(each.node.children) - len(each.children) - each.hidden for each in drawn.walk())
    assert (hidden > 0, below) == (True, 0)
    assert "more" in tree_fragment(tree_to_json(tree), most=20)


def test_no_two_nodes_share_a_place_and_parents_stand_amid_their_children():
    drawn = pruned(example().root)
    rows = place(drawn)
    everything = list(drawn.walk())
    assert len({(each.x, each.y) for each in everything}) == len(everything)
    assert max(each.y for each in everything) <= rows * ROW
    for each in everything:
        if each.children:
            assert each.children[0].y <= each.y <= each.children[-1].y
            assert each.children[0].x == each.x + COLUMN


def test_colours_run_from_orange_to_blue():
    tree = example()
    assert colour(tree.at("0.1.1")) == "#1f77b4"
    assert colour(tree.at("0.3.1")) == "#e67814"
    assert colour(tree.root) == "#c8c8c8"
    assert colour(Tree.of("p").root) == "#ffffff"


def test_the_terminal_tree_has_the_same_lines():
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(terminal_tree(tree_to_json(example()), "0.1.1"))
    text = console.file.getvalue()
    assert "0.1  Q +1.00 · N 1 · double it" in text
    assert "└── 0.1.1  Q +1.00 · N 1 · ■ 8" in text
    assert "✗ NameError" in text
    assert summary(example().root) == "Q +0.00 · N 2 · root"


def test_a_step_is_told_by_its_first_line_that_is_no_tag():
    tree = Tree.of("p")
    (node,) = grow(tree, tree.root, [Draft("<code>\n\n<b>x</b> is 3\n")], TreeSettings())
    assert content(node) == "<b>x</b> is 3"
    (step,) = grow(tree, node, [Draft("<code>\n# halve it\nx = x/2\ny = 1\n<end_of_step>\n")], TreeSettings())
    assert content(step) == "halve it · x = x/2"


def test_the_terminal_shows_no_control_characters():
    tree = Tree.of("p")
    grow(tree, tree.root, [Draft("\x1b[31mred\x1b[2J")], TreeSettings())
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(terminal_tree(tree_to_json(tree)))
    assert "\x1b" not in console.file.getvalue()
    assert "red" in console.file.getvalue()


def test_the_tree_of_a_trace_is_the_one_that_gave_the_answer():
    trees = [{"key": 0}, {"key": 1}]
    assert chosen_tree({"trees": trees, "choice": {"tree": 1, "tag": "0.2"}}) == ({"key": 1}, "0.2")
    assert chosen_tree({"trees": trees}) == ({"key": 0}, "")
    assert chosen_tree({"trees": trees, "choice": {"tree": 7}}) == ({"key": 0}, "")
    assert chosen_tree({}) is None
    assert chosen_tree({"trees": []}) is None


def test_an_unknown_node_cannot_be_chosen():
    with pytest.raises(InputError, match=r"no node '0\.9'"):
        tree_fragment(tree_to_json(example()), "0.9")
    with pytest.raises(InputError, match="damaged"):
        terminal_tree({"problem_id": "p"})


def test_a_page_with_a_style_of_its_own_gets_none():
    data = tree_to_json(example())
    assert "<style>" in tree_fragment(data)
    assert "<style" not in tree_fragment(data, style="")
