"""Who drafts: the model's own heads (multi-token prediction, arXiv 2412.19437, 2602.10604 §2.2), or a smaller model.

Shape letters as in speculative_law.py, plus P recent places a row, D width, W columns of prefilled prompts. n is the
position of a row's last known token, which no model has read yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.engine.parts import token_forward
from consilience.engine.prefill import prefill
from consilience.engine.shelf import Block
from consilience.engine.speculative_cache import PositionCache
from consilience.nn.attention import attention, causal
from consilience.nn.decoder import Decoder
from consilience.nn.parts.draft import Draft
from consilience.nn.template import Prompt

_PAD = 0
"""Stands where there is no token; what is computed there is never seen."""
Choose = Callable[[int, Tensor], Tensor]
"""(draft's number, logits (B, V)) → its tokens (B,)."""


@dataclass(frozen=True, eq=False)
class Prefilled(Block):
    """Prompts that target and drafter have read: keys and values of the target, those of the drafter, the last P tokens
    of each prompt, and with heads the trunk's states at the P places before the last token."""

    drafter: Block
    recent_BP: Tensor
    states_BPD: Tensor | None = None


class Drafter(Protocol):
    """Proposes K tokens a row. It keeps rows in step with the batch: `put` new ones, `move` them, `advance` all."""

    drafts: int

    def prefill(self, prompts: Sequence[Prompt]) -> Prefilled: ...

    def reserve(self, rows: int, longest: int, active: int) -> None: ...

    def put(self, rows_B: Tensor, prompts: Prefilled, which_B: Tensor, length_B: Tensor) -> None: ...

    def move(self, target: Tensor, source: Tensor) -> None: ...

    def propose(self, n_B: Tensor, choose: Choose) -> None:
        """Call `choose` for draft 0 … K − 1 of every row."""
        ...

    def advance(self, count_B: Tensor, token_BT: Tensor, states_BTD: Tensor) -> None:
        """count tokens of each row are final; states are the trunk's at the places n … n + K."""
        ...

    def refresh(self) -> None: ...


class _Recent:
    """A tensor (rows, P, …) of what was last at P places, following the rows."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.all = torch.zeros(0, *shape, dtype=dtype, device=device)

    def reserve(self, rows: int) -> None:
        if rows > len(self.all):
            more = torch.zeros(max(rows, 2 * len(self.all)) - len(self.all), *self.all.shape[1:])
            self.all = torch.cat([self.all, more.to(self.all)])

    def shift(self, count_B: Tensor, new: Tensor) -> None:
        """Append `count` of the new entries (B, T, …) to each row; the oldest go."""
        b, p = len(count_B), self.all.shape[1]
        at_BP = count_B[:, None] + torch.arange(p, device=count_B.device)
        at = at_BP.view(b, p, *[1] * (new.ndim - 2)).expand(b, p, *new.shape[2:])
        self.all[:b] = torch.cat([self.all[:b], new.to(self.all.dtype)], 1).gather(1, at)


class Heads:
    """The model's own drafting heads, each with a cache of its own.

    Head h reads token t + 1 + h at place t. What it wrote at the last places of a pass came from drafts, so each pass
    reads the last 2K places again: as many as can be new, or were drafts before.
    """

    def __init__(self, model: Decoder, drafts: int, serial: bool) -> None:
        self.model, self.drafts, self.serial = model, drafts, serial
        weight = model.embedding.weight
        self.places = 2 * drafts
        config, kind, device = model.config, weight.dtype, weight.device
        layers = config.drafts[:drafts]
        self.cache = PositionCache(config, layers, kind, device, ahead=self.places, margin=self.places)
        self.recent = _Recent((self.places,), torch.int64, device)
        self.states = _Recent((self.places, config.d_model), kind, device)
        self.forward = token_forward(model)
        self.scale = config.head_dim**-0.5

    def refresh(self) -> None:
        """The model has new weights."""
        self.forward.refresh()

    def prefill(self, prompts: Sequence[Prompt]) -> Prefilled:
        """Trunk and heads over all tokens of the prompts but the last."""
        model, config = self.model, self.model.config
        device = model.embedding.weight.device
        n, width = len(prompts), max(2, *(len(p) for p in prompts)) - 1
        padded = [[_PAD] * (width + 1 - len(p)) + list(p.tokens) for p in prompts]
        all_BT = torch.tensor(padded, dtype=torch.int64, device=device)
        column = torch.arange(width, device=device)
        pad_B1 = torch.tensor([[width + 1 - len(p)] for p in prompts], device=device)
        own = torch.eye(width, dtype=torch.bool, device=device)  # a padding token looks at itself: no softmax is empty
        windows = [layer.window for layer in config.blocks + config.drafts]
        allowed = {w: ((column >= pad_B1)[:, None] & causal(width, device, w)) | own for w in set(windows)}
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def look(layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
            keys.append(k)
            values.append(v)
            return attention(q, k, v, allowed[window])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.view(n, width, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
            o_BHTC = look(layer, q / self.scale, k, v, windows[layer])
            return o_BHTC.transpose(1, 2).reshape(n * width, q.shape[1], -1)

        position_BT = (column - pad_B1).clamp(min=0)
        pictures = [picture for prompt in prompts for picture in prompt.pictures]
        x_BTD = model.embed(all_BT[:, :-1], pictures)
        states_BTD = self.forward.layers_of(x_BTD.flatten(0, 1), position_BT.flatten(), attend).view(n, width, -1)
        source = states_BTD
        for head in range(self.drafts):
            later_BT = F.pad(all_BT[:, 1 + head :], (0, head), value=_PAD)[:, :width]
            source = model.draft(head, later_BT, source if self.serial else states_BTD, position_BT, look)
        c, p = config.n_layers, self.places
        recent_BP = F.pad(all_BT, (p, 0), value=_PAD)[:, -p:]
        states_BPD = F.pad(states_BTD, (0, 0, p, 0))[:, -p:]
        return Prefilled(keys[:c], values[:c], Block(keys[c:], values[c:]), recent_BP, states_BPD)

    def reserve(self, rows: int, longest: int, active: int) -> None:
        """Room for rows."""
        self.cache.reserve(rows, longest, active)
        self.recent.reserve(rows)
        self.states.reserve(rows)

    def put(self, rows_B: Tensor, prompts: Prefilled, which_B: Tensor, length_B: Tensor) -> None:
        """New rows behind prompts of `length` tokens and one."""
        assert prompts.states_BPD is not None
        self.cache.put(rows_B, prompts.drafter, which_B, length_B)
        self.recent.all[rows_B] = prompts.recent_BP[which_B]
        self.states.all[rows_B] = prompts.states_BPD[which_B]

    def move(self, target: Tensor, source: Tensor) -> None:
        """Copy rows `source` over rows `target`."""
        self.cache.move(target, source)
        for recent in (self.recent, self.states):
            recent.all[target] = recent.all[source]

    def propose(self, n_B: Tensor, choose: Choose) -> None:
        """Head h reads the last places with what is known or drafted there, and drafts token n + 1 + h."""
        b, p = len(n_B), self.places
        position_BP = n_B[:, None] + torch.arange(-p, 0, device=n_B.device)
        self.cache.begin(position_BP)
        place_BP = position_BP.clamp(0, self.model.config.max_context - 1)
        states_BPD = source = self.states.all[:b]
        token_BT = self.recent.all[:b]
        e_BTD = self.model.embedding(token_BT)
        layer = self.model.config.n_layers
        rotations = self.model.rotations(place_BP, e_BTD.dtype)[layer:]
        for head in range(self.drafts):
            part = self.model.drafts[head]
            assert isinstance(part, Draft)
            seen_BPD = source if self.serial else states_BPD
            source = part(e_BTD[:, head : head + p], seen_BPD, *rotations[head], layer + head, self._look)
            token_B1 = choose(head, part.logits(source[:, -1]))[:, None]
            e_BTD = torch.cat([e_BTD, self.model.embedding(token_B1)], 1)

    def _look(self, layer: int, q_BHTC: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
        b, h, t, c = q_BHTC.shape
        q, k, v = (x.transpose(1, 2).reshape(b * t, -1, c) for x in (q_BHTC * self.scale, k, v))
        o_NHC = self.cache.attend(layer - self.model.config.n_layers, q, k, v)
        return o_NHC.view(b, t, h, c).transpose(1, 2)

    def advance(self, count_B: Tensor, token_BT: Tensor, states_BTD: Tensor) -> None:
        """The last places move on."""
        self.recent.shift(count_B, token_BT)
        self.states.shift(count_B, states_BTD)


class Smaller:
    """Another decoder of the same vocabulary that drafts one token after another.

    It reads the last two known tokens first: after K accepted drafts it has not read the last of them.
    """

    def __init__(self, model: Decoder, target: Decoder, drafts: int) -> None:
        self.model, self.drafts = model, drafts
        weight, config = model.embedding.weight, model.config
        self.cache = PositionCache(config, config.blocks, weight.dtype, weight.device, ahead=drafts + 1, margin=1)
        self.recent = _Recent((2,), torch.int64, weight.device)
        self.forward, self.target = token_forward(model), token_forward(target)

    def refresh(self) -> None:
        """The models have new weights."""
        self.forward.refresh()
        self.target.refresh()

    def prefill(self, prompts: Sequence[Prompt]) -> Prefilled:
        """Both models over all tokens of the prompts but the last."""
        device = self.model.embedding.weight.device
        recent_B2 = torch.tensor([[_PAD, *p.tokens][-2:] for p in prompts], dtype=torch.int64, device=device)
        block = prefill(self.target, prompts)
        return Prefilled(block.keys, block.values, prefill(self.forward, prompts), recent_B2)

    def reserve(self, rows: int, longest: int, active: int) -> None:
        """Room for rows."""
        self.cache.reserve(rows, longest, active)
        self.recent.reserve(rows)

    def put(self, rows_B: Tensor, prompts: Prefilled, which_B: Tensor, length_B: Tensor) -> None:
        """New rows behind prompts of `length` tokens and one."""
        if prompts.drafter.columns:
            self.cache.put(rows_B, prompts.drafter, which_B, length_B)
        self.recent.all[rows_B] = prompts.recent_BP[which_B]

    def move(self, target: Tensor, source: Tensor) -> None:
        """Copy rows `source` over rows `target`."""
        self.cache.move(target, source)
        self.recent.all[target] = self.recent.all[source]

    def propose(self, n_B: Tensor, choose: Choose) -> None:
        """K passes of the smaller model."""
        token_BT = self.recent.all[: len(n_B)]
        first_B1 = n_B[:, None] - 1
        for i in range(self.drafts):
            position_BT = first_B1 + torch.arange(token_BT.shape[1], device=n_B.device)
            logits_BV = self._read(token_BT, position_BT)
            first_B1 = position_BT[:, -1:] + 1
            token_BT = choose(i, logits_BV)[:, None]

    def _read(self, token_BT: Tensor, position_BT: Tensor) -> Tensor:
        self.cache.begin(position_BT)
        place_N = position_BT.clamp(0, self.model.config.max_context - 1).flatten()
        x_ND = F.embedding(token_BT.flatten(), self.model.embedding.weight)
        x_BTD = self.forward.layers_of(x_ND, place_N, self.cache.attend).view(*token_BT.shape, -1)
        return self.model.logits(self.model.norm(x_BTD[:, -1]))

    def advance(self, count_B: Tensor, token_BT: Tensor, states_BTD: Tensor) -> None:
        """The last two known tokens."""
        self.recent.shift(count_B, token_BT)
