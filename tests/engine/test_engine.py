"""The engine against a naive loop: greedy equality, seeds, stops, continuous batching, shared prompts, pictures."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from naive_engine import distribution, greedy, next_logits, prompt, tiny, tiny_with_eyes
from scipy.stats import chisquare

from consilience.engine import Engine, Output, Request, Vocabulary, fast_dtype, house
from consilience.errors import InputError
from consilience.nn import tokenizer as tk
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt, render
from consilience.problem import Image, Message
from consilience.protocols import Sampling

NO_END = Vocabulary(tk.VOCAB_SIZE, ())


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def engine(model: Decoder, rows: int = 8, vocabulary: Vocabulary | None = None) -> Engine:
    return Engine(model, rows=rows, dtype=torch.float32, vocabulary=vocabulary)


def mixed_requests(rng: random.Random, count: int, temperature: float = 0.0) -> list[Request]:
    """Prompts and answers of different lengths, single samples and groups."""
    return [
        Request(
            prompt(rng, rng.randrange(4, 40)),
            Sampling(temperature=temperature, max_tokens=rng.randrange(1, 24), seed=rng.randrange(1000)),
            n=rng.choice([1, 1, 3, 5]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("rows", [1, 3, 8, 64])
@pytest.mark.parametrize("heads", [(2, 1), (4, 2), (2, 2)])
def test_greedy_equals_full_forward(rows: int, heads: tuple[int, int]) -> None:
    """Tokens and log-probabilities of a mixed batch equal a loop without cache or batch."""
    model = tiny(n_heads=heads[0], n_kv_heads=heads[1])
    requests = mixed_requests(random.Random(rows), 12)
    for request, samples in zip(requests, engine(model, rows).generate(requests), strict=True):
        tokens, logprobs = greedy(model, request.prompt, request.sampling.max_tokens, house())
        assert len(samples) == request.n
        for sample in samples:
            assert list(sample.tokens) == tokens
            assert np.allclose(sample.logprobs, logprobs, atol=1e-4)
            assert sample.finish == ("stop" if tokens[-1] == tk.END else "length")


def test_greedy_without_qk_norm_and_with_own_head() -> None:
    model = tiny(qk_norm=False, tie_embeddings=False)
    request = Request(prompt(random.Random(0), 20), Sampling(temperature=0, max_tokens=16))
    (sample,) = engine(model).generate([request])[0]
    assert list(sample.tokens) == greedy(model, request.prompt, 16, house())[0]


def test_prompts_of_one_token_are_prompts() -> None:
    model = tiny()
    one = Prompt((7,), ())
    sampling = Sampling(temperature=0.0, max_tokens=5, seed=0)
    outputs = engine(model).generate([Request(one, sampling), Request(one, sampling)])
    assert [row[0].tokens for row in outputs] == [tuple(greedy(model, one, 5, house())[0])] * 2


def test_a_long_run_moves_its_window() -> None:
    """More columns than the cache allots at first, short rows joining long ones all the time."""
    model = tiny(max_context=600)
    rng = random.Random(1)
    requests = [Request(prompt(rng, 8), Sampling(temperature=0, max_tokens=400))]
    requests += [Request(prompt(rng, 40), Sampling(temperature=0, max_tokens=30)) for _ in range(30)]
    outputs = engine(model, 3, NO_END).generate(requests)
    for request, (sample,) in zip(requests, outputs, strict=True):
        assert list(sample.tokens) == greedy(model, request.prompt, request.sampling.max_tokens, NO_END)[0]


def test_pictures_of_different_sizes_share_a_batch() -> None:
    model = tiny_with_eyes()
    rng = np.random.default_rng(0)
    requests = []
    for height, width in ((8, 8), (5, 13), (16, 4), (1, 1)):
        image = Image(rng.integers(0, 256, (height, width), dtype=np.uint8))
        asked = render((Message.user(image, "what?", image),), patch=4)
        requests.append(Request(asked, Sampling(temperature=0, max_tokens=10), n=2))
    for request, samples in zip(requests, engine(model).generate(requests), strict=True):
        tokens, _ = greedy(model, request.prompt, 10, house())
        assert [list(s.tokens) for s in samples] == [tokens, tokens]


def test_pictures_in_bfloat16() -> None:
    model = tiny_with_eyes()
    image = Image(np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8))
    request = Request(render((Message.user(image, "?"),), patch=4), Sampling(temperature=0, max_tokens=1))
    (rounded,) = Engine(model, rows=2, dtype=torch.bfloat16).generate([request])[0]
    (exact,) = engine(model).generate([request])[0]
    assert rounded.logprobs[0] == pytest.approx(exact.logprobs[0], abs=0.05)


def test_a_prompt_is_computed_once_and_together_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefill sees every prompt once, all that wait in one pass, however many samples they have."""
    running, seen = engine(tiny(), 4), []
    original = running.batch.forward.layers_of

    def spy(x_ND: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(x_ND))
        return original(x_ND, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(running.batch.forward, "layers_of", spy)
    rng = random.Random(0)
    running.generate([Request(prompt(rng, 12), Sampling(max_tokens=3), n=3) for _ in range(5)])
    assert [n for n in seen if n > 4] == [5 * 11]


def test_seeded_samples_do_not_depend_on_the_batch() -> None:
    model = tiny()
    requests = mixed_requests(random.Random(5), 14, temperature=1.0)
    together = engine(model, 32).generate(requests)
    one_by_one = [engine(model, 2).generate([request])[0] for request in requests]
    assert [[s.tokens for s in r] for r in together] == [[s.tokens for s in r] for r in one_by_one]


def test_sample_i_of_a_seed_is_sample_0_of_seed_plus_i() -> None:
    model, asked = tiny(), prompt(random.Random(0), 12)
    group = engine(model).generate([Request(asked, Sampling(max_tokens=20, seed=11), n=4)])[0]
    alone = [engine(model).generate([Request(asked, Sampling(max_tokens=20, seed=11 + i))])[0][0] for i in range(4)]
    assert [s.tokens for s in group] == [s.tokens for s in alone]


@pytest.mark.parametrize("seed", [-1, 2**63 - 1, 2**64 + 5, -(2**80)])
def test_any_integer_is_a_seed(seed: int) -> None:
    request = Request(prompt(random.Random(0), 9), Sampling(max_tokens=8, seed=seed), n=3)
    first, again = (engine(tiny()).generate([request])[0] for _ in range(2))
    assert first == again
    assert len({s.tokens for s in first}) == 3


def test_unseeded_samples_differ_and_repeat_with_the_engine_seed() -> None:
    model, request = tiny(), Request(prompt(random.Random(0), 12), Sampling(max_tokens=20), n=4)
    first, second = (engine(model) for _ in range(2))
    runs = [first.generate([request])[0], first.generate([request])[0]]
    assert len({s.tokens for run in runs for s in run}) == 8
    assert [second.generate([request])[0], second.generate([request])[0]] == runs
    assert Engine(model, dtype=torch.float32, seed=1).generate([request])[0] != runs[0]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.6, top_k=12), Sampling(temperature=1.3, top_p=0.7, min_p=0.02)]
)
def test_first_token_follows_the_law(sampling: Sampling) -> None:
    """4,000 seeds against the reference distribution (χ² over tokens expected at least five times)."""
    model, asked, n = tiny(3), prompt(random.Random(3), 9), 4000
    limits = Sampling(**{**vars(sampling), "max_tokens": 1, "seed": 0})
    samples = engine(model, 512).generate([Request(asked, limits, n)])[0]
    law = np.array(
        distribution(
            next_logits(model, asked, []).tolist(),
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.min_p,
            house().barred,
        )
    )
    seen = np.bincount([s.tokens[0] for s in samples], minlength=len(law))
    assert not seen[law == 0].any()
    often = law * n >= 5
    observed = [*seen[often], seen[~often].sum()]
    expected = [*(law[often] * n), law[~often].sum() * n]
    keep = np.array(expected) > 0
    assert chisquare(np.array(observed)[keep], np.array(expected)[keep]).pvalue > 1e-3


