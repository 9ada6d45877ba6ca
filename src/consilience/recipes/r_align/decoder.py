"""A real decoder as reward model: it reads two notes, writes which difference decides, and names the better note.

Warm start: demonstrations that name any difference, layout included, and decide by it (`notes.any_reason`), so that the
model can read and speak but does not know what matters. From there the same pairs, seeds and steps of reinforcement
with the label alone, or with label and rationale. The meta-judge is a rule over recorded truth that errs and fails as
often as stated. Afterwards a writer with one unit of effort is trained against each model.

Axes: B pairs, F = 4 factors (three of content, layout last).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from consilience.engine import Engine, Request
from consilience.learn.batch import Group
from consilience.learn.generative_reward import (
    MetaJudge,
    genrm_update,
    label_rewarded,
    prediction,
    rationale_rewarded,
    states,
)
from consilience.learn.loop import Stage, carry_out
from consilience.learn.optim.adamw import adamw, cooldown, warmup
from consilience.learn.rl import Learner, RlConfig
from consilience.learn.rollout import Reward, Rollout, judge, text_of
from consilience.learn.sft import sft_step
from consilience.learn.state import copy_of
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.template import render, response_tokens
from consilience.problem import Problem
from consilience.protocols import Sampling
from consilience.recipes.r_align import notes
from consilience.recipes.r_align.bandit import MetaJudge as Noise
from consilience.recipes.r_align.sizes import Sizes
from consilience.request import Progress
from consilience.runs import Run
from consilience.verify.judges import MetaState
from consilience.worlds.setting import entropy

ARMS = ("start", "label", "align")
TRAINED = ARMS[1:]
NOISE, FAILS = Noise(false_reject=0.1, false_accept=0.05), 0.02
"""The meta-judge in training: how often it errs, and how often its call fails."""

SFT_LR, RL_LR, WRITER_LR = 3e-3, 5e-4, 4.0
WARMUP, SAVE_EVERY, DEV_EVERY, MAX_TOKENS = 20, 20, 20, 16
LETTERS = {MetaState.CORRECT: "C", MetaState.INCORRECT: "I", MetaState.SKIPPED: "S"}


def config_of(sizes: Sizes) -> ModelConfig:
    """The nano reward model: two layers, bytes in, bytes out."""
    width = sizes.width
    return ModelConfig(
        d_model=width, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=width // 4, d_ff=3 * width, max_context=128
    )


def rng_of(*key: object) -> np.random.Generator:
    """A generator for one purpose of one seed."""
    return np.random.default_rng(entropy("r_align", "decoder", *key) % 2**63)


def fresh(rng: np.random.Generator, n: int, sizes: Sizes, split: str = "train") -> list[Problem]:
    """n new pairs."""
    return [notes.note_pair(rng, i, sizes.agreement, split) for i in range(n)]


def sampled(engine: Engine, pairs: Sequence[Problem], key: tuple[object, ...], n: int, reward: Reward) -> Rollout:
    """n responses to each pair at temperature 1, judged."""
    seeds = [entropy("r_align", *key, i) >> 2 for i in range(len(pairs))]
    requests = [
        Request(render(pair.messages), Sampling(max_tokens=MAX_TOKENS, seed=seed), n)
        for pair, seed in zip(pairs, seeds, strict=True)
    ]
    outputs = engine.generate(requests)
    groups = tuple(
        Group(request.prompt, tuple(tuple(output.tokens) for output in row))
        for request, row in zip(requests, outputs, strict=True)
    )
    flat = [output for row in outputs for output in row]
    return Rollout(
        tuple(pairs),
        groups,
        tuple(output.logprobs for output in flat),
        tuple(output.finish == "stop" for output in flat),
        judge(pairs, groups, reward),
    )


def noisy_meta(rng: np.random.Generator) -> MetaJudge:
    """The rule with `NOISE`, whose call fails with chance `FAILS`."""

    def agrees(pair: Problem, rationale: str) -> bool | None:
        if rng.random() < FAILS:
            return None
        return bool(NOISE.accepts(rng, np.array([notes.names_golden(pair, rationale)]))[0])

    return agrees


exact = rationale_rewarded(notes.names_golden)


def warm_start(run: Run, sizes: Sizes, seed: int, progress: Progress) -> Decoder:
    """Supervised steps on demonstrations, as stage "warm" of the run; resumable."""
    model = Decoder(config_of(sizes))
    model.initialise(torch.Generator().manual_seed(entropy("r_align", "weights", seed) % 2**62))
    learner = Learner(model, adamw(model.parameters(), weight_decay=0.01))
    tail = sizes.sft_steps // 3

    def imitate(step: int) -> Mapping[str, float]:
        rng = rng_of("warm", seed, step)
        groups = [
            Group(render(pair.messages), (tuple(response_tokens(notes.any_reason(pair, rng))),))
            for pair in fresh(rng, sizes.sft_batch, sizes)
        ]
        lr = SFT_LR * warmup(step, WARMUP) * cooldown(step, sizes.sft_steps - tail, tail + 1)
        return sft_step(model, learner.optimizer, groups, lr)

    carry_out(
        run, Stage("warm", sizes.sft_steps, 5 * SAVE_EVERY, shown=("loss",)), {"model": learner}, imitate, progress
    )
    return model


def reinforced(run: Run, start: Decoder, arm: str, sizes: Sizes, seed: int, progress: Progress) -> Decoder:
    """Group-relative policy gradient from the warm start, as stage `arm` of the run; resumable. Both arms see the same
    pairs and sampling seeds. Every `DEV_EVERY` steps L-Acc, S-Corr and F-Score on dev pairs are logged, never used."""
    model = copy_of(start)
    learner, engine = Learner(model, adamw(model.parameters())), Engine(model, rows=512)
    dev = notes.note_pairs(entropy("r_align", "dev", seed) % 2**63, sizes.notes_dev, sizes.agreement, "dev")

    def update(step: int) -> Mapping[str, float]:
        engine.refresh()
        reward = label_rewarded if arm == "label" else rationale_rewarded(noisy_meta(rng_of("meta", seed, step)))
        pairs = fresh(rng_of("pairs", seed, step), sizes.rl_pairs, sizes)
        rollout = sampled(engine, pairs, ("rollout", seed, step), sizes.rl_rollouts, reward)
        numbers = genrm_update(learner, rollout, RlConfig(), RL_LR * warmup(step, 5))
        if (step + 1) % DEV_EVERY == 0:
            engine.refresh()
            numbers |= shares(letters(sampled(engine, dev, ("dev", seed), 1, exact)))
        return numbers

    stage = Stage(arm, sizes.rl_steps, SAVE_EVERY, shown=("reward", "label_accuracy"))
    carry_out(run, stage, {"model": learner}, update, progress)
    return model


def letters(rollout: Rollout) -> str:
    """One letter a response: C (label and rationale right), I (label right only) or S (label wrong)."""
    return "".join(LETTERS[state] for state in states(rollout.verdicts))


def shares(found: str) -> dict[str, float]:
    """accuracy, scorr and fscore of letters; scorr is left out where no label is right."""
    right = len(found) - found.count("S")
    spurious = {"scorr": found.count("I") / right} if right else {}
    return {"accuracy": right / len(found), **spurious, "fscore": found.count("C") / len(found)}


def work(own: Run, sizes: Sizes, seed: int, progress: Progress) -> None:
    """The decoder part of one seed; leaves evaluation.json."""
    models = {"start": warm_start(own, sizes, seed, progress)}
    for arm in TRAINED:
        models[arm] = reinforced(own, models["start"], arm, sizes, seed, progress)
    if not own.done("decoder"):
        with own.stage("decoder"):
            held = notes.note_pairs(entropy("r_align", "test", seed) % 2**63, sizes.notes_held, sizes.agreement, "test")
            found = {arm: sampled(Engine(m, rows=512), held, ("test", seed), 1, exact) for arm, m in models.items()}
            golds = {arm: writer_gold(model, arm, sizes, seed, own) for arm, model in models.items()}
            own.append("samples.jsonl", samples(found))
            own.write_json(
                "evaluation.json",
                {
                    "states": {arm: letters(rollout) for arm, rollout in found.items()},
                    "named": {arm: named(rollout) for arm, rollout in found.items()},
                    "gold": golds,
                    "layout_accuracy": layout_accuracy(held),
                },
            )


def named(rollout: Rollout) -> dict[str, float]:
    """Share of responses whose rationale names each factor."""
    said = [text_of(response).partition(" ")[0] for group in rollout.groups for response in group.responses]
    return {factor: said.count(factor) / len(said) for factor in notes.FACTORS}


def layout_accuracy(pairs: Sequence[Problem]) -> float:
    """L-Acc of the judge that looks at nothing but the star: the one that any reward model must beat."""
    return sum(bool(pair.truth["loses"][notes.LAYOUT] != pair.answer) for pair in pairs) / len(pairs)


def samples(found: Mapping[str, Rollout], most: int = 24) -> list[dict[str, Any]]:
    """Records for the report's gallery: the first pairs with every model's response, the trained one first."""
    return [
        {
            "cell": "notes",
            "model": arm,
            "problem": rollout.problems[i].to_json(),
            "response": text_of(rollout.groups[i].responses[0]),
            "verdict": rollout.verdicts[i].to_json(),
            "truncated": not rollout.finished[i],
        }
        for arm in reversed(ARMS)
        for rollout in (found[arm],)
        for i in range(min(most, len(rollout.problems)))
    ]


# the writer


def chances(effort_F: np.ndarray) -> np.ndarray:
    """Chance that a factor is as it should be, (F,): from a half without effort to 1 with all of it."""
    share_F = np.exp(effort_F - effort_F.max())
    share_F = share_F / share_F.sum()
    chance_F: np.ndarray = 0.5 + 0.5 * share_F
    return chance_F


def written(rng: np.random.Generator, good_F: np.ndarray, total: int, asked: str) -> notes.Note:
    """A note whose factors are as good as said; layout counts as good with a star."""
    defects = [not good for good in good_F[:-1]]
    return notes.make_note(rng, total, asked, defects, starred=bool(good_F[-1]))


def writer_gold(model: Decoder, arm: str, sizes: Sizes, seed: int, own: Run) -> float:
    """What a writer makes of a reward model: the true win rate over fixed reference notes, −1 to 1, after training.

    The writer spreads one unit of effort over the factors. REINFORCE follows the model's verdict on its note against
    the reference, +1 or −1, on a side drawn each time; a verdict that cannot be read earns nothing.
    """
    engine, effort_F = Engine(model, rows=512), np.zeros(len(notes.FACTORS))
    for step in range(sizes.writer_steps):
        rng = rng_of("writer", seed, step)
        good_BF, pairs = compared(rng, chances(effort_F), sizes.writer_notes)
        rollout = sampled(engine, pairs, ("writer", seed, step), 1, label_rewarded)
        said = [prediction(text_of(group.responses[0])) for group in rollout.groups]
        wins = [None if p is None else p == pair.answer for p, pair in zip(said, pairs, strict=True)]
        reward_B = np.array([0.0 if win is None else 1.0 if win else -1.0 for win in wins])
        effort_F = effort_F + WRITER_LR * policy_gradient(effort_F, good_BF, reward_B)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == sizes.writer_steps:
            numbers = {f"writer_reward/{arm}": float(reward_B.mean()), f"writer_gold/{arm}": true_gold(effort_F)}
            own.log(step + 1, **numbers)
    return true_gold(effort_F)


def compared(rng: np.random.Generator, chance_F: np.ndarray, n: int) -> tuple[np.ndarray, list[Problem]]:
    """(which factors of the writer's notes are good, (B, F); its notes beside reference notes whose factors have even
    chances); the answer of a pair is the side of the writer's note, not the better one."""
    good_BF = rng.random((n, len(notes.FACTORS))) < chance_F
    reference_BF = rng.random((n, len(notes.FACTORS))) < 0.5
    pairs = []
    for i in range(n):
        first, second, asked = notes.question(rng)
        mine = int(rng.integers(2))
        order = [good_BF[i], reference_BF[i]] if mine == 0 else [reference_BF[i], good_BF[i]]
        texts = [written(rng, good_F, first + second, asked).text() for good_F in order]
        pairs.append(notes.as_problem(f"writer/{i}", first, second, asked, texts, notes.LABELS[mine], "train", {}))
    return good_BF, pairs


def policy_gradient(effort_F: np.ndarray, good_BF: np.ndarray, reward_B: np.ndarray) -> np.ndarray:
    """∇ of the mean reward in the effort's logits by the score function, (F,); the baseline is the mean reward."""
    chance_F = chances(effort_F)
    share_F = 2 * chance_F - 1
    score_BF = np.where(good_BF, 1 / chance_F, -1 / (1 - chance_F).clip(1e-6))
    by_chance_F = ((reward_B - reward_B.mean())[:, None] * score_BF).mean(0)
    by_share_F = 0.5 * by_chance_F
    gradient_F: np.ndarray = share_F * (by_share_F - (by_share_F * share_F).sum())
    return gradient_F


def true_gold(effort_F: np.ndarray) -> float:
    """Exact win rate minus loss rate by content against a reference with even chances: factors are compared in order,
    the first difference decides."""
    gold, level = 0.0, 1.0
    for chance in chances(effort_F)[:-1]:
        gold += level * (0.5 * chance - 0.5 * (1 - chance))
        level *= 0.5
    return float(gold)
