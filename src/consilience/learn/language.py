"""A text model of the transformers library as actor and critic of the same updates that train house models.

`LanguageModel` answers `token_stats` and `values` itself, which is all that `ppo_update`, `grpo_update`, `sft_step` and
`dpo_step` ask of a model. A Qwen3 (arXiv 2505.09388) that is trained whole runs as our `Decoder`; every other
architecture, and every model with LoRA adapters (arXiv 2106.09685), runs as transformers built it.

Shape letters as in batch.py (B prompts, P prompt tokens, N responses, R response tokens, M packed response tokens),
plus D width and V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from consilience.errors import InputError
from consilience.learn import state
from consilience.learn.batch import Batch, Group, collate
from consilience.learn.forward import LOGITS_AT_ONCE, TokenStats, chunked_stats, precision, response_hidden
from consilience.learn.optim.adamw import adamw
from consilience.learn.rl import Learner
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt


class LanguageModel(nn.Module):
    """A causal language model, or the value model made from one, that the updates of `learn` train.

    Only what is trained counts as a parameter: frozen weights below LoRA adapters are neither optimised nor
    saved in checkpoints, and a tied matrix appears once. Dropout is off, so that what is trained is what was sampled.

    Args:
        net: a `Decoder`, or a causal model of transformers (of a value model: its body without the vocabulary head).
        share_prompts: compute every prompt once for all its responses, through the key/value cache of transformers.
        value_head: (D → 1), for a value model whose net is of transformers.
    """

    def __init__(self, net: nn.Module, *, share_prompts: bool = True, value_head: nn.Linear | None = None) -> None:
        super().__init__()
        self.net = net.eval()
        self.share_prompts = share_prompts
        self.value_head = value_head

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained, each tensor once."""
        everything = super().named_parameters(prefix, recurse, remove_duplicate)
        yield from ((name, p) for name, p in everything if p.requires_grad)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]
        """The tensors of `named_parameters`, detached."""
        return {name: p.detach() for name, p in self.named_parameters()}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.net.parameters()).device

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding, V."""
        net: Any = self.net
        return int(net.config.vocab_size)

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states (M, D) after the final norm, from which each response token is predicted."""
        batch = _within(batch, self.vocabulary)
        if isinstance(self.net, Decoder):
            return response_hidden(self.net, batch)
        body = cast(Any, self.net).base_model
        if self.share_prompts and batch.prompts_BP.shape[1]:
            return _hidden_shared(body, batch, self.device)
        return _hidden_rows(body, batch, self.device)

    def token_stats(self, batch: Batch) -> TokenStats:
        """As `learn.forward.token_stats`; no (M, V) float32 matrix is kept, however large the vocabulary."""
        with precision(self.device):
            return chunked_stats(self.hidden(batch), self.logits, batch.targets_M.to(self.device), LOGITS_AT_ONCE)

    def values(self, batch: Batch) -> Tensor:
        """As `learn.forward.values`: the value of the state before each response token, (M,) float32."""
        with precision(self.device):
            return self.logits(self.hidden(batch))[:, 0].float()

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Head outputs: (M, V) of a language model, (M, 1) of a value model."""
        if self.value_head is not None:
            return cast(Tensor, self.value_head(hidden_MD.to(self.value_head.weight.dtype)))
        if isinstance(self.net, Decoder):
            return self.net.logits(hidden_MD)
        return cast(Tensor, cast(Any, self.net).get_output_embeddings()(hidden_MD))

    def twin(self) -> LanguageModel:
        """An independent copy, for instance the reference of DPO."""
        return copy.deepcopy(self)


def learner(model: LanguageModel) -> Learner:
    """The model with its optimizer, for the updates and stages of `learn`.

    `Learner` names house models; of a model the updates use `parameters`, `state_dict`, `token_stats` and `values`.
    """
    return Learner(cast(Decoder, model), adamw(model.parameters()))


def critic_of(actor: LanguageModel, generator: torch.Generator) -> LanguageModel:
    """A separate value model from the actor's weights (adapters included), with a fresh small head without bias.

    The head's deviation is 1/(D+1), so that first values are small (Open-Reasoner-Zero, arXiv 2503.24290).
    """
    if isinstance(actor.net, Decoder):
        return LanguageModel(state.critic_of(actor.net, generator).to(actor.device))
    body = copy.deepcopy(cast(Any, actor.net).base_model)
    width = cast(Any, actor.net).get_input_embeddings().weight.shape[1]
    head = nn.Linear(width, 1, bias=False)
    nn.init.normal_(head.weight, 0.0, 1 / (width + 1), generator=generator)
    return LanguageModel(body, share_prompts=actor.share_prompts, value_head=head.to(actor.device))


def _within(batch: Batch, vocabulary: int) -> Batch:
    """The batch with padding that every vocabulary has; padding is masked, so its id is of no account."""
    top = vocabulary - 1
    return replace(batch, prompts_BP=batch.prompts_BP.clamp(max=top), inputs_NR=batch.inputs_NR.clamp(max=top))


def _masks(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which prompt tokens (B, P) and which response inputs (N, R) are real."""
    width = batch.prompts_BP.shape[1]
    return (torch.arange(width) < batch.lengths_B[:, None]).to(device), batch.real_NR.to(device)


