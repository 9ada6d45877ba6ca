"""Muon with Polar Express: orthogonalised momentum for matrices, AdamW for everything else.

As Step 3.5 Flash uses it (arXiv 2602.10604): six fixed steps of the Polar Express iteration (arXiv 2505.16932),
momentum 0.95 with Nesterov, update size matched to AdamW by 0.2·√max(rows, columns). Packed matrices (queries, keys and
values; gate and up) are orthogonalised part by part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from consilience.nn.decoder import Decoder
from consilience.nn.parts.attention import Attention, FactoredAttention
from consilience.nn.parts.draft import Draft
from consilience.nn.parts.ffn import Experts, Router, SwiGLU

POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488034314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
)
SAFETY = 1.01
STEPS = tuple((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in POLAR_EXPRESS)
"""The same for singular values up to 1.01: without it rounding in bfloat16 can carry one past 1, where it diverges."""


def iteration_dtype(device: torch.device) -> torch.dtype:
    """float16 on GPUs, as published: bfloat16 gives rare outliers, and spikes of the loss (§4.1.1). float32 on CPUs."""
    return torch.float16 if device.type == "cuda" else torch.float32


def orthogonalise(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, approximately: singular values end in about [0.9, 1.1].

    X ← aX + b(XXᵀ)X + c(XXᵀ)²X from X₀ = G / (1.01‖G‖) with `STEPS`; a zero matrix stays zero. Products are in
    `dtype`, the result is float32.
    """
    x: Tensor = matrix.float()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = (x / (1.01 * x.norm()).clamp_min(1e-12)).to(dtype)
    for a, b, c in STEPS:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.float()
    return x.T if tall else x


def parts(model: Decoder) -> dict[str, list[int]]:
    """Names of the matrices Muon trains → rows of the parts that are packed in each. Experts are tensors of matrices;
    routers and output matrices are left to AdamW."""
    packed: dict[str, list[int]] = {}
    left = set()
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            heads, keys = module.heads * module.head_dim, module.kv_heads * module.head_dim
            packed[f"{name}.qkv.weight"] = [heads, keys, keys]
        elif isinstance(module, FactoredAttention):
            keys = module.head_dim
            packed[f"{name}.down.weight"] = [module.rank, *[keys] * ((module.down.out_features - module.rank) // keys)]
        elif isinstance(module, SwiGLU):
            packed[f"{name}.gate_up.weight"] = [module.down.in_features] * 2
        elif isinstance(module, Experts):
            packed[f"{name}.gate_up"] = [module.down.shape[2]] * 2
        elif isinstance(module, Router):
            left.add(f"{name}.weight")
        elif isinstance(module, Draft):
            left.add(f"{name}.head.weight")
    return {
        name: packed.get(name, [p.shape[-2]])
        for name, p in model.named_parameters()
        if name.startswith(("blocks.", "drafts.")) and p.ndim >= 2 and name not in left
    }


class Muon(torch.optim.Optimizer):
    """Muon for the blocks' matrices and AdamW (β 0.9, 0.95) for embeddings, norms, stem and head, one rate for both.

    Args:
        model: the decoder; its parameters are trained.
        weight_decay: decoupled, on matrices.
    """

    def __init__(self, model: Decoder, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        packed = parts(model)
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [(name, p) for name, p in named if name in packed]
        others = [p for name, p in named if name not in packed]
        self._rows = [packed[name] for name, _ in matrices]
        groups: list[dict[str, Any]] = [
            {"params": [p for _, p in matrices], "kind": "muon"},
            {"params": others, "kind": "adamw"},
        ]
        super().__init__(groups, {"lr": 0.0, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients that are there."""
        for group in self.param_groups:
            if group["kind"] == "muon":
                for p, rows in zip(group["params"], self._rows, strict=True):
                    if p.grad is not None:
                        self._muon(p, rows, group)
            else:
                for p in group["params"]:
                    if p.grad is not None:
                        self._adamw(p, group)

    def _muon(self, p: nn.Parameter, rows: list[int], group: Mapping[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        gradient = p.grad
        assert gradient is not None
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(state["momentum"], group["momentum"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        for weight, part in _split(p, direction, rows):
            direction = orthogonalise(part, iteration_dtype(part.device))
            weight.add_(direction, alpha=-group["lr"] * 0.2 * max(part.shape) ** 0.5)

    def _adamw(self, p: nn.Parameter, group: Mapping[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["step"] += 1
        step = float(state["step"])
        gradient = p.grad
        assert gradient is not None
        state["mean"].lerp_(gradient, 0.1)
        state["square"].lerp_(gradient.square(), 0.05)
        if p.ndim >= 2:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        size = (state["square"] / (1 - 0.95**step)).sqrt_().add_(1e-8)
        p.addcdiv_(state["mean"], size, value=-group["lr"] / (1 - 0.9**step))


def _split(p: Tensor, direction: Tensor, rows: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    matrices = [(p, direction)] if p.ndim == 2 else zip(p, direction, strict=True)
    return (pair for w, d in matrices for pair in zip(w.split(rows), d.split(rows), strict=True))
