"""A vLLM server as rollout engine: token ids in, token ids and log-probabilities out, and new weights into it.

It speaks HTTP to a server that was started with `VLLM_SERVER_DEV_MODE=1 vllm serve DIRECTORY`; vLLM itself is not
needed on this side. Two ways to hand over weights: `reload`, by the directory that the server serves (its collective
RPC `reload_weights`), and `transfer`, vLLM's weight transfer in four phases around a transport of the caller's (NCCL,
CUDA IPC). Both pause the server, drop its prefix cache and let it go on, also after a failure. The development routes
have no authentication: keep the server in a private network.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from consilience.errors import InputError, PolicyError
from consilience.policy.retry import Fault
from consilience.policy.transport import Timeouts, Transport
from consilience.protocols import Sampling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ATTEMPTS = 3
WAIT_S = 1.0
_RETRIED = ("connect", "lost", "timeout", "server", "malformed")


@dataclass(frozen=True)
class Completion:
    """token_ids: with the end token where finish is "stop". logprobs: natural logarithms, of the model itself at
    temperature 1 (the server's default `--logprobs-mode raw_logprobs`)."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


class VllmServer:
    """One server, inside `async with`.

    Args:
        url: its root, as http://localhost:8000 (a trailing /v1 is taken off).
        model: the name it serves.
        concurrency: requests at the same time; the server batches them.
    """

    def __init__(
        self, url: str, model: str, *, api_key: str = "", concurrency: int = 256, timeouts: Timeouts | None = None
    ) -> None:
        self.root = url.rstrip("/").removesuffix("/v1")
        self.model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._gate = asyncio.Semaphore(concurrency)
        self._timeouts = timeouts or Timeouts()
        self._transport: Transport | None = None

    async def __aenter__(self) -> VllmServer:
        self._transport = Transport(self._timeouts)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            await self._transport.close()

    async def complete(self, prompt: Sequence[int], sampling: Sampling, n: int = 1) -> list[Completion]:
        """n samples of a prompt given as token ids; sample i is a request of its own with seed + i.

        Raises:
            InputError: stop strings or extra fields, which would change what the token ids mean.
            PolicyError: the server cannot be reached, refuses, or answers without the token ids it sampled.
        """
        if sampling.stop or sampling.extra:
            raise InputError("a vLLM rollout takes no stop strings and no extra fields; leave them out.")
        seeds = [None if sampling.seed is None else sampling.seed + i for i in range(n)]
        return list(await asyncio.gather(*(self._one(prompt, sampling, seed) for seed in seeds)))

    async def _one(self, prompt: Sequence[int], sampling: Sampling, seed: int | None) -> Completion:
        body = {
            "model": self.model,
            "prompt": list(prompt),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "seed": seed,
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": False,
        }
        async with self._gate:
            reply = await self._post("/v1/completions", body)
        return completion(reply, prompt)

    async def reload(self) -> None:
        """Let the server read its weights again from the directory it serves (put them there first, whole).

        Raises:
            PolicyError: a step failed; the server has been told to go on.
        """
        async with self._paused():
            await self.collective_rpc("reload_weights")

    async def transfer(
        self, updates: Sequence[Mapping[str, Any]], send: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        """Weight transfer: start, one update for each chunk, finish. `init_transfer` comes once before the first.

        Args:
            updates: `update_info` of each chunk, as the server's backend wants it (names, dtypes, shapes, …).
            send: send(i) moves chunk i through the transport while the server waits for it.

        Raises:
            PolicyError: a step failed; the server has been told to go on.
        """
        async with self._paused():
            await self._post("/start_weight_update", {})
            for i, info in enumerate(updates):
                steps: list[Awaitable[Any]] = [self._post("/update_weights", {"update_info": dict(info)})]
                await asyncio.gather(*steps, *([send(i)] if send else []))
            await self._post("/finish_weight_update", {})

    async def init_transfer(self, info: Mapping[str, Any]) -> None:
        """Open the channel of `transfer` (`init_info` of the backend: address, port, ranks, …)."""
        await self._post("/init_weight_transfer_engine", {"init_info": dict(info)})

    async def collective_rpc(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a method of every worker of the server; what each returned."""
        reply = await self._post("/collective_rpc", {"method": method, "args": list(args), "kwargs": kwargs})
        results = reply.get("results", []) if isinstance(reply, dict) else reply
        return list(results or [])

    @asynccontextmanager
    async def _paused(self) -> AsyncIterator[None]:
        """Running requests end with the old weights, the next ones begin with the new and an empty prefix cache."""
        await self._post("/pause", query={"mode": "wait", "clear_cache": "true"})
        try:
            yield
            await self._post("/reset_prefix_cache")
        finally:
            await self._post("/resume")

    async def _post(self, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        """A JSON reply (None where it is empty). Rollouts are asked again after a passing fault, control is not."""
        attempts = ATTEMPTS if path == "/v1/completions" else 1
        for attempt in range(1, attempts + 1):
            try:
                return await self._once(path, body, query)
            except Fault as fault:
                if attempt == attempts or fault.kind not in _RETRIED:
                    raise PolicyError(f"{fault.sentence}.") from None
                await asyncio.sleep(WAIT_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, path: str, body: Any, query: Mapping[str, str] | None) -> Any:
        if self._transport is None:
            raise InputError("use a VllmServer inside `async with`.")
        who = f"vLLM at {self.root}{path}"
        url = f"{self.root}{path}" + (f"?{urlencode(query)}" if query else "")
        payload = b"" if body is None else json.dumps(body).encode()
        try:
            async with asyncio.timeout(self._timeouts.total):
                status, _, reply = await self._transport.post(url, payload, self._headers, who)
        except TimeoutError:
            raise Fault("timeout", f"{who} did not answer in {self._timeouts.total:g} s") from None
        if status == 404:
            hint = "start it with VLLM_SERVER_DEV_MODE=1, and with this model's name"
            raise Fault("refused", f"{who} does not exist or knows no model {self.model!r}: {hint}", status=status)
        if status >= 400:
            said = reply[:300].decode(errors="replace").strip()
            raise Fault("server" if status >= 500 else "refused", f"{who} answered {status}: {said}", status=status)
        try:
            return json.loads(reply) if reply.strip() else None
        except ValueError:
            raise Fault("malformed", f"{who} sent no JSON") from None


def completion(reply: Any, prompt: Sequence[int]) -> Completion:
    """The sampled tokens of a reply of /v1/completions with `return_token_ids`.

    Raises:
        PolicyError: token ids or log-probabilities are missing or differ in number, the prompt was not read as it was
            sent, or the request was aborted: nothing that could be trained on.
    """
    try:
        (choice,) = reply["choices"]
        token_ids = tuple(int(t) for t in choice["token_ids"])
        logprobs = tuple(float(p) for p in choice["logprobs"]["token_logprobs"])
        seen, finish = choice.get("prompt_token_ids"), choice["finish_reason"]
    except (KeyError, TypeError, ValueError):
        raise PolicyError(
            "vLLM answered without token ids and log-probabilities: it needs version 0.10.2 or newer."
        ) from None
    if len(token_ids) != len(logprobs) or not token_ids:
        raise PolicyError(f"vLLM answered with {len(token_ids)} tokens and {len(logprobs)} log-probabilities.")
    if seen is not None and tuple(seen) != tuple(prompt):
        raise PolicyError("vLLM read another prompt than was sent; send it shorter than the server's context.")
    if finish not in ("stop", "length"):
        raise PolicyError(f"vLLM ended a response with {finish!r}; sample it again.")
    return Completion(token_ids, logprobs, finish)
