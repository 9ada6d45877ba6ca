"""Multi-head latent attention (MLA; DeepSeek-V2, arXiv 2405.04434, §2.1), in the form that decodes.

Shape letters as in nn/decoder.py, plus R query rank, L latent width, P rotated dimensions, W head width, and C = P + L.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from consilience.nn.layers import Layer
from consilience.nn.parts.attention import AttentionPart, Norm
from consilience.nn.parts.rope import rotate


class LatentAttention(AttentionPart):
    """All heads read keys and values out of one latent vector: k_h = U_h·c, v_h = V_h·c with c = RMSNorm(x·Wc).

    A key of P rotated dimensions, the same for all heads, carries positions. Since q·(U_h·c) = (U_hᵀ·q)·c, queries are
    mapped into the latent space, and attention is multi-query attention over [rotated key; latent], whose C numbers are
    both key and value; V_h is applied to what a head has seen. Scores are scaled by 1/√(P + W), the width of the
    heads that this stands for.
    """

    def __init__(self, d_model: int, layer: Layer, head_dim: int, norm: Norm, eps: float) -> None:
        super().__init__()
        self.heads, self.head_dim, self.window = layer.n_heads, head_dim, layer.window
        self.rotated, self.width, self.rank = layer.rope.dims, layer.latent_head, layer.query_rank
        latent = head_dim - self.rotated
        self.compress = nn.Linear(d_model, self.rank + head_dim, bias=False)
        self.query_norm = norm(self.rank, eps=eps) if self.rank else None
        self.latent_norm = norm(latent, eps=eps)
        self.query = nn.Linear(self.rank or d_model, self.heads * (self.rotated + self.width), bias=False)
        self.key_up = nn.Parameter(torch.zeros(self.heads, self.width, latent))
        self.value_up = nn.Parameter(torch.zeros(self.heads, self.width, latent))
        self.out = nn.Linear(self.heads * self.width, d_model, bias=False)

    def qkv_heads(self, x_BTD: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, C), and twice the one key [rotated; latent], (B, 1, T, C)."""
        b, t, _ = x_BTD.shape
        code, position, latent = self.compress(x_BTD).split(
            [self.rank, self.rotated, self.head_dim - self.rotated], dim=-1
        )
        source = x_BTD if self.query_norm is None else self.query_norm(code)
        q_BHTX = self.query(source).view(b, t, self.heads, self.rotated + self.width).transpose(1, 2)
        turning, still = q_BHTX.split([self.rotated, self.width], dim=-1)
        q_BHTC = torch.cat([rotate(turning, cos, sin).to(still.dtype), still @ self.key_up], -1)
        rotated = rotate(position[:, None], cos, sin).to(latent.dtype)
        k_B1TC = torch.cat([rotated, self.latent_norm(latent)[:, None]], -1)
        # `attend` divides by √C
        return q_BHTC * (self.head_dim / (self.rotated + self.width)) ** 0.5, k_B1TC, k_B1TC

    def close(self, o_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The latent part of what the heads saw, as values, to (B, T, D)."""
        b, _, t, _ = o_BHTC.shape
        v_BHTW = o_BHTC[..., self.rotated :] @ self.value_up.mT
        y_BTD: Tensor = self.out(v_BHTW.transpose(1, 2).reshape(b, t, self.heads * self.width))
        return y_BTD
