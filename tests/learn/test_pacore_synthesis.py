"""Training the synthesis: the text that is trained is the text of inference, rewards see conclusions, stages resume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from learn_helpers import bits, learner, micro

from consilience.engine import Engine
from consilience.errors import InputError
from consilience.learn.batch import Group
from consilience.learn.pacore_data import Episode, EpisodeConfig, Pool, build_pools
from consilience.learn.rl import RlConfig
from consilience.learn.rollout import Rollout, text_of
from consilience.learn.state import critic_of
from consilience.learn.synthesis import SynthesisConfig, roll_out, synthesis_numbers, train_synthesis
from consilience.learn.synthesis_format import Trajectories, format_groups, trajectories
from consilience.nn import tokenizer as tk
from consilience.nn.template import Prompt, render, response_tokens
from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Message, Problem, Text
from consilience.protocols import Sampling
from consilience.reason import solve, strategy
from consilience.reason.synthesis import SynthesisTemplate
from consilience.runs import Run
from consilience.store import Store
from consilience.verdict import Verdict

SHORT = SynthesisTemplate(
    "{{ original_prompt }}{% for r in ref_responses %}\nReference {{ loop.index }}:\n{{ r }}{% endfor %}"
)


def problem(number: int = 0) -> Problem:
    return Problem(f"p{number}", "w", "t", "text", (Text(f"{number}+1?"),), str(number + 1), "integer")


def right(p: Problem, response: str, truncated: bool) -> Verdict:
    return Verdict(float(response.rpartition("</think>")[2].strip() == p.answer), "")


def pool(number: int, *messages: str) -> Pool:
    scores = tuple(float(m == str(number + 1)) for m in messages)
    return Pool(problem(number), messages, scores, len(messages))


def episode(shown: Pool, picked: Sequence[int], samples: int = 2) -> Episode:
    return Episode(shown, tuple(picked), shown.prompt(picked, SHORT), samples)


# the text that is trained is the text of inference


def test_a_synthesis_call_of_inference_reads_the_prompt_of_an_episode_with_the_same_messages() -> None:
    read: list[tuple[Message, ...]] = []

    def script(messages: Sequence[Message], seed: int) -> Reply:
        read.append(tuple(messages))
        return Reply(f"thought</think>answer {len(read)}")

    policy = ScriptedPolicy(script)
    asyncio.run(solve(problem(), policy, strategy("pacore:3", template=SHORT), Sampling(seed=0)))
    *cold, last = read
    assert all(prompt == problem().messages for prompt in cold)
    order = [int(line.removeprefix("answer ")) for line in last[0].text.splitlines() if line.startswith("answer ")]
    cached = pool(0, "answer 1", "answer 2", "answer 3")
    assert last == episode(cached, [i - 1 for i in order]).prompt
    assert render(last).tokens == render(cached.prompt([i - 1 for i in order], SHORT)).tokens


def test_sampled_tokens_are_the_trained_tokens_and_every_prompt_is_looked_at_once() -> None:
    looks: list[int] = []

    def look(messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
        looks.append(seed)
        return (Message.user(messages[0].text + "!"),)

    drawn = [episode(pool(n, "1", "2"), (1, 0)) for n in range(3)]
    engine = Engine(micro(), rows=8)
    found = roll_out(engine, drawn, ("k",), 6, right, look=look)
    again = roll_out(engine, drawn, ("k",), 6, right, look=look)
    assert looks[:3] == looks[3:]
    assert len(set(looks)) == 3
    assert [g.prompt.tokens for g in found.groups] == [render(look(e.prompt, 0)).tokens for e in drawn]
    assert [g.responses for g in found.groups] == [g.responses for g in again.groups]
    assert all(len(g.responses) == 2 and all(0 < len(r) <= 6 for r in g.responses) for g in found.groups)
    assert found.rewards_BG.shape == (3, 2)


def test_the_reward_is_of_the_conclusion_and_what_was_cut_off_earns_nothing() -> None:
    engine = Engine(micro(), rows=8)
    seen: list[str] = []

    def always(p: Problem, response: str, truncated: bool) -> Verdict:
        seen.append(response)
        return Verdict(1.0, "")

    found = roll_out(engine, [episode(pool(0, "1"), (0,), samples=4)], ("k", 1), 3, always)
    ended = [r for r in found.groups[0].responses if r[-1] == tk.END and text_of(r).rpartition("</think>")[2].strip()]
    assert float(found.rewards_BG.sum()) == len(ended) == len(seen)
    assert all(response.startswith("</think>") for response in seen)


def test_a_prompt_without_room_is_refused() -> None:
    engine = Engine(micro(max_context=64), rows=4)
    with pytest.raises(InputError, match="leaves no answer"):
        roll_out(engine, [episode(pool(0, *(["12345678"] * 8)), range(8))], ("k",), 4, right)


# numbers


def rollout(rewards: Sequence[Sequence[float]], text: str = "x") -> Rollout:
    responses = tuple(tuple(response_tokens(text)) for _ in rewards[0])
    groups = tuple(Group(Prompt((1, 2)), responses) for _ in rewards)
    verdicts = tuple(Verdict(r, "") for row in rewards for r in row)
    return Rollout(tuple(problem(i) for i in range(len(rewards))), groups, (), (True,) * len(verdicts), verdicts)


def test_numbers_of_an_iteration_by_hand() -> None:
    drawn = [episode(pool(0, "1", "7"), (0, 1)), episode(pool(1, "8", "9"), (0, 1))]
    numbers = synthesis_numbers(drawn, rollout([[1, 1], [1, 0]], "Ref 1 and reference"))
    assert numbers["reward"] == numbers["reward/synthesis"] == 0.75
    assert numbers["message_accuracy"] == 0.25
    assert (numbers["hopeless"], numbers["emergent"]) == (0.5, 0.5)
    assert numbers["cross_checks"] == 2
    assert numbers["truncated"] == 0
    free = synthesis_numbers([episode(pool(0, "1"), ())], rollout([[1, 0]]))
    assert free["reward/free"] == 0.5
    assert "reward/synthesis" not in free


# the loop


def train(directory: Path, steps: int, *, kill: int | None = None) -> dict[str, bytes]:
    """One process's life; dies after `kill` iterations."""
    model = micro()
    critic = critic_of(model, torch.Generator().manual_seed(1))
    learners = {"model": learner(model), "critic": learner(critic)}
    config = SynthesisConfig(steps, EpisodeConfig((1, 2), 2, 2, 0.34), 4, 1e-2, 1e-2, RlConfig(micro=1), save_every=2)
    pools = [pool(0, "1", "5", "1"), pool(1, "2", "4", "9"), pool(2, "3", "3", "3")]

    def check(step: int, engine: Engine) -> dict[str, float]:
        if kill is not None and step + 1 == kill:
            raise KeyboardInterrupt
        return {"seen": step}

    make = Run.open if (directory / "config.json").exists() else Run.create
    coin = lambda p, response, truncated: Verdict(float(len(response) % 2), "")  # noqa: E731
    with make(directory, {"recipe": "test"}) as run:
        train_synthesis(run, "ppo", learners, pools, coin, config, 0, template=SHORT, check=check)
    return bits(model) | {f"critic {name}": value for name, value in bits(critic).items()}


