"""A study on disk → its rows, its tests, its merges: what `reports.study` is made from."""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.provenance import cost_of, whole
from harness.runs.folder import read_questions
from harness.runs.schema import Cell
from harness.statistics import pairing, scores
from harness.statistics.paired import Unpairable
from harness.statistics.seeds import SeedDifference
from harness.statistics.sides import Run, Side, read_run, root
from harness.studies.step import Claim, Design, Trial
from reports import study
from reports.blocks import Column, Material, Part, Row, floor_of, rho
from reports.families import title_of
from reports.plots import training
from reports.study import Study, Sweep
from reports.study_rows import Scored, Training, Tried, converged, known, mean


def of(material: Material) -> Study | None:
    """Count a study over its seeds; None where there is but one and nothing was tried.

    A family is counted over the seeds that have runs of it, a method over those that asked it. Of
    tuning alone, or beside a single seed, the study is what was tried, without a family.
    """
    parts = [part for part in material.parts if any(row.run.cells for row in part.rows)]
    design = material.study
    if design is None:
        return None
    trials = tried(design, material.folder)
    if len({part.seed for part in parts}) < 2:
        return study.build((), {}, {}, trials=trials, tuning=design.tuning) if trials else None
    by_family: dict[str, list[Part]] = {}
    for part in parts:
        by_family.setdefault(part.family, []).append(part)
    asked = list(asked_of(design, by_family))
    return study.build(
        scored(material),
        {
            (claim, family): _tested(claim, by_family.get(family, []), _once(design, family))
            for claim, family in asked
        },
        design.floors,
        trials=trials,
        tuning=design.tuning,
        sweeps={name: _sweep(own) for name, own in by_family.items()},
    )


def asked_of(design: Design, there: Iterable[str]) -> Iterable[tuple[Claim, str]]:
    """Yield each claim with each family in which it is asked: what its methods were planned for."""
    planned = {m.name: {run.family for run in m.runs} for m in design.methods}
    families = dict.fromkeys([*there, *(run.family for m in design.methods for run in m.runs)])
    for claim in design.claims:
        both = planned.get(claim.method, set()) & planned.get(claim.against, set())
        for family in claim.families or families:
            if family in both:
                yield claim, family


# Methods


def scored(material: Material) -> list[Scored]:
    """Return the rows of all methods of a study, of every family, seed and group in order."""
    methods = material.study.methods if material.study else ()
    labels = {method.name: method.label for method in methods}
    families = list(dict.fromkeys(part.family for part in material.parts))
    order = [*labels, *(row.method for part in material.parts for row in part.rows)]
    rows = [(part, row) for part in material.parts for row in part.rows]
    rows.sort(key=lambda one: (families.index(one[0].family), order.index(one[1].method)))
    floors = {
        (part.family, part.seed): _floors(part.rows[0].run, part.columns)
        for part in material.parts
        if part.rows
    }
    return [
        one
        for part, row in rows
        for one in _of_row(
            part,
            row,
            labels.get(row.method, row.method),
            material.folder,
            floors[part.family, part.seed],
        )
    ]


def _of_row(
    part: Part, row: Row, label: str, path: Path, floors: Mapping[str, float]
) -> Iterator[Scored]:
    move = next(
        (
            move
            for found in part.distances
            for move in found.displacements
            if move.checkpoint == row.run.name
        ),
        None,
    )
    trained = trained_as(row.run, path, rho=move.rho if move else None)
    for column in part.columns:
        if cell := row.run.cells.get(column.key):
            yield Scored(
                family=part.family,
                title=part.title,
                method=row.method,
                label=label,
                seed=part.seed,
                group=column.title,
                answers=len(row.run.verdicts[column.key]),
                **_counts(cell),
                floor=floors.get(column.title),
                alpha=row.alpha,
                moved=move.moved if move else None,
                training=trained,
            )


def _counts(cell: Cell) -> dict[str, Any]:
    names = ("n", "correct", "unparsed", "truncated", "error", "score")
    return {name: getattr(cell, name) for name in names}


def _floors(run: Run, columns: Iterable[Column]) -> dict[str, float]:
    """Group → what always the same answer scores, where every question tells."""
    folder = root(run.folder)
    told = {
        (question.task, question.id): floor_of(question, folder)
        for question in read_questions(folder)
    }
    found = {}
    for column in columns:
        values = [told.get((column.task, v.id)) for v in run.verdicts.get(column.key, [])]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            found[column.title] = math.fsum(known) / len(known)
    return found


# Trials


