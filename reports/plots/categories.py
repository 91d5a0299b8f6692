"""The same runs by category of question: tables with the groups down, and a plot of differences."""

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from reports.blocks import Block, Column
from reports.plots import style
from reports.plots.style import INK, Plot
from reports.tables import Line, Table, arranged

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


def drawable(table: Table) -> list[Line]:
    """The runs that have differences to draw."""
    return [line for line in table.lines if any(entry.versus for entry in line.entries)][:PANELS]


def plot(table: Table) -> Plot | None:
    """Difference of each category to the baseline; None where nothing is compared."""
    lines = drawable(table)
    if not lines or table.found is None:
        return None
    text = (
        f"Difference to {table.found.baseline} on the same questions, in points, with its 95 % "
        f"interval. Filled: supported after correction (Holm) for the "
        f"{len(table.found.family('exploratory'))} exploratory differences; hollow: not."
    )
    name = f"categories_{style.file_name(table.title)}"
    return Plot(name, table.title, text, partial(_figure, table, lines))


def _figure(table: Table, lines: Sequence[Line]) -> Any:
    from matplotlib.figure import Figure

    across = len(lines)
    width = style.INCHES if across < 3 else 7.0
    figure = Figure(figsize=(width, 0.7 + 0.15 * len(table.columns)), layout="constrained")
    axes = figure.subplots(1, across, sharex=True, sharey=True, squeeze=False)[0]
    places = range(len(table.columns))
    for axis, line, look in zip(axes, lines, style.STYLES, strict=False):
        for place, entry in zip(places, line.entries, strict=True):
            if found := entry.versus:
                ends = [
                    v if math.isfinite(v) else found.difference for v in (found.low, found.high)
                ]
                axis.plot([100 * v for v in ends], [place, place], color=look.color, linewidth=0.9)
                fill = look.color if found.finding == "supported" else style.GROUND
                axis.plot(
                    [100 * found.difference],
                    [place],
                    marker=look.marker,
                    markersize=3.6,
                    markerfacecolor=fill,
                    markeredgecolor=look.color,
                    markeredgewidth=0.8,
                )
        axis.axvline(0, linewidth=0.7, color=INK, alpha=0.7)
        axis.grid(axis="x", linewidth=0.4, alpha=0.25, color=INK)
        axis.set_title(style.plain(line.row.label, 26 if across < 3 else 22), loc="left")
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(places, [style.plain(column.title, 30) for column in table.columns])
    axes[0].set_ylim(len(table.columns) - 0.4, -0.6)
    base = table.found.baseline if table.found else ""
    figure.supxlabel(f"points above {style.plain(base)}", fontsize=7)
    return figure
