"""Tables as Markdown, LaTeX and CSV."""

import dataclasses
from collections.abc import Sequence

from common.text import (
    csv_text,
    in_latex,
    in_markdown,
    latex_row,
    latex_table,
    markdown_table,
    percent,
    probability,
)
from harness.statistics import render
from reports import compact, headline, tables, text
from reports.blocks import Column, Material
from reports.tables import Entry, Line, Table


def grid(table: Table) -> tuple[list[str], list[list[str | Entry]]]:
    """Heads and lines: runs down and columns across, or groups down where there are many."""
    if table.by_group:
        heads = ["", "n", *(line.row.label for line in table.lines)]
        down = [
            [line.entries[place] for line in table.lines] for place in range(len(table.columns))
        ]
        columns = zip(table.columns, down, strict=True)
        return heads, [[column.title, _most(own), *own] for column, own in columns]
    heads = ["", *(column.title for column in table.columns), *COUNTS]
    lines: list[list[str | Entry]] = [
        [line.row.label, *line.entries, *counts(line)] for line in table.lines
    ]
    if any(floor is not None for floor in table.floors):
        floors = ["–" if floor is None else percent(floor) for floor in table.floors]
        lines.append([FLOOR, *floors, *[""] * len(COUNTS)])
    return heads, lines


COUNTS = ("n", "unparsed", "truncated", "error")

FLOOR = "guess floor"
"""Name of the last line."""


def counts(line: Line) -> list[str]:
    """The counts of a line, under `COUNTS`."""
    total = line.total
    if total is None:
        return ["–"] * len(COUNTS)
    return [f"{one:,}" for one in (total.n, total.unparsed, total.truncated, total.error)]


def _most(entries: Sequence[Entry]) -> str:
    return f"{max((entry.cell.n for entry in entries if entry.cell), default=0):,}"


def markdown(
    counted: Sequence[Table], notes: Sequence[str] = (), said: Sequence[headline.Said] = ()
) -> str:
    """Write the tables as one Markdown document; in the full ones what is supported is bold."""
    short = [f"**{in_markdown(one.name)}**: {in_markdown(one.text)}" for one in said]
    parts = ["# Comparison", "\n".join(f"- {text}" for text in short), compact.markdown(counted)]
    parts += ["## Differences and their errors", tables.CAPTION, _bullets(notes)]
    for table in counted:
        heads, lines = grid(table)
        rows = [[_in_markdown(cell) for cell in line] for line in lines]
        drawn = markdown_table(list(map(in_markdown, heads)), rows, "l" + "r" * (len(heads) - 1))
        parts += [f"### {in_markdown(table.title)}", drawn, tables.caption(table)]
        if not table.by_group:
            parts.append(_bullets([*text.differences(table), *table.notes]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _in_markdown(cell: str | Entry) -> str:
    if isinstance(cell, str):
        return in_markdown(cell)
    said = ", ".join(tables.difference(cell))
    if cell.versus and cell.versus.finding == "supported":
        said = f"**{said}**"
    return f"{tables.score(cell)} ({said})" if cell.versus else tables.score(cell)


def _bullets(notes: Sequence[str]) -> str:
    return "\n".join(f"- {in_markdown(note)}" for note in notes)


def latex(counted: Sequence[Table]) -> str:
    r"""Write the tables in LaTeX, one `table*` each; they need `\usepackage{booktabs}`."""
    head = "% Needs \\usepackage{booktabs}."
    return "\n".join([head, compact.latex(counted), *map(_latex_table, counted)])


MARKED = (
    f"{compact.MARKS[True]} supported and above, {compact.MARKS[False]} supported and below, "
    "? cannot be told; the other differences are inside the noise."
)


def _latex_table(table: Table) -> str:
    heads, lines = grid(table)
    body = [text for line in lines for text in _latex_lines(line)]
    align = "l" + "".join("r" if head in COUNTS else "c" for head in heads[1:])
    told = [
        f"{table.title}.",
        tables.CAPTION,
        tables.caption(table),
        tables.chosen(table.block),
        MARKED,
    ]
    name = f"{table.block.name}-{table.title}" if table.by_group else table.block.name
    return latex_table(" ".join(told), name, align, [latex_row(heads), r"\midrule", *body])


def _latex_lines(line: Sequence[str | Entry]) -> list[str]:
    """A line of scores; below it the differences, and below them their p-values.

    On lines of their own they keep the columns as narrow as the scores.
    """
    found = [latex_row(cell if isinstance(cell, str) else tables.score(cell) for cell in line)]
    entries = [cell if isinstance(cell, Entry) else Entry(None) for cell in line]
    if any(entry.versus for entry in entries):
        small = [
            [
                rf"{{\tiny {in_latex(text)}{mark}}}" if text else ""
                for text, mark in (_small(entry, place) for entry in entries)
            ]
            for place in (0, 1)
        ]
        found += [" & ".join(cells) + r" \\" for cells in small]
    return [*found, r"\addlinespace[2pt]"]


def _small(entry: Entry, place: int) -> tuple[str, str]:
    one = entry.versus
    if one is None:
        return "", ""
    if place:
        return probability(one.p_holm), ""
    mark = compact.LATEX[compact.mark(entry)]
    return render.change(one), r"$^{?}$" if one.finding == "cannot be told" else mark


# CSV


DIFFERENCES = ("block", *render.FIELDS)


def differences_csv(counted: Sequence[Table]) -> str:
    """Write every difference, as `driftbench compare --format csv` does, with its block."""
    return csv_text(DIFFERENCES, difference_rows(counted))


def difference_rows(counted: Sequence[Table]) -> list[dict[str, object]]:
    """Every difference with its block, under `DIFFERENCES`."""
    return [
        {"block": table.block.name} | dataclasses.asdict(one)
        for table in counted
        if table.found and not table.by_group
        for one in table.found.differences
    ]


SCORES = (
    "block run label method alpha task group n correct unparsed truncated error score stderr floor"
).split()


def scores_csv(material: Material) -> str:
    """Write every cell of every run at full precision: rows, merges of a sweep, validation."""
    return csv_text(SCORES, score_rows(material))


def score_rows(material: Material) -> list[dict[str, object]]:
    """Every cell of every run, under `SCORES`."""
    lines: list[dict[str, object]] = []
    for block in material.blocks:
        # A chosen merge is a row, and a point of the sweep too.
        rows = {row.run.folder: row for row in (*block.sweep, *block.rows)}.values()
        places = dict.fromkeys(place for row in rows for place in row.run.cells)
        floors = {place: tables.floor(block, Column("", *place)) for place in places}
        for row in rows:
            own = {"block": block.name, "label": row.label, "alpha": row.alpha}
            own["method"] = row.run.card.made.method if row.run.card.made else None
            for place, cell in row.run.cells.items():
                lines.append(own | dataclasses.asdict(cell) | {"floor": floors[place]})
    return lines
