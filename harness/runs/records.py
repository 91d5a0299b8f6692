"""What passes between asking, grading and counting, and how it lies on disk.

A run folder holds one checkpoint's answers:

    run.json           RunCard: what was asked, of what, how; counts and seconds
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
                       under another protocol

The images lie beside the run folder, in `../images/<sha256><suffix>`, shared by neighbouring runs.
Only the logs and `judge.jsonl` are ever appended to; every other file is written aside and renamed,
so that a reader sees the old one or the new one, whole.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from common.errors import UserError

Finish = Literal["stop", "length", "error"]
How = Literal["rule", "judge", "open", "truncated", "error"]

T = TypeVar("T")

SCORED = "scored"
"""Folder in a run folder, with the verdicts of protocols beside the run's own."""

ANSWERED = re.compile(
    rb'\{"key": "([^"\\]*)", "task": "([^"\\]*)", "id": "([^"\\]*)", "sample": (\d+), '
    rb'"text": ".*", "finish": "(?!error).*\}\n',
    re.DOTALL,
)
"""A line as `Log` writes it, unless it is an error. No text has `", "finish"` in it: a quote in a
text has a backslash before it."""

UTF8 = ("utf-8", "backslashreplace")
"""A lone surrogate in a model's text becomes the JSON escape that reads back as itself."""


@dataclass(frozen=True)
class PixelBudget:
    """How many pixels a model is shown of a picture, instead of what it would make of it."""

    min_pixels: int | None
    max_pixels: int | None
    grid: int = 1
    """Sides are multiples of it."""


@dataclass(frozen=True)
class Image:
    """One picture, as the encoded file that the benchmark ships."""

    sha256: str
    """Of the encoded bytes; the picture's identity in keys and on disk."""
    suffix: str
    """`.png` or `.jpg`."""
    data: bytes = field(repr=False)
    """The encoded bytes."""
    budget: PixelBudget | None = None
    """To be resized to when it is decoded; None: it is left as it is."""


@dataclass(frozen=True)
class Question:
    """One row of a benchmark, ready to be asked."""

    task: str
    """Name of the task, as in `tasks.names()`."""
    id: str
    """The row's own identifier, unique within the task."""
    prompt: str
    """The user's message; `<image>` stands where each picture goes, in order."""
    images: tuple[Image, ...]
    """As many as the prompt has `<image>` marks."""
    row: dict[str, Any]
    """The benchmark's row, without pictures; what the verdict needs is in it."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 means all tokens."""
    max_tokens: int = 2048
    """Upper bound of generated tokens."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    n: int = 1
    """Answers drawn per question."""
    force: int = 0
    """Tokens for an answer after a thought that was cut at the limit; 0: none is forced."""


@dataclass(frozen=True)
class Response:
    """What a model said, complete, before anything judges it."""

    key: str
    """Content address: see `key()`."""
    task: str
    id: str
    sample: int
    """0 … n − 1."""
    text: str
    """Everything generated, thoughts included, special tokens left out."""
    finish: Finish
    tokens_in: int
    """Prompt tokens, those of the images included."""
    tokens_image: int
    """Prompt tokens that stand for the images."""
    tokens_out: int
    seconds: float
    """From hand-over to the engine until the last token."""
    reason: str = ""
    """Why `finish` is `error` and `text` empty, or why no answer could be forced after a thought
    that was cut; in the engine's words, else empty."""
    forced: bool = False
    """The thought was cut at the limit and closed by us: see `harness.evaluate.budget_forcing`."""
    extraction: str | None = None
    """What another tool read as the answer; it stands for the judge's first reply."""
    lasting: bool = False
    """The `reason` is the question's own: a prompt beyond the context, an unreadable picture. Asked
    again, it would fail again."""


@dataclass(frozen=True)
class Verdict:
    """Whether one response is right, and how that was found."""

    task: str
    id: str
    sample: int
    correct: bool | None
    """None: not known (open, truncated or error)."""
    answer: str | None
    """What was read as the final answer."""
    how: How
    groups: tuple[str, ...]
    """Groups of the task in which this row counts, `all` first."""
    cluster: str = ""
    """Questions of a task that share a problem or a picture have the same cluster: their answers
    depend on each other. Empty: the question stands alone."""


@dataclass(frozen=True)
class Cell:
    """One number of a table, with what stands behind it."""

    run: str
    task: str
    group: str
    n: int
    """Questions in the group."""
    correct: int
    open: int
    """No verdict: the answer could not be read. Counted as not correct."""
    truncated: int
    """Cut at the token limit before an answer. Counted as not correct."""
    error: int
    """The engine failed. Counted as not correct."""
    score: float
    """Share of correct answers, 0 … 1."""
    stderr: float
    """Standard error of the score."""


