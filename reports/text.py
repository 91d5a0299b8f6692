"""The comparison in plain words, each sentence made from the numbers of its table."""

import math
from collections.abc import Sequence

from common.text import listed, percent, probability
from harness.statistics import power
from harness.statistics.paired import Paired, Unpairable, paired
from harness.statistics.resampling import holm
from reports.blocks import Block, Column, Row
from reports.tables import LEVEL, Line, Table, change, chosen, score


def differences(table: Table, study: bool) -> list[str]:
    """Say what a table shows: the differences to the baseline and what would settle them.

    Args:
        table: Of a family, or of any runs.
        study: Speak of DRIFT, in detail; else of every run, in a sentence each.
    """
    drift = table.line("drift") if study else None
    if drift:
        texts = [f"{_head(table, drift)} {_taken_apart(table, drift)}".strip()]
    else:
        texts = [_head(table, line) for line in table.lines]
    return [text for text in (*texts, chosen(table.block)) if text]


def _head(table: Table, line: Line) -> str:
    """One run against the baseline on the mean, or else on the first column."""
    place = -1 if table.block.mean else 0
    entry = line.entries[place]
    base = table.line(table.block.baseline.run.name) if table.block.baseline else None
    if base is None or entry.versus is None or entry.p is None:
        return ""
    text = (
        f"{line.row.label} scores {score(entry.cell)} and {base.row.label} "
        f"{score(base.entries[place].cell)} on "
        f"{'the mean' if table.block.mean else table.titles[place]}: a difference of "
        f"{change(entry.versus)} points, "
        f"{'inside' if entry.noise else 'outside'} the noise ({probability(entry.p)})."
    )
    return f"{text} {_power(entry.versus)}".strip() if entry.noise else text


def _taken_apart(table: Table, line: Line) -> str:
    """The columns beyond the one of `_head`, sorted by how they came out."""
    kinds: dict[str, list[str]] = {"ahead on": [], "behind on": [], "inside the noise on": []}
    columns = slice(0, -1) if table.block.mean else slice(1, None)
    for title, entry in zip(table.titles[columns], line.entries[columns], strict=True):
        if entry.versus:
            kind = "ahead on" if entry.versus.difference > 0 else "behind on"
            kind = "inside the noise on" if entry.noise else kind
            kinds[kind].append(f"{title} ({change(entry.versus)})")
    said = [f"{kind} {listed(found)}" for kind, found in kinds.items() if found]
    return f"Taken apart, {line.row.label} is {'; '.join(said)}." if said else ""


def _power(found: Paired) -> str:
    """What it would take to settle a difference."""
    smallest, needed = power.detectable(found), power.settling(found)
    if needed is None or math.isinf(smallest):
        return "The two disagree on too few questions to tell them apart."
    return (
        f"With this much disagreement a single test on {found.n:,} questions finds a difference of "
        f"{percent(smallest)} points four times in five; one as small as this takes about "
        f"{needed:,}."
    )


def merging(block: Block) -> list[str]:
    """Say what became of each group from α = 0 to the largest α of the sweep."""
    first, last = block.sweep[0], block.sweep[-1]
    found = [(column, _paired(last, first, column)) for column in block.columns]
    known = [(column, versus) for column, versus in found if versus]
    adjusted = holm([versus.p for _, versus in known])
    texts = []
    for (column, versus), p in zip(known, adjusted, strict=True):
        noise = p >= LEVEL
        verb = "goes" if noise else "falls" if versus.difference < 0 else "rises"
        ends = [score(row.run.cells[column.key]) for row in (first, last)]
        texts.append(
            f"{column.title} {verb} from {ends[0]} to {ends[1]}{_peak(block.sweep, column)}: "
            f"{change(versus)}, {probability(p)}{', inside the noise' if noise else ''}"
        )
    return texts


def _peak(sweep: Sequence[Row], column: Column) -> str:
    """The highest value between the ends of the sweep, if there is one."""
    known = [row for row in sweep if column.key in row.run.cells]
    best = max(known, key=lambda row: row.run.cells[column.key].score)
    if best in (sweep[0], sweep[-1]):
        return ""
    return f", by way of {score(best.run.cells[column.key])} at α = {best.alpha:g}"


def _paired(a: Row, b: Row, column: Column) -> Paired | None:
    first, second = a.run.verdicts.get(column.key), b.run.verdicts.get(column.key)
    if not first or not second:
        return None
    try:
        return paired(first, second)
    except Unpairable:
        return None
