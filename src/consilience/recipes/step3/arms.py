"""Decoders that differ in their attention alone: equal width, depth, parameters and, but for two, cache."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from consilience.learn.byte_language import VOCABULARY
from consilience.nn.config import ModelConfig
from consilience.nn.count import block_counts
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Rope

WIDTH, LAYERS, PARAMETERS = 96, 2, 130_000
"""Model width, layers, and parameters of each layer: what attention leaves goes to the feed-forward part."""


class Arm(NamedTuple):
    """A decoder, the numbers its cache must hold for a token and layer, and the parameters of a layer's attention."""

    config: ModelConfig
    cached: int
    attention: int


def arm(name: str, length: int) -> Arm:
    """The decoder of an arm, for `length` tokens."""
    kv_heads, head_dim, cached, layer = {
        "mfa": (1, 48, 96, Layer(6, query_rank=48, d_ff=1)),
        "gqa": (3, 16, 96, Layer(6, d_ff=1)),
        "mha": (3, 16, 96, Layer(3, d_ff=1)),
        "mla": (1, 96, 96, Layer(6, rope=Rope(dims=16), latent_head=16, d_ff=1)),
        "mqa": (1, 48, 96, Layer(6, d_ff=1)),
        "mha_double": (6, 16, 192, Layer(6, d_ff=1)),
        "mfa_kr": (1, 48, 48, Layer(6, query_rank=48, reuse=True, d_ff=1)),
    }[name]
    config = ModelConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        n_layers=LAYERS,
        n_heads=layer.n_heads,
        n_kv_heads=kv_heads,
        head_dim=head_dim,
        max_context=length,
        qk_norm=False,
        layers=(layer,) * LAYERS,
    )
    attention = block_counts(config)[0].trunk - 3 * WIDTH
    layer = replace(layer, d_ff=round((PARAMETERS - attention) / (3 * WIDTH)))
    return Arm(replace(config, layers=(layer,) * LAYERS), cached, attention)


def parameters(config: ModelConfig) -> int:
    """Of one layer."""
    return block_counts(config)[0].trunk


def fresh(config: ModelConfig, seed: int) -> Decoder:
    """A decoder with weights drawn from the seed."""
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(seed))
    return model
