"""The state of the active rows, one column of tensors each: what to feed, how to sample, what was said so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from consilience.engine.sample import Settings, uniforms

NOISE = 32
"""Uniform numbers a row keeps in stock."""

TOKEN, POSITION, STEP, KEY, LIMIT, TOP_K, STOP = range(7)
"""Rows of `Rows.integers`: what is fed next and where, tokens drawn, randomness, limit, top-k, stop strings."""

_FLOATS = ("temperature", "top_p", "min_p")


class Row(NamedTuple):
    """A row as it joins: token is fed next, at position; at most `limit` tokens are drawn with the randomness of
    `key`; stop is the number of its stop strings' table, 0 for none."""

    token: int
    position: int
    key: int
    limit: int
    top_k: int
    stop: int
    temperature: float
    top_p: float
    min_p: float


class Rows:
    """Tensors of `size` rows; the batch says how many of them are active."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.size = self.length = 0
        self.integers = torch.zeros(STOP + 1, 0, dtype=torch.int64, device=device)
        self.floats = torch.zeros(len(_FLOATS), 0, device=device)
        self.noise = torch.zeros(0, NOISE, device=device)
        self.used = NOISE
        self.tokens = torch.zeros(0, 0, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(0, 0, device=device)
        self._unwritten: list[tuple[Tensor, Tensor]] = []

    def reserve(self, rows: int, length: int) -> None:
        """Room for this many rows and for responses of this many tokens."""
        if rows <= self.size and length <= self.length:
            return
        size = self.size if rows <= self.size else max(rows, 2 * self.size)
        length = max(length, self.length)
        old = (self.integers, self.floats, self.noise, self.tokens, self.logprobs)
        self.integers = torch.zeros(STOP + 1, size, dtype=torch.int64, device=self.device)
        self.floats = torch.zeros(len(_FLOATS), size, device=self.device)
        self.noise = torch.zeros(size, NOISE, device=self.device)
        self.tokens = torch.zeros(size, length, dtype=torch.int64, device=self.device)
        self.logprobs = torch.zeros(size, length, device=self.device)
        new = (self.integers, self.floats, self.noise, self.tokens, self.logprobs)
        for source, target in zip(old, new, strict=True):
            target[: source.shape[0], : source.shape[1]] = source
        self.size, self.length = size, length

    def join(self, active: int, rows: Sequence[Row]) -> None:
        """Write rows behind the `active` first ones."""
        new = slice(active, active + len(rows))
        integers = [[r.token, r.position, 0, r.key, r.limit, r.top_k, r.stop] for r in rows]
        self.integers[:, new] = torch.tensor(integers, dtype=torch.int64, device=self.device).T
        floats = [[r.temperature, r.top_p, r.min_p] for r in rows]
        self.floats[:, new] = torch.tensor(floats, device=self.device).T
        self._restock(new)

    def _restock(self, rows: slice) -> None:
        self.noise[rows] = uniforms(self.integers[KEY, rows], self.integers[STEP, rows] - self.used, NOISE)

    def move(self, target: Tensor, source: Tensor) -> None:
        """Copy rows `source` over rows `target`."""
        self.integers[:, target] = self.integers[:, source]
        self.floats[:, target] = self.floats[:, source]
        for tensor in (self.noise, self.tokens, self.logprobs):
            tensor[target] = tensor[source]

    def next_noise(self, active: int) -> Tensor:
        """One uniform number a row, (B,)."""
        if self.used >= NOISE:
            self.used = 0
            self._restock(slice(0, active))
        self.used += 1
        return self.noise[:active, self.used - 1]

    def record(self, token_B: Tensor, logprob_B: Tensor) -> None:
        """Append one token a row; it is fed next. `write` must follow before rows come, go or are read."""
        active = len(token_B)
        self._unwritten.append((token_B, logprob_B))
        self.integers[TOKEN, :active] = token_B
        self.integers[POSITION : STEP + 1, :active] += 1

    def record_several(self, token_BT: Tensor, logprob_BT: Tensor, count_B: Tensor) -> None:
        """Append the first `count` (at least one) tokens of each row; the last of them is fed next."""
        row, place = (torch.arange(token_BT.shape[1], device=self.device) < count_B[:, None]).nonzero().T
        at = self.integers[STEP, row] + place
        self.tokens[row, at] = token_BT[row, place]
        self.logprobs[row, at] = logprob_BT[row, place]
        active = len(token_BT)
        self.integers[TOKEN, :active] = token_BT.gather(1, count_B[:, None] - 1)[:, 0]
        self.integers[POSITION : STEP + 1, :active] += count_B

    def write(self) -> None:
        """Put the recorded tokens and log-probabilities where they belong."""
        if not self._unwritten:
            return
        tokens, logprobs = zip(*self._unwritten, strict=True)
        n, active = len(tokens), len(tokens[0])
        place_BN = self.integers[STEP, :active, None] + torch.arange(-n, 0, device=self.device)
        self.tokens[:active].scatter_(1, place_BN, torch.stack(tokens, 1))
        self.logprobs[:active].scatter_(1, place_BN, torch.stack(logprobs, 1))
        self._unwritten.clear()

    def settings(self, active: int) -> Settings:
        """Sampling parameters of the active rows, as views."""
        temperature, top_p, min_p = self.floats[:, :active]
        return Settings(temperature, top_p, min_p, self.integers[TOP_K, :active])
