"""A comparison → whether a new checkpoint may pass: for a continuous integration.

Of each headline difference, a task each:

    worse          the loss is supported (corrected p below LEVEL), and not shown to be smaller than
                   the margin
    inconclusive   without a margin: so few questions came out differently that nothing can be told;
                   with one: the 95 % interval reaches beyond it; or there is nothing to compare
    not worse      anything else; with a margin: the interval ends above it (non-inferiority,
                   Schumi and Wittes 2011, two-sided 95 %: one error in 40)
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from common.text import percent, probability, signed
from harness.statistics.compare import Comparison

Outcome = Literal["worse", "inconclusive", "not worse"]
OUTCOMES: tuple[Outcome, ...] = ("worse", "inconclusive", "not worse")
"""The gravest first."""


@dataclass(frozen=True)
class Judged:
    """One side on one task."""

    side: str
    task: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Gate:
    """What the sides of a comparison come to."""

    outcome: Outcome
    """The gravest of any."""
    judged: tuple[Judged, ...]


def judge(found: Comparison, margin: float | None = None, partial: Collection[str] = ()) -> Gate:
    """Judge every side but the baseline on every task that is compared.

    Args:
        found: The comparison.
        margin: Largest loss that is none, 0 … 1; None: any supported loss is one.
        partial: Sides of which answers are missing: not worse on the rest is inconclusive.

    Raises:
        UserError: Nothing but validation splits is compared.
    """
    if not found.headline:
        raise UserError(
            "a gate judges benchmarks, and only validation splits are compared, on which methods "
            "and settings are chosen: name another of --tasks, or leave --fail-if out"
        )
    judged = []
    for side in (side for side in found.sides if side != found.baseline):
        for task in found.headline:
            one = _judged(side, task, found, margin)
            late = {side, found.baseline} & {*partial}
            if one.outcome == "not worse" and late:
                why = f"answers of {' and '.join(sorted(late))} are missing; so far {one.reason}"
                one = Judged(side, task, "inconclusive", why)
            judged.append(one)
    there = {one.outcome for one in judged}
    return Gate(next(one for one in OUTCOMES if one in there), tuple(judged))


def _judged(side: str, task: str, found: Comparison, margin: float | None) -> Judged:
    one = found.of(side, task)
    if one is None or one.baseline != found.baseline:
        return Judged(side, task, "inconclusive", "it was not compared: see the notes")
    said = f"{signed(one.difference)} points, {probability(one.p_holm)} (Holm), {one.finding}"
    bounded = margin is not None and math.isfinite(one.low) and one.low > -margin
    if margin is not None:
        low = f"{signed(one.low)}" if math.isfinite(one.low) else "unknown"
        said += f"; low end of the 95 % interval {low}, margin −{percent(margin)}"
    if one.finding == "supported" and one.difference < 0 and not bounded:
        return Judged(side, task, "worse", said)
    undecided = one.finding == "cannot be told" if margin is None else not bounded
    return Judged(side, task, "inconclusive" if undecided else "not worse", said)
