"""Speculative decoding: several tokens a row in one pass of the model, by the law of plain decoding.

Shape letters as in speculative_law.py. A step drafts K tokens a row, lets the model read the row's last token and all
drafts at once, keeps the drafts that its law accepts and one token more. Rows gain different numbers of tokens from a
step; the cache is therefore kept by position (speculative_cache.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from consilience.engine.batch import Batch, Job
from consilience.engine.prefill import TOKENS
from consilience.engine.rows import KEY, POSITION, STEP, STOP, TOKEN
from consilience.engine.sample import Settings, uniforms
from consilience.engine.speculative_cache import PositionCache
from consilience.engine.speculative_draft import Drafter, Heads, Prefilled, Smaller
from consilience.engine.speculative_law import Acceptance, law, pick, verify
from consilience.engine.vocabulary import Vocabulary
from consilience.errors import InputError
from consilience.nn.decoder import Decoder


@dataclass(frozen=True, eq=False)
class Speculation:
    """Who drafts, and how much.

    drafts: tokens drafted a pass; 0 means as many as the model has drafting heads. model: a smaller decoder with the
    same vocabulary that drafts; None means the model's own heads. serial: a head reads the state of the head before
    it; else all read the trunk's (as they were trained).
    """

    drafts: int = 0
    model: Decoder | None = None
    serial: bool = True

    def check(self, model: Decoder) -> int:
        """Drafts a pass for this model.

        Raises:
            InputError: nobody can draft so many tokens for it.
        """
        heads = len(model.drafts)
        if self.drafts < 0:
            raise InputError(f"drafts must be 0 (one for each drafting head) or larger, not {self.drafts}.")
        if self.model is None:
            if not heads:
                raise InputError("this model has no drafting heads; give Speculation a smaller model that drafts.")
            if self.drafts > heads:
                raise InputError(f"{self.drafts} drafts a pass need as many drafting heads; this model has {heads}.")
            return self.drafts or heads
        own, other = model.config.vocab_size, self.model.config.vocab_size
        if own != other or self.model.config.head != "lm":
            raise InputError(f"the drafting model must be a language model over {own} tokens, not {other}.")
        if self.model.config.max_context < model.config.max_context:
            raise InputError(
                f"the drafting model reads {self.model.config.max_context} tokens, "
                f"fewer than the model's context of {model.config.max_context}."
            )
        if not self.drafts:
            raise InputError("say how many tokens the drafting model drafts a pass: Speculation(drafts=4, model=…).")
        return self.drafts


class _Caches:
    """The model's cache and the drafter, behind the part of `Cache`'s interface that `Batch` admits rows by. A prompt
    with several samples is read once, and copied to each of its rows."""

    def __init__(self, target: PositionCache, drafter: Drafter, device: torch.device) -> None:
        self.target, self.drafter, self.device = target, drafter, device
        self.active = 0
        self._longest = self._size = 0
        self._lanes: list[tuple[Prefilled, int, int]] = []

    def reset(self) -> None:
        """Without rows."""
        self._longest = 0

    def reserve(self, rows: int, prompt: int) -> None:
        """Room for rows."""
        self._size = max(rows, self._size)
        self.grow(max(prompt, self._longest))

    def grow(self, longest: int) -> None:
        """Room for rows of up to so many tokens."""
        for cache in (self.target, self.drafter):
            cache.reserve(self._size, longest, self.active)

    def join(self, block: Prefilled, which: Sequence[int], lengths: Sequence[int]) -> None:
        """New rows, each with a copy of a prompt."""
        self._longest = max(self._longest, block.columns)
        self.grow(self._longest)
        new = torch.arange(self.active, self.active + len(which), device=self.device)
        which_B, length_B = (torch.tensor(numbers, device=self.device) for numbers in (which, lengths))
        if block.columns:
            self.target.put(new, block, which_B, length_B)
        self.drafter.put(new, block, which_B, length_B)
        self.active += len(which)

    def open_lane(self, block: Prefilled, which: int, length: int) -> int:
        """Remember a prompt for the samples that share it."""
        self._lanes.append((block, which, length))
        return len(self._lanes) - 1

    def join_lane(self, lane: int, n: int) -> None:
        """n new rows with a remembered prompt."""
        block, which, length = self._lanes[lane]
        self.join(block, [which] * n, [length] * n)

    def close_lane(self, lane: int) -> int:
        """Forget a prompt; the last one takes its number. Returns that one's old number."""
        self._lanes[lane] = self._lanes[-1]
        self._lanes.pop()
        return len(self._lanes)

    def keep(self, target: np.ndarray, source: np.ndarray, active: int) -> None:
        """Rows `source` move to places `target`; the first `active` rows remain."""
        if len(target):
            to, old = (torch.from_numpy(rows).to(self.device) for rows in (target, source))
            self.target.move(to, old)
            self.drafter.move(to, old)
        self.active = active

    def ready(self, longest: int) -> None:
        """Before a pass that ends with rows of up to so many tokens."""
        self._longest = longest
        self.grow(longest)


