"""The vLLM client against a scripted server that keeps the routes, states and refusals of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from consilience.errors import InputError, PolicyError
from consilience.policy import vllm
from consilience.policy.vllm import Completion, VllmServer, completion
from consilience.protocols import Sampling


class Scripted:
    """Refuses weights unless paused, and samples the prompt's last token plus the version of its weights."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], Any]] = []
        self.paused, self.updating, self.version, self.fail = False, False, 0, ""
        self.faults: list[int] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        path = request.path
        self.calls.append((path, dict(request.query), body))
        if path == self.fail:
            return web.json_response({"error": "out of memory"}, status=500)
        if self.faults:
            return web.Response(status=self.faults.pop(0), text="busy")
        match path:
            case "/pause" | "/resume":
                self.paused = path == "/pause"
            case "/collective_rpc":
                assert self.paused
                assert body == {"method": "reload_weights", "args": [], "kwargs": {}}
                self.version += 1
                return web.json_response({"results": [None, None]})
            case "/start_weight_update":
                assert self.paused
                self.updating = True
            case "/update_weights":
                assert self.updating
                self.version += 1
            case "/finish_weight_update":
                self.updating = False
            case "/reset_prefix_cache":
                return web.Response()
            case "/init_weight_transfer_engine":
                pass
            case "/v1/completions":
                return web.json_response(self.complete(body))
            case _:
                return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response({"status": "ok"})

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        assert not self.paused
        tokens = [body["prompt"][-1] + self.version, body["seed"]]
        choice = {
            "token_ids": tokens,
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": [-0.5, -0.25]},
            "finish_reason": "length",
        }
        return {"choices": [choice]}


@pytest.fixture
async def scripted(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Scripted, VllmServer]]:
    monkeypatch.setattr(vllm, "WAIT_S", 0.0)
    script = Scripted()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with VllmServer(f"http://127.0.0.1:{port}/v1", "served", api_key="secret") as client:
        yield script, client
    await runner.cleanup()


async def test_token_ids_go_in_and_come_out(scripted: tuple[Scripted, VllmServer]) -> None:
    script, client = scripted
    found = await client.complete((5, 6, 7), Sampling(max_tokens=2, seed=40), n=2)
    assert found == [Completion((7, 40), (-0.5, -0.25), "length"), Completion((7, 41), (-0.5, -0.25), "length")]
    path, _, body = script.calls[0]
    assert path == "/v1/completions"
    assert (body["prompt"], body["seed"], body["return_token_ids"], body["logprobs"]) == ([5, 6, 7], 40, True, 0)
    assert (body["temperature"], body["top_p"], body["skip_special_tokens"]) == (1.0, 1.0, False)


async def test_weights_are_read_again_while_nothing_runs(scripted: tuple[Scripted, VllmServer]) -> None:
    script, client = scripted
    await client.reload()
    assert [path for path, _, _ in script.calls] == ["/pause", "/collective_rpc", "/reset_prefix_cache", "/resume"]
    assert script.calls[0][1] == {"mode": "wait", "clear_cache": "true"}
    assert (await client.complete((1,), Sampling(seed=0)))[0].token_ids == (2, 0)


async def test_weight_transfer_in_four_phases(scripted: tuple[Scripted, VllmServer]) -> None:
    script, client = scripted
    sent: list[int] = []

    async def send(chunk: int) -> None:
        sent.append(chunk)

    await client.init_transfer({"master_port": 1})
    chunks = [{"names": ["a"], "dtype_names": ["float32"], "shapes": [[2]]}, {"names": ["b"]}]
    await client.transfer(chunks, send)
    assert sent == [0, 1]
    assert [path for path, _, _ in script.calls] == [
        "/init_weight_transfer_engine",
        "/pause",
        "/start_weight_update",
        "/update_weights",
        "/update_weights",
        "/finish_weight_update",
        "/reset_prefix_cache",
        "/resume",
    ]
    assert script.calls[0][2] == {"init_info": {"master_port": 1}}
    assert [body for path, _, body in script.calls if path == "/update_weights"] == [{"update_info": c} for c in chunks]


@pytest.mark.parametrize("fail", ["/collective_rpc", "/reset_prefix_cache"])
async def test_a_server_that_refuses_weights_goes_on(fail: str, scripted: tuple[Scripted, VllmServer]) -> None:
    script, client = scripted
    script.fail = fail
    with pytest.raises(PolicyError, match=f"{fail} answered 500: .*out of memory"):
        await client.reload()
    assert not script.paused
    assert script.calls[-1][0] == "/resume"


async def test_a_passing_fault_is_repeated_and_a_lasting_one_told(scripted: tuple[Scripted, VllmServer]) -> None:
    script, client = scripted
    script.faults = [503, 500]
    assert (await client.complete((1,), Sampling(seed=3)))[0].token_ids == (1, 3)
    script.faults = [503] * 3
    with pytest.raises(PolicyError, match="answered 503: busy"):
        await client.complete((1,), Sampling())
    script.faults = [400, 200]
    with pytest.raises(PolicyError, match="answered 400"):
        await client.complete((1,), Sampling())
    assert script.faults == [200]


async def test_a_server_without_development_routes_is_told_how_to_start() -> None:
    async def missing(request: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", missing)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with VllmServer(f"http://127.0.0.1:{runner.addresses[0][1]}", "m") as client:
        with pytest.raises(PolicyError, match="VLLM_SERVER_DEV_MODE=1"):
            await client.reload()
    await runner.cleanup()


GOOD = {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0, -2.0]}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_ids": None}, "without token ids"),
        ({"logprobs": None}, "without token ids"),
        ({"token_ids": [1]}, "1 tokens and 2"),
        ({"prompt_token_ids": [8]}, "another prompt"),
        ({"finish_reason": "abort"}, "'abort'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(changes: dict[str, Any], words: str) -> None:
    assert completion({"choices": [GOOD]}, (9,)) == Completion((1, 2), (-1.0, -2.0), "stop")
    with pytest.raises(PolicyError, match=words):
        completion({"choices": [{**GOOD, **changes}]}, (9,))


async def test_misuse_is_told() -> None:
    server = VllmServer("http://localhost:1", "m")
    with pytest.raises(InputError, match="async with"):
        await server.reload()
    with pytest.raises(InputError, match="no stop strings"):
        await server.complete((1,), Sampling(stop=("x",)))


async def test_requests_wait_at_the_gate(scripted: tuple[Scripted, VllmServer]) -> None:
    script, client = scripted
    client._gate = asyncio.Semaphore(1)
    await client.complete((1,), Sampling(seed=0), n=3)
    assert len(script.calls) == 3
