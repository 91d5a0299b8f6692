"""Blocks → the comparison table: computed once, written as Markdown, LaTeX and CSV.

A cell is a score in percent with its standard error, and below it the paired difference to the
baseline with its p-value, corrected (Holm) over all differences of the table.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.text import (
    csv_text,
    in_latex,
    in_markdown,
    latex_row,
    latex_table,
    markdown_table,
    percent,
    probability,
    signed,
    with_error,
)
from harness.runs.schema import Cell
from harness.statistics import scores
from harness.statistics.paired import Paired, Unpairable, paired_mean
from harness.statistics.resampling import holm
from reports.blocks import Block, Column, Material, Row, Run

LEVEL = 0.05
"""A difference whose corrected p is at least this is inside the noise."""


@dataclass(frozen=True)
class Entry:
    """One cell of the table."""

    cell: Cell | None
    """None: the run has no such questions."""
    versus: Paired | None = None
    """Against the baseline."""
    p: float | None = None
    """Of `versus`, corrected."""

    @property
    def noise(self) -> bool:
        """Whether the difference is inside the noise."""
        return self.p is not None and self.p >= LEVEL


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    row: Row
    entries: tuple[Entry, ...]
    total: Cell | None
    """Counts over all columns."""


@dataclass(frozen=True)
class Table:
    """A block, counted and compared."""

    block: Block
    titles: tuple[str, ...]
    """Of the columns; `mean` last where the block has one."""
    lines: tuple[Line, ...]
    floors: tuple[float | None, ...]
    """Chance of a right guess, by column; None where the questions do not say."""
    comparisons: int
    """Differences for which the p-values are corrected."""
    notes: tuple[str, ...]

    def line(self, name: str) -> Line | None:
        """Return the line of the run of this name, if there is one."""
        return next((line for line in self.lines if line.row.run.name == name), None)


def compare(block: Block) -> Table:
    """Count the cells of a block and test each against the baseline's."""
    notes = list(block.notes)
    rows = [
        [Entry(cell, _versus(block, row, i, notes)) for i, cell in enumerate(_cells(block, row))]
        for row in block.rows
    ]
    adjusted = iter(holm([e.versus.p for entries in rows for e in entries if e.versus]))
    lines = []
    for row, entries in zip(block.rows, rows, strict=True):
        corrected = tuple(
            Entry(e.cell, e.versus, next(adjusted)) if e.versus else e for e in entries
        )
        lines.append(Line(row, corrected, _total(block, row)))
    notes += _certainty(lines)
    titles = [column.title for column in block.columns] + (["mean"] if block.mean else [])
    return Table(
        block=block,
        titles=tuple(titles),
        lines=tuple(lines),
        floors=_floors(block),
        comparisons=sum(e.versus is not None for entries in rows for e in entries),
        notes=tuple(dict.fromkeys(notes)),
    )


def _cells(block: Block, row: Row) -> list[Cell | None]:
    found = [row.run.cells.get(column.key) for column in block.columns]
    if not block.mean:
        return found
    return [*found, _mean(block, row) if all(found) else None]


def mean_of(block: Block, row: Row) -> Cell | None:
    """The mean of the columns where the block has one, else its first column."""
    return _cells(block, row)[-1 if block.mean else 0]


def _total(block: Block, row: Row) -> Cell | None:
    known = [column.key for column in block.columns if column.key in row.run.cells]
    if not known:
        return None
    # Groups of one task may overlap; there its first column is all of it.
    return _mean(block, row) if block.mean else row.run.cells[known[0]]


def _mean(block: Block, row: Row) -> Cell:
    known = [column.key for column in block.columns if column.key in row.run.cells]
    run = row.run
    task = "+".join(dict.fromkeys(task for task, _ in known))
    return scores.cell(run.name, (task, "mean"), *(run.verdicts[key] for key in known))


def _versus(block: Block, row: Row, index: int, notes: list[str]) -> Paired | None:
    base = block.baseline
    if base is None or row.run is base.run:
        return None
    columns = block.columns if index == len(block.columns) else (block.columns[index],)
    pairs = [
        (row.run.verdicts.get(column.key), base.run.verdicts.get(column.key)) for column in columns
    ]
    both = [(mine, other) for mine, other in pairs if mine and other]
    if len(both) < len(pairs):
        return None
    try:
        return paired_mean(both)
    except Unpairable as error:
        notes.append(f"{row.label} is not compared with {base.label}: {error}.")
        return None


