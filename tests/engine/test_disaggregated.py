"""Disaggregated decoding in one process: workers are threads, messages go through queues; all else is the real one."""

import queue
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from consilience.engine import Engine, Request
from consilience.engine.disaggregated.attention import AttentionWorker, take_turns
from consilience.engine.disaggregated.ffn import FfnWorker
from consilience.engine.disaggregated.layout import Layout, announcement, gathered, jobs, micro_batches, visits
from consilience.engine.disaggregated.shares import attention_side, config_of, ffn_side
from consilience.engine.disaggregated.wire import Contract, Tokens, dequantise, quantise
from consilience.engine.parts import PartsForward
from consilience.engine.prefill import prefill
from consilience.engine.vocabulary import house
from consilience.engine.window import make_cache
from consilience.errors import CheckpointMismatch, InputError, UnknownName
from consilience.nn.attention import attend_causal
from consilience.nn.checkpoint import save_model
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Mixture
from consilience.nn.template import Prompt
from consilience.protocols import Sampling

torch.set_num_threads(1)
MFA = Layer(4, query_rank=12, d_ff=20)
EXPERTS = replace(MFA, d_ff=0, mixture=Mixture(experts=5, active=3, width=10, shared=14))
STEP3 = ModelConfig(
    d_model=24, n_layers=3, n_heads=4, n_kv_heads=1, head_dim=8, qk_norm=False, max_context=64,
    tie_embeddings=False, layers=(MFA, EXPERTS, EXPERTS),
)  # fmt: skip
SIGMOID = Mixture(4, 2, 6, router="sigmoid", normalise=True, scale=2.0, limit=0.5)
WINDOWS = replace(
    STEP3,
    n_kv_heads=2,
    layers=(Layer(4, window=3, gate=True, d_ff=20), Layer(4, d_ff=20), Layer(4, window=3, mixture=SIGMOID)),
)
KEYS_ALONE = replace(STEP3, layers=tuple(replace(layer, reuse=True) for layer in STEP3.layers))
PROMPTS = [[5, 6, 7, 80, 90], [9, 100, 101], [70, 71, 72, 73], [65], [66, 67]]
SAMPLING = Sampling(max_tokens=5, seed=3)


class QueueLinks:
    """`Links` between threads."""

    def __init__(self, rank, queues):
        self.rank, self.queues = rank, queues

    def box(self, sender, receiver, kind):
        return self.queues.setdefault((sender, receiver, kind), queue.Queue())

    def send(self, rank, tensor, answer=False):
        self.box(self.rank, rank, answer).put(tensor.clone())
        return self

    def wait(self):
        """What was sent is gone at once."""

    def receive(self, rank, tensor, answer=False):
        return Arrival(self.box(rank, self.rank, answer), tensor)

    def tell(self, rank, numbers):
        self.box(self.rank, rank, "told").put(numbers)

    def hear(self, rank, numbers):
        Arrival(self.box(rank, self.rank, "told"), numbers).wait()


class Arrival:
    def __init__(self, box, tensor):
        self.box, self.tensor = box, tensor

    def wait(self):
        message = self.box.get(timeout=20)
        assert message.shape == self.tensor.shape
        self.tensor.copy_(message)


def model_of(config, seed=0):
    model = Decoder(config)
    generator = torch.Generator().manual_seed(seed)
    model.initialise(generator)
    for name, p in model.named_parameters():
        if name.endswith(("alpha", "router.bias")):
            nn.init.uniform_(p, -0.3, 0.3, generator=generator)
    return model


def disaggregated(model, layout, directory, prompts=PROMPTS, sampling=SAMPLING):
    """Decode with one thread a worker."""
    save_model(model, directory)
    queues, cpu = {}, torch.device("cpu")
    config = config_of(directory)
    servers = []
    for i, rank in enumerate(layout.ffn_ranks):
        _, shares = ffn_side(directory, cpu, i, layout.ffn, layout.split)
        worker = FfnWorker(config, shares, layout, QueueLinks(rank, queues), cpu)
        servers.append(threading.Thread(target=worker.serve, daemon=True))
    for server in servers:
        server.start()
    parts = [None] * layout.attention

    def attend(rank, job):
        links = QueueLinks(rank, queues)
        parts[rank] = AttentionWorker(attention_side(directory, cpu), layout, links).decode(job)
        for other in layout.ffn_ranks:
            links.tell(other, announcement(0, [0] * layout.micro_batches, [0] * layout.micro_batches))

    threads = [
        threading.Thread(target=attend, args=pair, daemon=True)
        for pair in enumerate(jobs(layout, config, prompts, sampling, True))
    ]
    for thread in threads:
        thread.start()
    for thread in (*threads, *servers):
        thread.join(30)
        assert not thread.is_alive()
    return gathered(parts)