@dataclass(frozen=True)
class TaskCard:
    """A task as it was when it was asked."""

    name: str
    version: str
    revision: str
    """Of the data: a hub commit or the sha256 of the local rows."""
    n: int
    """Questions asked."""
    protocol: str
    """Whose rule made the verdicts."""
    scoring: str
    """One sentence: that rule."""
    max_tokens: int = 0
    """Upper bound of generated tokens in this task."""
    skipped: int = 0
    """Questions beyond `n`, not asked: they show pictures and the model takes text only."""
    asked: str = ""
    """Whose prompts the questions were asked with; empty: not known."""
    unjudged: int = 0
    """Answers that are open because `protocol` wants a judge to read them, and none did."""
    reworded: int = 0
    """Questions that `protocol` asks in other words than they were asked in."""
    whole: int = 0
    """Questions that the benchmark has; 0: as many as there are."""
    commit: str | None = None
    """Of the hub dataset; None: the rows are local."""
    failed: int | None = None
    """Answers that the engine failed on, and is asked for again when the run goes on; None: they
    were not told from those that would fail again."""


@dataclass(frozen=True)
class RunCard:
    """The record of one run: enough to redo it and to distrust it."""

    name: str
    checkpoint: str
    fingerprint: str
    """Of the content of weights, config, tokenizer, processor and template."""
    made: dict[str, Any] | None
    """`made.json` of the checkpoint, if it has one: parents, method, settings, cost."""
    engine: str
    engine_version: str
    sampling: Sampling
    dtype: str
    pixels: dict[str, Any]
    """The pixel budget in force: the image processor's size settings."""
    tasks: tuple[TaskCard, ...]
    limit: int | None
    """Questions per task, None for all."""
    git: str | None
    """Commit of the harness, with `+` when the tree was changed."""
    packages: dict[str, str]
    device: str
    seconds: float
    """Spent asking, summed over resumed sessions; engine start excluded."""
    finished: bool = False
    """Every question was answered and graded. False while the run goes on, or was interrupted."""
    judge: dict[str, str] | None = None
    """Name, fingerprint and engine of the judge that was asked; None: rules alone."""
    notes: tuple[str, ...] = ()
    """What the engine could not make sure of, a sentence each."""


def key(
    *,
    fingerprint: str,
    adapter: str | None,
    prompt: str,
    images: Iterable[str],
    pixels: dict[str, Any],
    sampling: Sampling,
    sample: int,
    engine: str,
    version: str,
    dtype: str,
) -> str:
    """Content address of one answer: sha256 over everything that could change it.

    Args:
        fingerprint: Of the checkpoint, see `harness.checkpoints.preflight`.
        adapter: Fingerprint of an adapter over the weights, or None.
        prompt: As rendered by the checkpoint's chat template.
        images: sha256 of each picture's encoded bytes, in order.
        pixels: The image processor's size settings.
        sampling: `n` does not enter: the third of four answers is also the third of eight.
        sample: Which of the `n` answers.
        engine: Name of the engine.
        version: Of the engine.
        dtype: That the engine computes in.
    """
    settings = dict(vars(sampling))
    del settings["n"]
    if not sampling.force:
        del settings["force"]
    content = {
        "fingerprint": fingerprint,
        "adapter": adapter,
        "prompt": prompt,
        "images": list(images),
        "pixels": pixels,
        "sampling": settings,
        "sample": sample,
        "engine": [engine, version, dtype],
    }
    return hashlib.sha256(canonical(content).encode(*UTF8)).hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


# Reading and writing


def write_json(path: Path, value: Any) -> None:
    """Write `value` (records included) as JSON, aside first and then renamed over `path`."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode(*UTF8))


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write one record a line, aside first and then renamed over `path`."""
    write_whole(path, as_lines(records))


def as_lines(records: Iterable[Any]) -> bytes:
    """Return what `write_lines` writes."""
    return "".join(map(_line, records)).encode(*UTF8)


