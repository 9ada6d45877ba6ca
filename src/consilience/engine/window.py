"""Caches of decoders whose layers differ: a ring of columns for each sliding window, keys alone where values are
computed from them (MFA-KR), beside the cache of the other layers.

Shape letters as in cache.py, plus W columns of a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from consilience.engine.cache import Cache, Plan
from consilience.engine.fused import FusedCache
from consilience.engine.shelf import Block, Shelf
from consilience.nn.config import ModelConfig
from consilience.nn.layers import Layer, Rope
from consilience.nn.parts.rope import rotate, tables


class RingCache(Cache):
    """Keys and values of layers that see `window` tokens: in step t every row writes column t modulo the window.

    Attention does not mind the order of keys, so nothing ever moves, and a row takes `window` columns however long it
    becomes. Of a shared prompt, a lane keeps the last window − 1 tokens, which its rows leave behind one by one.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device, window: int) -> None:
        super().__init__(config, dtype, device)
        self.window, self.clock = window, 0

    def reset(self) -> None:
        """Without rows: back to the first column."""
        self.lanes.resize(self.lanes.size, 0, slice(0, 0), slice(0, 0), 0)
        self.clock, self._plan = 0, None

    def reserve(self, rows: int, prompt: int) -> None:
        """Room for `rows` rows."""
        if rows > self.rows.size:
            size, everything = max(rows, 2 * self.rows.size), slice(0, self.rows.columns)
            self.rows.resize(size, self.window, everything, everything, self.active)
            self._start_B, self._lane_B = np.resize(self._start_B, size), np.resize(self._lane_B, size)
            self._plan = None

    def join(self, block: Block, which: Sequence[int], lengths: Sequence[int]) -> None:
        """New rows with the last window − 1 tokens of their prompts."""
        new = slice(self.active, self.active + len(which))
        entries = torch.tensor(which, device=self.device)
        tail = self._tail(block)
        column = torch.arange(self.clock - tail.columns, self.clock, device=self.device) % self.window
        for layer in range(len(tail.keys)):
            self.rows.keys[layer][new].index_copy_(2, column, tail.keys[layer][entries])
            self.rows.values[layer][new].index_copy_(2, column, tail.values[layer][entries])
        self._start_B[new] = self.clock - np.asarray(lengths)
        self._lane_B[new] = -1
        self.active, self._plan = self.active + len(which), None

    def open_lane(self, block: Block, which: int, length: int) -> int:
        """A lane with the end of one prefilled prompt; returns its number."""
        return super().open_lane(self._tail(block), which, length)

    def join_lane(self, lane: int, n: int) -> None:
        """n new rows with empty rings behind the prompt of a lane."""
        new = slice(self.active, self.active + n)
        self._start_B[new], self._lane_B[new] = self.clock, lane
        self.active, self._plan = self.active + n, None

    def begin(self) -> None:
        """Prepare a step: the oldest column of the ring opens for every row."""
        self.t = self.clock % self.window
        self._plan = self._plan or self._make_plan()
        self._plan.bias[:, 0] = torch.where(self._seen(self._plan.columns), 0.0, -torch.inf)

    def end(self) -> None:
        """The step is over: time moves on."""
        self.clock += 1

    def _tail(self, block: Block) -> Block:
        first = max(0, block.columns - self.window + 1)
        return Block([k[:, :, first:] for k in block.keys], [v[:, :, first:] for v in block.values])

    def _seen(self, lane_columns: int) -> Tensor:
        """bool (B, P + W): what each row's newest token sees, itself included."""
        start_B1 = torch.from_numpy(self._start_B[: self.active]).to(self.device)[:, None]
        column = torch.arange(self.window, device=self.device)
        time_W = self.clock - (self.clock - column) % self.window
        own = time_W >= start_B1
        if not lane_columns:
            return own
        lane = self._lane_B[: self.active]
        length_B1 = torch.from_numpy(np.array([*self._length_L, 0])[lane]).to(self.device)[:, None]
        before_P = lane_columns - torch.arange(lane_columns, device=self.device)  # 1 for the prompt's last token
        return torch.cat([(before_P <= length_B1) & (self.clock - start_B1 + before_P < self.window), own], 1)


