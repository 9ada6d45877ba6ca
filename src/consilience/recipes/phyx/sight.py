"""What nano is shown of a physics figure: the part that holds its labels, at full resolution.

A figure of 320 × 240 pixels is 540 patches of nano's encoder, most of them blank paper. Nano is shown a window of fixed
size, placed so that every label lies in it; the simulated reader is told more (where each label stands). Families whose
labels always fit into the window are the ones that nano learns.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from consilience.nn import tokenizer as tk
from consilience.problem import Image, Problem
from consilience.recipes.phyx.faults import needed
from consilience.trace import THINK_END
from consilience.worlds.markup import box_markup
from consilience.worlds.physics_canvas import font
from consilience.worlds.physics_families import FAMILIES

WINDOW = (180, 144)
"""(width, height) in pixels: 15 × 12 patches."""

FITTING = ("plates", "track", "telescope", "incline_height", "speakers")
"""A family of two quantities whose labels fit into the window, of each domain that has one (thermodynamics has not);
first those whose labels stand in one place whatever the values."""


def quantity(problem: Problem, symbol: str) -> str:
    """A quantity as the figure and the words have it: `12.5 m`, `20.0°`."""
    number, unit, _ = problem.truth["values"][symbol]
    return f"{number}{'' if unit in ('', '°') else ' '}{unit}"


def windowed(problem: Problem) -> Problem:
    """The problem with the window for its figure; places and worked solution refer to the window.

    Without a figure only the worked solution changes: it cites no places.

    Raises:
        ValueError: the labels do not fit, which is a fault of the choice of families.
    """
    if not problem.images:
        return replace(problem, demonstration=worked(problem))
    boxes = np.array(list(problem.truth["places"].values()))
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    if (high - low > WINDOW).any():
        raise ValueError(f"the labels of {problem.id} do not fit into {WINDOW[0]} × {WINDOW[1]} pixels")
    pixels_HW = problem.images[0].pixels
    free = np.array(pixels_HW.shape[::-1]) - WINDOW
    left, top = np.clip((low + high) / 2 - np.array(WINDOW) / 2, 0, free).astype(int)
    shown = Image(np.ascontiguousarray(pixels_HW[top : top + WINDOW[1], left : left + WINDOW[0]]))
    places = {
        symbol: [x1 - left, y1 - top, x2 - left, y2 - top]
        for symbol, (x1, y1, x2, y2) in problem.truth["places"].items()
    }
    moved = replace(problem, prompt=(shown, *problem.prompt[1:]), truth={**problem.truth, "places": places})
    return replace(moved, demonstration=worked(moved))


def worked(problem: Problem) -> str:
    """The worked solution in the house format: where each quantity stands and what it is, formula and value, answer.

    The place comes first: patches carry their place as location tokens do, so a place that was named is easily found.
    """
    family = FAMILIES[problem.truth["family"]]
    places = problem.truth["places"] if problem.images else {}
    cited = {symbol: box_markup(tuple(place), WINDOW) for symbol, place in places.items()}
    seen = (f"{g.symbol}{cited.get(g.symbol, '')} = {quantity(problem, g.symbol)}" for g in needed(family))
    return f"{', '.join(seen)}; {family.formula} = {problem.truth['gold']}{THINK_END}{problem.answer}"


def blind(problem: Problem) -> Problem:
    """The problem without its figure."""
    bare = replace(problem, prompt=tuple(part for part in problem.prompt if not isinstance(part, Image)))
    return replace(bare, demonstration=worked(bare))


def glyphs(problem: Problem, rng: random.Random) -> Problem:
    """The window as a scene of characters, for `learn.eyes`: each is an object with its box.

    Characters that are several tokens (Greek letters, subscripts) are left out. Two may share a patch, which can be
    taught one token: the order is drawn, so that each is taught in turn.
    """
    family = FAMILIES[problem.truth["family"]]
    found = []
    for symbol, (x1, y1, _, y2) in problem.truth["places"].items():
        if symbol not in problem.truth["values"]:
            continue
        text = ("" if family.bare else f"{symbol} = ") + quantity(problem, symbol)
        start = x1 - font().getbbox(text)[0]
        ends = [start + font().getlength(text[:k]) for k in range(len(text) + 1)]
        for character, left, right in zip(text, ends, ends[1:], strict=False):
            if character != " " and len(tk.encode(character)) == 1 and 0 <= left < right <= WINDOW[0]:
                found.append({"glyph": character, "box": [left, y1, right, y2]})
    rng.shuffle(found)
    return replace(problem, truth={"scene": {"objects": found}})
