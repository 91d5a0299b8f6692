"""Blocks → tables: scores counted, and compared once.

A cell is a score in percent with its standard error, and with it the difference to the baseline as
`harness.statistics.compare` has it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from common.text import probability, with_error
from harness.runs.schema import Cell
from harness.statistics import compare as comparison
from harness.statistics import render, scores
from harness.statistics.compare import MEAN, VALIDATION, Comparison, Difference
from harness.statistics.sides import Side
from reports.blocks import Block, Column, Row, floor_of

POOLED = "pooled"
"""Title of the column of all questions, beside those of their groups."""


@dataclass(frozen=True)
class Entry:
    """One cell of the table."""

    cell: Cell | None
    """None: the run has no such questions."""
    versus: Difference | None = None
    """To the baseline."""
    part: bool = False
    """Whether other runs of the column answered more questions."""


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    row: Row
    entries: tuple[Entry, ...]
    total: Cell | None
    """Counts over all tasks."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A block, counted and compared."""

    block: Block
    title: str
    columns: tuple[Column, ...]
    """Of whole tasks their mean comes last; of groups, the pooled score of the task first."""
    lines: tuple[Line, ...]
    floors: tuple[float | None, ...]
    """Chance of a right guess, by column; None where the questions do not say."""
    found: Comparison | None
    """None without a baseline."""
    by_group: bool = False
    """Whether groups go down and runs across: the columns are categories of one kind."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing or not comparable, a sentence each."""
        told = (*self.block.notes, *(self.found.notes if self.found else ()))
        return tuple(dict.fromkeys((*told, *_certainty(self.lines))))

    def line(self, name: str) -> Line | None:
        """Return the line of the run of this name, if there is one."""
        return next((line for line in self.lines if line.row.run.name == name), None)


def compare(block: Block) -> Table:
    """Count the cells of a block, and compare its rows with its baseline."""
    found = None
    if block.baseline:
        sides = [Side(row.label, (row.run,)) for row in block.rows]
        asked = {task for row in block.rows for task in row.run.tasks}  # a sweep may ask others
        tasks = [c for c in dict.fromkeys(c.task for c in block.columns) if c in asked]
        base = block.baseline.label
        found = comparison.compare(sides, baseline=base, tasks=tasks, groups=True)
    return arranged(block, found, shown(block))


def shown(block: Block) -> tuple[Column, ...]:
    """The columns of a block, and what sums them up: the mean over tasks, or the pooled score."""
    tasks = list(dict.fromkeys(column.task for column in block.columns))
    if len(tasks) == 1 and block.columns[0].group != "all":
        return (Column(POOLED, tasks[0], "all"), *block.columns)
    tasks = [task for task in tasks if not task.endswith(VALIDATION)]
    if block.baseline:
        tasks = [task for task in tasks if task in block.baseline.run.tasks]
    return (*block.columns, *([Column(MEAN, "+".join(tasks), MEAN)] if len(tasks) > 1 else ()))


def arranged(
    block: Block,
    found: Comparison | None,
    columns: Sequence[Column],
    *,
    title: str | None = None,
    by_group: bool = False,
) -> Table:
    """Lay out the scores of a block's rows, and their differences."""
    rows = [[_cell(row, column) for column in columns] for row in block.rows]
    most = [max((cell.n for cell in cells if cell), default=0) for cells in zip(*rows, strict=True)]
    lines = []
    for row, cells in zip(block.rows, rows, strict=True):
        entries = tuple(
            Entry(cell, found.of(row.label, *column.key) if found else None, cell.n < n)
            if cell
            else Entry(None)
            for cell, column, n in zip(cells, columns, most, strict=True)
        )
        lines.append(Line(row, entries, _total(block, row)))
    return Table(
        block=block,
        title=block.title if title is None else title,
        columns=tuple(columns),
        lines=tuple(lines),
        floors=tuple(floor(block, column) for column in columns),
        found=found,
        by_group=by_group,
    )


def _cell(row: Row, column: Column) -> Cell | None:
    if column.group != MEAN:
        return row.run.cells.get(column.key)
    parts = [row.run.verdicts.get((task, "all"), []) for task in column.task.split("+")]
    return scores.cell(row.run.name, column.key, *parts) if all(parts) else None


