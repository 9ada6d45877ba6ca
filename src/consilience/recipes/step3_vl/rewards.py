"""Perception rewards of STEP3-VL-10B (arXiv 2601.09668, §3.4): smooth in space. No torch here.

That rewards decay with distance, and never jump, is reported; the formulas are not public. IoU² is what a sibling
system uses (Perception-R1, arXiv 2504.07954); the floor and the width of the decay are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from consilience.problem import Problem
from consilience.verdict import Verdict
from consilience.verify.grounding import box_iou, point_decay
from consilience.verify.markup import boxes_of, points_of, split_response

if TYPE_CHECKING:
    from consilience.learn.rollout import Reward

FLOOR = 0.1
"""IoU below which a box earns nothing."""
SIGMA = 0.25
"""Distance, in diagonals of the target, at which a point's reward has fallen to 1/e."""


def box_reward(box: Sequence[float], target: Sequence[float]) -> float:
    """IoU², 0 below an IoU of 0.1. Boxes are (x1, y1, x2, y2) in one unit."""
    iou = box_iou(box, target, power=1.0)
    return iou * iou if iou >= FLOOR else 0.0


def point_reward(point: Sequence[float], target: Sequence[float]) -> float:
    """exp(−d / 0.25), d the distance to the target box's middle in its diagonals; 0 beyond one diagonal."""
    x1, y1, x2, y2 = target
    diagonal = math.hypot(x2 - x1, y2 - y1)
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    return point_decay(point, middle, sigma=SIGMA * diagonal, max_distance=diagonal) if diagonal else 0.0


def inside(point: Sequence[float], target: Sequence[float]) -> float:
    """1 for a point in the target box, else 0: the hit of the grounding benchmarks, and the step-like reward."""
    x1, y1, x2, y2 = target
    return float(x1 <= point[0] <= x2 and y1 <= point[1] <= y2)


def perception(smooth: bool) -> Reward:
    """The reward of an answer that points, or draws a box, at the one object asked for; several places earn nothing.

    Args:
        smooth: decaying rewards; else hit or miss (a box hits from an IoU of .5 on).
    """

    def reward(problem: Problem, response: str, truncated: bool) -> Verdict:
        answer = split_response(response)[1]
        size, target = problem.images[0].size, problem.evidence.boxes[0]
        points, boxes = points_of(answer, size), boxes_of(answer, size)
        if truncated or len(points) + len(boxes) != 1:
            return Verdict(0.0, "The answer does not name one place.", "no_place")
        if points:
            score = point_reward(points[0], target) if smooth else inside(points[0], target)
        else:
            score = box_reward(boxes[0], target) if smooth else float(box_iou(boxes[0], target, power=1.0) >= 0.5)
        return Verdict(score, f"Agreement with the target: {score:.2f}.", "agrees" if score > 0 else "disagrees")

    return reward


def hit(problem: Problem, response: str, truncated: bool) -> bool:
    """Whether an answer points into the target."""
    return perception(smooth=False)(problem, response, truncated).score == 1