def write_whole(path: Path, content: bytes, settled: bool = True) -> None:
    """Write a file aside first and then rename it over `path`.

    Args:
        path: Where.
        content: What.
        settled: Wait until it is on the disk; else `settle` has to.

    Raises:
        UserError: It cannot be written; `path` is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            if settled:
                os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def settle(paths: Iterable[Path]) -> None:
    """Wait until files are on the disk: many at once take little longer than one.

    Raises:
        UserError: One cannot be written.
    """
    for path in paths:
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error


def read_card(run: Path) -> RunCard:
    """Read the `run.json` of a run folder.

    Raises:
        UserError: There is none, or it is not one of ours.
    """
    path = run / "run.json"
    if not path.exists():
        raise UserError(f"{run} is not a run folder: it has no run.json")
    try:
        card = json.loads(path.read_text())
        tasks = tuple(TaskCard(**task) for task in card["tasks"])
        parts = {"tasks": tasks, "sampling": _sampling(card["sampling"])}
        return RunCard(**{**card, **parts, "notes": tuple(card.get("notes", ()))})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read as a run card: {error}") from error


def read_questions(run: Path) -> list[Question]:
    """Read the questions of a run folder; `Image.data` is empty, see `image_path`."""
    found = _read_records(Question, run / "questions.jsonl")
    return [
        dataclasses.replace(
            question,
            images=tuple(Image(data=b"", **image) for image in question.images),  # type: ignore[arg-type]
        )
        for question in found
    ]


def read_responses(run: Path) -> list[Response]:
    """Read the responses of a run folder, log by log, in the order in which they were first asked.

    Of what was asked again, the answer. A last line that was cut off by a crash is left out, and so
    are the lines of another run: see `keys.json` above.
    """
    wanted = read_keys(run)
    found: dict[tuple[str, str, int, str], Response] = {}
    for path in logs(run):
        for response in _read_records(Response, path):
            place = (response.task, response.id, response.sample, response.key)
            if wanted is not None and place not in wanted:
                continue
            if place not in found or _worth(response) >= _worth(found[place]):
                found[place] = response
    return list(found.values())


def _worth(response: Response) -> int:
    """An answer stands for the error before it, a forced answer for the thought it goes on from.

    So does what failed for good for what failed this time.
    """
    if response.finish == "error":
        return response.lasting
    return 2 + response.lasting + 2 * response.forced


def failed(response: Response) -> bool:
    """Whether the engine failed, and not the question: it is asked again when the run goes on."""
    return (response.finish == "error" or response.reason != "") and not response.lasting


def logs(run: Path) -> list[Path]:
    """Return the logs of a run folder: its own first, then those of shards."""
    return sorted(run.glob("responses.jsonl")) + sorted(run.glob("responses.*of*.jsonl"))


def answered(run: Path, lasting: bool = True) -> Iterator[tuple[str, str, int, str]]:
    """Yield task, id, sample and key of each answer in the logs, in any order.

    Args:
        run: The run folder.
        lasting: Errors that would come again count as answers.
    """
    for place, error in _skimmed(run):
        if error is None or (lasting and error.lasting):
            yield place


def errors(run: Path) -> list[Response]:
    """Read the responses of a run folder that are errors, in the order of the logs."""
    wanted, done = read_keys(run), set()
    found: dict[tuple[str, str, int, str], Response] = {}
    for place, error in _skimmed(run):
        if error is None:
            done.add(place)
        elif wanted is None or place in wanted:
            if place not in found or _worth(error) >= _worth(found[place]):
                found[place] = error
    return [error for place, error in found.items() if place not in done]


def _skimmed(run: Path) -> Iterator[tuple[tuple[str, str, int, str], Response | None]]:
    """Yield task, id, sample and key of each line of the logs, and the response if it is an error.

    The texts are not parsed: that is what takes the time.
    """
    for path in logs(run):
        for number, line in _lines(path):
            if found := ANSWERED.fullmatch(line):
                key, task, id, sample = found.groups()
                yield (task.decode(), id.decode(), int(sample), key.decode()), None
            else:
                response = _record(Response, path, number, line)
                place = (response.task, response.id, response.sample, response.key)
                yield place, response if response.finish == "error" else None


def read_keys(run: Path) -> set[tuple[str, str, int, str]] | None:
    """Read task, id, sample and key of all answers of a run; None where no file says them."""
    found = read_made_keys(run)
    if found is None:
        return None
    return {
        (task, id, sample, key)
        for task, by_id in found["keys"].items()
        for id, keys in by_id.items()
        for sample, key in enumerate(keys)
    }


def read_made_keys(run: Path) -> dict[str, Any] | None:
    """Read `keys.json`: `keys`, task → id → keys, and `of`, what they were made of."""
    path = run / "keys.json"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error}): remove it, the next run makes it anew"
        ) from error


def read_verdicts(run: Path) -> list[Verdict]:
    """Read the verdicts of a run folder, in the order of the questions."""
    return list(_read_records(Verdict, run / "verdicts.jsonl", tuples=("groups",)))


def read_cells(run: Path) -> list[Cell]:
    """Read the cells of a run folder. An unknown standard error (null on disk) is nan."""
    path = run / "cells.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return [
        Cell(**{**row, "stderr": math.nan if row["stderr"] is None else row["stderr"]})
        for row in rows
    ]


def read_summary(run: Path) -> dict[str, dict[str, float]]:
    """Read the tasks' own metrics of a run folder: task → metric → value; empty where none are."""
    path = run / "summary.json"
    return json.loads(path.read_text()) if path.exists() else {}


