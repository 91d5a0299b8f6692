"""From questions to requests: prompts as the checkpoint's template makes them, and their keys."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import write_whole
from common.provenance import digest
from harness.checkpoints.image_size import setting
from harness.checkpoints.kinds import AdaptedModel, Checkpoint
from harness.engines import Engine, Request
from harness.evaluate.config import Workload
from harness.runs.folder import read_made_keys
from harness.runs.schema import UTF8, Question, key


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run folder, and what goes into it."""

    folder: Path
    checkpoint: Checkpoint
    workload: Workload
    engine: Engine
    questions: Sequence[Question]
    """Of all shards."""
    content: bytes
    """Of questions.jsonl."""
    packages: dict[str, str]
    prompts: dict[tuple[str, str], str] = field(default_factory=dict)
    """Task and id → prompt, as far as they are rendered."""


def requests_of(job: Job, questions: Iterable[Question]) -> Iterator[Request]:
    """Render questions; yield the requests for all samples of each."""
    for question in questions:
        name = question.task, question.id
        if name not in job.prompts:
            job.prompts[name] = job.engine.render(question)
        sampling = job.workload.sampling_of(question.task)
        images = [image.sha256 for image in question.images]
        for sample in range(sampling.n):
            key = _key(job, question.task, job.prompts[name], images, sample)
            yield Request(
                question=question,
                prompt=job.prompts[name],
                sampling=sampling,
                sample=sample,
                key=key,
            )


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
    if old is not None and old.of == of:
        return
    keys: dict[str, dict[str, list[str]]] = {}
    for request in requests_of(job, job.questions):
        by_id = keys.setdefault(request.question.task, {})
        by_id.setdefault(request.question.id, []).append(request.key)
    if beside and old is not None:
        if old.keys != keys:
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
        "keys": [_key(job, task.name, "", [], 0) for task in job.workload.tasks],
        "n": job.workload.config.sampling.n,
        "packages": job.packages,
        "questions": hashlib.sha256(job.content).hexdigest(),
        "code": _code(),
    }
    return digest(content)


def _code() -> str:
    """Return the sha256 of what makes prompts and keys here."""
    room = Path(__file__).parents[1]
    engines = sorted((room / "engines").glob("*.py"))
    files = [room / "runs" / "schema.py", Path(__file__), *engines]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _key(job: Job, task: str, prompt: str, images: list[str], sample: int) -> str:
    checkpoint, engine = job.checkpoint, job.engine
    adapter = checkpoint.adapter.fingerprint if isinstance(checkpoint, AdaptedModel) else None
    return key(
        fingerprint=checkpoint.fingerprint,
        adapter=adapter,
        prompt=prompt,
        images=images,
        pixels=setting(checkpoint, job.workload.budget(checkpoint)),
        sampling=job.workload.sampling_of(task),
        sample=sample,
        engine=engine.name,
        version=engine.version,
        dtype=engine.dtype,
        context=engine.context,
        template_args=checkpoint.template_args,
    )
