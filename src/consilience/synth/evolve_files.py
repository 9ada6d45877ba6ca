"""The data of self-evolution as files, in the layouts of the published release: supervised examples, preferences, and
the extractions they are made from (rStar-Math, arXiv 2501.04519)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from consilience.errors import InputError
from consilience.files import atomic_write, read_json, read_jsonl
from consilience.problem import Problem, Text
from consilience.reason.code_steps import policy_prompt
from consilience.reason.tree import exploration
from consilience.synth.evolve import Comparison, Trajectory


def sft_record(question: str, trajectory: Trajectory) -> dict[str, str]:
    """One supervised example, {"query", "response"}."""
    return {"query": question, "response": trajectory.text}


def preference_records(question: str, comparison: Comparison) -> list[dict[str, Any]]:
    """The kept pairs as {"prompt", "pos", "neg", "pos_count", "neg_count"}; a reward model reads prompt + pos.

    Pairs of steps have the prompt of a trained policy in search and the solution so far as prompt. Whole solutions have
    the question's turn alone, and pos and neg begin with the assistant's.
    """
    prompt, opening = policy_prompt(question, search=True) + comparison.prefix, ""
    if comparison.whole:
        head, mark, tail = policy_prompt(question).partition("\n<|assistant|>")
        prompt, opening = head, f"{mark}{tail}"
    counts = {"pos_count": len(comparison.positives), "neg_count": len(comparison.negatives)}
    return [
        {
            "prompt": prompt,
            "pos": opening + comparison.positives[p],
            "neg": opening + comparison.negatives[n],
            **counts,
        }
        for p, n in comparison.kept
    ]


def extraction_record(question: str, truth: str, trajectory: Trajectory) -> dict[str, Any]:
    """One trajectory with its values, as the release extracts it: full, question, final_Q, q_values, values,
    visit_counts, pucts, gt, extra_ans, sft_full, prm_full."""
    nodes = trajectory.nodes
    bonus = [node.q + exploration(node.n, node.parent.n if node.parent else 0) for node in nodes]
    steps = [{"step": node.text, "Q": node.q} for node in nodes]
    return {
        "full": policy_prompt(question, search=True) + trajectory.text,
        "question": question,
        "final_Q": 1 if trajectory.right else -1,
        "q_values": [node.q for node in nodes],
        "values": [node.value if node.value is not None else 0.0 for node in nodes],
        "visit_counts": [node.n for node in nodes],
        "pucts": bonus,
        "gt": truth,
        "extra_ans": trajectory.answer,
        "sft_full": trajectory.text,
        "prm_full": json.dumps([{"content": steps}], ensure_ascii=False),
    }


def write_json(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write records as one JSON list, whole or not at all; returns how many."""
    rows = list(records)
    atomic_write(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    return len(rows)


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write records as JSON Lines, whole or not at all; returns how many."""
    rows = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    atomic_write(path, "".join(rows))
    return len(rows)


def load_sft(path: Path) -> list[tuple[str, str]]:
    """(question, response) of a supervised file: {"query", "response"}, or {"instruction", "output"}.

    Raises:
        InputError: the file is missing, or a record has other fields.
    """
    found = []
    for name, record in _records(path):
        query, response = (record.get(a, record.get(b)) for a, b in (("query", "instruction"), ("response", "output")))
        if not (isinstance(query, str) and isinstance(response, str)):
            raise InputError(f"{name} is no supervised example: it needs the texts 'query' and 'response'.")
        found.append((query, response))
    return found


def load_preferences(path: Path) -> list[dict[str, Any]]:
    """The pairs of a preference file: {"prompt", "pos", "neg", "pos_count", "neg_count"}.

    Raises:
        InputError: the file is missing, or a record has other fields.
    """
    found = []
    for name, record in _records(path):
        texts = [record.get(key) for key in ("prompt", "pos", "neg")]
        counts = [record.get(key) for key in ("pos_count", "neg_count")]
        if not all(isinstance(t, str) for t in texts) or not all(type(c) is int and c >= 0 for c in counts):
            raise InputError(
                f"{name} is no preference: it needs the texts prompt, pos, neg and the counts pos_count, neg_count."
            )
        found.append({"prompt": texts[0], "pos": texts[1], "neg": texts[2], **dict(zip(_COUNTS, counts, strict=True))})
    return found


_COUNTS = ("pos_count", "neg_count")


def load_questions(path: Path) -> list[Problem]:
    """Problems of a question file: a JSON list, {"example": [...]} or JSON Lines of {"question", "answer"}, numbered by
    "index" where they have one and by their place otherwise, so that equal questions stay apart.

    Raises:
        InputError: the file is missing, empty, or a record lacks question or answer.
    """
    problems = []
    for place, (name, record) in enumerate(_records(path)):
        asked, answer = record.get("question"), record.get("answer")
        if isinstance(answer, list):
            answer = answer[0] if answer else None
        if not (isinstance(asked, str) and asked.strip()) or not isinstance(answer, str | int | float):
            raise InputError(f"{name} is no question: it needs the fields 'question' and 'answer'.")
        problems.append(
            Problem(
                id=str(record.get("index", place)),
                world=path.stem,
                task="mathematics",
                modality="text",
                prompt=(Text(asked),),
                answer=str(answer),
                answer_type="string",
            )
        )
    if len({p.id for p in problems}) != len(problems):
        raise InputError(f"{path} gives two questions one index: number them apart, or leave 'index' out.")
    if not problems:
        raise InputError(f"{path} holds no question.")
    return problems


def _records(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """(name for error sentences, record) of a JSON list, a mapping with "example", or JSON Lines."""
    if path.suffix == ".jsonl":
        rows: Any = list(read_jsonl(path))
    else:
        rows = read_json(path)
        rows = rows.get("example") if isinstance(rows, dict) else rows
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise InputError(f"{path} holds no list of records.")
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{path}, record {place + 1} is no JSON object.")
    return [(f"{path}, record {place + 1}", row) for place, row in enumerate(rows)]
