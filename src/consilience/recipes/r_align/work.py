"""The units of a run: one part of the study with one seed. A unit takes seconds; a killed one begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from consilience.recipes.r_align import bandit, texts
from consilience.recipes.r_align.bandit import GenRM, MetaJudge, Reward
from consilience.recipes.r_align.sizes import AGREEMENTS, CHECKPOINTS, Sizes
from consilience.request import Progress
from consilience.runs import Run, start
from consilience.units import Unit, directory_of
from consilience.verify.judges import JudgeModel, MetaState, cohen_kappa, predicts
from consilience.verify.judges.study import Audited, audit, controls, generation_failures, judged, order_check
from consilience.worlds.setting import entropy

RECIPE = "r_align"
LOG_EVERY = 25
SYSTEMS = ("untrained", "format", "label", "align")
NOISY = MetaJudge()
LETTERS = {"Correct": "C", "Incorrect": "I", "SkippedLabelMismatch": "S", "CallFail": "F", "ParseFail": "P"}
FAILING = 0.05
"""Share of unreadable replies where failures are injected, to show how they are accounted for."""


def work(run: Path, unit: Unit, progress: Progress) -> None:
    """Carry out one unit: `{"seed", "part", "sizes"}`."""
    sizes, seed, part = Sizes(**unit.task["sizes"]), int(unit.task["seed"]), str(unit.task["part"])
    config = {"recipe": RECIPE, "unit": unit.name, **unit.task}
    directory = directory_of(run, unit.name)
    with start(directory.parent, unit.name, config, out=directory, resume=True, keep=1) as own:
        if part == "decoder":
            from consilience.recipes.r_align import decoder  # the one part that needs torch

            decoder.work(own, sizes, seed, progress)
        elif not own.done(part):
            with own.stage(part):
                own.write_json("evaluation.json", _PARTS[part](own, sizes, seed, progress))
        own.finish()


def generator(*key: object) -> np.random.Generator:
    """A generator for one purpose of one seed."""
    return np.random.default_rng(entropy("r_align", *key) % 2**63)


def training_of(sizes: Sizes) -> bandit.Training:
    return bandit.Training(sizes.steps, sizes.pairs, sizes.rollouts, sizes.step)


def trained(
    own: Run,
    reward: Reward,
    draw: bandit.Draw,
    sizes: Sizes,
    key: tuple[object, ...],
    progress: Progress,
    *,
    meta: MetaJudge = NOISY,
    keep: Iterable[int] = (),
) -> dict[int, GenRM]:
    """Reward models after the steps in `keep` and after the last one; the course goes to metrics.jsonl.

    Args:
        key: (part, seed, reward, …): seeds the course, and names it in the metrics.
    """
    name, dev = "/".join(str(k) for i, k in enumerate(key) if i != 1), draw(generator("dev", *key), 500)
    wanted, kept = {*keep, sizes.steps}, {}
    progress.start(name, sizes.steps)
    for step, model, mean in bandit.course(generator("train", *key), reward, draw, training_of(sizes), meta):
        if step in wanted:
            kept[step] = model
        if step % LOG_EVERY == 0 or step == sizes.steps:
            share = bandit.format_share(model, dev)
            own.log(step, **{f"{name}/reward": mean, f"{name}/format_share": share})
            progress.update(step, reward=mean, format_share=share)
    progress.done()
    return kept


def drawing(agreement: float) -> bandit.Draw:
    """Bandit pairs at an agreement of format and label."""
    return lambda rng, n: bandit.draw_pairs(rng, n, agreement)


def arms(own: Run, sizes: Sizes, seed: int, progress: Progress, draw: bandit.Draw, part: str) -> dict[str, GenRM]:
    """The four reward models that the core parts compare."""
    found = {"untrained": GenRM.fresh(), "format": GenRM.format_prior()}
    rewards: tuple[Reward, ...] = ("label", "align")
    for reward in rewards:
        found[reward] = trained(own, reward, draw, sizes, (part, seed, reward), progress)[sizes.steps]
    return found


def run_bandit(own: Run, sizes: Sizes, seed: int, progress: Progress) -> dict[str, Any]:
    """Both rewards, scored on the same held-out pairs with the same draws, and an actor against each model."""
    models = arms(own, sizes, seed, progress, drawing(sizes.agreement), "bandit")
    held = bandit.draw_pairs(generator("held", seed), sizes.held, sizes.agreement)
    return {
        "states": {name: bandit.states(generator("judge", seed), model, held) for name, model in models.items()},
        "format_share": {name: bandit.format_share(model, held) for name, model in models.items()},
        "gold": {name: _gold(model, sizes, seed) for name, model in models.items()},
        "content_accuracy": bandit.content_accuracy(generator("content", seed), sizes.held),
    }


def _gold(model: GenRM, sizes: Sizes, seed: int) -> float:
    return bandit.actor_gold(generator("actor", seed), model, steps=sizes.actor_steps)


def run_phase(own: Run, sizes: Sizes, seed: int, progress: Progress) -> dict[str, Any]:
    """Label-only and rationale-aware training at every agreement of format and label."""
    points = []
    for agreement in AGREEMENTS:
        held = bandit.draw_pairs(generator("held", seed, agreement), sizes.held, agreement)
        point: dict[str, Any] = {"agreement": agreement}
        rewards: tuple[Reward, ...] = ("label", "align")
        for reward in rewards:
            key = ("phase", seed, reward, agreement)
            model = trained(own, reward, drawing(agreement), sizes, key, progress)[sizes.steps]
            point[reward] = {
                "states": bandit.states(generator("judge", seed), model, held),
                "format_share": bandit.format_share(model, held),
                "gold": _gold(model, sizes, seed),
            }
        points.append(point)
    return {"points": points, "content_accuracy": bandit.content_accuracy(generator("content", seed), 20 * sizes.held)}


def run_predictor(own: Run, sizes: Sizes, seed: int, progress: Progress) -> dict[str, Any]:
    """A population of reward models, what each scores and what an actor makes of it."""
    draw = drawing(sizes.agreement)
    held = bandit.draw_pairs(generator("held", seed), sizes.held, sizes.agreement)
    population = {"untrained": GenRM.fresh(), "format prior": GenRM.format_prior()}
    keep = [step for step in CHECKPOINTS if step < sizes.steps]
    rewards: tuple[Reward, ...] = ("label", "align")
    for reward in rewards:
        kept = trained(own, reward, draw, sizes, ("predictor", seed, reward), progress, keep=keep)
        population |= {f"{reward}, {step} steps": model for step, model in kept.items()}
    for name, meta in (("lax", MetaJudge(0.1, 0.3)), ("severe", MetaJudge(0.4, 0.05))):
        key = ("predictor", seed, f"align-{name}")
        population[f"align, {name} meta-judge"] = trained(own, "align", draw, sizes, key, progress, meta=meta)[
            sizes.steps
        ]
    systems: list[dict[str, Any]] = []
    for name, model in population.items():
        found = bandit.states(generator("judge", seed), model, held)
        accuracy, fidelity = 1 - found.count("S") / len(found), found.count("C") / len(found)
        gold = _gold(model, sizes, seed)
        systems.append({"name": name, "label_accuracy": accuracy, "fidelity": fidelity, "gold": gold})
    golds = [s["gold"] for s in systems]
    correlations = {
        metric: vars(predicts([s[metric] for s in systems], golds)) for metric in ("label_accuracy", "fidelity")
    }
    return {"systems": systems, "correlations": correlations}


def run_text(own: Run, sizes: Sizes, seed: int, progress: Progress) -> dict[str, Any]:
    """The S-Corr study on text pairs: every call goes through the judges' prompts and parsers."""
    pool = texts.as_pairs(texts.text_pairs(entropy("r_align", "pool", seed), sizes.pool, sizes.agreement))
    models = arms(own, sizes, seed, progress, lambda rng, n: texts.sampled(pool, rng, n), "text")
    held = [t.pair for t in texts.text_pairs(entropy("r_align", "text-held", seed), sizes.text_held, sizes.agreement)]
    return asyncio.run(_audited(own, models, held, sizes, seed, progress))


