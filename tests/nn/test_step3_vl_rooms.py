"""Step-3, Step 3.5 Flash and STEP3-VL-10B, shrunk: reinforcement, sampling and the gateway, through the same rooms as
the house's own model."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from official_configs import FLASH, STEP3, STEP3_VL
from PIL import Image as Pillow
from tiny_published import VL_SMALL, random_weights, vl_shapes, write

from consilience.engine import Engine, Request
from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.learn.optim.adamw import adamw
from consilience.learn.rl import Learner, RlConfig, grpo_update, ppo_update
from consilience.learn.rollout import Rollout, judge
from consilience.learn.sft import sft_step
from consilience.learn.state import critic_of
from consilience.nn.checkpoint import save_model
from consilience.nn.decoder import Decoder
from consilience.nn.pictures import TowerConfig
from consilience.nn.published import step3, step3_vl_10b, step_3_5_flash
from consilience.nn.published.shrink import shrink
from consilience.nn.template import render, response_tokens
from consilience.policy.open import open_policy
from consilience.problem import Image, Message, Problem, Text
from consilience.protocols import Sampling
from consilience.serve.app import create_app
from consilience.serve.archive import Archive
from consilience.serve.gateway import Gateway, Limits
from consilience.verdict import Verdict

LARGE = {
    "step3": step3.config_from_hf(STEP3),
    "step_3_5_flash": step_3_5_flash.config_from_hf(FLASH),
    "step3_vl_10b": step3_vl_10b.config_from_hf(STEP3_VL),
}
PICTURE = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)


def small(name: str) -> Decoder:
    model = Decoder(shrink(LARGE[name], d_model=32))
    model.initialise(torch.Generator().manual_seed(0))
    return model


def asked(model: Decoder, words: str) -> Message:
    """A question, with a picture for a model that has eyes."""
    return Message("user", (*([Image(PICTURE)] if model.config.vision else []), Text(words)))


def rollout_of(model: Decoder, words: tuple[str, ...], samples: int) -> Rollout:
    """Sampled by the engine, rewarded for early vowels: something that random answers differ in."""
    messages = [asked(model, text) for text in words]
    prompts = [render([message], model.config.pictures) for message in messages]
    sampling = [Sampling(max_tokens=8, seed=100 * i) for i in range(len(words))]
    engine = Engine(model, rows=4, dtype=torch.float32)
    outputs = engine.generate([Request(p, s, samples) for p, s in zip(prompts, sampling, strict=True)])
    problems = tuple(
        Problem(id=text, world="w", task="t", modality="text", prompt=m.parts, answer="", answer_type="text")
        for text, m in zip(words, messages, strict=True)
    )
    groups = tuple(Group(p, tuple(o.tokens for o in row)) for p, row in zip(prompts, outputs, strict=True))
    flat = [o for row in outputs for o in row]

    def reward(problem: Problem, response: str, truncated: bool) -> Verdict:
        return Verdict(sum(map(ord, response)) % 7 / 6, "A number of the letters.", "letters")

    return Rollout(
        problems,
        groups,
        tuple(o.logprobs for o in flat),
        tuple(o.finish == "stop" for o in flat),
        judge(problems, groups, reward),
    )


@pytest.mark.parametrize("name", LARGE)
def test_reinforcement_moves_actor_and_critic(name: str) -> None:
    """Warm start, engine sampling, one step of PPO with a critic and one of GRPO; the engine's and the trainer's
    log-probabilities agree, so that the first step is on-policy."""
    model = small(name)
    optimizer = adamw(model.parameters())
    warm = [Group(render([asked(model, "hi")], model.config.pictures), (tuple(response_tokens("x</think>yes")),))]
    assert sft_step(model, optimizer, warm, 1e-3)["loss"] > 0
    critic = critic_of(model, torch.Generator().manual_seed(1))
    before = [{n: p.detach().clone() for n, p in m.named_parameters()} for m in (model, critic)]
    rollout = rollout_of(model, ("what?", "how many?"), 3)
    assert rollout.rewards_BG.std() > 0
    actor, judge_of_states = Learner(model, optimizer), Learner(critic, adamw(critic.parameters()))
    numbers = ppo_update(actor, judge_of_states, rollout, RlConfig(), 1e-3, 1e-3)
    assert numbers["clip_fraction"] == 0
    assert all(np.isfinite(value) for value in numbers.values())
    for trained, old in zip((model, critic), before, strict=True):
        moved = {n for n, p in trained.named_parameters() if not torch.equal(p, old[n])}
        assert any(n.startswith("blocks.") for n in moved)
        assert any(n.startswith("vision.") for n in moved) == bool(model.config.vision)
    assert np.isfinite(grpo_update(actor, rollout_of(model, ("where?",), 3), RlConfig(), 1e-3)["policy_loss"])


async def answer(model: Decoder, directory: Path, content: Any) -> httpx.Response:
    """One request to the gateway that `consilience serve --model DIR` makes."""
    save_model(model, directory)
    policy = open_policy(str(directory))
    state = Gateway(policy, "tiny", Limits(max_tokens=8), Archive(None), opens_in_thought=True, forwards=False)
    transport = httpx.ASGITransport(create_app(state, None))
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "seed": 1, "max_tokens": 8}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/v1/chat/completions", json=body, timeout=60)
    finally:
        await policy.close()


def url_of(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def shown(picture: np.ndarray) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url_of(picture)}}, {"type": "text", "text": "How many?"}]


@pytest.mark.parametrize("name", LARGE)
async def test_the_gateway_serves_it(name: str, tmp_path: Path) -> None:
    model = small(name)
    reply = await answer(model, tmp_path / "m", shown(PICTURE) if model.config.vision else "How many?")
    assert reply.status_code == 200, reply.text
    data = reply.json()
    assert data["model"] == "tiny"
    assert 1 <= data["usage"]["completion_tokens"] <= 8
    eyes = model.config.vision
    features = 2 * eyes.features(36) + eyes.features(52) if isinstance(eyes, TowerConfig) else 0  # two crops, the whole
    assert data["usage"]["prompt_tokens"] > features


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((1, 1), "1×1 pixels shows nothing"), ((4, 216), "216×4 pixels would be seen in 54 crops")],
)
async def test_pictures_that_cannot_be_seen_are_a_bad_request(
    shape: tuple[int, int], sentence: str, tmp_path: Path
) -> None:
    reply = await answer(small("step3_vl_10b"), tmp_path / "m", shown(np.zeros(shape, np.uint8)))
    assert reply.status_code == 400
    assert sentence in reply.json()["error"]["message"]


def test_the_command_serves_a_picture(tmp_path: Path) -> None:
    """`consilience serve --model DIR` in a process of its own, asked by plain HTTP."""
    save_model(small("step3_vl_10b"), tmp_path / "tiny-vl")
    command = [sys.executable, "-m", "consilience.cli", "serve", "--model", str(tmp_path / "tiny-vl"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split(" at ")[1].split("/v1")[0]
        body = {"model": "tiny-vl", "messages": [{"role": "user", "content": shown(PICTURE)}], "max_tokens": 4}
        request = urllib.request.Request(
            f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            data = json.load(reply)
        assert data["choices"][0]["finish_reason"] in ("stop", "length")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_official_checkpoints_are_not_served_with_another_tokenizer(tmp_path: Path) -> None:
    """Their vocabulary is not the house's: a sentence, not wrong words."""
    write(tmp_path, VL_SMALL, random_weights(vl_shapes(VL_SMALL)))
    with pytest.raises(InputError, match=r"holds no .* model; name a checkpoint of the transformers library"):
        asyncio.run(_close(open_policy(str(tmp_path))))


async def _close(policy: Any) -> None:
    await policy.close()