@torch.no_grad()
def whole(model, prompt, tokens):
    """Logits of each token of the response, (R, V), from one forward over everything, without a cache."""
    ids = torch.tensor([[*prompt, *tokens]])
    t = ids.shape[1]
    hidden = model(model.embed(ids), torch.arange(t)[None], attend_causal(t))
    return model.logits(hidden[0, len(prompt) - 1 : -1]).numpy()


LAYOUTS = {
    "lock-step": Layout(micro_batches=1, wire="exact"),
    "three micro-batches": Layout(wire="exact"),
    "more micro-batches than rows": Layout(micro_batches=7, wire="exact"),
    "2A1F": Layout(attention=2, wire="exact"),
    "1A2F by tensors": Layout(ffn=2, micro_batches=2, wire="exact"),
    "2A3F by experts": Layout(attention=2, ffn=3, split="expert", wire="exact"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_decodes_what_one_process_decodes(layout, tmp_path):
    model = model_of(STEP3)
    found = disaggregated(model, layout, tmp_path / "model")
    engine = Engine(model, rows=8, dtype=torch.float32)
    for i, (prompt, output, logits) in enumerate(zip(PROMPTS, found.outputs, found.logits, strict=True)):
        if len(prompt) > 1:
            ((alone,),) = engine.generate([Request(Prompt(tuple(prompt)), SAMPLING.with_seed(3 + i))])
            assert output.tokens == alone.tokens
            assert output.finish == alone.finish
        assert np.abs(logits[: len(output.tokens)] - whole(model, prompt, output.tokens)).max() <= 1e-5


@pytest.mark.parametrize("config", [WINDOWS, KEYS_ALONE], ids=["windows, gates, sigmoid router", "MFA-KR"])
def test_other_parts_can_be_disaggregated_too(config, tmp_path):
    model = model_of(config)
    found = disaggregated(model, Layout(ffn=2, wire="exact"), tmp_path / "model")
    for prompt, output, logits in zip(PROMPTS, found.outputs, found.logits, strict=True):
        assert np.abs(logits[: len(output.tokens)] - whole(model, prompt, output.tokens)).max() <= 1e-5


@torch.inference_mode()
def monolithic(model, prompts, steps):
    """Logits (steps, V) a row of one process on one micro-batch, greedily."""
    forward = PartsForward(model)
    block = prefill(forward, [Prompt(tuple(p)) for p in prompts])
    allowed_V = house(model.config.vocab_size).allowed(torch.device("cpu"))
    cache = make_cache(model.config, torch.float32, torch.device("cpu"))
    cache.reserve(len(prompts), block.columns)
    cache.join(block, range(len(prompts)), [len(p) - 1 for p in prompts])
    token, position = torch.tensor([p[-1] for p in prompts]), torch.tensor([len(p) - 1 for p in prompts])
    kept = []
    for _ in range(steps):
        cache.begin()
        kept.append(forward(token, position, cache.attend))
        cache.end()
        token, position = kept[-1].masked_fill(~allowed_V, -torch.inf).argmax(-1), position + 1
    return torch.stack(kept, 1).numpy()


def test_the_same_micro_batches_give_the_same_bits(tmp_path):
    model, prompts = model_of(STEP3), [p for p in PROMPTS if len(p) > 1]
    layout = Layout(micro_batches=2, wire="exact")
    found = disaggregated(model, layout, tmp_path / "model", prompts, Sampling(max_tokens=4, temperature=0))
    expected = [row for part in micro_batches(4, 2) for row in monolithic(model, [prompts[i] for i in part], 4)]
    assert all(np.array_equal(a, b) for a, b in zip(found.logits, expected, strict=True))


class Rounded(nn.Module):
    """A feed-forward part whose input went through FP8 and whose output through bfloat16; the router sees the input."""

    def __init__(self, ffn):
        super().__init__()
        self.ffn = ffn

    def forward(self, z):
        z = z.flatten(0, -2)
        rounded = dequantise(*quantise(z), torch.float32)
        if not hasattr(self.ffn, "experts"):
            return self.ffn(rounded).bfloat16().float()[:, None]
        y = self.ffn.experts(rounded, self.ffn.router(z)) + self.ffn.shared(rounded)
        return y.bfloat16().float()[:, None]


def test_fp8_messages_round_and_do_nothing_else(tmp_path):
    model = model_of(STEP3)
    prompts = [p for p in PROMPTS if len(p) > 1]
    greedy = Sampling(max_tokens=3, temperature=0)
    found = disaggregated(model, Layout(micro_batches=1), tmp_path / "model", prompts, greedy)
    exact = disaggregated(model, Layout(micro_batches=1, wire="exact"), tmp_path / "exact", prompts, greedy)
    for block in model.blocks:
        block.ffn = Rounded(block.ffn)
    expected = monolithic(model, prompts, 3)
    assert all(np.array_equal(a, b) for a, b in zip(found.logits, expected, strict=True))
    moved = max(np.abs(a[0] - b[0]).max() for a, b in zip(found.logits, exact.logits, strict=True))
    assert 1e-4 < moved < 0.3


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8), st.integers(-20, 20))
@settings(max_examples=50, deadline=None)
def test_fp8_keeps_three_bits_of_mantissa(numbers, power):
    x = torch.tensor([numbers]) * 2.0**power
    codes, scale = quantise(x)
    assert codes.float().abs().max() <= 448
    error = (dequantise(codes, scale, torch.float32) - x).abs()
    assert (error <= torch.maximum(x.abs() * 2**-4, scale * 2**-10) * 1.001).all()


