"""Whole numbers added, subtracted and multiplied in text with a scratchpad: the paper's synthetic arithmetic (arXiv
2601.05593, App. C.1), scaled to a model that is trained from nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from consilience.problem import Message, Problem, Text
from consilience.protocols import Policy
from consilience.trace import THINK_END
from consilience.worlds.setting import belongs, generator

OPERATIONS = "+-*"
"""The paper's modular exponentiation is left out: its scratchpad is longer than everything else."""


def addition(a: int, b: int) -> str:
    """Column by column from the units: `digit+digit+carry=sum`; the columns as `7+8+0=15`, apart by spaces."""
    return _columns(a, b, 1)


def subtraction(a: int, b: int) -> str:
    """Column by column from the units, a ≥ b: `digit-digit-borrow=difference`, negative where the next one lends."""
    return _columns(a, b, -1)


def _columns(a: int, b: int, sign: int) -> str:
    steps, carry, mark = [], 0, "+" if sign > 0 else "-"
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + sign * (y + carry)
        steps.append(f"{x}{mark}{y}{mark}{carry}={total}")
        carry = total // 10 if sign > 0 else int(total < 0)
    return " ".join(steps)


def multiplication(a: int, b: int) -> str:
    """One partial product for each digit of b from the units, and the sum so far: `a*digit=product:sum`."""
    steps, total = [], 0
    for place, digit in enumerate(reversed(str(b))):
        partial = a * int(digit) * 10**place
        total += partial
        steps.append(f"{a}*{digit}{'0' * place}={partial}:{total}")
    return " ".join(steps)


SCRATCHPADS = {"+": addition, "-": subtraction, "*": multiplication}


@dataclass(frozen=True)
class Arithmetic:
    """Problems such as `48213*607`. digits: of an operand at most; the larger operand has at least one less."""

    digits: int

    def problem(self, number: int, split: str) -> Problem:
        """Problem `number` of a split; no two splits share one."""
        rng = generator("arithmetic", split, self.digits, number)
        while True:
            sign = rng.choice(OPERATIONS)
            a, b = self._operands(rng)
            if belongs(split, (sign, a, b)):
                break
        answer = str({"+": a + b, "-": a - b, "*": a * b}[sign])
        return Problem(
            f"arithmetic/{split}/{self.digits}/{number}",
            "arithmetic",
            "arithmetic",
            "text",
            (Text(f"{a}{sign}{b}"),),
            answer,
            "integer",
            demonstration=SCRATCHPADS[sign](a, b) + THINK_END + answer,
            split=split,
            seed=number,
            truth={"level": f"{self.digits} digits"},
        )

    def _operands(self, rng: random.Random) -> tuple[int, int]:
        a = rng.randrange(10 ** max(0, self.digits - 2), 10**self.digits)
        b = rng.randrange(1, 10 ** rng.randint(1, self.digits))
        return max(a, b), min(a, b)

    def look(self, messages: Sequence[Message], seed: int) -> tuple[Message, ...]:
        """All of a conversation: trajectories differ by their sampling alone."""
        return tuple(messages)

    def seen(self, policy: Policy) -> Policy:
        """The policy as it is."""
        return policy
