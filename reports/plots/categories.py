"""The same runs by category of question: tables with the groups down, and a plot of differences."""

import re
from functools import partial

from reports.blocks import Block, Column
from reports.plots import forest, style
from reports.plots.style import Plot
from reports.tables import Table, arranged

SMALL = 10
"""Questions below which a category gets no row of its own."""

PANELS = 4
"""Runs in one plot; the table has all."""


def tables(whole: Table) -> list[Table]:
    """Return a table for each task and kind of category: `level: 1`, `level: 2`, … are one kind.

    A table whose columns are groups already has none.
    """
    found = []
    block = whole.block
    for task in dict.fromkeys(c.task for c in block.columns if c.group == "all"):
        for kind, columns in _kinds(block, task).items():
            title = f"{task}: {kind}"
            found.append(arranged(block, whole.found, columns, title=title, by_group=True))
    return found


def _kinds(block: Block, task: str) -> dict[str, list[Column]]:
    sizes: dict[str, int] = {}
    for row in block.rows:
        for (of, group), cell in row.run.cells.items():
            if of == task and group != "all":
                sizes[group] = max(cell.n, sizes.get(group, 0))
    kinds: dict[str, list[Column]] = {}
    for group in sorted(sizes, key=_natural):
        kind, colon, value = group.partition(": ")
        if sizes[group] >= SMALL:
            column = Column(value, task, group) if colon else Column(group, task, group)
            kinds.setdefault(kind if colon else "group", []).append(column)
    # `level 2: algebra` crosses two kinds: comparison.csv has it.
    crossed = {kind for kind in kinds if re.sub(r" \d+$", "", kind) in set(kinds) - {kind}}
    return {k: v for k, v in kinds.items() if len(v) > 1 and k not in crossed}


def _natural(text: str) -> list[tuple[int, str]]:
    """`level: 10` after `level: 9`."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", text)]


def plot(table: Table) -> Plot | None:
    """Difference of each category to the baseline; None where nothing is compared."""
    compared = [line for line in table.lines if any(entry.versus for entry in line.entries)]
    lines = compared[:PANELS]
    if not lines or table.found is None:
        return None
    text = (
        f"Difference to {table.found.baseline} on the same questions, in points, with its 95 % "
        f"interval. Filled: supported after correction (Holm) for the "
        f"{len(table.found.family('exploratory'))} exploratory differences; hollow: not."
    )
    if len(compared) > PANELS:
        text += f" Drawn are the first {PANELS} of {len(compared)} runs; the table has all."
    effects = [
        forest.effect(one, label=column.title, family=line.row.label)
        for line in lines
        for column, entry in zip(table.columns, line.entries, strict=True)
        if (one := entry.versus)
    ]
    name = f"categories_{style.file_name(table.title)}"
    drawn = partial(forest.figure, effects, f"points above {table.found.baseline}")
    return Plot(name, table.title, text, drawn)
