"""A run folder begun, or gone on with: what lies there, and whether it is of the same run."""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from common.errors import UserError
from common.files import refuse_file, write_whole
from common.provenance import git_commit
from common.text import some
from harness.checkpoints.image_size import differs_from_training, setting, undone
from harness.evaluate.config import Workload
from harness.evaluate.requests import Job, make_keys
from harness.runs.folder import PICTURES, drop_scored, read_card, read_cells, write_json
from harness.runs.log import logs
from harness.runs.schema import UTF8, RunCard, Sampling, TaskCard


def refuse_others(folder: Path) -> None:
    """Refuse a folder that holds anything but a run, and what can be no folder."""
    refuse_file(folder)
    if not folder.is_dir() or (folder / "run.json").exists():
        return
    names = {path.name for path in folder.iterdir()} - {PICTURES}
    # What was killed before it began leaves its lock, and what it was writing aside.
    own = (".lock", ".run.json.", ".run.yaml.")
    strangers = {name for name in names - {"run.yaml"} if not name.startswith(own)}
    if strangers:
        raise UserError(
            f"{folder} is not empty and holds no run ({min(strangers)}): choose another --out"
        )


def in_its_order(workload: Workload, old: RunCard | None) -> Workload:
    """Put the tasks of a run that goes on in the order of its folder, further ones behind them."""
    if old is None:
        return workload
    last = len(old.tasks)
    rank = {task.name: place for place, task in enumerate(old.tasks)}
    return replace(
        workload,
        tasks=tuple(sorted(workload.tasks, key=lambda task: rank.get(task.name, last))),
        questions=tuple(sorted(workload.questions, key=lambda one: rank.get(one.task, last))),
    )


def begin(job: Job) -> tuple[RunCard, bool]:
    """Write what is asked, unless it lies there; return the card, and whether nothing is left."""
    folder = job.folder
    _sweep(folder)
    old = read_card(folder) if (folder / "run.json").exists() else None
    card = card_of(job)
    if old is not None and not goes_on(job, old):
        _drop(folder)
    elif old is not None:
        notes = tuple(dict.fromkeys((*old.notes, *card.notes)))
        made = old.made if old.made and old.made.reached else card.made
        card = replace(
            card,
            seconds=old.seconds,
            processor_seconds=old.processor_seconds,
            notes=notes,
            judge=old.judge,
            made=made,
        )
        if _is_done(job, old, card):
            return old, True
    write_json(folder / "run.json", card)
    if repeat := job.workload.config.repeats.get(job.checkpoint.name):
        write_whole(folder / "run.yaml", repeat.encode(*UTF8))
    if not _same_questions(job):
        write_whole(folder / "questions.jsonl", job.content)
    make_keys(job)
    return card, False


def join(job: Job) -> None:
    """Check that what other shards ask is the same."""
    old = read_card(job.folder)
    card = card_of(job)
    check_same(job.folder, old, card)
    if not _same_questions(job) or old.sampling.n != card.sampling.n:
        raise UserError(
            f"{job.folder} is being written by shards that ask less: wait for them, or choose "
            "another --out"
        )
    make_keys(job, beside=True)


def goes_on(job: Job, old: RunCard) -> bool:
    """Whether what lies in the folder is part of this run; else it is to be dropped.

    Raises:
        UserError: It is not, and may not be dropped.
    """
    try:
        check_same(job.folder, old, card_of(job), regrade=job.workload.config.overwrite)
    except UserError:
        if not job.workload.config.overwrite:
            raise
        return False
    return True


