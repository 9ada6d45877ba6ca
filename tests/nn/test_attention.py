"""Attention against PyTorch's own, and prompts shared by several responses against separate rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from consilience.nn.attention import SharedPrompt, attend_causal, attention, causal, packed
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder

Hidden = Callable[[Decoder, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@pytest.mark.parametrize(("h", "k"), [(4, 1), (4, 2), (4, 4)])
def test_attention_equals_scaled_dot_product(h: int, k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(3, h, 7, 8, generator=generator)
    keys, values = torch.randn(2, 3, k, 7, 8, generator=generator)
    expected = F.scaled_dot_product_attention(q, keys, values, is_causal=True, enable_gqa=True)
    assert torch.allclose(attention(q, keys, values, causal(7)), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_the_same_with_and_without_gradient(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(3, 4, 70, 32, generator=generator).to(dtype)
    keys, values = torch.randn(2, 3, 2, 70, 32, generator=generator).to(dtype)
    padding_B1 = torch.tensor([[0], [7], [66]])
    allowed = ((torch.arange(70) >= padding_B1)[:, None] & causal(70)) | torch.eye(70, dtype=torch.bool)
    with torch.no_grad():
        plain = attention(q, keys, values, allowed)
    trained = attention(q.requires_grad_(), keys, values, allowed)
    assert trained.requires_grad
    assert torch.allclose(plain, trained, atol=1e-5 if dtype == torch.float32 else 0)


def make(kv_heads: int) -> tuple[Decoder, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A model, (B, P) right-padded prompts with their lengths, and (B·G, R) responses."""
    model = Decoder(ModelConfig(vocab_size=40, d_model=32, n_layers=2, n_heads=4, n_kv_heads=kv_heads, head_dim=8))
    generator = torch.Generator().manual_seed(1)
    model.initialise(generator)
    prompts = torch.randint(0, 40, (3, 9), generator=generator)
    responses = torch.randint(0, 40, (6, 5), generator=generator)
    return model, prompts, torch.tensor([9, 4, 7]), responses


def shared_hidden(
    model: Decoder, prompts: torch.Tensor, lengths: torch.Tensor, responses: torch.Tensor
) -> torch.Tensor:
    group, r = len(responses) // len(prompts), responses.shape[1]
    shared = SharedPrompt(lengths, model.config.n_layers)
    model.fill(model.embed(prompts), torch.arange(prompts.shape[1]).expand_as(prompts), shared.attend_prompt)
    positions = lengths.repeat_interleave(group)[:, None] + torch.arange(r)
    return model(model.embed(responses), positions, shared.attend_responses)


def packed_hidden(
    model: Decoder, prompts: torch.Tensor, lengths: torch.Tensor, responses: torch.Tensor
) -> torch.Tensor:
    """`shared_hidden` on real tokens alone."""
    group, (n, r) = len(responses) // len(prompts), responses.shape
    shared = SharedPrompt(lengths, model.config.n_layers)
    places = torch.arange(prompts.shape[1]).expand_as(prompts)
    real = places < lengths[:, None]
    model.fill(model.embed(prompts[real][None]), places[real][None], packed(shared.attend_prompt, real))
    positions = lengths.repeat_interleave(group)[:, None] + torch.arange(r)
    look = packed(shared.attend_responses, torch.ones(n, r, dtype=torch.bool))
    hidden = model(model.embed(responses.reshape(1, -1)), positions.reshape(1, -1), look)
    return hidden.view(n, r, -1)


def separate_hidden(
    model: Decoder, prompts: torch.Tensor, lengths: torch.Tensor, responses: torch.Tensor
) -> torch.Tensor:
    group, r = len(responses) // len(prompts), responses.shape[1]
    rows = []
    for i, response in enumerate(responses):
        ids = torch.cat([prompts[i // group, : lengths[i // group]], response])[None]
        h = model(model.embed(ids), torch.arange(ids.shape[1])[None], attend_causal(ids.shape[1]))
        rows.append(h[0, -r:])
    return torch.stack(rows)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("hidden", [shared_hidden, packed_hidden])
def test_shared_prompt_equals_separate_rows(hidden: Hidden, kv_heads: int) -> None:
    case = make(kv_heads)
    with torch.no_grad():
        assert torch.allclose(hidden(*case), separate_hidden(*case), atol=1e-5)


def test_packed_responses_of_different_lengths_equal_separate_rows() -> None:
    model, prompts, lengths, responses = make(2)
    real = torch.arange(5) < torch.tensor([5, 1, 3, 4, 2, 5])[:, None]
    shared = SharedPrompt(lengths, model.config.n_layers)
    positions = lengths.repeat_interleave(2)[:, None] + torch.arange(5)
    with torch.no_grad():
        model.fill(model.embed(prompts), torch.arange(9).expand_as(prompts), shared.attend_prompt)
        look = packed(shared.attend_responses, real)
        found = model(model.embed(responses[real][None]), positions[real][None], look)[0]
        expected = separate_hidden(model, prompts, lengths, responses)[real]
    assert torch.allclose(found, expected, atol=1e-5)


def test_shared_prompt_has_the_same_gradients() -> None:
    """Gradients reach the prompt through the shared keys and values."""
    gradients = []
    for hidden in (shared_hidden, packed_hidden, separate_hidden):
        case = make(2)
        case[0].double()
        weights = torch.linspace(-1, 1, 32, dtype=torch.float64)
        (hidden(*case) @ weights).sin().sum().backward()
        gradients.append([p.grad for p in case[0].parameters()])
    for together, packed_, apart in zip(*gradients, strict=True):
        assert together is not None
        assert torch.allclose(together, apart, rtol=1e-9, atol=1e-12)
        assert torch.allclose(packed_, apart, rtol=1e-9, atol=1e-12)
