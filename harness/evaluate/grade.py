"""Responses → verdicts, cells and the benchmarks' own metrics, under a protocol.

    score(Path("runs/vlm"))                              # the run's own protocol, again
    score(Path("runs/vlm"), "vlmevalkit")                # beside it, in scored/vlmevalkit

Nothing is asked of the model that answered, and none is loaded.
"""

import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tasks
from common.errors import UserError
from common.files import own_folder
from common.progress import counted
from harness.evaluate.judge import Judge, settled
from harness.runs import locks, log
from harness.runs.folder import (
    SCORED,
    read_card,
    read_questions,
    scored_folder,
    write_json,
    write_lines,
)
from harness.runs.schema import (
    How,
    Place,
    Question,
    Response,
    RunCard,
    TaskCard,
    Verdict,
    place,
)
from harness.statistics import scores
from tasks import Task
from tasks.grading.extract import stated
from tasks.judging import UNPARSED, Judging, Reading

Readings = dict[Place, Reading]
"""What the rule read in responses, where that took no judge."""


class _Row(dict[str, Any]):
    """A row of a run folder, which refuses the use of a field that it lacks."""

    def __init__(self, path: Path, question: Question) -> None:
        super().__init__(question.row)
        self._where = f"{path} has a row of {question.task} ({question.id})"

    def __missing__(self, field: str) -> Any:
        raise UserError(
            f"{self._where} without the field {field}, which its verdict needs: the same "
            "`driftbench eval` makes the file anew"
        )


def _questions(folder: Path, names: Container[str]) -> list[Question]:
    path = folder / "questions.jsonl"
    found = (question for question in read_questions(folder) if question.task in names)
    return [replace(question, row=_Row(path, question)) for question in found]


class Running:
    """Reads answers as they come, so that what takes no judge need not be read again."""

    def __init__(self, graded_tasks: Iterable[Task], questions: Iterable[Question]) -> None:
        self.readings: Readings = {}
        self._tasks = {task.name: task for task in graded_tasks}
        self._questions = {(question.task, question.id): question for question in questions}

    def __call__(self, response: Response) -> How:
        """Read one; return what its verdict would be found by if no judge were asked."""
        question = self._questions[response.task, response.id]
        begun = begin(self._tasks[response.task], question, response)
        self.readings.pop(place(response), None)
        if isinstance(begun, tuple):
            self.readings[place(response)] = begun
        ((reading, used),) = settled([begun], None, [response.extraction])
        return _how(response, reading, used)


def score(folder: Path, protocol: str | None = None, judge: Judge | None = None) -> Path:
    """Grade a run again from what is on disk.

    Args:
        folder: Of the run.
        protocol: Whose rules; None, or the run's own: its verdicts are made anew. Another: verdicts
            are written into `scored/<protocol>`, of the tasks that have it, and the run's own stay.
        judge: Whom the protocol may ask; None: what the run's judge said before is used.

    Returns:
        The folder with the verdicts.

    Raises:
        UserError: It is no run, or another process writes it.
        UserError: None of its tasks has the protocol.
    """
    card = read_card(folder)
    protocol = protocol and tasks.resolved(protocol)
    with locks.locked(folder):
        own = {task.name: own_protocol(task) for task in card.tasks}
        if protocol is None or set(own.values()) == {protocol}:
            grade(folder, card, _loaded(own), judge)
            return folder
        into = folder / SCORED / protocol
        having = [task for task in card.tasks if has(task, protocol)]
        for task in having or card.tasks:
            tasks.load(task.name, protocol)
        own_folder(own_folder(into.parent) / protocol)
        name = f"{card.name} ({protocol})"
        part = replace(card, name=name, tasks=tuple(having), judge=_judge_of(into))
        grade(folder, part, _loaded({task.name: protocol for task in having}), judge, into)
        return into


def own_protocol(card: TaskCard) -> str:
    """Return the protocol by which a run was graded; `robust` where it has none of today's."""
    return card.protocol if has(card, card.protocol) else tasks.ROBUST


