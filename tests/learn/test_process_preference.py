"""The process preference model: losses by hand, where a step's value is read, training, and its baselines."""

from __future__ import annotations

import asyncio
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learn_helpers import bits, no_mixed_precision, property_test, text_prompt, tiny

from consilience.errors import InputError
from consilience.learn import process_preference as pp
from consilience.learn.batch import Group
from consilience.learn.optim.adamw import adamw
from consilience.learn.process_preference import Path, ProcessScorer, StepPreference, after, path_of
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attend_causal
from consilience.nn.decoder import Decoder
from consilience.problem import Problem, Text


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ids(text: str) -> tuple[int, ...]:
    return tuple(tk.encode(text))


# losses


def test_the_loss_of_one_pair() -> None:
    for difference, expected in ((0.0, 0.693147), (1.0, 0.313262), (-1.0, 1.313262)):
        loss = pp.process_preference_loss(torch.tensor([[difference]]), torch.zeros(1, 1))
        assert loss.item() == pytest.approx(expected, abs=1e-6)
    positive, negative = torch.ones(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    pp.process_preference_loss(positive, negative).sum().backward()
    assert positive.grad is not None
    assert negative.grad is not None
    assert positive.grad.item() == pytest.approx(-0.268941, abs=1e-6)
    assert negative.grad.item() == -positive.grad.item()


def test_values_in_the_open_interval_leave_a_floor() -> None:
    best = pp.process_preference_loss(torch.ones(1, 2), -torch.ones(1, 2))
    assert best.item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-6)
    assert best.item() == pytest.approx(0.126928, abs=1e-6)


def test_the_loss_is_the_mean_over_four_pairs() -> None:
    positive, negative = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.0, -1.0]])
    by_hand = sum(math.log1p(math.exp(-(p - n))) for p in (1.0, 0.5) for n in (0.0, -1.0)) / 4
    assert pp.process_preference_loss(positive, negative).tolist() == pytest.approx([by_hand])
    pairs = torch.tensor([1.0, 1.0, 0.5, 0.5]), torch.tensor([0.0, -1.0, 0.0, -1.0])
    assert pp.weighted_pair_loss(*pairs, torch.full((4,), 0.25)).item() == pytest.approx(by_hand)


@given(st.integers(1, 6), st.integers(1, 6))
@property_test
def test_the_factors_of_a_prefix_sum_to_one(positives: int, negatives: int) -> None:
    one = StepPreference(text_prompt("q"), ((1,),) * positives, ((2,),) * negatives)
    assert one.weight * len(one.pairs) == pytest.approx(1)


def test_factors_count_the_lists_before_the_filter() -> None:
    assert pp.pair_factor(2, 2) == 0.25
    assert pp.pair_factor(1, 4) == 0.25
    assert pp.pair_factor(0, 3) == pytest.approx(1 / 3)
    filtered = StepPreference(text_prompt("q"), ((1,), (2,)), ((3,), (4,)), kept=((0, 1),))
    assert (filtered.weight, filtered.pairs) == (0.25, ((0, 1),))
    with pytest.raises(InputError, match="either side"):
        pp.pair_factor(0, 0)


def test_the_released_squashing() -> None:
    x = torch.tensor([-10.0, -5, 1, 2.5, 5])
    assert pp.process_score(x).tolist() == pytest.approx([-0.964028, -0.761594, 0.197375, 0.462117, 0.761594], abs=1e-6)


# the model


def plain_values(model: Decoder, path: Path) -> list[float]:
    """Values by one causal forward pass over the whole row."""
    row = torch.tensor([[*path.prompt.tokens, *path.tokens]])
    hidden = model(model.embed(row), torch.arange(row.shape[1])[None], attend_causal(row.shape[1]))
    return model.logits(hidden)[0, [len(path.prompt) + end for end in path.ends], 0].tanh().tolist()


def test_a_step_is_valued_at_its_last_token(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model = tiny(head="value", tie_embeddings=False)
    paths = [path_of(text_prompt("say"), ["one ", "two three ", "four"]), path_of(text_prompt("longer?"), ["x"])]
    assert paths[0].ends == (3, 13, 17)
    values = pp.step_values(model, paths).tolist()
    assert values == pytest.approx(plain_values(model, paths[0]) + plain_values(model, paths[1]), abs=1e-5)
    prefix = after(text_prompt("say"), "one two three ")
    last = pp.last_values(
        model, [Group(prefix, (ids("four"), ids("five!"))), Group(text_prompt("longer?"), (ids("x"),))]
    )
    assert last[[0, 2]].tolist() == pytest.approx([values[2], values[3]], abs=1e-5)
    assert all(-1 < value < 1 for value in values)


def test_a_language_model_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from consilience.learn.language import LanguageModel, critic_of

    no_mixed_precision(monkeypatch)
    model = critic_of(LanguageModel(tiny()), generator(3))
    data = preferences("c")
    before = pp.step_values(model, [path_of(text_prompt("q"), ["a", "b"])])
    numbers = pp.preference_step(model, adamw(model.parameters()), data, 1e-3)
    assert before.shape == (2,)
    assert numbers["grad_norm"] > 0


def test_later_steps_do_not_change_the_value_of_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model, prompt = tiny(head="value", tie_embeddings=False), text_prompt("q")
    short, long = (pp.step_values(model, [path_of(prompt, steps)]) for steps in (["ab"], ["ab", "cd"]))
    assert long[0].item() == pytest.approx(short[0].item(), abs=1e-6)


def test_a_fresh_model_values_every_step_at_zero() -> None:
    actor = tiny()
    model = pp.process_model_of(actor, generator())
    assert torch.equal(model.embedding.weight, actor.embedding.weight)
    assert pp.step_values(model, [path_of(text_prompt("q"), ["a", "b"])]).abs().max() < 1e-3


def test_steps_of_nearly_the_same_worth_do_not_tie_in_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pp, "precision", lambda device: torch.autocast("cpu", dtype=torch.bfloat16))
    model = tiny(head="value", tie_embeddings=False)
    hidden = torch.randn(64, model.config.d_model, generator=generator(1)) / 100
    hidden[:, 0] += 1.0
    with torch.no_grad():
        model.head.weight.copy_(hidden.mean(0)[None])
    monkeypatch.setattr(pp, "trunk_hidden", lambda *_: hidden)
    values = pp._values(model, [Group(text_prompt("q"), (ids("a"),))])
    assert len(set(values.tolist())) == 64


