"""Counting: scores with their standard errors, and differences with theirs.

Pure functions of verdicts. An answer that is not known to be right (wrong, unread, truncated,
failed) counts 0; nothing is dropped. With several answers per question a question's score is the
mean over them, and the question stays the unit: answers are never treated as independent.

    >>> a = [Verdict("t", str(i), 0, i < 7, "x", "rule", ("all",)) for i in range(10)]
    >>> cells("run", a)[0].score
    0.7
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from harness.records import Cell, Verdict

FLIPS = 20_000
"""Random sign patterns where no exact test applies; the smallest p is then 1 / (FLIPS + 1)."""


class Unpairable(ValueError):
    """Two runs that cannot be compared question by question; the message says why."""


@dataclass(frozen=True)
class Paired:
    """The difference between two runs on the same questions."""

    n: int
    """Questions that both answered."""
    difference: float
    """Score of the first minus score of the second, −1 … 1."""
    stderr: float
    """Standard error of the paired difference; nan for fewer than two questions."""
    p: float
    """Two-sided, not corrected for several comparisons."""
    only_a: int
    """Questions on which the first scores higher: for one answer a question, right there alone."""
    only_b: int
    """The same for the second."""
    test: str
    """`exact McNemar` or `sign flip`."""


def cells(run: str, verdicts: Iterable[Verdict]) -> list[Cell]:
    """Count each task's groups.

    Args:
        run: Name that the cells carry.
        verdicts: Of one run, one for each answer, in any order.

    Returns:
        A cell per task and group, in order of first appearance. `correct`, `open`, `truncated` and
        `error` count answers, `n` counts questions; they add up when there is one answer a
        question. `stderr` is the sample standard deviation of the question scores (n − 1) over √n,
        which for right-or-wrong answers is √(p(1 − p) / (n − 1)). It is nan for a single question:
        one question carries no information about its own error, and 0 would claim certainty.

    Raises:
        ValueError: The same answer has two verdicts.
    """
    members: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        for group in verdict.groups:
            members.setdefault((verdict.task, group), []).append(verdict)
    return [_cell(run, task, group, found) for (task, group), found in members.items()]


def _cell(run: str, task: str, group: str, verdicts: list[Verdict]) -> Cell:
    scores = list(_question_scores(verdicts).values())
    return Cell(
        run=run,
        task=task,
        group=group,
        n=len(scores),
        correct=sum(verdict.correct is True for verdict in verdicts),
        open=sum(verdict.how == "open" for verdict in verdicts),
        truncated=sum(verdict.how == "truncated" for verdict in verdicts),
        error=sum(verdict.how == "error" for verdict in verdicts),
        score=math.fsum(scores) / len(scores),
        stderr=_stderr(scores),
    )


def mean_cell(parts: Sequence[Cell], group: str = "mean") -> Cell:
    """The unweighted mean of cells that share no question, with its error.

    Args:
        parts: Cells of one run, one or more.
        group: Name that the result carries.

    Returns:
        Counts are sums; the error is √Σ stderr² / number of parts.
    """
    return Cell(
        run=parts[0].run,
        task="+".join(dict.fromkeys(part.task for part in parts)),
        group=group,
        n=sum(part.n for part in parts),
        correct=sum(part.correct for part in parts),
        open=sum(part.open for part in parts),
        truncated=sum(part.truncated for part in parts),
        error=sum(part.error for part in parts),
        score=math.fsum(part.score for part in parts) / len(parts),
        stderr=math.hypot(*(part.stderr for part in parts)) / len(parts),
    )


def paired(a: Iterable[Verdict], b: Iterable[Verdict], *, intersection: bool = False) -> Paired:
    """Compare two runs on the questions of one group.

    Args:
        a: Verdicts of the first run, of one task and group.
        b: Those of the second.
        intersection: Compare the questions that both have, where the sets differ.

    Returns:
        The difference of the scores and its error. p comes from flipping the sign of each
        question's difference. Where all differences that are not zero have one size (one answer a
        question: right or wrong) this is the exact McNemar test: min(1, 2·P(X ≤ min(b, c))),
        X ~ Binomial(b + c, ½), b and c the questions that only one run got right. Otherwise it is
        estimated from `FLIPS` random sign patterns of a fixed seed.

    Raises:
        Unpairable: The question sets differ, or have nothing in common.
    """
    return paired_mean([(a, b)], intersection=intersection)


def paired_mean(
    groups: Iterable[tuple[Iterable[Verdict], Iterable[Verdict]]], *, intersection: bool = False
) -> Paired:
    """Compare two runs on the unweighted mean of several groups that share no question.

    Args:
        groups: For each group the verdicts of the first run and of the second.
        intersection: As in `paired`.

    Returns:
        As `paired`; each group counts the same, whatever its number of questions.

    Raises:
        Unpairable: As `paired`, or a question lies in two groups.
    """
    by_group = [_differences(a, b, intersection) for a, b in groups]
    everything = [key for found in by_group for key in found]
    if len(set(everything)) < len(everything):
        raise Unpairable("a question lies in two of the groups, so their mean has no simple error")
    parts = [list(found.values()) for found in by_group]
    # A question weighs 1/n of its group; common factors leave the test alone, and none for groups
    # of one size keeps the differences of right-or-wrong answers at exactly ±1.
    sizes = {len(part) for part in parts}
    weights = [1.0 if len(sizes) == 1 else 1.0 / len(part) for part in parts]
    p, test = _sign_flip([w * x for w, part in zip(weights, parts, strict=True) for x in part])
    return Paired(
        n=len(everything),
        difference=math.fsum(math.fsum(part) / len(part) for part in parts) / len(parts),
        stderr=math.hypot(*(_stderr(part) for part in parts)) / len(parts),
        p=p,
        only_a=sum(x > 0 for part in parts for x in part),
        only_b=sum(x < 0 for part in parts for x in part),
        test=test,
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


def minimal_detectable(
    n: int, discordance: float, *, power: float = 0.8, level: float = 0.05
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
    difference: float, discordance: float, *, power: float = 0.8, level: float = 0.05
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


def _quantiles(power: float, level: float) -> tuple[float, float]:
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)


def _question_scores(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], float]:
    """(task, id) → mean over its answers, in order of first appearance."""
    answers: dict[tuple[str, str], dict[int, bool]] = {}
    for verdict in verdicts:
        samples = answers.setdefault((verdict.task, verdict.id), {})
        if verdict.sample in samples:
            raise ValueError(
                f"answer {verdict.sample} to question {verdict.id} of {verdict.task} has two "
                "verdicts; expected one each"
            )
        samples[verdict.sample] = verdict.correct is True
    return {key: sum(samples.values()) / len(samples) for key, samples in answers.items()}


def _differences(
    a: Iterable[Verdict], b: Iterable[Verdict], intersection: bool
) -> dict[tuple[str, str], float]:
    first, second = _question_scores(a), _question_scores(b)
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


def _stderr(values: Sequence[float]) -> float:
    n = len(values)
    if n < 2:
        return math.nan
    mean = math.fsum(values) / n
    return math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1) / n)


def _sign_flip(differences: Sequence[float]) -> tuple[float, str]:
    sizes = {round(abs(x), 12) for x in differences if x}  # 1 − 2/3 and 1/3 are one size
    if len(sizes) <= 1:
        return _mcnemar(sum(x > 0 for x in differences), sum(x < 0 for x in differences)), (
            "exact McNemar"
        )
    import numpy as np

    moved = np.array([x for x in differences if x])
    observed = abs(moved.sum()) - 1e-9 * np.abs(moved).max()  # ties differ by rounding only
    generator = np.random.default_rng(0)
    rows = max(1, 4_000_000 // len(moved))
    extreme = 0
    for start in range(0, FLIPS, rows):
        shape = (min(rows, FLIPS - start), len(moved))
        signs = generator.integers(0, 2, shape, dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ moved) >= observed).sum())
    return (extreme + 1) / (FLIPS + 1), "sign flip"


def _mcnemar(b: int, c: int) -> float:
    """Exact two-sided p in whole numbers, rounded once at the end."""
    total = b + c
    term = tail = 1
    for k in range(min(b, c)):
        term = term * (total - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**total)
