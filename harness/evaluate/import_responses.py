"""Answers that another tool collected, as a run folder like any other.

    run_of(Path("MyModel_MathVista_MINI.tsv"), "mathvista", Path("runs/theirs"))

`result_files` reads the file and `result_layouts` what is in it; here the answers are joined to the
rows of the task, by the checks that all layouts have in common.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tasks
from common.errors import UserError
from common.files import refuse_file
from common.provenance import git_commit, package_versions
from harness.evaluate.answer_shapes import Said
from harness.evaluate.prompts import Pictures, asked_elsewhere, revision
from harness.evaluate.result_layouts import NAMES, Answer, answers_of
from harness.evaluate.run import PACKAGES
from harness.runs import folder, locks
from harness.runs.schema import ELSEWHERE, UTF8, Response, RunCard, Sampling, TaskCard
from tasks import Row
from tasks.data import first
from tasks.data.hub import commit

MOST_MISSING = 500_000
"""Records of answers that a file does not have, which are all written."""


def run_of(
    path: Path,
    task_name: str,
    out: Path,
    *,
    protocol: str | None = None,
    data: Path | None = None,
    name: str | None = None,
    filter_name: str | None = None,
) -> RunCard:
    """Make a run folder of a file of answers, not graded yet.

    Args:
        path: The file.
        task_name: What was asked.
        out: The run folder; one that was made of the same file is made anew.
        protocol: To grade by; None is `robust`.
        data: Folder of the task's rows; of their pictures those that are there are kept.
        name: Of the model; None is the file's name.
        filter_name: Of lm-eval or lmms-eval: what it left is graded, not all that was said.

    Returns:
        The card. Rows without an answer are there with an error that says so.

    Raises:
        UserError: The file cannot be read, or does not answer this task's rows.
    """
    task = tasks.load(task_name, protocol)
    found, notes = answers_of(path, filter_name)
    if not found:
        raise UserError(f"{path} holds no answers")
    rows = task.rows(data)
    by_row, strangers = _joined(path, found, rows, task_name)
    n = _samples(path, by_row, len(rows))
    responses = [
        _response(path, task_name, id, sample, {a.sample: a for a in by_row.get(id, [])})
        for id in (row["id"] for row in rows)
        for sample in range(n)
    ]
    whole = task.source.n if task.source else 0
    card = RunCard(
        name=name or path.stem,
        checkpoint=str(path),
        fingerprint=f"answers:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        made=None,
        engine=ELSEWHERE,
        engine_version="unknown",
        sampling=Sampling(n=n),
        dtype="unknown",
        pixels={},
        tasks=(
            TaskCard(
                name=task_name,
                version=task.version,
                revision=revision(rows),
                n=len(rows),
                protocol=task.protocol,
                scoring=task.scoring,
                whole=whole,
                commit=commit(task.source) if data is None and task.source else None,
            ),
        ),
        limit=None,
        git=git_commit(),
        packages=package_versions(PACKAGES),
        device="unknown",
        seconds=0.0,
        notes=(*notes, *strangers),
    )
    card = _continued(out, card)
    pictures = Pictures(out)
    questions = [asked_elsewhere(task, row, pictures) for row in rows]
    pictures.remember()
    with locks.locked(out):
        folder.drop_scored(out)
        folder.write_lines(out / "questions.jsonl", questions)
        folder.write_lines(out / "responses.jsonl", responses)
        folder.write_json(out / "run.json", card)
    return card


def _continued(out: Path, card: RunCard) -> RunCard:
    """Make the run's folder; of the same answers scored before, the judge stays."""
    refuse_file(out)
    if (out / "run.json").exists():
        old = folder.read_card(out)
        same = [(t.name, t.protocol) for t in old.tasks] == [
            (t.name, t.protocol) for t in card.tasks
        ]
        if old.fingerprint != card.fingerprint or not same:
            raise UserError(f"{out} holds another run: choose another --out")
        card = replace(card, judge=old.judge)
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no run: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    return card


def _response(path: Path, task: str, id: str, sample: int, answers: dict[int, Answer]) -> Response:
    answer = answers.get(sample)
    said = answer.said if answer else Said(text=None)
    reason = f"{path.name} says: {said.error}" if said.error else f"{path.name} has no answer"
    content = f"{path.name}/{task}/{id}/{sample}/{said.text}"
    return Response(
        key=hashlib.sha256(content.encode(*UTF8)).hexdigest(),
        task=task,
        id=id,
        sample=sample,
        text=said.text or "",
        finish="error" if said.text is None else "length" if said.cut else "stop",
        tokens_in=0,
        tokens_image=0,
        tokens_out=0,
        seconds=0.0,
        reason=reason if said.text is None else "",
        extraction=answer.extraction if answer else None,
    )