@pytest.mark.parametrize("wire", ["fp8", "exact"])
@pytest.mark.parametrize("active", [0, 3])
def test_messages_hold_what_was_put_in_and_have_the_bytes_of_the_contract(wire, active):
    generator = torch.Generator().manual_seed(0)
    contract = Contract(64, active, wire, torch.float32)
    x, weight = torch.randn(5, 64, generator=generator), torch.rand(5, active, generator=generator)
    expert = torch.randint(0, 300, (5, active), generator=generator)
    message = contract.ask(Tokens(x, expert, weight))
    assert message.shape == (5, contract.question_bytes)
    assert contract.question_bytes == (64 + 4 if wire == "fp8" else 256) + 6 * active
    read = contract.read(message)
    assert torch.equal(read.expert_NA, expert)
    assert torch.equal(read.weight_NA, weight)
    assert torch.equal(read.x_ND, dequantise(*quantise(x), torch.float32) if wire == "fp8" else x)
    assert contract.answer_bytes == (128 if wire == "fp8" else 256)
    assert torch.equal(contract.total([contract.answer(x)]), x.bfloat16().float() if wire == "fp8" else x)


def test_an_fp8_token_of_step3_takes_little_more_than_three_bytes_a_number():
    contract = Contract(7168, 3, "fp8", torch.bfloat16)
    assert contract.question_bytes + contract.answer_bytes == 3 * 7168 + 22


@given(st.integers(0, 40), st.integers(1, 9))
def test_micro_batches_share_rows_evenly(rows, count):
    parts = micro_batches(rows, count)
    assert [i for part in parts for i in part] == list(range(rows))
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_messages_come_layer_by_layer_with_the_micro_batches_taking_turns():
    assert visits(2, 2, [6, 0], [2, 1]) == [
        (0, 6),
        (0, 0),
        *[(layer, rows) for layer in (0, 1, 0, 1) for rows in (2, 1)],
    ]
    seen = []

    def run(name):
        for i in range(3):
            seen.append(f"{name}{i}")
            yield

    take_turns([run("a"), run("b")])
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"ffn": 0}, InputError, "ffn must be at least 1, not 0"),
        ({"timeout_s": 0}, InputError, "timeout_s must be above 0"),
        ({"wire": "fp9"}, UnknownName, "unknown wire 'fp9'"),
    ],
)
def test_impossible_layouts_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        Layout(**change)


@pytest.mark.parametrize(
    ("prompts", "sampling", "words"),
    [
        ([], SAMPLING, "there must be a prompt"),
        ([[1], []], SAMPLING, "at least one token"),
        ([[1]], replace(SAMPLING, stop=("x",)), "no stop strings"),
        ([[1] * 60], SAMPLING, "max_tokens must be between 1 and 4"),
        ([[1]], replace(SAMPLING, top_p=0), "top_p"),
    ],
)
def test_what_cannot_be_decoded_is_refused(prompts, sampling, words):
    with pytest.raises(InputError, match=words):
        jobs(Layout(), STEP3, prompts, sampling, False)


def test_a_model_that_cannot_be_cut_so_often_is_refused(tmp_path):
    save_model(model_of(STEP3), tmp_path / "model")
    with pytest.raises(InputError, match="6 FFN workers cannot share a layer that has 5 pieces"):
        ffn_side(tmp_path / "model", torch.device("cpu"), 0, 6, "expert")


def test_a_missing_tensor_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    save_model(model_of(STEP3), tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["blocks.1.ffn.experts.down"]
    save_file(weights, tmp_path / "model" / "model.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"missing blocks\.1\.ffn\.experts\.down"):
        ffn_side(tmp_path / "model", torch.device("cpu"), 0, 1, "tensor")


@pytest.mark.parametrize("split", ["tensor", "expert"])
def test_every_weight_is_held_once(split, tmp_path):
    model = model_of(STEP3)
    save_model(model, tmp_path / "model")
    cpu = torch.device("cpu")
    held = sum(p.numel() for p in attention_side(tmp_path / "model", cpu).parameters())
    for i in range(3):
        for share in ffn_side(tmp_path / "model", cpu, i, 3, split)[1]:
            held += sum(t.numel() for pair in (share.dense, share.packed) if pair for t in pair)
    assert held == model.parameter_count