def check_same(folder: Path, old: RunCard, new: RunCard, *, regrade: bool = False) -> None:
    """Refuse to mix two runs in one folder; more of the same, further tasks too, is fine.

    Args:
        folder: Of both.
        old: What it holds.
        new: What is to be written there.
        regrade: Verdicts of another version may be replaced; the answers are the same.
    """
    then, now = ({task.name: task for task in card.tasks} for card in (old, new))
    shared = [name for name in then if name in now]
    fields = "fingerprint engine engine_version dtype pixels context template_args".split()
    differ = [name for name in fields if getattr(old, name) != getattr(new, name)]
    if _sampling(old, shared) != _sampling(new, shared):
        differ.append("sampling")
    if any(_asked(then[name]) != _asked(now[name]) for name in shared):
        differ.append("tasks")
    if differ:
        raise UserError(
            f"{folder} holds another run (other {', '.join(differ)}): "
            "choose another --out, or add --overwrite"
        )
    if missing := [name for name in then if name not in now]:
        raise UserError(
            f"{folder} holds {some(missing)} too: name all its tasks, "
            f"--tasks {','.join(then | now)}, or choose another --out"
        )
    for name in shared:
        if then[name].version != now[name].version and not regrade:
            raise UserError(
                f"{folder} was graded by version {then[name].version} of {name}, which is now "
                f"{now[name].version}: grade it again with `driftbench score {folder}`, then go on"
            )
    limits = [card.limit or 10**9 for card in (old, new)]
    if limits[1] < limits[0] or new.sampling.n < old.sampling.n:
        raise UserError(f"{folder} holds a larger run of the same kind: choose another --out")


def _sampling(card: RunCard, names: Collection[str]) -> Sampling:
    """Return what the answers to some tasks are drawn by, however many to a question."""
    bounds = [task.max_tokens for task in card.tasks if task.name in names]
    return replace(card.sampling, n=0, max_tokens=max(bounds, default=0))


def _asked(task: TaskCard) -> tuple[str, str, int, str]:
    """Return what of a task could change an answer or a verdict, but for its version."""
    return task.name, task.revision, task.max_tokens, task.protocol


def card_of(job: Job) -> RunCard:
    """Return the card of a run that has yet to begin."""
    checkpoint, workload, engine = job.checkpoint, job.workload, job.engine
    cards = []
    for task in workload.tasks:
        n = sum(question.task == task.name for question in job.questions)
        every = sum(question.task == task.name for question in workload.questions)
        own = workload.sampling_of(task.name).max_tokens
        cards.append(
            TaskCard(
                name=task.name,
                version=task.version,
                revision=workload.revisions[task.name],
                n=n,
                protocol=task.protocol,
                scoring=task.scoring,
                max_tokens=own,
                skipped=every - n,
                asked=task.protocol,
                whole=task.source.n if task.source else 0,
                commit=workload.commits[task.name],
            )
        )
    notes = [*checkpoint.notes, *engine.notes]
    if unlike := differs_from_training(checkpoint, workload.budget(checkpoint)):
        notes.append(unlike)
    if undoes := undone(checkpoint, workload.budget(checkpoint)):
        notes.append(undoes)
    if told := checkpoint.template_args:
        words = ", ".join(f"{name}={json.dumps(value)}" for name, value in told.items())
        notes.append(f"its chat template was told {words}")
    model = checkpoint.folder
    day = model.day if model and model.tells_day else None
    if day:
        notes.append(f"its chat template told the model that it was {day}")
    return RunCard(
        name=job.folder.absolute().name,
        checkpoint=str(checkpoint.path),
        fingerprint=checkpoint.fingerprint,
        made=checkpoint.made,
        engine=engine.name,
        engine_version=engine.version,
        sampling=replace(
            workload.config.sampling, max_tokens=max(card.max_tokens for card in cards)
        ),
        dtype=engine.dtype,
        context=engine.context,
        pixels=setting(checkpoint, workload.budget(checkpoint)),
        tasks=tuple(cards),
        limit=workload.config.limit,
        git=git_commit(),
        packages=job.packages,
        device=engine.device,
        seconds=0.0,
        notes=tuple(notes),
        day=day,
        template_args=checkpoint.template_args,
    )


def _same_questions(job: Job) -> bool:
    path = job.folder / "questions.jsonl"
    return path.exists() and path.read_bytes() == job.content


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed: files written aside, the lock of the card.

    The lock of a shard stays: who holds it may be about to begin.
    """
    for pattern in (".*.json*.*", ".*.yaml.*", ".*.parquet.*", ".lock.card"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _drop(folder: Path) -> None:
    """Remove the files of a run; the card last, so that what is left is never taken for a run."""
    for log in logs(folder):
        log.unlink()
    for name in ("judge.jsonl", "answers.parquet", "run.yaml"):
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
    config, cells = job.workload.config, read_cells(job.folder)
    if not config.retry_errors and all(task.failed is not None for task in old.tasks):
        return any(task.failed for task in old.tasks)
    return any(cell.error or (config.sampling.force and cell.truncated) for cell in cells)
