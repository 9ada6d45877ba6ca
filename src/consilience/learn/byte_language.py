"""Byte-level language models on text that every installation has, to compare architectures at equal cost.

The text is the Python standard library's own top-level modules: about five megabytes of code and English, split by
file, so that nothing is downloaded and no file is both trained and tested on. Shape letters as in nn/decoder.py,
plus: N bytes of a corpus, W windows of T bytes.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from consilience import stats
from consilience.engine import Vocabulary
from consilience.errors import InputError, UnknownName
from consilience.learn.balance import balance_routers, group_loss
from consilience.learn.drafting import draft_losses, mtp_loss
from consilience.learn.forward import precision
from consilience.learn.optim import OPTIMIZERS
from consilience.learn.optim.adamw import apply, cooldown, warmup
from consilience.learn.optim.named import optimizer
from consilience.learn.rl import Learner
from consilience.nn import tokenizer as tk
from consilience.nn.attention import attend_causal
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.parts.attention import Attend
from consilience.nn.parts.ffn import watch_routers
from consilience.stats import Estimate

VOCABULARY = tk.END + 1
"""Bytes, padding, and the token that ends a file."""
SPLITS = ("train", "dev", "test")
Seeing = Callable[[int], Attend]
"""Who sees whom in rows of T bytes; `attend_causal` unless a study says otherwise."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Files one after another, each ended by `tk.END`. tokens_N and document_N: int64, (N,)."""

    tokens_N: Tensor
    document_N: Tensor
    names: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Which text this is: standard libraries differ between Python versions."""
        return hashlib.sha256(self.tokens_N.to(torch.int16).numpy().tobytes()).hexdigest()[:16]


def corpus(files: Mapping[str, bytes]) -> Corpus:
    """The files as one corpus, in the order given.

    Raises:
        InputError: no file.
    """
    if not files:
        raise InputError("a corpus needs at least one file.")
    parts = [np.append(np.frombuffer(text, np.uint8).astype(np.int64), tk.END) for text in files.values()]
    documents = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Corpus(torch.from_numpy(np.concatenate(parts)), torch.from_numpy(documents), tuple(files))


def split_of(name: str) -> str:
    """The split of a file, by a hash of its name: one in ten is dev, one in ten test."""
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return {0: "dev", 1: "test"}.get(bucket, "train")


@cache
def standard_library(split: str) -> Corpus:
    """The top-level modules of this Python's standard library that belong to a split.

    Raises:
        UnknownName: no such split. InputError: this Python has no sources.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(folder.glob("*.py")) if split_of(path.name) == split]
    if not files:
        raise InputError(f"{folder} holds no Python sources to learn from: use a Python that was installed with them.")
    return corpus({path.name: path.read_bytes() for path in files})


def vocabulary() -> Vocabulary:
    """What the engine must know to sample from these models."""
    return Vocabulary(VOCABULARY, (tk.END,), (tk.PAD,), tuple(tk.piece(i) for i in range(VOCABULARY)))


@dataclass(frozen=True)
class ByteTraining:
    """How a model is trained: `steps` optimizer steps of `rows` windows of `length` bytes.

    lr: after `warmup` steps, falling to 0 over the last `cooldown` of them. optimizer: adamw, or muon. drafting: weight
    of the drafting heads' loss. balance: rate of loss-free balance of experts; groups, group_weight: of the balance
    loss over groups of experts.
    """

    steps: int = 300
    rows: int = 16
    length: int = 128
    lr: float = 3e-3
    warmup: int = 20
    cooldown: float = 0.4
    optimizer: str = "adamw"
    weight_decay: float = 0.1
    drafting: float = 0.0
    balance: float = 0.0
    groups: int = 1
    group_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise UnknownName("optimizer", self.optimizer, OPTIMIZERS)
        if min(self.steps, self.rows) < 1 or self.length < 2:
            raise InputError(f"{self.steps} steps of {self.rows} rows of {self.length} bytes is no training.")

    @property
    def bytes_seen(self) -> int:
        """Bytes the model is asked to predict."""
        return self.steps * self.rows * (self.length - 1)


def byte_learner(config: ModelConfig, training: ByteTraining, seed: int) -> Learner[Decoder]:
    """A fresh model of this seed and its optimizer.

    Raises:
        InputError: the vocabulary is smaller than `VOCABULARY`.
    """
    if config.vocab_size < VOCABULARY:
        raise InputError(f"a byte-level model needs vocab_size {VOCABULARY} or more, not {config.vocab_size}.")
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(seed))
    return Learner(model, optimizer(training.optimizer, model, training.weight_decay))


