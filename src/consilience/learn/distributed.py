"""The learner over several processes: weights, gradients and optimizer sharded by FSDP2, the same numbers as in one.

Every process calls the same updates with the same rollout. `token_stats` and `values` of a sharded model compute a
share of the prompts in each process and gather the results, so that losses, advantages and masks are those of one
process and no update of `learn` knows about it. Start with `torchrun --nproc-per-node N`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from consilience.errors import InputError
from consilience.learn.batch import Batch
from consilience.learn.forward import TokenStats, decoder_stats, decoder_values
from consilience.learn.optim.adamw import adamw
from consilience.learn.rl import Learner
from consilience.learn.rollout import Rollout, merge
from consilience.learn.state import whole
from consilience.nn.config import ModelConfig, VisionConfig
from consilience.nn.decoder import Decoder
from consilience.nn.template import grid


def learner(model: Decoder, *, shard: bool = False, weight_decay: float = 0.0) -> Learner:
    """A model with its optimizer; with `shard` both lie in shards over all processes of the default group.

    Raises:
        InputError: `shard` without a process group.
    """
    if shard:
        model = shard_model(model)
    return Learner(model, adamw(model.parameters(), weight_decay))


def shard_model(model: Decoder) -> Decoder:
    """Shard a model in place (FSDP2's `fully_shard`), block by block; equal weights in all processes are expected.

    The last block stays with the embedding: of a prompt it computes keys and values alone, outside its own forward.

    Raises:
        InputError: no process group is there.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if not dist.is_initialized():
        raise InputError(
            "a sharded learner needs several processes: start with torchrun and call "
            "torch.distributed.init_process_group first."
        )
    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    for block in list(model.blocks)[:-1]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    inner: Any = model
    inner.token_stats = partial(_shared, model, _stats_of)
    inner.values = partial(_shared, model, _values_of)
    for name in ("token_stats", "values"):
        register_fsdp_forward_method(model, name)
    return model


@torch.no_grad()
def gather_model(model: Decoder, into: Decoder | None = None) -> Decoder:
    """A whole copy of a sharded model in every process, to sample from, evaluate or export.

    Args:
        into: an earlier copy to bring up to date, for instance the model of an engine before its `refresh`.
    """
    copy = into or Decoder(model.config).to(next(model.parameters()).device)
    for mine, theirs in zip(copy.parameters(), model.parameters(), strict=True):
        mine.copy_(whole(theirs.detach()))
    return copy


def gather_rollouts(rollout: Rollout) -> Rollout:
    """The rollouts of all processes as one, in order of rank, in every process."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, rollout)
    return merge(found)


def share(batch: Batch, rank: int, world: int, config: ModelConfig) -> tuple[Batch, list[int]]:
    """The prompts rank, rank + world, … of a batch with their responses, and how many response tokens each prompt has.

    A process without a prompt computes the first one, whose result is dropped, so that all take part in every exchange.
    """
    prompts, rows = len(batch.lengths_B), len(batch.real_NR)
    group = rows // prompts
    mine_b = torch.arange(rank, prompts, world)
    mine_b = mine_b if len(mine_b) else torch.zeros(1, dtype=torch.long)
    mine_n = (mine_b[:, None] * group + torch.arange(group)).reshape(-1)
    pictures_B = _pictures_of(batch, config)
    part = Batch(
        batch.prompts_BP[mine_b],
        batch.lengths_B[mine_b],
        tuple(p for b in mine_b.tolist() for p in pictures_B[b]),
        batch.inputs_NR[mine_n],
        batch.targets_NR[mine_n],
        batch.real_NR[mine_n],
        batch.positions_NR[mine_n],
    )
    return part, batch.response_lengths_N.view(prompts, group).sum(1).tolist()


def _pictures_of(batch: Batch, config: ModelConfig) -> list[list[np.ndarray]]:
    """The pictures of each prompt, from the image slots it has."""
    if not batch.pictures:
        return [[] for _ in batch.lengths_B]
    if not isinstance(config.vision, VisionConfig):
        raise InputError("a sharded learner takes pictures of a VisionConfig stem only: train towers in one process.")
    left, found = iter(batch.pictures), []
    for slots in (batch.prompts_BP == config.image_token).sum(1).tolist():
        mine: list[np.ndarray] = []
        while slots > 0:
            mine.append(next(left))
            rows, columns = grid(mine[-1].shape[0], mine[-1].shape[1], config.vision.patch)
            slots -= rows * columns
        found.append(mine)
    return found


class _Gather(torch.autograd.Function):
    """Packed vectors of all processes, padded to one width, as rows. Its gradient is the own row's times the number of
    processes, since FSDP averages where the loss of the whole batch wants a sum."""

    @staticmethod
    def forward(ctx: Any, mine_W: Tensor) -> Tensor:
        world = dist.get_world_size()
        rows = [torch.empty_like(mine_W) for _ in range(world)]
        dist.all_gather(rows, mine_W.contiguous())
        return torch.stack(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        mine: Tensor = grads[0][dist.get_rank()] * dist.get_world_size()
        return mine


def _gather(mine_M: Tensor, tokens: list[int]) -> Tensor:
    """The packed vector of the whole batch from this process's share. tokens: response tokens of each prompt."""
    world, rank = dist.get_world_size(), dist.get_rank()
    mine_M = mine_M if rank < len(tokens) else mine_M[:0]
    width = max(sum(tokens[r::world]) for r in range(world))
    rows_RW: Tensor = cast(Any, _Gather).apply(nn.functional.pad(mine_M, (0, width - len(mine_M))))
    pieces: list[Tensor] = [torch.empty(0)] * len(tokens)
    for r in range(world):
        sizes = tokens[r::world]
        pieces[r::world] = rows_RW[r, : sum(sizes)].split(sizes)
    return torch.cat(pieces)


def _stats_of(model: Decoder, batch: Batch, gather: Callable[[Tensor], Tensor]) -> TokenStats:
    logprob_M, entropy_M = decoder_stats(model, batch)
    return TokenStats(gather(logprob_M), gather(entropy_M))


def _values_of(model: Decoder, batch: Batch, gather: Callable[[Tensor], Tensor]) -> Tensor:
    return gather(decoder_values(model, batch))


def _shared(model: Decoder, compute: Callable[..., Any], batch: Batch) -> Any:
    part, tokens = share(batch, dist.get_rank(), dist.get_world_size(), model.config)

    def gather(mine_M: Tensor) -> Tensor:
        if batch.pictures and not part.pictures and mine_M.requires_grad:
            mine_M = mine_M + _nothing(model)
        return _gather(mine_M, tokens)

    result = compute(model, part, gather)
    if not torch.is_grad_enabled():
        inner: Any = model
        inner.reshard()  # no backward pass will, and what stays whole would miss the next optimizer step
    return result


def _nothing(model: Decoder) -> Tensor:
    """A zero that depends on the eyes: a share without pictures exchanges the same gradients as the others."""
    assert model.vision is not None
    return 0.0 * torch.stack([p.flatten()[0] for p in model.vision.parameters()]).sum()
