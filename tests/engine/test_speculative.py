"""Speculative decoding: greedy equality, the sampling law, roll-back, stops, and what heads draft without a cache."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from naive_engine import distribution, greedy, next_logits, prompt, tiny
from scipy.stats import chisquare

from consilience.engine import Acceptance, Engine, Request, Speculation, Vocabulary, house
from consilience.engine.batch import Output
from consilience.errors import InputError
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attend_causal
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Mixture, Rope
from consilience.nn.template import Prompt
from consilience.protocols import Sampling

HEAD = Layer(4, window=6, gate=True, d_ff=40)
MIXED = (
    Layer(4, gate=True, d_ff=40),
    Layer(4, Rope(100.0, dims=8), window=5, mixture=Mixture(4, 2, 16, shared=16, router="sigmoid", normalise=True)),
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def with_heads(seed: int = 0, heads: int = 3, **fields: object) -> Decoder:
    """Drafting heads that often agree with the model: their output matrices are its own."""
    model = tiny(seed, drafts=(HEAD,) * heads, **fields)
    for draft in model.drafts:
        draft.head.weight.copy_(model.embedding.weight if model.head is None else model.head.weight)  # type: ignore
    return model


def noisy(model: Decoder, noise: float, seed: int = 9) -> Decoder:
    """A smaller model for tests: the same with noise on its weights, so that some drafts stay and some do not."""
    other = Decoder(model.config)
    other.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    for p in other.requires_grad_(False).parameters():
        p += noise * p.std() * torch.randn(p.shape, generator=generator) if p.ndim > 1 else 0
    return other


def engine(model: Decoder, speculation: Speculation | None, rows: int = 8, words: Vocabulary | None = None) -> Engine:
    return Engine(model, rows=rows, dtype=torch.float32, vocabulary=words, speculation=speculation)


def mixed(count: int, temperature: float = 0.0, seed: int = 0) -> list[Request]:
    rng = random.Random(seed)
    return [
        Request(
            prompt(rng, rng.randrange(4, 30)),
            Sampling(temperature=temperature, max_tokens=rng.randrange(1, 18), seed=rng.randrange(1000)),
            n=rng.choice([1, 1, 3]),
        )
        for _ in range(count)
    ]


def same(found: list[list[Output]], expected: list[list[Output]]) -> None:
    for a, b in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert (a.tokens, a.finish) == (b.tokens, b.finish)
        assert np.allclose(a.logprobs, b.logprobs, atol=1e-4)


# greedy equality


@pytest.mark.parametrize("rows", [1, 2, 16])
@pytest.mark.parametrize("layers", [(), MIXED])
def test_greedy_equals_plain_decoding_for_every_batch_size(rows: int, layers: tuple[Layer, ...]) -> None:
    model, requests = with_heads(layers=layers), mixed(5)
    plain = engine(model, None, rows).generate(requests)
    same(engine(model, Speculation(), rows).generate(requests), plain)
    spoken = engine(model, Speculation(4, noisy(model, 0.3)), rows)
    same(spoken.generate(requests), plain)
    assert spoken.acceptance is not None
    assert spoken.acceptance.tokens == sum(len(o.tokens) for samples in plain for o in samples)


def test_a_drafter_that_is_the_model_is_always_right() -> None:
    model = tiny(2)
    spoken = engine(model, Speculation(3, model), 1, Vocabulary(tk.VOCAB_SIZE, ()))
    spoken.generate([Request(prompt(random.Random(0), 9), Sampling(temperature=0, max_tokens=40))])
    assert spoken.acceptance == Acceptance(10, 10, 40, (10, 10, 10))
    assert spoken.acceptance.tokens_per_pass == 4
    assert spoken.acceptance.conditional_K == (1, 1, 1)


def test_parallel_heads_and_fewer_drafts_than_heads() -> None:
    model, requests = with_heads(1), mixed(5, seed=1)
    plain = engine(model, None).generate(requests)
    for speculation in (Speculation(serial=False), Speculation(1), Speculation(2)):
        same(engine(model, speculation).generate(requests), plain)


def test_a_long_answer_outgrows_stores_and_windows() -> None:
    model = with_heads(3, layers=MIXED, max_context=130)
    requests = [Request(prompt(random.Random(i), 8), Sampling(temperature=0, max_tokens=0)) for i in range(2)]
    requests += [replace(r, sampling=Sampling(temperature=0, max_tokens=5)) for r in requests] * 2
    words = Vocabulary(tk.VOCAB_SIZE, ())
    plain = engine(model, None, 2, words).generate(requests)
    assert len(plain[0][0].tokens) == 122
    same(engine(model, Speculation(), 2, words).generate(requests), plain)
    same(engine(model, Speculation(5, noisy(model, 0.1)), 2, words).generate(requests), plain)


def test_key_reuse_is_decoded_as_well() -> None:
    layers = (Layer(4, query_rank=12, d_ff=40), Layer(4, query_rank=12, reuse=True, d_ff=40))
    model = tiny(0, n_kv_heads=1, layers=layers)
    requests = mixed(4)
    plain = engine(model, None).generate(requests)
    same(engine(model, Speculation(3, noisy(model, 0.1))).generate(requests), plain)


# the law


SMALL = Vocabulary(4, ())


def small_model(seed: int, heads: int) -> Decoder:
    config = ModelConfig(
        vocab_size=4, d_model=16, n_layers=1, head_dim=8, d_ff=24, max_context=32, drafts=(Layer(4, d_ff=24),) * heads
    )
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(seed))
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("drafter", "sampling"),
    [
        ("heads", Sampling()),
        ("smaller", Sampling(temperature=1.4, top_p=0.9)),
        ("heads", Sampling(top_k=3, min_p=0.05)),
    ],
)
def test_answers_follow_the_law_of_the_model(drafter: str, sampling: Sampling) -> None:
    """The joint law of three tokens, over several passes, by χ²; and the log-probabilities are the model's own."""
    model, n, length = small_model(1, 2), 4000, 3
    asked = Prompt((0, 1, 3, 2))
    speculation = Speculation() if drafter == "heads" else Speculation(2, noisy(model, 0.5))
    limits = replace(sampling, max_tokens=length, seed=5)
    spoken = engine(model, speculation, 1000, SMALL)
    samples = spoken.generate([Request(asked, limits, n)])[0]
    after = cache(lambda ids: next_logits(model, asked, ids))
    law = {}
    for ids in itertools.product(range(4), repeat=length):
        p, own = 1.0, []
        for i, token in enumerate(ids):
            logits = after(ids[:i])
            own.append(float(logits.log_softmax(-1)[token]))
            p *= distribution(logits.tolist(), sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)[
                token
            ]
        law[ids] = (p, own)
    seen = dict.fromkeys(law, 0)
    for sample in samples:
        seen[sample.tokens] += 1
    assert np.allclose(samples[0].logprobs, law[samples[0].tokens][1], atol=1e-4)
    assert not any(seen[ids] for ids, (p, _) in law.items() if p == 0)
    often = [ids for ids, (p, _) in law.items() if p * n >= 5]
    observed = [*(seen[ids] for ids in often), n - sum(seen[ids] for ids in often)]
    expected = [*(law[ids][0] * n for ids in often), n * (1 - sum(law[ids][0] for ids in often))]
    if expected[-1] < 1e-6:
        observed, expected = observed[:-1], expected[:-1]
    assert chisquare(observed, np.array(expected) * sum(observed) / sum(expected)).pvalue > 1e-3
    found = spoken.acceptance
    assert found is not None
    assert 0.1 < found.conditional_K[0] < 0.999


