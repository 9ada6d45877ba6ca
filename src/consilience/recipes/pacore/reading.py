"""Reading what was measured: points of a curve, pairs, differences and slopes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilience.recipes.pacore.arms import ONE
from consilience.stats import Estimate, discordant, doubling_slope, paired_difference, t_interval

EQUAL = 0.05
"""Relative difference in generated tokens up to which two simulated arms cost the same."""

Record = Mapping[str, Any]
Evaluations = Mapping[tuple[int, str], Mapping[str, Record]]
"""(seed, part) → point's name → record of `measure`."""


def curve(records: Mapping[str, Record], arm: str) -> list[Record]:
    """The points of an arm with one round before the last, by rising K."""
    found = [record for record in records.values() if record["arm"] == arm and not record["schedule"]]
    return sorted(found, key=lambda record: int(record["width"]))


def widest(records: Mapping[str, Record], a: str, b: str) -> tuple[Record, Record] | None:
    """The records of two arms at the largest number of trajectories both have; a single trajectory pairs with any."""
    left, right = (sorted((r for r in records.values() if r["arm"] == arm), key=_reach) for arm in (a, b))
    for one in reversed(left):
        for other in right:
            if b == ONE or one["width"] == other["width"]:
                return one, other
    return None


def _reach(record: Record) -> tuple[int, str]:
    return int(record["width"]), str(record["schedule"])


def difference(a: Record, b: Record) -> Estimate:
    """Accuracy of a minus accuracy of b on the same problems, with Tango's interval (McNemar's test)."""
    only_a, only_b = discordant(a["right"], b["right"])
    return paired_difference(only_a, only_b, len(a["right"]))


def equal_cost(a: Record, b: Record) -> bool:
    """Whether two arms generated the same number of tokens, up to 5 %."""
    return abs(sum(a["tokens"]) / sum(b["tokens"]) - 1) <= EQUAL


def slope(line: Sequence[Record], seed: int) -> Estimate:
    """Change of accuracy for each doubling of K. line: records of one arm by rising K, two at least."""
    return doubling_slope([int(record["width"]) for record in line], [record["right"] for record in line], seed)


def over(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """One seed's estimate as it is, the mean of several with a t interval; as JSON."""
    return (estimates[0] if len(estimates) == 1 else t_interval([e.value for e in estimates])).to_json()
