"""Early warnings from inside a model: routing and experts of a mixture, and loops in what is written. Alarms on the
curves of a run are `learn.alarms`.

Shape letters: T tokens, E experts, K selected experts, F expert width. All measures are pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.errors import InputError

# routing and experts (Step 3.5 Flash, arXiv 2602.10604, §4.1 and §5.2)


def routing_confidence(scores_TE: Tensor, selected_TK: Tensor) -> float:
    """Σ_k: the router's probability on the selected experts, mean over tokens, in [K/E, 1] for the top K.

    Low values mean that small numerical differences between sampler and trainer pick other experts: replay the routes
    or stay on-policy.

    Args:
        scores_TE: positive router scores; they are normalised to sum 1 over experts. selected_TK: expert indices.
    """
    probability_TE = scores_TE / scores_TE.sum(1, keepdim=True)
    return float(probability_TE.gather(1, selected_TK).sum(1).mean())


def expert_rms(hidden_TF: Tensor, expert_T: Tensor, experts: int) -> Tensor:
    """Root mean square of each expert's intermediate activations, (E,); 0 for an expert without a token."""
    count_E = torch.zeros(experts).index_add(0, expert_T, torch.ones(len(expert_T)))
    square_E = torch.zeros(experts).index_add(0, expert_T, hidden_TF.detach().float().square().mean(1))
    return (square_E / count_E.clamp_min(1)).sqrt()


def expert_norms(weight_EXY: Tensor) -> Tensor:
    """Frobenius norm of each expert's projection, (E,)."""
    norms_E: Tensor = weight_EXY.detach().float().flatten(1).norm(dim=1)
    return norms_E


def gate_alignment(gate_TF: Tensor, up_TF: Tensor) -> Tensor:
    """‖silu(g) ⊙ u‖ / (‖silu(g)‖ ‖u‖) a token, (T,) in [0, 1]; near 1 one channel carries all of gate and up, the sign
    of an
    expert that is about to blow up."""
    gate = F.silu(gate_TF.float())
    up = up_TF.float()
    aligned_T: Tensor = (gate * up).norm(dim=1) / (gate.norm(dim=1) * up.norm(dim=1)).clamp_min(1e-12)
    return aligned_T


@dataclass(frozen=True)
class Health:
    """Smallest and largest of the experts against the median. Low min/median: dead experts; high max/median: blow-up.
    Histograms of the router show neither."""

    min_median: float
    max_median: float


def health(values_E: Tensor) -> Health:
    """Of one positive number an expert (`expert_rms`, `expert_norms`).

    Raises:
        InputError: no expert.
    """
    if not len(values_E):
        raise InputError("the health of experts needs one number for each of them.")
    middle = max(float(values_E.median()), 1e-12)
    return Health(float(values_E.min()) / middle, float(values_E.max()) / middle)


# loops


def has_loop(tokens: Sequence[Hashable], n: int = 20, most: int = 10) -> bool:
    """Whether any n-gram occurs more than `most` times: a response that repeats itself without end."""
    grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    return max(grams.values(), default=0) > most


def repeat_rate(responses: Sequence[Sequence[Hashable]], n: int = 20, most: int = 10) -> float:
    """Share of responses with a loop."""
    return sum(has_loop(r, n, most) for r in responses) / len(responses) if responses else 0.0
