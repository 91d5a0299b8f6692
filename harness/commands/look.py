"""`driftbench show`, `diff` and `runs`: one answer, the answers that changed, what is on disk."""

import datetime
import difflib
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from common.errors import UserError, near
from common.pictures import decoded
from harness.commands.cells import console, printable
from harness.commands.compare import plain_cell

if TYPE_CHECKING:
    from harness.runs.schema import Question, Response, Verdict
    from harness.statistics.compare import Run

WIDTH = 72
"""Columns of a picture in the terminal, at most."""

THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)|\A(?:(?!<think>).)*?</think>", re.DOTALL)
"""A thought, closed or not; or everything before a closing mark without its opening one."""


def show(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    id: Annotated[
        str, Argument(metavar="ID", help="Id of the question, as `driftbench diff` lists it.")
    ],
    task: Annotated[str | None, Option(help="Where several tasks have such a question.")] = None,
    thoughts: Annotated[bool, Option("--thoughts", help="Show the thoughts too.")] = False,
    protocol: Annotated[str | None, Option(help="Whose verdicts; default: the run's.")] = None,
) -> None:
    """Show a question, its pictures, and what was answered."""
    from harness.runs.folder import image_path, read_questions
    from harness.statistics.compare import read_run, root

    graded = read_run(run, protocol)
    question = _question(read_questions(root(run)), id, task, run)
    verdicts = {v.sample: v for v in graded.verdicts.get((question.task, "all"), []) if v.id == id}
    print(_bold(f"{printable(question.task)} {printable(id)}"))
    for image in question.images:
        _print_picture(image_path(root(run), image))
    print(_block(question.prompt))
    if "answer" in question.row:
        print(_bold("truth"), printable(str(question.row["answer"])))
    for response in _responses(root(run), question):
        print()
        _print_response(response, verdicts.get(response.sample), thoughts)


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
    from rich.table import Table

    from harness.statistics.compare import read_run

    if to not in (None, "right", "wrong"):
        raise UserError(f"--to is right or wrong, not {to!r}")
    first, second = read_run(a, protocol), read_run(b, protocol)
    where = _filtered(first, second, task, group)
    table = Table("task", "question", "groups", box=None)
    for run in (first, second):
        table.add_column(plain_cell(run.card.name))
    flips: list[tuple[list[Verdict], list[Verdict]]] = []
    for key in where:
        found = list(_flips(first.verdicts[key], second.verdicts[key]))
        flips += [pair for pair in found if to is None or (_right(pair) > 0) == (to == "right")]
        up = sum(_right(pair) > 0 for pair in found)
        common = {v.id for v in first.verdicts[key]} & {v.id for v in second.verdicts[key]}
        print(
            printable(
                f"{key[0]}{'' if key[1] == 'all' else ', ' + key[1]}: of {len(common):,} questions "
                f"{up:,} became right and {len(found) - up:,} wrong from {first.card.name} to "
                f"{second.card.name}"
            )
        )
    for old, new in flips[:limit]:
        groups = ", ".join(name for name in old[0].groups if name != "all")
        table.add_row(*map(plain_cell, (old[0].task, old[0].id, groups, _said(old), _said(new))))
    if flips:
        console().print(table)
        print(f"`driftbench show RUN QUESTION` shows one; {min(limit, len(flips))} of {len(flips)}")


def runs(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to look, at any depth.")] = Path(
        "runs"
    ),
) -> None:
    """List the runs on disk."""
    from rich.table import Table

    from harness.runs.folder import read_card, read_cells

    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name the one that holds the runs")
    table = Table("run", "checkpoint", "task", "n", "score", "finished", "written", box=None)
    table.columns[3].justify = table.columns[4].justify = "right"
    broken = []
    for path in _cards(folder):
        try:
            card, cells = read_card(path.parent), read_cells(path.parent)
        except UserError as error:
            broken.append(str(error))
            continue
        scores = {cell.task: f"{100 * cell.score:.1f}" for cell in cells if cell.group == "all"}
        name = str(path.parent.relative_to(folder)) if path.parent != folder else card.name
        when = datetime.datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
        finished = "yes" if card.finished else "no"
        for place, task in enumerate(card.tasks):
            head = [name, Path(card.checkpoint).name] if place == 0 else ["", ""]
            tail = [finished, when] if place == 0 else ["", ""]
            row = (*head, task.name, f"{task.n:,}", scores.get(task.name, "–"), *tail)
            table.add_row(*map(plain_cell, row))
    if not table.row_count and not broken:
        raise UserError(f"{folder} holds no run: `driftbench eval` writes them")
    console().print(table)
    for sentence in broken:
        print(printable(sentence), file=sys.stderr)