class SpeculativeBatch(Batch):
    """Continuous batching whose steps give 1 to K + 1 tokens a row."""

    def __init__(self, model: Decoder, vocabulary: Vocabulary, capacity: int, speculation: Speculation) -> None:
        super().__init__(model, vocabulary, capacity)
        self.drafts = speculation.check(model)
        weight = model.embedding.weight
        self.drafter: Drafter
        with torch.inference_mode():
            if speculation.model is None:
                self.drafter = Heads(model, self.drafts, speculation.serial)
            else:
                self.drafter = Smaller(speculation.model, model, self.drafts)
            config = model.config
            target = PositionCache(config, config.blocks, weight.dtype, self.device, ahead=self.drafts + 1)
            self.caches = _Caches(target, self.drafter, self.device)
        self.cache = cast(Any, self.caches)
        self._passes = self._row_passes = self._tokens = 0
        self._accepted_T = torch.zeros(self.drafts + 1, dtype=torch.int64, device=self.device)

    @property
    def acceptance(self) -> Acceptance:
        """What speculation has brought since the batch was made."""
        at_least_T = self._accepted_T.flip(0).cumsum(0).flip(0)
        return Acceptance(self._passes, self._row_passes, self._tokens, tuple(at_least_T[1:].tolist()))

    @torch.inference_mode()
    def step(self) -> None:
        """Admit what fits, give every row its next tokens, report and remove the finished rows."""
        self._admit()
        active = len(self.owners)
        if not active:
            return
        t = self.drafts + 1
        integers = self.rows.integers[:, :active]
        n_B = integers[POSITION].clone()
        self.caches.ready(int(n_B.max()) + t)
        # a row's numbers of this pass: K for drafts, K for accepting them, one for what follows
        u_BU = uniforms(integers[KEY], integers[STEP] * (2 * t - 1), 2 * t - 1)
        draft_BK, q_BKV = self._draft(n_B, u_BU[:, : t - 1])
        states_BTD, logits_BTV = self._read(torch.cat([integers[TOKEN, :, None], draft_BK], 1), n_B)
        p_BTV = law(logits_BTV.flatten(0, 1), self._per_token(t), self._plan, self.allowed_V).view(logits_BTV.shape)
        accepted_B, token_BT = verify(p_BTV, q_BKV, draft_BK, u_BU[:, t - 1 :])
        logp_BT = logits_BTV.float().log_softmax(-1).gather(2, token_BT[..., None])[..., 0]
        self._passes, self._row_passes = self._passes + 1, self._row_passes + active
        self._accepted_T += accepted_B.bincount(minlength=t)
        self._give(accepted_B + 1, token_BT, logp_BT, states_BTD)

    def _draft(self, n_B: Tensor, u_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Drafts (B, K) and the laws they were drawn from (B, K, V)."""
        tokens: list[Tensor] = []
        laws: list[Tensor] = []

        def choose(i: int, logits_BV: Tensor) -> Tensor:
            laws.append(law(logits_BV, self._settings, self._plan, self.allowed_V))
            tokens.append(pick(laws[-1], u_BK[:, i]))
            return tokens[-1]

        self.drafter.propose(n_B, choose)
        return torch.stack(tokens, 1), torch.stack(laws, 1)

    def _read(self, token_BT: Tensor, n_B: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk's states (B, T, D) at n … n + K, and the logits (B, T, V) of what follows."""
        model, shape = self.model, token_BT.shape
        position_BT = n_B[:, None] + torch.arange(shape[1], device=self.device)
        self.caches.target.begin(position_BT)
        x_ND = F.embedding(token_BT.flatten(), model.embedding.weight)
        # drafts beyond the context are never given out
        place_N = position_BT.clamp(max=model.config.max_context - 1).flatten()
        x_ND = self.forward.layers_of(x_ND, place_N, self.caches.target.attend)
        return x_ND.view(*shape, -1), model.logits(model.norm(x_ND)).view(*shape, -1)

    def _per_token(self, t: int) -> Settings:
        return Settings(**{name: value.repeat_interleave(t) for name, value in vars(self._settings).items()})

    def _give(self, count_B: Tensor, token_BT: Tensor, logp_BT: Tensor, states_BTD: Tensor) -> None:
        """Record each row's tokens up to where it ends; the rest of the step is that of plain decoding."""
        active, t = token_BT.shape
        count_B = torch.minimum(count_B, self._left(active))
        place_T = torch.arange(t, device=self.device)
        end_BT = torch.isin(token_BT, self.end) & (place_T < count_B[:, None])
        count_B = torch.where(end_BT.any(1), end_BT.int().argmax(1) + 1, count_B)
        if self.stop_checks:
            count_B = self._until_stop(count_B, token_BT)
        self._tokens += int(count_B.sum())
        self.rows.record_several(token_BT, logp_BT, count_B)
        self.drafter.advance(count_B, token_BT, states_BTD)
        self._until_limit = 1
        self._finish(self.rows.integers[TOKEN, :active].clone())

    def _until_stop(self, count_B: Tensor, token_BT: Tensor) -> Tensor:
        """Counts cut behind the first token that completes a stop string."""
        candidate_BT = self.stop_table[self.rows.integers[STOP, : len(token_BT)][:, None], token_BT]
        counts, tokens = count_B.tolist(), token_BT.tolist()
        for row in candidate_BT.any(1).nonzero()[:, 0].tolist():
            check = self.stop_checks[self.stops[self.owners[row][0].sampling.stop] - 1]
            n = int(self.rows.integers[STEP, row])
            said = self.rows.tokens[row, max(0, n - check.longest) : n].tolist()
            for i in range(counts[row]):
                said.append(tokens[row][i])
                if check.hit(said[-check.longest :]):
                    counts[row] = i + 1
                    break
        return torch.tensor(counts, device=self.device)

    def _prefill(self) -> None:
        """Read the prompts at the head of the queue, as many as fit, with both model and drafter."""
        jobs: list[Job] = []
        width = 1
        for job in self.queue:
            width = max(width, len(job.prompt) - 1)
            if job.block is not None or (jobs and width * (len(jobs) + 1) > TOKENS):
                break
            jobs.append(job)
        block = self.drafter.prefill([job.prompt for job in jobs])
        for entry, job in enumerate(jobs):
            job.block, job.entry = block, entry
