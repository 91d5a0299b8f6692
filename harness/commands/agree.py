"""`driftbench agree`: how far protocols agree on a run's answers."""

import math
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from common.errors import UserError
from common.terminal import print_table
from common.text import percent

if TYPE_CHECKING:
    from harness.statistics.agreement import Agreement


def agree(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder, scored by several protocols.")],
    protocols: Annotated[
        str | None, Option(metavar="A,B", help="Default: all that it was scored by.")
    ] = None,
) -> None:
    """Say how far protocols agree on a run's answers.

    Both verdicts on each answer are compared: share alike, Cohen's kappa, what one alone has right.
    """
    from harness.runs.folder import SCORED, dated, read_card
    from harness.statistics.agreement import agreement
    from harness.statistics.sides import read_run

    there = [*dict.fromkeys(task.protocol for task in read_card(run).tasks)]
    there += sorted(dated(path.parent.name) for path in run.glob(f"{SCORED}/*/run.json"))
    names = [name.strip() for name in protocols.split(",")] if protocols else there
    if len(names) < 2:
        raise UserError(
            f"{run} was scored by {names[0]} alone: "
            f"`driftbench score {run} --protocol NAME` scores it by another"
        )
    graded = {name: read_run(run, protocol=name).verdicts for name in dict.fromkeys(names)}
    rows = []
    for a, b in combinations(graded, 2):
        for task, group in graded[a]:
            if group == "all" and (task, group) in graded[b]:
                found = agreement(graded[a][task, group], graded[b][task, group])
                rows.append((task, f"{a} / {b}", *_cells(found)))
    if not rows:
        raise UserError(f"{run}: {' and '.join(graded)} graded no task in common")
    heads = ("task", "protocols", "answers", "agree", "kappa", "scores")
    print_table((*heads, "first only", "second only"), rows, "ll" + 6 * "r")
    print("right, wrong and unparsed are three verdicts; first and second only: right by one alone")


def _cells(found: "Agreement") -> list[str]:
    only = [
        sum(n for words, n in found.counts.items() if words[i] == "right" != words[1 - i])
        for i in (0, 1)
    ]
    return [
        f"{found.n:,}",
        f"{percent(found.share)} %",
        f"{found.kappa:.3f}" if math.isfinite(found.kappa) else "–",
        f"{percent(found.score_a)} / {percent(found.score_b)}",
        *map(str, only),
    ]
