"""Strips of handwritten digits, of which every trajectory gets a noisy glimpse of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

import numpy as np

from consilience.errors import InputError
from consilience.problem import Image, Message, Part, Problem
from consilience.protocols import Policy, Sampling
from consilience.trace import THINK_END, Call
from consilience.worlds.digit_questions import Draft, Level
from consilience.worlds.digits import NAME, assemble, placed
from consilience.worlds.setting import Setting, entropy, generator


def strip(number: int, split: str, digits: int) -> Problem:
    """Strip `number` of a split: that many digits side by side, drawn with the split's bitmaps.

    The answer names them as `a9b5c1`: letters for the places, as in the lists of the digits world.
    """
    rng = generator("strip", split, digits, number)
    shown = tuple(rng.randrange(10) for _ in range(digits))
    scene = placed(rng, shown, Level(digits, digits), split, strip=True)
    draft = Draft("Name the digits.", ("read", "digit", ("scene",)), shown)
    problem = assemble(NAME, Setting(split, f"strip{digits}", "read", "image"), number, draft, scene, "image")
    named = "".join(f"{letter}{digit}" for letter, digit in zip(ascii_lowercase, shown, strict=False))
    return replace(problem, answer=named, answer_type="string", demonstration=named + THINK_END + named)


@dataclass(frozen=True)
class Glimpse:
    """What one trajectory sees: every picture under fresh noise, the only thing that tells trajectories apart beside
    their sampling.

    noise: standard deviation of the Gaussian noise on each pixel, 1 being full brightness.
    """

    noise: float

    def __call__(self, messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
        """The conversation as the trajectory of this seed sees it. Same seed, same noise."""
        return tuple(replace(m, parts=tuple(self._dimmed(p, seed) for p in m.parts)) for m in messages)

    def _dimmed(self, part: Part, seed: int) -> Part:
        if not isinstance(part, Image):
            return part
        rng = np.random.default_rng(entropy("glimpse", part.digest, seed))
        seen = part.pixels + 255 * self.noise * rng.standard_normal(part.pixels.shape, np.float32)
        return Image(np.clip(np.rint(seen), 0, 255).astype(np.uint8))


class GlimpsingPolicy:
    """A policy each of whose trajectories has a glimpse of its own."""

    prefers_batch = True

    def __init__(self, inner: Policy, glimpse: Glimpse) -> None:
        self.name = f"{inner.name} through noise {glimpse.noise:g}"
        self.inner, self.glimpse = inner, glimpse

    async def sample(self, messages: Sequence[Message], sampling: Sampling, *, n: int = 1) -> list[Call]:
        """n generations, the i-th with the glimpse and the sampling of seed + i.

        Raises:
            InputError: the sampling has no seed, so that nothing says which glimpse is meant.
            PolicyError: as the inner policy does.
        """
        if (first := sampling.seed) is None:
            raise InputError("glimpses are drawn by the seed: give the sampling one.")
        seeds = range(first, first + n)
        calls = [self.inner.sample(self.glimpse(messages, s), sampling.with_seed(s)) for s in seeds]
        return [call for (call,) in await asyncio.gather(*calls)]

    async def close(self) -> None:
        await self.inner.close()


@dataclass(frozen=True)
class Strips:
    """The strips of a run: how many digits, and the noise of a glimpse."""

    digits: int
    noise: float

    def problem(self, number: int, split: str) -> Problem:
        """Strip `number` of a split."""
        return strip(number, split, self.digits)

    def look(self, messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
        """The glimpse of a trajectory's seed."""
        return Glimpse(self.noise)(messages, seed)

    def seen(self, policy: Policy) -> Policy:
        """The policy with a glimpse for each trajectory."""
        return GlimpsingPolicy(policy, Glimpse(self.noise))
