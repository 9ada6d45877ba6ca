"""A judge that says what a test wants, and what it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from consilience.policy.scripted import Reply, ScriptedPolicy
from consilience.problem import Problem, Text
from consilience.verify.judges import JudgeModel, PreferencePair


def says(*replies: Reply | str, **options: object) -> JudgeModel:
    """A judge that gives these replies one after the other, the last one for ever."""
    left = list(replies)
    policy = ScriptedPolicy(lambda _, __: left.pop(0) if len(left) > 1 else left[0], name="judge")
    return JudgeModel(policy, **options)  # type: ignore[arg-type]


def asked(model: JudgeModel) -> int:
    assert isinstance(model.policy, ScriptedPolicy)
    return model.policy.calls


def a_pair(label: str = "A", golden: Sequence[str] = ("A is right.",), name: str = "1") -> PreferencePair:
    return PreferencePair(name, (("user", "q"),), "first", "second", label, tuple(golden))  # type: ignore[arg-type]


def problem(answer: str = "7", kind: str = "integer", question: str = "How many?") -> Problem:
    return Problem("p", "w", "t", "text", (Text(question),), answer, kind)  # type: ignore[arg-type]
