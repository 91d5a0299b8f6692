"""Several answers to a question: how they make its score, and where the error comes from.

score_of("pass@4")(verdicts)        # of one question's answers
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.errors import UserError
from harness.runs.schema import Verdict
from harness.statistics import scores
from harness.statistics.scores import Score


def score_of(metric: str) -> tuple[Score, int]:
    """Return the score that a metric gives a question, and how many answers it takes.

    Args:
        metric: `mean`, `maj`, or `pass@k` with k a number.

    Raises:
        UserError: It is none of these.
    """
    if metric == "mean":
        return scores.mean, 1
    if metric == "maj":
        return majority, 1
    if found := re.fullmatch(r"pass@([1-9]\d*)", metric):
        k = int(found[1])
        return lambda verdicts: pass_at(k, verdicts), k
    raise UserError(f"there is no metric {metric!r}: expected mean, maj, or pass@k as in pass@4")


def pass_at(k: int, verdicts: Sequence[Verdict]) -> float:
    """Chance that one of k answers is right, without bias: 1 − C(n − c, k) / C(n, k).

    Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374,
    equation 1, with c of n answers right.

    Raises:
        ValueError: There are fewer than k answers.
    """
    n = len(verdicts)
    if n < k:
        raise ValueError(f"pass@{k} takes {k} answers to a question, and there are {n}")
    right = sum(verdict.correct is True for verdict in verdicts)
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def majority(verdicts: Sequence[Verdict]) -> float:
    """Score the answer that was given most often (self-consistency, Wang et al. 2022).

    Answers that were graded right are one answer, however written; others are told apart by their
    text, letter case and blanks at the ends aside. What could not be read has no vote. Of a tie the
    score is the share of the tied answers that are right, as it would be on average by lot.
    """
    votes = Counter(_vote(verdict) for verdict in verdicts if verdict.answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [vote for vote, count in votes.items() if count == most]
    return sum(vote is True for vote in winners) / len(winners)


def _vote(verdict: Verdict) -> str | bool:
    return True if verdict.correct else (verdict.answer or "").strip().casefold()


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where the error of a mean over several answers a question comes from."""

    questions: int
    answers: float
    """A question, on average."""
    between: float
    """Variance of a question's chance of a right answer, between questions."""
    within: float
    """Variance of one answer around its question's chance, averaged over questions."""
    stderr_between: float
    """Part of the standard error, that of clusters, which only more questions lower."""
    stderr_within: float
    """Part that more answers a question lower too."""


def spread(verdicts: Iterable[Verdict]) -> Spread | None:
    """Split the variance of question scores into between and within questions.

    The moments of the one-way random effects model (Searle, Casella & McCulloch 1992, chapter 3):
    within is the mean over questions of p(1 − p)·K / (K − 1), with p of K answers right; between is
    the variance of the p less what answers by chance add to it, within / K on average, and not
    below 0. See Miller 2024, arXiv 2411.00640, section 3.

    Args:
        verdicts: Of one task and group.

    Returns:
        None unless there are two clusters of questions, and two answers to each question.
    """
    verdicts = list(verdicts)
    groups: dict[str, list[bool]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.id, []).append(verdict.correct is True)
    sizes = [len(group) for group in groups.values()]
    n = len(groups)
    if n < 2 or min(sizes) < 2:
        return None
    _, stderr = scores.score_and_error(verdicts)
    if math.isnan(stderr):
        return None
    shares = [sum(group) / len(group) for group in groups.values()]
    own = [p * (1 - p) * k / (k - 1) for p, k in zip(shares, sizes, strict=True)]
    chance = math.fsum(v / k for v, k in zip(own, sizes, strict=True)) / n
    mean = math.fsum(shares) / n
    total = math.fsum((p - mean) ** 2 for p in shares) / (n - 1)
    between = max(0.0, total - chance)
    return Spread(
        questions=n,
        answers=sum(sizes) / n,
        between=between,
        within=math.fsum(own) / n,
        stderr_between=math.sqrt(max(0.0, stderr**2 - chance / n)),
        stderr_within=math.sqrt(chance / n),
    )