def tried(design: Design, path: Path) -> list[Tried]:
    """Return the trials of a study that were graded, in its order.

    Families of which nothing but what the rule compares with was graded are left out.

    Args:
        design: With the rule of its tuning; without one there is nothing to say of a trial.
        path: The study's folder.

    Raises:
        UserError: A run is broken.
    """
    labels = {method.name: method.label for method in design.methods}
    found = []
    for trial in design.trials if design.tuning else ():
        if (path / trial.folder / "run.json").exists():
            run = read_run(path / trial.folder)
            found += list(_of_trial(trial, run, design, labels, path))
    against = design.tuning.against if design.tuning else ""
    families = {one.family for one in found if one.method != against}
    return [one for one in found if one.family in families]


def _of_trial(
    trial: Trial, run: Run, design: Design, labels: Mapping[str, str], path: Path
) -> Iterator[Tried]:
    rule = design.tuning
    if rule and (cell := run.cells.get((rule.task, rule.group))):
        kept = run.cells.get((rule.task, rule.keeps))
        yield Tried(
            family=trial.family,
            title=title_of(trial.family, design),
            method=trial.method,
            label=labels.get(trial.method, trial.method),
            seed=trial.seed,
            settings=trial.settings,
            score=cell.score,
            kept=kept.score if kept else None,
            training=trained_as(run, path),
        )


# Training


def trained_as(run: Run, path: Path, rho: float | None = None) -> Training:
    """Return how the checkpoint of a run came to be.

    Args:
        run: It.
        path: The study's folder, in which its checkpoint lies.
        rho: Displacement as measured; None: as the log of its training ends.
    """
    place = _place(Path(run.card.checkpoint), path)
    log = training.read(place) if place else None
    losses = [step.loss for step in log.steps if math.isfinite(step.loss)] if log else []
    if rho is None and log and math.isfinite(log.steps[-1].rho):
        rho = log.steps[-1].rho
    made = run.card.made
    spent = cost_of(made)
    if made and made.method == "merge" and spent.flops is None:
        spent = replace(spent, flops=0.0)  # sums of weights: nothing beside any training
    return Training(
        loss=mean(losses[-max(1, len(losses) // 10) :]) if losses else None,
        converged=converged(losses),
        rho=rho,
        flops=(flops := whole(spent, "flops")),
        # Whose operations nobody counted is what all methods begin with: see `lineage`.
        processor_seconds=None if flops is None else whole(spent, "processor_seconds"),
    )


def _place(checkpoint: Path, path: Path) -> Path | None:
    """Where a checkpoint lies now that the study's folder may have been moved."""
    ends = (path.joinpath(*checkpoint.parts[start:]) for start in range(len(checkpoint.parts)))
    return next((end for end in ends if (end / training.LOG).is_file()), None)


def _sweep(parts: Sequence[Part]) -> Sweep:
    rows: dict[float, list[Row]] = {}
    for row in (row for part in parts for row in part.sweep):
        rows.setdefault(row.alpha or 0.0, []).append(row)
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    found = {}
    for alpha in sorted(rows):
        cells = {c.title: [r.run.cells.get(c.key) for r in rows[alpha]] for c in columns}
        means = {group: known(c.score for c in own if c) for group, own in cells.items()}
        found[alpha] = {group: mean for group, mean in means.items() if mean}
    return found, {alpha: math.fsum(map(rho, own)) / len(own) for alpha, own in rows.items()}


# Testing


def _once(design: Design, family: str) -> set[str]:
    """Methods of which a family is to have one seed, whatever the others have."""
    seeds = {m.name: {run.seed for run in m.runs if run.family == family} for m in design.methods}
    return {name for name, own in seeds.items() if len(own) == 1}


def _tested(claim: Claim, parts: Sequence[Part], once: Container[str]) -> SeedDifference | None:
    """The two methods of a claim over the seeds that ran both, of which there are at least two.

    What is made once, as the VLM of `reproduce paper`, stands against all seeds of the other.
    """
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    places = [column.key for column in columns if column.title == claim.group]
    names = (claim.method, claim.against)
    ran = {
        name: {
            part.seed: row.run
            for part in parts
            if (row := _row(part, name)) and set(places) & row.run.verdicts.keys()
        }
        for name in names
    }
    fewest = min(names, key=lambda name: len(ran[name]))
    against_all = fewest in once and len(ran[fewest]) == 1 < max(map(len, ran.values()))
    both = [seed for seed in ran[claim.method] if seed in ran[claim.against]]
    if len(both) < 2 and not against_all:
        return None
    first, second = (
        Side(name, tuple(own.values() if against_all else (own[seed] for seed in both)))
        for name, own in ran.items()
    )
    with suppress(Unpairable):
        found = pairing.versus(first, second, places, scores.mean, 1).found
        return found if isinstance(found, SeedDifference) else None
    return None


def _row(part: Part, method: str) -> Row | None:
    return next((row for row in part.rows if row.method == method), None)