def test_a_sample_does_not_depend_on_what_else_runs() -> None:
    model, requests = with_heads(), mixed(6, temperature=1.0)
    together = engine(model, Speculation(), 16).generate(requests)
    alone = [engine(model, Speculation(), 2).generate([request])[0] for request in requests]
    assert [[o.tokens for o in samples] for samples in together] == [[o.tokens for o in s] for s in alone]
    assert engine(model, Speculation(), 16).generate(requests) == together


# rows that end inside a pass


def test_answers_end_at_the_end_token_and_at_stop_strings() -> None:
    """With a drafter that is the model, whole passes are accepted, and an end may lie anywhere inside."""
    model, asked = tiny(2), prompt(random.Random(1), 9)
    for stop in ((), ("e",), ("</think>", "<box>"), ("7>", "zq")):
        request = Request(asked, Sampling(temperature=0.9, max_tokens=60, seed=0, stop=stop), 16)
        free = engine(model, Speculation(3, model), 16, replace(house(), end=())).generate(
            [replace(request, sampling=replace(request.sampling, stop=()))]
        )[0]
        cut = engine(model, Speculation(3, model), 16).generate([request])[0]
        for a, b in zip(free, cut, strict=True):
            ends = [
                i
                for i in range(1, len(a.tokens) + 1)
                if a.tokens[i - 1] == tk.END or any(s in tk.decode(a.tokens[:i]) for s in stop)
            ]
            if not ends or tk.END not in a.tokens[: ends[0] - 1]:
                expected = a.tokens[: ends[0]] if ends else a.tokens
                assert (b.tokens, b.finish) == (expected, "stop" if ends else "length")