async def _audited(
    own: Run, models: Mapping[str, GenRM], held: list[Any], sizes: Sizes, seed: int, progress: Progress
) -> dict[str, Any]:
    meta = JudgeModel(texts.rule_meta_judge("rule"))
    second = JudgeModel(texts.rule_meta_judge("noisy rule", NOISY))
    judges = {name: JudgeModel(texts.simulated_genrm(model, f"simulated {name}")) for name, model in models.items()}
    found = {name: await audit(held, judge, meta, progress=progress) for name, judge in judges.items()}
    outputs = [item.output for item in found["align"]]
    exact = await controls(held, outputs, meta, seed=seed, repeats=sizes.repeats)
    noisy = await controls(held, outputs, second, seed=seed, repeats=sizes.repeats)
    order = await order_check(held, outputs, judges["align"], meta)
    again = await judged(held, outputs, second)
    decided = [(a.meta.state, b.meta.state) for a, b in zip(found["align"], again, strict=True) if a.meta.calls]
    failing = await audit(
        held,
        JudgeModel(texts.simulated_genrm(models["align"], "simulated align", fails=FAILING)),
        JudgeModel(texts.rule_meta_judge("failing rule", fails=FAILING)),
    )
    own.append("audited.jsonl", [item.to_json() for name in SYSTEMS for item in found[name]])
    return {
        "states": {**{name: letters(items) for name, items in found.items()}, "failing": letters(failing)},
        "generation_failures": generation_failures([item.output for item in failing]),
        "controls": {"shuffled": exact.shuffled.to_json(), "gold": exact.gold.to_json()},
        "noisy_controls": {"shuffled": noisy.shuffled.to_json(), "gold": noisy.gold.to_json()},
        "flips": {"exact": exact.flips, "noisy": noisy.flips},
        "kappa": cohen_kappa([str(a) for a, _ in decided], [str(b) for _, b in decided]),
        "order": {"compared": order.compared, "consistent": order.consistent, "refused": order.refused},
    }


def letters(items: Iterable[Audited]) -> str:
    """One letter an item: C, I, S (label wrong), F (call failed) or P (verdict unreadable)."""
    return "".join(LETTERS[str(item.meta.state)] for item in items)


def meta_states(found: str) -> list[MetaState]:
    """The inverse of `letters`."""
    back = {letter: MetaState(state) for state, letter in LETTERS.items()}
    return [back[letter] for letter in found]


_PARTS: Mapping[str, Callable[[Run, Sizes, int, Progress], dict[str, Any]]] = {
    "bandit": run_bandit,
    "text": run_text,
    "phase": run_phase,
    "predictor": run_predictor,
}
