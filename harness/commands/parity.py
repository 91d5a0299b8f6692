"""`driftbench parity`: prove that scores here are the published ones."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument

from common.terminal import print_table
from common.text import printable

if TYPE_CHECKING:
    from harness.evaluate.published_verdicts import Outcome

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
    from common.progress import working

    found: list[Outcome] = []
    with working("scoring published outputs again") as say:
        from harness.evaluate.published_verdicts import outcomes

        for one in outcomes(folder):
            found.append(one)
            say(f"scored {one.file} again")
    rows = [
        [
            *(one.file, one.what, str(one.rows), str(one.agree), str(one.flagged or "")),
            *(_percent(one.score), _percent(one.published), f"{one.seconds:.1f}"),
        ]
        for one in found
    ]
    heads = ("file", "compared", "rows", "agree", "flagged", "score", "published", "s")
    print_table(heads, rows, "llrrrrrr")
    wrong = [one for one in found if one.wrong]
    for one in wrong:
        print(printable(f"{one.file}, {one.what}: {len(one.wrong)} differ"))
        for row in one.wrong[:SHOWN]:
            print(f"  {printable(row)}")
    count, agree = sum(one.rows for one in found), sum(one.agree for one in found)
    flagged, seconds = sum(one.flagged for one in found), sum(one.seconds for one in found)
    print(
        f"{agree} of {count} agree, {flagged} are flagged, {count - agree - flagged} differ; "
        f"{seconds:.1f} s"
    )
    raise typer.Exit(1 if wrong else 0)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.2f}"
