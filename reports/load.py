"""Run folders → blocks: everything a report shows, read from disk, missing pieces named.

Two kinds of input:

    a study      a folder with `steps/study.json`: see `reports.families`
    run folders  any runs, the rows in the order given: one block of all their tasks
"""

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from harness.runs.folder import without_pictures
from harness.statistics.compare import VALIDATION
from harness.statistics.sides import read_run, run_folders, short_names
from harness.studies import record
from reports import families
from reports.blocks import (
    Block,
    Column,
    Cost,
    Material,
    Row,
    answered,
    only,
    questions_of,
    some_verdict,
)
from reports.plots import training


def collect(
    paths: Sequence[Path], baseline: str | None = None, tasks: Sequence[str] | None = None
) -> Material:
    """Read a study folder, or run folders.

    Args:
        paths: One study folder; or run folders, or folders that hold run folders.
        baseline: Name of the run to which the others are compared; by default that of the study,
            else the first run.
        tasks: Those to report, in this order; None: all, but no validation split beside others.

    Raises:
        UserError: Nothing to report at a path, a broken file, no run of the baseline's name, a
            task that no run answered.
    """
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder: expected a study folder or run folders")
    designs = [families.design_of(path) for path in paths]
    if len(paths) == 1 and designs[0]:
        return families.collect(paths[0], designs[0], baseline, tasks)
    if any(designs):
        raise UserError("give either one study folder or run folders, not both")
    return _runs(paths, baseline, tasks)


def _runs(paths: Sequence[Path], baseline: str | None, tasks: Sequence[str] | None) -> Material:
    folders = []
    for path in without_pictures(paths):
        found = run_folders(path)
        if not found and record.place(path).is_file():
            cards = sorted(path.rglob("run.json"), key=lambda card: len(card.parts))
            for card in cards:  # not the other protocols' verdicts inside a run
                if not any(card.is_relative_to(folder) for folder in found):
                    found.append(card.parent)
        if not found:
            raise UserError(
                f"{path} holds no run: expected run.json in it, or in folders under it "
                "(`driftbench eval` writes them)"
            )
        folders += found
    names = short_names(folders)
    rows, notes = _rows(folders, names, given=paths)
    some_verdict(row.run for row in rows)
    if tasks is not None:
        answered(rows, tasks)
        rows = [only(row, tasks) for row in rows]
    base = next((row for row in rows if row.run.name == (baseline or rows[0].run.name)), None)
    if base is None:
        raise UserError(f"no run is named {baseline!r}: there are {', '.join(names)}")
    notes += [f"{row.label} has no verdict yet." for row in rows if not row.run.cells]
    title = ", ".join(names) if len(names) <= 4 else f"{len(names)} runs"
    graded = tuple(row for row in rows if row.run.cells or row is base)
    return Material(title=title, blocks=(_block(graded, base, tasks),), notes=tuple(notes))


def _rows(
    folders: Sequence[Path], names: Sequence[str], given: Sequence[Path]
) -> tuple[list[Row], list[str]]:
    """Read runs; a broken one that lies in a folder with others is left out, with a sentence."""
    rows: list[Row] = []
    notes = []
    papers = set()
    for folder, name in zip(folders, names, strict=True):
        try:
            run = read_run(folder, name)
            if run.paper not in papers:
                _ = run.questions  # a broken file is told here
                papers.add(run.paper)
            rows.append(Row(name, run))
        except UserError as error:
            if folder in given:
                raise
            notes.append(f"{name} is left out: {error}.")
    return rows, notes


def _block(rows: tuple[Row, ...], base: Row, tasks: Sequence[str] | None) -> Block:
    known = dict.fromkeys(task for row in rows for task in row.run.tasks)
    tests = tasks or [task for task in known if not task.endswith(VALIDATION)] or [*known]
    title = tests[0] if len(tests) == 1 else "all tasks"
    logs = (training.read(Path(row.run.card.checkpoint)) for row in rows)
    return Block(
        name=title,
        title=title,
        columns=tuple(Column(task, task, "all") for task in tests),
        rows=rows,
        baseline=base,
        sweep=(),
        choice=None,
        costs=tuple(
            Cost(row.label, row.run.card.made, row.run.card.processor_seconds or None)
            for row in rows
        ),
        questions=questions_of(row.run for row in rows),
        notes=(),
        logs=tuple(log for log in logs if log),
    )