def _floors(block: Block) -> tuple[float | None, ...]:
    floors = [_floor(block, column) for column in block.columns]
    if not block.mean:
        return tuple(floors)
    known = [floor for floor in floors if floor is not None]
    return (*floors, math.fsum(known) / len(known) if len(known) == len(floors) else None)


def _floor(block: Block, column: Column) -> float | None:
    ids = dict.fromkeys(
        verdict.id for row in block.rows for verdict in row.run.verdicts.get(column.key, ())
    )
    values = [
        block.questions[column.task, id].question.row.get("floor")
        for id in ids
        if (column.task, id) in block.questions
    ]
    known = [float(value) for value in values if value is not None]
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


def score(cell: Cell | None) -> str:
    """`62.5 ± 3.4`, in percent."""
    return with_error(cell.score, cell.stderr) if cell else "–"


def change(versus: Paired) -> str:
    """`+1.6 ± 1.0`, in points."""
    return f"{signed(versus.difference)} ± {percent(versus.stderr)}"


def difference(entry: Entry) -> str:
    """`+1.6 ± 1.0, p = 0.21, n.s.`; empty for the baseline."""
    if not entry.versus or entry.p is None:
        return ""
    return f"{change(entry.versus)}, {probability(entry.p)}{', n.s.' if entry.noise else ''}"


CAPTION = (
    "Accuracy in percent ± standard error over questions. Unparsed (no answer could be read), "
    "truncated and error answers count as wrong. Each row is one checkpoint: the errors do not "
    "cover the spread between training seeds."
)
"""What the numbers of every table are."""


def caption(table: Table) -> str:
    """What the differences of this table are."""
    parts = ["The mean weighs the columns alike."] if table.block.mean else []
    if table.block.baseline and table.comparisons:
        parts.append(
            f"Every other score comes with its paired difference to {table.block.baseline.label} "
            f"on the same questions; p is corrected (Holm) for the {table.comparisons} differences "
            f"of this table; n.s.: inside the noise (p ≥ {LEVEL})."
        )
    return " ".join(parts)


def chosen(block: Block) -> str:
    """How the best merge was chosen; empty where none was."""
    if not (choice := block.choice):
        return ""
    text = (
        f"Best merge: α = {choice.alpha:g} (share of the reasoner), chosen on {choice.task}, where "
        f"its mean is {score(choice.score)}, among α = "
        + ", ".join(f"{alpha:g}" for alpha in choice.candidates)
        + "."
    )
    if choice.alpha == 0:
        text += " α = 0 is the VLM itself: no merge did better there."
    return text


# Markdown


