"""The weighted sum of the chosen experts' outputs: grouped matrix products on CUDA, one product an expert elsewhere.

Shape letters as in nn/parts/ffn.py: N tokens, D width, F inner width, E experts, A active experts a token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.nn.kernels.choose import triton_serves

Activation = Callable[[Tensor, Tensor], Tensor]
"""(gate, up) → what the second matrix takes, element by element."""


def expert_sum(
    x_ND: Tensor, expert_NA: Tensor, weight_NA: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, activation: Activation
) -> Tensor:
    """Σ_a weight[n, a] · down[e] · activation(gate[e] x[n], up[e] x[n]) with e = expert[n, a]: (N, D).

    Args:
        expert_NA: numbers of experts; a negative one is an expert that lives elsewhere and adds nothing.
        weight_NA: their weights, any float type; the sum has the wider type of weights and inputs.
    """
    if triton_serves(x_ND, gate_up_E2FD, down_EDF):
        from consilience.nn.kernels import triton_experts

        return triton_experts.expert_sum(x_ND, expert_NA, weight_NA, gate_up_E2FD, down_EDF, activation)
    return torch_expert_sum(x_ND, expert_NA, weight_NA, gate_up_E2FD, down_EDF, activation)


def torch_expert_sum(
    x_ND: Tensor, expert_NA: Tensor, weight_NA: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, activation: Activation
) -> Tensor:
    """`expert_sum` in plain products, with gradients: the tokens of each expert in one."""
    order, counts = by_expert(expert_NA, len(down_EDF))
    elsewhere, *here = counts.tolist()
    order = order[elsewhere:]
    token = order // expert_NA.shape[1]
    outputs = []
    for expert, x_nD in enumerate(x_ND[token].split(here)):
        if len(x_nD):
            gate, up = F.linear(x_nD, gate_up_E2FD[expert]).chunk(2, dim=-1)
            outputs.append(F.linear(activation(gate, up), down_EDF[expert]))
    y_MD = torch.cat(outputs) if outputs else x_ND[:0]
    weighted = y_MD * weight_NA.flatten()[order, None]
    return torch.zeros_like(x_ND, dtype=weighted.dtype).index_add(0, token, weighted)


def by_expert(expert_NA: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """Places in the flattened choice sorted by expert, (N·A,), and how many there are of each, (1 + E,): the first
    count is of negative numbers, whose places stand first."""
    flat = expert_NA.flatten()
    counts = flat.new_zeros(1 + experts).index_add_(0, flat.clamp(min=-1) + 1, torch.ones_like(flat))
    return flat.argsort(stable=True), counts
