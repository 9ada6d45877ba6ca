"""Optimizers by the names that settings use."""

from __future__ import annotations

import torch

from consilience.errors import UnknownName
from consilience.learn.optim import OPTIMIZERS
from consilience.learn.optim.adamw import adamw
from consilience.learn.optim.muon import Muon
from consilience.nn.decoder import Decoder


def optimizer(name: str, model: Decoder, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """One of `OPTIMIZERS` over all parameters of a decoder; decay falls on matrices alone.

    Raises:
        UnknownName: there is no optimizer of this name.
    """
    if name == "muon":
        return Muon(model, weight_decay)
    if name == "adamw":
        return adamw(model.parameters(), weight_decay)
    raise UnknownName("optimizer", name, OPTIMIZERS)
