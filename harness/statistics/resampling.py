"""Tests, their correction for being several, and intervals, of paired numbers.

Numbers in, numbers out; nothing here knows of verdicts. Everything random has a fixed seed.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import Any

LEVEL = 0.05
"""Of two-sided tests; intervals cover 1 − LEVEL."""

DRAWS = 10_000
"""Bootstrap samples."""

FLIPS = 20_000
"""Random sign patterns where the exact test would take too long; the smallest p is then
1 / (FLIPS + 1)."""

NOISE = 1e-12
"""Largest sum of a cluster that is nothing but rounding: 1 − 2/3 − 1/3."""

MANY = 1000
"""Clusters from which on t is the normal distribution to three digits."""

EVERY = 20
"""Most parts of which every sign pattern is looked at, a million of them in some milliseconds."""

EXACT_WORK = 1_000_000_000
"""Most multiplications spent on an exact sign flip test, about a second."""


def mcnemar(b: int, c: int) -> float:
    """The exact McNemar test: two-sided p of b heads and c tails of a fair coin.

    min(1, 2·P(X ≤ min(b, c))), X ~ Binomial(b + c, ½), in whole numbers, rounded once at the end.
    """
    total = b + c
    term = tail = 1
    for k in range(min(b, c)):
        term = term * (total - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**total)


def sign_flip(values: Sequence[float]) -> tuple[float, bool]:
    """Two-sided p of a sum, had each of its parts come with either sign alike.

    With differences summed by cluster this is the wild cluster bootstrap with Rademacher weights
    and the null imposed (Cameron, Gelbach & Miller 2008), which keeps its level with few clusters
    (Canay, Romano & Shaikh 2017). Parts of one size make it the exact McNemar test.

    Args:
        values: One for each cluster.

    Returns:
        p, and whether it is exact: all sign patterns counted, not `FLIPS` random ones.
    """
    parts = [value for value in values if abs(value) > NOISE]
    if len(parts) <= EVERY:
        return _every(parts), True
    # 1 − 2/3 and 1/3 are one size.
    sizes = Counter(round(abs(part), 12) for part in parts)
    if len(sizes) <= 1:
        up = sum(part > 0 for part in parts)
        return mcnemar(up, sizes.total() - up), True
    whole = _whole(list(sizes))
    if whole is not None:
        counts = dict(zip(whole, sizes.values(), strict=True))
        by_size = dict(zip(sizes, whole, strict=True))
        signed = (math.copysign(by_size[round(abs(part), 12)], part) for part in parts)
        observed = abs(round(math.fsum(signed)))
        if _work(counts) <= EXACT_WORK:
            return _counted(counts, observed), True
    return _drawn(sizes, abs(math.fsum(parts))), False


def _every(parts: Sequence[float]) -> float:
    """The share of all 2^n sign patterns whose sum lies as far from 0 as the one seen."""
    import numpy as np

    # A pattern and its opposite lie equally far: the first sign is held.
    sums = np.array([math.fsum(parts[:1])])
    for part in parts[1:]:
        sums = np.concatenate([sums + part, sums - part])
    # Ties differ by rounding only.
    slack = 1e-9 * max(map(abs, parts), default=0.0)
    return float((np.abs(sums) >= abs(math.fsum(parts)) - slack).mean())


def _whole(sizes: list[float]) -> list[int] | None:
    """The sizes as multiples of one unit; None where there is no such unit of a sensible size."""
    parts = [Fraction(size).limit_denominator(10_000) for size in sizes]
    if any(abs(part - size) > 1e-9 * size for part, size in zip(parts, sizes, strict=True)):
        return None
    unit = math.lcm(*(part.denominator for part in parts))
    found = [int(part * unit) for part in parts]
    common = math.gcd(*found)
    return [size // common for size in found]


def _work(counts: dict[int, int]) -> int:
    length, work = 1, 0
    for size, count in counts.items():
        work += length * (size * count + 1)
        length += size * count
    return work


def _counted(counts: dict[int, int], observed: int) -> float:
    """2·P(sum of the negative parts ≤ (total − observed) / 2), by convolving binomials."""
    import numpy as np

    if observed == 0:
        return 1.0
    negative: Any = np.ones(1)
    for size, count in counts.items():
        part = np.zeros(size * count + 1)
        part[::size] = _half_binomial(count)
        negative = np.convolve(negative, part)
    total = len(negative) - 1
    return min(1.0, 2 * float(negative[: (total - observed) // 2 + 1].sum()))


def _half_binomial(count: int) -> Any:
    """P(X = 0 … count), X ~ Binomial(count, ½)."""
    import numpy as np

    log = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        for k in range(count + 1)
    ]
    return np.exp(np.array(log) - count * math.log(2))


def _drawn(sizes: Counter[float], observed: float) -> float:
    import numpy as np

    generator = np.random.default_rng(0)
    sums = np.zeros(FLIPS)
    for size, count in sizes.items():
        sums += size * (2 * generator.binomial(count, 0.5, FLIPS) - count)
    # Ties differ by rounding only.
    extreme = int((np.abs(sums) >= observed - 1e-9 * max(sizes)).sum())
    return (extreme + 1) / (FLIPS + 1)


def holm(pvalues: Sequence[float]) -> list[float]:
    """Adjust p-values for being several (Holm 1979), in the order given.

    Args:
        pvalues: One for each comparison of a family of comparisons.

    Returns:
        The smallest p times m, the next times m − 1, …, never decreasing, at most 1.
    """
    adjusted = [0.0] * len(pvalues)
    largest = 0.0
    order = sorted(range(len(pvalues)), key=pvalues.__getitem__)
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = largest
    return adjusted


def score_interval(b: int, c: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval for the difference of two paired shares, by inverting the score test.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17: 891-908, equations 3 and 4. Unlike an interval
    from the standard error it stays honest when few pairs differ, or none.

    Args:
        b: Pairs in which only the first is right.
        c: Pairs in which only the second is.
        n: All pairs.
        level: One minus the coverage.
    """
    z = NormalDist().inv_cdf(1 - level / 2)

    def statistic(delta: float) -> float:
        # q: the most likely share of pairs with only the second right, were delta the difference.
        linear = (2 * n - b + c) * delta - b - c
        root = math.sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta)))
        q = (root - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        distance = b - c - n * delta
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    middle = (b - c) / n
    return _crossing(statistic, -1.0, middle, z), _crossing(statistic, middle, 1.0, -z)


def _crossing(falling: Callable[[float], float], low: float, high: float, target: float) -> float:
    """Where a falling function passes the target, by bisection; the nearer end if it does not."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > target else (low, middle)
    return (low + high) / 2


def bootstrap(
    sums: Any, counts: Any, *, draws: int = DRAWS, level: float = LEVEL
) -> tuple[float, float]:
    """Interval for the mean over groups of Σ sums / Σ counts, resampling whole clusters.

    The expanded percentile interval of Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap", section 5.3: percentiles farther out by the factor that t quantiles and n − 1 make,
    so that it does not fall short with few clusters.

    Clusters that touch the same groups are drawn among themselves. Clusters that are alike are
    drawn together, as one multinomial number: the same distribution in a fraction of the time.

    Args:
        sums: [clusters, groups], of the differences of a cluster's questions in a group.
        counts: [clusters, groups], its questions there.
        draws: Bootstrap samples.
        level: One minus the coverage.

    Returns:
        Low and high end; nan where no cluster differs from another: that is no certainty.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    groups = sums.shape[1]
    kinds, many = np.unique(np.hstack([sums, counts]), axis=0, return_counts=True)
    touched = [tuple(row) for row in kinds[:, groups:] > 0]
    strata = [np.array([kind == other for other in touched]) for kind in dict.fromkeys(touched)]
    freedom = int(many.sum()) - len(strata)
    if freedom < 1:
        return math.nan, math.nan
    found = []
    rows = max(1, 4_000_000 // len(kinds))
    for start in range(0, draws, rows):
        totals = np.zeros((min(rows, draws - start), 2 * groups))
        for stratum in strata:
            m = many[stratum]
            picked = generator.multinomial(m.sum(), m / m.sum(), size=len(totals))
            totals += picked @ kinds[stratum]
        found.append((totals[:, :groups] / totals[:, groups:]).mean(axis=1))
    tail = _expanded(level / 2, freedom, len(strata))
    low, high = map(float, np.quantile(np.concatenate(found), [tail, 1 - tail]))
    return (low, high) if low < high else (math.nan, math.nan)


def _expanded(tail: float, freedom: int, strata: int) -> float:
    if freedom >= MANY:
        return tail
    from scipy.special import stdtrit

    wider = math.sqrt((freedom + strata) / freedom) * stdtrit(freedom, tail)
    return NormalDist().cdf(float(wider))
