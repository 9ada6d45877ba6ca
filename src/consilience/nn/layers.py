"""What one layer of a decoder is made of, where layers differ: attention, positions, feed-forward part.

Frozen and serialisable, without torch. `ModelConfig.layers` holds one `Layer` for each block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from consilience.errors import InputError

C = TypeVar("C")


def from_fields(cls: type[C], data: Mapping[str, Any]) -> C:
    """A configuration object of its JSON fields.

    Raises:
        InputError: names fields that the object does not have.
    """
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(data) - known:
        raise InputError(f"unknown model configuration fields: {', '.join(sorted(unknown))}.")
    return cls(**data)


@dataclass(frozen=True)
class Rope:
    """Rotary positions (arXiv 2104.09864) of a layer.

    dims: rotated dimensions of each head, from the first; 0 means all.
    factor: above 1, waves longer than original / low tokens are stretched by it, those shorter than original / high
    stay, those between are mixed (Llama 3, arXiv 2407.21783; `rope_type` "llama3").
    """

    theta: float = 10_000.0
    dims: int = 0
    factor: float = 1.0
    original: int = 8192
    low: float = 1.0
    high: float = 4.0


@dataclass(frozen=True)
class Mixture:
    """A mixture of experts: `active` of `experts` SwiGLUs of inner width `width` a token, and one that is always on.

    shared: inner width of the expert that is always on; 0 means none.
    router: "softmax" over all experts, or "sigmoid" of each (with a balance bias that counts in the choice alone).
    normalise: weights of the chosen experts sum to 1 before `scale`, which multiplies the routed sum alone.
    limit: clips the routed experts' activations, 0 means off; `Layer.limit` clips the shared one.
    """

    experts: int
    active: int
    width: int
    shared: int = 0
    router: str = "softmax"
    normalise: bool = False
    scale: float = 1.0
    limit: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.active <= self.experts:
            raise InputError(f"{self.active} active experts of {self.experts}: 1 up to all can be active.")
        if self.router not in ("softmax", "sigmoid"):
            raise InputError(f"unknown router {self.router!r}: softmax or sigmoid.")


@dataclass(frozen=True)
class Layer:
    """One block. Key heads and head dimension are the model's; the rest may differ from layer to layer.

    window: a token sees itself and the window − 1 tokens before it; 0 means all before it.
    gate: each head's output is multiplied by the sigmoid of a number computed from the layer's input.
    query_rank: above 0, multi-matrix factorization attention (arXiv 2412.19255): queries pass through a normalised
    space of this width, and there is one key head. reuse: its variant MFA-KR, values computed from the keys.
    latent_head: above 0, multi-head latent attention (arXiv 2405.04434): heads of this width, computed from one cached
    vector of head_dim numbers, of which `rope.dims` are a rotated key and the rest the latent; query_rank as above, or
    0 for queries from the input itself.
    d_ff: inner width of the dense SwiGLU; limit: clips its activations (or the shared expert's), 0 means off.
    """

    n_heads: int
    rope: Rope = Rope()
    window: int = 0
    gate: bool = False
    query_rank: int = 0
    reuse: bool = False
    d_ff: int = 0
    limit: float = 0.0
    mixture: Mixture | None = None
    latent_head: int = 0

    def __post_init__(self) -> None:
        if self.reuse and not self.query_rank:
            raise InputError("reuse (MFA-KR) belongs to a layer with query_rank.")
        if self.reuse and self.window:
            raise InputError(f"reuse (MFA-KR) belongs to a layer that sees all tokens, not a window of {self.window}.")
        if self.latent_head and (self.reuse or self.gate or not self.rope.dims):
            raise InputError("a layer with latent_head has rope.dims rotated dimensions, and neither reuse nor gate.")
        if bool(self.d_ff) == bool(self.mixture):
            raise InputError("a layer has either d_ff or a mixture.")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layer:
        """The layer that `dataclasses.asdict` wrote. Raises InputError for unknown fields."""
        mixture = data.get("mixture")
        parts = {
            "rope": from_fields(Rope, data.get("rope", {})),
            "mixture": None if mixture is None else from_fields(Mixture, mixture),
        }
        return from_fields(cls, {**data, **parts})
