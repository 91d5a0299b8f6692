"""Counting: scores with their standard errors, and differences with theirs.

Pure functions of verdicts. An answer that is not known to be right (wrong, unread, truncated,
failed) counts 0; nothing is dropped. With several answers per question a question's score is the
mean over them, and the question stays the unit: answers are never treated as independent. Nor are
questions of one cluster (`Verdict.cluster`), which share a problem or a picture.

    >>> a = [Verdict("t", str(i), 0, i < 7, "x", "rule", ("all",)) for i in range(10)]
    >>> cells("run", a)[0].score
    0.7
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from harness.runs.schema import Cell, Verdict
from harness.statistics import resampling
from harness.statistics.resampling import LEVEL

POWER = 0.8
"""Chance of finding a difference, where it is asked how large one must be."""

Score = Callable[[Sequence[Verdict]], float]
"""Verdicts of one question's answers → the question's score, 0 … 1."""


class Unpairable(ValueError):
    """Two runs that cannot be compared question by question; the message says why."""


@dataclass(frozen=True)
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
    def discordance(self) -> float:
        """Share of questions on which the two differ."""
        return (self.only_a + self.only_b) / self.n


def mean(verdicts: Sequence[Verdict]) -> float:
    """Score a question by the share of its answers that are right."""
    return sum(verdict.correct is True for verdict in verdicts) / len(verdicts)


def cells(run: str, verdicts: Iterable[Verdict], score: Score = mean) -> list[Cell]:
    """Count each task's groups.

    Args:
        run: Name that the cells carry.
        verdicts: Of one run, one for each answer, in any order.
        score: Of a question.

    Returns:
        A cell per task and group, in order of first appearance. `correct`, `unparsed`, `truncated`
        and `error` count answers, `n` counts questions; they add up when there is one answer a
        question. `stderr` is the cluster-robust standard error of the mean (Liang & Zeger 1986;
        for evaluations Miller 2024, arXiv 2411.00640, section 2.2),
        √(G / (G − 1) · Σ_clusters (Σ_questions (score − mean))²) / n with G clusters. Where each
        question stands alone that is the sample standard deviation (n − 1) over √n, and for
        right-or-wrong answers √(p(1 − p) / (n − 1)). It is nan for a single cluster: one carries
        no information about its own error, and 0 would claim certainty.

    Raises:
        ValueError: The same answer has two verdicts.
    """
    members: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        for group in verdict.groups:
            members.setdefault((verdict.task, group), []).append(verdict)
    return [_cell(run, task, group, found, score) for (task, group), found in members.items()]


def _cell(run: str, task: str, group: str, verdicts: list[Verdict], score: Score) -> Cell:
    value, stderr = score_and_error(verdicts, score)
    return Cell(
        run=run,
        task=task,
        group=group,
        n=len({(verdict.task, verdict.id) for verdict in verdicts}),
        correct=sum(verdict.correct is True for verdict in verdicts),
        unparsed=sum(verdict.how == "unparsed" for verdict in verdicts),
        truncated=sum(verdict.how == "truncated" for verdict in verdicts),
        error=sum(verdict.how == "error" for verdict in verdicts),
        score=value,
        stderr=stderr,
    )


def score_and_error(verdicts: Sequence[Verdict], score: Score = mean) -> tuple[float, float]:
    """Return the mean score of some questions and its standard error, as in `cells`."""
    questions = question_scores(verdicts, score)
    middle = math.fsum(questions.values()) / len(questions)
    return middle, clustered_error([questions], clusters_of(verdicts))


def mean_cell(
    parts: Sequence[Cell], verdicts: Sequence[Iterable[Verdict]], group: str = "mean"
) -> Cell:
    """The unweighted mean of cells that share no question, with its error.

    Args:
        parts: Cells of one run, one or more.
        verdicts: Those of each cell.
        group: Name that the result carries.

    Returns:
        Counts are sums. The error is √Σ stderr² / number of parts where no cluster lies in two of
        them, and else takes in that they move together.
    """
    graded = [list(part) for part in verdicts]
    clusters = clusters_of(verdict for part in graded for verdict in part)
    return Cell(
        run=parts[0].run,
        task="+".join(dict.fromkeys(part.task for part in parts)),
        group=group,
        n=sum(part.n for part in parts),
        correct=sum(part.correct for part in parts),
        unparsed=sum(part.unparsed for part in parts),
        truncated=sum(part.truncated for part in parts),
        error=sum(part.error for part in parts),
        score=math.fsum(part.score for part in parts) / len(parts),
        stderr=clustered_error([question_scores(part) for part in graded], clusters),
    )


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
    up, down = sum(x > 1e-12 for x in sums), sum(x < -1e-12 for x in sums)
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


# How much the questions can tell


def detectable(found: Paired, *, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest difference that a comparison like this one would find.

    Returns:
        `minimal_detectable` for right-or-wrong answers to questions that stand alone; else
        (z₁ + z₂) · stderr (Bloom 1995, "Minimum Detectable Effects"). Infinity where the questions
        carry too little information to say.
    """
    if found.test == "exact McNemar":
        return minimal_detectable(found.n, found.discordance, power=power, level=level)
    return reach(power=power, level=level) * found.stderr if found.stderr > 0 else math.inf


