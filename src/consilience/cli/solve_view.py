"""The course of one strategy on a terminal: rounds as branches, generations as they end; plain lines when piped."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from consilience.problem import Audio, Image, Problem
from consilience.protocols import Event
from consilience.report.tree import chosen_tree, printable, terminal_tree
from consilience.trace import Call, Trace
from consilience.verify.markup import split_response

View = Callable[[Event], None]
SHORT = 160


@contextmanager
def open_view(problem: Problem, who: str, *, quiet: bool, stream: TextIO | None = None) -> Iterator[View]:
    """Show a running strategy on `stream` (default: standard output): a live tree on a terminal, else plain lines."""
    if quiet:
        yield lambda event: None
        return
    console = Console(file=stream or sys.stdout, highlight=False, soft_wrap=True)
    console.print(f"question {printable(problem.question)}", markup=False)
    for part in problem.prompt:
        if isinstance(part, Image):
            console.print(f"picture  {part.size[0]} × {part.size[1]} pixels")
        elif isinstance(part, Audio):
            console.print(f"sound    {part.seconds:.1f} s")
    console.print(f"asking   {who}\n", markup=False)
    if not console.is_terminal:
        yield lambda event: _line(console, event)
        console.print()
        return
    tree = _Growing()
    with Live(tree.root, console=console, refresh_per_second=8, vertical_overflow="visible"):
        yield tree
    console.print()


class _Growing:
    """A tree of rounds: each generation is a leaf that grows while it is written and settles when it has ended."""

    def __init__(self) -> None:
        self.root = Tree("", hide_root=True)
        self._leaves: dict[tuple[int, int], Tree] = {}
        self._texts: dict[tuple[int, int], str] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "round":
            branch = self.root.add(Text(round_text(event), style="bold"))
            for index in range(int(event.data["width"])):
                self._leaves[int(event.data["index"]), index] = branch.add(Text("…", style="dim"))
        elif event.kind == "ballot":
            self.root.add(Text(ballot_text(event), style="bold"))
        elif event.kind in ("call", "delta"):
            place = int(event.data["round"]), int(event.data["index"])
            if leaf := self._leaves.get(place):
                leaf.label = Text(self._said(place, event), style="" if event.call else "dim")

    def _said(self, place: tuple[int, int], event: Event) -> str:
        alone = len(self._leaves) == 1
        if event.call is not None:
            return call_text(event.call, short=not alone)
        self._texts[place] = self._texts.get(place, "") + event.data["reasoning"] + event.data["text"]
        text = printable(self._texts[place])
        return text if alone else f"…{' '.join(text.split())[-SHORT:]}"


def tree_text(trace: Trace, *, width: int, colour: bool) -> str:
    """The tree that gave the answer, drawn in lines of at most `width` columns; empty for a trace without one."""
    found = chosen_tree(trace.detail)
    if found is None:
        return ""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(terminal_tree(*found))
    drawn: str = console.file.getvalue()  # type: ignore[attr-defined]
    return drawn.rstrip("\n")


def _line(console: Console, event: Event) -> None:
    if event.kind == "round" and int(event.data["width"]) > 1:
        console.print(round_text(event))
    elif event.kind == "call" and event.call is not None:
        console.print(call_text(event.call, short=False), markup=False)
    elif event.kind == "ballot":
        console.print(ballot_text(event), markup=False)


def ballot_text(event: Event) -> str:
    """`answers: 42 × 12, 41 × 4`, most frequent first."""
    groups = [f"{printable(str(g['answer']))[:SHORT]} × {len(g['members'])}" for g in event.data["groups"]]
    return f"answers: {', '.join(groups) or 'none that can be read'}"


def round_text(event: Event) -> str:
    """`round 1, 16 generations`."""
    width = int(event.data["width"])
    return f"round {int(event.data['index']) + 1}, {width} generation{'s' if width > 1 else ''}"


def call_text(call: Call, *, short: bool) -> str:
    """One generation: answer first, then its reasoning; short: on one line."""
    if call.finish == "error":
        return f"failed: {printable(call.error)}"
    if call.finish == "cancelled":
        return "cancelled"
    reasoning, answer = split_response(printable(call.full_text))
    tokens = f"{call.usage.completion:,} tokens{', cut off' if call.truncated else ''}"
    if not short:
        return (
            f"{reasoning.strip()}\n→ {answer.strip()}  ({tokens})"
            if reasoning.strip()
            else f"→ {answer.strip()}  ({tokens})"
        )
    words = " ".join(reasoning.split())
    tail = f"  {words[:SHORT]}{'…' if len(words) > SHORT else ''}" if words else ""
    return f"{' '.join(answer.split())[:SHORT] or '(no answer)'}  ({tokens}){tail}"