def _samples(path: Path, by_row: dict[str, list[Answer]], rows: int) -> int:
    """Return how many answers each row has; those that are not there are recorded as well."""
    numbers = [answer.sample for answers in by_row.values() for answer in answers]
    n = len(set(numbers))
    if max(numbers) >= n:
        raise UserError(
            f"{path} has a sample {max(numbers)}, and {n} different ones: number the answers to a "
            f"row 0 to {n - 1}"
        )
    if n * rows > max(MOST_MISSING, 2 * len(numbers)):
        raise UserError(
            f"{path} has up to {n} answers to a row and {len(numbers)} to {rows} rows: nearly all "
            "are missing, so give --data with the rows that were asked"
        )
    return n


# Which row an answer is to


def _joined(
    path: Path, answers: Sequence[Answer], rows: Sequence[Row], task: str
) -> tuple[dict[str, list[Answer]], tuple[str, ...]]:
    """Return the answers by the id of their row, and notes on those that have none."""
    by_id = {row["id"]: row for row in rows}
    fields = {field for answer in answers for field in answer.names}
    if not fields:
        raise UserError(f"{path} names no rows: expected one of the fields {', '.join(NAMES)}")
    ways = [_Way(field, {i: i for i in by_id}) for field in sorted(fields, key=_rank)]
    if "doc_id" in fields:
        ways.append(_Way("doc_id", {str(n): row["id"] for n, row in enumerate(rows)}))
    fits = [way.fit(answers, by_id) for way in ways]
    known, alike, other = max(fits, key=lambda fit: (fit[0] - 2 * fit[2], fit[1]))
    way = ways[fits.index((known, alike, other))]
    if 2 * known < len(answers):
        strange = [answer.names.get(way.field, "?") for answer in answers]
        raise UserError(
            f"{path} names rows that {task} does not have ({way.field} {first(strange)}; its own "
            f"are {first(list(by_id))}): is it another task, or other --data?"
        )
    if other > 0.1 * (alike + other):
        raise UserError(
            f"{path} has other questions or answers than {task} in {other} of {alike + other} rows "
            f"of the same {way.field}: are they numbered in another way?"
        )
    found: dict[str, list[Answer]] = {}
    strangers = []
    for answer in answers:
        if (id := way.row_of(answer)) is None:
            strangers.append(answer.names.get(way.field, "?"))
        else:
            found.setdefault(id, []).append(answer)
    times = Counter((id, a.sample) for id, several in found.items() for a in several)
    (id, sample), count = times.most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{path} answers {id} {count} times: give each answer its number in the field sample"
        )
    if not strangers:
        return found, ()
    return found, (f"{len(strangers)} answers are to no row of {task} ({first(strangers)})",)


def _rank(field: str) -> int:
    return NAMES.index(field) if field in NAMES else -1


@dataclass(frozen=True)
class _Way:
    """One way to tell which row an answer is to."""

    field: str
    ids: dict[str, str]
    """What the field may say → the row's id."""

    def row_of(self, answer: Answer) -> str | None:
        name = answer.names.get(self.field, "")
        # A table tool that knew a column of numbers with gaps wrote 11 as 11.0.
        return self.ids.get(name) or self.ids.get(name.removesuffix(".0"))

    def fit(self, answers: Sequence[Answer], by_id: dict[str, Row]) -> tuple[int, int, int]:
        """Return how many answers have a row, and of those how many speak of it and of others."""
        rows = [(answer, by_id[id]) for answer in answers if (id := self.row_of(answer))]
        alike = [_alike(answer, row) for answer, row in rows]
        return len(rows), alike.count(True), alike.count(False)


def _alike(answer: Answer, row: Row) -> bool | None:
    """Whether a file says of a row what the row says; None where both say nothing in common."""
    mine = {field: _plain(row.get(field)) for field in ("question", "answer")}
    pairs = [(_plain(answer.about.get(field)), mine[field]) for field in mine]
    pairs = [(theirs, ours) for theirs, ours in pairs if theirs and ours]
    if not pairs:
        return None
    return any(theirs == ours or (len(ours) > 20 and ours in theirs) for theirs, ours in pairs)


def _plain(value: Any) -> str:
    return " ".join(str(value).lower().split()) if isinstance(value, str | int | float) else ""