def test_a_killed_stage_ends_in_the_same_weights(tmp_path: Path) -> None:
    from consilience.files import read_jsonl

    whole = train(tmp_path / "whole", 5)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", 5, kill=4)
    assert train(tmp_path / "killed", 5) == whole

    def lines(name: str) -> list[dict[str, float]]:
        return [{k: v for k, v in r.items() if k != "step_s"} for r in read_jsonl(tmp_path / name / "metrics.jsonl")]

    assert lines("killed") == lines("whole")
    assert [line["seen"] for line in lines("whole")] == [0, 1, 2, 3, 4]
    assert all(line["clip_fraction"] == 0 for line in lines("whole"))  # strictly on-policy
    free = [line["step"] for line in lines("whole") if "reward/free" in line]
    assert free == [3]  # a third of the iterations shows no messages
    assert whole != train(tmp_path / "shorter", 1)


# the form of the prompt


def cached(number: int, n: int = 5) -> Trajectories:
    texts = tuple(f"own {i}</think>{number}{i}" for i in range(n))
    return Trajectories(pool(number, *(f"{number}{i}" for i in range(n))), texts, tuple(range(100, 100 + n)))


def mark(messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
    return (Message.user(f"<look {seed}>{messages[0].text}"),)


def test_the_form_is_shown_with_the_trajectory_of_the_look_and_one_of_the_references() -> None:
    fields = {"prompts": 4, "sizes": (2, 3), "free": 0.25, "patch": None, "template": SHORT, "look": mark}
    pools = [cached(1), cached(2)]
    steps = [format_groups(pools, 7, step, **fields) for step in range(4)]  # type: ignore[arg-type]
    assert steps[1][0].responses == format_groups(pools, 7, 1, **fields)[0].responses  # type: ignore[arg-type]
    for group in (g for groups in steps[:3] for g in groups):
        text = tk.decode(group.prompt.tokens)
        own, copied = (tk.decode(r[:-1]) for r in group.responses)
        seed = int(text.partition("<look ")[2].partition(">")[0])
        assert own.startswith(f"own {seed - 100}<")
        messages = text.replace("<|end|>", "\n").split("Reference ")[1:]
        shown = [m.split("\n")[1] for m in messages]
        assert 2 <= len(shown) == len(set(shown)) <= 3
        assert copied.rpartition("</think>")[2] in shown
        assert copied.partition("</think>")[0] == own.partition("</think>")[0]
        assert own.rpartition("</think>")[2] not in shown
    assert all("Reference" not in tk.decode(g.prompt.tokens) and len(g.responses) == 1 for g in steps[3])
    with pytest.raises(InputError, match="no problem has two finished trajectories"):
        format_groups([], 0, 0, **fields)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="two messages"):
        format_groups([cached(0, 1)], 0, 0, **fields)  # type: ignore[arg-type]


def test_trajectories_stand_beside_their_messages_with_their_seeds(tmp_path: Path) -> None:
    asked: list[int] = []

    def script(messages: Sequence[Message], seed: int) -> Reply:
        asked.append(seed)
        return Reply("cut off", finish="length") if seed == 11 else Reply(f"t{seed}</think>{seed}")

    policy, sampling = ScriptedPolicy(script), Sampling(seed=10)

    async def both(store: Store) -> tuple[list[Pool], list[Trajectories]]:
        built = [p async for p in build_pools([problem()], policy, sampling, store, right, responses=3)]
        found = trajectories([problem()], policy, sampling, store, right, responses=3)
        return built, [t async for t in found]

    with Store(tmp_path / "s.db") as store:
        built, found = asyncio.run(both(store))
    assert sorted(asked) == [10, 11, 12]
    assert built == [found[0].pool]
    assert built[0].messages == ("10", "12")
    assert found[0].texts == ("t10</think>10", "t12</think>12")
    assert found[0].seeds == (10, 12)
    assert found[0].pool.attempts == 3