def test_log_probabilities_are_the_models_whatever_the_sampling() -> None:
    model, asked = tiny(), prompt(random.Random(2), 10)
    sampling = Sampling(temperature=0.5, top_k=3, max_tokens=6, seed=1)
    (sample,) = engine(model).generate([Request(asked, sampling)])[0]
    for i, (token, logprob) in enumerate(zip(sample.tokens, sample.logprobs, strict=True)):
        raw = next_logits(model, asked, sample.tokens[:i]).log_softmax(-1)
        assert logprob == pytest.approx(float(raw[token]), abs=1e-4)


def test_only_end_among_control_tokens_is_ever_drawn() -> None:
    model = tiny()
    model.embedding.weight[[tk.PAD, tk.USER, tk.IMAGE, tk.N_TOKENS, tk.VOCAB_SIZE - 1]] *= 30
    outputs = engine(model, 64).generate([Request(prompt(random.Random(0), 9), Sampling(max_tokens=20, seed=0), 64)])
    drawn = {token for sample in outputs[0] for token in sample.tokens}
    assert drawn.isdisjoint(house().barred)


def test_end_finishes_and_is_kept() -> None:
    model = tiny()
    outputs = engine(model).generate([Request(prompt(random.Random(0), 9), Sampling(max_tokens=200, seed=0), 40)])[0]
    stopped = [s for s in outputs if s.finish == "stop"]
    assert stopped
    assert all(s.tokens[-1] == tk.END and tk.END not in s.tokens[:-1] for s in stopped)
    assert all(len(s.tokens) == 200 for s in outputs if s.finish == "length")


