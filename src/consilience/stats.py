"""Intervals, paired tests and sampling estimators: pure functions of counts and arrays.

Axis letters: P problems, K samples a problem. Every interval is two-sided with coverage `level`; every random
resampling takes its seed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from consilience.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A measured number with its interval. n: what was counted (problems, pairs, clusters or seeds)."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        return vars(self).copy()

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


def wilson(successes: float, n: float, level: float = 0.95) -> Estimate:
    """Wilson score interval of one proportion (Wilson 1927). n may be an effective, fractional sample size.

    Raises:
        InputError: not 0 ≤ successes ≤ n with n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise InputError(f"a proportion needs 0 ≤ successes ≤ n and n > 0, not {successes} of {n}.")
    z, p = _z(level), successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(p, low, high, math.floor(n))


def t_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean with Student's t interval: for the results of independent seeds.

    Raises:
        InputError: fewer than two values.
    """
    x = _vector(values, "values", least=2)
    half = float(special.stdtrit(len(x) - 1, (1 + level) / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    mean = float(x.mean())
    return Estimate(mean, mean - half, mean + half, len(x))


def discordant(a: ArrayLike, b: ArrayLike) -> tuple[int, int]:
    """(only a right, only b right) for two systems on the same problems; a, b: booleans of shape (P,).

    Raises:
        InputError: the shapes differ.
    """
    x, y = _pair(a, b)
    x, y = x.astype(bool), y.astype(bool)
    return int((x & ~y).sum()), int((~x & y).sum())


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test that both systems are right equally often (binomial)."""
    n, k = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * float(special.bdtr(k, n, 0.5))) if n else 1.0


def paired_difference(only_a: int, only_b: int, n: int, level: float = 0.95) -> Estimate:
    """Accuracy of a minus accuracy of b on the same n problems, with Tango's score interval (Tango 1998).

    The interval excludes 0 exactly when McNemar's asymptotic test without continuity correction rejects at 1 − level,
    so "lower bound > 0" and that test say the same; near 0 and 1 it keeps its coverage where Wald's fails.

    Raises:
        InputError: the counts are negative or exceed n.
    """
    if min(only_a, only_b) < 0 or only_a + only_b > n or n < 1:
        raise InputError(f"discordant pairs {only_a} and {only_b} do not fit into {n} problems.")
    difference, z = (only_a - only_b) / n, _z(level)
    low = -1.0 if only_b == n else _solve(lambda d: tango_score(only_a, only_b, n, d) - z, -1.0, difference)
    high = 1.0 if only_a == n else _solve(lambda d: tango_score(only_a, only_b, n, d) + z, difference, 1.0)
    return Estimate(difference, low, high, n)


def tango_score(only_a: int, only_b: int, n: int, difference: float) -> float:
    """Standardised score of the hypothesis that the paired difference is `difference` (Tango 1998, eq. 4 form):
    standard normal if true, 0 at the observed difference, falling in `difference`."""
    d = difference
    linear = (2 * n - only_a + only_b) * d - only_a - only_b
    root = math.sqrt(max(linear * linear + 8 * n * only_b * d * (1 - d), 0.0))
    q = (root - linear) / (4 * n)  # constrained maximum-likelihood share of "only b"
    variance = n * (2 * q + d * (1 - d))
    distance = only_a - only_b - n * d
    return (
        0.0 if distance == 0 else distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)
    )


