"""Run folders → differences to a baseline, with their errors, and what they allow to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from harness.runs.schema import Verdict
from harness.statistics import pass_at_k, power, scores, seeds
from harness.statistics.paired import Paired, Unpairable, paired
from harness.statistics.resampling import LEVEL, holm
from harness.statistics.seeds import SeedDifference
from harness.statistics.sides import Run, Side, unlike

Finding = Literal["supported", "inside the noise", "cannot be told"]
"""Supported: the corrected p is below LEVEL. Cannot be told: so few questions came out differently
that no outcome among them would have been enough, and the interval reaches beyond WIDE."""


WIDE = 0.05
"""An interval that reaches farther has room for differences that matter."""


@dataclass(frozen=True)
class Row:
    """One difference: a side against the baseline, on the questions that both answered."""

    task: str
    group: str
    name: str
    baseline: str
    n: int
    clusters: int
    """Independent ones among the questions."""
    score: float
    stderr: float
    baseline_score: float
    baseline_stderr: float
    difference: float
    """Score less the baseline's, −1 … 1."""
    difference_stderr: float
    low: float
    """Low end of the 95 % interval of the difference; nan where nothing is known."""
    high: float
    p: float
    p_holm: float
    """Corrected for the other differences of the same kind: whole tasks, or groups."""
    above: int | None
    """Questions on which the score is above the baseline's; None for several training seeds."""
    below: int | None
    detectable: float
    """Smallest difference found four times in five, at the level of the strictest correction."""
    needed: int | None
    """Questions that would settle a difference of this size; None where that cannot be said."""
    test: str
    interval: str
    finding: Finding


@dataclass(frozen=True)
class Comparison:
    """All differences of a comparison."""

    baseline: str
    metric: str
    rows: tuple[Row, ...]
    """Of whole tasks."""
    groups: tuple[Row, ...]
    """Of the groups in them, corrected among themselves; empty unless asked for."""
    notes: tuple[str, ...]
    """What the reader has to know, a sentence each."""


# Comparing


@dataclass(frozen=True)
class _Found:
    """A difference before it is known how many others there are."""

    task: str
    group: str
    name: str
    versus: Paired | SeedDifference
    score: tuple[float, float]
    """With its error."""
    baseline_score: tuple[float, float]


def compare(
    baseline: Side,
    others: Sequence[Side],
    tasks: Sequence[str],
    *,
    metric: str = "mean",
    groups: bool = False,
) -> Comparison:
    """Compare sides with the baseline, task by task.

    Args:
        baseline: What the others are compared with.
        others: One or more.
        tasks: Those to compare.
        metric: How several answers make a question's score, see `samples.score_of`.
        groups: Compare the groups of each task too.

    Raises:
        UserError: Nothing is common to the baseline and any side.
        ValueError: The metric is none.
    """
    notes: list[str] = []
    whole: list[_Found] = []
    parts: list[_Found] = []
    for task in tasks:
        for side in others:
            try:
                whole.append(_found(side, baseline, task, "all", metric))
            except Unpairable as error:
                notes.append(f"{task}: {side.name} is not compared with {baseline.name}: {error}.")
                continue
            notes += _about(side, baseline, task, metric)
            for group in _groups(baseline, task) if groups else ():
                try:
                    parts.append(_found(side, baseline, task, group, metric))
                except Unpairable:
                    continue
    if not whole:
        raise UserError(f"nothing can be compared: {' '.join(notes)}".rstrip("."))
    notes += [note for side in (baseline, *others) for note in _own(side, tasks, metric)]
    return Comparison(
        baseline=baseline.name,
        metric=metric,
        rows=_judged(whole, baseline.name),
        groups=_judged(parts, baseline.name),
        notes=tuple(dict.fromkeys(notes)),
    )


def task_names(side: Side) -> list[str]:
    """Names of the tasks that a side has answers to."""
    return list(dict.fromkeys(task for run in side.runs for task, _ in run.verdicts))


def _groups(side: Side, task: str) -> list[str]:
    return [group for of, group in side.runs[0].verdicts if of == task and group != "all"]


def _found(side: Side, baseline: Side, task: str, group: str, metric: str) -> _Found:
    score, k = pass_at_k.score_of(metric)
    runs = []
    for which in (side, baseline):
        own = [_enough(verdicts, k) for verdicts in which.verdicts(task, group)]
        if not own:
            raise Unpairable(f"{which.name} has no answers to it")
        if not all(own):
            raise Unpairable(f"{metric} takes {k} answers to a question")
        runs.append(own)
    common = set.intersection(*({v.id for v in verdicts} for own in runs for verdicts in own))
    mine, other = ([[v for v in run if v.id in common] for run in own] for own in runs)
    if not common:
        raise Unpairable("they have no question in common")
    versus: Paired | SeedDifference
    if len(mine) == len(other) == 1:
        versus = paired(mine[0], other[0], score=score)
        ours, theirs = (scores.score_and_error(run, score=score) for run in (mine[0], other[0]))
    else:
        by_seed = _same_seeds(side, baseline)
        if by_seed:
            mine, other = _by_seed(side, mine), _by_seed(baseline, other)
        versus = seeds.compare(mine, other, paired=by_seed, score=score)
        ours, theirs = (versus.score_a, versus.stderr_a), (versus.score_b, versus.stderr_b)
    return _Found(task, group, side.name, versus, ours, theirs)