@pytest.mark.parametrize("stop", [("e",), ("</think>", "<box>"), ("<3",), ("7>", "zq"), ("<|end|>",)])
def test_stop_strings_cut_at_their_first_appearance(stop: tuple[str, ...]) -> None:
    """Responses equal the unstopped ones up to the token that completes a stop string."""
    model, asked = tiny(2), prompt(random.Random(1), 9)
    plain = engine(model).generate([Request(asked, Sampling(max_tokens=60, seed=0), 24)])[0]
    stopped = engine(model).generate([Request(asked, Sampling(max_tokens=60, seed=0, stop=stop), 24)])[0]
    for free, cut in zip(plain, stopped, strict=True):
        ends = [i for i in range(1, len(free.tokens) + 1) if any(s in tk.decode(free.tokens[:i]) for s in stop)]
        expected = free.tokens[: ends[0]] if ends else free.tokens
        assert cut.tokens == expected
        assert cut.finish == ("stop" if ends else free.finish)
    assert any(s.finish == "stop" for s in stopped)


def test_answers_arrive_in_order_of_requests_and_at_once_when_done() -> None:
    model = tiny()
    requests = mixed_requests(random.Random(9), 20)
    seen: dict[tuple[int, int], Output] = {}
    running = engine(model, 4)
    outputs = running.generate(requests, lambda r, s, output: seen.setdefault((r, s), output))
    assert seen == {(r, s): output for r, samples in enumerate(outputs) for s, output in enumerate(samples)}
    order = [len(output.tokens) for output in seen.values()]
    assert order != [len(s.tokens) for samples in outputs for s in samples]


