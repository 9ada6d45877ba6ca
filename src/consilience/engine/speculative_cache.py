"""Keys and values by position, for passes over several tokens a row of which some are taken back.

Shape letters as in cache.py, plus T tokens a row in one pass, J tokens of a prompt. Token p of a row lies in column
(p + margin) modulo the columns: in its own column where a layer sees everything, and in a ring where it sees a window.
Taking tokens back costs nothing: what lies behind a row's last valid token is never seen, and the next pass overwrites
it. Rings are wider than the window by what a pass may write ahead, so that nothing a row still sees is lost to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from consilience.engine.shelf import Block, Shelf
from consilience.nn.config import ModelConfig
from consilience.nn.layers import Layer

_SPARE = 32
"""Columns beyond what is needed when a store grows; a longer one grows by an eighth."""


class _Store:
    """The layers with one window. ahead: tokens of a row that may be written before one of them is final."""

    def __init__(
        self, config: ModelConfig, window: int, dtype: torch.dtype, device: torch.device, ahead: int, margin: int
    ) -> None:
        self.shelf, self.window, self.margin = Shelf(config, dtype, device), window, margin
        self.ring = window + ahead - 1 if window else 0
        self.column_BT = self.row_B1 = self.bias = torch.zeros(0, device=device)

    def reserve(self, rows: int, longest: int, active: int) -> None:
        """Room for rows of up to `longest` tokens; a store that sees everything shrinks again where it is too wide."""
        shelf, need = self.shelf, longest + self.margin
        columns = shelf.columns
        if self.ring:
            columns = self.ring
        elif not need <= columns <= 2 * need + 4 * _SPARE:
            columns = -(-(need + max(_SPARE, need // 8)) // 16) * 16
        if rows > shelf.size or columns != shelf.columns:
            size = shelf.size if rows <= shelf.size else max(rows, 2 * shelf.size)
            kept = slice(0, min(columns, shelf.columns))
            shelf.resize(size, columns, kept, kept, active)

    def put(
        self, rows_B: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], which_B: Tensor, length_B: Tensor
    ) -> None:
        """Prompts, right-aligned in blocks: entry which of each, of which the last `length` columns are its tokens."""
        width = keys[0].shape[2]
        kept = min(width, self.shelf.columns)
        place_J = torch.arange(-kept, 0, device=rows_B.device)
        column_BJ = (length_B[:, None] + place_J + self.margin) % self.shelf.columns
        for store, blocks in ((self.shelf.keys, keys), (self.shelf.values, values)):
            for tensor, block in zip(store, blocks, strict=True):
                tensor[rows_B[:, None], :, column_BJ] = block[which_B, :, width - kept :].transpose(1, 2)

    def begin(self, position_BT: Tensor) -> None:
        """Prepare a pass over these consecutive positions of each row: where they go, and what each token sees."""
        columns = self.shelf.columns
        self.row_B1 = torch.arange(len(position_BT), device=position_BT.device)[:, None]
        self.column_BT = (position_BT + self.margin) % columns
        last_B1 = position_BT[:, -1:]
        column = torch.arange(columns, device=position_BT.device)
        held_B1S = (last_B1 - (last_B1 + self.margin - column) % columns)[:, None]
        own_BT1 = position_BT[..., None]
        # a place before the first token sees itself, so that no softmax is empty
        seen = (held_B1S <= own_BT1) & ((held_B1S >= 0) | (held_B1S == own_BT1))
        if self.window:
            seen &= held_B1S > own_BT1 - self.window
        bias = torch.zeros(seen.shape, dtype=self.shelf.dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
        self.bias = bias[:, None, None]

    def attend(self, layer: int, q_NHC: Tensor, k_NKC: Tensor, v_NKC: Tensor) -> Tensor:
        """What each token of the pass sees, (N, H, C) with N = B·T; its key and value enter the store. q is scaled."""
        (b, t), (_, h, c), k = self.column_BT.shape, q_NHC.shape, k_NKC.shape[1]
        keys, values = self.shelf.keys[layer][:b], self.shelf.values[layer][:b]
        keys[self.row_B1, :, self.column_BT] = k_NKC.view(b, t, k, c)
        values[self.row_B1, :, self.column_BT] = v_NKC.view(b, t, k, c)
        q = q_NHC.view(b, t, k, h // k, c).permute(0, 2, 3, 1, 4).reshape(b * k, -1, c)
        scores = torch.bmm(q, keys.flatten(0, 1).mT).view(b, k, h // k, t, -1)
        weights = scores.add_(self.bias).softmax(-1).view(b * k, h // k * t, -1)
        out = torch.bmm(weights, values.flatten(0, 1)).view(b, k, h // k, t, c)
        return out.permute(0, 3, 1, 2, 4).reshape(b * t, h, c)


class PositionCache:
    """Keys and values of some layers, a store for each window. A pass is `begin`, then `attend` once a layer.

    Args:
        layers: what the layers are; the others of `config` do not matter.
        ahead: tokens of a row that are written before one of them is final, at most.
        margin: a pass may begin so many places before a row's first token.
    """

    def __init__(
        self,
        config: ModelConfig,
        layers: Sequence[Layer],
        dtype: torch.dtype,
        device: torch.device,
        ahead: int,
        margin: int = 0,
    ) -> None:
        windows = [layer.window for layer in layers]
        self.stores: dict[int, _Store] = {}
        self._where: dict[int, tuple[_Store, int]] = {}
        for window in dict.fromkeys(windows):
            own = [i for i, other in enumerate(windows) if other == window]
            some = replace(config, n_layers=len(own), layers=tuple(layers[i] for i in own), drafts=(), vision=None)
            self.stores[window] = _Store(some, window, dtype, device, ahead, margin)
            self._where |= {i: (self.stores[window], n) for n, i in enumerate(own)}

    def reserve(self, rows: int, longest: int, active: int) -> None:
        """Room for `rows` rows of up to `longest` tokens; the first `active` rows keep theirs."""
        for store in self.stores.values():
            store.reserve(rows, longest, active)

    def put(self, rows_B: Tensor, block: Block, which_B: Tensor, length_B: Tensor) -> None:
        """Write prompts into rows: entry `which` of a prefilled block, `length` tokens each."""
        for store in self.stores.values():
            own = [i for i, (other, _) in self._where.items() if other is store]
            store.put(rows_B, [block.keys[i] for i in own], [block.values[i] for i in own], which_B, length_B)

    def move(self, target: Tensor, source: Tensor) -> None:
        """Copy rows `source` over rows `target`."""
        for store in self.stores.values():
            store.shelf.move(target, source)

    def begin(self, position_BT: Tensor) -> None:
        """Prepare a pass over consecutive positions (B, T) of rows 0 … B−1."""
        for store in self.stores.values():
            store.begin(position_BT)

    def attend(self, layer: int, q_NHC: Tensor, k_NKC: Tensor, v_NKC: Tensor) -> Tensor:
        """As the engine's forward passes call it: tokens of one row one after another, N = B·T."""
        store, number = self._where[layer]
        return store.attend(number, q_NHC, k_NKC, v_NKC)