def test_rows_come_go_and_are_cancelled() -> None:
    model, requests = with_heads(), mixed(8, seed=4)
    expected = engine(model, None).generate(requests)
    running = engine(model, Speculation(), 4)
    got: dict[int, list[Output]] = {i: [] for i in range(8)}
    jobs = [running.submit(r, lambda _, o, i=i: got[i].append(o)) for i, r in enumerate(requests)]  # type: ignore[misc]
    running.batch.step()
    dropped = [i for i in (0, 3) if not got[i]]
    for i in dropped:
        running.batch.cancel(jobs[i])
    while running.batch.busy:
        running.batch.step()
    for i in range(8):
        assert got[i] == [] if i in dropped else {o.tokens for o in got[i]} == {o.tokens for o in expected[i]}


def test_a_prompt_of_one_token_and_a_full_context() -> None:
    model = with_heads(max_context=12)
    words = Vocabulary(tk.VOCAB_SIZE, ())
    request = Request(Prompt((65,)), Sampling(temperature=0, max_tokens=0))
    tokens, _ = greedy(model, request.prompt, 11, words)
    (sample,) = engine(model, Speculation(), 2, words).generate([request])[0]
    assert (list(sample.tokens), sample.finish) == (tokens, "length")


def test_refresh_takes_over_weights_of_both_models() -> None:
    model, smaller = tiny(0), tiny(1)
    request = Request(prompt(random.Random(0), 9), Sampling(temperature=0, max_tokens=12))
    running = Engine(model, rows=2, dtype=torch.bfloat16, speculation=Speculation(2, smaller))
    running.generate([request])
    model.load_state_dict(tiny(3).state_dict())
    smaller.load_state_dict(tiny(3).state_dict())
    running.refresh()
    fresh = Engine(tiny(3), rows=2, dtype=torch.bfloat16, speculation=Speculation(2, tiny(3)))
    assert running.generate([request]) == fresh.generate([request])


# what heads draft


@pytest.mark.parametrize("serial", [True, False])
def test_heads_draft_what_they_would_without_a_cache(serial: bool) -> None:
    """In every pass, head h over all places, the trunk over all known tokens: the logits equal those of the engine."""
    model = with_heads(5)
    spoken = engine(model, Speculation(serial=serial), 1, Vocabulary(tk.VOCAB_SIZE, ()))
    asked = prompt(random.Random(2), 11)
    seen: list[tuple[int, list[int], torch.Tensor]] = []
    batch = spoken.batch
    original = batch.drafter.propose  # type: ignore[union-attr]

    def spy(n_B: torch.Tensor, choose):  # type: ignore[no-untyped-def]
        known = [*asked.tokens, *batch.so_far(batch.owners[0][0])]
        drafted: list[int] = []

        def noted(head: int, logits_BV: torch.Tensor) -> torch.Tensor:
            seen.append((head, known + drafted, logits_BV[0].clone()))
            token_B = choose(head, logits_BV)
            drafted.append(int(token_B[0]))
            return token_B  # type: ignore[no-any-return]

        original(n_B, noted)

    batch.drafter.propose = spy  # type: ignore[union-attr,method-assign]
    spoken.generate([Request(asked, Sampling(max_tokens=18, seed=3))])
    assert spoken.acceptance is not None
    assert spoken.acceptance.accepted_K[0] > 0
    for head, tokens, logits_V in seen:
        places = len(tokens) - 1 - head
        all_BT = torch.tensor([tokens])
        at = torch.arange(places)[None]
        states = source = model.trunk(model.embed(all_BT[:, :places]), at, attend_causal(places))
        for h in range(head + 1):
            later = all_BT[:, 1 + h : 1 + h + places]
            source = model.draft(h, later, source if serial else states, at, attend_causal(places))
        naive = model.drafts[head].logits(source)[0, -1]  # type: ignore[operator]
        assert torch.allclose(logits_V, naive, atol=1e-4)


@pytest.mark.parametrize(
    ("speculation", "sentence"),
    [
        (Speculation(), "no drafting heads"),
        (Speculation(-1), "drafts must be 0"),
        (Speculation(2, small_model(0, 0)), "language model over 384 tokens, not 4"),
        (Speculation(2, tiny(max_context=100)), "reads 100 tokens, fewer than the model's context of 256"),
        (Speculation(0, tiny()), "say how many tokens"),
    ],
)
def test_impossible_speculation_is_a_sentence(speculation: Speculation, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        engine(tiny(), speculation)
    with pytest.raises(InputError, match="4 drafts a pass need as many drafting heads; this model has 3"):
        engine(with_heads(), Speculation(4))
