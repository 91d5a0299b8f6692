"""Sides → their differences to a baseline, with errors, and what they allow to say.

Two families of tests, each corrected by itself (Holm 1979):

    headline       declared before anything is seen: each side against the baseline, a task each
    exploratory    what is looked at besides: the mean over tasks, groups of questions, and
                   validation splits, on which something was chosen

    compare([Side("sft", (sft,)), Side("drift", (drift,))]).of("drift", "mathvista").finding
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from common.errors import UserError, near
from harness.statistics import pass_at_k, power
from harness.statistics.caveats import Notes, about, note, of_runs, told
from harness.statistics.paired import Paired, Unpairable
from harness.statistics.pairing import Versus, versus
from harness.statistics.resampling import LEVEL, holm
from harness.statistics.seeds import SeedDifference
from harness.statistics.sides import Side, Where

Family = Literal["headline", "exploratory"]
FAMILIES: tuple[Family, ...] = ("headline", "exploratory")

Finding = Literal["supported", "inside the noise", "cannot be told"]
"""Supported: the corrected p is below LEVEL. Cannot be told: so few questions, or seeds, came out
differently that no outcome among them would have been enough, and the interval reaches beyond
WIDE."""

WIDE = 0.05
"""An interval that reaches farther has room for differences that matter."""

VALIDATION = "_validation"
"""Ends the name of a task on which something was chosen: never a headline."""

MEAN = "mean over tasks"
"""Stands for the group where whole tasks are averaged, each weighing alike."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A side against the baseline, on the questions that both answered."""

    family: Family
    task: str
    """Of the mean over tasks: their names, with a plus between."""
    group: str
    """`all` is the whole task, its questions pooled."""
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
    """Corrected for the other differences of the family."""
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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All differences of some sides to a baseline."""

    baseline: str
    sides: tuple[str, ...]
    """Names, in the order given; the baseline is among them."""
    metric: str
    headline: tuple[str, ...]
    """Tasks of the headline family, those too that only one side answered."""
    differences: tuple[Difference, ...]
    """The headlines first; by task and group, then in the order of the sides."""
    notes: tuple[str, ...]
    """What the reader has to know, a sentence each."""

    def family(self, family: Family) -> tuple[Difference, ...]:
        """Return the differences that are corrected together."""
        return tuple(one for one in self.differences if one.family == family)

    def of(self, side: str, task: str, group: str = "all") -> Difference | None:
        """Return the difference of a side on a task, or a group of it, if there is one."""
        return self._places.get((side, task, group))

    @cached_property
    def _places(self) -> dict[tuple[str, str, str], Difference]:
        return {(one.name, one.task, one.group): one for one in self.differences}


def compare(
    sides: Sequence[Side],
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    groups: bool = False,
    metric: str = "mean",
) -> Comparison:
    """Compare sides with a baseline, task by task.

    Args:
        sides: Two or more; of one there is nothing to compare.
        baseline: Name of the side that the others are compared with; None: the first. Where it has
            no answers to a task the first side that has some stands in, and a note says so.
        tasks: Those to compare; None: all that any side answered, but no validation split beside
            others.
        groups: Compare the mean over tasks and the groups of each task too.
        metric: How several answers make a question's score, see `pass_at_k.score_of`.

    Raises:
        UserError: No side is named so, none answered one of the tasks, or the metric is none.
    """
    score, k = pass_at_k.score_of(metric)
    base = _named(sides, baseline)
    known = list(dict.fromkeys(task for side in sides for task in side.tasks))
    chosen = _chosen(known, tasks)
    left = [
        f"{task} is a validation split: not compared unless it is named."
        for task in known
        if tasks is None and task not in chosen
    ]
    bases = {task: base if task in base.tasks else _first(sides, task) for task in chosen}
    headline = [task for task in chosen if not task.endswith(VALIDATION)]
    found: dict[Family, list[_Found]] = {family: [] for family in FAMILIES}
    notes: Notes = {}
    for task, own in bases.items():
        family: Family = "headline" if task in headline else "exploratory"
        for side in (side for side in sides if side is not own):
            if task not in side.tasks:
                stand_in = f": compared with {own.name}" if side is base else ""
                note(notes, task, side, f"did not answer it{stand_in}")
                continue
            try:
                one = versus(side, own, [(task, "all")], score, k)
            except Unpairable as error:
                note(notes, task, side, f"cannot be compared with {own.name}: {error}")
                continue
            found[family].append(_Found((task, "all"), side.name, own.name, one))
            for text in about(side, own, task, k):
                note(notes, task, side, text)
    for where, own, places in _besides(base, bases, headline) if groups else ():
        for side in (side for side in sides if side is not own):
            try:
                one = versus(side, own, places, score, k)
            except Unpairable as error:
                if where[1] == MEAN:  # a group that one of them lacks is no news
                    note(notes, MEAN, side, f"cannot be compared with {own.name}: {error}")
                continue
            found["exploratory"].append(_Found(where, side.name, own.name, one))
    return Comparison(
        baseline=base.name,
        sides=tuple(side.name for side in sides),
        metric=metric,
        headline=tuple(headline),
        differences=tuple(one for family in found for one in _judged(found[family], family)),
        notes=(*told(notes), *left, *of_runs(sides, chosen, metric)),
    )


def _besides(
    base: Side, bases: dict[str, Side], headline: Sequence[str]
) -> Iterator[tuple[Where, Side, list[Where]]]:
    """Yield what is looked at besides: task and group that it is called, baseline, its places."""
    averaged = [task for task in headline if bases[task] is base]
    if len(averaged) > 1:
        yield ("+".join(averaged), MEAN), base, [(task, "all") for task in averaged]
    for task, own in bases.items():
        for group in own.groups(task):
            yield (task, group), own, [(task, group)]


def _named(sides: Sequence[Side], name: str | None) -> Side:
    names = [side.name for side in sides]
    if name is None:
        return sides[0]
    if name not in names:
        raise UserError(
            f"no side is named {name!r}: {near(name, names)}there are {', '.join(names)}"
        )
    return sides[names.index(name)]


def _first(sides: Sequence[Side], task: str) -> Side:
    return next(side for side in sides if task in side.tasks)


def _chosen(known: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return [task for task in known if not task.endswith(VALIDATION)] or list(known)
    for task in wanted:
        if task not in known:
            raise UserError(
                f"none of the runs answered {task!r}: {near(task, known)}there are answers to "
                f"{', '.join(known)}"
            )
    return list(dict.fromkeys(wanted))


# A family of them


@dataclass(frozen=True)
class _Found:
    """A difference before it is known how many others there are."""

    where: Where
    name: str
    baseline: str
    versus: Versus


def _judged(found: Sequence[_Found], family: Family) -> Iterator[Difference]:
    """Correct the differences for each other, and say what they show."""
    adjusted = holm([one.versus.found.p for one in found])
    # What the strictest of Holm's tests demands.
    level = LEVEL / max(1, len(found))
    for one, p_holm in zip(found, adjusted, strict=True):
        versus = one.versus.found
        yield Difference(
            family=family,
            task=one.where[0],
            group=one.where[1],
            name=one.name,
            baseline=one.baseline,
            n=versus.n,
            clusters=versus.clusters,
            score=one.versus.score[0],
            stderr=one.versus.score[1],
            baseline_score=one.versus.baseline_score[0],
            baseline_stderr=one.versus.baseline_score[1],
            difference=versus.difference,
            difference_stderr=versus.stderr,
            low=versus.low,
            high=versus.high,
            p=versus.p,
            p_holm=p_holm,
            above=versus.only_a if isinstance(versus, Paired) else None,
            below=versus.only_b if isinstance(versus, Paired) else None,
            detectable=power.detectable(versus, level=level),
            needed=power.settling(versus, level=level),
            test=versus.test,
            interval=versus.interval,
            finding=finding(versus, p_holm, level),
        )


def finding(versus: Paired | SeedDifference, p_holm: float, level: float) -> Finding:
    """Say what a difference shows.

    Args:
        versus: It.
        p_holm: Its corrected p.
        level: What the strictest of Holm's tests demands.
    """
    if p_holm < LEVEL:
        return "supported"
    wide = not max(abs(versus.low), abs(versus.high)) < WIDE
    return "cannot be told" if versus.least >= level and wide else "inside the noise"