def markdown(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """Write the tables as one Markdown document."""
    parts = ["# Comparison", CAPTION, _bullets(notes)]
    for table in tables:
        drawn = _markdown_groups(table) if table.block.by_group else _markdown_table(table)
        parts += [f"## {in_markdown(table.block.title)}", drawn, caption(table)]
        parts += [chosen(table.block), _bullets(table.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(table: Table) -> str:
    counts = ["n", "unparsed", "truncated", "error"]
    heads = ["", *map(in_markdown, table.titles), *counts]
    lines = []
    for line in table.lines:
        cells = map(_markdown_cell, line.entries)
        lines.append([in_markdown(line.row.label), *cells, *_counts(line)])
    if any(floor is not None for floor in table.floors):
        lines.append(["*guess floor*", *map(_floor_text, table.floors), *[""] * 4])
    return markdown_table(heads, lines, "l" + "r" * (len(heads) - 1))


def _markdown_groups(table: Table) -> str:
    """Groups down and runs across: there are more of those than a page is wide."""
    heads = ["", "n", *(in_markdown(line.row.label) for line in table.lines)]
    lines = [
        [in_markdown(title), n, *map(_markdown_cell, entries)]
        for title, n, entries in by_group(table)
    ]
    return markdown_table(heads, lines, "l" + "r" * (len(heads) - 1))


def by_group(table: Table) -> list[tuple[str, str, list[Entry]]]:
    """Each group's title, its number of questions, and its entry in every line."""
    found = []
    for i, title in enumerate(table.titles):
        entries = [line.entries[i] for line in table.lines]
        n = max((entry.cell.n for entry in entries if entry.cell), default=0)
        found.append((title, f"{n:,}", entries))
    return found


def _markdown_cell(entry: Entry) -> str:
    text = difference(entry)
    if text and not entry.noise:
        text = f"**{text}**"
    return score(entry.cell) + (f" ({text})" if text else "")


def _counts(line: Line) -> list[str]:
    total = line.total
    if total is None:
        return ["–"] * 4
    return [str(value) for value in (total.n, total.unparsed, total.truncated, total.error)]


def _floor_text(floor: float | None) -> str:
    return "–" if floor is None else percent(floor)


def _bullets(notes: Sequence[str]) -> str:
    return "\n".join(f"- {in_markdown(note)}" for note in notes)


# LaTeX


def latex(tables: Sequence[Table]) -> str:
    r"""Write the tables in LaTeX, one `table*` each; they need `\usepackage{booktabs}`."""
    head = "% Needs \\usepackage{booktabs}.\n"
    return head + "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    if table.block.by_group:
        heads = ["", "n", *(line.row.label for line in table.lines)]
        lines = [
            line for title, n, entries in by_group(table) for line in _rows([title, n], entries, [])
        ]
        spec = f"lr{'c' * len(table.lines)}"
    else:
        heads = ["", *table.titles, "n", "unparsed", "trunc.", "error"]
        spec = f"l{'c' * len(table.titles)}rrrr"
        lines = [
            text
            for line in table.lines
            for text in _rows([line.row.label], line.entries, _counts(line))
        ]
        if any(floor is not None for floor in table.floors):
            floors = ["guess floor", *map(_floor_text, table.floors), *[""] * 4]
            lines += [r"\midrule", latex_row(floors)]
    text = " ".join([f"{table.block.title}.", CAPTION, caption(table), chosen(table.block)])
    return latex_table(text, table.block.name, spec, [latex_row(heads), r"\midrule", *lines])


def _rows(before: list[str], entries: Sequence[Entry], after: list[str]) -> list[str]:
    """A line of scores; below it the differences, and below them their p-values.

    On lines of their own they keep the columns as narrow as the scores.
    """
    lines = [latex_row([*before, *(score(entry.cell) for entry in entries), *after])]
    parts = [difference(entry).partition(", ") for entry in entries]
    if any(change for change, _, _ in parts):
        for texts in ([change for change, _, _ in parts], [p for _, _, p in parts]):
            small = [rf"{{\tiny {in_latex(text)}}}" if text else "" for text in texts]
            line = [*[""] * len(before), *small, *[""] * len(after)]
            lines.append(" & ".join(line) + r" \\")
    return [*lines, r"\addlinespace[2pt]"]


# CSV

FIELDS = (
    "block run label method alpha task group n correct unparsed truncated error score stderr floor "
    "baseline difference difference_stderr p p_holm only_run only_baseline test"
).split()


def long_form(material: Material, tables: Sequence[Table]) -> str:
    """Write every cell of every run as CSV, one a line, at full precision.

    The rows of a table come with their differences; what the tables leave out (merges of the sweep,
    validation tasks, small groups) follows with its scores. An unknown number is an empty field.
    """
    rows: list[dict[str, object]] = []
    written = set()
    for table in tables:
        for line in table.lines:
            for entry, floor in zip(line.entries, table.floors, strict=True):
                if entry.cell is None:
                    continue
                written.add((line.row.run.folder, entry.cell.task, entry.cell.group))
                rows.append(
                    _cell_fields(table.block, line.row, entry.cell)
                    | {"floor": floor}
                    | _difference_fields(table.block, entry)
                )
    for block in material.blocks:
        for row in (*block.rows, *block.sweep):
            for cell in row.run.cells.values():
                key = (row.run.folder, cell.task, cell.group)
                if key not in written:
                    written.add(key)
                    rows.append(_cell_fields(block, row, cell))
    return csv_text(FIELDS, rows)


def _cell_fields(block: Block, row: Row, cell: Cell) -> dict[str, object]:
    return {
        "block": block.name,
        "run": row.run.name,
        "label": row.label,
        "method": _method(row.run),
        "alpha": row.alpha,
        "task": cell.task,
        "group": cell.group,
        "n": cell.n,
        "correct": cell.correct,
        "unparsed": cell.unparsed,
        "truncated": cell.truncated,
        "error": cell.error,
        "score": cell.score,
        "stderr": cell.stderr,
    }


def _method(run: Run) -> str:
    return str((run.card.made or {}).get("method", ""))


def _difference_fields(block: Block, entry: Entry) -> dict[str, object]:
    found = entry.versus
    if found is None or block.baseline is None or entry.p is None:
        return {}
    return {
        "baseline": block.baseline.run.name,
        "difference": found.difference,
        "difference_stderr": found.stderr,
        "p": found.p,
        "p_holm": entry.p,
        "only_run": found.only_a,
        "only_baseline": found.only_b,
        "test": found.test,
    }
