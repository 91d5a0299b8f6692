"""The right answers of a run as training rows: rejection sampling.

Fine-tuning on a reasoner's own right answers (STaR, arXiv 2203.14465; of text for a VLM: Virgo,
arXiv 2501.01904) is what a method that moves weights toward it has to be measured against. The note
beside the rows says what sampling them cost, wrong answers included.
"""

import json
import math
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_whole
from common.provenance import MADE, Made, Parent, git_commit, lineage, package_versions
from drift.headers import shapes
from drift.training.forms import MARK, conversation
from harness.runs.folder import image_path, read_questions
from harness.runs.log import read_responses
from harness.runs.schema import UTF8, Question, Response, Verdict
from harness.statistics.sides import Run, root
from tasks.grading.thought import THINK_CLOSE, THINK_OPEN, parted


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of the answers of a run."""

    answers: int
    """That were sampled."""
    rows: int
    questions: int
    """That have a row."""
    asked: int
    """Questions in all."""
    left_out: dict[str, int]
    """Why → how many answers."""


def write(run: Run, out: Path, *, every: bool = False, inline: bool = False) -> Written:
    """Write the rows, and beside them `<out>.made.json`: where they come from.

    Args:
        run: Graded.
        out: `.jsonl` file.
        every: All different right answers to a question, not the first alone.
        inline: A thought goes into the answer, in `<think>` and `</think>`, and not into a field
            beside it.

    Raises:
        UserError: The run has no verdict yet, no answer to learn from, or not its pictures.
    """
    place = root(run.folder)
    if not run.verdicts:
        raise UserError(f"{place} has no verdict yet: `driftbench score {place}` makes them")
    questions = {(one.task, one.id): one for one in read_questions(place)}
    verdicts = {
        (one.task, one.id, one.sample): one
        for task in run.tasks
        for one in run.verdicts[task, "all"]
    }
    order = {asked: number for number, asked in enumerate(questions)}
    responses = sorted(  # the log has them as they finished
        read_responses(place),
        key=lambda one: (order.get((one.task, one.id), len(order)), one.sample),
    )
    lines: dict[tuple[str, str], list[str]] = {}
    left_out: Counter[str] = Counter()
    for response in responses:
        asked = response.task, response.id
        why = _unfit(response, verdicts.get((*asked, response.sample)))
        if asked not in questions:
            why = "whose question was not kept"
        if why is None and asked in lines and not every:
            why = "to a question that has a row"
        if why is None:
            row = _row(questions[asked], response, place, out, inline)
            line, why = json.dumps(row), _unreadable(row)
            if why is None and line in lines.setdefault(asked, []):
                why = "said before"
        if why is None:
            lines[asked].append(line)
        else:
            left_out[why] += 1
    rows = [line for said in lines.values() for line in said]
    written = Written(
        answers=len(responses),
        rows=len(rows),
        questions=sum(map(bool, lines.values())),
        asked=len(questions),
        left_out=dict(left_out),
    )
    if not rows:
        raise UserError(
            f"{place} has no right and whole answer among {len(responses)}: sample more of them "
            "(`driftbench eval --n`), or ask easier questions"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {"every": every, "inline": inline}
    write_whole(out, "".join(f"{line}\n" for line in rows).encode(*UTF8))
    write_whole(out.with_suffix(f".{MADE}"), _note(run, responses, written, settings))
    return written


def _unfit(response: Response, verdict: Verdict | None) -> str | None:
    """Why an answer is none to learn from; None where it is one."""
    if response.finish == "error":
        return "that failed"
    if verdict is None:
        return "without a verdict"
    if response.finish == "length" or response.forced:
        return "that were cut at the limit"
    if verdict.correct is None:
        return "that could not be read"
    return None if verdict.correct else "that were wrong"


def _unreadable(row: dict[str, Any]) -> str | None:
    """Why training would refuse a row; None where it takes it."""
    answer = row["messages"][-1]
    try:
        conversation(row)
        if MARK in answer["content"] + answer.get("reasoning_content", ""):
            raise ValueError(f"has an {MARK} mark in an answer")
    except ValueError as error:
        return f"of which training says: {error}"
    return None


def _row(
    question: Question, response: Response, run: Path, out: Path, inline: bool
) -> dict[str, Any]:
    thought, said = parted(response.whole)
    answer: dict[str, Any] = {"role": "assistant", "content": said}
    if thought.strip() and inline:
        answer["content"] = f"{THINK_OPEN}{thought}{THINK_CLOSE}{said}"
    elif thought.strip():
        answer |= {"content": said.strip(), "reasoning_content": thought.strip()}
    start = out.resolve().parent
    pictures = [image_path(run, image) for image in question.images]
    if missing := [picture for picture in pictures if not picture.exists()]:
        raise UserError(
            f"{run} lacks a picture of {question.task} ({question.id}), {missing[0]}: give the run "
            "by the path that it was made by, or lay the folder images beside it"
        )
    return {
        "messages": [{"role": "user", "content": question.prompt}, answer],
        "images": [os.path.relpath(picture, start) for picture in pictures],
        "source": question.task,
        "id": question.id,
    }


def _parameters(checkpoint: Path) -> int | None:
    """How many a model has; None where it is not at hand, or an adapter."""
    if not (checkpoint / "config.json").is_file():
        return None
    return sum(math.prod(shape) for shape in shapes(checkpoint).values())


def _note(run: Run, responses: list[Response], written: Written, settings: dict[str, Any]) -> bytes:
    card, tokens = run.card, sum(one.tokens_in + one.tokens_out for one in responses)
    parents = (Parent("sampled", card.checkpoint, card.fingerprint),)
    parameters = _parameters(Path(card.checkpoint))
    made = Made(
        method="rows",
        name=card.name,
        parents=parents,
        settings={
            **settings,
            "run": str(root(run.folder).resolve()),
            "sampling": asdict(card.sampling),
            "tasks": {task.name: task.protocol for task in card.tasks},
        },
        coverage=asdict(written),
        cost={
            "seconds": card.seconds,
            # A card of before they were counted holds none.
            "processor_seconds": card.processor_seconds or None,
            "samples": len(responses),
            "tokens": tokens,
            "tokens_out": sum(one.tokens_out for one in responses),
            # arXiv 2001.08361, section 2.1: 2 for each parameter and token of a forward pass.
            "flops": None if parameters is None else 2 * parameters * tokens,
            "before": [asdict(one) for one in lineage(parents)],
            "device": card.device,
        },
        packages=package_versions(),
        git=git_commit(),
    )
    return (json.dumps(asdict(made), indent=2) + "\n").encode(*UTF8)