def bootstrap(
    values: ArrayLike, seed: int, *, clusters: ArrayLike | None = None, resamples: int = 10_000, level: float = 0.95
) -> Estimate:
    """Mean with a percentile bootstrap interval, resampling whole clusters; for some twenty clusters or more.

    Args:
        values: shape (N,).
        clusters: shape (N,), labels; values of one cluster (problem, picture, conversation) are drawn together.

    Returns:
        n counts the clusters.

    Raises:
        InputError: no values, or labels of another shape.
    """
    x = _vector(values, "values", least=1)
    labels = np.arange(len(x)) if clusters is None else np.asarray(clusters)
    if labels.shape != x.shape:
        raise InputError(f"bootstrap needs one cluster label a value: {x.shape} values, {labels.shape} labels.")
    members = np.unique(labels, return_inverse=True)[1]
    sums, sizes = np.bincount(members, x), np.bincount(members)
    rng, groups = np.random.default_rng(seed), len(sums)
    means, block = np.empty(resamples), max(1, 1_000_000 // groups)
    for start in range(0, resamples, block):
        draws = rng.integers(groups, size=(min(block, resamples - start), groups))
        means[start : start + block] = sums[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(x.mean()), float(low), float(high), groups)


def doubling_slope(widths: Sequence[int], right_KP: ArrayLike, seed: int) -> Estimate:
    """Least-squares change of accuracy for each doubling of K, with a bootstrap interval over problems.

    Accuracy is a mean over problems and the fit is linear in it, so the slope is the mean of the problems' slopes.

    Args:
        widths: K, two different ones at least.
        right_KP: shape (K, P), 0 or 1 by width and problem.
    """
    x_K = np.log2(np.asarray(widths, float))
    centred_K = x_K - x_K.mean()
    return bootstrap(centred_K @ np.asarray(right_KP, float) / (centred_K @ centred_K), seed)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    seed: int,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
) -> Estimate:
    """Mean of a − b on the same problems with a bootstrap interval; a, b: shape (P,), any scores. See `bootstrap`."""
    x, y = _pair(a, b)
    return bootstrap(x - y, seed, clusters=clusters, resamples=resamples, level=level)


