"""`driftbench compare`: is one run better than another, and how sure is that."""

import glob
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from common.command_line import completing
from common.errors import UserError, near
from common.progress import working
from common.terminal import console, print_table
from common.text import printable
from harness.commands.options import task_names

if TYPE_CHECKING:
    from harness.statistics.compare import Comparison
    from harness.statistics.sides import Side

FORMATS = ("text", "markdown", "latex", "csv", "json")

FAILURES = ("worse", "inconclusive")

STATUS = {"worse": 1, "inconclusive": 3}
"""Of a gate that does not open; 2 is for what the user can put right."""


def compare(
    runs: Annotated[
        list[str],
        Argument(
            metavar="A B...",
            help="Run folders, the baseline first; NAME=RUN,RUN... is a method by training seed.",
        ),
    ],
    baseline: Annotated[
        str | None, Option(metavar="NAME", help="Compare with this one; default: the first.")
    ] = None,
    tasks: Annotated[
        str | None,
        Option(
            metavar="A,B",
            help="Default: all but validation splits.",
            autocompletion=completing(task_names),
        ),
    ] = None,
    groups: Annotated[
        bool, Option("--groups", help="Compare the mean over tasks and the groups of each too.")
    ] = False,
    metric: Annotated[
        str, Option(metavar="mean|maj|pass@K", help="Of several answers to a question.")
    ] = "mean",
    protocol: Annotated[
        str | None, Option(help="Whose verdicts: official, vlmevalkit, robust; default: the run's.")
    ] = None,
    format: Annotated[str, Option(metavar="|".join(FORMATS), help="What to print.")] = "text",
    fail_if: Annotated[
        str | None,
        Option(
            metavar="|".join(FAILURES),
            help="Exit with 1 where a side is worse; also with 3 where that cannot be told.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        Option(min=0.0, max=100.0, metavar="POINTS", help="Largest loss that --fail-if allows."),
    ] = None,
) -> None:
    """Say whether runs differ, and how surely.

    The difference to the baseline is of the same questions. p is of the exact McNemar test, or of
    flipping the differences of whole clusters where questions share a problem or a picture, or
    have several answers. p (Holm) is corrected for all headline differences, each run against the
    baseline, a task each; what --groups adds is exploratory, and corrected by itself. "finds" is
    the smallest difference that as many questions find four times in five, "settles" the questions
    that a difference of the size seen would take, "flips" those on which the two differ.

    --fail-if makes it a gate: "worse" is a supported loss on a whole task, with --margin one that
    is not shown to be smaller. Where that cannot be told, or a task was not answered, the outcome
    is "inconclusive".
    """
    from harness.statistics import compare as comparison
    from harness.statistics import gate, render

    writers = {"markdown": render.markdown, "latex": render.latex, "csv": render.csv}
    if format not in FORMATS:
        raise UserError(
            f"there is no format {format!r}: {near(format, FORMATS)}the formats are "
            f"{', '.join(FORMATS)}"
        )
    if fail_if not in (None, *FAILURES):
        raise UserError(
            f"--fail-if {fail_if} is no outcome: {near(str(fail_if), FAILURES)}expected "
            f"{' or '.join(FAILURES)}"
        )
    if margin is not None and not fail_if:
        raise UserError("--margin is what --fail-if allows: give --fail-if worse or inconclusive")
    wanted = [name.strip() for name in tasks.split(",") if name.strip()] if tasks else None
    sides = _sides(runs, protocol)
    if len(sides) == 1:
        raise UserError(f"there is only {sides[0].name}: name a second run to compare with it")
    with working("comparing"):
        found = comparison.compare(
            sides, baseline=baseline, tasks=wanted, groups=groups, metric=metric
        )
    if not found.differences:
        raise UserError(f"nothing can be compared: {' '.join(found.notes)}".rstrip("."))
    partial = [side.name for side in sides if not all(run.whole for run in side.runs)]
    share = None if margin is None else margin / 100
    judged = gate.judge(found, share, partial) if fail_if else None
    if format == "text":
        _print(found)
        for one in judged.judged if judged else ():
            print(printable(f"gate: {one.side} on {one.task} is {one.outcome}: {one.reason}"))
    elif format == "json":
        sys.stdout.write(render.as_json(found, judged))
    else:
        sys.stdout.write(writers[format](found))
    if judged and judged.outcome in FAILURES[: FAILURES.index(str(fail_if)) + 1]:
        raise Exit(STATUS[judged.outcome])


# What to compare


def _sides(words: Sequence[str], protocol: str | None) -> "list[Side]":
    """Read what is to be compared: run folders, folders of them, methods by seed."""
    from harness.statistics.sides import sides_of

    named: list[tuple[str | None, list[Path]]] = []
    for word in words:
        name, sign, rest = word.partition("=")
        if sign and not Path(word).exists():
            if not name or not rest:
                raise UserError(f"{word!r} is not NAME=RUN,RUN")
            named.append((name, [path for part in rest.split(",") for path in _paths(part)]))
        else:
            named.append((None, _paths(word)))
    return sides_of(named, protocol)


def _paths(word: str) -> list[Path]:
    if Path(word).exists() or not glob.has_magic(word):
        return [Path(word)]
    found = sorted(glob.glob(word))
    if not found:
        raise UserError(f"nothing matches {word}")
    return [Path(path) for path in found]


# What to print

WIDTH = 100
"""Columns where there is no terminal."""

LESS = ("flips", "settles", "finds", "95 % interval", "p")
"""Columns left out where there is no room, the first of them first."""


def _print(found: "Comparison") -> None:
    from harness.statistics import render
    from harness.statistics.compare import FAMILIES

    width = console().width if sys.stdout.isatty() else WIDTH
    whole = True
    for family in FAMILIES:
        if own := found.family(family):
            print(f"{family}:")
            whole &= _print_table(list(render.sections(own)), width)
            print()
    if not whole:
        print("a wider terminal shows more, --format csv everything")
    wrapper = textwrap.TextWrapper(width, subsequent_indent="  ", break_on_hyphens=False)
    for text in render.remarks(found):
        print("\n".join(wrapper.wrap(printable(text))))


def _print_table(lines: "Sequence[tuple[str, list[str]]]", width: int) -> bool:
    """Print the lines under a heading for each place; return whether there was room for all."""
    from harness.statistics.render import ALIGN, HEADS

    rows = [["run", *HEADS[1:]]]
    last = None
    for where, cells in lines:
        if where != last:
            rows.append([where, *[""] * (len(HEADS) - 1)])
        rows.append([f"  {cells[0]}", *cells[1:]])
        last = where
    room = [max(len(row[place]) for row in rows) + 2 for place in range(len(HEADS))]
    shown = list(range(len(HEADS)))
    for head in LESS:
        if sum(room[place] for place in shown) > width:
            shown.remove(HEADS.index(head))
    heads, *rest = [[row[place] for place in shown] for row in rows]
    width = max(width, sum(room[place] for place in shown))  # nothing is cut off in a file
    print_table(heads, rest, "".join(ALIGN[place] for place in shown), width)
    return len(shown) == len(HEADS)
