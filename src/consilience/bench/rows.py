"""The log of a run: one line for each result of a strategy on a problem, appended when it is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from consilience.errors import InputError
from consilience.files import read_jsonl, writing
from consilience.reason.accounting import cost_of
from consilience.trace import Trace, Usage
from consilience.verdict import Verdict

Status = Literal["ok", "timeout", "failed"]
Key = tuple[str, str, str, str, int]


@dataclass(frozen=True)
class Row:
    """One result: a strategy's answer to one problem, and what it cost.

    repeat: number of the independent repetition, from 0. status: "timeout" counts as wrong, "failed" (no model
    answered) counts as nothing and is tried again on resume.
    samples: keys of the samples in the trajectory store that it rests on, in the order of asking.
    right: the final answer is right; score: the verdict's, which may also judge what was cited.
    generated, reasoning, prompt: tokens over all samples; critical_path: generated tokens on the longest chain.
    """

    benchmark: str
    model: str
    strategy: str
    problem: str
    repeat: int
    status: Status = "ok"
    response: str = ""
    right: bool = False
    score: float = 0.0
    truncated: bool = False
    verdict: Mapping[str, Any] = field(default_factory=dict, hash=False)
    samples: tuple[str, ...] = ()
    calls: int = 0
    prompt: int = 0
    generated: int = 0
    reasoning: int = 0
    critical_path: int = 0
    estimated: bool = False
    support: float = 0.0
    seconds: float = 0.0
    error: str = ""

    @property
    def key(self) -> Key:
        """What names the row: a later row of the same name replaces it."""
        return self.benchmark, self.model, self.strategy, self.problem, self.repeat

    @property
    def unparsed(self) -> bool:
        """No answer was found in the response."""
        return self.status == "ok" and not self.truncated and self.verdict.get("code") == "unparsed"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "samples": list(self.samples), "verdict": dict(self.verdict)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        known = {field.name for field in fields(cls)}
        try:
            row = cls(**{key: value for key, value in data.items() if key in known})
        except TypeError as error:
            raise InputError(f"a line of samples.jsonl is no result of a benchmark ({error}).") from None
        object.__setattr__(row, "samples", tuple(row.samples))
        return row


def answered(key: Key, trace: Trace, samples: Iterable[str], verdict: Verdict, *, truncated: bool) -> Row:
    """The row of a strategy that came to an answer."""
    cost, usage = cost_of(trace), trace.usage
    shown = verdict.evidence.get("answer_score", verdict.score)
    return Row(
        *key,
        response=trace.response,
        right=shown >= 1,
        score=verdict.score,
        truncated=truncated,
        verdict=verdict.to_json(),
        samples=tuple(samples),
        calls=cost.calls,
        prompt=cost.prompt_tokens,
        generated=cost.generated_tokens,
        reasoning=usage.reasoning,
        critical_path=cost.critical_path,
        estimated=cost.estimated,
        support=trace.support,
        seconds=round(trace.seconds, 6),
    )


def unanswered(key: Key, status: Status, error: str, samples: Iterable[str], usage: Usage = Usage()) -> Row:
    """The row of a strategy without an answer, with what it spent."""
    verdict = Verdict(0.0, error, status).to_json()
    return Row(
        *key,
        status=status,
        verdict=verdict,
        samples=tuple(samples),
        prompt=usage.prompt,
        generated=usage.completion,
        reasoning=usage.reasoning,
        critical_path=usage.completion,
        error=error,
    )


_encode = json.JSONEncoder(ensure_ascii=False).encode


class RowLog:
    """Appends rows to a file. A row that `append` has written survives SIGKILL of the process; a torn last line, as a
    machine's crash may leave it, is cut off on opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, row: Row) -> None:
        """Write one row.

        Raises:
            InputError: the disk is full or the file not writable.
        """
        with writing(self.path):
            os.write(self._file, f"{_encode(row.to_json())}\n".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Flush to the disk and close."""
        os.fsync(self._file)
        os.close(self._file)


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def read_rows(path: Path) -> dict[Key, Row]:
    """The rows of a log, the last of each name; none if there is no file yet.

    Raises:
        InputError: a line is no row.
    """
    if not path.exists():
        return {}
    rows = (Row.from_json(record) for record in read_jsonl(path))
    return {row.key: row for row in rows}
