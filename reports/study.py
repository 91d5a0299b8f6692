"""A study over seeds: methods scored by runs of several seeds, and what their differences support.

A seed makes everything anew: models, training set, questions. So the seeds are the sample. A score
is the mean over seeds, a difference is paired by question within a seed and then judged over seeds
(`harness.statistics.seeds.replicated`). All that is asked of the runs stands in `CLAIMS`; p-values
are corrected (Holm) over the families for which a claim is judged.

    <study>/seed-<n>/<family>/runs/<checkpoint>/           and settings_runs/<checkpoint>/
    <study>/seed-<n>/<family>/*distance.json               displacements of the checkpoints
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.runs.folder import read_questions
from harness.runs.schema import Verdict
from harness.statistics import scores as tally
from harness.statistics import seeds
from harness.statistics.resampling import holm
from harness.statistics.seeds import SeedDifference
from reports.load import (
    FAMILIES,
    VALIDATION,
    Run,
    choose,
    columns_of,
    family_folders,
    read_run,
    seed_folders,
    sweep_of,
)
from reports.tables import LEVEL

RUNS = ("runs", "settings_runs")
BEST = "best_merge"
"""The merge that did best on the validation questions of its seed."""
METHODS = {
    "vlm": "VLM",
    BEST: "best merge",
    "sft": "SFT",
    "drift": "DRIFT",
    "merge_then_sft": "merge, then SFT, as far as DRIFT",
    "sft_then_merge": "SFT, then merge, as far as DRIFT",
    "random": "DRIFT, random Δ",
    "negated": "DRIFT, −Δ",
    "adaptive": "DRIFT, adaptive",
    "half": "DRIFT, α = 0.5",
    "quarter": "DRIFT, α = 0.25",
    "attention": "DRIFT, attention only",
    "mlp": "DRIFT, MLP only",
    "live": "DRIFT, Δ recomputed",
    "fast_sft": "SFT, 5 × step size",
    "far_drift": "far reasoner: DRIFT",
    "far_merge_then_sft": "far reasoner: merge, then SFT",
    "double_sft": "SFT, 2 × step size",
    "double_drift": "DRIFT, 2 × step size",
    "double_merge_then_sft": "merge, then SFT, 2 × step size",
    "reasoner": "reasoner (text only)",
}
"""Name of a run → its row, in the order of the tables."""
IMAGE, PERCEPTION, TEXT = "reasoning-image", "perception", "reasoning-text"


@dataclass(frozen=True)
class Claim:
    """One thing that the study is asked."""

    text: str
    """As a sentence that may turn out true, false, or beyond what the runs can tell."""
    a: str
    b: str
    """Runs whose difference, a less b, decides."""
    group: str
    sign: int
    """1: a is to score higher; −1: lower; 0: the two are to differ, either way."""


CLAIMS = (
    Claim("Merging raises reasoning over pictures", BEST, "vlm", IMAGE, 1),
    Claim("Merging raises reasoning in text", BEST, "vlm", TEXT, 1),
    Claim("Merging costs perception", BEST, "vlm", PERCEPTION, -1),
    Claim("SFT raises reasoning over pictures", "sft", "vlm", IMAGE, 1),
    Claim("DRIFT reasons better over pictures than SFT", "drift", "sft", IMAGE, 1),
    Claim("DRIFT reasons better in text than SFT", "drift", "sft", TEXT, 1),
    Claim("DRIFT reasons better in text than the VLM did", "drift", "vlm", TEXT, 1),
    Claim("DRIFT costs perception", "drift", "vlm", PERCEPTION, -1),
    Claim("DRIFT reasons better over pictures than the best merge", "drift", BEST, IMAGE, 1),
    Claim("It is the direction: Δ beats a random one of its norms", "drift", "random", IMAGE, 1),
    Claim("A random direction changes what SFT reaches", "random", "sft", IMAGE, 0),
    Claim("The opposite direction harms perception", "negated", "sft", PERCEPTION, -1),
    Claim(
        "DRIFT reasons better than merging as far, then SFT", "drift", "merge_then_sft", IMAGE, 1
    ),
    Claim(
        "DRIFT perceives better than merging as far, then SFT",
        "drift",
        "merge_then_sft",
        PERCEPTION,
        1,
    ),
    Claim(
        "DRIFT reasons better than SFT, then merging as far", "drift", "sft_then_merge", IMAGE, 1
    ),
    Claim("The adaptive rule beats a constant half of α", "adaptive", "half", IMAGE, 1),
    Claim("All projections beat attention alone", "drift", "attention", IMAGE, 1),
    Claim("All projections beat the MLPs alone", "drift", "mlp", IMAGE, 1),
    Claim("Recomputing Δ at each step changes the result", "live", "drift", IMAGE, 0),
    Claim("Recomputing Δ at each step keeps more perception", "live", "drift", PERCEPTION, 1),
    Claim("DRIFT beats SFT at five times the step size", "drift", "fast_sft", IMAGE, 1),
    Claim("Far reasoner: DRIFT reasons better than SFT", "far_drift", "sft", IMAGE, 1),
    Claim(
        "Far reasoner: DRIFT reasons better than merging as far, then SFT",
        "far_drift",
        "far_merge_then_sft",
        IMAGE,
        1,
    ),
    Claim(
        "At twice the step size: DRIFT reasons better than SFT",
        "double_drift",
        "double_sft",
        IMAGE,
        1,
    ),
    Claim(
        "At twice the step size: DRIFT reasons better than merging as far, then SFT",
        "double_drift",
        "double_merge_then_sft",
        IMAGE,
        1,
    ),
)


@dataclass(frozen=True)
class Mean:
    """A score over seeds."""

    values: tuple[float, ...]
    """By seed."""
    mean: float
    stderr: float
    """Over seeds; nan for a single one."""


@dataclass(frozen=True)
class Method:
    """One row of a family."""

    name: str
    label: str
    scores: dict[str, Mean]
    """By group."""
    unread: float
    """Share of answers that are unparsed or truncated, over groups and seeds."""
    rho: Mean | None
    """Displacement along Δ, ⟨w − w₀, Δ⟩ / ‖Δ‖²."""
    moved: Mean | None
    """‖w − w₀‖ / ‖Δ‖."""
    seconds: float | None
    """Of training, mean over seeds."""


@dataclass(frozen=True)
class Finding:
    """A claim, judged in one family."""

    claim: Claim
    family: str
    found: SeedDifference
    p: float
    """Corrected."""

    @property
    def verdict(self) -> str:
        """`supported`, `contradicted` or `cannot be told`."""
        if self.p >= LEVEL:
            return "cannot be told"
        agrees = self.claim.sign == 0 or self.claim.sign * self.found.difference > 0
        return "supported" if agrees else "contradicted"


@dataclass(frozen=True)
class FamilyStudy:
    """A family over seeds."""

    name: str
    title: str
    groups: tuple[str, ...]
    methods: tuple[Method, ...]
    sweep: dict[float, dict[str, Mean]]
    """α of a linear merge → group → score."""
    chosen: tuple[float, ...]
    """α of the best merge, by seed."""
    floors: dict[str, float]
    """Group → what always the same answer scores, mean over seeds."""

    def method(self, name: str) -> Method | None:
        """Return the row of this name, if there is one."""
        return next((method for method in self.methods if method.name == name), None)


@dataclass(frozen=True)
class Study:
    """All seeds of a study."""

    seeds: int
    questions: int
    """Of each seed and checkpoint, on the test split."""
    answers: int
    """Graded in all, validation included."""
    families: tuple[FamilyStudy, ...]
    findings: tuple[Finding, ...]
    """In the order of `CLAIMS`, then of the families."""


@dataclass(frozen=True)
class _Asked:
    """What one seed knows of a family."""

    runs: dict[str, Run]
    """The best merge among them once more, under the name `BEST`."""
    answers: int
    moves: dict[str, dict[str, Any]]
    """Checkpoint → its displacement."""
    chosen: float | None
    """α of the best merge."""
    sweep: dict[float, Run]
    """By growing α."""


def read(path: Path) -> Study | None:
    """Read a study of several seeds; None where there is but one.

    A family is counted over the seeds that have runs of it, a method over those that asked it.
    """
    places = seed_folders(path)
    if len(places) < 2:
        return None
    asked: dict[str, list[_Asked]] = {}
    for place in places:
        for folder in family_folders(place):
            asked.setdefault(folder.name, []).append(_asked(folder))
    seeds_asked = [seed for family in asked.values() for seed in family]
    sizes = [
        sum(len(verdicts) for _, verdicts in _tested(run))
        for seed in seeds_asked
        for run in seed.runs.values()
    ]
    return Study(
        seeds=len(places),
        questions=max(sizes, default=0),
        answers=sum(seed.answers for seed in seeds_asked),
        families=tuple(_family(name, found) for name, found in asked.items()),
        findings=tuple(_findings(asked)),
    )


def _asked(folder: Path) -> _Asked:
    runs = {
        card.parent.name: read_run(card.parent)
        for place in RUNS
        for card in sorted((folder / place).glob("*/run.json"))
    }
    runs = {name: run for name, run in runs.items() if run.cells}
    moves = {
        Path(one["checkpoint"]).name: one
        for file in sorted(folder.glob("*distance.json"))
        for one in json.loads(file.read_bytes()).get("displacements", ())
    }
    answers = sum(
        len(verdicts)
        for run in runs.values()
        for (_, group), verdicts in run.verdicts.items()
        if group == "all"
    )
    sweep = sweep_of(runs)
    choice = choose(sweep, columns_of(runs.values(), validation=True), [])
    by_share = {row.alpha or 0.0: row.run for row in sweep}
    if choice:
        runs[BEST] = by_share[choice.alpha]
    return _Asked(runs, answers, moves, choice.alpha if choice else None, by_share)


def _tested(run: Run) -> list[tuple[tuple[str, str], list[Verdict]]]:
    """Groups of the test questions, beyond the one of all."""
    return [
        (key, verdicts)
        for key, verdicts in run.verdicts.items()
        if not key[0].endswith(VALIDATION) and key[1] != "all"
    ]


def _group(run: Run, group: str) -> list[Verdict]:
    return next((found for (_, name), found in _tested(run) if name == group), [])


# Counting


def over_seeds(values: Iterable[float]) -> Mean:
    """Mean and its standard error, √(Σ (x − mean)² / (n − 1) / n).

    >>> round(over_seeds([0.4, 0.6]).stderr, 3)
    0.1
    """
    found = tuple(values)
    middle = math.fsum(found) / len(found)
    if len(found) < 2:
        return Mean(found, middle, math.nan)
    squares = math.fsum((value - middle) ** 2 for value in found)
    return Mean(found, middle, math.sqrt(squares / (len(found) - 1) / len(found)))


def _family(name: str, asked: Sequence[_Asked]) -> FamilyStudy:
    groups = list(
        dict.fromkeys(
            g for seed in asked for run in seed.runs.values() for (_, g), _ in _tested(run)
        )
    )
    known = dict.fromkeys(run for seed in asked for run in seed.runs)
    shown = [run for run in METHODS if run in known]
    alphas = sorted({alpha for seed in asked for alpha in seed.sweep})
    return FamilyStudy(
        name=name,
        title=FAMILIES.get(name, name),
        groups=tuple(groups),
        methods=tuple(_method(run, groups, asked) for run in shown),
        sweep={
            alpha: _scores([seed.sweep[alpha] for seed in asked if alpha in seed.sweep], groups)
            for alpha in alphas
        },
        chosen=tuple(seed.chosen for seed in asked if seed.chosen is not None),
        floors=_floors(asked),
    )


def _floors(asked: Sequence[_Asked]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for seed in asked:
        run = next(iter(seed.runs.values()))
        floors = {
            (question.task, question.id): question.row.get("floor")
            for question in read_questions(run.folder)
        }
        for (task, group), verdicts in _tested(run):
            values = [floors.get((task, verdict.id)) for verdict in verdicts]
            known = [float(value) for value in values if value is not None]
            if known and len(known) == len(values):
                found.setdefault(group, []).append(math.fsum(known) / len(known))
    return {group: math.fsum(values) / len(values) for group, values in found.items()}


def _method(name: str, groups: Sequence[str], asked: Sequence[_Asked]) -> Method:
    having = [seed for seed in asked if name in seed.runs]
    runs = [seed.runs[name] for seed in having]
    verdicts = [v for run in runs for _, found in _tested(run) for v in found]
    moves = [seed.moves[name] for seed in having if name in seed.moves]
    costs = [(run.card.made or {}).get("cost") or {} for run in runs]
    seconds = [float(cost["seconds"]) for cost in costs if cost.get("seconds") is not None]
    return Method(
        name=name,
        label=METHODS[name],
        scores=_scores(runs, groups),
        unread=sum(v.how in ("unparsed", "truncated") for v in verdicts) / len(verdicts),
        rho=over_seeds(move["rho"] for move in moves) if moves else None,
        moved=over_seeds(move["moved"] for move in moves) if moves else None,
        seconds=math.fsum(seconds) / len(seconds) if seconds else None,
    )


def _scores(runs: Sequence[Run], groups: Sequence[str]) -> dict[str, Mean]:
    found = {}
    for group in groups:
        values = [
            tally.score_and_error(_group(run, group))[0] for run in runs if _group(run, group)
        ]
        if values:
            found[group] = over_seeds(values)
    return found


def _findings(asked: dict[str, list[_Asked]]) -> Iterable[Finding]:
    for claim in CLAIMS:
        found = {}
        for name, family in asked.items():
            pairs = [
                (_group(seed.runs[claim.a], claim.group), _group(seed.runs[claim.b], claim.group))
                for seed in family
                if claim.a in seed.runs and claim.b in seed.runs
            ]
            pairs = [(a, b) for a, b in pairs if a and b]
            if len(pairs) > 1:
                found[name] = seeds.replicated(pairs)
        adjusted = holm([one.p for one in found.values()])
        for (name, one), p in zip(found.items(), adjusted, strict=True):
            yield Finding(claim, name, one, p)
