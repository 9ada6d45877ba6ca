"""Prompts to keys and values, several at once.

Shape letters as in nn/decoder.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consilience.engine.forward import TokenForward
from consilience.engine.parts import PartsForward
from consilience.engine.shelf import Block
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attention, causal
from consilience.nn.template import Prompt

TOKENS = 4096
"""Padded prompt tokens forwarded at once, unless one prompt alone is longer."""


def prefill(forward: TokenForward | PartsForward, prompts: Sequence[Prompt]) -> Block:
    """Keys and values of all tokens but the last one of each prompt, which the first decoding step feeds.

    Prompts are padded on the left, so that they end in the same column; what stands in the padding is finite and
    must be masked by the reader.
    """
    model = forward.model
    device = model.embedding.weight.device
    n, width = len(prompts), max(2, *(len(p) for p in prompts)) - 1
    padded = [[tk.PAD] * (width - len(p) + 1) + list(p.tokens[:-1]) for p in prompts]
    tokens_BT = torch.tensor(padded, dtype=torch.int64, device=device).view(n, width)
    column = torch.arange(width, device=device)
    pad_B1 = torch.tensor([[width - len(p) + 1] for p in prompts], device=device)
    # a padding token looks at itself, so that no softmax is empty
    own = torch.eye(width, dtype=torch.bool, device=device)
    windows = [layer.window for layer in model.config.blocks]
    allowed = {w: ((column >= pad_B1)[:, None] & causal(width, device, w)) | own for w in set(windows)}
    keys: list[Tensor] = []
    values: list[Tensor] = []

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
        q, k, v = (x.view(n, width, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
        keys.append(k)
        values.append(v)
        if layer == model.config.n_layers - 1:
            return None
        return (
            attention(q * q.shape[-1] ** 0.5, k, v, allowed[windows[layer]])
            .transpose(1, 2)
            .reshape(n * width, q.shape[1], -1)
        )

    pictures = [picture for prompt in prompts for picture in prompt.pictures]
    x_BTD = model.embed(tokens_BT, pictures)
    forward.layers_of(x_BTD.flatten(0, 1), (column - pad_B1).clamp(min=0).flatten(), attend)
    return Block(keys, values)
