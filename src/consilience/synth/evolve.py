"""Self-evolution from search trees: which trajectories a policy learns from, and which pairs of steps a process
preference model learns from (rStar-Math, arXiv 2501.04519, §3.3–3.4). Pure functions of judged trees.

A tree is judged when its answers were worth +1 or −1 while it grew (`reason.tree_search.Search(judge=…)`); whether an
answer is right is asked again here, by a function, so that released trees and others serve as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from consilience.errors import InputError
from consilience.reason.tree import TOO_MANY_ERRORS, Node, Tree
from consilience.verify.grounding import edit_distance

Right = Callable[[str], bool]
"""Whether a final answer is right."""
Difficulty = Literal["easy", "medium", "hard"]

KEEP = 2
MANY = 4
MARGIN = 0.5
DISTANCE = 20


# trajectories


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A path from the first step to a leaf. right: its answer is; dead: it has none."""

    nodes: tuple[Node, ...]
    right: bool
    dead: bool

    @property
    def text(self) -> str:
        return "".join([node.text for node in self.nodes])

    @property
    def answer(self) -> str:
        return self.nodes[-1].answer

    @property
    def mean_q(self) -> float:
        """Mean of Q over the steps; what trajectories are ranked by."""
        return sum(node.q for node in self.nodes) / len(self.nodes)

    @property
    def min_q(self) -> float:
        return min(node.q for node in self.nodes)

    @property
    def failed(self) -> bool:
        """Whether the code of a step failed, as its mark or the word "error" in the text says."""
        return any(node.errors for node in self.nodes) or "error" in self.text.lower()


def trajectories(tree: Tree, right: Right) -> list[Trajectory]:
    """All paths of a tree to a leaf that ended, in the order of the tree; unfinished ones are none."""
    found = []
    for node in tree.root.walk():
        if node.terminal and not node.children and node.parent is not None:
            correct = not node.dead and right(node.answer)
            found.append(Trajectory(tuple(node.path()[1:]), correct, node.dead))
    return found


def select(found: Sequence[Trajectory], keep: int = KEEP) -> list[Trajectory]:
    """The right trajectories that a policy learns from: the `keep` of the highest mean Q, then the highest least Q.

    Those with a failed step are passed over. Of equally good ones the first.
    """
    good = [one for one in found if one.right and not one.failed]
    return sorted(good, key=lambda one: (-one.mean_q, -one.min_q))[: max(0, keep)]


def difficulty(found: Sequence[Trajectory]) -> Difficulty:
    """easy: all trajectories with an answer are right; hard: none is."""
    answered = [one.right for one in found if not one.dead]
    return "hard" if not any(answered) else "easy" if all(answered) else "medium"


def share_right(found: Sequence[Trajectory]) -> float:
    """The share of right ones among trajectories with an answer, 0 without any. The paper drops synthesised problems
    below 1/2: their reference answers are doubtful."""
    answered = [one for one in found if not one.dead]
    return sum(one.right for one in answered) / len(answered) if answered else 0.0


# pairs


@dataclass(frozen=True)
class Comparison:
    """Next steps after one prefix, the better and the worse, as texts.

    prefix: the solution so far. kept: pairs (positive, negative) by index that passed the filters. q_positive,
    q_negative: the steps' Q. whole: whole solutions are compared; the prefix is "", Q their mean Q.
    """

    prefix: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    kept: tuple[tuple[int, int], ...]
    q_positive: tuple[float, ...]
    q_negative: tuple[float, ...]
    whole: bool = False

    @property
    def factor(self) -> float:
        """Weight of a pair: 1 / (positives · negatives), counted before the filters."""
        return 1 / (len(self.positives) * len(self.negatives))

    @property
    def margins(self) -> tuple[float, ...]:
        """Q of the better step minus Q of the worse, a kept pair."""
        return tuple(self.q_positive[p] - self.q_negative[n] for p, n in self.kept)


@dataclass(frozen=True)
class PairRules:
    """margin: least difference of Q in a pair. distance: least edits, in characters, between its two steps; the
    published 20 suits steps of a few lines.

    Raises:
        InputError: one is negative.
    """

    margin: float = MARGIN
    distance: int = DISTANCE

    def __post_init__(self) -> None:
        if self.margin < 0 or self.distance < 0:
            raise InputError("margin and distance of a pair must be 0 or more.")


@dataclass(frozen=True)
class _Below:
    """Below a node: right and wrong leaves, mean Q of the best right and of the worst wrong path through it."""

    rights: int
    wrongs: int
    best: float
    worst: float


