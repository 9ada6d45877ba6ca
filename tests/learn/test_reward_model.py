"""Reward models: losses by hand, ODIN's heads, averages, and training on the house decoder."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learn_helpers import no_mixed_precision, text_prompt, tiny

from consilience.errors import CheckpointMismatch, InputError
from consilience.learn import reward_model as rm
from consilience.learn.batch import Group
from consilience.learn.optim.adamw import adamw
from consilience.learn.reward_model import RewardConfig, TwoHeads
from consilience.learn.state import copy_of, weights
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attend_causal


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def response(text: str) -> tuple[int, ...]:
    return (*tk.encode(text), tk.END)


# losses


def test_losses_by_hand() -> None:
    one, zero = torch.tensor([1.0]), torch.tensor([0.0])
    assert rm.bradley_terry_loss(zero, zero).item() == pytest.approx(math.log(2))
    assert rm.bradley_terry_loss(one, zero).item() == pytest.approx(math.log1p(math.exp(-1)))
    assert rm.regularised_loss(one, -2 * one).item() == pytest.approx(math.log1p(math.exp(-3)) + 0.005 * 5)
    assert rm.pearson(torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 4, 6])).item() == pytest.approx(1)
    assert rm.pearson(torch.tensor([1.0, 2, 3]), torch.tensor([5.0, 5, 5])).item() == 0
    q, length = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, -3.0]])
    assert rm.alignment(q, length).item() == pytest.approx(0, abs=1e-6)
    assert rm.alignment(q, -q).item() == pytest.approx(1, abs=1e-6)


def test_odin_by_hand() -> None:
    chosen = TwoHeads(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    rejected = TwoHeads(torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0]))
    tokens = torch.tensor([2, 4]), torch.tensor([2, 0])
    q, w = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    ranking = math.log1p(math.exp(-1))
    qualities, lengths, counts = (
        torch.tensor([1.0, 0, 0, 1]),
        torch.tensor([0.0, 1, 0, -1]),
        torch.tensor([2.0, 4, 2, 0]),
    )
    corr_q = float(torch.corrcoef(torch.stack([qualities, counts]))[0, 1])
    corr_l = float(torch.corrcoef(torch.stack([lengths, counts]))[0, 1])
    expected = ranking + abs(corr_q) - corr_l + 1 / math.sqrt(2)
    assert rm.odin_loss(chosen, rejected, *tokens, q, w).item() == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8), st.floats(-30, 30))
def test_bradley_terry_knows_no_constant_and_reg_does(pairs: list[tuple[float, float]], shift: float) -> None:
    chosen, rejected = torch.tensor(pairs, dtype=torch.float64).T
    plain = rm.bradley_terry_loss(chosen, rejected)
    assert torch.allclose(rm.bradley_terry_loss(chosen + shift, rejected + shift), plain, atol=1e-9)
    assert (rm.regularised_loss(chosen, rejected) >= plain).all()
    back = rm.bradley_terry_loss(rejected, chosen)
    assert torch.allclose((-plain).exp() + (-back).exp(), torch.ones_like(plain))


# the model


def test_the_reward_is_read_at_the_last_response_token(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model = rm.reward_model_of(tiny(), generator(), two_heads=True)
    prompt, answers = text_prompt("say"), (response("good"), tuple(tk.encode("cut off")))
    quality, length = model([Group(prompt, answers)])
    for i, answer in enumerate(answers):
        ids = torch.tensor([[*prompt.tokens, *answer]])
        trunk = model.trunk
        hidden = trunk(trunk.embed(ids), torch.arange(ids.shape[1])[None], attend_causal(ids.shape[1]))[0, -1]
        assert quality[i].item() == pytest.approx(trunk.logits(hidden).item(), abs=1e-5)
        assert length[i].item() == pytest.approx(model.length_head(hidden).item(), abs=1e-5)
    assert torch.allclose(
        rm.rewards_of(model, [Group(prompt, answers)] * 3, micro=2), quality.detach().repeat(3), atol=1e-6
    )


def test_a_language_model_serves_as_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    from consilience.learn.language import LanguageModel, critic_of

    no_mixed_precision(monkeypatch)
    actor = tiny()
    trunk = critic_of(LanguageModel(copy_of(actor)), generator(3))
    model, plain = rm.RewardModel(trunk), rm.reward_model_of(actor, generator(3))
    assert torch.equal(model.quality_weight, plain.quality_weight)
    assert torch.allclose(rm.rewards_of(model, preferences(3)), rm.rewards_of(plain, preferences(3)), atol=1e-6)
    numbers = rm.reward_step(model, adamw(model.parameters()), preferences(3), 1e-3, RewardConfig())
    assert numbers["grad_norm"] > 0


def preferences(n: int) -> list[Group]:
    """Chosen responses contain a "b", and tend to be longer; lengths overlap."""
    rng = torch.Generator().manual_seed(5)
    pairs = []
    for _ in range(n):
        a, b = (int(torch.randint(2, 7, (1,), generator=rng)) for _ in range(2))
        pairs.append(Group(text_prompt("q"), (response("a" * a + "b"), response("a" * b))))
    return pairs


@pytest.mark.parametrize("kind", ["bradley_terry", "reg", "odin"])
def test_a_reward_model_learns_the_preference(kind: rm.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model = rm.reward_model_of(tiny(), generator(), two_heads=kind == "odin")
    optimizer = adamw(model.parameters())
    pairs = preferences(24)
    config = RewardConfig(kind=kind, micro=12)
    first = rm.reward_step(model, optimizer, pairs, 3e-3, config)
    for _ in range(25):
        last = rm.reward_step(model, optimizer, pairs, 3e-3, config)
    assert last["loss"] < first["loss"] - 0.3
    assert last["accuracy"] > 0.9
    if kind == "odin":
        assert abs(last["length_correlation"]) < 0.25
        quality = rm.rewards_of(model, pairs).view(-1, 2)
        assert (quality[:, 0] > quality[:, 1]).float().mean() > 0.9  # the quality head alone ranks


def test_micro_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    losses = []
    for micro in (2, 6):
        model = rm.reward_model_of(tiny(), generator(), two_heads=True)
        numbers = rm.reward_step(
            model, adamw(model.parameters()), preferences(6), 0.0, RewardConfig("odin", micro=micro)
        )
        losses.append((numbers["loss"], numbers["grad_norm"]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_what_a_step_refuses() -> None:
    model = rm.reward_model_of(tiny(), generator())
    optimizer = adamw(model.parameters())
    with pytest.raises(InputError, match="groups of two"):
        rm.reward_step(model, optimizer, [], 1e-3, RewardConfig())
    with pytest.raises(InputError, match="two_heads=True"):
        rm.reward_step(model, optimizer, preferences(1), 1e-3, RewardConfig("odin"))


# WARM


def test_the_average_of_members() -> None:
    a, b = {"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([3.0, 5.0])}
    assert rm.average_weights([a, b])["w"].tolist() == [2, 4]
    assert rm.average_weights([a])["w"].tolist() == [1, 3]
    with pytest.raises(CheckpointMismatch, match="one start"):
        rm.average_weights([a, {"v": torch.zeros(2)}])
    with pytest.raises(InputError, match="at least one"):
        rm.average_weights([])


def test_an_averaged_model_scores_by_the_averaged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    start = rm.reward_model_of(tiny(), generator())
    members = []
    for lr in (1e-3, 3e-3):
        member = rm.RewardModel(copy_of(start.trunk))
        rm.reward_step(member, adamw(member.parameters()), preferences(4), lr, RewardConfig())
        members.append(weights(member))
    average = rm.RewardModel(copy_of(start.trunk))
    average.load_state_dict(rm.average_weights(members))
    name = "trunk.head.weight"
    assert torch.allclose(average.trunk.head.weight, (members[0][name] + members[1][name]) / 2)
    assert rm.rewards_of(average, preferences(2)).shape == (4,)
