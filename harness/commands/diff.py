"""`driftbench diff`: the questions that came out differently in two runs."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from common.errors import UserError, near
from common.terminal import print_table
from common.text import printable

if TYPE_CHECKING:
    from harness.runs.schema import Verdict
    from harness.statistics.sides import Run


def diff(
    a: Annotated[Path, Argument(metavar="A", help="Run folder.")],
    b: Annotated[Path, Argument(metavar="B", help="Run folder.")],
    task: Annotated[str | None, Option(help="Only this task.")] = None,
    group: Annotated[str | None, Option(help="Only this group of questions.")] = None,
    to: Annotated[
        str | None, Option(metavar="right|wrong", help="Only what B got right, or wrong.")
    ] = None,
    limit: Annotated[int, Option(min=1, help="Questions to list.")] = 20,
    protocol: Annotated[str | None, Option(help="Whose verdicts; default: each run's.")] = None,
) -> None:
    """List the questions that came out differently in two runs.

    Of several answers to a question those are counted that are right.
    """
    from harness.statistics.sides import other_questions, read_run, reworded

    if to not in (None, "right", "wrong"):
        raise UserError(f"--to is right or wrong, not {to!r}")
    first, second = read_run(a, protocol=protocol), read_run(b, protocol=protocol)
    where = _filtered(first, second, task, group)
    flips: list[tuple[list[Verdict], list[Verdict]]] = []
    for key in where:
        others = other_questions(first, second, key[0])
        pairs = _pairs(first.verdicts[key], second.verdicts[key], others)
        found = [pair for pair in pairs if _right(pair)]
        flips += [pair for pair in found if to is None or (_right(pair) > 0) == (to == "right")]
        up = sum(_right(pair) > 0 for pair in found)
        said = (
            f"{key[0]}{'' if key[1] == 'all' else ', ' + key[1]}: of {len(pairs):,} questions "
            f"{up:,} became right and {len(found) - up:,} wrong from {first.card.name} to "
            f"{second.card.name}"
        )
        if others:
            said += f"; under {len(others):,} ids they were asked other questions, left out here"
        if count := len(reworded(first, second, key[0])) - len(others):
            said += f"; {count:,} were put in other words or with other pictures"
        print(printable(said))
    rows = []
    for old, new in flips[:limit]:
        groups = ", ".join(name for name in old[0].groups if name != "all")
        rows.append((old[0].task, old[0].id, groups, _said(old), _said(new)))
    if rows:
        heads = ("task", "question", "groups", first.card.name, second.card.name)
        print_table(heads, rows, "lllll")
        print(f"`driftbench show RUN QUESTION` shows one; {len(rows)} of {len(flips)}")


def _filtered(a: "Run", b: "Run", task: str | None, group: str | None) -> list[tuple[str, str]]:
    """Return the task and group of what to look at, in both runs."""
    shared = [key for key in a.verdicts if key in b.verdicts]
    tasks = list(dict.fromkeys(name for name, _ in shared))
    if not tasks:
        raise UserError("the two runs have no task in common")
    if task is not None and task not in tasks:
        raise UserError(
            f"the two runs share no task {task!r}: {near(task, tasks)}they share {', '.join(tasks)}"
        )
    inside = [key for key in shared if task in (None, key[0])]
    found = [key for key in inside if key[1] == (group or "all")]
    if not found:
        known = list(dict.fromkeys(name for _, name in inside))
        raise UserError(
            f"there is no group {group!r}: {near(group or '', known)}there are {', '.join(known)}"
        )
    return found


def _pairs(
    a: "list[Verdict]", b: "list[Verdict]", others: set[str]
) -> "list[tuple[list[Verdict], list[Verdict]]]":
    """The verdicts of each question that both were asked; `others` are ids of different ones."""
    first, second = _by_id(a), _by_id(b)
    return [(first[id], second[id]) for id in first if id in second and id not in others]


def _by_id(verdicts: "list[Verdict]") -> "dict[str, list[Verdict]]":
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.id, []).append(verdict)
    return found


def _right(pair: "tuple[list[Verdict], list[Verdict]]") -> float:
    """Return how much larger the share of right answers is in the second."""
    from harness.statistics.scores import mean

    return mean(pair[1]) - mean(pair[0])


def _said(verdicts: "list[Verdict]") -> str:
    """`B (wrong)`, `unparsed`, or of several answers `3 of 4 right`."""
    if len(verdicts) > 1:
        return f"{sum(v.correct is True for v in verdicts)} of {len(verdicts)} right"
    verdict = verdicts[0]
    if verdict.correct is None:
        return verdict.how
    answer = textwrap.shorten(verdict.answer or "", 40, placeholder="…")
    return f"{answer} ({'right' if verdict.correct else 'wrong'})"
