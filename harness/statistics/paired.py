"""The difference of two runs on the same questions, with its error, interval and test."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.runs.schema import Verdict
from harness.statistics import resampling
from harness.statistics.scores import (
    Key,
    Score,
    clustered_error,
    clusters_of,
    mean,
    question_scores,
)


class Unpairable(ValueError):
    """Two runs that cannot be compared question by question; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The difference between two runs on the same questions."""

    n: int
    """Questions that both answered."""
    clusters: int
    """Independent ones among them: `n`, where no two share a problem or a picture."""
    difference: float
    """Score of the first minus score of the second, −1 … 1."""
    stderr: float
    """Standard error of the paired difference; nan for fewer than two clusters."""
    low: float
    """Low end of the interval that covers the true difference 95 times in 100; nan where the
    questions carry no information about it."""
    high: float
    p: float
    """Two-sided, not corrected for several comparisons."""
    only_a: int
    """Questions on which the first scores higher: for one answer a question, right there alone."""
    only_b: int
    """The same for the second."""
    moved: int
    """Clusters on which the two differ: what the test has to go by."""
    test: str
    """`exact McNemar`, `exact sign flip` or `sign flip`."""
    interval: str
    """`score` (Tango 1998) or `bootstrap`."""

    @property
    def least(self) -> float:
        """Smallest p that so many clusters could have given, had all come out one way."""
        return min(1.0, 2.0 ** (1 - self.moved))

    @property
    def discordance(self) -> float:
        """Share of questions on which the two differ."""
        return (self.only_a + self.only_b) / self.n


def paired(
    a: Iterable[Verdict], b: Iterable[Verdict], *, intersection: bool = False, score: Score = mean
) -> Paired:
    """Compare two runs on the questions of one group.

    Args:
        a: Verdicts of the first run, of one task and group.
        b: Those of the second.
        intersection: Compare the questions that both have, where the sets differ.
        score: Of a question.

    Returns:
        The difference of the scores and its error. p comes from flipping the sign of each
        cluster's difference, see `resampling.sign_flip`. Where questions stand alone and have one
        answer each, right or wrong, this is the exact McNemar test, and the interval is Tango's
        score interval; else the interval comes from a bootstrap of whole clusters.

    Raises:
        Unpairable: The question sets differ, or have nothing in common.
    """
    return paired_mean([(a, b)], intersection=intersection, score=score)


def paired_mean(
    groups: Iterable[tuple[Iterable[Verdict], Iterable[Verdict]]],
    *,
    intersection: bool = False,
    score: Score = mean,
) -> Paired:
    """Compare two runs on the unweighted mean of several groups that share no question.

    Args:
        groups: For each group the verdicts of the first run and of the second.
        intersection: As in `paired`.
        score: As in `paired`.

    Returns:
        As `paired`; each group counts the same, whatever its number of questions.

    Raises:
        Unpairable: As `paired`, or a question lies in two groups.
    """
    both = [(list(a), list(b)) for a, b in groups]
    parts = [differences(a, b, intersection, score) for a, b in both]
    everything = [key for part in parts for key in part]
    if len(set(everything)) < len(everything):
        raise Unpairable("a question lies in two of the groups, so their mean has no simple error")
    # One run may have been graded before clusters were told.
    clusters = clusters_of(v for a, b in both for v in (*a, *b))
    clusters = {key: clusters[key] for key in everything}
    sums = _cluster_sums(parts, clusters)
    p, exact = resampling.sign_flip(sums)
    up, down = (sum(sign * x > resampling.NOISE for x in sums) for sign in (1, -1))
    mcnemar = len(sums) == len(everything) and {round(abs(x), 12) for x in sums} <= {0.0, 1.0}
    # Where no cluster differs, resampling would claim certainty.
    scored = (mcnemar and len(parts) == 1) or not up + down
    if scored:
        low, high = resampling.score_interval(up, down, len(sums))
    else:
        low, high = _bootstrap(parts, clusters)
    return Paired(
        n=len(everything),
        clusters=len(sums),
        difference=math.fsum(math.fsum(part.values()) / len(part) for part in parts) / len(parts),
        stderr=clustered_error(parts, clusters),
        low=low,
        high=high,
        p=p,
        only_a=sum(x > 0 for part in parts for x in part.values()),
        only_b=sum(x < 0 for part in parts for x in part.values()),
        moved=up + down,
        test="exact McNemar" if mcnemar else "exact sign flip" if exact else "sign flip",
        interval="score" if scored else "bootstrap",
    )


def differences(
    a: Iterable[Verdict], b: Iterable[Verdict], intersection: bool = False, score: Score = mean
) -> dict[Key, float]:
    """Score of the first run less that of the second, question by question; see `paired`."""
    first, second = question_scores(a, score), question_scores(b, score)
    common = [key for key in first if key in second]
    alone_a, alone_b = len(first) - len(common), len(second) - len(common)
    if (alone_a or alone_b) and not intersection:
        raise Unpairable(
            f"the two runs answered different questions: {len(common)} in common, {alone_a} only "
            f"in the first, {alone_b} only in the second"
        )
    if not common:
        raise Unpairable("the two runs have no question in common")
    return {key: first[key] - second[key] for key in common}


def _cluster_sums(parts: Sequence[dict[Key, float]], clusters: dict[Key, Hashable]) -> list[float]:
    """Sum the differences of each cluster, a question weighing 1/n of its group."""
    # Common factors leave the test alone, and none for groups of one size keeps the differences
    # of right-or-wrong answers at exactly ±1.
    equal = len({len(part) for part in parts}) == 1
    sums: dict[Hashable, list[float]] = {}
    for part in parts:
        weight = 1.0 if equal else 1.0 / len(part)
        for key, x in part.items():
            sums.setdefault(clusters[key], []).append(weight * x)
    return [math.fsum(found) for found in sums.values()]


def _bootstrap(
    parts: Sequence[dict[Key, float]], clusters: dict[Key, Hashable]
) -> tuple[float, float]:
    import numpy as np

    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters.values()))}
    sums: Any = np.zeros((len(places), len(parts)))
    counts: Any = np.zeros((len(places), len(parts)))
    for group, part in enumerate(parts):
        rows = [places[clusters[key]] for key in part]
        np.add.at(sums[:, group], rows, list(part.values()))
        np.add.at(counts[:, group], rows, 1)
    # 1 − 2/3 and 1/3 are one value, so that clusters that are alike are seen to be.
    return resampling.bootstrap(sums.round(12), counts)