def test_as_scorer_of_paths() -> None:
    model = tiny(head="value", tie_embeddings=False)
    problem = Problem("p", "test", "sum", "text", (Text("2+2?"),), "4", "integer")
    scorer = ProcessScorer(model, micro=2)
    paths = ["one step", "one step two", "another"]
    values = asyncio.run(scorer([(problem, path) for path in paths]))
    alone = [asyncio.run(scorer([(problem, path)]))[0] for path in paths]
    assert values == pytest.approx(alone, abs=1e-2)
    assert len(set(values)) == 3
    with pytest.raises(InputError, match="at least one step"):
        asyncio.run(scorer([(problem, "")]))


# training


def preferences(firsts: str) -> list[StepPreference]:
    """After "xa" or "xb", a step that repeats the last letter is good: nothing but the prefix tells."""
    return [
        StepPreference(
            after(text_prompt("q"), first + last), (ids(last), ids(last + "!")), (ids(other), ids(other + "!"))
        )
        for first in firsts
        for last, other in ("ab", "ba")
    ]


def test_it_learns_which_step_follows_from_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model = pp.process_model_of(tiny(), generator())
    optimizer, train, held = adamw(model.parameters()), preferences("cdefgh"), preferences("ijk")
    batch = pp.epochs_of(len(train), 12, 0)
    numbers = [pp.preference_step(model, optimizer, [train[i] for i in batch(step)], 8e-3) for step in range(30)]
    assert numbers[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert numbers[-1]["loss"] < 0.25
    assert pp.pair_accuracy(model, held) > 0.9


def test_micro_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    data = [*preferences("c"), StepPreference(text_prompt("q"), (ids("x"),), (ids("y"), ids("zz"), ids("w")))]
    numbers = []
    for micro in (1, 4):
        model = tiny(head="value", tie_embeddings=False)
        numbers.append(pp.preference_step(model, adamw(model.parameters()), data, 0.0, micro))
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)


def test_the_step_is_the_mean_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model, data = tiny(head="value", tie_embeddings=False), preferences("cd")
    values = torch.stack([pp.last_values(model, [Group(p.prefix, p.positives + p.negatives)]) for p in data]).detach()
    expected = pp.process_preference_loss(values[:, :2], values[:, 2:]).mean()
    assert pp.preference_step(model, adamw(model.parameters()), data, 0.0)["loss"] == pytest.approx(float(expected))


def test_the_regressing_baseline_learns_values(monkeypatch: pytest.MonkeyPatch) -> None:
    no_mixed_precision(monkeypatch)
    model = pp.process_model_of(tiny(), generator())
    optimizer = adamw(model.parameters())
    paths = [path_of(text_prompt("q"), ["good", "bad"]), path_of(text_prompt("q"), ["bad", "good"])]
    targets = torch.tensor([0.8, -0.6, -0.6, 0.8])
    losses = [pp.value_step(model, optimizer, paths, targets, 5e-3, micro=1)["loss"] for _ in range(40)]
    assert losses[0] == pytest.approx(float(targets.square().mean()), abs=1e-3)
    assert losses[-1] < 0.05
    with pytest.raises(InputError, match="4 steps need as many values, not 3"):
        pp.value_step(model, optimizer, paths, targets[:3], 1e-3)


def test_same_seed_same_bytes() -> None:
    def trained() -> dict[str, bytes]:
        model = pp.process_model_of(tiny(), generator())
        optimizer, batch, data = adamw(model.parameters()), pp.epochs_of(8, 4, 3), preferences("cdef")
        for step in range(3):
            pp.preference_step(model, optimizer, [data[i] for i in batch(step)], 1e-3)
        return bits(model)

    assert trained() == trained()


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 3))
@property_test
def test_an_epoch_sees_no_index_twice(count: int, size: int, seed: int) -> None:
    batch = pp.epochs_of(count, size, seed)
    steps = max(1, count // size)
    seen = [index for step in range(steps) for index in batch(step)]
    assert len(set(seen)) == len(seen) == min(count, steps * size)
    assert [batch(step) for step in range(steps)] == [batch(step) for step in range(steps)]


def test_what_is_refused() -> None:
    model, prompt = tiny(head="value", tie_embeddings=False), text_prompt("q")
    optimizer = adamw(model.parameters())
    for wrong in ([], [StepPreference(prompt, (), ((1,),))], [StepPreference(prompt, ((),), ((1,),))]):
        with pytest.raises(InputError, match="at least one pair"):
            pp.preference_step(model, optimizer, wrong, 1e-3)
    with pytest.raises(InputError, match="must rise"):
        pp.step_values(model, [Path(prompt, (1, 2), (1, 1))])
    with pytest.raises(InputError, match="must rise"):
        pp.step_values(model, [Path(prompt, (1, 2), (2,))])
    with pytest.raises(InputError, match="at least one path"):
        pp.step_values(model, [])
    with pytest.raises(InputError, match="some text"):
        path_of(prompt, ["a", ""])