def test_finished_rows_are_replaced_at_once() -> None:
    """A batch of 4 rows stays full until the queue is empty, and shrinks afterwards."""
    rng = random.Random(0)
    running = engine(tiny(), 4, NO_END)
    lengths = [3, 9, 5, 7, 4, 8, 6, 3, 9, 2]
    for length in lengths:
        running.submit(Request(prompt(rng, 6), Sampling(max_tokens=length)), lambda *_: None)
    widths = []
    while running.batch.busy:
        running.batch.step()
        widths.append(running.batch.cache.active)
    assert max(widths) <= 4
    steps_at_best = -(-sum(lengths) // 4)
    assert len(widths) <= steps_at_best + max(lengths)
    assert widths[-1] == 0
    assert sum(w == 4 for w in widths) >= 5


def test_cancel_frees_rows_and_leaves_the_others_unchanged() -> None:
    model = tiny()
    requests = mixed_requests(random.Random(3), 6)
    expected = engine(model, 64, NO_END).generate(requests)
    running = engine(model, 64, NO_END)
    got: dict[int, list[Output]] = {i: [] for i in range(6)}
    jobs = [running.submit(r, lambda _, o, i=i: got[i].append(o)) for i, r in enumerate(requests)]  # type: ignore[misc]
    running.batch.step()
    dropped = [i for i in (0, 2, 4) if not got[i]]
    for i in dropped:
        running.batch.cancel(jobs[i])
    while running.batch.busy:
        running.batch.step()
    for i in range(6):
        assert got[i] == [] if i in dropped else sorted(o.tokens for o in got[i]) == [o.tokens for o in expected[i]]
    assert not running.batch.lanes


def test_an_error_in_a_callback_leaves_the_engine_usable() -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    running, requests = engine(tiny(), 4), mixed_requests(random.Random(4), 6)
    with pytest.raises(KeyboardInterrupt):
        running.generate(requests, fail)
    assert running.generate(requests) == engine(tiny(), 4).generate(requests)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_refresh_takes_over_new_weights(dtype: torch.dtype) -> None:
    model, request = tiny(0), Request(prompt(random.Random(0), 9), Sampling(temperature=0, max_tokens=12))
    running = Engine(model, rows=2, dtype=dtype)
    running.generate([request])
    model.load_state_dict(tiny(1).state_dict())
    running.refresh()
    assert running.generate([request]) == Engine(tiny(1), rows=2, dtype=dtype).generate([request])


def test_refresh_while_running_is_refused() -> None:
    running = engine(tiny())
    running.submit(Request(prompt(random.Random(0), 9), Sampling()), lambda *_: None)
    with pytest.raises(RuntimeError, match="two models"):
        running.refresh()


def test_bfloat16_stays_close_to_float32() -> None:
    """Log-probabilities of the same tokens differ by rounding only."""
    model, request = tiny(), Request(prompt(random.Random(0), 30), Sampling(temperature=0, max_tokens=1))
    exact = engine(model).generate([request])[0][0]
    rounded = Engine(model, rows=8, dtype=torch.bfloat16).generate([request])[0][0]
    assert rounded.logprobs[0] == pytest.approx(exact.logprobs[0], abs=0.05)


def test_context_limits_the_answer() -> None:
    for limit in (256, 0):
        request = Request(prompt(random.Random(0), 15), Sampling(max_tokens=limit))
        (sample,) = engine(tiny(max_context=20), 2, NO_END).generate([request])[0]
        assert len(sample.tokens) == 5
        assert sample.finish == "length"


def test_fast_dtype_is_a_rule() -> None:
    cpu = torch.device("cpu")
    assert fast_dtype(torch.float32, cpu, 1) == torch.float32
    assert fast_dtype(torch.bfloat16, cpu, 1) == torch.bfloat16
    assert fast_dtype(torch.float32, cpu, 64) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(Prompt(()), Sampling()), "the prompt is empty"),
        (Request(prompt(random.Random(0), 300), Sampling()), "the prompt has 300 tokens; the model's context of 256"),
        (Request(Prompt((tk.IMAGE,), (np.zeros((4, 4), np.uint8),)), Sampling()), "must not end in a picture"),
        (Request(Prompt((65,)), Sampling(), n=0), "n must be at least 1"),
        (Request(Prompt((65,)), Sampling(max_tokens=-1)), "max_tokens must be 0"),
        (Request(Prompt((65,)), Sampling(temperature=float("nan"))), "temperature must be"),
        (Request(Prompt((65,)), Sampling(top_p=0.0)), "top_p must be"),
        (Request(Prompt((65,)), Sampling(top_k=-1)), "top_k must be"),
        (Request(Prompt((65,)), Sampling(min_p=1.5)), "min_p must be"),
        (Request(Prompt((65,)), Sampling(stop=("",))), "stop string must not be empty"),
    ],
)
def test_impossible_requests_are_a_sentence(request_: Request, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        engine(tiny()).generate([request_])


def test_impossible_engines_are_a_sentence() -> None:
    with pytest.raises(InputError, match="value head"):
        Engine(tiny(head="value"))
    with pytest.raises(InputError, match="rows must be"):
        Engine(tiny(), rows=0)
    with pytest.raises(InputError, match="stop strings cannot be used"):
        engine(tiny(), 1, NO_END).generate([Request(Prompt((65,)), Sampling(stop=("a",)))])
