"""The row of PaCoRe in the demo's report: fifteen conclusions read, one trajectory more written, all tokens counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from consilience.engine import Engine
from consilience.files import read_json
from consilience.learn.batch import Group
from consilience.learn.rollout import Rollout
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.template import response_tokens
from consilience.problem import Problem
from consilience.recipes.step_r1_v_mini import measure, problems, tables
from consilience.recipes.step_r1_v_mini.claims import CELLS
from consilience.recipes.step_r1_v_mini.recipe import _units
from consilience.recipes.step_r1_v_mini.sizes import SCALES
from consilience.request import RunRequest
from consilience.verdict import Verdict

SIZES = SCALES["smoke"]


def test_the_last_trajectory_reads_the_conclusions_of_all_but_the_last_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Decoder(ModelConfig(d_model=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8))
    model.initialise(torch.Generator().manual_seed(0))
    asked = problems.held_out("text", "easy", "dev", 2, ("count",))
    responses = [tuple(response_tokens(f"thought {i}</think>said {i}")) for i in range(15)]
    cut = tuple(response_tokens("thought</think>cut")[:-1])
    last = tuple(response_tokens("x</think>last"))
    groups = tuple(Group(problems.prompt_of(p), (*responses[:14], cut, last)) for p in asked)
    rollout = Rollout(tuple(asked), groups, (), (True,) * 32, (Verdict(0.0, ""),) * 32)
    read: list[Problem] = []
    real = measure.sample

    def recording(engine: Engine, reading: Sequence[Problem], *rest: Any) -> Rollout:
        read.extend(reading)
        return real(engine, reading, *rest)

    monkeypatch.setattr(measure, "sample", recording)
    found = measure._synthesised(Engine(model, rows=4), SIZES, [1, 2], rollout)
    for problem, given in zip(asked, read, strict=True):
        assert problem.question in given.question
        assert [f"said {i}" in given.question for i in (0, 13, 14)] == [True, True, False]
        assert "thought" not in given.question
        assert "cut" not in given.question.partition("Reference Responses")[2]
        assert "last" not in given.question.partition("Reference Responses")[2]
        assert given.answer == problem.answer
    first = sum(map(len, groups[0].responses[:-1]))
    assert all(first < tokens <= first + SIZES.max_tokens for tokens in found["pacore_tokens"])
    assert len(found["pacore"]) == 2


def test_the_demo_has_the_row_and_a_study_has_not(smoke: Any) -> None:
    votes = next(t for t in read_json(smoke / "tables.json") if t["title"].startswith("One of sixteen"))
    rows = [row[0] for row in votes["rows"]]
    assert rows == [f"PPO, answer + space, {name}" for name in ("mean of 16", "majority of 16", tables.PACORE)]
    assert "generated tokens a problem, the majority" in votes["note"]
    assert len(votes["rows"][2]) == 1 + len(CELLS)
    for study in (False, True):
        request = RunRequest("step_r1_v_mini", study=study)
        marked = [u.name for u in _units(request, SIZES, "") if u.task.get("synthesis")]
        assert marked == ([] if study else ["seed0-ppo"])
