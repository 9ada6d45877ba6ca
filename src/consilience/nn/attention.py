"""Who sees whom: attention over whole rows, and over responses that share one prompt.

Shape letters as in decoder.py, plus: P prompt tokens, R response tokens, G responses a prompt, M real tokens of
padded rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.nn.parts.attention import Attend


def scores_BKgTS(q_BHTC: Tensor, k_BKSC: Tensor) -> Tensor:
    """Scaled dot products, the g = H/K query heads of one key head side by side: (B, K, g, T, S)."""
    b, h, t, c = q_BHTC.shape
    k_heads = k_BKSC.shape[1]
    q = (q_BHTC * c**-0.5).reshape(b, k_heads, (h // k_heads) * t, c)
    scores: Tensor = q @ k_BKSC.transpose(-1, -2)
    return scores.view(b, k_heads, h // k_heads, t, -1)


def attention(q_BHTC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, allowed: Tensor) -> Tensor:
    """Softmax attention, (B, H, T, C). allowed: bool, broadcastable to (B, T, S).

    On a CPU three plain products in bfloat16 are 3 times faster, forward and backward, than
    scaled_dot_product_attention at these sizes. Elsewhere the fused kernel runs, and in float32 without gradient, where
    it is 3 times faster from a few hundred tokens on.
    """
    b, h, t, c = q_BHTC.shape
    k_heads = k_BKSC.shape[1]
    if q_BHTC.device.type != "cpu" or (q_BHTC.dtype == torch.float32 and not torch.is_grad_enabled()):
        mask = allowed.expand(b, t, k_BKSC.shape[2])[:, None]
        return F.scaled_dot_product_attention(q_BHTC, k_BKSC, v_BKSC, attn_mask=mask, enable_gqa=h != k_heads)
    bias = torch.zeros(allowed.shape, dtype=q_BHTC.dtype).masked_fill_(~allowed, -torch.inf)
    weights = (scores_BKgTS(q_BHTC, k_BKSC) + bias[:, None, None]).softmax(-1)
    return (weights.view(b, k_heads, -1, k_BKSC.shape[2]) @ v_BKSC).view(b, h, t, c)


def causal(t: int, device: torch.device | None = None, window: int = 0) -> Tensor:
    """Lower-triangular (1, T, T) mask of allowed pairs; with a window, i sees j where 0 ≤ i − j < window."""
    mask = torch.ones(1, t, t, dtype=torch.bool, device=device).tril()
    return mask.triu(1 - window) if window else mask


def attend_causal(t: int, device: torch.device | None = None) -> Attend:
    """Every token sees itself and what stands before it in its row and window; right padding is harmless."""
    masks = {0: causal(t, device)}

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
        if window not in masks:
            masks[window] = causal(t, device, window)
        return attention(q, k, v, masks[window])

    return attend


class _Spread(torch.autograd.Function):
    """Rows x (m, C) to their places among `size` of zeros; its gradient is `_Select`. No two share a place."""

    @staticmethod
    def forward(ctx: Any, x_mC: Tensor, places_m: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(places_m)
        return x_mC.new_zeros(size, x_mC.shape[1]).index_copy_(0, places_m, x_mC)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].index_select(0, *ctx.saved_tensors), None, None


class _Select(torch.autograd.Function):
    """The rows (m, C) at some places; its gradient is `_Spread`."""

    @staticmethod
    def forward(ctx: Any, x_nC: Tensor, places_m: Tensor) -> Tensor:
        ctx.save_for_backward(places_m)
        ctx.size = len(x_nC)
        return x_nC.index_select(0, places_m)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places_m,), gradient_mC = ctx.saved_tensors, gradients[0]
        return gradient_mC.new_zeros(ctx.size, gradient_mC.shape[1]).index_copy_(0, places_m, gradient_mC), None


def packed(attend: Attend, real_NR: Tensor) -> Attend:
    """`attend`, which sees rows (N, heads, R, C), for a decoder that runs on their real tokens alone, (1, heads, M, C).

    Everything but attention then costs nothing at padding. real_NR: bool, where a token is; rows in reading order.
    """
    n, r = real_NR.shape
    row_M, column_M = real_NR.nonzero().unbind(1)
    made: dict[int, Tensor] = {}

    def places(heads: int) -> Tensor:
        """Of each head's tokens among the flattened (N, heads, R)."""
        if heads not in made:
            head_H1 = torch.arange(heads, device=row_M.device)[:, None]
            made[heads] = ((row_M * heads + head_H1) * r + column_M).reshape(-1)
        return made[heads]

    def rows(x_1HMC: Tensor) -> Tensor:
        _, heads, m, c = x_1HMC.shape
        flat: Tensor = _Spread.apply(x_1HMC.reshape(heads * m, c), places(heads), n * heads * r)  # type: ignore[no-untyped-call]
        return flat.view(n, heads, r, c)

    def look(layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
        out_NHRC = attend(layer, rows(q), rows(k), rows(v), window=window)
        heads, c = out_NHRC.shape[1], out_NHRC.shape[3]
        picked: Tensor = _Select.apply(out_NHRC.reshape(-1, c), places(heads))  # type: ignore[no-untyped-call]
        return picked.view(1, heads, -1, c)

    return look


class SharedPrompt:
    """Forward a prompt once, then all its responses against the prompt's keys and values, with gradients.

    Use: `Decoder.fill` with `attend_prompt` for the (B, P) prompts, then `attend_responses` for (B·G, R) responses, the
    G of one prompt consecutive. Saves (G−1)/G of the prompt's work; equal to separate rows up to rounding.
    """

    def __init__(self, prompt_lengths_B: Tensor, layers: int) -> None:
        self.lengths = prompt_lengths_B
        self.layers = layers
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend_prompt(self, layer: int, q: Tensor, k: Tensor, v: Tensor, /, window: int = 0) -> Tensor:
        self.keys.append(k)
        self.values.append(v)
        if layer == self.layers - 1:
            return q  # `Decoder.fill` wants nothing from the last layer but its keys and values
        return attention(q, k, v, causal(q.shape[2], q.device, window))

    def attend_responses(
        self, layer: int, q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor, /, window: int = 0
    ) -> Tensor:
        key_P, value_P = self.keys[layer], self.values[layer]
        prompts, k_heads, p, c = key_P.shape
        rows, h, r, _ = q_BHTC.shape
        group, per_key = rows // prompts, h // k_heads
        # queries of one prompt side by side: (B, K, G·g·R, C)
        q = (q_BHTC * c**-0.5).view(prompts, group, k_heads, per_key * r, c).transpose(1, 2)
        to_prompt = (q.reshape(prompts, k_heads, -1, c) @ key_P.transpose(-1, -2)).view(
            prompts, k_heads, group, per_key, r, p
        )
        dead = torch.arange(p, device=q.device) >= self.lengths[:, None]
        if window:
            gone = self._gone(p, r, window)  # (B, R, P)
            to_prompt = to_prompt.masked_fill(gone[:, None, None, None], -torch.inf)
        bias_p = torch.zeros(dead.shape, dtype=q.dtype, device=q.device).masked_fill_(dead, -torch.inf)
        to_prompt = to_prompt + bias_p[:, None, None, None, None]
        own = scores_BKgTS(q_BHTC, k_BKTC)  # (B·G, K, g, R, R)
        bias_r = torch.zeros(1, r, r, dtype=q.dtype, device=q.device).masked_fill_(
            ~causal(r, q.device, window), -torch.inf
        )
        own = (own + bias_r).view(prompts, group, k_heads, per_key, r, r).transpose(1, 2)
        weights = torch.cat([to_prompt, own], -1).softmax(-1)  # (B, K, G, g, R, P+R)
        from_prompt = weights[..., :p].reshape(prompts, k_heads, -1, p) @ value_P
        from_prompt = from_prompt.view(prompts, k_heads, group, per_key, r, c).transpose(1, 2)
        own_weights = weights[..., p:].transpose(1, 2).reshape(rows, k_heads, per_key * r, r)
        from_own = (own_weights @ v_BKTC).view(prompts, group, k_heads, per_key, r, c)
        return (from_prompt + from_own).reshape(rows, h, r, c)

    def _gone(self, p: int, r: int, window: int) -> Tensor:
        """(B, R, P): prompt tokens that have left the window of the response token at place length + R."""
        place = self.lengths[:, None] + torch.arange(r, device=self.lengths.device)
        return place[..., None] - torch.arange(p, device=self.lengths.device) >= window
