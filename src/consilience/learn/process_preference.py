"""The process preference model: what a reasoning step is worth, learned from which next steps lead to right answers
(rStar-Math, arXiv 2501.04519, §3.3).

The model is a decoder with a value head, or a value model of `learn.language`; a step's value is tanh of the head at
the step's last token, in (−1, 1). It is trained on preferences between next steps, not on their values: searched values
are too noisy to be regression targets. The two baselines of the paper are the same model trained otherwise: on the
values themselves (`value_step`), and on whole solutions alone (a `StepPreference` whose prefix is the bare prompt).

Shape letters: B prefixes, P positive and N negative next steps of each, K pairs, S steps of all paths, M their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from consilience.errors import InputError
from consilience.learn.batch import Group, collate
from consilience.learn.forward import precision
from consilience.learn.optim.adamw import apply
from consilience.learn.reward_model import closed, trunk_hidden
from consilience.learn.state import critic_of
from consilience.nn import tokenizer as tk
from consilience.nn.decoder import Decoder
from consilience.nn.template import Prompt, render
from consilience.problem import Problem

# losses


def process_preference_loss(positive_BP: Tensor, negative_BN: Tensor) -> Tensor:
    """Mean over all pairs of −log σ(r⁺ − r⁻) after each prefix, (B,), in nats (eq. 4; two of each as published).

    With values in (−1, 1) no prefix can go below log(1 + e⁻²) = 0.126928.
    """
    return -F.logsigmoid(positive_BP[:, :, None] - negative_BN[:, None, :]).mean((1, 2))


def weighted_pair_loss(positive_K: Tensor, negative_K: Tensor, factor_K: Tensor) -> Tensor:
    """Σ factor · −log σ(r⁺ − r⁻), a scalar: the released code's form, where a filter has taken pairs away and the
    factor still counts the lists before it (`pair_factor`)."""
    return (factor_K * -F.logsigmoid(positive_K - negative_K)).sum()


def pair_factor(positives: int, negatives: int) -> float:
    """1 / (P · N), or 1 / (P + N) where one of them is 0: the weight of one pair, so that a prefix weighs 1.

    Raises:
        InputError: both are 0.
    """
    if positives + negatives < 1:
        raise InputError("the weight of a pair needs at least one step on either side.")
    return 1 / (positives * negatives or positives + negatives)


def process_score(logit: Tensor, scale: float = 5.0) -> Tensor:
    """tanh(logit / scale) in (−1, 1): how the released code squashes a model that was trained without tanh."""
    return (logit / scale).tanh()


# data


@dataclass(frozen=True, eq=False)
class StepPreference:
    """Next steps after one prefix, as token ids.

    prefix: the prompt and the steps so far; the bare prompt where whole solutions are compared.
    positives, negatives: the better and the worse next steps.
    kept: the pairs (positive, negative) by index that a filter has left; None: all.
    factor: weight of a pair; None: `pair_factor` of the two lists.
    """

    prefix: Prompt
    positives: tuple[tuple[int, ...], ...]
    negatives: tuple[tuple[int, ...], ...]
    kept: tuple[tuple[int, int], ...] | None = None
    factor: float | None = None

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        if self.kept is not None:
            return self.kept
        return tuple((p, n) for p in range(len(self.positives)) for n in range(len(self.negatives)))

    @property
    def weight(self) -> float:
        return pair_factor(len(self.positives), len(self.negatives)) if self.factor is None else self.factor


@dataclass(frozen=True, eq=False)
class Path:
    """A partial or whole solution. tokens: its ids after the prompt; ends: index in `tokens` of each step's last
    token, rising."""

    prompt: Prompt
    tokens: tuple[int, ...]
    ends: tuple[int, ...]


def path_of(prompt: Prompt, steps: Sequence[str]) -> Path:
    """The path of these steps, each text encoded by itself.

    Raises:
        InputError: no step, or one without text.
    """
    pieces = [tk.encode(step) for step in steps]
    if not pieces or not all(pieces):
        raise InputError("a path needs at least one step, and every step some text.")
    lengths = torch.tensor([len(piece) for piece in pieces])
    ends = (lengths.cumsum(0) - 1).tolist()
    return Path(prompt, tuple(token for piece in pieces for token in piece), tuple(ends))


def after(prompt: Prompt, text: str) -> Prompt:
    """The prompt with a partial solution behind it: the prefix of a `StepPreference`."""
    return replace(prompt, tokens=(*prompt.tokens, *tk.encode(text)))


# the model


def process_model_of(policy: Decoder, generator: torch.Generator) -> Decoder:
    """A process preference model that starts from a policy's weights, with a head so small (N(5·10⁻⁷, 10⁻⁶), as
    released) that every step is worth 0 at first."""
    model = critic_of(policy, generator)
    assert model.head is not None
    nn.init.normal_(model.head.weight, 5e-7, 1e-6, generator=generator)
    return model


def step_values(model: nn.Module, paths: Sequence[Path]) -> Tensor:
    """Values of all steps of all paths in order, (S,) float32 in (−1, 1), with gradient.

    Raises:
        InputError: no path, or ends that do not rise within its tokens.
    """
    if not paths:
        raise InputError("step values need at least one path.")
    for path in paths:
        inside = all(a < b for a, b in zip((-1, *path.ends), (*path.ends, len(path.tokens)), strict=True))
        if not path.ends or not inside:
            raise InputError(
                f"the step ends {list(path.ends)} must rise within the {len(path.tokens)} tokens of a path."
            )
    values_M = _values(model, [Group(path.prompt, (path.tokens,)) for path in paths])
    starts, places = 0, []
    for path in paths:
        places += [starts + 1 + end for end in path.ends]  # place 0 is the last prompt token
        starts += len(path.tokens) + 1
    return values_M[places]


def last_values(model: nn.Module, groups: Sequence[Group]) -> Tensor:
    """Values at the last token of every response, in order, float32 in (−1, 1), with gradient; groups of any size."""
    values: dict[int, Tensor] = {}
    for size in sorted({len(group.responses) for group in groups}):
        same = [i for i, group in enumerate(groups) if len(group.responses) == size]
        alike = [groups[i] for i in same]
        ends_M = collate([closed(group) for group in alike]).last_M
        found = _values(model, alike)[ends_M].view(-1, size)
        values |= dict(zip(same, found, strict=True))
    return torch.cat([values[i] for i in range(len(groups))])


def _values(model: nn.Module, groups: Sequence[Group]) -> Tensor:
    """The head runs in float32: steps of nearly the same worth would tie in bfloat16."""
    with precision(next(model.parameters()).device):
        hidden_MD = trunk_hidden(model, collate([closed(group) for group in groups]))
    return cast(Decoder, model).logits(hidden_MD.float())[:, 0].tanh().cpu()


# training


def preference_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    preferences: Sequence[StepPreference],
    lr: float,
    micro: int = 16,
) -> dict[str, float]:
    """One optimizer step: the mean over prefixes of their weighted pair losses.

    Args:
        micro: prefixes a forward pass; each prefix is computed once for all its next steps.

    Returns:
        loss (nats a prefix), accuracy (share of pairs ranked rightly), margin (mean r⁺ − r⁻) and grad_norm.

    Raises:
        InputError: no preference, or one without a pair.
    """
    _checked(preferences)
    total, margins = 0.0, []
    for start in range(0, len(preferences), micro):
        part = preferences[start : start + micro]
        positive_K, negative_K, factor_K = _pairs(model, part)
        loss = weighted_pair_loss(positive_K, negative_K, factor_K) / len(preferences)
        loss.backward()
        total += float(loss.detach())
        margins.append((positive_K - negative_K).detach())
    margin_K = torch.cat(margins)
    return {
        "loss": total,
        "accuracy": float((margin_K > 0).float().mean()),
        "margin": float(margin_K.mean()),
        "grad_norm": apply(optimizer, lr),
    }


def value_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    paths: Sequence[Path],
    targets_S: Tensor,
    lr: float,
    micro: int = 16,
) -> dict[str, float]:
    """The paper's baseline that regresses: one step on the mean squared error between step values and searched Q.

    Args:
        targets_S: Q in [−1, 1] of every step of every path, in order.

    Raises:
        InputError: the number of targets is not that of the steps.
    """
    steps = sum(len(path.ends) for path in paths)
    if len(targets_S) != steps:
        raise InputError(f"{steps} steps need as many values, not {len(targets_S)}.")
    total = done = 0.0
    for start in range(0, len(paths), micro):
        values_S = step_values(model, paths[start : start + micro])
        targets = targets_S[int(done) : int(done) + len(values_S)]
        loss = (values_S - targets).square().sum() / steps
        loss.backward()
        total += float(loss.detach())
        done += len(values_S)
    return {"loss": total, "grad_norm": apply(optimizer, lr)}


@torch.no_grad()
def pair_accuracy(model: nn.Module, preferences: Sequence[StepPreference], micro: int = 32) -> float:
    """Share of held-out pairs ranked rightly; a tie counts half. Raises InputError without any pair."""
    _checked(preferences)
    margin_K = torch.cat(
        [
            positive - negative
            for start in range(0, len(preferences), micro)
            for positive, negative, _ in [_pairs(model, preferences[start : start + micro])]
        ]
    )
    return float(((margin_K > 0).float() + 0.5 * (margin_K == 0).float()).mean())


def epochs_of(count: int, size: int, seed: int) -> Callable[[int], list[int]]:
    """The indices of batch 0, 1, … of `size` out of `count`, every epoch in another order that follows from the seed.

    The function depends on the step alone, so a training that is resumed sees the same batches. A last, smaller batch
    of an epoch is left out unless it is the only one.
    """
    per_epoch = max(1, count // size)

    def batch(step: int) -> list[int]:
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)).tolist()
        return order[place * size : (place + 1) * size]

    return batch


def _checked(preferences: Sequence[StepPreference]) -> None:
    if not preferences or not all(p.pairs and all(p.positives) and all(p.negatives) for p in preferences):
        raise InputError("a process preference needs at least one pair of next steps, none of them empty.")


def _pairs(model: nn.Module, preferences: Sequence[StepPreference]) -> tuple[Tensor, Tensor, Tensor]:
    """(positive_K, negative_K, factor_K) of all pairs."""
    values = last_values(model, [Group(p.prefix, (*p.positives, *p.negatives)) for p in preferences])
    better, worse, factors, offset = [], [], [], 0
    for p in preferences:
        better += [offset + i for i, _ in p.pairs]
        worse += [offset + len(p.positives) + j for _, j in p.pairs]
        factors += [p.weight] * len(p.pairs)
        offset += len(p.positives) + len(p.negatives)
    return values[better], values[worse], torch.tensor(factors)


# search


@dataclass(frozen=True, eq=False)
class ProcessScorer:
    """The model as a scorer of paths for `reason.mcts`: the value of a partial solution is that of its last step."""

    model: Decoder
    micro: int = 32

    async def __call__(self, items: Sequence[tuple[Problem, str]]) -> list[float]:
        """Values in (−1, 1), in order. Raises InputError for an empty path, which has no last step."""
        if not all(text for _, text in items):
            raise InputError("a process preference model values a path that has at least one step.")
        pictures = self.model.config.pictures
        groups = [Group(render(problem.messages, pictures), (tuple(tk.encode(text)),)) for problem, text in items]
        with torch.no_grad():
            return [
                value
                for start in range(0, len(groups), self.micro)
                for value in last_values(self.model, groups[start : start + self.micro]).tolist()
            ]
