"""Training a model to synthesise messages (PaCoRe, arXiv 2601.05593, §2.2, §3.1): answered, rewarded, learned from.

An episode of `pacore_data` is one round: P(x, M) is read, one trajectory is written, and the reward of its conclusion
comes at its last token. The update is `rl.ppo_update`, strictly on-policy. Prompts are those of `reason`, so that
training and inference see the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from consilience.engine import Engine, Request
from consilience.learn.batch import Group
from consilience.learn.loop import Stage, carry_out
from consilience.learn.optim.adamw import warmup
from consilience.learn.pacore_data import Episode, EpisodeConfig, Pool, Score, compacted, episodes
from consilience.learn.pacore_metrics import cross_checks
from consilience.learn.rl import Learner, RlConfig, ppo_update
from consilience.learn.rollout import Rollout, judge, text_of
from consilience.nn.template import render
from consilience.problem import Message
from consilience.protocols import Sampling
from consilience.reason.synthesis import SynthesisTemplate
from consilience.request import Progress
from consilience.runs import Run
from consilience.worlds.setting import entropy

Look = Callable[[Sequence[Message], int], tuple[Message, ...]]
"""(conversation, seed) → what a trajectory of this seed sees of it, such as a noisy glimpse of its pictures."""


def whole(messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
    """The `Look` that shows everything."""
    return tuple(messages)


@dataclass(frozen=True)
class SynthesisConfig:
    """How synthesis is trained.

    steps: iterations. episodes: what each of them draws. max_tokens: of a trajectory; one that needs more is rewarded
    with 0. actor_lr, critic_lr: constant after `warmup` iterations. save_every: iterations between checkpoints.
    """

    steps: int
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)
    max_tokens: int = 128
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    rl: RlConfig = field(default_factory=RlConfig)
    warmup: int = 5
    save_every: int = 20


def roll_out(
    engine: Engine,
    drawn: Sequence[Episode],
    key: Sequence[object],
    max_tokens: int,
    score: Score,
    *,
    look: Look = whole,
    temperature: float = 1.0,
) -> Rollout:
    """Every episode answered `samples` times and judged by its conclusion alone.

    All responses of an episode read the same prompt, with one look at it, so that the prompt is computed once.

    Args:
        key: decides looks and samples, together with the place of an episode.
        score: of a whole response; it is given the conclusion only, and what was cut off scores 0.

    Raises:
        InputError: a prompt leaves no room in the model's context.
    """
    seeds = [entropy(*key, i, "sampling") >> 2 for i in range(len(drawn))]
    patch = engine.model.config.pictures
    prompts = [render(look(e.prompt, entropy(*key, i, "look")), patch) for i, e in enumerate(drawn)]
    requests = [
        Request(prompt, Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed), episode.samples)
        for prompt, seed, episode in zip(prompts, seeds, drawn, strict=True)
    ]
    outputs = engine.generate(requests)
    groups = tuple(Group(prompt, tuple(o.tokens for o in row)) for prompt, row in zip(prompts, outputs, strict=True))
    flat = [o for row in outputs for o in row]
    problems = tuple(episode.pool.problem for episode in drawn)
    return Rollout(
        problems,
        groups,
        tuple(o.logprobs for o in flat),
        tuple(o.finish == "stop" for o in flat),
        judge(problems, groups, compacted(score)),
    )


def synthesis_numbers(drawn: Sequence[Episode], rollout: Rollout) -> dict[str, float]:
    """What is logged of an iteration; shares and means over its responses.

    reward; reward/free without messages or reward/synthesis with them; message_accuracy of the messages shown;
    hopeless: share of responses whose every message is wrong, and emergent: the share of those that are right;
    cross_checks a response; length in tokens; truncated.
    """
    rows = rollout.rewards_BG.tolist()
    shown = [row for episode, row in zip(drawn, rows, strict=True) if episode.picked]
    hopeless = [row for episode, row in zip(drawn, rows, strict=True) if episode.hopeless]
    texts = [text_of(response) for group in rollout.groups for response in group.responses]
    numbers = {
        "reward": _mean(rows),
        "length": fmean(rollout.lengths),
        "truncated": 1 - fmean(rollout.finished),
        "cross_checks": fmean(map(cross_checks, texts)),
    }
    if shown:
        numbers["reward/synthesis"] = _mean(shown)
        numbers["message_accuracy"] = fmean(e.pool.scores[i] for e in drawn for i in e.picked)
        numbers["hopeless"] = sum(map(len, hopeless)) / sum(map(len, shown))
    else:
        numbers["reward/free"] = _mean(rows)
    if hopeless:
        numbers["emergent"] = fmean(float(reward >= 1) for row in hopeless for reward in row)
    return numbers


def _mean(rows: Sequence[Sequence[float]]) -> float:
    return fmean(reward for row in rows for reward in row)


def train_synthesis(
    run: Run,
    name: str,
    learners: Mapping[str, Learner],
    pools: Sequence[Pool],
    score: Score,
    config: SynthesisConfig,
    seed: int,
    *,
    template: SynthesisTemplate | None = None,
    look: Look = whole,
    check: Callable[[int, Engine], Mapping[str, float]] | None = None,
    progress: Progress | None = None,
) -> None:
    """PPO on the episodes of these pools as stage `name` of a run, resumable; afterwards the learners are trained.

    Args:
        learners: "model", the policy, and "critic"; both are changed in place.
        pools: with scores, filtered (`stage1`, `stage2`).
        check: called as (iteration, engine with the present weights) after each iteration; what it returns is logged
            with it.

    Raises:
        InputError: no pools are left, or a prompt leaves no room in the model's context.
    """
    actor, critic = learners["model"], learners["critic"]
    engine = Engine(actor.model, rows=512)
    stage = Stage(name, config.steps, config.save_every, shown=("reward", "reward/synthesis"))

    def update(step: int) -> Mapping[str, float]:
        engine.refresh()
        drawn = episodes(pools, seed, step, config.episodes, template)
        rollout = roll_out(engine, drawn, ("synthesis", name, seed, step), config.max_tokens, score, look=look)
        factor = warmup(step, config.warmup)
        numbers = ppo_update(
            actor, critic, rollout, config.rl, config.actor_lr * factor, config.critic_lr * factor
        ) | synthesis_numbers(drawn, rollout)
        if check is not None:
            engine.refresh()
            numbers |= check(step, engine)
        return numbers

    carry_out(run, stage, learners, update, progress)
