"""The message contract between attention and FFN workers (Step-3, arXiv 2507.19427, §7.1), as bytes.

Attention → FFN: for each token the normalised hidden vector, in FP8 with a scale of its own, and which experts it has
chosen with which weights. FFN → attention: the worker's part of the output in bfloat16, which the attention side sums.

Shape letters: N tokens of a message, D width, A active experts a token (0 in dense layers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from consilience.engine.disaggregated.layout import Wire
from consilience.nn.config import ModelConfig

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
"""Largest finite number of E4M3."""


def quantise(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """E4M3 codes (N, D) and float32 scales (N, 1): the largest number of a token becomes 448. x ≈ codes · scale."""
    x = x_ND.float()
    scale_N1 = x.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny * LARGEST) / LARGEST
    return (x / scale_N1).clamp(-LARGEST, LARGEST).to(FP8), scale_N1


def dequantise(codes_ND: Tensor, scale_N1: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers that codes and scales stand for, (N, D)."""
    return (codes_ND.float() * scale_N1).to(dtype)


class Tokens(NamedTuple):
    """What an FFN worker needs of some tokens. expert_NA int64, weight_NA float32; (N, 0) in dense layers."""

    x_ND: Tensor
    expert_NA: Tensor
    weight_NA: Tensor


@dataclass(frozen=True)
class Contract:
    """Messages of one layer: `width` numbers a token, `active` chosen experts; dtype is what the model computes in."""

    width: int
    active: int
    wire: Wire
    dtype: torch.dtype

    @property
    def question_bytes(self) -> int:
        """Bytes a token from attention to FFN worker."""
        hidden = self.width + 4 if self.wire == "fp8" else self.width * self.dtype.itemsize
        return hidden + self.active * (2 + 4)

    @property
    def answer_bytes(self) -> int:
        """Bytes a token from FFN to attention worker."""
        return self.width * self.answer_dtype.itemsize

    @property
    def answer_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.wire == "fp8" else self.dtype

    def ask(self, tokens: Tokens) -> Tensor:
        """The message, uint8 (N, question_bytes)."""
        hidden = quantise(tokens.x_ND) if self.wire == "fp8" else (tokens.x_ND.to(self.dtype),)
        routing = (tokens.expert_NA.to(torch.int16), tokens.weight_NA.float()) if self.active else ()
        return torch.cat([_bytes(part) for part in (*hidden, *routing)], 1)

    def read(self, message_NX: Tensor) -> Tokens:
        """The tokens of a message."""
        at = 0

        def take(count: int, dtype: torch.dtype) -> Tensor:
            nonlocal at
            part, at = message_NX[:, at : at + count * dtype.itemsize], at + count * dtype.itemsize
            if not count:
                return message_NX.new_empty(len(message_NX), 0, dtype=dtype)
            return part.clone(memory_format=torch.contiguous_format).view(dtype)

        if self.wire == "fp8":
            codes_ND = take(self.width, FP8)
            x_ND = dequantise(codes_ND, take(1, torch.float32), self.dtype)
        else:
            x_ND = take(self.width, self.dtype)
        return Tokens(x_ND, take(self.active, torch.int16).long(), take(self.active, torch.float32))

    def answer(self, y_ND: Tensor) -> Tensor:
        """The message back, uint8 (N, answer_bytes)."""
        return _bytes(y_ND.to(self.answer_dtype))

    def total(self, answers: list[Tensor]) -> Tensor:
        """The sum of all FFN workers' parts in the order of their ranks, (N, D)."""
        parts = [message.view(self.answer_dtype) for message in answers]
        y_ND = parts[0].to(self.dtype)
        for part in parts[1:]:
            y_ND = y_ND + part.to(self.dtype)
        return y_ND


def contracts(config: ModelConfig, wire: Wire, dtype: torch.dtype) -> list[Contract]:
    """The contract of every layer."""
    layers = config.blocks
    return [Contract(config.d_model, layer.mixture.active if layer.mixture else 0, wire, dtype) for layer in layers]


def _bytes(x_NX: Tensor) -> Tensor:
    return x_NX.contiguous().view(torch.uint8)
