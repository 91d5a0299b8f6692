"""How much the questions can tell: the smallest difference found, the questions that settle one."""

import math
from statistics import NormalDist

from harness.statistics.paired import Paired
from harness.statistics.resampling import LEVEL, MANY
from harness.statistics.seeds import SeedDifference

POWER = 0.8
"""Chance of finding a difference, where it is asked how large one must be."""


def detectable(
    found: Paired | SeedDifference, *, power: float = POWER, level: float = LEVEL
) -> float:
    """The smallest difference that a comparison like this one would find.

    Returns:
        `minimal_detectable` for right-or-wrong answers to questions that stand alone; else `reach`
        standard errors (Bloom 1995, "Minimum Detectable Effects"). Infinity where the questions or
        seeds carry too little information to say, and of an exact test over seeds: what it finds
        depends on how the seeds are spread.
    """
    if isinstance(found, Paired) and found.test == "exact McNemar":
        return minimal_detectable(found.n, found.discordance, power=power, level=level)
    if not found.stderr > 0 or _untold(found, level):
        return math.inf
    return _reach(found, power=power, level=level) * found.stderr


def settling(
    found: Paired | SeedDifference, *, power: float = POWER, level: float = LEVEL
) -> int | None:
    """How many questions of the same kind would settle a difference as large as the one seen.

    Returns:
        `questions_needed`, or n · (reach · stderr / difference)² where that does not apply; of
        several seeds only the part of the error shrinks that questions make, while the degrees of
        freedom are taken to stay. None where the two differ too little to say, where these seeds
        could not settle it with any number of questions, and of an exact test over seeds.
    """
    if not found.difference or not found.stderr > 0 or _untold(found, level):
        return None
    if isinstance(found, Paired) and found.test == "exact McNemar":
        return questions_needed(found.difference, found.discordance, power=power, level=level)
    variance = (found.difference / _reach(found, power=power, level=level)) ** 2
    if isinstance(found, Paired):
        return math.ceil(found.n * found.stderr**2 / variance)
    left = variance - found.stderr_seeds**2
    return math.ceil(found.n * found.stderr_questions**2 / left) if left > 0 else None


def _untold(found: Paired | SeedDifference, level: float) -> bool:
    return isinstance(found, SeedDifference) and (bool(found.differences) or found.least >= level)


def minimal_detectable(
    n: int, discordance: float, *, power: float = POWER, level: float = LEVEL
) -> float:
    """The smallest difference that a paired test of n questions would find.

    The sample size formula of McNemar's test (Connor 1987), n = (z₁√ψ + z₂√(ψ − δ²))² / δ² with
    z₁ = z(1 − level/2) and z₂ = z(power), solved for δ.

    Args:
        n: Questions.
        discordance: ψ, the share of questions that only one of the two runs gets right.
        power: Chance of finding the difference.
        level: Of the two-sided test.

    Returns:
        δ, 0 … 1; infinity where even the largest difference that ψ allows (δ = ψ) is too small.
    """
    z1, z2 = _quantiles(power, level)
    if n < 1 or discordance <= 0:
        return math.inf
    root = z2 * math.sqrt(discordance * max(0.0, n - z1**2 + z2**2))
    delta = (z1 * math.sqrt(discordance * n) + root) / (n + z2**2)
    return delta if n > z1**2 and delta <= discordance else math.inf


def questions_needed(
    difference: float, discordance: float, *, power: float = POWER, level: float = LEVEL
) -> int:
    """How many questions would settle a difference: the inverse of `minimal_detectable`.

    Args:
        difference: δ, its sign does not matter.
        discordance: ψ, at least |δ|.
        power: Chance of finding the difference.
        level: Of the two-sided test.

    Returns:
        The number of questions.

    Raises:
        ValueError: The difference is 0, or larger than the discordance.
    """
    delta = abs(difference)
    if not 0 < delta <= discordance <= 1:
        raise ValueError(
            f"a difference of {difference:g} cannot come from a discordance of {discordance:g}; "
            "expected 0 < |difference| ≤ discordance ≤ 1"
        )
    z1, z2 = _quantiles(power, level)
    root = z1 * math.sqrt(discordance) + z2 * math.sqrt(discordance - delta**2)
    return math.ceil((root / delta) ** 2)


def reach(freedom: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """Standard errors that a difference must measure to be found by a t test.

    The noncentrality at which t of so many degrees of freedom passes its quantile of 1 − level/2
    with the chance `power`; of very many z(1 − level/2) + z(power).
    """
    from scipy.special import nctdtrinc, stdtrit

    if not freedom < MANY:
        return sum(_quantiles(power, level))
    return float(nctdtrinc(freedom, 1 - power, stdtrit(freedom, 1 - level / 2)))


def _reach(found: Paired | SeedDifference, *, power: float, level: float) -> float:
    freedom = found.freedom if isinstance(found, SeedDifference) else found.clusters - 1
    return reach(freedom, power=power, level=level)


def _quantiles(power: float, level: float) -> tuple[float, float]:
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)
