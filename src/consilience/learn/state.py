"""What a training stage needs to go on exactly: weights, optimizer moments and counters, as safetensors and JSON.

A model that is sharded over processes (`learn.distributed`) is saved and loaded whole: its files are those of one
process. All processes call `save` and `load` together then, each with a directory of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from consilience.errors import InputError
from consilience.learn.rl import Learner
from consilience.nn.checkpoint import load_into, read_tensors, save_model
from consilience.nn.decoder import Decoder
from consilience.nn.published import qwen3


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Detached contiguous copies of a model's tensors by name; whole ones where the model is sharded."""
    return {name: whole(p.detach()).clone().contiguous() for name, p in model.state_dict().items()}


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of one that is sharded over processes (all of which must ask), any other as it is."""
    return cast(Tensor, cast(Any, tensor).full_tensor()) if _sharded(tensor) else tensor


def _sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def save(directory: Path, learners: Mapping[str, Learner], extra: Mapping[str, Any]) -> None:
    """Write learners and JSON-able `extra` into a directory (made durable by the caller's atomic commit)."""
    for name, learner in learners.items():
        save_file(weights(learner.model), directory / f"{name}.safetensors")
        moments: dict[str, Tensor] = {}
        for i, state in learner.optimizer.state_dict()["state"].items():
            found = {key: whole(torch.as_tensor(value)) for key, value in state.items()}
            moments |= {f"{i}.{key}": value.clone().contiguous() for key, value in found.items()}
        if moments:
            save_file(moments, directory / f"{name}.optimizer.safetensors")
    (directory / "state.json").write_text(json.dumps(extra))


def load(directory: Path, learners: Mapping[str, Learner]) -> dict[str, Any]:
    """Restore what `save` wrote, in place; returns `extra`."""
    for name, learner in learners.items():
        file = directory / f"{name}.safetensors"
        _load_weights(learner.model, read_tensors(file), str(file))
        moments_file = directory / f"{name}.optimizer.safetensors"
        if not moments_file.exists():
            continue
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in read_tensors(moments_file).items():
            index, _, field = key.partition(".")
            state.setdefault(int(index), {})[field] = value
        for i, parameter in enumerate(p for group in learner.optimizer.param_groups for p in group["params"]):
            if _sharded(parameter) and i in state:
                state[i] = {k: _like(parameter, v) if v.ndim else v for k, v in state[i].items()}
        learner.optimizer.load_state_dict({**learner.optimizer.state_dict(), "state": state})
    extra: dict[str, Any] = json.loads((directory / "state.json").read_text())
    return extra


def _load_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    sharded = {n: p for n, p in model.named_parameters() if _sharded(p)}
    if not sharded:
        load_into(model, tensors, name)
        return
    if sharded.keys() != tensors.keys() or any(p.shape != tensors[n].shape for n, p in sharded.items()):
        raise InputError(f"{name} does not fit the sharded model: build it with the configuration of the checkpoint.")
    with torch.no_grad():
        for n, parameter in sharded.items():
            parameter.copy_(_like(parameter, tensors[n]))


def _like(parameter: Tensor, full: Tensor) -> Tensor:
    """A full tensor in the shards of a parameter."""
    from torch.distributed.tensor import distribute_tensor

    place: Any = parameter
    return distribute_tensor(full.to(place.device), place.device_mesh, place.placements)


def export(model: torch.nn.Module, directory: Path) -> str:
    """Write a trained model so that other programs load it, and say as what.

    "transformers": a directory that its `AutoModelForCausalLM` loads, for text decoders of Qwen3's parts;
    "consilience": one that `nn.checkpoint.load_model` loads, for any other decoder (with eyes, or a critic); "tensors":
    the trained tensors alone, for a model of another library (`learn.language_files.save` writes it whole).

    Raises:
        InputError: the directory cannot be written.
    """
    if not isinstance(model, Decoder):
        directory.mkdir(parents=True, exist_ok=True)
        save_file(weights(model), directory / "model.safetensors", metadata={"format": "pt"})
        return "tensors"
    try:
        qwen3.config_to_hf(model.config)
    except InputError:
        save_model(model, directory)
        return "consilience"
    qwen3.to_hf(model, directory)
    return "transformers"


def copy_of(model: Decoder) -> Decoder:
    """An independent model with the same weights."""
    twin = Decoder(model.config)
    twin.load_state_dict(model.state_dict())
    return twin


def critic_of(actor: Decoder, generator: torch.Generator) -> Decoder:
    """A separate critic initialised from the actor's weights, with a fresh small value head without bias."""
    from dataclasses import replace

    critic = Decoder(replace(actor.config, head="value", tie_embeddings=False))
    critic.initialise(generator)
    shared = {k: v for k, v in actor.state_dict().items() if not k.startswith("head.")}
    critic.load_state_dict({**critic.state_dict(), **shared})
    return critic
