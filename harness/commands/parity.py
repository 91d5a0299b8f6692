"""`driftbench parity`: prove that scores here are the published ones."""

import math
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from harness.commands.cells import console, printable

SHOWN = 5
"""Rows named of those that disagree, for each check."""


def parity(
    folder: Annotated[
        Path, Argument(metavar="DIR", help="Published outputs: manifest.json and its files.")
    ],
) -> None:
    """Score published outputs again, row by row.

    The exit status is 1 if a verdict differs that the file does not flag as drawn or stale.
    """
    from rich.table import Table
    from rich.text import Text

    from harness.evaluate.published_verdicts import outcomes

    columns = ("file", "compared", "rows", "agree", "flagged", "score", "published", "s")
    table = Table(*columns, box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    found = list(outcomes(folder))
    for one in found:
        counts = (str(one.rows), str(one.agree), str(one.flagged or ""))
        scores = (_percent(one.score), _percent(one.published), f"{one.seconds:.1f}")
        table.add_row(Text(one.file), Text(one.what), *counts, *scores)
    console().print(table)
    wrong = [one for one in found if one.wrong]
    for one in wrong:
        print(f"{one.file}, {one.what}: {len(one.wrong)} differ")
        for row in one.wrong[:SHOWN]:
            print(f"  {printable(row)}")
    rows, agree = sum(one.rows for one in found), sum(one.agree for one in found)
    flagged, seconds = sum(one.flagged for one in found), sum(one.seconds for one in found)
    print(
        f"{agree} of {rows} agree, {flagged} are flagged, {rows - agree - flagged} differ; "
        f"{seconds:.1f} s"
    )
    raise typer.Exit(1 if wrong else 0)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.2f}"
