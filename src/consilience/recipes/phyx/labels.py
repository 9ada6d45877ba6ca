"""Kinds of error that people named, and how far the rules agree with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.bench.loaders.rows import BROKEN, Cells, open_table, text_of, whole
from consilience.errors import InputError
from consilience.recipes.phyx.faults import CALCULATION, KINDS, KNOWLEDGE, TEXT, VISUAL

INDEX = ("index", "id", "question_id", "pid")
LABEL = ("error_type", "error", "error_category", "error_reason", "label", "kind")
_WORDS = {"visual": VISUAL, "perception": VISUAL, "text": TEXT, "knowledge": KNOWLEDGE, "calculat": CALCULATION}
"""Beginnings of the words by which a label is recognised, in any case."""


@dataclass(frozen=True)
class Agreement:
    """Two labellings of the same answers. counts: (one, other) → answers. kappa: Cohen's, None where it has no sense
    (both give every answer the same kind)."""

    counts: Mapping[tuple[str, str], int]
    share: float
    kappa: float | None


def kind_of(text: str) -> str:
    """PhyX's kind of error that a label means: `Visual Reasoning Error`, `visual`, `lack of knowledge` …

    Raises:
        InputError: none of the four, or several.
    """
    found = {kind for word, kind in _WORDS.items() if re.search(rf"\b{word}", text, re.IGNORECASE)}
    if len(found) != 1:
        raise InputError(f"the label {text[:60]!r} names none or several of: {', '.join(KINDS)}.")
    return found.pop()


def read_labels(source: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Labels from a table (JSONL, JSON, CSV, TSV, parquet) with an index and a kind of error a row.

    Returns:
        index → kind of error, and a sentence for each row that was left out.

    Raises:
        InputError: the file is missing or unreadable, lacks a column, or no row can be used.
    """
    table = open_table(source, "phyx labels")
    table.require("|".join(INDEX), "|".join(LABEL), remedy="name them index and error_type")
    found: dict[str, str] = {}
    faults: list[str] = []
    for number, cells in enumerate(table.rows, 1):
        try:
            index, kind = _row(cells)
            if found.setdefault(index, kind) != kind:
                raise InputError(f"the index {index} has two kinds of error: keep one.")
        except InputError as error:
            faults.append(f"{source}, row {number}: {error}")
    if not found:
        raise InputError(f"no label can be used: {faults[0] if faults else source + ' is empty'}")
    return found, tuple(faults)


def _row(cells: Cells) -> tuple[str, str]:
    if BROKEN in cells:
        raise InputError(str(cells[BROKEN]))
    return whole(text_of(cells, *INDEX)), kind_of(text_of(cells, *LABEL))


def agreement(one: Mapping[str, str], other: Mapping[str, str]) -> Agreement:
    """How far two labellings agree on the answers that both have.

    Raises:
        InputError: they share none.
    """
    common = sorted(set(one) & set(other))
    if not common:
        raise InputError("the two labellings share no index: compare labels of the same answers.")
    counts = Counter((one[index], other[index]) for index in common)
    share = sum(count for (a, b), count in counts.items() if a == b) / len(common)
    rows, columns = (Counter(labels[index] for index in common) for labels in (one, other))
    chance = sum(rows[kind] * columns[kind] for kind in rows) / len(common) ** 2
    return Agreement(dict(counts), share, None if chance == 1 else (share - chance) / (1 - chance))


def shares(labels: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(answers, of all) by kind of error."""
    counts = Counter(labels.values())
    return {kind: (counts[kind], len(labels)) for kind in KINDS}
