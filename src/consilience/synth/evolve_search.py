"""The search of one round of self-evolution, resumable inside and between its passes (rStar-Math, arXiv 2501.04519,
§3.4 and Appendix A.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consilience.errors import InputError, PolicyError
from consilience.problem import Problem
from consilience.reason.tree import Tree, TreeSettings
from consilience.reason.tree_files import load_trees, save_trees
from consilience.reason.tree_search import NoSteps, Search

SAVE_EVERY = 25
"""Locksteps between two saves of a growing set of trees."""
FIRST, SECOND = "first.json", "second.json"


@dataclass(frozen=True)
class Round:
    """How a round searches. rollouts, width: of every problem's first pass. more, more_width: rollouts and candidates
    of the second pass, of problems without a right answer; 0: none. trees: of a problem, with samples of their own.
    scored: whether new steps start with the value of the last round's preference model (eq. 3), or with none (eq. 2).

    Raises:
        InputError: a number out of range.
    """

    rollouts: int
    width: int
    more: int = 0
    more_width: int = 0
    trees: int = 1
    scored: bool = False

    def __post_init__(self) -> None:
        if min(self.rollouts, self.width, self.trees) < 1 or min(self.more, self.more_width) < 0:
            raise InputError("a round needs at least one rollout, candidate and tree, and no negative number.")


PUBLISHED = (
    Round(8, 5),
    Round(16, 8, more=16, more_width=8),
    Round(16, 8, more=16, more_width=8, scored=True),
    Round(64, 16, more=128, more_width=16, trees=2, scored=True),
)
"""The four rounds of the paper: the first by a large general model, without values on steps in the first two."""


async def search_round(
    search: Search,
    problems: Mapping[str, Problem],
    plan: Round,
    right: Callable[[str, str], bool],
    folder: Path,
    header: Mapping[str, Any],
    after: Callable[[Sequence[Tree]], None] | None = None,
) -> list[Tree]:
    """Grow the trees of a round, kept in `folder`: first.json, and second.json of a second pass.

    What is found in the folder is gone on with. A killed round ends in the same trees as an unbroken one if policy and
    scorer are deterministic. The second pass keeps the trees of the first and gives its problems further ones.

    Args:
        search: its settings of the tree are taken, but for rollouts and width, which are the plan's; a scorer is
            dropped where the plan wants no values on steps.
        right: (problem id, answer) → whether it is right; decides who has a second pass.
        header: what the trees depend on, such as round and seed. after: called after each lockstep.

    Returns:
        The trees of all problems, first pass before second. One whose policy gave nothing has `error` set.

    Raises:
        PolicyError: the policy gave not a single step for any problem.
        InputError: the folder holds another round's trees.
    """
    search = replace(search, scorer=search.scorer if plan.scored else None)
    first = [Tree.of(p.id, p.question, key) for p in problems.values() for key in range(plan.trees)]
    settings = replace(search.settings, rollouts=plan.rollouts, width=plan.width)
    trees = await grow_saved(replace(search, settings=settings), problems, first, folder / FIRST, header, after)
    if not plan.more:
        return trees
    solved = {t.problem_id for t in trees if any(right(t.problem_id, node.answer) for node in t.answers)}
    rest = {name: problem for name, problem in problems.items() if name not in solved}
    if not rest:
        return trees
    second = [Tree.of(p.id, p.question, plan.trees + key) for p in rest.values() for key in range(plan.trees)]
    settings = TreeSettings(**{**vars(settings), "rollouts": plan.more, "width": plan.more_width or plan.width})
    again = replace(search, settings=settings)
    try:
        return trees + await grow_saved(again, rest, second, folder / SECOND, header, after)
    except NoSteps:  # the first pass had steps: these problems alone stay without
        return trees


async def grow_saved(
    search: Search,
    problems: Mapping[str, Problem],
    trees: Sequence[Tree],
    file: Path,
    header: Mapping[str, Any],
    after: Callable[[Sequence[Tree]], None] | None = None,
) -> list[Tree]:
    """Grow trees, or those of `file` where it exists, and save them every `SAVE_EVERY` locksteps and at the end.

    Raises:
        PolicyError: no tree got a single step. InputError: the file was written under another header.
    """
    stamp = {**header, "tree": vars(search.settings)}
    grown = _found(file, stamp) or list(trees)
    steps = 0

    def save(current: Sequence[Tree]) -> None:
        nonlocal steps
        steps += 1
        if after is not None:
            after(current)
        if steps % SAVE_EVERY == 0:
            save_trees(file, current, stamp)

    if not grown:
        raise PolicyError("a round of search needs at least one problem.")
    file.parent.mkdir(parents=True, exist_ok=True)
    await search.grow(grown, problems, save)
    save_trees(file, grown, stamp)
    return grown


def _found(file: Path, stamp: Mapping[str, Any]) -> list[Tree]:
    return load_trees(file, stamp) if file.exists() else []


def load_round(folder: Path) -> list[Tree]:
    """The trees that `search_round` left in a folder, first pass before second.

    Raises:
        InputError: there are none, or a file is damaged.
    """
    second = folder / SECOND
    return load_trees(folder / FIRST) + (load_trees(second) if second.exists() else [])
