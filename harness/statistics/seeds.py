"""Training seeds as a level of their own: is one method better than another, not one checkpoint?

Each method was trained with several seeds, and every checkpoint answered the same questions. The
difference of the methods then errs in two ways: other seeds would have come out otherwise, and so
would other questions.

Seeds that share nothing (`replicated`) are judged by an exact test that flips their signs. Seeds
that were asked the same questions (`compare`) share what these questions favour: flipping signs
would take the questions as given, so there t stays, of both effects. What it assumes: seeds are
draws from all that might have been used, the same holds for questions (or clusters of them), and
the two effects add up. A method with one checkpoint is taken as it is: its training is not held to
vary.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.runs.schema import Verdict
from harness.statistics import scores
from harness.statistics.paired import Unpairable, differences
from harness.statistics.resampling import LEVEL, NOISE, sign_flip
from harness.statistics.scores import Key, Score


@dataclass(frozen=True, kw_only=True)
class SeedDifference:
    """The difference between two methods over seeds and questions."""

    n: int
    """Questions that both methods answered."""
    clusters: int
    test: str
    """`t over …` or `exact sign flip over …`: how many seeds, and what was paired."""
    score_a: float
    stderr_a: float
    """Of the first method's score alone, over seeds and questions."""
    score_b: float
    stderr_b: float
    difference: float
    """Mean score of the first method's runs less that of the second's."""
    differences: tuple[float, ...] = ()
    """Seed by seed, where each seed asked questions of its own."""
    stderr: float
    """Nan for a single seed."""
    stderr_seeds: float
    """Part of the standard error that only more seeds lower."""
    stderr_questions: float
    """Part that more questions lower too."""
    freedom: float
    """Degrees of freedom of the interval, and of a t test (Satterthwaite)."""
    low: float
    """Low end of the 95 % interval, of t whatever the test; nan where every seed came out alike."""
    high: float
    p: float
    """Two-sided, not corrected for several comparisons."""
    least: float
    """Smallest p that so many seeds can give: 1 where nothing can be told, 0 of a t test."""
    interval: str = "t"


def compare(
    a: Sequence[Sequence[Verdict]],
    b: Sequence[Sequence[Verdict]],
    *,
    paired: bool,
    score: Score = scores.mean,
) -> SeedDifference:
    """Compare two methods by runs of several training seeds.

    The variance of the difference is that of the seeds' means over the number of seeds, plus that
    of the questions' means over the number of clusters. Chance that belongs to one seed and
    question alone is in both: the error is a little too large, never too small, as that of the
    pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1:
    386-411). p and interval are of t with Satterthwaite's (1946) degrees of freedom, because three
    seeds are few.

    Args:
        a: Verdicts of one task and group, a run for each seed of the first method.
        b: Those of the second.
        paired: Run i of both has the same seed, so that what a seed does to both cancels.
        score: Of a question.

    Raises:
        Unpairable: No question was answered by all, or neither method has two seeds.
        ValueError: `paired`, and the methods do not have the same number of runs.
    """
    import numpy as np

    if max(len(a), len(b)) < 2:
        raise Unpairable("neither method has runs of two training seeds")
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} runs cannot be paired with {len(b)} by seed")
    runs = [scores.question_scores(run, score) for run in (*a, *b)]
    common = [key for key in runs[0] if all(key in run for run in runs)]
    if not common:
        raise Unpairable("the runs have no question in common")
    known = scores.clusters_of(verdict for run in (*a, *b) for verdict in run)
    clusters = {key: known[key] for key in common}
    first = _by_cluster(runs[: len(a)], clusters)
    second = _by_cluster(runs[len(a) :], clusters)
    if paired:
        seeds = [_variance(first.mean(1) - second.mean(1))]
    else:
        seeds = [_variance(side.mean(1)) for side in (first, second) if len(side) > 1]
    questions = _variance(first.mean(0) - second.mean(0))
    difference = float(first.mean() - second.mean())
    parts = [*seeds, questions]
    variance = math.fsum(part for part, _ in parts)
    freedom = _satterthwaite(parts)
    reach, p = _reach(variance, freedom), _t(difference, variance, freedom)
    kind = "paired" if paired else "independent"
    return SeedDifference(
        n=len(common),
        clusters=first.shape[1],
        test=f"t over {len(a)} and {len(b)} {kind} seeds",
        score_a=float(first.mean()),
        stderr_a=_alone(first),
        score_b=float(second.mean()),
        stderr_b=_alone(second),
        difference=difference,
        stderr=math.sqrt(variance),
        stderr_seeds=math.sqrt(math.fsum(part for part, _ in seeds)),
        stderr_questions=math.sqrt(questions[0]),
        freedom=freedom,
        low=float(np.clip(difference - reach, -1, 1)),
        high=float(np.clip(difference + reach, -1, 1)),
        p=p,
        least=0.0 if variance > 0 else 1.0,
    )


