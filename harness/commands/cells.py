"""The table after a run, and what its reader has to know."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from common.terminal import print_table
from common.text import printable, with_error
from harness.runs import log
from harness.runs.folder import read_card, read_cells, read_summary, read_verdicts
from harness.runs.schema import RunCard, TaskCard
from harness.statistics.sides import root

MOST_LINES = 40
"""Of the table; beyond, the groups are left out."""


def print_cells(folders: Sequence[Path]) -> None:
    """Print the scores in some run folders, and notes on them."""
    cells = [cell for folder in folders for cell in read_cells(folder)]
    if brief := len(cells) > MOST_LINES:
        cells = [cell for cell in cells if cell.group == "all"]
    rows = [
        [
            *(cell.run, cell.task, cell.group, with_error(cell.score, cell.stderr)),
            *map(str, (cell.n, cell.unparsed, cell.truncated, cell.error)),
        ]
        for cell in cells
    ]
    if rows:
        heads = ("run", "task", "group", "score", "n", "unparsed", "truncated", "error")
        print_table(heads, rows, "lllrrrrr")
    if brief:
        print("the groups are in each run's cells.json; `driftbench report` shows them together")
    for folder in folders:
        for note in _notes(folder):
            print(printable(note))


def _notes(folder: Path) -> Iterator[str]:
    card, cells = read_card(folder), read_cells(folder)
    if not card.finished:
        wanted = card.sampling.n * sum(task.n for task in card.tasks)
        there = len(read_verdicts(folder)) or len(log.read_responses(root(folder)))
        yield f"{card.name}: not finished, {there} of {wanted} answers are there"
    if any(cell.error for cell in cells):
        yield from _error_notes(card, folder)
    for note in card.notes:
        yield f"{card.name}: {note}"
    for name, metrics in read_summary(folder).items():
        listed = ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items())
        yield f"{card.name}: {name}: {listed}"
    for task in card.tasks:
        for note in _task_notes(task):
            yield f"{card.name}: {note}"


def _error_notes(card: RunCard, folder: Path) -> Iterator[str]:
    names = {task.name for task in card.tasks}
    errors = [error for error in log.errors(root(folder)) if error.task in names]
    failed = [error.reason for error in errors if not error.lasting]
    refused = [error.reason for error in errors if error.lasting]
    if failed:
        yield f"{card.name}: the engine failed on {len(failed)}, at first: {failed[0]}"
    if refused:
        yield (
            f"{card.name}: {len(refused)} cannot be answered as they are (--retry-errors asks them "
            f"again), at first: {refused[0]}"
        )


def _task_notes(task: TaskCard) -> Iterator[str]:
    if task.skipped:
        yield (
            f"{task.skipped} questions of {task.name} show pictures and were not asked: the model "
            "takes text only"
        )
    if task.n + task.skipped < task.whole:
        yield f"{task.name} has {task.whole} questions, {task.n + task.skipped} are used here"
    if task.reworded:
        asked = f"those of {task.asked}" if task.asked else "others"
        yield (
            f"{task.protocol} has its own prompts for {task.reworded} of the {task.n} questions of "
            f"{task.name}; they were asked with {asked}"
        )
    if task.unjudged:
        yield (
            f"{task.unjudged} answers to {task.name} are unparsed: {task.protocol} lets a judge "
            "read what its rules cannot (`driftbench score` takes --judge and --judge-model)"
        )
