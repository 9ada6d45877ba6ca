"""Feed-forward parts: SwiGLU, clipped or not, and mixtures of experts.

Shape letters as in nn/decoder.py, plus: N tokens, E experts, A active experts a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from consilience.nn.kernels.experts import expert_sum
from consilience.nn.layers import Mixture


def swiglu(gate: Tensor, up: Tensor, limit: float = 0.0) -> Tensor:
    """silu(gate) · up (arXiv 2002.05202); limit: min(silu(gate), limit) · clip(up, ±limit) (arXiv 2602.10604)."""
    if limit:
        return F.silu(gate).clamp(max=limit) * up.clamp(-limit, limit)
    return F.silu(gate) * up


class SwiGLU(nn.Module):
    """down(swiglu(gate x, up x)), gate and up stored as one matrix."""

    def __init__(self, d_model: int, d_ff: int, limit: float = 0.0) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)
        self.limit = limit

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, up = self.gate_up(x_BTD).chunk(2, dim=-1)
        y_BTD: Tensor = self.down(swiglu(gate, up, self.limit))
        return y_BTD


class Routing(NamedTuple):
    """A router's verdict: expert_NA chosen, weight_NA of their outputs (scaled), score_NE of all experts, before any
    balance bias. weight and score carry gradients and are float32."""

    expert_NA: Tensor
    weight_NA: Tensor
    score_NE: Tensor


class Router(nn.Module):
    """Scores of all experts and the choice among them, in float32 whatever precision the rest has.

    The bias of a sigmoid router counts in the choice alone; no gradient reaches it (`learn.balance` moves it).
    """

    def __init__(self, d_model: int, config: Mixture) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(config.experts, d_model))
        sigmoid = config.router == "sigmoid"
        self.bias = nn.Parameter(torch.zeros(config.experts), requires_grad=False) if sigmoid else None

    def forward(self, x_ND: Tensor) -> Routing:
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NE = F.linear(x_ND.float(), self.weight.float())
            if self.bias is None:
                score_NE = logits_NE.softmax(-1)
                expert_NA = score_NE.topk(self.config.active).indices
            else:
                score_NE = logits_NE.sigmoid()
                expert_NA = (score_NE + self.bias.float()).topk(self.config.active).indices
            weight_NA = score_NE.gather(1, expert_NA)
            if self.config.normalise:
                weight_NA = weight_NA / (weight_NA.sum(-1, keepdim=True) + 1e-20)
        return Routing(expert_NA, weight_NA * self.config.scale, score_NE)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        def keep(t: Tensor) -> Tensor:
            new = fn(t)
            return new if new.dtype == t.dtype else t.to(new.device)

        super()._apply(keep, recurse)  # type: ignore[no-untyped-call]
        return self


class Experts(nn.Module):
    """E SwiGLUs in two packed tensors: gate_up (E, 2F, D) and down (E, D, F)."""

    def __init__(self, d_model: int, config: Mixture) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.zeros(config.experts, 2 * config.width, d_model))
        self.down = nn.Parameter(torch.zeros(config.experts, d_model, config.width))
        self.limit = config.limit

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """Weighted sum of the chosen experts' outputs, (N, D). Each expert computes its tokens in one product."""
        activation = partial(swiglu, limit=self.limit)
        return expert_sum(x_ND, routing.expert_NA, routing.weight_NA, self.gate_up, self.down, activation)


class MixtureOfExperts(nn.Module):
    """shared(x) + Σ weight · expert(x) over the experts the router chooses."""

    def __init__(self, d_model: int, config: Mixture, shared_limit: float) -> None:
        super().__init__()
        self.router = Router(d_model, config)
        self.experts = Experts(d_model, config)
        self.shared = SwiGLU(d_model, config.shared, shared_limit) if config.shared else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_ND = x_BTD.flatten(0, -2)
        y_ND = self.experts(x_ND, self.router(x_ND))
        if self.shared is not None:
            y_ND = y_ND + self.shared(x_ND)
        y_BTD: Tensor = y_ND.view(x_BTD.shape).to(x_BTD.dtype)
        return y_BTD


@contextmanager
def watch_routers(model: nn.Module) -> Iterator[list[tuple[Router, Routing]]]:
    """What every router of the model decides while the context is open, in order of the calls."""
    seen: list[tuple[Router, Routing]] = []
    routers = [m for m in model.modules() if isinstance(m, Router)]
    hooks = [r.register_forward_hook(lambda module, _, output: seen.append((module, output))) for r in routers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