def replicated(
    pairs: Sequence[tuple[Sequence[Verdict], Sequence[Verdict]]], *, score: Score = scores.mean
) -> SeedDifference:
    """Compare two methods by seeds that share nothing: neither training nor questions.

    A seed gives one difference, paired by question; the seeds are the sample, see `over_seeds`.

    Args:
        pairs: For each seed the verdicts of the first method and of the second, of one task and
            group.
        score: Of a question.

    Raises:
        Unpairable: In a seed, the two did not answer the same questions.
    """
    by_question = [differences(a, b, score=score) for a, b in pairs]
    clusters = [scores.clusters_of((*a, *b)) for a, b in pairs]
    first, second = (
        [scores.score_and_error(run, score=score)[0] for run in side]
        for side in zip(*pairs, strict=True)
    )
    within = [
        scores.clustered_error([part], known)
        for part, known in zip(by_question, clusters, strict=True)
    ]
    found = over_seeds(
        first, second, questions=math.fsum(error**2 for error in within) / len(within) ** 2
    )
    return replace(
        found,
        n=sum(map(len, by_question)),
        clusters=sum(len({*known.values()}) for known in clusters),
    )


def over_seeds(
    a: Sequence[float], b: Sequence[float], *, questions: float = math.nan
) -> SeedDifference:
    """Compare two methods by the scores that each seed gave them, on questions of its own.

    What training, questions and their meeting add to the spread of the differences is in it,
    whatever its source, so nothing has to be assumed about the parts. p is exact: had the methods
    been alike, each difference would have come with either sign alike, see `resampling.sign_flip`.
    Of n seeds that differ it is at least 2 / 2ⁿ. The interval is of t, as if the differences were
    normal.

    Args:
        a: Scores of the first method, a seed each.
        b: Those of the second, of the same seeds on the same questions.
        questions: Part of the squared standard error that comes from the questions; nan: unknown.
    """
    import numpy as np

    found = np.array(a) - np.array(b)
    variance, freedom = _variance(found)
    first, second, middle = (math.fsum(side) / len(found) for side in (a, b, found.tolist()))
    reach = _reach(variance, freedom)
    moved = int((np.abs(found) > NOISE).sum())
    return SeedDifference(
        n=0,
        clusters=0,
        test=f"exact sign flip over {len(found)} paired seeds, each with questions of its own",
        score_a=first,
        stderr_a=math.sqrt(_variance(np.array(a))[0]),
        score_b=second,
        stderr_b=math.sqrt(_variance(np.array(b))[0]),
        difference=middle,
        differences=tuple(found.tolist()),
        stderr=math.sqrt(variance),
        stderr_seeds=math.sqrt(float(np.maximum(0.0, variance - questions))),  # nan stays
        stderr_questions=math.sqrt(questions),
        freedom=freedom,
        low=float(np.clip(middle - reach, -1, 1)),
        high=float(np.clip(middle + reach, -1, 1)),
        p=sign_flip(found.tolist())[0],
        least=min(1.0, 2.0 ** (1 - moved)),
    )


def _by_cluster(runs: Sequence[dict[Key, float]], clusters: dict[Key, Hashable]) -> Any:
    """[runs, clusters] whose row means are the runs' scores; clusters weigh by their questions.

    The influence of each cluster on the score is added to the score, so that the variance over
    clusters is the cluster-robust one.
    """
    import numpy as np

    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters.values()))}
    rows = np.array([places[cluster] for cluster in clusters.values()])
    values = np.array([[run[key] for key in clusters] for run in runs])
    middle = values.mean()
    found = np.zeros((len(runs), len(places)))
    for run, row in zip(found, values, strict=True):
        np.add.at(run, rows, row - middle)
    return middle + found * len(places) / len(clusters)


def _alone(side: Any) -> float:
    parts = [_variance(side.mean(0)), *([_variance(side.mean(1))] if len(side) > 1 else [])]
    return math.sqrt(math.fsum(part for part, _ in parts))


def _variance(values: Any) -> tuple[float, int]:
    """Variance of a mean, and its degrees of freedom."""
    n = len(values)
    if n < 2:
        return math.nan, 0
    # Values that differ by rounding only are one value.
    return (float(values.var(ddof=1)) / n if values.max() - values.min() > NOISE else 0.0, n - 1)


def _satterthwaite(parts: Sequence[tuple[float, int]]) -> float:
    total = math.fsum(part for part, _ in parts)
    if not total > 0:
        return math.nan
    return total**2 / math.fsum(part**2 / freedom for part, freedom in parts if part > 0)


def _reach(variance: float, freedom: float) -> float:
    """Half the length of the interval; nan where there is no spread to judge by."""
    from scipy.special import stdtrit

    if not variance > 0:
        return math.nan
    return -math.sqrt(variance) * float(stdtrit(freedom, LEVEL / 2))


def _t(difference: float, variance: float, freedom: float) -> float:
    """Two-sided p of t; 1 where there is no spread to judge by."""
    from scipy.special import stdtr

    if not variance > 0:
        return 1.0
    return min(1.0, 2 * float(stdtr(freedom, -abs(difference) / math.sqrt(variance))))
