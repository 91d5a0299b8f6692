"""Counting: scores with their standard errors.

Pure functions of verdicts. An answer that is not known to be right (wrong, unparsed, truncated,
failed) counts 0; nothing is dropped. With several answers per question a question's score is the
mean over them, and the question stays the unit: answers are never treated as independent. Nor are
questions of one cluster (`Verdict.cluster`), which share a problem or a picture.

    >>> one = {"task": "t", "sample": 0, "answer": "x", "how": "rule", "groups": ("all",)}
    >>> a = [Verdict(id=str(i), correct=i < 7, **one) for i in range(10)]
    >>> cells("run", a)[0].score
    0.7
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

from harness.runs.schema import Cell, Verdict

Score = Callable[[Sequence[Verdict]], float]
"""Verdicts of one question's answers → the question's score, 0 … 1."""

Key = tuple[str, str]
"""Task and id of a question."""


def mean(verdicts: Sequence[Verdict]) -> float:
    """Score a question by the share of its answers that are right."""
    if len(verdicts) == 1:
        return 1.0 if verdicts[0].correct else 0.0
    return [verdict.correct for verdict in verdicts].count(True) / len(verdicts)


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
    return [cell(run, where, found, score=score) for where, found in members.items()]


def cell(run: str, where: tuple[str, str], *parts: Sequence[Verdict], score: Score = mean) -> Cell:
    """Count the verdicts of one group, or of several that share no question.

    Args:
        run: Name that the cell carries.
        where: Task and group that it carries.
        parts: Verdicts of each group.
        score: Of a question.

    Returns:
        Counts are sums, the score and its error are those of `score_and_error`.
    """
    verdicts = [verdict for part in parts for verdict in part]
    hows = Counter(verdict.how for verdict in verdicts)
    value, stderr = score_and_error(*parts, score=score)
    return Cell(
        run=run,
        task=where[0],
        group=where[1],
        n=len({(verdict.task, verdict.id) for verdict in verdicts}),
        correct=[verdict.correct for verdict in verdicts].count(True),
        unparsed=hows["unparsed"],
        truncated=hows["truncated"],
        error=hows["error"],
        score=value,
        stderr=stderr,
    )


def score_and_error(*parts: Sequence[Verdict], score: Score = mean) -> tuple[float, float]:
    """Return the unweighted mean of some groups' scores, and its standard error as in `cells`.

    Groups weigh alike, whatever their number of questions. The error is √Σ stderr² / number of
    groups where no cluster lies in two of them, and else takes in that they move together.
    """
    questions = [question_scores(part, score) for part in parts]
    middles = [math.fsum(part.values()) / len(part) for part in questions]
    clusters = clusters_of(verdict for part in parts for verdict in part)
    return math.fsum(middles) / len(middles), clustered_error(questions, clusters)


# Questions and clusters


def question_scores(verdicts: Iterable[Verdict], score: Score = mean) -> dict[Key, float]:
    """Score each question, in order of first appearance.

    Raises:
        ValueError: The same answer has two verdicts.
    """
    answers: dict[Key, list[Verdict]] = {}
    for verdict in verdicts:
        answers.setdefault((verdict.task, verdict.id), []).append(verdict)
    for found in (some for some in answers.values() if len(some) > 1):
        samples = [verdict.sample for verdict in found]
        if len(set(samples)) < len(found):
            twice = next(one for at, one in enumerate(found) if one.sample in samples[:at])
            raise ValueError(
                f"answer {twice.sample} to question {twice.id} of {twice.task} has two "
                "verdicts; expected one each"
            )
    return {key: score(found) for key, found in answers.items()}


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
