"""A search tree as an SVG fragment for reports and web pages.

Takes trees as `consilience.reason.tree_files.tree_to_json` gives them: the trace's detail "trees". Only what was chosen
and what was visited most is drawn; the rest is counted where it hangs.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from consilience.errors import InputError
from consilience.reason.tree import Node
from consilience.reason.tree_files import tree_from_json

MOST = 60
COLUMN, ROW, MARGIN = 172, 26, 18
_WORDS = 25
_TAG = re.compile(r"</?\w+>")
STYLE = (
    ".tree{overflow-x:auto;margin:0}.tree svg{font:11px system-ui,sans-serif;max-width:none}"
    ".tree text{fill:currentColor;paint-order:stroke;stroke:var(--paper,Canvas);stroke-width:3px;stroke-linejoin:round}"
    ".tree .edge{fill:none;stroke:currentColor;opacity:.35}"
    ".tree .chosen.edge{opacity:1;stroke-width:2.5}.tree .faint{opacity:.6}"
    ".tree circle{stroke:currentColor;stroke-width:1}.tree .dead{fill:none;stroke:currentColor;stroke-width:1.5}"
    ".tree .chosen circle{stroke-width:3}.tree figcaption{font-size:12px;opacity:.8}"
)


@dataclass
class Drawn:
    """A node that is drawn. hidden: children that are not, and how many of those are dead. x, y: in pixels."""

    node: Node
    children: list[Drawn] = field(default_factory=list)
    hidden: int = 0
    hidden_dead: int = 0
    x: float = 0.0
    y: float = 0.0

    def walk(self) -> Iterator[Drawn]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def pruned(root: Node, chosen: str = "", most: int = MOST) -> Drawn:
    """The part of a tree worth a look, connected and at most about `most` nodes: the path to the chosen answer, then
    by visits, answers before steps before dead ends; children stay in order.

    Raises:
        InputError: there is no node of the chosen tag.
    """
    nodes = list(root.walk())
    by_tag = {node.tag: node for node in nodes}
    if chosen and chosen not in by_tag:
        raise InputError(f"the tree has no node {chosen!r} to mark as chosen.")
    kept = {node.tag for node in (by_tag[chosen] if chosen else root).path()}
    for node in sorted(nodes, key=lambda n: (n.dead, -n.n, not n.terminal, n.depth)):
        if len(kept) >= most:
            break
        kept.update(above.tag for above in node.path())
    return _kept(root, kept)


def _kept(node: Node, kept: set[str]) -> Drawn:
    drawn = Drawn(node)
    for child in node.children:
        if child.tag in kept:
            drawn.children.append(_kept(child, kept))
        else:
            drawn.hidden += 1
            drawn.hidden_dead += child.dead
    return drawn


def place(drawn: Drawn, row: int = 0) -> int:
    """Give every node its place: depth is the column, leaves take a row each, parents stand in the middle of their
    children; a note on hidden children takes a row as well. Returns the next free row."""
    drawn.x = MARGIN + drawn.node.depth * COLUMN
    first = row
    for child in drawn.children:
        row = place(child, row)
    if drawn.hidden or not drawn.children:
        row += 1
    ends = [child.y for child in drawn.children]
    drawn.y = (ends[0] + ends[-1]) / 2 if ends else MARGIN + first * ROW
    return row


def summary(node: Node) -> str:
    """One line on a node: value and visits, and its answer, why it is dead, or the beginning of its text."""
    count = f"Q {node.q:+.2f} · N {node.n}" if node.n else "not visited"
    if node.parent is None:
        return f"{count} · root"
    return f"{count} · {mark(node)}{content(node)}"


def mark(node: Node) -> str:
    """A sign for what a node is, so that colour alone tells nothing: ✗ dead, ■ answer."""
    return "✗ " if node.dead else "■ " if node.terminal and node.answer else ""


def content(node: Node) -> str:
    """Why a node is dead, its answer, or the first line of its step that says something, a comment with its code."""
    if node.dead:
        return node.reason or node.answer or "exhausted"
    if node.terminal and node.answer:
        return node.answer
    lines = [line for line in map(str.strip, node.text.splitlines()) if line and not _TAG.fullmatch(line)]
    commented = bool(lines) and lines[0].startswith("#")
    return " · ".join(line.lstrip("# ") for line in lines[: 1 + commented])


def tree_fragment(data: Mapping[str, Any], chosen: str = "", most: int = MOST, *, style: str = STYLE) -> str:
    """A `<figure class="tree">` with the drawing, its style inside, no script, readable in light and dark. All text of
    models is escaped; the whole text of a node, with what its code printed, is the tooltip.

    Args:
        data: a tree as `tree_to_json` gives it. chosen: tag of the answer that was given. most: nodes drawn.
        style: its CSS; empty for a page that has the rules of `STYLE` itself.

    Raises:
        InputError: the tree is damaged, or there is no node of that tag.
    """
    tree = tree_from_json(data)
    drawn = pruned(tree.root, chosen, most)
    rows = place(drawn)
    path = {node.tag for node in tree.at(chosen).path()} if chosen else set()
    everything = list(drawn.walk())
    width = max(d.x for d in everything) + COLUMN + MARGIN
    height = 2 * MARGIN + rows * ROW
    total = sum(1 for _ in tree.root.walk())
    caption = (
        f"{total} nodes, {tree.rollout} rollouts, {len(tree.answers)} answers, {tree.tokens} tokens; "
        f"{len(everything)} nodes shown. Colour is the mean value Q from −1 (orange) to +1 (blue), size the visits N; "
        "■ is an answer, ✗ a dead end, the thick path leads to the chosen answer."
    )
    parts = [_edge(parent, child, path) for parent in everything for child in parent.children]
    parts += [_node(each, path) for each in everything]
    return (
        f'<figure class="tree">{f"<style>{style}</style>" if style else ""}'
        f'<svg role="img" aria-label="{html.escape(caption)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(parts)}</svg>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _edge(parent: Drawn, child: Drawn, path: set[str]) -> str:
    kind = "edge chosen" if child.node.tag in path else "edge"
    bend = f"{child.x - 40:.0f}"
    curve = f"C{bend} {parent.y:.1f} {bend} {child.y:.1f} {child.x:.0f} {child.y:.1f}"
    return f'<path class="{kind}" d="M{parent.x:.0f} {parent.y:.1f}{curve}"/>'


def _node(drawn: Drawn, path: set[str]) -> str:
    node, x, y = drawn.node, drawn.x, drawn.y
    seen = node.text if node.observation is None else f"{node.text}\n→ {node.observation}"
    tip = html.escape(f"{node.tag}   {summary(node)}\n{seen}"[:2000])
    words = content(node) if node.parent is not None else "root"
    words = f"{node.q:+.2f} · {words}" if node.n else words
    words = html.escape(words if len(words) <= _WORDS else words[: _WORDS - 1] + "…")
    if node.dead:
        shape = f'<path class="dead" d="M{x - 4:.0f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'
    elif node.terminal and node.answer:
        corner = f'x="{x - 6:.0f}" y="{y - 6:.1f}"'
        shape = f'<rect {corner} width="12" height="12" fill="{colour(node)}" stroke="currentColor"/>'
    else:
        radius = 3 + min(7.0, node.n**0.5)
        shape = f'<circle cx="{x:.0f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour(node)}"/>'
    kind = ' class="chosen"' if node.tag in path else ""
    text = f'<text x="{x + 13:.0f}" y="{y - 5:.1f}">{words}</text>'
    note = ""
    if drawn.hidden:
        below = max((child.y for child in drawn.children), default=y) + (ROW if drawn.children else 0)
        label = html.escape(hidden_note(drawn))
        at = x + COLUMN if drawn.children else x + 13
        offset = 0 if drawn.children else 12
        note = f'<text class="faint" x="{at:.0f}" y="{below + offset:.1f}">{label}</text>'
    return f"<g{kind}><title>{tip}</title>{shape}{text}{note}</g>"


def hidden_note(drawn: Drawn) -> str:
    """How many children are not drawn."""
    dead = f", {drawn.hidden_dead} dead" if drawn.hidden_dead else ""
    return f"+ {drawn.hidden} more{dead}"


def colour(node: Node) -> str:
    """Mean value as a colour: orange −1, grey 0, blue +1, told apart by most colour-blind readers."""
    if not node.n:
        return "#ffffff"
    share = max(-1.0, min(1.0, node.q))
    end = (31, 119, 180) if share > 0 else (230, 120, 20)
    mixed = (round(200 + (e - 200) * abs(share)) for e in end)
    return "#" + "".join(f"{value:02x}" for value in mixed)


def chosen_tree(detail: Mapping[str, Any]) -> tuple[Mapping[str, Any], str] | None:
    """(tree, tag of its chosen answer) of a trace's detail: the tree that gave the answer, or the first one and "" if
    none was chosen; None for a trace without trees."""
    trees = detail.get("trees")
    if not isinstance(trees, list) or not trees:
        return None
    choice = detail.get("choice")
    if isinstance(choice, Mapping) and choice.get("tree") in range(len(trees)):
        return trees[choice["tree"]], str(choice.get("tag", ""))
    return trees[0], ""
