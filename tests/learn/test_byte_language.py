"""Byte-level language models: the text and its splits, batches, the loss by hand, and that training learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from consilience.engine import Engine, Request
from consilience.errors import ConsilienceError
from consilience.learn import byte_language as bl
from consilience.learn.byte_language import ByteTraining
from consilience.learn.optim import OPTIMIZERS
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attend_causal
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Mixture
from consilience.nn.template import Prompt
from consilience.protocols import Sampling
from consilience.stats import paired_bootstrap

CONFIG = ModelConfig(vocab_size=bl.VOCABULARY, d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24)
SMALL = ByteTraining(steps=4, rows=2, length=12, warmup=1)
TEXT = bl.corpus({f"{i}.txt": bytes(range(65 + i, 75 + i)) * 6 for i in range(4)})


def test_files_are_ended_and_numbered() -> None:
    found = bl.corpus({"a": b"xy", "b": b"", "c": b"\xff"})
    assert found.tokens_N.tolist() == [120, 121, tk.END, tk.END, 255, tk.END]
    assert found.document_N.tolist() == [0, 0, 0, 1, 2, 2]
    assert found.digest != bl.corpus({"a": b"xz", "b": b"", "c": b"\xff"}).digest


def test_the_standard_library_is_split_by_file() -> None:
    splits = {name: bl.standard_library(name) for name in bl.SPLITS}
    names = [name for corpus in splits.values() for name in corpus.names]
    assert len(names) == len(set(names))
    assert {bl.split_of(name) for name in splits["test"].names} == {"test"}
    assert len(splits["train"].tokens_N) > 10 * len(splits["test"].tokens_N) > 1e5
    assert splits["train"].tokens_N.max() == tk.END


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    (a, files), (b, _), (c, _) = (bl.batch_of(TEXT, 3, 9, *key) for key in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    for row, document in zip(a.tolist(), files.tolist(), strict=True):
        start = next(i for i in range(len(TEXT.tokens_N)) if TEXT.tokens_N[i : i + 9].tolist() == row)
        assert TEXT.document_N[start : start + 9].tolist() == document


def test_bits_are_those_of_the_plain_forward_pass() -> None:
    model = bl.byte_learner(CONFIG, SMALL, 0).model.requires_grad_(False)
    bits, files = bl.window_bits(model, TEXT, 10, windows=5, rows=2)
    first = np.linspace(0, len(TEXT.tokens_N) - 10, 5).astype(int)
    assert files.tolist() == TEXT.document_N[first].tolist()
    for start, mean in zip(first, bits, strict=True):
        row = TEXT.tokens_N[start : start + 10][None]
        logp = model.logits(model(model.embed(row), torch.arange(10)[None], attend_causal(10)))[0].log_softmax(-1)
        by_hand = [-float(logp[t, row[0, t + 1]]) / math.log(2) for t in range(9)]
        assert mean == pytest.approx(np.mean(by_hand), abs=1e-5)
    estimate = bl.bits_per_byte(model, TEXT, 10, windows=5)
    assert estimate.value == pytest.approx(bits.mean())
    assert estimate.low < estimate.value < estimate.high


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_learns_and_is_a_function_of_its_seed(optimizer: str) -> None:
    training = ByteTraining(steps=25, rows=4, length=16, lr=0.02, warmup=2, optimizer=optimizer)
    model, curve = bl.train_bytes(CONFIG, TEXT, training, 0)
    assert [record["step"] for record in curve] == list(range(1, 26))
    assert curve[0]["bits"] > 6 > 4 > curve[-1]["bits"]
    assert bl.train_bytes(CONFIG, TEXT, training, 0)[1] == curve
    fresh = bl.byte_learner(CONFIG, training, 0).model
    bits = [bl.window_bits(m, TEXT, 12, 8) for m in (fresh, model)]
    assert paired_bootstrap(bits[0][0], bits[1][0], 0, clusters=bits[0][1]).low > 1
    assert bl.train_bytes(CONFIG, TEXT, training, 1)[1] != curve
    assert training.bytes_seen == 25 * 4 * 15


def test_drafting_balance_and_groups_are_part_of_the_training() -> None:
    experts = Mixture(4, 2, 8, router="sigmoid", normalise=True)
    config = ModelConfig(
        vocab_size=bl.VOCABULARY,
        d_model=16,
        n_layers=1,
        n_kv_heads=1,
        head_dim=8,
        layers=(Layer(2, mixture=experts),),
        drafts=(Layer(2, d_ff=24),),
    )
    training = ByteTraining(steps=3, rows=2, length=12, drafting=0.3, balance=0.01, groups=2, group_weight=0.1)
    model, curve = bl.train_bytes(config, TEXT, training, 0)
    assert all(record["drafting"] > 1 and 0.9 < record["group_loss"] < 2 for record in curve)
    bias = model.blocks[0].ffn.router.bias  # type: ignore[union-attr]
    assert 0.005 < float(bias.abs().max()) < 0.035  # type: ignore[union-attr,operator]
    untouched = bl.byte_learner(config, training, 0).model
    plain, _ = bl.train_bytes(config, TEXT, ByteTraining(steps=3, rows=2, length=12, weight_decay=0.0), 0)
    for name, p in plain.drafts.named_parameters():
        assert torch.equal(p, untouched.drafts.get_parameter(name)), name


def test_who_sees_whom_can_be_said() -> None:
    def alone(t: int):  # type: ignore[no-untyped-def]
        return lambda layer, q, k, v, window=0: v.repeat_interleave(q.shape[1] // v.shape[1], 1)

    model = bl.byte_learner(CONFIG, SMALL, 0).model
    assert not np.allclose(bl.window_bits(model, TEXT, 8, 4)[0], bl.window_bits(model, TEXT, 8, 4, seeing=alone)[0])


def test_the_engine_samples_from_these_models() -> None:
    model: Decoder = bl.byte_learner(CONFIG, SMALL, 0).model
    asked = Request(Prompt(tuple(b"import ")), Sampling(max_tokens=20, seed=1, stop=("q",)), n=8)
    outputs = Engine(model, rows=4, vocabulary=bl.vocabulary()).generate([asked])[0]
    assert all(token < 256 or token == tk.END for output in outputs for token in output.tokens)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda: bl.corpus({}), "at least one file"),
        (lambda: bl.standard_library("tset"), "did you mean 'test'"),
        (lambda: ByteTraining(optimizer="moun"), "did you mean 'muon'"),
        (lambda: ByteTraining(length=1), "is no training"),
        (lambda: bl.batch_of(TEXT, 1, 10_000, 0, 0), "too short for windows of 10000"),
        (lambda: bl.window_bits(Decoder(CONFIG), TEXT, 10_000), "too short for windows"),
        (lambda: bl.byte_learner(ModelConfig(vocab_size=256, n_layers=1), SMALL, 0), "needs vocab_size 258"),
    ],
)
def test_impossible_requests_are_a_sentence(broken, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConsilienceError, match=sentence):
        broken()