def comparisons(tree: Tree, right: Right, rules: PairRules | None = None) -> list[Comparison]:
    """The pairs of one tree, breadth first; a tree with only right or only wrong leaves gives none.

    At each step that leads to both outcomes: of its children with right leaves below the two of highest Q, of those
    with wrong leaves the two of lowest (up to four where the other side has but one). A pair is kept if its margin and
    distance suffice and the mean Q of the best path through the better step exceeds that of the worst path through the
    other. Leaves whose code failed are no wrong leaves.
    """
    rules = rules or PairRules()
    below = _below(tree.root, right)
    waiting, found = [tree.root], []
    while waiting:
        node = waiting.pop(0)
        if not (below[node.tag].rights and below[node.tag].wrongs):
            continue
        waiting.extend(node.children)
        better = sorted((c for c in node.children if below[c.tag].rights), key=lambda c: -c.q)
        worse = sorted((c for c in node.children if below[c.tag].wrongs), key=lambda c: c.q)
        positives, negatives = _sides(better, worse)
        kept = tuple(
            (i, j)
            for i, p in enumerate(positives)
            for j, n in enumerate(negatives)
            if p is not n and below[p.tag].best > below[n.tag].worst and _apart(p.q, n.q, p.text, n.text, rules)
        )
        if kept:
            texts = tuple(c.text for c in positives), tuple(c.text for c in negatives)
            values = tuple(c.q for c in positives), tuple(c.q for c in negatives)
            found.append(Comparison(node.path_text(), *texts, kept, *values))
    return found


def _sides(better: list[Node], worse: list[Node]) -> tuple[list[Node], list[Node]]:
    return better[: MANY if len(worse) == 1 else KEEP], worse[: MANY if len(better) == 1 else KEEP]


def _apart(q_better: float, q_worse: float, better: str, worse: str, rules: PairRules) -> bool:
    margin = q_better - q_worse
    return margin > 0 and margin >= rules.margin and edit_distance(better, worse) >= rules.distance


def _below(root: Node, right: Right) -> dict[str, _Below]:
    """By tag, children before parents."""
    sums, depths = {root.tag: 0.0}, {root.tag: 0}
    order = list(root.walk())
    for node in order[1:]:
        assert node.parent is not None
        sums[node.tag] = sums[node.parent.tag] + node.q
        depths[node.tag] = depths[node.parent.tag] + 1
    found: dict[str, _Below] = {}
    for node in reversed(order):
        if node.children:
            parts = [found[child.tag] for child in node.children]
            found[node.tag] = _Below(
                sum(p.rights for p in parts),
                sum(p.wrongs for p in parts),
                max(p.best for p in parts),
                min(p.worst for p in parts),
            )
            continue
        mean = sums[node.tag] / max(1, depths[node.tag])
        correct = node.terminal and not node.dead and right(node.answer)
        wrong = node.terminal and not correct and node.answer != TOO_MANY_ERRORS
        found[node.tag] = _Below(
            int(correct), int(wrong), mean if correct else float("-inf"), mean if wrong else float("inf")
        )
    return found


def solution_comparison(found: Sequence[Trajectory], rules: PairRules | None = None) -> Comparison | None:
    """Whole solutions of one problem, for its last step: the two right ones of the highest mean Q against the two wrong
    ones of the lowest. Dead ends are left out. None where a side is empty, or nothing is far enough apart.

    The margin is asked of outcomes (+1 against −1) and so always holds.
    """
    rules = rules or PairRules()
    right = sorted((t for t in found if t.right), key=lambda t: -t.mean_q)[:KEEP]
    wrong = sorted((t for t in found if not t.right and not t.dead), key=lambda t: t.mean_q)[:KEEP]
    kept = tuple(
        (i, j)
        for i, p in enumerate(right)
        for j, n in enumerate(wrong)
        if edit_distance(p.text, n.text) >= rules.distance
    )
    if not kept:
        return None
    texts = tuple(t.text for t in right), tuple(t.text for t in wrong)
    return Comparison("", *texts, kept, tuple(t.mean_q for t in right), tuple(t.mean_q for t in wrong), True)


# accounts


@dataclass(frozen=True)
class Yield:
    """What a round of search gave. coverage: share of problems with a right trajectory; difficulty: problems by kind;
    trajectories, right: counts of those that ended; tokens: generated."""

    problems: int
    coverage: float
    difficulty: dict[Difficulty, int]
    trajectories: int
    right: int
    tokens: int


def yield_of(trees: Sequence[Tree], right: Callable[[str, str], bool]) -> Yield:
    """The account of a round.

    Args:
        right: (problem id, answer) → whether it is right.
    """
    by_problem: dict[str, list[Trajectory]] = {}
    for tree in trees:
        found = trajectories(tree, lambda answer, name=tree.problem_id: right(name, answer))  # type: ignore[misc]
        by_problem.setdefault(tree.problem_id, []).extend(found)
    kinds = Counter(difficulty(found) for found in by_problem.values())
    every = [one for found in by_problem.values() for one in found]
    solved = sum(any(one.right for one in found) for found in by_problem.values())
    return Yield(
        len(by_problem),
        solved / max(1, len(by_problem)),
        {kind: kinds[kind] for kind in ("easy", "medium", "hard")},
        len(every),
        sum(one.right for one in every),
        sum(tree.tokens for tree in trees),
    )
