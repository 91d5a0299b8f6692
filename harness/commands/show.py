"""`driftbench show`: one question, its pictures, and what was answered."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from common.errors import UserError, near
from common.pictures import decoded
from common.progress import working
from common.terminal import console
from common.text import printable

if TYPE_CHECKING:
    from harness.runs.schema import Question, Response, Verdict

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
    from harness.statistics.sides import read_run, root

    graded = read_run(run, protocol=protocol)
    with working(f"reading {run}"):
        question = _question(read_questions(root(run)), id, task, run)
        responses = _responses(root(run), question)
    verdicts = {v.sample: v for v in graded.verdicts.get((question.task, "all"), []) if v.id == id}
    print(_bold(f"{printable(question.task)} {printable(id)}"))
    for image in question.images:
        _print_picture(image_path(root(run), image))
    print(_block(question.prompt))
    if "answer" in question.row:
        print(_bold("truth"), printable(str(question.row["answer"])))
    for response in responses:
        print()
        _print_response(response, verdicts.get(response.sample), thoughts)


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
        print(printable(f"the picture {path} is missing"))
        return
    if (colors := _colors()) in ("256", "truecolor"):
        try:
            print(half_blocks(path, min(WIDTH, console().width), colors == "truecolor"))
        except ValueError as error:
            print(printable(f"the picture cannot be read: {error}"))
    print(printable(str(path)))


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