def _hidden_shared(body: Any, batch: Batch, device: torch.device) -> Tensor:
    """Prompts through the body once; their keys and values, with gradients, serve all responses."""
    prompt_BP, real_NR = _masks(batch, device)
    group = len(real_NR) // len(prompt_BP)
    position_P = torch.arange(prompt_BP.shape[1], device=device)
    position_BP = torch.where(prompt_BP, position_P, 0)
    filled = body(
        input_ids=batch.prompts_BP.to(device), attention_mask=prompt_BP, position_ids=position_BP, use_cache=True
    )
    cache = filled.past_key_values
    cache.batch_repeat_interleave(group)
    hidden_NRD = body(
        input_ids=batch.inputs_NR.to(device),
        attention_mask=torch.cat([prompt_BP.repeat_interleave(group, 0), real_NR], 1),
        position_ids=torch.where(real_NR, batch.positions_NR.to(device), 0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return cast(Tensor, hidden_NRD[real_NR])


def _hidden_rows(body: Any, batch: Batch, device: torch.device) -> Tensor:
    """Every prompt and response as one row without gaps, padded on the right: what any causal model takes."""
    prompt_BP, real_NR = _masks(batch, device)
    group = len(real_NR) // len(prompt_BP)
    keep = torch.cat([prompt_BP.repeat_interleave(group, 0), real_NR], 1)
    tokens = torch.cat([batch.prompts_BP.repeat_interleave(group, 0), batch.inputs_NR], 1).to(device)
    wanted = torch.cat([torch.zeros_like(prompt_BP).repeat_interleave(group, 0), real_NR], 1)
    order = keep.logical_not().int().argsort(dim=1, stable=True)
    width = int(keep.sum(1).max())
    tokens, keep, wanted = (x.gather(1, order)[:, :width] for x in (tokens, keep, wanted))
    hidden = body(input_ids=tokens, attention_mask=keep, use_cache=False).last_hidden_state
    return cast(Tensor, hidden[wanted])


@torch.no_grad()
def wrap(net: Any, name: str) -> LanguageModel:
    """A causal model of transformers as a `LanguageModel`, after a short measurement that its parts fit together.

    Prompts are shared between responses where every layer attends to everything and the measurement agrees.

    Raises:
        InputError: the model's logits are not its head applied to its last hidden states (scaled or capped logits).
    """
    model = LanguageModel(net, share_prompts=False)
    top = min(net.config.vocab_size, 50)
    ids = [(7 * i + 3) % top for i in range(16)]
    groups = [Group(Prompt(tuple(ids[:5])), (tuple(ids[5:9]), tuple(ids[9:11])))]
    groups.append(Group(Prompt(tuple(ids[2:5])), (tuple(ids[11:12]), tuple(ids[4:9]))))
    batch = collate(groups)
    rows = [(g.prompt.tokens, r) for g in groups for r in g.responses]
    expected = torch.cat([_plain_logits(net, prompt, response, model.device) for prompt, response in rows])
    tolerance = (0.1 if net.dtype in (torch.bfloat16, torch.float16) else 1e-3) * float(expected.abs().max() + 1e-3)

    def agrees() -> bool:
        return float((model.logits(model.hidden(batch)).float() - expected).abs().max()) <= tolerance

    if not agrees():
        raise InputError(
            f"hf:{name} ({net.config.model_type}) scales or caps its logits, which this trainer does not compute; "
            "choose a model with a plain vocabulary head (Qwen, Llama, Mistral, GPT-2, …)."
        )
    if _attends_to_everything(net.config):
        model.share_prompts = True
        model.share_prompts = agrees()
    return model


def _plain_logits(net: Any, prompt: tuple[int, ...], response: tuple[int, ...], device: torch.device) -> Tensor:
    row = torch.tensor([[*prompt, *response[:-1]]], device=device)
    logits: Tensor = net(input_ids=row, attention_mask=torch.ones_like(row)).logits[0, len(prompt) - 1 :].float()
    return logits


def _attends_to_everything(config: Any) -> bool:
    """No sliding window, no recurrent layer: the key/value cache is all that a prompt leaves."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return kinds == {"full_attention"} and window is None