def read_replies(run: Path) -> list[dict[str, str]]:
    """Read what judges replied in a run folder: `key` of the request, `judge`, `reply`."""
    return list(_read_records(dict, run / "judge.jsonl"))


def image_path(run: Path, image: Image) -> Path:
    """Where a run's picture lies: beside the run folder, under its own sha256."""
    return run.parent / "images" / f"{image.sha256}{image.suffix}"


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


def _sampling(row: dict[str, Any]) -> Sampling:
    return Sampling(**{**row, "stop": tuple(row["stop"])})


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


def _line(record: Any) -> str:
    try:
        return _ENCODER.encode(record) + "\n"
    except ValueError:  # nan or infinity
        return _ENCODER.encode(_plain(record)) + "\n"


def _read_records(kind: type[T], path: Path, tuples: tuple[str, ...] = ()) -> Iterator[T]:
    """Yield the lines of a file as records."""
    for number, line in _lines(path):
        yield _record(kind, path, number, line, tuples)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield numbers and lines; a last line without its newline is not there yet."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield number, line


def count(path: Path) -> int:
    """Return how many records a file holds, whatever is in them."""
    return sum(1 for _ in _lines(path))


def _record(kind: type[T], path: Path, number: int, line: bytes, tuples: tuple[str, ...] = ()) -> T:
    try:
        row = json.loads(line)
        for name in tuples:
            row[name] = tuple(row[name])
        return kind(**row)
    except json.JSONDecodeError:
        wrong = "is broken"
    except (ValueError, TypeError, KeyError) as error:
        wrong = f"is not a {kind.__name__} ({error})"
    raise UserError(f"{path} line {number} {wrong}: {_remedy(path, number)}")


def _remedy(path: Path, number: int) -> str:
    """Return what to do about a line that cannot be read."""
    if path.name == "questions.jsonl":
        return "the same `driftbench eval` makes the file anew"
    if path.name == "verdicts.jsonl":
        return f"`driftbench score {path.parent}` makes the file anew"
    return f"remove the line (sed -i {number}d {path}), and what it said is asked for again"


# The log


class Log:
    """The responses of a run, or what a judge replied, appended one line at a time.

    A line reaches the operating system at once, so that killing the process loses nothing; it
    reaches the disk within `SYNC_SECONDS`, so that losing power loses that much.
    """

    SYNC_SECONDS = 1.0

    def __init__(self, run: Path, name: str = "responses.jsonl") -> None:
        self._path = run / name
        _drop_torn_tail(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._file).st_size
        self._synced = True
        self._trouble: OSError | None = None
        self._closing = threading.Event()
        self._timer: threading.Thread | None = None

    def append(self, record: Response | dict[str, str]) -> None:
        """Add one record.

        Raises:
            UserError: It cannot be written; all before it are.
        """
        line = _line(record).encode(*UTF8)
        try:
            if self._trouble is not None:
                raise self._trouble
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise self._full(error) from error
        self._size += len(line)
        self._synced = False
        if self._timer is None:
            self._timer = threading.Thread(target=self._sync, name="fsync", daemon=True)
            self._timer.start()

    def _sync(self) -> None:
        """Bring lines to the disk from time to time, beside whoever appends them."""
        while not self._closing.wait(self.SYNC_SECONDS):
            if not self._synced:
                self._synced = True
                try:
                    os.fsync(self._file)
                except OSError as error:
                    self._trouble = error

    def _full(self, error: OSError) -> UserError:
        return UserError(
            f"{self._path} cannot be written ({error.strerror}): every answer in it is kept; make "
            "room, and the same command goes on"
        )

    def close(self) -> None:
        """Bring everything to the disk."""
        self._closing.set()
        if self._timer is not None:
            self._timer.join()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._full(error) from error
        finally:
            os.close(self._file)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop_torn_tail(path: Path) -> None:
    """Cut off a last line without its newline: the process died while writing it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            file.truncate(end)
