"""From a batch to what losses need: log-probabilities, entropies and values of the response tokens, packed (M,)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from consilience.learn.batch import Batch
from consilience.nn.attention import SharedPrompt, packed
from consilience.nn.decoder import Decoder

LOGITS_AT_ONCE = 1 << 24
"""Most logits that exist at a time: 64 MiB in float32. Larger batches go piece by piece."""


class TokenStats(NamedTuple):
    """logprob_M of the targets and entropy_M of the distributions they were drawn from (nats)."""

    logprob_M: Tensor
    entropy_M: Tensor


def mixed_precision(device_type: str) -> bool:
    """Whether products run in bfloat16: on a GPU, and on a CPU that multiplies it.

    A rule and not a measurement: a run that is resumed on a busy machine must not change its precision.
    """
    return device_type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where that pays; weights, residual stream and optimizer stay float32."""
    if mixed_precision(device.type):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def response_hidden(model: Decoder, batch: Batch) -> Tensor:
    """Hidden states (M, D) from which each response token is predicted. Every prompt is computed once, and padding is
    computed nowhere but in attention."""
    device = next(model.parameters()).device
    shared = SharedPrompt(batch.lengths_B.to(device), model.config.n_layers)
    places_P = torch.arange(batch.prompts_BP.shape[1])
    prompt_BP, real_NR = places_P < batch.lengths_B[:, None], batch.real_NR
    places_1T = places_P.expand_as(prompt_BP)[prompt_BP][None]
    prompts_1T, inputs_1M = batch.prompts_BP[prompt_BP][None], batch.inputs_NR[real_NR][None]
    positions_1M = batch.positions_NR[real_NR][None]
    look = packed(shared.attend_prompt, prompt_BP.to(device))
    model.fill(model.embed(prompts_1T.to(device), batch.pictures), places_1T.to(device), look)
    look = packed(shared.attend_responses, real_NR.to(device))
    hidden_1MD: Tensor = model(model.embed(inputs_1M.to(device)), positions_1M.to(device), look)
    return hidden_1MD[0]


def token_stats(model: Decoder, batch: Batch) -> TokenStats:
    """Log-probabilities and entropies of the response tokens under the model at temperature 1, float32.

    Never more than `LOGITS_AT_ONCE` logits exist, however long the responses and however large the vocabulary. A model
    with a method of this name (`learn.language.LanguageModel`) answers itself.
    """
    own = getattr(model, "token_stats", None)
    if own is not None:
        stats: TokenStats = own(batch)
        return stats
    return decoder_stats(model, batch)


def decoder_stats(model: Decoder, batch: Batch) -> TokenStats:
    """`token_stats` of a decoder, by its own forward passes."""
    device = next(model.parameters()).device
    with precision(device):
        hidden_MD = response_hidden(model, batch)
        return chunked_stats(hidden_MD, model.logits, batch.targets_M.to(device), LOGITS_AT_ONCE)


def chunked_stats(hidden_MD: Tensor, head: Callable[[Tensor], Tensor], targets_M: Tensor, limit: int) -> TokenStats:
    """Log-probabilities of targets and entropies (nats, float32), with at most about `limit` logits at a time.

    Beyond the limit the logits of each piece are computed again for its gradient (arXiv 1604.06174) instead of kept.

    Args:
        head: (m, D) → (m, V) logits.
    """
    with torch.no_grad():
        width = head(hidden_MD[:1]).shape[-1]
    rows = max(1, limit // width)
    if len(hidden_MD) <= rows:
        entropies: list[Tensor] = []
        return TokenStats(_logprobs(head, hidden_MD, targets_M, entropies), entropies[0])
    logprobs, entropies = [], []
    for hidden_mD, targets_m in zip(hidden_MD.split(rows), targets_M.split(rows), strict=True):
        found: list[Tensor] = []
        logprobs.append(
            checkpoint(_logprobs, head, hidden_mD, targets_m, found, use_reentrant=False, preserve_rng_state=False)
        )
        entropies += found
    return TokenStats(torch.cat(logprobs), torch.cat(entropies))


def _logprobs(
    head: Callable[[Tensor], Tensor], hidden_MD: Tensor, targets_M: Tensor, entropies: list[Tensor]
) -> Tensor:
    """Log-probabilities of the targets; an empty list receives the entropies, which a second pass need not compute."""
    logits_MV = head(hidden_MD).float()
    log_z_M = logits_MV.logsumexp(-1)
    logprob_M = logits_MV.gather(-1, targets_M[:, None])[:, 0] - log_z_M
    if not entropies:
        with torch.no_grad():
            entropies.append(log_z_M - (logits_MV - log_z_M[:, None]).exp_().mul_(logits_MV).sum(-1))
    return logprob_M


def values(critic: Decoder, batch: Batch) -> Tensor:
    """The critic's value of the state before each response token, (M,) float32.

    A critic with a method of this name (`learn.language.LanguageModel`) answers itself.
    """
    own = getattr(critic, "values", None)
    if own is not None:
        value_M: Tensor = own(batch)
        return value_M
    return decoder_values(critic, batch)


def decoder_values(critic: Decoder, batch: Batch) -> Tensor:
    """`values` of a decoder, by its own forward passes."""
    with precision(next(critic.parameters()).device):
        value_M1 = critic.logits(response_hidden(critic, batch))
    return value_M1[:, 0].float()
