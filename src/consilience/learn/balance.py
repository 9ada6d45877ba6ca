"""Keeping a mixture of experts balanced, from what its routers decide (arXiv 2602.10604, §2.2), and seeing what the
experts do with it. `monitors` says whether that is healthy.

Shape letters: N tokens, E experts, A active experts a token, G groups of experts, M = N·A, D width, F expert width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from consilience.errors import InputError
from consilience.learn.monitors import expert_rms
from consilience.nn.parts.ffn import Experts, Router, Routing, swiglu

RATE = 0.001


def load(expert_NA: Tensor, experts: int) -> Tensor:
    """Tokens that each expert was chosen for, (E,) float32."""
    return expert_NA.flatten().bincount(minlength=experts).float()


@torch.no_grad()
def balance(bias_E: Tensor, load_E: Tensor, rate: float = RATE) -> None:
    """Loss-free balance after an optimizer step, in place: b += rate · sign(mean load − load) (arXiv 2408.15664)."""
    bias_E.add_(rate * (load_E.mean() - load_E).sign().to(bias_E.dtype))


def balance_routers(seen: Iterable[tuple[Router, Routing]], rate: float = RATE) -> None:
    """`balance` for every router with a bias, over all it decided since `watch_routers` began."""
    loads: dict[Router, Tensor] = {}
    for router, routing in seen:
        own = load(routing.expert_NA, router.config.experts)
        loads[router] = loads[router] + own if router in loads else own
    for router, load_E in loads.items():
        if router.bias is not None:
            balance(router.bias, load_E, rate)


def group_loss(routing: Routing, groups: int) -> Tensor:
    """L = G · Σ_g f_g · p_g over groups of consecutive experts, which live on one device each.

    p: mean over tokens of the scores, normalised to sum 1 a token; f: share of the choices, without gradient. 1 where
    both are uniform, G where one group has everything.

    Raises:
        InputError: the experts do not divide into so many groups.
    """
    experts = routing.score_NE.shape[1]
    if groups < 1 or experts % groups:
        raise InputError(f"{experts} experts do not divide into {groups} groups.")
    p_E = (routing.score_NE / routing.score_NE.sum(-1, keepdim=True)).mean(0)
    f_E = load(routing.expert_NA, experts) / routing.expert_NA.numel()
    return groups * (f_E.view(groups, -1).sum(1) * p_E.view(groups, -1).sum(1)).sum()


@torch.no_grad()
def activation_rms(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """Root mean square of each expert's activations before its down projection, (E,), over the tokens it was chosen
    for; 0 without any. Router histograms do not show a dead expert or one that blows up, this does (§4.1.2)."""
    count, active = len(experts.down), routing.expert_NA.shape[1]
    expert_M = routing.expert_NA.flatten()
    hidden_MF = x_ND.new_zeros(len(expert_M), experts.down.shape[2])
    for expert in range(count):
        mine = (expert_M == expert).nonzero()[:, 0]
        if len(mine):
            gate, up = F.linear(x_ND[mine // active], experts.gate_up[expert]).chunk(2, dim=-1)
            hidden_MF[mine] = swiglu(gate, up, experts.limit)
    return expert_rms(hidden_MF, expert_M, count)


@contextmanager
def watch_experts(model: nn.Module) -> Iterator[list[Tensor]]:
    """`activation_rms` (E,) of every mixture of the model while the context is open, in order of the calls.

    Experts compute twice meanwhile: look every some hundred steps, and give `monitors.health` what was seen.
    """
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, Routing], _output: Tensor) -> None:
        assert isinstance(module, Experts)
        seen.append(activation_rms(module, *inputs))

    hooks = [m.register_forward_hook(look) for m in model.modules() if isinstance(m, Experts)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
