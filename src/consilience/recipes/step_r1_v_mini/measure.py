"""Sampling and counting: dev accuracy during training, and the held-out evaluation of an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consilience.engine import Engine, Request
from consilience.learn.batch import Group
from consilience.learn.rollout import Reward, Rollout, judge, text_of
from consilience.nn import tokenizer as tk
from consilience.nn.decoder import Decoder
from consilience.problem import Problem
from consilience.protocols import Sampling
from consilience.reason.answers import verified_equivalence, vote
from consilience.reason.synthesis import synthesis_prompt
from consilience.recipes.step_r1_v_mini import problems
from consilience.recipes.step_r1_v_mini.sizes import Arm, Sizes
from consilience.request import Progress
from consilience.runs import Run
from consilience.trace import THINK_END
from consilience.verify.check import AnswerVerifier, combined, grounding_at
from consilience.worlds.setting import entropy

VOTES = 16
SHOWN = 30
"""Answers a cell kept for the gallery of the report."""


def cells(sizes: Sizes) -> dict[str, tuple[str, str]]:
    """Cell name → (modality, level): text and image, in and out of distribution."""
    levels = {"id": sizes.level, "ood": sizes.ood}
    return {f"{m}/{where}": (m, level) for m in problems.MODALITIES for where, level in levels.items()}


def sample(
    engine: Engine,
    asked: Sequence[Problem],
    seeds: Sequence[int],
    n: int,
    max_tokens: int,
    reward: Reward,
    temperature: float = 1.0,
) -> Rollout:
    """n responses to each problem with their verdicts. seeds: one a problem; response i uses seed + i."""
    prompts = [problems.prompt_of(p) for p in asked]
    requests = [
        Request(prompt, Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed), n)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    outputs = engine.generate(requests)
    groups = tuple(Group(prompt, tuple(o.tokens for o in row)) for prompt, row in zip(prompts, outputs, strict=True))
    flat = [o for row in outputs for o in row]
    return Rollout(
        tuple(asked),
        groups,
        tuple(o.logprobs for o in flat),
        tuple(o.finish == "stop" for o in flat),
        judge(asked, groups, reward),
    )


def rollout_numbers(rollout: Rollout) -> dict[str, float]:
    """What is logged of a rollout: mean reward, and answers right and length by modality."""
    size = len(rollout.groups[0].responses)
    numbers: dict[str, float] = {
        "reward": float(rollout.rewards_BG.mean()),
        "length": sum(rollout.lengths) / len(rollout.lengths),
        "truncated": 1 - sum(rollout.finished) / len(rollout.finished),
    }
    names = [p.modality for p in rollout.problems for _ in range(size)]
    for name in sorted(set(names)):
        scores = [v.score for v, m in zip(rollout.verdicts, names, strict=True) if m == name]
        numbers[f"reward/{name}"] = sum(scores) / len(scores)
    texts = [text_of(r) for g in rollout.groups for r in g.responses]
    looked = [_looks_at_all(t) for t in texts]
    numbers["full_style"] = sum(looked) / len(looked)
    return numbers


def _looks_at_all(response: str) -> bool:
    """Whether the reasoning says what the condition accepts, the mark of the full style."""
    return ":" in response.partition("</think>")[0]


def _answer(problem: Problem, response: str, truncated: bool) -> Any:
    return AnswerVerifier()(problem, response, truncated=truncated)


def dev_accuracy(engine: Engine, sizes: Sizes, seed: int) -> dict[str, float]:
    """Share of right answers on the dev split at the training level, one sample at temperature 1, by modality and
    their mean (`accuracy`)."""
    engine.refresh()
    numbers: dict[str, float] = {}
    for name in problems.MODALITIES:
        asked = problems.held_out(name, sizes.level, "dev", sizes.dev, problems.TASKS[name])
        seeds = [entropy("dev", seed, name, i) >> 2 for i in range(len(asked))]
        rollout = sample(engine, asked, seeds, 1, sizes.max_tokens, _answer)
        numbers[f"accuracy/{name}"] = float(rollout.rewards_BG.mean())
    numbers["accuracy"] = sum(numbers.values()) / len(numbers)
    return numbers


def evaluate(
    run: Run, model: Decoder, arm: Arm, sizes: Sizes, seed: int, progress: Progress, *, synthesis: bool = False
) -> None:
    """Answer every cell's held-out problems and leave `evaluation.json` and `samples.jsonl` in the run.

    Per cell, by problem: right, one sample at temperature 1; tp, fp, fn of cited places at IoU .5, wrong answers
    included; on the first `subset` problems also greedy, and for PPO the mean of 16 samples and their majority; with
    `synthesis` also PaCoRe [15] at as many trajectories.
    """
    if run.done("evaluate"):
        return
    with run.stage("evaluate"):
        named = cells(sizes)
        engine = Engine(model, rows=512)
        progress.start(f"test {arm.name}", len(named) + 1)
        result: dict[str, Any] = {"cells": {}, "digits_read": _digits_read(engine, sizes)}
        progress.update(1, digits=result["digits_read"]["value"])
        for done, (cell, (modality, level)) in enumerate(named.items(), 2):
            tasks = problems.OOD_TASKS if cell.endswith("/ood") else problems.TASKS[modality]
            asked = problems.held_out(modality, level, "test", sizes.test, tasks)
            found, shown = _cell(engine, sizes, seed, arm, cell, asked, synthesis)
            result["cells"][cell] = found
            run.append("samples.jsonl", shown)
            progress.update(done, accuracy=sum(found["right"]) / len(found["right"]))
        run.write_json("evaluation.json", result)
        progress.done()


def _cell(
    engine: Engine, sizes: Sizes, seed: int, arm: Arm, cell: str, asked: Sequence[Problem], synthesis: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    seeds = [entropy("test", seed, cell, i) >> 2 for i in range(len(asked))]
    joint = combined()
    once = sample(engine, asked, seeds, 1, sizes.max_tokens, lambda p, s, t: joint(p, s, truncated=t))
    some = asked[: sizes.subset]
    greedy = sample(engine, some, seeds[: len(some)], 1, sizes.max_tokens, _answer, temperature=0.0)
    texts = [text_of(g.responses[0]) for g in once.groups]
    right = [int(v.evidence.get("answer_score", 0.0) >= 1) for v in once.verdicts]
    counts = [grounding_at(p, t if done else "") for p, t, done in zip(asked, texts, once.finished, strict=True)]
    found: dict[str, Any] = {
        "right": right,
        "greedy": [int(v.score >= 1) for v in greedy.verdicts],
        "grounding": [[c.tp, c.fp, c.fn] for c in counts],
        "tokens": once.lengths,
        "full_style": sum(map(_looks_at_all, texts)) / len(texts),
        "truncated": 1 - sum(once.finished) / len(once.finished),
    }
    if arm.name == "ppo":
        found |= _votes(engine, sizes, seeds, some, synthesis)
    shown = [
        {
            "cell": cell,
            "model": arm.name,
            "problem": problem.to_json(),
            "response": text,
            "verdict": verdict.to_json(),
            "truncated": not done,
        }
        for problem, text, verdict, done, _ in zip(
            asked, texts, once.verdicts, once.finished, range(SHOWN), strict=False
        )
    ]
    return found, shown


def _votes(
    engine: Engine, sizes: Sizes, seeds: Sequence[int], asked: Sequence[Problem], synthesis: bool
) -> dict[str, Any]:
    """Mean of 16 samples and their majority, by problem. Cut-off responses are cast without an answer."""
    rollout = sample(engine, asked, [s + 1 for s in seeds[: len(asked)]], VOTES, sizes.max_tokens, _answer)
    equal = verified_equivalence()
    mean, majority, tokens = [], [], []
    for problem, group, row in zip(asked, rollout.groups, rollout.rewards_BG.tolist(), strict=True):
        texts = [text_of(r) if r[-1] == tk.END else None for r in group.responses]
        answers = [None if t is None else equal.find(problem, t) for t in texts]
        ballot = vote(answers, lambda a, b, p=problem: equal.same(p, a, b))  # type: ignore[misc]
        winner = ballot.groups[0].members[0] if ballot.groups else 0
        mean.append(sum(row) / len(row))
        majority.append(int(row[winner] >= 1 and bool(ballot.groups)))
        tokens.append(sum(map(len, group.responses)))
    found = {"vote_mean": mean, "vote": majority, "vote_tokens": tokens}
    return found | (_synthesised(engine, sizes, seeds, rollout) if synthesis else {})


def _synthesised(engine: Engine, sizes: Sizes, seeds: Sequence[int], rollout: Rollout) -> dict[str, Any]:
    """PaCoRe [15] at as many trajectories as the vote: the conclusions of all samples but the last are read, and one
    trajectory more is written. The model was never trained to read any."""
    reading = []
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        ended = [text_of(r) for r in group.responses[:-1] if r[-1] == tk.END]
        messages = [text for full in ended if (text := full.rpartition(THINK_END)[2].strip())]
        reading.append(replace(problem, prompt=synthesis_prompt(problem.messages, messages)[0].parts))
    last = sample(engine, reading, [s + 1 + VOTES for s in seeds[: len(reading)]], 1, sizes.max_tokens, _answer)
    spent = [sum(map(len, group.responses[:-1])) for group in rollout.groups]
    return {
        "pacore": [int(verdict.correct) for verdict in last.verdicts],
        "pacore_tokens": [before + own for before, own in zip(spent, last.lengths, strict=True)],
    }


def _digits_read(engine: Engine, sizes: Sizes) -> Mapping[str, Any]:
    """Single clean digits read right: position by position over strips of the dev split, greedy."""
    world = problems.world("image")
    asked = [
        world.problem(i, split="dev", level="clean", task="read", modality="image") for i in range(max(20, sizes.dev))
    ]
    rollout = sample(engine, asked, [0] * len(asked), 1, sizes.max_tokens, _answer, temperature=0.0)
    hits = total = 0
    for problem, group in zip(asked, rollout.groups, strict=True):
        answer = text_of(group.responses[0]).rpartition("</think>")[2]
        hits += sum(a == b for a, b in zip(answer, problem.answer, strict=False))
        total += len(problem.answer)
    return {"hits": hits, "n": total, "value": hits / total}
