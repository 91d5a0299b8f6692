"""The compact table: methods down, benchmarks across, scores with marks for what they show."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.text import (
    in_latex,
    in_markdown,
    latex_row,
    latex_table,
    markdown_table,
    percent,
)
from reports.tables import Entry, Table

MARKS = {True: "†", False: "‡"}
"""Supported and above the baseline, or below it."""

LATEX = {"": "", "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$"}


@dataclass(frozen=True)
class Score:
    """One cell."""

    text: str
    best: bool
    """Whether no complete score of the column is higher."""
    mark: str


def lines(table: Table) -> list[tuple[str, list[Score]]]:
    """Name and scores of each run."""
    shown = [[_shown(entry) for entry in line.entries] for line in table.lines]
    tops = [
        max((value or "" for value in column), key=_value) for column in zip(*shown, strict=True)
    ]
    return [
        (
            line.row.label,
            [
                Score(text or "–", bool(text) and text == top, mark(entry) if text else "")
                for entry, text, top in zip(line.entries, texts, tops, strict=True)
            ],
        )
        for line, texts in zip(table.lines, shown, strict=True)
    ]


def _shown(entry: Entry) -> str | None:
    """As printed, so that what reads alike is best alike; None of a part of the questions."""
    return None if entry.cell is None or entry.part else percent(entry.cell.score)


def _value(text: str) -> float:
    return float(text) if text else -1.0


def mark(entry: Entry) -> str:
    """What a cell's difference shows: a key of `LATEX`."""
    one = entry.versus
    if one is None or one.finding != "supported":
        return ""
    return MARKS[one.difference > 0]


def caption(counted: Sequence[Table]) -> str:
    """What the cells are."""
    text = "Accuracy in percent; bold: the highest of its column."
    bases = dict.fromkeys(table.found.baseline for table in counted if table.found)
    if len(bases) == 1:
        text += (
            f" {MARKS[True]} above and {MARKS[False]} below {next(iter(bases))}, told apart after "
            "correction (Holm)."
        )
    return text


def together(counted: Sequence[Table]) -> list[list[Table]]:
    """The tables that share their columns: one compact table each."""
    found: dict[tuple[str, ...], list[Table]] = {}
    for table in (table for table in counted if not table.by_group):
        found.setdefault(tuple(column.title for column in table.columns), []).append(table)
    return list(found.values())


def markdown(counted: Sequence[Table]) -> str:
    """Write the compact tables as a part of a Markdown document."""
    parts = []
    for own in together(counted):
        rows = []
        for table in own:
            if len(own) > 1:
                rows.append([f"*{in_markdown(table.title)}*", *[""] * len(table.columns)])
            for label, scores in lines(table):
                rows.append([in_markdown(label), *map(_in_markdown, scores)])
        heads = ["", *(in_markdown(column.title) for column in own[0].columns)]
        parts.append(markdown_table(heads, rows, "l" + "r" * (len(heads) - 1)))
    return "\n\n".join([*parts, caption(counted)])


def _in_markdown(score: Score) -> str:
    return (f"**{score.text}**" if score.best else score.text) + score.mark


def latex(counted: Sequence[Table]) -> str:
    r"""Write the compact tables in LaTeX; they need `\usepackage{booktabs}`."""
    parts = []
    for own in together(counted):
        heads = ["", *(column.title for column in own[0].columns)]
        body = [latex_row(heads)]
        for table in own:
            body.append(r"\midrule")
            if len(own) > 1:
                title = rf"\emph{{{in_latex(table.title)}}}"
                body.append(rf"\multicolumn{{{len(heads)}}}{{l}}{{{title}}} \\")
            for label, scores in lines(table):
                body.append(" & ".join([in_latex(label), *map(_in_latex, scores)]) + r" \\")
        align = "l" + "r" * (len(heads) - 1)
        parts.append(latex_table(caption(own), f"compact-{own[0].block.name}", align, body))
    return "\n".join(parts)


def _in_latex(score: Score) -> str:
    text = in_latex(score.text)
    return (rf"\textbf{{{text}}}" if score.best else text) + LATEX[score.mark]
