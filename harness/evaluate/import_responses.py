"""Answers that another tool collected, read into a run folder like any other.

    run_of(Path("MyModel_MathVista_MINI.tsv"), "mathvista", Path("runs/theirs"))

Read are JSON lines with `id` and `response` (and perhaps `sample` and `extraction`), the result
files of VLMEvalKit (`index` and `prediction`; TSV, XLSX or JSON), and the sample files of lm-eval
and lmms-eval (`samples_*.jsonl`: `doc_id`, `doc`, `resps`).
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tasks
from common.errors import UserError
from common.provenance import git_commit, package_versions
from harness.evaluate.prompts import revision, unasked
from harness.evaluate.run import PACKAGES
from harness.evaluate.spreadsheet import read_sheet
from harness.runs import folder, locks
from harness.runs.schema import UTF8, Response, RunCard, Sampling, TaskCard
from tasks import Row
from tasks.data import first
from tasks.data.hub import commit

NAMES = ("id", "pid", "question_id", "sample_index", "index", "doc_id")
"""Fields that may name the row that was answered, of an answer or of its `doc`."""

TEXTS = ("response", "prediction", "resps")
"""Fields that may hold the answer."""

FAILED = "Failed to obtain answer via API"
"""What VLMEvalKit writes where no model answered."""

ENGINE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a file."""

    names: dict[str, str]
    """Field → what it says of the row that was answered."""
    text: str | None
    """None: the file has none."""
    sample: int
    extraction: str | None
    about: dict[str, str]
    """`question` and `answer` as the file has them, to see that it speaks of the same rows."""


def run_of(
    path: Path,
    task_name: str,
    out: Path,
    *,
    protocol: str | None = None,
    data: Path | None = None,
    name: str | None = None,
) -> RunCard:
    """Make a run folder of a file of answers, not graded yet.

    Args:
        path: The file.
        task_name: What was asked.
        out: The run folder; one that was made of the same file is made anew.
        protocol: To grade by; None is `robust`.
        data: Folder of the task's rows; pictures are not needed.
        name: Of the model; None is the file's name.

    Returns:
        The card. Rows without an answer are there with an error that says so.

    Raises:
        UserError: The file cannot be read, or does not answer this task's rows.
    """
    task = tasks.load(task_name, protocol)
    found = list(answers_of(path))
    if not found:
        raise UserError(f"{path} holds no answers")
    rows = task.rows(data)
    by_row, notes = _joined(path, found, rows, task_name)
    n = 1 + max(answer.sample for answers in by_row.values() for answer in answers)
    questions = [unasked(task, row) for row in rows]
    responses = [
        _response(path, task_name, id, sample, {a.sample: a for a in by_row.get(id, [])})
        for id in (question.id for question in questions)
        for sample in range(n)
    ]
    whole = task.source.n if task.source else 0
    card = RunCard(
        name=name or path.stem,
        checkpoint=str(path),
        fingerprint=f"answers:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        made=None,
        engine=ENGINE,
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
        notes=notes,
    )
    _write(out, card, questions, responses)
    return card


def _write(out: Path, card: RunCard, questions: list[Any], responses: list[Response]) -> None:
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
    with locks.locked(out):
        folder.write_lines(out / "questions.jsonl", questions)
        folder.write_lines(out / "responses.jsonl", responses)
        folder.write_json(out / "run.json", card)


def _response(path: Path, task: str, id: str, sample: int, answers: dict[int, Answer]) -> Response:
    answer = answers.get(sample)
    text = answer.text if answer else None
    reason = "" if text is not None else f"{path.name} has no answer"
    if text is not None and FAILED in text:
        text, reason = None, f"{path.name} says: {FAILED}"
    content = f"{path.name}/{task}/{id}/{sample}/{text}"
    return Response(
        key=hashlib.sha256(content.encode(*UTF8)).hexdigest(),
        task=task,
        id=id,
        sample=sample,
        text=text or "",
        finish="error" if reason else "stop",
        tokens_in=0,
        tokens_image=0,
        tokens_out=0,
        seconds=0.0,
        reason=reason,
        extraction=answer.extraction if answer else None,
    )


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
        return self.ids.get(answer.names.get(self.field, ""))

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


# What is in a file


def answers_of(path: Path) -> Iterator[Answer]:
    """Yield the answers of a file.

    Raises:
        UserError: It is of no known form.
    """
    kinds = {".jsonl": _lines, ".json": _json, ".tsv": _table, ".csv": _table, ".xlsx": read_sheet}
    if path.suffix not in kinds:
        raise UserError(f"{path} is no {', '.join(kinds)}: convert it to JSON lines or TSV")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        for record in kinds[path.suffix](path):
            yield from _answers(record)
    except (ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"line {number} is not a JSON object")
                yield record


def _json(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, of `logs`, of a mapping from ids, or of columns."""
    told = json.loads(path.read_bytes())
    if isinstance(told, dict) and isinstance(told.get("logs"), list):
        told = told["logs"]
    if isinstance(told, dict):
        if not all(isinstance(value, dict) for value in told.values()):
            raise ValueError("it does not hold JSON objects")
        if any(field in told for field in TEXTS):
            rows = zip(*(cells.values() for cells in told.values()), strict=True)
            told = [dict(zip(told, row, strict=True)) for row in rows]
        else:
            told = [{"id": id, **record} for id, record in told.items()]
    if not isinstance(told, list) or not all(isinstance(record, dict) for record in told):
        raise ValueError("it does not hold JSON objects")
    yield from told


def _table(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")


def _answers(record: dict[str, Any]) -> Iterator[Answer]:
    doc = record["doc"] if isinstance(record.get("doc"), dict) else {}
    names = {
        field: str(of[field])
        for of in (record, doc)
        for field in NAMES
        if isinstance(of.get(field), str | int)
    }
    for of in (record, doc):
        if "ID" in of and "key" in of:  # We-Math
            names["id"] = f"{of['ID']}/{of['key']}"
    about: dict[str, Any] = {
        "question": record.get("question", doc.get("question")),
        "answer": record.get("answer", doc.get("answer", record.get("target"))),
    }
    extraction = record.get("extraction")
    texts = next((_texts(record[field]) for field in TEXTS if field in record), [None])
    for number, text in enumerate(texts):
        yield Answer(
            names=names,
            text=text,
            sample=int(record.get("sample") or number),
            extraction=extraction if isinstance(extraction, str) else None,
            about=about,
        )


def _texts(value: Any) -> list[str | None]:
    """Return the texts in a cell: one, or those of nested lists."""
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)] or [None]
    missing = value is None or (isinstance(value, float) and value != value)
    return [None if missing else str(value)]
