"""The gallery of a report: which answers are shown, and each as plain data for the page's template."""

from __future__ import annotations

import base64
import io
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PILImage

from consilience.problem import Audio, Evidence, Image, Problem
from consilience.reason.tree_drawing import chosen_tree, tree_fragment
from consilience.report.rundir import SampleRef, is_right
from consilience.verify.markup import ids_of, parse_places, split_response

PER_CELL = 16
MAX_SIDE = 1024  # larger pictures are reduced, so that a report stays small enough to mail
_WAVE_COLUMNS = 480


@dataclass(frozen=True)
class Piece:
    """A stretch of a response: plain text, or the markup of citation `number`."""

    text: str
    number: int = 0


def pieces(text: str, numbers: dict[str, int]) -> list[Piece]:
    """Cut a text at its well-formed citations; joined, the pieces give the text again.

    numbers: markup → number; new citations are added with the next one, so that a place cited twice keeps its own.
    """
    found: list[Piece] = []
    position = 0
    for place in parse_places(text):
        start = text.index(place.text, position)
        if start > position:
            found.append(Piece(text[position:start]))
        found.append(Piece(place.text, numbers.setdefault(place.text, len(numbers) + 1)))
        position = start + len(place.text)
    return [*found, Piece(text[position:])] if position < len(text) else found


def choose(samples: Sequence[SampleRef], per_cell: int = PER_CELL) -> list[SampleRef]:
    """Answers for the gallery: per cell the problems first recorded, right and wrong ones of the first model alike.

    Each cell takes up to per_cell / 2 of either kind and fills up with the other where one runs short. Every
    model's answer to a chosen problem is shown, so that switching models compares like with like. The choice
    looks at nothing but the order of the file: no answer is picked for how it reads.
    """
    if not samples:
        return []
    subject = samples[0].model
    by_cell: dict[str, dict[bool, list[str]]] = defaultdict(lambda: {True: [], False: []})
    for sample in samples:
        if sample.model == subject:
            by_cell[sample.cell][sample.right].append(sample.problem_id)
    chosen: set[tuple[str, str]] = set()
    for cell, kinds in by_cell.items():
        half = per_cell // 2
        right = kinds[True][: max(half, per_cell - len(kinds[False]))]
        wrong = kinds[False][: per_cell - len(right)]
        chosen |= {(cell, problem) for problem in right + wrong}
    return list({(s.cell, s.problem_id, s.model): s for s in samples if (s.cell, s.problem_id) in chosen}.values())


def card(record: Mapping[str, Any]) -> dict[str, Any]:
    """One sample record of the contract as what the template shows of it."""
    problem, response = Problem.from_json(record["problem"]), str(record["response"])
    reasoning, answer = split_response(response)
    numbers: dict[str, int] = {}
    figure = _figure(problem, response)
    verdict = record["verdict"]
    return {
        "cell": record["cell"],
        "model": record["model"],
        "right": is_right(record),
        "truncated": bool(record.get("truncated", False)),
        "question": problem.question,
        "reasoning": pieces(reasoning, numbers),
        "answer": pieces(answer.strip(), numbers),
        "truth": "outlined in green" if parse_places(problem.answer) else problem.answer,
        "raw": response,
        "score": float(verdict["score"]),
        "reason": pieces(verdict["reason"], numbers),
        "shares": _shares(verdict.get("evidence", {})),
        "figure": figure,
        "tree": _tree(record),
        "ids": (ids_of(reasoning), problem.evidence.ids) if problem.evidence.ids and figure is None else None,
        "id": problem.id,
    }


def _figure(problem: Problem, response: str) -> dict[str, Any] | None:
    """The problem's first picture or sound with what is cited on it; each place once, in the order of citation."""
    places = {place.text: place for place in parse_places(response)}.values()
    for part in problem.prompt:
        if isinstance(part, Image):
            return picture(part, [place.scaled(part.size) for place in places], problem)
        if isinstance(part, Audio):
            return sound(part, [place.scaled((part.seconds, 1.0)) for place in places], problem)
    return None


def _tree(record: Mapping[str, Any]) -> str | None:
    """The search tree of a record whose trace has one, as a drawing that is safe to put into a page."""
    trace = record.get("trace")
    found = chosen_tree(trace.get("detail", {})) if isinstance(trace, Mapping) else None
    return tree_fragment(*found) if found else None


def _shares(evidence: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The parts of a combined verdict: evidence fields named `<part>_score`."""
    return [(key.removesuffix("_score"), float(value)) for key, value in evidence.items() if key.endswith("_score")]


def picture(image: Image, marks: Sequence[tuple[float, ...]], problem: Problem) -> dict[str, Any]:
    """Sizes of strokes and labels are in picture pixels: the drawing scales with the picture."""
    width, height = image.size
    pixels = PILImage.fromarray(np.array(image.pixels))
    if max(image.size) > MAX_SIDE:
        pixels.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", optimize=True)
    return {
        "kind": "picture",
        "width": width,
        "height": height,
        "unit": max(image.size) / 100,
        "pixelated": max(image.size) <= 256,
        "source": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "cited": outlines(marks),
        "truth": outlines(truth_marks(problem.evidence)),
    }


def sound(audio: Audio, marks: Sequence[tuple[float, ...]], problem: Problem) -> dict[str, Any]:
    """The waveform as one closed outline over 480 columns × [−1, 1]; places are intervals (x, width) in columns."""
    per_second = _WAVE_COLUMNS / max(audio.seconds, 1e-9)
    return {
        "kind": "sound",
        "columns": _WAVE_COLUMNS,
        "seconds": audio.seconds,
        "source": "data:audio/wav;base64," + base64.b64encode(audio.wav()).decode(),
        "outline": waveform(audio.samples, _WAVE_COLUMNS),
        "cited": intervals(marks, per_second),
        "truth": intervals(truth_marks(problem.evidence), per_second),
    }


def waveform(samples: np.ndarray, columns: int) -> str:
    """SVG path of a sound's envelope: the loudest positive and negative sample of each column. samples: int16 (T,)."""
    edges = np.linspace(0, len(samples), columns + 1).astype(int)
    spans = [samples[a:b] if b > a else samples[a : a + 1] for a, b in itertools.pairwise(edges)]
    upper = [max(0, int(s.max(initial=0))) / 32768 for s in spans]
    lower = [min(0, int(s.min(initial=0))) / 32768 for s in spans]
    forth = [f"{x} {-y:.3f}" for x, y in enumerate(upper)]
    back = [f"{x} {-y:.3f}" for x, y in reversed(list(enumerate(lower)))]
    return "M" + " L".join(forth + back) + " Z"


def truth_marks(evidence: Evidence) -> list[tuple[float, ...]]:
    return [*evidence.boxes, *(() if evidence.boxes else evidence.points)]


def outlines(marks: Iterable[tuple[float, ...]]) -> list[dict[str, float]]:
    """Boxes as x, y, w, h; points as x, y with no extent."""
    outlines = []
    for mark in marks:
        if len(mark) == 2:
            outlines.append({"x": mark[0], "y": mark[1]})
        else:
            (left, right), (top, bottom) = sorted((mark[0], mark[2])), sorted((mark[1], mark[3]))
            outlines.append({"x": left, "y": top, "w": right - left, "h": bottom - top})
    return outlines


def intervals(marks: Iterable[tuple[float, ...]], per_second: float) -> list[dict[str, float]]:
    """Only x counts for sound; a point is an interval without width."""
    spans = [sorted((m[0], m[2] if len(m) == 4 else m[0])) for m in marks]
    return [{"x": a * per_second, "w": (b - a) * per_second} for a, b in spans]
