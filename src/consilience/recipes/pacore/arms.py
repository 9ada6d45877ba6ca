"""The schedules that are compared, as points of curves: an arm and the trajectories before the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consilience.protocols import Strategy
from consilience.reason import strategy
from consilience.reason.pacore import parse_schedule
from consilience.reason.synthesis import SynthesisTemplate
from consilience.recipes.pacore.sizes import Sizes
from consilience.recipes.pacore.training_sizes import TrainingSizes
from consilience.store import Store

ONE, VOTE, PARALLEL, SEQUENTIAL, PASTED, PLACES = "one", "vote", "parallel", "sequential", "pasted", "places"
NAMES = {
    ONE: "one trajectory",
    VOTE: "plain vote",
    PARALLEL: "parallel [K]",
    SEQUENTIAL: "sequential [1, …, 1]",
    PASTED: "parallel without compaction",
    PLACES: "vote on every place of the answer",
}


@dataclass(frozen=True)
class Point:
    """One place on a curve. width: trajectories before the last; the vote counts that many and one more, so that
    all arms of a width generate as many trajectories. schedule: of two rounds, "" for one."""

    arm: str
    width: int = 0
    schedule: str = ""

    @property
    def name(self) -> str:
        """As stages and files are named: `parallel-16`, `parallel-32-4`."""
        words = (self.arm, *(self.schedule.split(",") if self.schedule else [str(self.width)]))
        return "-".join(words) if self.width else self.arm

    @property
    def trajectories(self) -> int:
        """How many are generated in all."""
        return self.width + 1

    def strategy(self, store: Store | None, template: SynthesisTemplate | None = None, **settings: Any) -> Strategy:
        """The strategy of this point; trajectories of the problem alone come from the store where they are there."""
        match self.arm:
            case "one":
                return strategy("direct", store=store, **settings)
            case "vote":
                return strategy(f"vote:{self.trajectories}", store=store, **settings)
            case "sequential":
                return strategy(f"sequential:{self.width}", store=store, template=template, **settings)
        options = {"compaction": "none" if self.arm == PASTED else "conclusion", "template": template, **settings}
        return strategy(f"pacore:{self.schedule or self.width}", store=store, **options)


def points(sizes: Sizes, arms: tuple[str, ...] = ()) -> list[Point]:
    """The points of a run, cheap ones first; arms: only these, all by default."""
    wanted = arms or (VOTE, PARALLEL, *((SEQUENTIAL, PASTED) if sizes.ablations else ()))
    found = [Point(ONE), *(Point(arm, width) for width in sizes.widths for arm in wanted)]
    if sizes.deep:
        total = sum(parse_schedule(sizes.deep))
        found += [Point(arm, total, sizes.deep if arm == PARALLEL else "") for arm in wanted if arm in (VOTE, PARALLEL)]
    return found


def voting_points(sizes: TrainingSizes) -> list[Point]:
    """The baselines: one trajectory of the reader that never saw references, and its votes."""
    total = sum(parse_schedule(sizes.k_deep))
    widths = [*sizes.widths, *([total] if total else [])]
    return [Point(ONE), *(Point(arm, width) for arm in (VOTE, PLACES) for width in widths)]


def synthesis_points(sizes: TrainingSizes, trained: bool) -> list[Point]:
    """The points of a model before or after its training in synthesis."""
    found = [Point(ONE), *(Point(PARALLEL, width) for width in sizes.widths)]
    if sizes.k_deep:
        found.append(Point(PARALLEL, sum(parse_schedule(sizes.k_deep)), sizes.k_deep))
    return found + ([Point(SEQUENTIAL, sizes.chain)] if trained and sizes.chain else [])
