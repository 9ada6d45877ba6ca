"""Rollouts of a transformers model from a vLLM server whose weights follow the trained ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consilience.engine import Output
from consilience.errors import InputError, PolicyError
from consilience.learn import language_files
from consilience.learn.language_files import Opened
from consilience.nn.template import Prompt
from consilience.policy.vllm import Completion, VllmServer
from consilience.protocols import Sampling


@dataclass
class VllmSampler:
    """A `language_sampling.Sampler`: what `roll_out` needs to sample from vLLM instead of this process.

        sampler = VllmSampler(opened, "http://localhost:8000", "served-name", Path("/shared/served"))

    served: the directory the server was started with, on a file system that both see. At every `refresh` the trained
    weights (LoRA merged) are put into it, each file whole or not at all, and the server reads them again.
    """

    opened: Opened
    url: str
    model: str
    served: Path
    api_key: str = ""

    def refresh(self) -> None:
        """Hand over the model's present weights.

        Raises:
            InputError: the directory cannot be written. PolicyError: the server did not take them.
        """
        publish(self.opened, self.served)
        asyncio.run(self._reload())

    def generate(self, prompts: Sequence[Prompt], sampling: Sequence[Sampling], n: int) -> list[list[Output]]:
        """n responses to each prompt; the token ids are the server's own, nothing is tokenized again."""
        return asyncio.run(self._generate(prompts, sampling, n))

    async def _reload(self) -> None:
        async with self._server() as server:
            await server.reload()

    async def _generate(self, prompts: Sequence[Prompt], sampling: Sequence[Sampling], n: int) -> list[list[Output]]:
        async with self._server() as server:
            asked = (server.complete(p.tokens, s, n) for p, s in zip(prompts, sampling, strict=True))
            found = await asyncio.gather(*asked)
        return [[self._output(c) for c in row] for row in found]

    def _server(self) -> VllmServer:
        return VllmServer(self.url, self.model, api_key=self.api_key)

    def _output(self, found: Completion) -> Output:
        ends = self.opened.chat.ends
        if (found.finish == "stop") != (found.token_ids[-1] in ends):
            raise PolicyError(
                f"vLLM ended a response ({found.finish}) with token {found.token_ids[-1]}, where the model's end "
                f"tokens are {ends}: serve the same generation configuration."
            )
        return Output(found.token_ids, found.logprobs, found.finish)


def publish(opened: Opened, served: Path) -> None:
    """Put a model's files into a directory that is served, each replaced in one rename.

    Raises:
        InputError: the directory holds a checkpoint in several files, beside which a new one would not be read.
    """
    if (served / "model.safetensors.index.json").exists():
        raise InputError(f"{served} holds a checkpoint in several files: serve a directory that was made by `publish`.")
    with tempfile.TemporaryDirectory(prefix=f".{served.name}-", dir=served.parent) as folder:
        fresh = Path(folder) / "model"
        language_files.save(opened, fresh)
        if not served.exists():
            fresh.rename(served)
            return
        for file in sorted(fresh.iterdir()):
            os.replace(file, served / file.name)
        shutil.rmtree(fresh)