def overall(block: Block, row: Row) -> Cell | None:
    """The score that sums up a row; None where other rows answered more questions."""
    columns = shown(block)
    column = columns[-1] if columns[-1].group == MEAN else columns[0]
    cell = _cell(row, column)
    most = max((other.n for each in block.rows if (other := _cell(each, column))), default=0)
    return cell if cell and cell.n == most else None


def _total(block: Block, row: Row) -> Cell | None:
    places = dict.fromkeys((column.task, "all") for column in block.columns)
    if len(places) == 1:
        cell = row.run.cells.get(next(iter(places)))
        return cell and replace(cell, task="")
    parts = [row.run.verdicts[place] for place in places if place in row.run.verdicts]
    return scores.cell(row.run.name, ("", "all"), *parts) if parts else None


def floor(block: Block, column: Column) -> float | None:
    """Chance of a right guess in a column; None where a question does not say."""
    if column.group == MEAN:
        parts = [floor(block, Column("", task, "all")) for task in column.task.split("+")]
        known = [part for part in parts if part is not None]
        return math.fsum(known) / len(known) if len(known) == len(parts) else None
    verdicts = max((row.run.verdicts.get(column.key, []) for row in block.rows), key=len)
    ids = dict.fromkeys(verdict.id for verdict in verdicts)
    asked = [block.questions.get((column.task, id)) for id in ids]
    values = [floor_of(one.question, one.folder) for one in asked if one]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _certainty(lines: Iterable[Line]) -> list[str]:
    sure = [e.cell.n for line in lines for e in line.entries if e.cell and e.cell.stderr == 0]
    if not sure:
        return []
    return [
        "An error of 0.0 (every answer right, or every one wrong) is what the formula gives, not "
        f"certainty: with {min(sure)} questions the true score may lie {300 / min(sure):.1f} "
        "points away (95 %, rule of three)."
    ]


# Numbers as text


def score(entry: Entry) -> str:
    """`62.5 ± 3.4`, in percent; `100.0 ± 0.0 (n = 200)` where other runs answered more."""
    if entry.cell is None:
        return "–"
    text = with_error(entry.cell.score, entry.cell.stderr)
    return f"{text} (n = {entry.cell.n:,})" if entry.part else text


def difference(entry: Entry) -> tuple[str, str]:
    """`+1.6 ± 1.0` and `p = 0.21, inside the noise`; empty for the baseline."""
    if not entry.versus:
        return "", ""
    one = entry.versus
    return render.change(one), f"{probability(one.p_holm)}, {one.finding}"


CAPTION = (
    "Accuracy in percent ± standard error over questions. Unparsed (no answer could be read), "
    "truncated and error answers count as wrong. Each row is one checkpoint: the errors do not "
    "cover the spread between training seeds."
)
"""What the numbers of every table are."""


def caption(table: Table) -> str:
    """What the columns and the differences of this table are."""
    parts = []
    if any(column.group == MEAN for column in table.columns):
        parts.append("The mean over tasks weighs each task alike.")
    if table.columns[0].title == POOLED:
        parts.append(f"Pooled: all questions of {table.columns[0].task}, each weighing alike.")
    if table.found and table.found.differences:
        counts = [len(table.found.family(family)) for family in comparison.FAMILIES]
        parts.append(
            f"Every other score comes with its paired difference to {table.found.baseline} on the "
            f"same questions. p is corrected (Holm) for the {counts[0]} headline differences, of "
            f"whole tasks, and apart from them for the {counts[1]} exploratory ones, of groups and "
            "the mean over tasks."
        )
    return " ".join(parts)


def chosen(block: Block) -> str:
    """How the best merge was chosen; empty where none was."""
    if not (choice := block.choice):
        return ""
    text = (
        f"Best merge: α = {choice.alpha:g} (share of the reasoner), chosen on {choice.task}, where "
        f"its mean over groups is {with_error(choice.score.score, choice.score.stderr)}, among α = "
        + ", ".join(f"{alpha:g}" for alpha in choice.candidates)
        + "."
    )
    if choice.alpha == 0:
        text += " α = 0 is the VLM itself: no merge did better there."
    return text
