"""Total effective rank and shared latent dimension of every kind of attention (MFA, arXiv 2412.19255; Step-3,
arXiv 2507.19427, §5.1): by formula, and as the ranks of what our own parts compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from consilience.cost import load_model
from consilience.cost.attention import GroupedQuery, Latent, MultiMatrix
from consilience.nn.config import ModelConfig
from consilience.nn.count import kv_elements
from consilience.nn.layers import Layer
from consilience.nn.norm import RMSNorm
from consilience.nn.parts.attention import Attention, FactoredAttention
from consilience.nn.published import step3_vl_10b

D, N, H, C, R = 24, 6, 4, 8, 16
"""Model width; heads and their width where n·h = d; head width and query rank of MFA."""
FPBA = GroupedQuery(heads=D, kv_heads=D, head_dim=D)
"""The upper bound: a full bilinear form for every channel. It is no layer that anybody builds."""

TABLE = {
    "fpba": (FPBA, 2 * D * D, D, D * D),
    "mha": (GroupedQuery(N, N, H), 2 * N * H, H, N * H),
    "mqa": (GroupedQuery(N, 1, H), 2 * H, H, N * H),
    "gqa": (GroupedQuery(N, 2, H), 2 * 2 * H, H, N * H),
    "mla": (Latent(heads=N, kv_rank=C, rope_dim=C, nope_dim=H, value_dim=H), 2 * C, H, N * H),
    "mfa": (MultiMatrix(N, C, R), 2 * C, C, N * C),
    "mfa_kr": (MultiMatrix(N, C, R, key_reuse=True), C, C, N * C),
}
"""Kind → (attention, cached numbers a token and layer, rank of a head, total effective rank). Of MLA the paper charges
two latents; the released code caches the latent and a rotary key, which is the same number where both are C wide."""
SHARED = {"mha": D, "mqa": H, "gqa": 2 * H, "mla": C, "mfa": C, "mfa_kr": C}


@pytest.mark.parametrize("kind", TABLE)
def test_the_table_by_formula(kind: str) -> None:
    attention, cached, head, total = TABLE[kind]
    assert attention.cache_bytes(1) == cached
    assert attention.effective_rank == total == attention.heads * head
    if kind in SHARED:
        assert attention.shared_dim == SHARED[kind]


def test_the_published_ranks() -> None:
    """Step-3 64 · 256, DeepSeek-V3 128 · 128, Qwen3-MoE 64 · 128 (arXiv 2507.19427, §5.1)."""
    ranks = {name: load_model(name).layers[4].attention.effective_rank for name in ("step3", "deepseek_v3")}
    assert ranks == {"step3": 16384, "deepseek_v3": 16384}
    assert load_model("qwen3_235b_a22b").layers[0].attention.effective_rank == 8192


def test_the_capacity_of_step3_vl() -> None:
    """32 · 128 through 8 key heads: a quarter of Step-3's rank for twice its cache a layer."""
    attention = load_model("step3_vl_10b").layers[0].attention
    assert (attention.effective_rank, attention.shared_dim) == (4096, 1024)
    assert kv_elements(step3_vl_10b.released(), 1) == 36 * 2 * 1024


def rank(matrix: Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix))


def grouped(kv_heads: int) -> tuple[list[Tensor], Tensor, int]:
    """Per head the form x·W·y that scores are made of (without norm and rotation), all key maps, and cached numbers."""
    layer = Layer(n_heads=N, d_ff=D)
    part = Attention(D, layer, kv_heads, H, None, 1e-6).double()
    with torch.no_grad():
        q, k, _ = part.qkv.weight.normal_(generator=torch.Generator().manual_seed(1)).split(
            [N * H, kv_heads * H, kv_heads * H]
        )
    per = N // kv_heads
    forms = [q[i * H : i * H + H].T @ k[i // per * H : i // per * H + H] for i in range(N)]
    config = ModelConfig(n_layers=1, n_heads=N, n_kv_heads=kv_heads, head_dim=H)
    return forms, k, kv_elements(config, 1)


def factored(reuse: bool) -> tuple[list[Tensor], Tensor, int]:
    layer = Layer(n_heads=N, d_ff=D, query_rank=R, reuse=reuse)
    part = FactoredAttention(D, layer, C, RMSNorm, 1e-6).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        down = part.down.weight.normal_(generator=generator)
        up = part.up.weight.normal_(generator=generator)
    k = down[R : R + C]
    forms = [(up[i * C : i * C + C] @ down[:R]).T @ k for i in range(N)]
    config = ModelConfig(n_layers=1, n_heads=N, n_kv_heads=1, head_dim=C, layers=(layer,))
    return forms, k, kv_elements(config, 1)


@pytest.mark.parametrize("kind", ["mha", "gqa", "mqa", "mfa", "mfa_kr"])
def test_our_parts_have_the_ranks_of_the_table(kind: str) -> None:
    """Random weights reach every bound: the rank of each head's form, their sum, and of all keys together."""
    attention, cached, head, total = TABLE[kind]
    kv_heads = {"mha": N, "gqa": 2, "mqa": 1}
    forms, keys, numbers = grouped(kv_heads[kind]) if kind in kv_heads else factored(kind == "mfa_kr")
    assert [rank(form) for form in forms] == [head] * N
    assert sum(map(rank, forms)) == total == attention.effective_rank
    assert rank(keys) == SHARED[kind]
    assert numbers == cached
