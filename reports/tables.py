"""Blocks → the comparison table: computed once, written as Markdown, LaTeX and CSV.

A cell is a score in percent with its standard error, and below it the paired difference to the
baseline with its p-value, corrected (Holm) over all differences of the table.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.runs.schema import Cell
from harness.statistics import scores
from harness.statistics.scores import Paired
from reports.load import Block, Column, Material, Row, Run

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
    adjusted = iter(scores.holm([e.versus.p for entries in rows for e in entries if e.versus]))
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
    return scores.mean_cell([run.cells[key] for key in known], [run.verdicts[key] for key in known])


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
        return scores.paired_mean(both)
    except scores.Unpairable as error:
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


# Numbers as text


def percent(value: float) -> str:
    """0.625 → `62.5`."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "?"


def score(cell: Cell | None) -> str:
    """`62.5 ± 3.4`, in percent."""
    return f"{percent(cell.score)} ± {percent(cell.stderr)}" if cell else "–"


def signed(value: float) -> str:
    """0.016 → `+1.6`, with a true minus."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def probability(p: float) -> str:
    """`p = 0.21`, `p = 0.043`, `p < 0.001`."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


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
        parts += [f"## {plain(table.block.title)}", drawn, caption(table)]
        parts += [chosen(table.block), _bullets(table.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(table: Table) -> str:
    counts = ["n", "unparsed", "truncated", "error"]
    lines = [
        ["", *map(plain, table.titles), *counts],
        ["---", *["---:"] * (len(table.titles) + 4)],
    ]
    for line in table.lines:
        cells = map(_markdown_cell, line.entries)
        lines.append([plain(line.row.label), *cells, *_counts(line)])
    if any(floor is not None for floor in table.floors):
        lines.append(["*guess floor*", *map(_floor_text, table.floors), *[""] * 4])
    return piped(lines)


def _markdown_groups(table: Table) -> str:
    """Groups down and runs across: there are more of those than a page is wide."""
    lines = [
        ["", "n", *(plain(line.row.label) for line in table.lines)],
        ["---", "---:", *["---:"] * len(table.lines)],
    ]
    for title, n, entries in by_group(table):
        lines.append([plain(title), n, *map(_markdown_cell, entries)])
    return piped(lines)


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


def piped(lines: Iterable[Sequence[str]]) -> str:
    """Write lines of cells as a Markdown table; the second holds the dashes."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _counts(line: Line) -> list[str]:
    total = line.total
    if total is None:
        return ["–"] * 4
    return [str(value) for value in (total.n, total.unparsed, total.truncated, total.error)]


def _floor_text(floor: float | None) -> str:
    return "–" if floor is None else percent(floor)


def _bullets(notes: Sequence[str]) -> str:
    return "\n".join(f"- {plain(note)}" for note in notes)


def plain(text: str) -> str:
    """Escape what Markdown would read as markup in a name."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text.replace("\n", " "))


# LaTeX

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "α": r"$\alpha$",
    "≥": r"$\geq$",
    "<": r"$<$",
    ">": r"$>$",
    "–": "--",
    **{char: "\\" + char for char in "&%$#_{}"},
}


def latex(tables: Sequence[Table]) -> str:
    r"""Write the tables in LaTeX, one `table*` each; they need `\usepackage{booktabs}`."""
    head = "% Needs \\usepackage{booktabs}.\n"
    return head + "\n".join(map(_latex_table, tables))


def escape(text: str) -> str:
    """Make any text safe to paste into LaTeX; characters beyond ASCII pass as UTF-8."""
    return "".join(_LATEX.get(char, char) for char in text)


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
            lines += [r"\midrule", joined(floors)]
    text = " ".join([f"{table.block.title}.", CAPTION, caption(table), chosen(table.block)])
    return floating(text, table.block.name, spec, [joined(heads), r"\midrule", *lines])


def _rows(before: list[str], entries: Sequence[Entry], after: list[str]) -> list[str]:
    """A line of scores; below it the differences, and below them their p-values.

    On lines of their own they keep the columns as narrow as the scores.
    """
    lines = [joined([*before, *(score(entry.cell) for entry in entries), *after])]
    parts = [difference(entry).partition(", ") for entry in entries]
    if any(change for change, _, _ in parts):
        for texts in ([change for change, _, _ in parts], [p for _, _, p in parts]):
            small = [rf"{{\tiny {escape(text)}}}" if text else "" for text in texts]
            line = [*[""] * len(before), *small, *[""] * len(after)]
            lines.append(" & ".join(line) + r" \\")
    return [*lines, r"\addlinespace[2pt]"]


def joined(cells: Iterable[str]) -> str:
    """Write the cells of a line of a LaTeX table, escaped."""
    return " & ".join(map(escape, cells)) + r" \\"


def floating(text: str, name: str, columns: str, lines: Sequence[str]) -> str:
    """Write a `table*` in booktabs.

    Args:
        text: Caption, not escaped yet.
        name: Of its label, after `tab:`.
        columns: As `tabular` wants them.
        lines: What stands between the outer rules, in LaTeX.
    """
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escape(text)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


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
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    written = set()
    for table in tables:
        for line in table.lines:
            for entry, floor in zip(line.entries, table.floors, strict=True):
                if entry.cell is None:
                    continue
                written.add((line.row.run.folder, entry.cell.task, entry.cell.group))
                writer.writerow(
                    _cell_fields(table.block, line.row, entry.cell)
                    | {"floor": "" if floor is None else floor}
                    | _difference_fields(table.block, entry)
                )
    for block in material.blocks:
        for row in (*block.rows, *block.sweep):
            for cell in row.run.cells.values():
                key = (row.run.folder, cell.task, cell.group)
                if key not in written:
                    written.add(key)
                    writer.writerow(_cell_fields(block, row, cell))
    return file.getvalue()


def _cell_fields(block: Block, row: Row, cell: Cell) -> dict[str, object]:
    return {
        "block": block.name,
        "run": row.run.name,
        "label": row.label,
        "method": _method(row.run),
        "alpha": "" if row.alpha is None else row.alpha,
        "task": cell.task,
        "group": cell.group,
        "n": cell.n,
        "correct": cell.correct,
        "unparsed": cell.unparsed,
        "truncated": cell.truncated,
        "error": cell.error,
        "score": cell.score,
        "stderr": cell.stderr if math.isfinite(cell.stderr) else "",
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
        "difference_stderr": found.stderr if math.isfinite(found.stderr) else "",
        "p": found.p,
        "p_holm": entry.p,
        "only_run": found.only_a,
        "only_baseline": found.only_b,
        "test": found.test,
    }
