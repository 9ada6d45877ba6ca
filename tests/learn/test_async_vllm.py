"""Rollouts over HTTP from a scripted vLLM that samples, with the house engine, from the directory it serves."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_language_models
import torch
from aiohttp import web
from learn_helpers import no_mixed_precision, problem

from consilience.engine import Output
from consilience.errors import InputError, PolicyError
from consilience.learn.asynchronous_vllm import VllmSampler, publish
from consilience.learn.batch import by_length
from consilience.learn.language import learner
from consilience.learn.language_files import Opened, open_language_model
from consilience.learn.language_sampling import roll_out, sampler_of
from consilience.learn.off_policy import mismatch
from consilience.learn.rl import RlConfig, grpo_update
from consilience.nn.template import Prompt
from consilience.policy.vllm import Completion
from consilience.protocols import Sampling
from consilience.verdict import Verdict


class Served:
    """The server; `load` stands for vLLM's reading of its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.load()

    def load(self) -> None:
        self.sampler = sampler_of(open_language_model(str(self.directory)), rows=4)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        if request.path == "/collective_rpc":
            self.load()
        if request.path != "/v1/completions":
            return web.json_response({})
        sampling = Sampling(max_tokens=body["max_tokens"], seed=body["seed"])
        (output,) = self.sampler.generate([Prompt(tuple(body["prompt"]))], [sampling], 1)[0]
        choice = {
            "token_ids": output.tokens,
            "logprobs": {"token_logprobs": output.logprobs},
            "finish_reason": output.finish,
        }
        return web.json_response({"choices": [choice]})


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    no_mixed_precision(monkeypatch)
    monkeypatch.setattr("consilience.engine.core.fast_dtype", lambda stored, device, rows: stored)
    return open_language_model(str(tiny_language_models.write(tmp_path / "start")))


@pytest.fixture
def url(opened: Opened, tmp_path: Path) -> Iterator[str]:
    publish(opened, tmp_path / "served")
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", Served(tmp_path / "served").handle)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def gap(opened: Opened, rollout: Any) -> float:
    ((indices, batch),) = by_length(rollout.groups, 32)
    drawn_M = torch.tensor([p for i in indices for row in (2 * i, 2 * i + 1) for p in rollout.logprobs[row]])
    with torch.no_grad():
        old_M = opened.model.token_stats(batch).logprob_M
    return mismatch(old_M, drawn_M, batch.response_lengths_N)["gap"]


def test_rollouts_follow_the_trained_weights(url: str, opened: Opened, tmp_path: Path) -> None:
    sampler, own = VllmSampler(opened, url, "served", tmp_path / "served"), learner(opened.model)
    problems = [problem("a"), problem("b", answer="5")]

    def rolled(which: Any) -> Any:
        turn = itertools.count()
        return roll_out(
            which,
            opened,
            problems,
            lambda p: p.messages,
            [1, 7],
            2,
            8,
            lambda p, t, cut: Verdict(float(next(turn) % 2), ""),
        )

    first = rolled(sampler)
    assert [g.responses for g in first.groups] == [g.responses for g in rolled(sampler_of(opened)).groups]
    assert gap(opened, first) < 1e-4
    grpo_update(own, first, RlConfig(), 1e-2)
    assert gap(opened, rolled(sampler)) > 1e-2  # the server still has the old weights
    sampler.refresh()
    assert gap(opened, rolled(sampler)) < 1e-4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["served", "start"]


def test_a_server_with_other_end_tokens_is_refused(opened: Opened, tmp_path: Path) -> None:
    sampler = VllmSampler(opened, "http://localhost:1", "m", tmp_path)
    end = opened.chat.ends[0]
    assert sampler._output(Completion((3, end), (-1.0, -1.0), "stop")) == Output((3, end), (-1.0, -1.0), "stop")
    with pytest.raises(PolicyError, match="end tokens"):
        sampler._output(Completion((3, 4), (-1.0, -1.0), "stop"))


def test_a_checkpoint_in_several_files_is_not_overwritten(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").touch()
    with pytest.raises(InputError, match="several files"):
        publish(opened, tmp_path)
