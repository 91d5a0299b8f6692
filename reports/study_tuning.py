"""What was tried: each setting of each method, its scores, and the one that the rule chose.

And how much computation reaches most of the best score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.statistics import choice
from harness.studies.step import Tuning
from reports.study_rows import Mean, Tried, known, over_seeds

STEP_SIZE = "lr"
"""Setting that is the axis of a curve."""

MOST = 0.9
"""Share of the best score for which the least computation is looked for."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a method in one family."""

    family: str
    title: str
    method: str
    label: str
    settings: Mapping[str, float | str]
    score: Mean
    kept: Mean | None
    loss: Mean | None
    converged: tuple[int, int]
    """Trainings that converged, of those of which it is known."""
    rho: Mean | None
    flops: Mean | None
    keeps: bool
    """Whether what is to be kept was."""
    chosen: bool

    @property
    def said(self) -> str:
        """`lr 0.003, alpha 0.1`."""
        parts = [f"{name} {_number(value)}" for name, value in self.settings.items()]
        return ", ".join(parts) or "as it is"

    @property
    def axis(self) -> str:
        """Setting that is the axis of its curve: the step size, else the first number."""
        numbers = [name for name, value in self.settings.items() if not isinstance(value, str)]
        return STEP_SIZE if STEP_SIZE in numbers else numbers[0] if numbers else ""

    @property
    def line(self) -> str:
        """`alpha 0.1`: what sets a curve apart from others of its method."""
        others = {name: value for name, value in self.settings.items() if name != self.axis}
        return ", ".join(f"{name} {_number(value)}" for name, value in others.items())


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def settings(trials: Sequence[Tried], rule: Tuning) -> list[Setting]:
    """Gather trials that differ in nothing but their seed, and mark the chosen ones."""
    places: dict[tuple[str, str, str], list[Tried]] = {}
    for one in trials:
        key = str(sorted(one.settings.items()))
        places.setdefault((one.family, one.method, key), []).append(one)
    tried: dict[tuple[str, str], list[list[Tried]]] = {}
    for (family, method, _), own in places.items():
        tried.setdefault((family, method), []).append(own)
    found = []
    for alike in tried.values():
        scores = {i: over_seeds(t.score for t in one).mean for i, one in enumerate(alike)}
        kept = {i: m.mean if (m := known(t.kept for t in one)) else 0.0
                for i, one in enumerate(alike)}  # fmt: skip
        least = _least(trials, rule, alike[0])
        able = choice.keeping(scores, kept, least)
        best = choice.best_keeping(scores, kept, least)
        found += [_setting(own, i in able, i == best) for i, own in enumerate(alike)]
    return found


def _least(trials: Sequence[Tried], rule: Tuning, own: Sequence[Tried]) -> float:
    """Score that the group to be kept may not fall below; −1 where nothing is to be kept."""
    seeds = {one.seed for one in own}
    before = known(
        t.kept
        for t in trials
        if (t.family, t.method) == (own[0].family, rule.against) and t.seed in seeds
    )
    return before.mean - rule.points / 100 if rule.keeps and before else -1.0


def _setting(trials: Sequence[Tried], keeps: bool, chosen: bool) -> Setting:
    one = trials[0]
    settled = [t.training.converged for t in trials if t.training.converged is not None]
    return Setting(
        family=one.family,
        title=one.title,
        method=one.method,
        label=one.label,
        settings=one.settings,
        score=over_seeds(t.score for t in trials),
        kept=known(t.kept for t in trials),
        loss=known(t.training.loss for t in trials),
        converged=(sum(settled), len(settled)),
        rho=known(t.training.rho for t in trials),
        flops=known(t.training.flops for t in trials),
        keeps=keeps,
        chosen=chosen,
    )


def until_most(tried: Sequence[Setting]) -> dict[tuple[str, str], float | None]:
    """Say how much computation each method needs for `MOST` of the best score of its family.

    Settings that lose too much of what is to be kept are left out.

    Returns:
        Family and method → the fewest floating point operations among its settings that reach it;
        None where none does. Methods of which no costs are known are left out.
    """
    best_of: dict[str, float] = {}
    able = [one for one in tried if one.keeps]
    for one in able:
        best_of[one.family] = max(best_of.get(one.family, 0.0), one.score.mean)
    found: dict[tuple[str, str], float | None] = {}
    for one in (one for one in able if one.flops):
        place = one.family, one.method
        before = found.setdefault(place, None)
        if one.flops and one.score.mean >= MOST * best_of[one.family]:
            found[place] = min(one.flops.mean, one.flops.mean if before is None else before)
    return found
