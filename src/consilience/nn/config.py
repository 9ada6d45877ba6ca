"""Sizes of a decoder. One frozen dataclass; named configurations are functions that return it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from consilience.errors import InputError
from consilience.nn import tokenizer as tk
from consilience.nn.layers import Layer, Rope, from_fields
from consilience.nn.pictures import TowerConfig
from consilience.nn.template import Spelling
from consilience.nn.tokenizer import VOCAB_SIZE


@dataclass(frozen=True)
class VisionConfig:
    """A convolutional stem that turns patch × patch pixels into one token.

    channels: widths of the stem's stages; stage 0 keeps the resolution, every later one halves it.
    in_channels: 1 reads colour pictures as luminance, 3 reads grey ones as equal channels.
    """

    patch: int = 12
    in_channels: int = 1
    channels: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.patch % self.stride or self.in_channels not in (1, 3):
            raise InputError(f"patch {self.patch} must be a multiple of {self.stride}, in_channels 1 or 3.")

    @property
    def stride(self) -> int:
        return 1 << (len(self.channels) - 1)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VisionConfig:
        """The configuration that `dataclasses.asdict` wrote. Raises InputError for unknown fields."""
        return from_fields(cls, data)


@dataclass(frozen=True)
class ModelConfig:
    """A pre-norm decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU.

    head "lm" gives (…, vocab_size) logits, head "value" gives one scalar a token.

    layers: where layers differ, one entry each; n_heads, d_ff and rope_theta then say nothing.
    drafts: layers of the heads that predict further tokens. norm: "rms", or "centred" (gains stored as 1 + offset).
    vision: a stem (`VisionConfig`) or an encoder of published kind (`TowerConfig`).
    """

    vocab_size: int = VOCAB_SIZE
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 32
    d_ff: int = 320
    max_context: int = 2048
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    qk_norm: bool = True
    tie_embeddings: bool = True
    head: str = "lm"
    vision: VisionConfig | TowerConfig | None = None
    layers: tuple[Layer, ...] = ()
    drafts: tuple[Layer, ...] = ()
    norm: str = "rms"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "drafts", tuple(self.drafts))
        if self.layers and len(self.layers) != self.n_layers:
            raise InputError(f"layers describes {len(self.layers)} of {self.n_layers} layers (n_layers).")
        for layer in self.blocks + self.drafts:
            if layer.n_heads % self.n_kv_heads:
                raise InputError(f"n_heads {layer.n_heads} must be a multiple of n_kv_heads {self.n_kv_heads}.")
            if (layer.query_rank or layer.latent_head) and self.n_kv_heads != 1:
                kind = "latent_head" if layer.latent_head else "query_rank"
                raise InputError(f"layers with {kind} have one key head, not n_kv_heads {self.n_kv_heads}.")
            if layer.latent_head and layer.rope.dims >= self.head_dim:
                raise InputError(f"{layer.rope.dims} rotated dimensions leave no latent of head_dim {self.head_dim}.")
            if (layer.rope.dims or self.head_dim) % 2:
                raise InputError(f"head_dim {layer.rope.dims or self.head_dim} must be even for rotary positions.")
            if layer.rope.dims > self.head_dim:
                raise InputError(f"{layer.rope.dims} rotated dimensions exceed head_dim {self.head_dim}.")
        if self.head not in ("lm", "value"):
            raise InputError(f"unknown head {self.head!r}: lm or value.")
        if self.norm not in ("rms", "centred"):
            raise InputError(f"unknown norm {self.norm!r}: rms or centred.")

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """One entry for each layer, whether they differ or not."""
        return self.layers or (Layer(self.n_heads, Rope(self.rope_theta), d_ff=self.d_ff),) * self.n_layers

    def to_json(self) -> dict[str, Any]:
        """Fields as JSON; what only layered decoders have is left out where it is as in the others."""
        data = asdict(self)
        for field in fields(self):
            if field.name in _LAYERED and getattr(self, field.name) == field.default:
                del data[field.name]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        vision = data.get("vision")
        kind: Any = TowerConfig if vision is not None and "width" in vision else VisionConfig
        parts = {name: tuple(map(Layer.from_json, data[name])) for name in ("layers", "drafts") if name in data}
        return from_fields(cls, {**data, **parts, "vision": None if vision is None else kind.from_json(vision)})

    @property
    def image_token(self) -> int:
        """The token whose embedding a feature of a picture replaces."""
        return self.vision.tokens.patch if isinstance(self.vision, TowerConfig) else tk.IMAGE

    @property
    def pictures(self) -> int | Spelling | None:
        """How `template.render` places pictures: a patch size, a function of (height, width), or not at all."""
        if isinstance(self.vision, TowerConfig):
            return self.vision.spell
        return self.vision.patch if self.vision else None


_LAYERED = ("layers", "drafts", "norm")


def nano(in_channels: int = 1) -> ModelConfig:
    """The embedded default: under one million parameters, trained in minutes on two CPU cores."""
    return ModelConfig(vision=VisionConfig(in_channels=in_channels))
