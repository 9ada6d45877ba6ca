"""Glimpses: every trajectory sees its own random part of the pixels, as an eye that looks once. No torch here.

That makes parallel trajectories independent witnesses of one picture, which is what the report says sequential
perception lacks (arXiv 2601.09668); the mechanism itself is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from consilience.errors import InputError
from consilience.problem import Image, Message
from consilience.protocols import Policy, Sampling
from consilience.trace import Call

Look = Callable[[Sequence[Message], int], tuple[Message, ...]]
"""(conversation, seed) → what a trajectory of this seed sees."""


def glimpse(keep: float) -> Look:
    """The look that keeps each pixel of a picture with this chance and leaves the others black; 1 keeps all."""

    def look(messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
        if keep >= 1:
            return tuple(messages)
        rng = np.random.default_rng(seed)
        return tuple(
            replace(m, parts=tuple(_masked(p, keep, rng) if isinstance(p, Image) else p for p in m.parts))
            for m in messages
        )

    return look


def _masked(picture: Image, keep: float, rng: np.random.Generator) -> Image:
    pixels = picture.pixels
    seen = rng.random(pixels.shape[:2]) < keep
    return Image(np.where(seen if pixels.ndim == 2 else seen[..., None], pixels, np.uint8(0)))


class GlimpsePolicy:
    """A policy each of whose samples sees a glimpse of its own, drawn by the sample's seed."""

    def __init__(self, inner: Policy, keep: float) -> None:
        self.name = f"{inner.name} (glimpses of {keep:g})"
        self._inner, self._look = inner, glimpse(keep)

    async def sample(self, messages: Sequence[Message], sampling: Sampling, *, n: int = 1) -> list[Call]:
        """n generations. Raises InputError for a sampling without a seed; otherwise as the policy inside."""
        if sampling.seed is None:
            raise InputError("glimpses are drawn by the sampling's seed: give it one.")
        seeds = range(sampling.seed, sampling.seed + n)
        rows = await asyncio.gather(
            *(self._inner.sample(self._look(messages, seed), sampling.with_seed(seed)) for seed in seeds)
        )
        return [row[0] for row in rows]

    async def close(self) -> None:
        """Close the policy inside."""
        await self._inner.close()
