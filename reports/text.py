"""The comparison in plain words, each sentence made from the numbers of its table."""

from collections.abc import Sequence

from common.text import listed, probability, with_error
from harness.statistics import compare, render
from harness.statistics.compare import MEAN
from harness.statistics.sides import Side
from reports.blocks import Block, Column, Row
from reports.tables import Line, Table, chosen


def differences(table: Table) -> list[str]:
    """Say what a table shows: the headline differences, DRIFT by group, and what was chosen."""
    texts = render.sentences(table.found, "headline") if table.found else []
    texts += [_taken_apart(table, line) for line in table.lines if line.row.method == "drift"]
    return [text for text in (*texts, chosen(table.block)) if text]


def _taken_apart(table: Table, line: Line) -> str:
    """The groups, sorted by how they came out."""
    kinds: dict[str, list[str]] = {}
    for column, entry in zip(table.columns, line.entries, strict=True):
        if (one := entry.versus) and one.group not in ("all", MEAN):
            supported = "ahead" if one.difference > 0 else "behind"
            kind = supported if one.finding == "supported" else one.finding
            kinds.setdefault(kind, []).append(f"{column.title} ({render.change(one)})")
    said = [f"{kind} on {listed(found)}" for kind, found in kinds.items()]
    return f"{line.row.label}, taken apart: {'; '.join(said)}." if said else ""


def merging(block: Block) -> list[str]:
    """Say what became of each group from α = 0 to the largest α of the sweep."""
    first, last = block.sweep[0], block.sweep[-1]
    found = compare.compare([Side(row.label, (row.run,)) for row in (first, last)], groups=True)
    texts = []
    for column in block.columns:
        if one := found.of(last.label, *column.key):
            known = one.finding == "supported"
            verb = "goes" if not known else "falls" if one.difference < 0 else "rises"
            ends = [_score(row, column) for row in (first, last)]
            texts.append(
                f"{column.title} {verb} from {ends[0]} to {ends[1]}{_peak(block.sweep, column)}: "
                f"{render.change(one)}, {probability(one.p_holm)}, {one.finding}"
            )
    return texts


def _peak(sweep: Sequence[Row], column: Column) -> str:
    """The highest value between the ends of the sweep, if there is one."""
    known = [row for row in sweep if column.key in row.run.cells]
    best = max(known, key=lambda row: row.run.cells[column.key].score)
    if best in (sweep[0], sweep[-1]):
        return ""
    return f", by way of {_score(best, column)} at α = {best.alpha:g}"


def _score(row: Row, column: Column) -> str:
    cell = row.run.cells[column.key]
    return with_error(cell.score, cell.stderr)
