"""Getting the answers that are missing: from requests to the log, each as it comes."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from common.errors import UserError
from common.processes import processor_seconds
from harness.engines import Engine, Request
from harness.evaluate.budget_forcing import continuations, joined
from harness.evaluate.config import Shard
from harness.evaluate.progress import Progress
from harness.evaluate.requests import Job, requests_of
from harness.runs import locks
from harness.runs.folder import drop_scored, image_path, read_card, read_keys, write_json
from harness.runs.log import Log, answered, place, read_responses
from harness.runs.schema import How, PixelBudget, Question, Response, RunCard
from tasks.grading.thought import opening

SAVE_SECONDS = 10.0
"""Between two updates of run.json while generating."""


def generate(job: Job, shard: Shard | None, look: Callable[[Response], How]) -> None:
    """Get what is not answered yet, or what the engine failed on; append each answer as it comes.

    Args:
        job: The run.
        shard: The part of its questions to ask; None: all.
        look: Is shown each answer once it is on disk, and says how its verdict would be found.
    """
    questions = shard.of(job.questions) if shard else job.questions
    requests, there = _missing(job, questions)
    if not requests and not _cut(job, questions):
        return
    engine, folder = job.engine, job.folder
    name = folder.absolute().name
    progress = Progress(f"{name} ({shard.name})" if shard else name, len(requests))
    done = f", {there} are there" if there else ""
    progress.say(f"{len(requests)} answers to get from {engine.name} {engine.version}{done}")
    engine.start()
    drop_scored(folder)
    budget = job.workload.budget(job.checkpoint)
    log_name = f"responses.{shard.name}.jsonl" if shard else "responses.jsonl"
    with (
        _Clock(folder, engine, beside=shard is not None) as clock,
        Log(folder, log_name) as log,
        progress,
    ):
        opened = {request.place: opening(request.prompt) for request in requests}
        for said in engine.generate(_with_pictures(requests, folder, budget)):
            response = replace(said, opened=opened[place(said)])
            log.append(response)
            progress.step(response, look(response))
            clock.tick()
        if cut := _cut(job, questions):
            progress.say(f"{len(cut)} thoughts were cut at the limit; forcing their answers")
            firsts = {place(response): response for _, response in cut}
            forcing = [request for request, _ in cut]
            for forced in engine.generate(_with_pictures(forcing, folder, budget)):
                response = joined(firsts[place(forced)], forced)
                log.append(response)
                look(response)
                clock.tick()


def _missing(job: Job, questions: Sequence[Question]) -> tuple[list[Request], int]:
    """Return what is to be asked, and how many answers of the run are there."""
    wanted = read_keys(job.folder) or set()
    known = set(answered(job.folder, permanent=not job.workload.config.retry_errors))
    missing = wanted - known
    if strangers := len(known - wanted):
        print(
            f"driftbench: {job.folder}: {strangers} answers in its logs are of another run, and "
            "are not used",
            file=sys.stderr,
        )
    names = {(task, id) for task, id, _, _ in missing}
    requests = list(requests_of(job, [q for q in questions if (q.task, q.id) in names]))
    if any(request.place not in wanted for request in requests):
        raise UserError(f"{job.folder / 'keys.json'} is of another run: remove it, and try again")
    left = [request for request in requests if request.place in missing]
    return left, len(wanted) - len(missing)


def _cut(job: Job, questions: Sequence[Question]) -> list[tuple[Request, Response]]:
    """Return the answers to be forced, and what they go on from."""
    config = job.workload.config
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
    return list(continuations(requests, cut))


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
    """Keeps in run.json how long generating took and where, also when it is interrupted."""

    def __init__(self, folder: Path, engine: Engine, beside: bool) -> None:
        """Begin.

        Args:
            folder: Of the run.
            engine: That answers.
            beside: Other shards add their time to the same file.
        """
        self._folder, self._engine, self._beside = folder, engine, beside
        self._saved, self._counted = time.monotonic(), processor_seconds(living=True)

    def tick(self) -> None:
        """Save from time to time."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        now, processor = time.monotonic(), processor_seconds(living=True)
        spent = (now - self._saved, processor - self._counted)
        with locks.locked(self._folder, "card", brief=True):
            card = read_card(self._folder)
            write_json(self._folder / "run.json", self._added(card, *spent))
        self._saved, self._counted = now, processor

    def _added(self, card: RunCard, seconds: float, processor: float) -> RunCard:
        device, notes = self._engine.device, (*card.notes, *self._engine.notes)
        reached = getattr(self._engine, "reached", None)  # of a merge that lies nowhere on disk
        if self._beside:
            device = " + ".join(dict.fromkeys([*card.device.split(" + "), device]))
        return replace(
            card,
            seconds=round(card.seconds + seconds, 3),
            processor_seconds=round(card.processor_seconds + processor, 3),
            device=device,
            notes=tuple(dict.fromkeys(notes)),
            made=replace(card.made, reached=reached) if card.made and reached else card.made,
        )

    def __enter__(self) -> "_Clock":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._save()
        else:
            with suppress(UserError):  # the trouble that it ends by is the one to tell
                self._save()
