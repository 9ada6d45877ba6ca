"""A search tree for a terminal. `consilience.reason.tree_drawing` draws the same for pages."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree as RichTree

from consilience.reason.tree_drawing import MOST, Drawn, chosen_tree, hidden_note, pruned, summary, tree_fragment
from consilience.reason.tree_files import tree_from_json

__all__ = ["chosen_tree", "printable", "terminal_tree", "tree_fragment"]


def printable(text: str) -> str:
    """Text of a model without control characters, so that it cannot move the cursor or colour the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "�" for c in text)


def terminal_tree(data: Mapping[str, Any], chosen: str = "", most: int = MOST) -> RichTree:
    """The drawing of `tree_fragment` as a rich tree; the chosen path is bold.

    Raises:
        InputError: as `tree_fragment`.
    """
    tree = tree_from_json(data)
    drawn = pruned(tree.root, chosen, most)
    path = {node.tag for node in tree.at(chosen).path()} if chosen else set()

    def line(each: Drawn) -> Text:
        style = "bold" if each.node.tag in path else "dim" if each.node.dead else ""
        return Text(f"{each.node.tag}  {printable(summary(each.node))}", style=style, overflow="ellipsis", no_wrap=True)

    def fill(branch: RichTree, each: Drawn) -> None:
        for child in each.children:
            fill(branch.add(line(child)), child)
        if each.hidden:
            branch.add(Text(hidden_note(each), style="dim"))

    top = RichTree(line(drawn))
    fill(top, drawn)
    return top