def has(card: TaskCard, protocol: str) -> bool:
    """Whether a task has a protocol."""
    return protocol in tasks.load(card.name).protocols


def _loaded(protocols: dict[str, str]) -> list[Task]:
    return [tasks.load(name, protocol) for name, protocol in protocols.items()]


def _judge_of(into: Path) -> dict[str, str] | None:
    return read_card(into).judge if (into / "run.json").exists() else None


def grade(
    folder: Path,
    card: RunCard,
    graded_tasks: Sequence[Task],
    judge: Judge | None = None,
    into: Path | None = None,
    readings: Readings | None = None,
) -> RunCard:
    """Write verdicts, cells, summary and the card of what has been answered.

    Args:
        folder: Of the run: questions and responses are read there.
        card: Of the run, or of a part of it.
        graded_tasks: Those of the card, under the protocol to grade by.
        judge: As in `score`.
        into: Where to write, `folder` if None.
        readings: What the same rules found before, of some responses.

    Returns:
        The card as it was written.
    """
    into = into or folder
    by_name = {task.name: task for task in graded_tasks}
    questions = _questions(folder, by_name)
    graded = verdicts_of(folder, card, by_name, questions, judge, readings=readings)
    verdicts = graded.verdicts
    cards = tuple(
        replace(
            _under(by_name[task.name], task, questions),
            unjudged=graded.unjudged[task.name],
            failed=graded.failed[task.name],
        )
        for task in card.tasks
    )
    card = replace(card, tasks=cards, finished=len(verdicts) == card.asked)
    if graded.judge is not None:
        card = replace(card, judge=graded.judge.record)
    (into / "answers.parquet").unlink(missing_ok=True)  # it has the verdicts before these
    write_lines(into / "verdicts.jsonl", verdicts)
    write_json(into / "cells.json", scores.cells(card.name, verdicts))
    write_json(into / "summary.json", _summaries(graded_tasks, questions, verdicts))
    write_json(into / "run.json", card)
    return card


def verdicts_of(
    folder: Path,
    card: RunCard,
    by_name: dict[str, Task],
    questions: Sequence[Question],
    judge: Judge | None = None,
    readings: Readings | None = None,
) -> "Graded":
    """Judge all responses to some questions."""
    if judge is None and card.judge is not None:
        judge = Judge(folder, card.judge)
    responses = {(r.task, r.id, r.sample): r for r in log.read_responses(folder)}
    wanted = [
        (question, response)
        for question in questions
        for sample in range(card.sampling.n)
        if (response := responses.get((question.task, question.id, sample))) is not None
    ]
    known = readings or {}
    begun = [
        known.get(place(response)) or begin(by_name[question.task], question, response)
        for question, response in counted("grading", wanted, len(wanted))
    ]
    ends = settled(begun, judge, [response.extraction for _, response in wanted])
    verdicts = [
        _verdict(by_name[question.task], question, response, reading, used)
        for (question, response), (reading, used) in zip(wanted, ends, strict=True)
    ]
    waiting = Counter(
        q.task for (q, _), (_, used) in zip(wanted, ends, strict=True) if used is None
    )
    failed = Counter(r.task for _, r in wanted if log.failed(r))
    return Graded(verdicts, waiting, failed, judge)


@dataclass(frozen=True)
class Graded:
    """The verdicts on a run."""

    verdicts: list[Verdict]
    unjudged: Counter[str]
    """Task → answers that are unparsed because no judge read them."""
    failed: Counter[str]
    """Task → answers that the engine failed on, and not the question."""
    judge: Judge | None
    """Who was at hand."""


def _is_torn(task: Task, response: Response) -> bool:
    """Whether a response that was cut has no answer; the scripts of others never ask."""
    return task.ends or (task.protocol == tasks.ROBUST and not stated(response.whole))


