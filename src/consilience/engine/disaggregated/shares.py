"""What of a checkpoint each worker holds: attention workers all but feed-forward matrices, FFN workers slices of these.

Every worker reads its own part from the file and nothing else. Shape letters as in nn/parts/ffn.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from consilience.engine.disaggregated.layout import Split
from consilience.engine.disaggregated.wire import Tokens
from consilience.errors import CheckpointMismatch, InputError
from consilience.nn.checkpoint import ARCHITECTURE, WEIGHTS, name_some, read_config
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Block, Decoder
from consilience.nn.kernels.experts import expert_sum
from consilience.nn.layers import Layer
from consilience.nn.parts.ffn import MixtureOfExperts, swiglu

Take = Callable[[str], Tensor]
"""Name of a parameter → its tensor."""


def config_of(checkpoint: Path) -> ModelConfig:
    """The configuration of a house checkpoint.

    Raises:
        InputError: there is none, or it is of another library; or it is no language model.
    """
    data = read_config(checkpoint)
    if data.pop("architecture", None) != ARCHITECTURE:
        raise InputError(f"{checkpoint} holds no {ARCHITECTURE} model: load it and save it with save_model first.")
    config = ModelConfig.from_json(data)
    if config.head != "lm":
        raise InputError(f"only language models decode; {checkpoint} has a {config.head} head.")
    return config


def attention_side(checkpoint: Path, device: torch.device) -> Decoder:
    """The decoder without feed-forward matrices: mixtures keep their router, drafting heads are left out.

    Raises:
        InputError, CheckpointMismatch: the checkpoint is damaged or lacks tensors.
    """
    with torch.device("meta"):
        model = Decoder(config_of(checkpoint))
    model.drafts = nn.ModuleList()
    for block in model.blocks:
        assert isinstance(block, Block)
        if isinstance(block.ffn, MixtureOfExperts):
            block.ffn.experts, block.ffn.shared = None, None  # type: ignore[assignment]
        else:
            block.ffn = nn.Identity()  # type: ignore[assignment]
    names = [name for name, _ in model.named_parameters()]
    with _Reader(checkpoint, device) as take:
        model.load_state_dict({name: take(name) for name in names}, strict=True, assign=True)
    return model.requires_grad_(False).eval()


class Share:
    """One FFN worker's part of one layer: slices of the dense or shared matrices, experts or slices of them."""

    def __init__(self, layer: Layer, prefix: str, take: Take, index: int, count: int, split: Split) -> None:
        self.dense: tuple[Tensor, Tensor] | None = None
        self.packed: tuple[Tensor, Tensor] | None = None
        self.first, self.dense_limit = 0, layer.limit
        mixture = layer.mixture
        if mixture is None or mixture.shared:
            name = prefix if mixture is None else f"{prefix}shared."
            self.dense = _slices(take(f"{name}gate_up.weight"), take(f"{name}down.weight"), index, count)
        if mixture is not None:
            gate_up, down = take(f"{prefix}experts.gate_up"), take(f"{prefix}experts.down")
            if split == "expert":
                self.first, last = (mixture.experts * i // count for i in (index, index + 1))
                self.packed = gate_up[self.first : last].contiguous(), down[self.first : last].contiguous()
            else:
                self.packed = _slices(gate_up, down, index, count)
            self.limit = mixture.limit

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        matrices = self.dense or self.packed
        assert matrices is not None
        return matrices[0].dtype

    def __call__(self, tokens: Tokens) -> Tensor:
        """This worker's part of the layer's output, (N, D)."""
        x_ND = tokens.x_ND
        y_ND: Tensor | None = None
        if self.packed is not None:
            gate_up, down = self.packed
            local_NA = tokens.expert_NA - self.first
            local_NA = local_NA.masked_fill(local_NA >= len(down), -1)
            y_ND = expert_sum(x_ND, local_NA, tokens.weight_NA, gate_up, down, partial(swiglu, limit=self.limit))
        if self.dense is not None:
            gate_up, down = self.dense
            gate, up = F.linear(x_ND, gate_up).chunk(2, dim=-1)
            dense_ND = F.linear(swiglu(gate, up, self.dense_limit), down)
            y_ND = dense_ND if y_ND is None else y_ND + dense_ND
        assert y_ND is not None
        return y_ND


def ffn_side(
    checkpoint: Path, device: torch.device, index: int, count: int, split: Split
) -> tuple[ModelConfig, list[Share]]:
    """The configuration, and FFN worker `index` of `count`'s share of every layer.

    Raises:
        InputError: the checkpoint is damaged, or there are more workers than the narrowest layer can be cut into.
        CheckpointMismatch: it lacks tensors.
    """
    config = config_of(checkpoint)
    most = min(_pieces(layer, split) for layer in config.blocks)
    if count > most:
        raise InputError(f"{count} FFN workers cannot share a layer that has {most} pieces: use fewer.")
    with _Reader(checkpoint, device) as take:
        shares = [Share(layer, f"blocks.{i}.ffn.", take, index, count, split) for i, layer in enumerate(config.blocks)]
    return config, shares


def _pieces(layer: Layer, split: Split) -> int:
    """Into how many parts a layer can be cut."""
    mixture = layer.mixture
    if mixture is None:
        return layer.d_ff
    return min(mixture.experts if split == "expert" else mixture.width, mixture.shared or mixture.width)


def _slices(gate_up: Tensor, down: Tensor, index: int, count: int) -> tuple[Tensor, Tensor]:
    """Part `index` of `count` of the inner width of (…, 2F, D) and (…, D, F)."""
    if count == 1:
        return gate_up, down
    width = down.shape[-1]
    a, b = (width * i // count for i in (index, index + 1))
    gate, up = gate_up.split(width, dim=-2)
    return torch.cat([gate[..., a:b, :], up[..., a:b, :]], -2), down[..., a:b].contiguous()


class _Reader:
    """Tensors of a checkpoint by name, read one at a time."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        self.path, self.device = checkpoint / WEIGHTS, device

    def __enter__(self) -> Take:
        try:
            self.file: Any = safe_open(self.path, "pt", device=str(self.device))
            self.file.__enter__()  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            raise InputError(f"{self.path} is missing; the checkpoint is incomplete.") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path} is truncated or no safetensors file ({error}); copy it again.") from None
        self.names = set(self.file.keys())  # type: ignore[no-untyped-call]
        return self._take

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def _take(self, name: str) -> Tensor:
        if name not in self.names:
            raise CheckpointMismatch(f"{self.path} does not fit its configuration: missing {name_some([name])}.")
        tensor: Tensor = self.file.get_tensor(name)
        return tensor.clone()  # files do not align tensors as products like them