class KeyCache(Cache):
    """Keys before rotation and nothing else: half the memory, for turning all of them again in every step.

    `attend` takes the rotated key, which it does not need, and the key before rotation; it gives the weighted sum of
    such keys. One key head.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device, rope: Rope) -> None:
        super().__init__(config, dtype, device)
        self.rows, self.lanes = Shelf(config, dtype, device, one=True), Shelf(config, dtype, device, one=True)
        self.rope = rope
        self._rows_turn: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0))
        self._lanes_turn = self._rows_turn

    def _make_plan(self) -> Plan:
        lane, lengths = self._lane_B[: self.active], np.array([*self._length_L, 0])
        first_B = self._start_B[: self.active] - lengths[lane]  # the column where position 0 would be
        self._rows_turn = self._turn(self.rows.columns, first_B)
        self._lanes_turn = self._turn(self.lanes.columns, self.lanes.columns - lengths[:-1])
        return super()._make_plan()

    def _turn(self, columns: int, first_N: np.ndarray) -> tuple[Tensor, Tensor]:
        position = torch.arange(columns, device=self.device) - torch.from_numpy(first_N).to(self.device)[:, None]
        cos, sin = tables(self.rope, position, self.rows.config.head_dim)
        return cos[:, 0].to(self.rows.dtype), sin[:, 0].to(self.rows.dtype)

    def attend(self, layer: int, q_BHC: Tensor, k_BKC: Tensor, v_BKC: Tensor) -> Tensor:
        """Attention of the newest token of each row over keys, (B, H, C); its own enters the cache. q is scaled."""
        plan = self._plan
        assert plan is not None, "attend() runs between begin() and end()"
        stored = plan.values[layer]
        stored[:, self.t] = v_BKC[:, 0]
        scores = torch.bmm(q_BHC, rotate(stored, *self._rows_turn).mT)
        if plan.lanes:
            keys = rotate(plan.lane_values[layer], *self._lanes_turn).mT
            scores = torch.cat([self._lane_product(q_BHC[:, None], keys)[:, 0], scores], -1)
        weights = scores.add_(plan.bias).softmax(-1)
        out = torch.bmm(weights[..., plan.columns :], stored)
        if plan.lanes:
            out += self._lane_product(weights[:, None, :, : plan.columns], plan.lane_values[layer])[:, 0]
        return out


Kind = tuple[int, Rope | None]
"""What a cache is for: the window, and with MFA-KR the rotary positions of the layer."""


def _kind(layer: Layer) -> Kind:
    return layer.window, layer.rope if layer.reuse else None


class HybridCache:
    """A `Cache` for each kind of layer, behind the interface of `Cache`."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        kinds = [_kind(layer) for layer in config.blocks]
        self.layers = {kind: [i for i, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)}
        self.caches: dict[Kind, Cache] = {}
        for (window, rope), layers in self.layers.items():
            some = replace(
                config, n_layers=len(layers), layers=tuple(config.blocks[i] for i in layers), drafts=(), vision=None
            )
            if rope is not None:
                self.caches[window, rope] = KeyCache(some, dtype, device, rope)
            else:
                plain = RingCache(some, dtype, device, window) if window else _plain(some, dtype, device)
                self.caches[window, rope] = plain
        self._where = {i: (self.caches[kind], n) for kind, layers in self.layers.items() for n, i in enumerate(layers)}

    def _split(self, block: Block) -> list[tuple[Cache, Block]]:
        return [
            (self.caches[kind], Block([block.keys[i] for i in layers], [block.values[i] for i in layers]))
            for kind, layers in self.layers.items()
        ]

    def reset(self) -> None:
        """As `Cache.reset`, of all."""
        for cache in self.caches.values():
            cache.reset()

    def reserve(self, rows: int, prompt: int) -> None:
        """As `Cache.reserve`, of all."""
        for cache in self.caches.values():
            cache.reserve(rows, prompt)

    def join(self, block: Block, which: Sequence[int], lengths: Sequence[int]) -> None:
        """As `Cache.join`, of all."""
        for cache, part in self._split(block):
            cache.join(part, which, lengths)

    def open_lane(self, block: Block, which: int, length: int) -> int:
        """As `Cache.open_lane`, of all: they number lanes alike."""
        lanes = [cache.open_lane(part, which, length) for cache, part in self._split(block)]
        return lanes[0]

    def join_lane(self, lane: int, n: int) -> None:
        """As `Cache.join_lane`, of all."""
        for cache in self.caches.values():
            cache.join_lane(lane, n)

    def close_lane(self, lane: int) -> int:
        """As `Cache.close_lane`, of all."""
        moved = [cache.close_lane(lane) for cache in self.caches.values()]
        return moved[0]

    def keep(self, target: np.ndarray, source: np.ndarray, active: int) -> None:
        """As `Cache.keep`, of all."""
        for cache in self.caches.values():
            cache.keep(target, source, active)

    def begin(self) -> None:
        """As `Cache.begin`, of all."""
        for cache in self.caches.values():
            cache.begin()

    def end(self) -> None:
        """As `Cache.end`, of all."""
        for cache in self.caches.values():
            cache.end()

    def held(self, row: int) -> int:
        """As `Cache.held`, over all."""
        return sum(cache.held(row) for cache in self.caches.values())

    def attend(self, layer: int, q_BHC: Tensor, k_BKC: Tensor, v_BKC: Tensor) -> Tensor:
        """As `Cache.attend`, in the layer's cache."""
        cache, number = self._where[layer]
        return cache.attend(number, q_BHC, k_BKC, v_BKC)


def make_cache(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Cache | HybridCache:
    """The cache this decoder needs."""
    plain = all(_kind(layer) == (0, None) for layer in config.blocks)
    return _plain(config, dtype, device) if plain else HybridCache(config, dtype, device)


def _plain(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Cache:
    return FusedCache(config, dtype, device) if device.type == "cuda" else Cache(config, dtype, device)
