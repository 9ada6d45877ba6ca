"""The one decoder. Shape letters: B rows, T tokens, S keys, D width, H query heads, K key/value heads, C head
dim, F feed-forward width, V vocabulary, N pictures.

How tokens look at each other is passed in: `attend(layer, q_BHTC, k_BKTC, v_BKTC) → o_BHTC`. Training, prompts
shared by several responses, and the engine's key/value cache are three such functions over the same weights. What a
block is built from (`nn.parts`) is said by the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from consilience.nn import tokenizer as tk
from consilience.nn.config import ModelConfig
from consilience.nn.layers import Layer
from consilience.nn.norm import CentredRMSNorm, RMSNorm
from consilience.nn.parts.attention import Attend, Attention, AttentionPart, FactoredAttention, Norm
from consilience.nn.parts.draft import Draft
from consilience.nn.parts.ffn import MixtureOfExperts, SwiGLU
from consilience.nn.parts.mla import LatentAttention
from consilience.nn.parts.rope import rope_tables, rotate, tables
from consilience.nn.pictures import TowerConfig
from consilience.nn.tower import Tower
from consilience.nn.vision import PatchEncoder, place_code, to_pixels

__all__ = ["Attend", "Attention", "Block", "Decoder", "SwiGLU", "rope_tables", "rotate"]

_START = {"bias": 0.0, "offset": 0.0, "alpha": 0.0, "class_token": 0.0}


def _norm(config: ModelConfig) -> Norm:
    return CentredRMSNorm if config.norm == "centred" else RMSNorm


class Block(nn.Module):
    """Pre-norm attention and feed-forward with residual connections."""

    def __init__(self, config: ModelConfig, layer: Layer) -> None:
        super().__init__()
        d, c, eps, norm = config.d_model, config.head_dim, config.norm_eps, _norm(config)
        self.attention_norm = norm(d, eps=eps)
        self.attention: AttentionPart
        if layer.latent_head:
            self.attention = LatentAttention(d, layer, c, norm, eps)
        elif layer.query_rank:
            self.attention = FactoredAttention(d, layer, c, norm, eps)
        else:
            self.attention = Attention(d, layer, config.n_kv_heads, c, norm if config.qk_norm else None, eps)
        self.ffn_norm = norm(d, eps=eps)
        mixture = layer.mixture
        self.ffn = MixtureOfExperts(d, mixture, layer.limit) if mixture else SwiGLU(d, layer.d_ff, layer.limit)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), cos, sin, layer, attend)
        y_BTD: Tensor = x_BTD + self.ffn(self.ffn_norm(x_BTD))
        return y_BTD


class Decoder(nn.Module):
    """Embedding (and eyes), blocks, final norm, head; and heads that draft further tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.vision: PatchEncoder | Tower | None = None
        if config.vision:
            eyes = Tower if isinstance(config.vision, TowerConfig) else PatchEncoder
            self.vision = eyes(config.vision, config.d_model)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(Block(config, layer) for layer in config.blocks)
        norm = _norm(config)
        self.norm = norm(config.d_model, eps=config.norm_eps)
        tied = config.tie_embeddings and config.head == "lm"
        width = config.vocab_size if config.head == "lm" else 1
        self.head = None if tied else nn.Linear(config.d_model, width, bias=False)
        self.drafts = nn.ModuleList(
            Draft(config.d_model, config.vocab_size, Block(config, layer), norm, config.norm_eps)
            for layer in config.drafts
        )
        self._ropes = tuple(layer.rope for layer in config.blocks + config.drafts)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights, std 1/√fan_in; residual outputs scaled by 1/√(2·layers); a value head starts at
        std 1/(D+1), so that first values are small (Open-Reasoner-Zero, arXiv 2503.24290). Location tokens start as the
        place codes of what they name, of the same size as the other embeddings."""
        residual = 1 / math.sqrt(2 * self.config.n_layers)
        for name, p in self.named_parameters():
            kind = name.rsplit(".", 1)[-1]
            if kind in _START or p.ndim < 2:
                nn.init.constant_(p, self._start(kind))
                continue
            std = p.shape[-1] ** -0.5 if p.ndim < 4 else p[0].numel() ** -0.5
            if p.ndim == 4 and not isinstance(self.vision, Tower):  # convolutions before a GELU
                std *= math.sqrt(2)
            if name == "head.weight" and self.config.head == "value":
                std = 1 / (self.config.d_model + 1)
            residual_output = name.endswith(("out.weight", "down.weight", "experts.down"))
            if residual_output and not name.endswith("attention.down.weight"):  # MFA's goes into the heads
                std *= residual
            nn.init.normal_(p, 0.0, std, generator=generator)
        if isinstance(self.vision, PatchEncoder):
            places = (torch.arange(len(tk.LOCATION_IDS)) + 0.5) / len(tk.LOCATION_IDS)
            code = place_code(places, self.config.d_model // 2) * (2 / self.config.d_model) ** 0.5
            with torch.no_grad():
                self.embedding.weight[list(tk.LOCATION_IDS)] = torch.cat([code, code], 1).to(self.embedding.weight)

    def _start(self, kind: str) -> float:
        vision = self.config.vision
        if kind.endswith("_scale") and isinstance(vision, TowerConfig):
            return vision.layer_scale
        return _START.get(kind, 1.0)

    def embed(self, tokens_BT: Tensor, pictures: Sequence[np.ndarray] = ()) -> Tensor:
        """Token embeddings (B, T, D) with the pictures' features in the image slots, in reading order.

        Raises:
            ValueError: pictures and image slots do not match in number.
        """
        x_BTD: Tensor = self.embedding(tokens_BT)
        if not pictures:
            return x_BTD
        assert self.vision is not None, "render() refuses pictures for a model without eyes"
        x_BTD = x_BTD.clone()
        features = torch.cat(self._see(pictures)).to(x_BTD.dtype)
        slots_BT = tokens_BT == self.config.image_token
        if int(slots_BT.sum()) != len(features):
            raise ValueError(f"{int(slots_BT.sum())} image slots for {len(features)} patch features")
        x_BTD[slots_BT] = features
        return x_BTD

    def _see(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        """Features (P, D) of each picture; pictures of one size run as one batch."""
        if isinstance(self.vision, Tower):
            return self.vision.see(pictures)
        assert self.vision is not None
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, picture in enumerate(pictures):
            by_size.setdefault(picture.shape, []).append(i)
        features: list[Tensor] = [torch.empty(0)] * len(pictures)
        weight = self.vision.project.weight
        for indices in by_size.values():
            pixels = to_pixels([pictures[i] for i in indices], self.vision.config).to(weight.device, weight.dtype)
            for i, feature_PD in zip(indices, self.vision(pixels), strict=True):
                features[i] = feature_PD
        return features

    def rotations(self, positions_BT: Tensor, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """Rotary cosines and sines (B, 1, T, ·) for each layer, drafting ones last; like layers share theirs."""
        made = {}
        for rope in dict.fromkeys(self._ropes):
            cos, sin = tables(rope, positions_BT, self.config.head_dim)
            made[rope] = (cos.to(dtype), sin.to(dtype))
        return [made[rope] for rope in self._ropes]

    def trunk(self, x_BTD: Tensor, positions_BT: Tensor, attend: Attend) -> Tensor:
        """The residual stream (B, T, D) behind the last block, before the final norm."""
        rotations = self.rotations(positions_BT, x_BTD.dtype)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, *rotations[layer], layer, attend)
        return x_BTD

    def forward(self, x_BTD: Tensor, positions_BT: Tensor, attend: Attend) -> Tensor:
        """Hidden states (B, T, D) after the final norm; `logits` turns them into head outputs."""
        h_BTD: Tensor = self.norm(self.trunk(x_BTD, positions_BT, attend))
        return h_BTD

    def fill(self, x_BTD: Tensor, positions_BT: Tensor, attend: Attend) -> None:
        """Like `forward`, for the keys and values that `attend` is shown alone: the last block stops at them."""
        rotations = self.rotations(positions_BT, x_BTD.dtype)
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            if layer < last:
                x_BTD = block(x_BTD, *rotations[layer], layer, attend)
            else:
                assert isinstance(block, Block)
                part = block.attention
                part.look(layer, attend, *part.qkv_heads(block.attention_norm(x_BTD), *rotations[layer]))

    def draft(self, head: int, later_BT: Tensor, h_BTD: Tensor, positions_BT: Tensor, attend: Attend) -> Tensor:
        """Hidden states (B, T, D) of drafting head 0, 1, … at positions t; its `logits` predict token t + 2 + head.

        Args:
            later_BT: token t + 1 + head at place t.
            h_BTD: the trunk's hidden state, or that of the head before.
        """
        layer = self.config.n_layers + head
        part = self.drafts[head]
        assert isinstance(part, Draft)
        rotation = self.rotations(positions_BT, h_BTD.dtype)[layer]
        x_BTD: Tensor = part(self.embedding(later_BT), h_BTD, *rotation, layer, attend)
        return x_BTD

    def logits(self, h: Tensor) -> Tensor:
        """Head outputs: (…, V) for a language model, (…, 1) for a value model."""
        output: Tensor = F.linear(h, self.embedding.weight) if self.head is None else self.head(h)
        return output

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())
