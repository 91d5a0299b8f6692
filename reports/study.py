"""A study over seeds: methods scored by runs of several seeds, and what its claims turn out to be.

The seeds are the sample: a score is the mean over seeds, and a difference is judged over seeds by
the test that fits their questions (`harness.statistics.pairing`). What is asked of the runs are the
study's own claims (`harness.statistics.claims`).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from common.provenance import cost_of
from harness.runs import schema
from harness.runs.folder import read_questions
from harness.statistics import pairing, scores
from harness.statistics.claims import Asked, Verdict, judge
from harness.statistics.paired import Unpairable
from harness.statistics.seeds import SeedDifference
from harness.statistics.sides import Run, Side
from harness.studies.step import Claim, Design, Method
from reports.blocks import Column, Material, Part, Row, rho


@dataclass(frozen=True)
class Mean:
    """A score over seeds."""

    values: tuple[float, ...]
    """By seed."""
    mean: float
    stderr: float
    """Over seeds; nan for a single one."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A method in one family."""

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
    """Corrected where the claim is primary."""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class FamilyStudy:
    """A family over seeds."""

    name: str
    title: str
    groups: tuple[str, ...]
    methods: tuple[Scored, ...]
    sweep: dict[float, dict[str, Mean]]
    """α of a linear merge → group → score."""
    reached: dict[float, float]
    """α of a linear merge → the ρ that it reached, mean over seeds."""
    floors: dict[str, float]
    """Group → what always the same answer scores, mean over seeds."""

    def method(self, name: str) -> Scored | None:
        """Return the row of this name, if there is one."""
        return next((method for method in self.methods if method.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All seeds of a study."""

    seeds: int
    questions: int
    """Of each seed and checkpoint, on the test split."""
    answers: int
    """Graded in all, validation included."""
    families: tuple[FamilyStudy, ...]
    findings: tuple[Finding, ...]
    """In the order of the claims, then of the families."""


def of(material: Material) -> Study | None:
    """Count a study over its seeds; None where there is but one.

    A family is counted over the seeds that have runs of it, a method over those that asked it.
    """
    parts = [part for part in material.parts if any(row.run.cells for row in part.rows)]
    if material.study is None or len({part.seed for part in parts}) < 2:
        return None
    families: dict[str, list[Part]] = {}
    for part in parts:
        families.setdefault(part.family, []).append(part)
    runs = [run for part in parts for run in _runs(part)]
    columns = {id(run): part.columns for part in parts for run in _runs(part)}
    return Study(
        seeds=len({part.seed for part in parts}),
        questions=max(sum(len(_asked(run, c)) for c in columns[id(run)]) for run in runs),
        answers=sum(
            cell.n for run in runs for (_, group), cell in run.cells.items() if group == "all"
        ),
        families=tuple(_family(found, material.study) for found in families.values()),
        findings=tuple(_findings(material.study.claims, families)),
    )


def _runs(part: Part) -> list[Run]:
    return list({row.run.folder: row.run for row in (*part.rows, *part.sweep)}.values())


def _asked(run: Run, column: Column) -> list[schema.Verdict]:
    return run.verdicts.get(column.key, [])


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


def _family(parts: Sequence[Part], design: Design) -> FamilyStudy:
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    known = {method.name: method for method in design.methods}
    named = dict.fromkeys(row.method for part in parts for row in part.rows)
    names = [name for name in dict.fromkeys((*known, *named)) if name in named]
    alphas = sorted({row.alpha or 0.0 for part in parts for row in part.sweep})
    swept = {a: [row for p in parts for row in p.sweep if row.alpha == a] for a in alphas}
    return FamilyStudy(
        name=parts[0].family,
        title=parts[0].title,
        groups=tuple(column.title for column in columns),
        methods=tuple(_scored(name, known.get(name), columns, parts) for name in names),
        sweep={a: _scores([row.run for row in rows], columns) for a, rows in swept.items()},
        reached={a: math.fsum(map(rho, rows)) / len(rows) for a, rows in swept.items()},
        floors=_floors(columns, parts),
    )


def _row(part: Part, method: str) -> Row | None:
    return next((row for row in part.rows if row.method == method), None)


def _scored(
    name: str, method: Method | None, columns: Sequence[Column], parts: Sequence[Part]
) -> Scored:
    having = [(part, row) for part in parts if (row := _row(part, name))]
    runs = [row.run for _, row in having]
    label = method.label if method else name
    shares = [f"{row.alpha:g}" for _, row in having if row.alpha is not None]
    if method and method.chosen_on and shares:
        label += f" (α {', '.join(shares)})"
    verdicts = [v for run in runs for column in columns for v in _asked(run, column)]
    moves = [
        move
        for part, row in having
        for found in part.distances
        for move in found.displacements
        if move.checkpoint == row.run.name
    ]
    costs = [cost_of(run.card.made) for run in runs]
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    return Scored(
        name=name,
        label=label,
        scores=_scores(runs, columns),
        unread=sum(v.how in ("unparsed", "truncated") for v in verdicts) / max(1, len(verdicts)),
        rho=over_seeds(move.rho for move in moves) if moves else None,
        moved=over_seeds(move.moved for move in moves) if moves else None,
        seconds=math.fsum(seconds) / len(seconds) if seconds else None,
    )


def _scores(runs: Sequence[Run], columns: Sequence[Column]) -> dict[str, Mean]:
    found = {}
    for column in columns:
        if values := [run.cells[column.key].score for run in runs if column.key in run.cells]:
            found[column.title] = over_seeds(values)
    return found


def _floors(columns: Sequence[Column], parts: Sequence[Part]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for part in parts:
        run = part.rows[0].run
        floors = {
            (question.task, question.id): question.row.get("floor")
            for question in read_questions(run.folder)
        }
        for column in columns:
            values = [floors.get((column.task, verdict.id)) for verdict in _asked(run, column)]
            known = [float(value) for value in values if value is not None]
            if known and len(known) == len(values):
                found.setdefault(column.title, []).append(math.fsum(known) / len(known))
    return {group: math.fsum(values) / len(values) for group, values in found.items()}


# Judging


def _findings(claims: Sequence[Claim], families: dict[str, list[Part]]) -> Iterator[Finding]:
    asked = [(claim, name) for claim in claims for name in families]
    found = [_tested(claim, families[name]) for claim, name in asked]
    tests = [
        Asked(found=one, sign=claim.sign, primary=True)
        for (claim, _), one in zip(asked, found, strict=True)
    ]
    for (claim, name), one, judged in zip(asked, found, judge(tests), strict=True):
        if one and judged:
            yield Finding(claim, name, one, judged.p, judged.verdict)


def _tested(claim: Claim, parts: Sequence[Part]) -> SeedDifference | None:
    """The two methods of a claim over the seeds that ran both, of which there are at least two."""
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    places = [column.key for column in columns if column.title == claim.group]
    pairs = []
    for part in parts:
        rows = _row(part, claim.method), _row(part, claim.against)
        runs = [row.run for row in rows if row and set(places) & row.run.verdicts.keys()]
        if len(runs) == 2:
            pairs.append(runs)
    if len(pairs) < 2:
        return None
    first, second = (Side(name, tuple(run[i] for run in pairs)) for i, name in enumerate("ab"))
    with suppress(Unpairable):
        found = pairing.versus(first, second, places, scores.mean, 1).found
        return found if isinstance(found, SeedDifference) else None
    return None