def settling(found: Paired, *, power: float = POWER, level: float = LEVEL) -> int | None:
    """How many questions of the same kind would settle a difference as large as the one seen.

    Returns:
        `questions_needed`, or n · ((z₁ + z₂) · stderr / difference)² where that does not apply;
        None where the two differ too little to say.
    """
    if not found.difference or not found.stderr > 0:
        return None
    if found.test == "exact McNemar":
        return questions_needed(found.difference, found.discordance, power=power, level=level)
    ratio = reach(power=power, level=level) * found.stderr / found.difference
    return math.ceil(found.n * ratio**2)


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


def reach(*, power: float = POWER, level: float = LEVEL) -> float:
    """Standard errors that a difference must measure to be found: z(1 − level/2) + z(power)."""
    return sum(_quantiles(power, level))


def _quantiles(power: float, level: float) -> tuple[float, float]:
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)


# Questions and clusters


Key = tuple[str, str]
"""Task and id of a question."""


def question_scores(verdicts: Iterable[Verdict], score: Score = mean) -> dict[Key, float]:
    """Score each question, in order of first appearance.

    Raises:
        ValueError: The same answer has two verdicts.
    """
    answers: dict[Key, dict[int, Verdict]] = {}
    for verdict in verdicts:
        samples = answers.setdefault((verdict.task, verdict.id), {})
        if verdict.sample in samples:
            raise ValueError(
                f"answer {verdict.sample} to question {verdict.id} of {verdict.task} has two "
                "verdicts; expected one each"
            )
        samples[verdict.sample] = verdict
    return {key: score(list(samples.values())) for key, samples in answers.items()}


def clusters_of(verdicts: Iterable[Verdict]) -> dict[Key, Hashable]:
    """Return what each question must not be told apart from: its cluster, or itself."""
    found: dict[Key, Hashable] = {}
    for verdict in verdicts:
        key = verdict.task, verdict.id
        if verdict.cluster:
            found[key] = verdict.task, "cluster", verdict.cluster
        else:
            found.setdefault(key, key)
    return found


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


def clustered_error(parts: Sequence[dict[Key, float]], clusters: dict[Key, Hashable]) -> float:
    """Cluster-robust standard error of the unweighted mean of the parts' means."""
    pulls: dict[Hashable, float] = {}
    for part in parts:
        middle = math.fsum(part.values()) / len(part)
        own: dict[Hashable, float] = {}
        for key, x in part.items():
            own[clusters[key]] = own.get(clusters[key], 0.0) + x - middle
        if len(own) < 2:
            return math.nan
        factor = math.sqrt(len(own) / (len(own) - 1)) / len(part) / len(parts)
        for cluster, pull in own.items():
            pulls[cluster] = pulls.get(cluster, 0.0) + factor * pull
    return math.sqrt(math.fsum(pull**2 for pull in pulls.values()))


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
