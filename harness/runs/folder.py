"""How a run lies on disk: its folder, read and written.

A run folder holds one checkpoint's answers:

    run.json           RunCard: what was asked, of what, how; counts and seconds
    run.yaml           the options of `driftbench eval` that made it; `driftbench eval RUN/run.yaml`
                       repeats it
    questions.jsonl    Question without the image bytes: their sha256 names a file in ../images/
    responses.jsonl    Response, one line each, appended the moment it finishes; a shard of the run
                       (`--shard 1/2`) has a log of its own, `responses.1of2.jsonl`
    keys.json          task → id → the key of each of its answers, and what they are made of; a line
                       of a log that has another key is of another run, and no answer
    verdicts.jsonl     Verdict of each response under the protocol of the run card
    cells.json         list of Cell: what the tables print
    summary.json       task → its own metrics, for tasks whose metric is more than a mean
    answers.parquet    responses and verdicts together, for pandas: see `harness.runs.export`
    judge.jsonl        what a judge replied, where one was asked: see `harness.evaluate.judge`
    scored/<protocol>/ run.json, verdicts.jsonl, cells.json, summary.json of the same responses
                       under another protocol; gone as soon as there are further responses

The images lie beside the run folder, in `../images/<sha256><suffix>`, shared by neighbouring runs.
Only the logs and `judge.jsonl` are ever appended to; every other file is written aside and renamed,
so that a reader sees the old one or the new one, whole.
"""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from common.errors import UserError
from common.files import write_whole
from common.typed import AnyText, MaybeNan, as_json, as_kind, opened, read_bytes, read_json, record
from harness.runs.schema import (
    UTF8,
    Cell,
    Image,
    Keys,
    Place,
    Question,
    RunCard,
    Verdict,
)

T = TypeVar("T")

Summary = dict[str, dict[str, MaybeNan]]

RENAMED = {"open": "unparsed"}
"""Words in `verdicts.jsonl` and `cells.json` of older run folders."""

SCORED = "scored"
"""Folder in a run folder, with the verdicts of protocols beside the run's own."""

PICTURES = "images"
"""Folder beside run folders."""

UNDATED = {"vlmevalkit": "vlmevalkit-2025"}
"""Names of protocols in older run folders → today's."""


def write_json(path: Path, value: Any) -> None:
    """Write `value` (records included) as JSON, aside first and then renamed over `path`."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode(*UTF8))


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write one record a line, aside first and then renamed over `path`."""
    write_whole(path, as_lines(records))


def as_lines(records: Iterable[Any]) -> bytes:
    """Return what `write_lines` writes."""
    return "".join(map(encoded, records)).encode(*UTF8)


def read_card(run: Path) -> RunCard:
    """Read the `run.json` of a run folder.

    Raises:
        UserError: There is none, or it is not one of ours.
    """
    try:
        card = record(RunCard, read_json(run / "run.json"), run / "run.json")
    except FileNotFoundError:
        raise UserError(f"{run} is not a run folder: it has no run.json") from None
    tasks = (
        dataclasses.replace(task, protocol=dated(task.protocol), asked=dated(task.asked))
        for task in card.tasks
    )
    return dataclasses.replace(card, tasks=tuple(tasks))


def dated(protocol: str) -> str:
    """Return a protocol by today's name: a bare `vlmevalkit` on disk is of 2025."""
    return UNDATED.get(protocol, protocol)


def scored_folder(run: Path, protocol: str) -> Path:
    """Return the folder of a protocol's verdicts beside a run's own."""
    found = run / SCORED / protocol
    bare = [run / SCORED / old for old, new in UNDATED.items() if new == protocol]
    return next((place for place in (found, *bare) if (place / "run.json").exists()), found)


def drop_scored(run: Path) -> None:
    """Remove the verdicts of other protocols, before the answers that they are on change."""
    shutil.rmtree(run / SCORED, ignore_errors=True)


def read_questions(run: Path) -> list[Question]:
    """Read the questions of a run folder; `Image.data` is empty, see `image_path`."""
    return list(read_records(Question, run / "questions.jsonl"))


def read_keys(run: Path) -> set[Place] | None:
    """Read task, id, sample and key of all answers of a run; None where no file says them."""
    found = read_made_keys(run)
    if found is None:
        return None
    return {
        (task, id, sample, key)
        for task, by_id in found.keys.items()
        for id, keys in by_id.items()
        for sample, key in enumerate(keys)
    }


