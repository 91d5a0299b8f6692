"""From questions to the log: which answers are missing, and asking for them."""

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.errors import UserError
from common.files import write_whole
from harness.checkpoints.image_size import budget_of, setting
from harness.checkpoints.kinds import AdaptedModel, Checkpoint
from harness.engines import Engine, Request
from harness.evaluate.budget_forcing import continuations, joined
from harness.evaluate.grade import Readings, begin, how, place
from harness.evaluate.progress import Progress
from harness.runs import locks
from harness.runs.folder import image_path, read_card, read_keys, read_made_keys, write_json
from harness.runs.log import Log, answered, read_responses
from harness.runs.schema import (
    UTF8,
    PixelBudget,
    Question,
    Response,
    RunCard,
    Sampling,
    canonical,
    key,
)
from tasks import Task
from tasks.grading.thought import opening

SAVE_SECONDS = 10.0
"""Between two updates of run.json while asking."""

Keys = dict[str, dict[str, list[str]]]
"""Task → id → key of each answer, by sample."""


@dataclass(frozen=True)
class EvalConfig:
    """What the user sets of a run."""

    data: Path | None = None
    """Folder of the tasks' local rows."""
    limit: int | None = None
    """Questions per task."""
    sampling: Sampling = Sampling()
    """`max_tokens` in it is not used."""
    max_tokens: int | None = None
    """Upper bound of generated tokens, instead of the tasks' own."""
    min_pixels: int | None = None
    """Smaller pictures are enlarged to so many pixels; None: as the checkpoint does."""
    max_pixels: int | None = None
    """Larger pictures are shrunk to so many pixels; None: as the checkpoint does."""
    overwrite: bool = False
    """Drop what a run folder holds of another run, instead of refusing."""
    retry_errors: bool = False
    """Ask again also what would fail again: a prompt beyond the context, an unreadable picture."""


@dataclass(frozen=True)
class Workload:
    """What is asked of every checkpoint."""

    config: EvalConfig
    tasks: tuple[Task, ...]
    questions: tuple[Question, ...]
    """Of all tasks, in order; the images without their bytes."""
    revisions: dict[str, str]
    """Task → sha256 of its rows."""
    commits: dict[str, str | None]
    """Task → commit of the hub dataset; None: the rows are local."""

    def sampling_of(self, task: str) -> Sampling:
        """Return the sampling of one task: its own bound of tokens, unless the user set one."""
        own = next(t.max_tokens for t in self.tasks if t.name == task)
        return replace(self.config.sampling, max_tokens=self.config.max_tokens or own)

    def budget(self, checkpoint: Checkpoint) -> PixelBudget | None:
        """Return the pixel budget that is asked of a checkpoint."""
        return budget_of(checkpoint, self.config.min_pixels, self.config.max_pixels)


@dataclass(frozen=True)
class Shard:
    """A part of the questions: each `count`th of them."""

    index: int
    """1 … count."""
    count: int

    @property
    def name(self) -> str:
        """In the names of files."""
        return f"{self.index}of{self.count}"

    def of(self, questions: Sequence[Question]) -> Sequence[Question]:
        """Return its questions."""
        return questions[self.index - 1 :: self.count]


@dataclass(frozen=True)
class Job:
    """One run folder, and what goes into it."""

    folder: Path
    checkpoint: Checkpoint
    wanted: Workload
    engine: Engine
    questions: Sequence[Question]
    """Of all shards."""
    content: bytes
    """Of questions.jsonl."""
    packages: dict[str, str]
    prompts: dict[tuple[str, str], str] = field(default_factory=dict)
    """Task and id → prompt, as far as they are rendered."""


# Keys