def clustered_mean(values: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Mean of values in [0, 1] whose clusters (scene, picture, problem) are independent, not the values themselves.

    Wilson's interval at the effective sample size p(1−p)/variance of the mean, the variance summed over clusters of any
    size (linearised ratio, Cochran 1977, §9A), with Student's quantile for their number. Right-or-wrong values without
    clusters give Wilson's interval itself, and equal values count each cluster once.

    Args:
        values: shape (N,). clusters: shape (N,), labels; None: every value by itself.

    Returns:
        n counts the clusters.

    Raises:
        InputError: no values, values outside [0, 1] or labels of another shape.
    """
    x = _vector(values, "values", least=1)
    if x.min() < 0 or x.max() > 1:
        raise InputError(f"a clustered mean needs values in [0, 1], not {x.min():g} … {x.max():g}.")
    residuals, sizes = _by_cluster(x, clusters)
    groups, p, binary = len(sizes), float(x.mean()), bool(np.isin(x, (0.0, 1.0)).all())
    if binary and groups == len(x):
        return wilson(float(x.sum()), len(x), level)
    variance = float((residuals**2).sum()) / len(x) ** 2
    effective = p * (1 - p) / variance if variance > 0 else float(groups)
    effective = min(effective, len(x)) if binary else effective
    if groups > 1:
        effective *= (groups - 1) / groups * (_z(level) / _t(level, groups - 1)) ** 2
    interval = wilson(p * effective, effective, level)
    return Estimate(p, interval.low, interval.high, groups)


def clustered_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95
) -> tuple[Estimate, float]:
    """Mean of a − b on the same items, in [−1, 1], with its interval and a two-sided p-value that it is 0.

    Right-or-wrong values without clusters: Tango's interval and McNemar's exact test. Otherwise Student's interval and
    test over the clusters' sums; where these agree to the last, Tango's interval for that many pairs that agree.

    Args:
        a, b: shape (N,). clusters: shape (N,), labels; None: every item by itself.

    Returns:
        (estimate, p-value); n counts the clusters.

    Raises:
        InputError: the shapes differ.
    """
    x, y = _pair(a, b)
    residuals, sizes = _by_cluster(x - y, clusters)
    groups, mean = len(sizes), float((x - y).mean())
    if groups == len(x) and np.isin(np.concatenate([x, y]), (0.0, 1.0)).all():
        only_a, only_b = discordant(x, y)
        return paired_difference(only_a, only_b, groups, level), mcnemar(only_a, only_b)
    spread = math.sqrt(float((residuals**2).sum()) * groups / max(1, groups - 1)) / len(x)
    if groups < 2 or spread < 1e-12:
        only = (groups if mean > 0 else 0, groups if mean < 0 else 0)
        around = paired_difference(*only, groups, level)
        return Estimate(mean, min(mean, around.low), max(mean, around.high), groups), mcnemar(*only)
    half = _t(level, groups - 1) * spread
    p_value = 2 * float(special.stdtr(groups - 1, -abs(mean) / spread))
    return Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half), groups), p_value


def _by_cluster(x: np.ndarray, clusters: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """(sums of deviations from the mean, sizes) of the clusters."""
    labels = np.arange(len(x)) if clusters is None else np.asarray(clusters)
    if labels.shape != x.shape:
        raise InputError(f"clusters need one label a value: {x.shape} values, {labels.shape} labels.")
    members = np.unique(labels, return_inverse=True)[1]
    return np.bincount(members, x - x.mean()), np.bincount(members)


def _t(level: float, freedom: int) -> float:
    _z(level)
    return float(special.stdtrit(freedom, (1 + level) / 2))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjustment of p-values, shape (M,) to (M,): reject where the result ≤ α (Holm 1979)."""
    p = _vector(p_values, "p-values", least=1)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that at least one of k samples is right, from c right of n: 1 − C(n−c, k)/C(n, k)
    (Chen et al. 2021, arXiv:2107.03374, eq. 1).

    Raises:
        InputError: not 0 ≤ c ≤ n and 1 ≤ k ≤ n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise InputError(f"pass@k needs 0 ≤ c ≤ n and 1 ≤ k ≤ n, not n={n}, c={c}, k={k}.")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def avg_at_k(right: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean accuracy over K samples of each problem, with an interval over problems.

    Wilson's interval at the effective sample size p(1−p)/variance of the mean, where problems are the clusters; so it
    stays honest when every answer is right or wrong, where it counts each problem once.

    Args:
        right: shape (P, K), booleans or scores in [0, 1].

    Returns:
        n counts problems.

    Raises:
        InputError: not a matrix with at least one problem and one sample.
    """
    x_PK = np.asarray(right, dtype=float)
    if x_PK.ndim != 2 or not x_PK.size:
        raise InputError(f"avg@k needs a matrix problems × samples, not shape {x_PK.shape}.")
    problems, p = len(x_PK), float(x_PK.mean())
    variance = float(x_PK.mean(1).var(ddof=1)) / problems if problems > 1 else 0.0
    effective = min(p * (1 - p) / variance, x_PK.size) if variance > 0 else problems
    interval = wilson(p * effective, effective, level)
    return Estimate(p, interval.low, interval.high, problems)


def maj_at_k(answers: Sequence[Hashable | None], truth: Hashable, k: int) -> float:
    """Expected accuracy of the majority vote of k answers drawn without replacement from a pool; exact, no sampling.

    Args:
        answers: the pool, in canonical form; None abstains (it is drawn, but does not vote).
        truth: the right answer in the same form.
        k: votes drawn. Ties are broken at random, so a tie of m answers counts 1/m; no vote at all counts 0.

    Raises:
        InputError: not 1 ≤ k ≤ len(answers).
    """
    if not 1 <= k <= len(answers):
        raise InputError(f"maj@k needs 1 ≤ k ≤ {len(answers)} answers, not k={k}.")
    counts = Counter(answers)
    abstained, right = counts.pop(None, 0), counts.pop(truth, 0)
    favourable = 0.0
    for votes in range(1, min(k, right) + 1):
        for ties, ways in enumerate(_ways(list(counts.values()), abstained, k - votes, votes)):
            favourable += math.comb(right, votes) * ways / (math.comb(len(answers), k) * (1 + ties))
    return favourable


def _ways(groups: Sequence[int], abstained: int, draws: int, most: int) -> tuple[int, ...]:
    """Ways to draw `draws` answers of which no group gives more than `most`, by how many groups give exactly `most`."""
    table = {(drawn, 0): math.comb(abstained, drawn) for drawn in range(min(abstained, draws) + 1)}
    for size in groups:
        grown: Counter[tuple[int, int]] = Counter()
        for (drawn, ties), ways in table.items():
            for more in range(min(size, most, draws - drawn) + 1):
                grown[drawn + more, ties + (more == most)] += ways * math.comb(size, more)
        table = dict(grown)
    return tuple(table.get((draws, ties), 0) for ties in range(draws // most + 1))


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(f"a confidence level lies between 0 and 1, not {level}.")
    return float(special.ndtri((1 + level) / 2))


def _solve(falling: Callable[[float], float], low: float, high: float) -> float:
    """The zero of a falling function in [low, high] by bisection, to the last bit of a float's half."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _vector(values: ArrayLike, name: str, least: int) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) < least:
        raise InputError(f"{name} must be a vector of at least {least} numbers, not shape {x.shape}.")
    return x


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = _vector(a, "a", least=1), _vector(b, "b", least=1)
    if x.shape != y.shape:
        raise InputError(f"a paired comparison needs the same problems in both: {len(x)} and {len(y)} were given.")
    return x, y