# Finding


def _question(questions: "Sequence[Question]", id: str, task: str | None, run: Path) -> "Question":
    tasks = sorted({question.task for question in questions})
    if task is not None and task not in tasks:
        raise UserError(f"{run} has no task {task!r}: {near(task, tasks)}it has {', '.join(tasks)}")
    known = [question for question in questions if task in (None, question.task)]
    found = [question for question in known if question.id == id]
    if len(found) > 1:
        names = ", ".join(question.task for question in found)
        raise UserError(f"{names} have a question {id}: choose one by --task")
    if not found:
        ids = [question.id for question in known]
        close = difflib.get_close_matches(id, ids, n=3, cutoff=0.5) or ids[:3]
        raise UserError(f"{run} has no question {id!r}: near are {', '.join(close)}")
    return found[0]


def _responses(run: Path, question: "Question") -> "list[Response]":
    from harness.runs import log

    own = [
        response
        for response in log.read_responses(run)
        if (response.task, response.id) == (question.task, question.id)
    ]
    if not own:
        raise UserError(f"{run} has no answer to {question.id} of {question.task} yet")
    return sorted(own, key=lambda response: response.sample)


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


def _flips(
    a: "list[Verdict]", b: "list[Verdict]"
) -> "Iterator[tuple[list[Verdict], list[Verdict]]]":
    """Yield the verdicts of each question whose score differs."""
    first, second = _by_id(a), _by_id(b)
    for id, old in first.items():
        new = second.get(id, [])
        if new and _right((old, new)):
            yield old, new


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


def _cards(folder: Path) -> list[Path]:
    from harness.runs.folder import SCORED

    found = folder.rglob("run.json")
    return sorted(path for path in found if path.parent.parent.name != SCORED)


# Showing


def _print_response(response: "Response", verdict: "Verdict | None", thoughts: bool) -> None:
    cut = {"length": ", cut at the token limit", "error": ", failed"}.get(response.finish, "")
    number = f" {response.sample + 1}" if response.sample else ""
    print(_bold(f"answer{number}"), f"({response.tokens_out} tokens{cut})")
    if response.finish == "error":
        print(_block(response.reason))
        return
    print(_block(response.text if thoughts else THOUGHT.sub(_folded, response.text)))
    if verdict is None:
        print(_bold("verdict"), "not graded yet")
        return
    word = {True: "right", False: "wrong", None: verdict.how}[verdict.correct]
    by = f", by {verdict.how}" if verdict.correct is not None else ""
    read = "" if verdict.answer is None else f", read as {printable(verdict.answer)}"
    print(_bold("verdict"), f"{word}{by}{read}")


def _folded(thought: re.Match[str]) -> str:
    words = len(re.sub(r"</?think>", " ", thought[0]).split())
    return f"[a thought of {words:,} words; --thoughts shows it]"


def _block(text: str) -> str:
    """Return a text safe for the terminal, its lines kept."""
    return "\n".join(printable(line.expandtabs(4)) for line in text.splitlines())


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if _colors() else text


def _colors() -> str | None:
    """Return how many colors the terminal has, in rich's words; None where it is none."""
    return console().color_system


def _print_picture(path: Path) -> None:
    """Draw a picture where the terminal has colors, else name its file."""
    if not path.exists():
        print(f"the picture {path} is missing")
        return
    if (colors := _colors()) in ("256", "truecolor"):
        try:
            print(half_blocks(path, min(WIDTH, console().width), colors == "truecolor"))
        except ValueError as error:
            print(printable(f"the picture cannot be read: {error}"))
    print(path)


def half_blocks(path: Path, width: int, true_color: bool = True) -> str:
    """Draw a picture in characters that show two pixels each, one above the other.

    Args:
        path: Of the picture.
        width: Columns, at most; never more than the picture has pixels.
        true_color: The terminal has all colors; else those of the cube of 216.

    Raises:
        ValueError: It cannot be read as a picture.
    """
    opaque = decoded(path)
    columns = min(width, opaque.width)
    rows = max(1, round(opaque.height * columns / opaque.width / 2))
    small = opaque.resize((columns, 2 * rows))
    lines = []
    for y in range(0, 2 * rows, 2):
        line = ""
        for x in range(columns):
            above, below = small.getpixel((x, y)), small.getpixel((x, y + 1))
            front, back = (_color(pixel, true_color) for pixel in (above, below))
            line += f"\x1b[38;{front};48;{back}m▀"
        lines.append(f"{line}\x1b[0m")
    return "\n".join(lines)


def _color(pixel: Any, true_color: bool) -> str:
    if true_color:
        return "2;" + ";".join(map(str, pixel))
    red, green, blue = (round(value / 51) for value in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"