def make_keys(job: Job, beside: bool = False) -> None:
    """Write `keys.json`, unless it lies there and is made of the same.

    Args:
        job: What is asked.
        beside: Other shards are at work by the file that lies there.

    Raises:
        UserError: They ask other prompts.
    """
    of = _made_of(job)
    old = read_made_keys(job.folder)
    if old is not None and old["of"] == of:
        return
    keys: Keys = {}
    for request in requests_of(job, job.questions):
        by_id = keys.setdefault(request.question.task, {})
        by_id.setdefault(request.question.id, []).append(request.key)
    if beside and old is not None:
        if old["keys"] != keys:
            raise UserError(
                f"{job.folder} is being written by shards that make other prompts of the "
                "questions: are their packages of other versions?"
            )
        return
    content = json.dumps({"of": of, "keys": keys}, ensure_ascii=False)
    write_whole(job.folder / "keys.json", content.encode(*UTF8))


def _made_of(job: Job) -> str:
    """Return the sha256 of all that keys are made of; of prompts, of what renders them."""
    content = {
        "keys": [_key(job, task.name, "", [], 0) for task in job.wanted.tasks],
        "n": job.wanted.config.sampling.n,
        "packages": job.packages,
        "questions": hashlib.sha256(job.content).hexdigest(),
        "code": _code(),
    }
    return hashlib.sha256(canonical(content).encode(*UTF8)).hexdigest()


def _code() -> str:
    """Return the sha256 of what makes prompts and keys here."""
    here = Path(__file__).parent
    engines = sorted((here.parent / "engines").glob("*.py"))
    files = [here.parent / "runs" / "schema.py", here / "generate.py", *engines]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def requests_of(job: Job, questions: Iterable[Question]) -> Iterator[Request]:
    """Render questions; yield what to ask, all samples of each."""
    for question in questions:
        name = question.task, question.id
        if name not in job.prompts:
            job.prompts[name] = job.engine.render(question)
        sampling = job.wanted.sampling_of(question.task)
        images = [image.sha256 for image in question.images]
        for sample in range(sampling.n):
            key = _key(job, question.task, job.prompts[name], images, sample)
            yield Request(question, job.prompts[name], sampling, sample, key)


def _key(job: Job, task: str, prompt: str, images: list[str], sample: int) -> str:
    checkpoint, engine = job.checkpoint, job.engine
    adapter = checkpoint.adapter.fingerprint if isinstance(checkpoint, AdaptedModel) else None
    return key(
        fingerprint=checkpoint.fingerprint,
        adapter=adapter,
        prompt=prompt,
        images=images,
        pixels=setting(checkpoint, job.wanted.budget(checkpoint)),
        sampling=job.wanted.sampling_of(task),
        sample=sample,
        engine=engine.name,
        version=engine.version,
        dtype=engine.dtype,
    )


# Asking


def answer(job: Job, shard: Shard | None = None) -> Readings:
    """Ask what is not answered yet, or what the engine failed on; append each answer as it comes.

    Returns:
        What the rules read in the answers that came.
    """
    questions = shard.of(job.questions) if shard else job.questions
    requests, there = _missing(job, questions)
    if not requests and not _cut(job, questions):
        return {}
    engine, folder = job.engine, job.folder
    by_id = {(q.task, q.id): q for q in questions}
    by_name = {task.name: task for task in job.wanted.tasks}
    name = folder.absolute().name
    progress = Progress(f"{name} ({shard.name})" if shard else name, len(requests))
    done = f", {there} are there" if there else ""
    progress.say(f"{len(requests)} answers to get from {engine.name} {engine.version}{done}")
    engine.start()
    budget = job.wanted.budget(job.checkpoint)
    readings: Readings = {}
    log_name = f"responses.{shard.name}.jsonl" if shard else "responses.jsonl"
    with (
        _Clock(folder, engine, beside=shard is not None) as clock,
        Log(folder, log_name) as log,
        progress,
    ):
        opened = {place_of(request): opening(request.prompt) for request in requests}
        for said in engine.generate(_with_pictures(requests, folder, budget)):
            response = replace(said, opened=opened[place(said)])
            log.append(response)
            question = by_id[response.task, response.id]
            begun = begin(by_name[response.task], question, response)
            if isinstance(begun, tuple):
                readings[place(response)] = begun
            progress.step(response, how(begun, response))
            clock.tick()
        if cut := _cut(job, questions):
            progress.say(f"{len(cut)} thoughts were cut at the limit; forcing their answers")
            firsts = {place(response): response for _, response in cut}
            for forced in engine.generate(
                _with_pictures([request for request, _ in cut], folder, budget)
            ):
                log.append(joined(firsts[place(forced)], forced))
                readings.pop(place(forced), None)
                clock.tick()
    return readings


