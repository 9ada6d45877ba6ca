"""What actors of the asynchronous tests run; imported by their processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from consilience.engine import Engine, Request
from consilience.errors import InputError
from consilience.learn.asynchronous_processes import Actor
from consilience.learn.batch import Group
from consilience.learn.rollout import Rollout
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.template import render
from consilience.problem import Message, Problem, Text
from consilience.protocols import Sampling
from consilience.verdict import Verdict

SIZES: dict[str, Any] = {"d_model": 8, "n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "head_dim": 8, "d_ff": 8}


def model_of(seed: int) -> Decoder:
    model = Decoder(ModelConfig(**SIZES))
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def roll_out(engine: Engine, task: int) -> Rollout:
    """Two prompts, two responses each; the reward counts even tokens."""
    engine.refresh()
    prompts = [render([Message.user(f"{task}+{i}?")]) for i in range(2)]
    requests = [Request(p, Sampling(max_tokens=6, seed=100 * task + 10 * i), 2) for i, p in enumerate(prompts)]
    outputs = engine.generate(requests)
    flat = [o for row in outputs for o in row]
    return Rollout(
        tuple(Problem(f"{task}-{i}", "test", "sum", "text", (Text("?"),), "4", "integer") for i in range(2)),
        tuple(Group(p, tuple(o.tokens for o in row)) for p, row in zip(prompts, outputs, strict=True)),
        tuple(o.logprobs for o in flat),
        tuple(o.finish == "stop" for o in flat),
        tuple(Verdict(sum(t % 2 == 0 for t in o.tokens) / len(o.tokens), "") for o in flat),
    )


def make(settings: Mapping[str, Any]) -> Actor:
    """settings: die, task → directory: kill the process the first `times` times that the task is met; slow: seconds a
    task takes more; refuse, fail: tasks that raise."""
    model = model_of(9)
    engine = Engine(model, rows=4, dtype=torch.float32)

    def sample(task: int) -> Rollout:
        if task == settings.get("die"):
            for count in range(settings["times"]):
                marker = Path(settings["directory"]) / f"died-{count}"
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        if task == settings.get("refuse"):
            raise InputError("this task is refused: choose another.")
        if task == settings.get("fail"):
            raise ValueError("a defect in the sampler")
        time.sleep(settings.get("slow", {}).get(str(task), 0.0))
        return roll_out(engine, task)

    return Actor(model, sample)


def make_other(settings: Mapping[str, Any]) -> Actor:
    """A model of another size than the learner's."""
    return Actor(Decoder(ModelConfig(**{**SIZES, "d_ff": 16})), lambda task: roll_out(Engine(model_of(0)), task))
