"""Two sides on one group of questions → the difference by the test that fits their runs.

    one run each                       question by question, see `paired`
    several, asked the same            over seeds and questions, see `seeds.compare`
    several, each seed its own         over seeds alone, exactly, see `seeds.replicated`

Whether two questions of one id are one question is decided by digests of what the model saw.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.runs.schema import Verdict
from harness.statistics import scores, seeds
from harness.statistics.paired import Paired, Unpairable, paired_mean
from harness.statistics.scores import Score
from harness.statistics.seeds import SeedDifference
from harness.statistics.sides import Run, Side, Where, alike, other_questions


@dataclass(frozen=True)
class Versus:
    """A difference, and the scores that it is of."""

    found: Paired | SeedDifference
    score: tuple[float, float]
    """With its standard error."""
    baseline_score: tuple[float, float]


def versus(side: Side, base: Side, places: list[Where], score: Score, k: int) -> Versus:
    """Compare on one place, or on the mean over several.

    Raises:
        Unpairable: They have no question in common, or other questions under the same ids.
    """
    task = places[0][0]
    found: Paired | SeedDifference
    if len(side.runs) == len(base.runs) == 1:
        both = (*side.runs, *base.runs)
        pairs = [_shared(both, place, k) for place in places]
        found = paired_mean([(a, b) for a, b in pairs], score=score)
        ours, theirs = (
            scores.score_and_error(*runs, score=score) for runs in zip(*pairs, strict=True)
        )
    else:
        if len(places) > 1:
            raise Unpairable("a mean over tasks is taken of single runs")
        if own := own_questions(side, base, task):
            pairs = [_shared(pair, places[0], k) for pair in own]
            found = seeds.replicated([(a, b) for a, b in pairs], score=score)
        else:
            paired = _same_seeds(side, base)
            mine, other = (_by_seed(one) if paired else one.runs for one in (side, base))
            runs = _shared((*mine, *other), places[0], k)
            split = runs[: len(mine)], runs[len(mine) :]
            found = seeds.compare(*split, paired=paired, score=score)
        ours, theirs = (found.score_a, found.stderr_a), (found.score_b, found.stderr_b)
    return Versus(found, ours, theirs)


def _shared(runs: Sequence[Run], place: Where, k: int) -> list[list[Verdict]]:
    """Return each run's verdicts on the questions to which all of them gave k answers."""
    if not all(run.verdicts.get(place) for run in runs):
        raise Unpairable("one of them has no answers to it")
    every = [enough(run.verdicts[place], k) for run in runs]
    ids = [{verdict.id for verdict in verdicts} for verdicts in every]
    if not all(ids):
        raise Unpairable(f"pass@{k} takes {k} answers to a question")
    common = set.intersection(*ids)
    if not common:
        raise Unpairable("they have no question in common")
    common -= other_questions(runs[0], runs[-1], place[0])
    if not common:
        raise Unpairable("under the same ids they were asked other questions")
    return [[verdict for verdict in verdicts if verdict.id in common] for verdicts in every]


def enough(verdicts: list[Verdict], k: int) -> list[Verdict]:
    """Leave out questions with fewer than k answers."""
    if k == 1:
        return verdicts
    counts = Counter(verdict.id for verdict in verdicts)
    return [verdict for verdict in verdicts if counts[verdict.id] >= k]


def own_questions(side: Side, base: Side, task: str) -> list[tuple[Run, Run]]:
    """Pair the runs by their questions, where the runs of a side were asked different ones.

    Returns:
        Nothing where all runs of each side were asked the same.

    Raises:
        Unpairable: Not every run has its like on the other side, and one only.
    """
    if all(alike(one.runs[0], run, task) for one in (side, base) for run in one.runs[1:]):
        return []
    pairs = [(a, b) for a in side.runs for b in base.runs if alike(a, b, task)]
    if not len(pairs) == len(side.runs) == len(base.runs) == len({a.folder for a, _ in pairs}):
        raise Unpairable(
            "their runs were asked different questions, and not each by one run of both sides"
        )
    return pairs


def _same_seeds(a: Side, b: Side) -> bool:
    first, second = a.seeds(), b.seeds()
    known = None not in first and len(set(first)) == len(first) > 1
    return known and sorted(map(str, first)) == sorted(map(str, second))


def _by_seed(side: Side) -> tuple[Run, ...]:
    order = sorted(zip(map(str, side.seeds()), side.runs, strict=True), key=lambda pair: pair[0])
    return tuple(run for _, run in order)
