"""Which arithmetic runs: Triton where it serves the tensors at hand, torch elsewhere."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=1)
def triton_installed() -> bool:
    """Whether Triton can be imported; CUDA builds of torch bring it along."""
    return importlib.util.find_spec("triton") is not None


def triton_serves(*tensors: Tensor) -> bool:
    """Whether Triton's kernels run on these: CUDA tensors of compute capability 8.0 or above, no gradients wanted."""
    if not all(t.is_cuda for t in tensors) or not triton_installed():
        return False
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    return torch.cuda.get_device_capability(tensors[0].device) >= (8, 0)