def read_made_keys(run: Path) -> Keys | None:
    """Read `keys.json`; None where there is none."""
    path = run / "keys.json"
    try:
        return record(Keys, read_json(path), path)
    except FileNotFoundError:
        return None
    except UserError as error:
        raise UserError(f"{error}; remove it, the next run makes it anew") from None


def read_verdicts(run: Path) -> list[Verdict]:
    """Read the verdicts of a run folder, in the order of the questions."""
    return list(read_records(Verdict, run / "verdicts.jsonl"))


def read_cells(run: Path) -> list[Cell]:
    """Read the cells of a run folder; none before it is graded."""
    path = run / "cells.json"
    if not path.exists():
        return []
    rows = as_kind(as_json(read_bytes(path), path), tuple[dict[str, Any], ...], path)
    renamed = [{RENAMED.get(name, name): value for name, value in row.items()} for row in rows]
    return [record(Cell, row, f"{path}[{at}]") for at, row in enumerate(renamed)]


def read_summary(run: Path) -> dict[str, dict[str, float]]:
    """Read the tasks' own metrics of a run folder: task → metric → value; empty where none are."""
    path = run / "summary.json"
    return as_kind(read_json(path), Summary, path) if path.exists() else {}


def read_replies(run: Path) -> list[dict[str, str]]:
    """Read what judges replied in a run folder: `key` of the request, `judge`, `reply`."""
    return list(read_records(dict[str, AnyText], run / "judge.jsonl"))


def image_path(run: Path, image: Image) -> Path:
    """Where a run's picture lies: beside the run folder, or the link to it, under its sha256."""
    return Path(os.path.abspath(run)).parent / PICTURES / f"{image.sha256}{image.suffix}"


def without_pictures(folders: Sequence[Path]) -> list[Path]:
    """Of several folders those but the one of pictures that lies among runs: `runs/*` names it."""
    if len(folders) < 2:
        return list(folders)
    return [one for one in folders if one.name != PICTURES or (one / "run.json").exists()]


def has_image(run: Path, image: Image, size: int) -> bool:
    """Whether a picture of so many bytes is kept beside the run folder."""
    try:
        return os.stat(image_path(run, image)).st_size == size
    except FileNotFoundError:
        return False


def store_image(run: Path, image: Image) -> Path | None:
    """Keep a picture beside the run folder, once for all runs there.

    Returns:
        The file, for `settle`; None where it is there.
    """
    path = image_path(run, image)
    if has_image(run, image, len(image.data)):
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, image.data, settled=False)
    return path


def _plain(value: Any) -> Any:
    """Records as dicts, tuples as lists, image bytes left out, nan and infinity as None."""
    if isinstance(value, Image):
        return {"sha256": value.sha256, "suffix": value.suffix}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, Image):
        return {"sha256": value.sha256, "suffix": value.suffix}
    return vars(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_fields)


def encoded(record: Any) -> str:
    """Return a record as a line of JSON; what is no number in it is null."""
    try:
        return _ENCODER.encode(record) + "\n"
    except ValueError:  # nan or infinity
        return _ENCODER.encode(_plain(record)) + "\n"


def read_records(kind: type[T], path: Path) -> Iterator[T]:
    """Yield the lines of a file as records."""
    for number, line in lines(path):
        yield decoded(kind, path, number, line)


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield numbers and lines; a last line without its newline is not there yet."""
    if not path.exists():
        return
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield number, line


def count(path: Path) -> int:
    """Return how many records a file holds, whatever is in them."""
    return sum(1 for _ in lines(path))


def decoded(kind: type[T], path: Path, number: int, line: bytes) -> T:
    """Return a line of a file as a record.

    Raises:
        UserError: it is none; the sentence names file and line, and says what to do.
    """
    where = f"{path} line {number}"
    try:
        row = as_json(line, where)
        if kind is Verdict and isinstance(row, dict) and row.get("how") == "open":
            row["how"] = RENAMED["open"]
        return as_kind(row, kind, where)
    except UserError as error:
        raise UserError(f"{error}: {_remedy(path, number)}") from None


def _remedy(path: Path, number: int) -> str:
    """Return what to do about a line that cannot be read."""
    if path.name == "questions.jsonl":
        return "the same `driftbench eval` makes the file anew"
    if path.name == "verdicts.jsonl":
        return f"`driftbench score {path.parent}` makes the file anew"
    return f"remove the line (sed -i {number}d {path}), and what it said is asked for again"
