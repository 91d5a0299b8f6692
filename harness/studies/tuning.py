"""Settings chosen among the trials of a study, by its rule, and steps that take what was chosen.

`driftbench tune` writes them:

    {"rule": {"task": "pocket_validation", "group": "reasoning-image", …},
     "methods": {"sft": {"llava_next": {"settings": {"lr": 0.003}, "trial": "sft-3",
                                        "score": 0.55, "kept": 0.925, "seeds": 2, "trials": 6}}}}

A word of a step may hold a choice, `word(FILE, METHOD, FAMILY, NAME)`: the value of a setting, or
`trial`, the name of the chosen run. It is filled in when the step starts.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError, near
from common.files import write_whole
from common.typed import MaybeNan, read_json, record
from harness.runs.folder import encoded
from harness.statistics import choice
from harness.statistics.sides import read_run
from harness.studies.step import Design, Trial, Tuning

_CHOICE = re.compile(r"\{chosen ([^ {}]+) ([^ {}]+) ([^ {}]+) ([^ {}]+)\}")
POINT = 0.01


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was chosen for a method in a family."""

    settings: Mapping[str, int | float | str]
    trial: str
    """Name of its run folder."""
    score: MaybeNan
    """Of the group that chose, 0 … 1, mean over seeds."""
    kept: float | None = None
    """Score of the group that was to be kept."""
    keeps: bool = True
    """Whether it was kept; where no trial did, the one that lost least was chosen."""
    seeds: int
    trials: int
    """Settings among which it was chosen."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The choices of a study."""

    rule: Tuning
    methods: Mapping[str, Mapping[str, Chosen]]
    """Method → family → choice."""

    def of(self, method: str, family: str, where: object) -> Chosen:
        """Return the choice for a method in a family.

        Raises:
            UserError: There is none.
        """
        families = self.methods.get(method, {})
        if family not in families:
            there = self.methods if method not in self.methods else families
            raise UserError(
                f"{where} has no settings for {method} in {family}; "
                f"{near(method, there)}it has {', '.join(there) or 'none'}"
            )
        return families[family]


def read(path: Path) -> Tuned:
    """Read what `write` wrote.

    Raises:
        UserError: There is none, or it is broken.
    """
    try:
        return record(Tuned, read_json(path), path)
    except FileNotFoundError:
        raise UserError(f"there is no {path}: `driftbench tune` writes such a file") from None


def write(path: Path, tuned: Tuned) -> None:
    """Write choices as JSON, a line each, aside and renamed."""
    methods = ",\n".join(
        f'"{method}": {{\n'
        + ",\n".join(f' "{name}": {_line(one)}' for name, one in of.items())
        + "}"
        for method, of in tuned.methods.items()
    )
    text = f'{{"rule": {_line(tuned.rule)},\n"methods": {{\n{methods}}}}}\n'
    write_whole(path, text.encode())


def _line(value: Tuning | Chosen) -> str:
    return encoded(value).rstrip("\n")


def tune(
    design: Design, folder: Path, methods: Iterable[str] = (), families: Iterable[str] = ()
) -> Tuned:
    """Choose each method's settings, family by family.

    Args:
        design: The study's.
        folder: In which it ran.
        methods: Some of those that have trials; none: all.
        families: Some of those too.

    Raises:
        UserError: There is no rule, no trial, or one that was not evaluated.
    """
    rule = design.tuning
    tried: dict[tuple[str, str], list[Trial]] = {}
    for trial in design.trials:
        tried.setdefault((trial.method, trial.family), []).append(trial)
    if rule is None or not tried:
        raise UserError(f"the study in {folder} has no trials to choose among")
    wanted = [tuple(methods), tuple(families)]
    for names, known in zip(wanted, map(set, zip(*tried, strict=True)), strict=True):
        if unknown := [name for name in names if name not in known]:
            raise UserError(
                f"the study tried no {unknown[0]!r}; {near(unknown[0], known)}it tried "
                f"{', '.join(sorted(known))}"
            )
    of_methods = wanted[0] or tuple(dict.fromkeys(m for m, _ in tried if m != rule.against))
    found: dict[str, dict[str, Chosen]] = {}
    for method, family in tried:
        if method in of_methods and family in (wanted[1] or (family,)):
            against = tried.get((rule.against, family), [])
            chosen = _choose(rule, folder, tried[method, family], against)
            found.setdefault(method, {})[family] = chosen
    return Tuned(rule=rule, methods=found)


def _choose(rule: Tuning, folder: Path, tried: list[Trial], against: list[Trial]) -> Chosen:
    settings: dict[str, list[Trial]] = {}
    for trial in tried:
        settings.setdefault(repr(sorted(trial.settings.items())), []).append(trial)
    seeds = {trial.seed for trial in tried}
    for trials in settings.values():
        if {trial.seed for trial in trials} != seeds:
            raise UserError(
                f"{trials[0].method} was tried at {dict(trials[0].settings)} on some of the seeds "
                f"{sorted(seeds)} alone"
            )
    scores = {one: _mean(folder, trials, rule.task, rule.group) for one, trials in settings.items()}
    kept: dict[str, float] = {}
    able = list(settings)
    best = choice.best(scores)
    start = [one for one in against if one.seed in seeds]
    if rule.keeps and start:
        least = _mean(folder, start, rule.task, rule.keeps) - rule.points * POINT
        kept = {one: _mean(folder, tried, rule.task, rule.keeps) for one, tried in settings.items()}
        able = choice.keeping(scores, kept, least)
        best = choice.best_keeping(scores, kept, least)
    chosen = settings[best][0]
    return Chosen(
        settings=chosen.settings,
        trial=Path(chosen.folder).name,
        score=scores[best],
        kept=kept.get(best),
        keeps=best in able,
        seeds=len(seeds),
        trials=len(settings),
    )


def _mean(folder: Path, trials: Iterable[Trial], task: str, group: str) -> float:
    scores = []
    for trial in trials:
        cells = read_run(folder / trial.folder).cells
        if (task, group) not in cells:
            raise UserError(
                f"{folder / trial.folder} has no score of {group} in {task}, by which the study "
                "chooses"
            )
        scores.append(cells[task, group].score)
    return math.fsum(scores) / len(scores)


# In the words of a step


def word(file: str, method: str, family: str, name: str) -> str:
    """A word, or a part of one, that becomes what was chosen when the step starts.

    >>> word("tuned.json", "sft", "llava_next", "lr")
    '{chosen tuned.json sft llava_next lr}'
    """
    return f"{{chosen {file} {method} {family} {name}}}"


def filled(text: str, folder: Path) -> str:
    """A word with its choices in place.

    Args:
        text: Of a step.
        folder: The study's.

    Raises:
        UserError: There is no such file or choice.
    """

    def value(found: re.Match[str]) -> str:
        file, method, family, name = found.groups()
        chosen = read(folder / file).of(method, family, folder / file)
        if name != "trial" and name not in chosen.settings:
            raise UserError(f"{folder / file} chose no {name} for {method} in {family}")
        return chosen.trial if name == "trial" else f"{chosen.settings[name]}"

    return _CHOICE.sub(value, text)