def begin(task: Task, question: Question, response: Response) -> Reading | Judging:
    """Apply the rule to a response, as far as it goes without a judge."""
    if response.finish == "error" or (response.finish == "length" and _is_torn(task, response)):
        return UNPARSED
    try:
        text = response.whole if task.protocol == tasks.ROBUST else response.text
        return task.verdict(question.row, text)
    except UserError:
        raise
    except Exception as error:  # what a model wrote must not cost the verdicts of all others
        print(
            f"driftbench: the {task.protocol} rule of {task.name} broke on the response to "
            f"{question.id} ({type(error).__name__}), which is left unparsed",
            file=sys.stderr,
        )
        return UNPARSED


def _verdict(
    task: Task, question: Question, response: Response, reading: Reading, used: bool | None
) -> Verdict:
    answer, correct = reading
    return Verdict(
        task=question.task,
        id=question.id,
        sample=response.sample,
        correct=correct,
        answer=answer,
        how=_how(response, reading, used),
        groups=("all", *task.groups(question.row)),
        cluster=cluster_of(task, question),
    )


def _how(response: Response, reading: Reading, used: bool | None) -> How:
    if response.finish == "error":
        return "error"
    if reading[1] is None:
        return "truncated" if response.finish == "length" else "unparsed"
    return "judge" if used else "rule"


def cluster_of(task: Task, question: Question) -> str:
    """Name what a question shares with others: its problem, or else the pictures that it shows.

    Where the pictures are not at hand, their names in the row stand for them.
    """
    known = [image.sha256[:16] for image in question.images]
    names = "+".join(known or map(str, question.row.get("images") or ()))
    return task.cluster(question.row) or names


def _under(task: Task, card: TaskCard, questions: Iterable[Question]) -> TaskCard:
    """Return the card of a task as it is graded now."""
    own = (question for question in questions if question.task == task.name)
    return replace(
        card,
        version=task.version,
        protocol=task.protocol,
        scoring=task.scoring,
        reworded=sum(task.to_prompt(question.row) != question.prompt for question in own),
    )


def _summaries(
    graded_tasks: Iterable[Task], questions: Sequence[Question], verdicts: list[Verdict]
) -> dict[str, dict[str, float]]:
    """Return the metrics of the tasks whose own are more than a mean, of the first answers."""
    first = {(v.task, v.id): v for v in verdicts if v.sample == 0}
    found = {}
    for task in graded_tasks:
        if task.summary is None:
            continue
        graded = [
            ({**q.row, "read": first[q.task, q.id].answer}, first[q.task, q.id].correct is True)
            for q in questions
            if q.task == task.name and (q.task, q.id) in first
        ]
        if metrics := task.summary(graded):
            found[task.name] = metrics
    return found


# Two protocols side by side


def disagreements(
    folder: Path, protocol: str
) -> Iterator[tuple[Question, Response, Verdict, Verdict]]:
    """Yield the responses that `robust` and another protocol judge differently.

    Args:
        folder: Of the run.
        protocol: The other one; the replies that a judge gave under it are used, none is asked.

    Yields:
        Question, response, the robust verdict, the other one; where one says right and the other
        wrong or unparsed.
    """
    card, protocol = read_card(folder), tasks.resolved(protocol)
    names = [task.name for task in card.tasks if has(task, protocol)]
    if not names:
        tasks.load(card.tasks[0].name, protocol)
    if protocol == tasks.ROBUST:
        raise UserError("robust is one of the two that are compared: name the other --protocol")
    questions = _questions(folder, names)
    recorded = replace(card, judge=_judge_of(scored_folder(folder, protocol)) or card.judge)
    found = []
    for one in (tasks.ROBUST, protocol):
        by_name = {name: tasks.load(name, one) for name in names}
        verdicts = verdicts_of(folder, recorded, by_name, questions).verdicts
        found.append({(v.task, v.id, v.sample): v for v in verdicts})
    by_id = {(q.task, q.id): q for q in questions}
    for response in log.read_responses(folder):
        at = (response.task, response.id, response.sample)
        if at in found[0] and (found[0][at].correct is True) != (found[1][at].correct is True):
            yield by_id[response.task, response.id], response, found[0][at], found[1][at]