def _enough(verdicts: list[Verdict], k: int) -> list[Verdict]:
    """Leave out questions with fewer than k answers."""
    if k == 1:
        return verdicts
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.id] = counts.get(verdict.id, 0) + 1
    return [verdict for verdict in verdicts if counts[verdict.id] >= k]


def _same_seeds(a: Side, b: Side) -> bool:
    first, second = a.seeds(), b.seeds()
    known = None not in first and len(set(first)) == len(first) > 1
    return known and sorted(map(str, first)) == sorted(map(str, second))


def _by_seed(side: Side, runs: list[list[Verdict]]) -> list[list[Verdict]]:
    order = sorted(range(len(runs)), key=lambda place: str(side.seeds()[place]))
    return [runs[place] for place in order]


def _judged(found: Sequence[_Found], baseline: str) -> tuple[Row, ...]:
    """Correct the differences for each other, and say what they show."""
    adjusted = holm([one.versus.p for one in found])
    # What the strictest of Holm's tests demands.
    level = LEVEL / max(1, len(found))
    return tuple(_row(one, p, level, baseline) for one, p in zip(found, adjusted, strict=True))


def _row(found: _Found, p_holm: float, level: float, baseline: str) -> Row:
    versus = found.versus
    if isinstance(versus, SeedDifference):
        smallest = seeds.detectable(versus, level=level)
        needed = seeds.settling(versus, level=level)
        matched = "paired" if versus.paired else "independent"
        test = f"t over {versus.seeds_a} and {versus.seeds_b} {matched} seeds"
    else:
        smallest = power.detectable(versus, level=level)
        needed = power.settling(versus, level=level)
        test = versus.test
    return Row(
        task=found.task,
        group=found.group,
        name=found.name,
        baseline=baseline,
        n=versus.n,
        clusters=versus.clusters,
        score=found.score[0],
        stderr=found.score[1],
        baseline_score=found.baseline_score[0],
        baseline_stderr=found.baseline_score[1],
        difference=versus.difference,
        difference_stderr=versus.stderr,
        low=versus.low,
        high=versus.high,
        p=versus.p,
        p_holm=p_holm,
        above=None if isinstance(versus, SeedDifference) else versus.only_a,
        below=None if isinstance(versus, SeedDifference) else versus.only_b,
        detectable=smallest,
        needed=needed,
        test=test,
        interval="t" if isinstance(versus, SeedDifference) else versus.interval,
        finding=_finding(versus, p_holm, level),
    )


def _finding(versus: Paired | SeedDifference, p_holm: float, level: float) -> Finding:
    if p_holm < LEVEL:
        return "supported"
    wide = not max(abs(versus.low), abs(versus.high)) < WIDE
    if isinstance(versus, SeedDifference):
        return "inside the noise" if versus.stderr > 0 else "cannot be told"
    # Had all clusters that differ come out one way, p would be 2 / 2^moved.
    hopeless = 2.0 ** (1 - versus.moved) >= level
    return "cannot be told" if hopeless and wide else "inside the noise"


# What the reader has to know


def _about(side: Side, baseline: Side, task: str, metric: str) -> Iterator[str]:
    """Yield what makes a comparison less than it seems."""
    _, k = pass_at_k.score_of(metric)
    ids = []
    for which in (side, baseline):
        found = [_enough(verdicts, k) for verdicts in which.verdicts(task, "all")]
        ids += [{verdict.id for verdict in verdicts} for verdicts in found]
    common = set.intersection(*ids)
    if any(found != common for found in ids):
        mine, other = (
            len(set.union(*part)) for part in (ids[: len(side.runs)], ids[len(side.runs) :])
        )
        yield (
            f"{task}: {side.name} answered {mine:,} questions and {baseline.name} {other:,}; "
            f"compared on the {len(common):,} that they share."
        )
    if differing := "; ".join(unlike(side.runs[0].card, baseline.runs[0].card, task)):
        yield f"{task}: {side.name} was asked otherwise than {baseline.name}: {differing}."
    reworded = _reworded(side.runs[0], baseline.runs[0], task)
    if reworded:
        yield (
            f"{task}: {reworded:,} of the shared questions were put to {side.name} in other words "
            f"or with other pictures than to {baseline.name}."
        )


def _reworded(a: Run, b: Run, task: str) -> int:
    """Count questions of one id that were not put alike."""
    if a.paper == b.paper or not (a.paper and b.paper):
        return 0
    shared = [key for key in a.asked if key[0] == task and key in b.asked]
    return sum(a.asked[key][0] != b.asked[key][0] for key in shared)


def _own(side: Side, tasks: Sequence[str], metric: str) -> Iterator[str]:
    """Yield what is to be known of one side alone."""
    for run in side.runs:
        if not run.card.finished:
            asked = run.card.sampling.n * sum(task.n for task in run.card.tasks)
            there = sum(len(v) for (_, group), v in run.verdicts.items() if group == "all")
            yield f"{run.card.name} is not finished: {there:,} of {asked:,} answers are graded."
    for task in tasks:
        own = side.verdicts(task, "all")
        found = pass_at_k.spread(own[0]) if metric == "mean" and len(own) == 1 else None
        if found:
            yield (
                f"{task}: of the standard error of {side.name}, "
                f"{100 * found.stderr_between:.1f} comes from the choice of questions and "
                f"{100 * found.stderr_within:.1f} from drawing {found.answers:g} answers to each."
            )