def _missing(job: Job, questions: Sequence[Question]) -> tuple[list[Request], int]:
    """Return what is to be asked, and how many answers of the run are there."""
    wanted = read_keys(job.folder) or set()
    known = set(answered(job.folder, permanent=not job.wanted.config.retry_errors))
    missing = wanted - known
    if strangers := len(known - wanted):
        print(
            f"driftbench: {job.folder}: {strangers} answers in its logs are of another run, and "
            "are not used",
            file=sys.stderr,
        )
    names = {(task, id) for task, id, _, _ in missing}
    requests = list(requests_of(job, [q for q in questions if (q.task, q.id) in names]))
    if any(place_of(request) not in wanted for request in requests):
        raise UserError(f"{job.folder / 'keys.json'} is of another run: remove it, and try again")
    left = [request for request in requests if place_of(request) in missing]
    return left, len(wanted) - len(missing)


def place_of(request: Request) -> tuple[str, str, int, str]:
    """Return what its response will be found by: see `harness.evaluate.grade.place`."""
    return request.question.task, request.question.id, request.sample, request.key


def _cut(job: Job, questions: Sequence[Question]) -> list[tuple[Request, Response]]:
    """Return the answers to be forced, and what they go on from."""
    config = job.wanted.config
    if not config.sampling.force:
        return []
    cut = [
        response
        for response in read_responses(job.folder)
        if response.finish == "length"
        and not response.forced
        and (config.retry_errors or not response.lasting)
    ]
    names = {(response.task, response.id) for response in cut}
    requests = requests_of(job, [q for q in questions if (q.task, q.id) in names])
    return list(continuations(list(requests), cut))


def _with_pictures(
    requests: Iterable[Request], folder: Path, budget: PixelBudget | None
) -> Iterator[Request]:
    """Read the pictures when their turn comes, so that memory does not grow with the data."""
    for request in requests:
        images = tuple(
            replace(image, data=image_path(folder, image).read_bytes(), budget=budget)
            for image in request.question.images
        )
        yield replace(request, question=replace(request.question, images=images))


class _Clock:
    """Keeps in run.json how long the asking took and where, also when it is interrupted."""

    def __init__(self, folder: Path, engine: Engine, beside: bool) -> None:
        """Begin.

        Args:
            folder: Of the run.
            engine: That is asked.
            beside: Other shards add their time to the same file.
        """
        self._folder, self._engine, self._beside = folder, engine, beside
        self._saved = time.monotonic()

    def tick(self) -> None:
        """Save from time to time."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        now = time.monotonic()
        with locks.locked(self._folder, "card", brief=True):
            card = read_card(self._folder)
            write_json(self._folder / "run.json", self._added(card, now - self._saved))
        self._saved = now

    def _added(self, card: RunCard, seconds: float) -> RunCard:
        device, notes = self._engine.device, (*card.notes, *self._engine.notes)
        if self._beside:
            device = " + ".join(dict.fromkeys([*card.device.split(" + "), device]))
        return replace(
            card,
            seconds=round(card.seconds + seconds, 3),
            device=device,
            notes=tuple(dict.fromkeys(notes)),
        )

    def __enter__(self) -> "_Clock":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._save()
        else:
            with suppress(UserError):  # the trouble that it ends by is the one to tell
                self._save()
