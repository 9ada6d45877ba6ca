"""Keys and values of the rows that decode together.

Shape letters as in nn/decoder.py, plus: L lanes (shared prompts), W rows a lane, P columns of shared prompts,
S columns of the rows' own windows, g = H/K query heads a key head.

The cache is aligned in TIME, not in position: in step t every row writes column t, so that one plain copy serves the
whole batch, and row b sees the columns from start[b] to t. A row that joins at column t brings its prompt right-aligned
into the columns before t. A prompt with several samples lies once in a lane, and its rows' windows hold only what they
generated. The products always run over all columns of a store, which therefore is kept little wider than what is
alive: libraries multiply a contiguous block in place, but copy a slice of one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from consilience.engine.shelf import Block, Shelf
from consilience.nn.config import ModelConfig

_MORE = 128
"""Rows by which the windows grow at most, once there are as many."""
_STEPS = 32
"""Steps between two moves of the windows at least; a longer window may run an eighth of its length."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What stays the same from step to step while no row comes or goes.

    keys (B·K, C, S), values (B·K, S, C): per layer, of the active rows. lane_keys (L·K, C, P) and lane_values
    (L·K, P, C): per layer, empty without lanes. width: W; columns: P. bias (B, 1, P + S): −inf where a row must not
    look, yet. slots (L·W): the row in each place of each lane; inverse (B): the place of each row; None where rows
    already stand in that order.
    """

    keys: list[Tensor]
    values: list[Tensor]
    lane_keys: list[Tensor]
    lane_values: list[Tensor]
    bias: Tensor
    lanes: int = 0
    width: int = 0
    columns: int = 0
    slots: Tensor | None = None
    inverse: Tensor | None = None


class Cache:
    """Windows of the rows, lanes of shared prompts, and the attention of one decoding step over both.

    Rows 0 … active−1 decode. A step is `begin`, `attend` once a layer, `end`.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.device = device
        self.rows, self.lanes = Shelf(config, dtype, device), Shelf(config, dtype, device)
        self.t = self.active = 0
        self._start_B = np.zeros(0, np.int64)
        self._lane_B = np.zeros(0, np.int64)
        self._length_L: list[int] = []
        self._plan: Plan | None = None

    def reset(self) -> None:
        """Without rows: back to the first column, so that a batch computes the same however many ran before it."""
        assert not self.active, "rows are still decoding"
        assert not self._length_L, "lanes are still open"
        self.t, self._plan = 0, None
        for shelf in (self.rows, self.lanes):
            shelf.resize(shelf.size, 0, slice(0, 0), slice(0, 0), 0)

    def reserve(self, rows: int, prompt: int) -> None:
        """Make room for `rows` rows in all and for prompts of up to `prompt` columns before column t."""
        if rows > self.rows.size:
            size = max(rows, self.rows.size + min(self.rows.size, _MORE))
            everything = slice(0, self.rows.columns)
            self.rows.resize(size, self.rows.columns, everything, everything, self.active)
            self._start_B = np.resize(self._start_B, size)
            self._lane_B = np.resize(self._lane_B, size)
        if self.t < prompt:
            self._reseat(prompt)

    def join(self, block: Block, which: Sequence[int], lengths: Sequence[int]) -> None:
        """New rows, each with its own copy of a prefilled prompt (entry of `block`, its length in tokens)."""
        new = np.arange(self.active, self.active + len(which))
        if block.columns:
            self.rows.put(torch.from_numpy(new).to(self.device), self.t, block, torch.tensor(which).to(self.device))
        self._start_B[new] = self.t - np.asarray(lengths)
        self._lane_B[new] = -1
        self.active, self._plan = self.active + len(which), None

    def open_lane(self, block: Block, which: int, length: int) -> int:
        """A lane with one prefilled prompt; returns its number."""
        lane, old = len(self._length_L), self.lanes.columns
        if lane >= self.lanes.size or block.columns > old:
            columns = max(old, block.columns)
            size = max(lane + 1, 2 * self.lanes.size) if lane >= self.lanes.size else self.lanes.size
            self.lanes.resize(size, columns, slice(0, old), slice(columns - old, columns), lane)
        where, entry = torch.tensor([lane], device=self.device), torch.tensor([which], device=self.device)
        if block.columns:
            self.lanes.put(where, self.lanes.columns, block, entry)
        self._length_L.append(length)
        return lane

    def join_lane(self, lane: int, n: int) -> None:
        """n new rows with empty windows behind the prompt of a lane."""
        new = slice(self.active, self.active + n)
        self._start_B[new], self._lane_B[new] = self.t, lane
        self.active, self._plan = self.active + n, None

    def close_lane(self, lane: int) -> int:
        """Free a lane without rows; the last lane takes its number. Returns that lane's old number."""
        last = len(self._length_L) - 1
        if lane != last:
            to, old = torch.tensor([lane], device=self.device), torch.tensor([last], device=self.device)
            self.lanes.move(to, old)
            live = self._lane_B[: self.active]
            live[live == last] = lane
            self._length_L[lane] = self._length_L[last]
        self._length_L.pop()
        self._plan = None
        return last

    def keep(self, target: np.ndarray, source: np.ndarray, active: int) -> None:
        """Rows `source` move to places `target`; the first `active` rows remain."""
        if len(target):
            self.rows.move(torch.from_numpy(target).to(self.device), torch.from_numpy(source).to(self.device))
            self._start_B[target] = self._start_B[source]
            self._lane_B[target] = self._lane_B[source]
        self.active, self._plan = active, None

    def begin(self) -> None:
        """Prepare a step: column t opens for every row."""
        if self._plan is None:
            dead = self._low()
            if dead >= _STEPS and dead > self.t // 4:
                self._reseat(0)
        if self.t >= self.rows.columns:
            self._reseat(0)
        self._plan = self._plan or self._make_plan()
        self._plan.bias[:, 0, self._plan.columns + self.t] = 0

    def end(self) -> None:
        """The step is over: time moves on."""
        self.t += 1

    def held(self, row: int) -> int:
        """Numbers of a row's keys and values that its last step saw, over the layers of this cache; meant for checking
        against `nn.count.kv_elements`, between steps in which no row came or went."""
        assert self._plan is not None, "held() follows a step in which no row came or went"
        columns = int((self._plan.bias[row, 0] == 0).sum())
        config = self.rows.config
        per_column = (1 if self.rows.one else 2) * config.n_kv_heads * config.head_dim
        return columns * per_column * config.n_layers

    def _low(self) -> int:
        return int(self._start_B[: self.active].min()) if self.active else self.t

    def _reseat(self, left: int) -> None:
        """Move what is alive so that it begins at column 0 or ends at column `left`, whichever lies further right."""
        low = self._low()
        t = max(self.t - low, left)
        columns = -(-(t + max(_STEPS, t // 8)) // 16) * 16
        self.rows.resize(self.rows.size, columns, slice(low, self.t), slice(t - self.t + low, t), self.active)
        self._start_B[: self.active] += t - self.t
        self.t, self._plan = t, None

    def _make_plan(self) -> Plan:
        b, lanes = self.active, len(self._length_L)
        start, lane = self._start_B[:b], self._lane_B[:b]
        keys, values = self.rows.flat(b)
        bias = torch.full((b, self.rows.columns), -torch.inf, dtype=self.rows.dtype, device=self.device)
        column = torch.arange(self.rows.columns, device=self.device)
        bias[(column >= torch.from_numpy(start).to(self.device)[:, None]) & (column < self.t)] = 0
        if not (lane >= 0).any():
            return Plan(keys, values, [], [], bias[:, None])
        columns = self.lanes.columns
        first = columns - np.array([*self._length_L, 0])[lane]  # a row without lane sees no column
        unseen = torch.arange(columns, device=self.device) < torch.from_numpy(first).to(self.device)[:, None]
        lane_bias = torch.zeros(unseen.shape, dtype=bias.dtype, device=self.device).masked_fill_(unseen, -torch.inf)
        guest = np.flatnonzero(lane < 0)
        seat = lane.copy()
        seat[guest] = np.arange(len(guest)) % lanes
        slots, inverse, width = self._seats(seat, lanes)
        bias = torch.cat([lane_bias, bias], 1)[:, None]
        return Plan(keys, values, *self.lanes.flat(lanes), bias, lanes, width, columns, slots, inverse)

    def _seats(self, lane_B: np.ndarray, lanes: int) -> tuple[Tensor | None, Tensor | None, int]:
        """slots, inverse and width of a plan. Rows without a lane sit in any: they see none of its columns."""
        count = np.bincount(lane_B, minlength=lanes)
        width = int(count.max())
        order = np.argsort(lane_B, kind="stable")
        first = np.cumsum(count) - count
        place = lane_B[order] * width + np.arange(len(order)) - first[lane_B[order]]
        slots, inverse = np.zeros(lanes * width, np.int64), np.empty(len(order), np.int64)
        slots[place], inverse[order] = order, place
        if len(slots) == len(order) and (slots == np.arange(len(order))).all():
            return None, None, width
        return torch.from_numpy(slots).to(self.device), torch.from_numpy(inverse).to(self.device), width

    def attend(self, layer: int, q_BHC: Tensor, k_BKC: Tensor, v_BKC: Tensor) -> Tensor:
        """Attention of the newest token of each row, (B, H, C); its key and value enter the cache. q is scaled."""
        plan = self._plan
        assert plan is not None, "attend() runs between begin() and end()"
        (b, h, c), k = q_BHC.shape, k_BKC.shape[1]
        keys, values = plan.keys[layer], plan.values[layer]
        keys[:, :, self.t] = k_BKC.reshape(b * k, c)
        values[:, self.t] = v_BKC.reshape(b * k, c)
        scores = torch.bmm(q_BHC.reshape(b * k, h // k, c), keys).view(b, h, -1)
        if plan.lanes:
            to_lane = self._lane_product(q_BHC.reshape(b, k, -1, c), plan.lane_keys[layer])
            scores = torch.cat([to_lane.reshape(b, h, -1), scores], -1)
        weights = scores.add_(plan.bias).softmax(-1)
        own = weights[..., plan.columns :] if plan.lanes else weights
        out = torch.bmm(own.reshape(b * k, h // k, -1), values).view(b, h, c)
        if plan.lanes:
            shared = weights[..., : plan.columns].reshape(b, k, h // k, -1)
            out += self._lane_product(shared, plan.lane_values[layer]).reshape(b, h, c)
        return out

    def _lane_product(self, x_BKgX: Tensor, lanes_NXY: Tensor) -> Tensor:
        """x times the matrix of the row's lane, (B, K, g, Y), N = L·K: one product a lane for all its rows."""
        plan = self._plan
        assert plan is not None
        k, g = x_BKgX.shape[1:3]
        x = x_BKgX if plan.slots is None else x_BKgX[plan.slots]
        x = x.reshape(plan.lanes, plan.width, k, g, -1).transpose(1, 2).reshape(plan.lanes * k, plan.width * g, -1)
        y = torch.bmm(x, lanes_NXY).view(plan.lanes, k, plan.width, g, -1).transpose(1, 2)
        y = y.reshape(plan.lanes * plan.width, k, g, -1)
        return y if plan.inverse is None else y[plan.inverse]