def batch_of(text: Corpus, rows: int, length: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Random windows of a step, a function of seed and step: (tokens_BT, document_BT).

    Raises:
        InputError: the corpus is shorter than a window.
    """
    if len(text.tokens_N) < length:
        raise InputError(f"a corpus of {len(text.tokens_N)} bytes is too short for windows of {length}.")
    first = np.random.default_rng((seed, step)).integers(len(text.tokens_N) - length + 1, size=rows)
    at_BT = torch.from_numpy(first)[:, None] + torch.arange(length)
    return text.tokens_N[at_BT], text.document_N[at_BT]


def next_byte_loss(model: Decoder, trunk_BTD: Tensor, tokens_BT: Tensor) -> Tensor:
    """Cross-entropy of every byte but the first, (B, T − 1), in nats."""
    logits_BTV = model.logits(model.norm(trunk_BTD[:, :-1])).float()
    return F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="none").view(
        len(tokens_BT), -1
    )


def run_trunk(model: Decoder, tokens_BT: Tensor, seeing: Seeing = attend_causal) -> Tensor:
    """The residual stream (B, T, D) behind the last block."""
    t = tokens_BT.shape[1]
    return model.trunk(model.embed(tokens_BT), torch.arange(t)[None], seeing(t))


def byte_step(
    learner: Learner[Decoder],
    text: Corpus,
    training: ByteTraining,
    seed: int,
    step: int,
    seeing: Seeing = attend_causal,
) -> dict[str, float]:
    """One optimizer step, a function of the weights, seed and step.

    Returns:
        bits (a byte, on what was trained on), grad_norm before clipping, and where they are part of the training
        drafting (nats a token, weighted over heads) and group_loss (1 is even, over all routers).
    """
    model = learner.model
    tokens_BT, document_BT = batch_of(text, training.rows, training.length, seed, step)
    numbers: dict[str, float] = {}
    with watch_routers(model) as seen, precision(model.embedding.weight.device):
        trunk_BTD = run_trunk(model, tokens_BT, seeing)
        own = next_byte_loss(model, trunk_BTD, tokens_BT).mean()
        loss = own
        if training.drafting:
            drafting = mtp_loss(draft_losses(model, tokens_BT, document_BT, trunk_BTD=trunk_BTD))
            numbers["drafting"] = float(drafting.detach())
            loss = loss + training.drafting * drafting
    if seen and training.groups > 1:
        spread = torch.stack([group_loss(routing, training.groups) for _, routing in seen]).mean()
        numbers["group_loss"] = float(spread.detach())
        loss = loss + training.group_weight * spread
    loss.backward()
    norm = apply(learner.optimizer, rate(training, step))
    if training.balance:
        balance_routers(seen, training.balance)
    return {"bits": float(own.detach()) / float(np.log(2)), "grad_norm": norm, **numbers}


def tune_heads_step(
    learner: Learner[Decoder], text: Corpus, training: ByteTraining, seed: int, step: int
) -> dict[str, float]:
    """One joint step of all drafting heads, the trunk as it is (arXiv 2602.10604, §2.2). `learner` trains the heads.

    Returns:
        drafting (nats a token, weighted over heads), grad_norm before clipping.
    """
    model = learner.model
    tokens_BT, document_BT = batch_of(text, training.rows, training.length, seed, step)
    with precision(model.embedding.weight.device):
        with torch.no_grad():
            trunk_BTD = run_trunk(model, tokens_BT)
        loss = mtp_loss(draft_losses(model, tokens_BT, document_BT, trunk_BTD=trunk_BTD))
    loss.backward()
    return {"drafting": float(loss.detach()), "grad_norm": apply(learner.optimizer, rate(training, step))}


def rate(training: ByteTraining, step: int) -> float:
    """The learning rate of a step, from 0."""
    falling = max(1, round(training.cooldown * training.steps))
    return training.lr * warmup(step, training.warmup) * cooldown(step, training.steps - falling, falling + 1)


def train_steps(
    learner: Learner[Decoder], text: Corpus, training: ByteTraining, seed: int, seeing: Seeing = attend_causal
) -> Iterator[dict[str, float]]:
    """All steps, one after another: what `byte_step` says of each, and its number from 1."""
    for step in range(training.steps):
        yield {"step": step + 1, **byte_step(learner, text, training, seed, step, seeing)}


def train_bytes(
    config: ModelConfig, text: Corpus, training: ByteTraining, seed: int, seeing: Seeing = attend_causal
) -> tuple[Decoder, list[dict[str, float]]]:
    """A trained model of this seed, and its curve (see `byte_step`).

    Raises:
        InputError: the vocabulary is too small, or the corpus shorter than a window.
    """
    learner = byte_learner(config, training, seed)
    curve = list(train_steps(learner, text, training, seed, seeing))
    return learner.model, curve


@torch.no_grad()
def window_bits(
    model: Decoder, text: Corpus, length: int, windows: int = 256, rows: int = 32, seeing: Seeing = attend_causal
) -> tuple[np.ndarray, np.ndarray]:
    """Bits a byte of up to `windows` windows spread evenly over a corpus, and the file each begins in: both (W,).

    The same windows for every model, so that two models compare in pairs. Float32, every byte but a window's first.
    """
    most = len(text.tokens_N) // length
    if not most:
        raise InputError(f"a corpus of {len(text.tokens_N)} bytes is too short for windows of {length}.")
    first = np.linspace(0, len(text.tokens_N) - length, min(windows, most)).astype(np.int64)
    at_WT = torch.from_numpy(first)[:, None] + torch.arange(length)
    found = [
        next_byte_loss(model, run_trunk(model, tokens_BT, seeing), tokens_BT).mean(1)
        for tokens_BT in text.tokens_N[at_WT].split(rows)
    ]
    return (torch.cat(found) / np.log(2)).double().numpy(), text.document_N[torch.from_numpy(first)].numpy()


def bits_per_byte(
    model: Decoder, text: Corpus, length: int, windows: int = 256, seeing: Seeing = attend_causal
) -> Estimate:
    """Mean of `window_bits` with a bootstrap interval over files."""
    bits_W, file_W = window_bits(model, text, length, windows, seeing=seeing)
    return stats.bootstrap(bits_W, 0, clusters=file_W)
