"""What is compared: run folders as they were graded, and sides made of one or several of them."""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tasks
from common.errors import UserError, near
from common.progress import working
from common.provenance import digest
from common.text import printable
from common.typed import as_kind
from harness.runs.folder import (
    SCORED,
    count,
    read_card,
    read_questions,
    read_verdicts,
    scored_folder,
    without_pictures,
)
from harness.runs.log import logs
from harness.runs.schema import Cell, Question, RunCard, Verdict
from harness.statistics import scores

Where = tuple[str, str]
"""Task and group."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder, as graded by one protocol."""

    name: str
    """Tells it from the runs beside it."""
    folder: Path
    """With the verdicts."""
    card: RunCard
    verdicts: dict[Where, list[Verdict]]
    """Empty before it is graded."""

    @cached_property
    def cells(self) -> dict[Where, Cell]:
        """Scores with their errors, of every group."""
        return {
            where: scores.cell(self.name, where, found) for where, found in self.verdicts.items()
        }

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Those that it has verdicts of."""
        return tuple(dict.fromkeys(task for task, _ in self.verdicts))

    @cached_property
    def kept(self) -> int:
        """How many lines its logs hold."""
        return sum(map(count, logs(root(self.folder))))

    @property
    def graded(self) -> int:
        """How many answers have a verdict; of a finished run those alone that its logs hold."""
        found = sum(len(self.verdicts[task, "all"]) for task in self.tasks)
        return min(found, self.kept) if self.card.finished else found

    @property
    def whole(self) -> bool:
        """Whether it is finished, and no answer of it has been lost."""
        return self.card.finished and self.graded >= self.card.asked

    @cached_property
    def paper(self) -> bytes:
        """Digest of all its questions; empty where they were not kept."""
        path = root(self.folder) / "questions.jsonl"
        return hashlib.sha256(path.read_bytes()).digest() if path.exists() else b""

    @cached_property
    def questions(self) -> list[Question]:
        """All that were asked; none where they were not kept."""
        return read_questions(root(self.folder))

    @cached_property
    def asked(self) -> dict[Where, tuple[str, str]]:
        """Task and id of a question → digests of what the model saw of it, and of its row."""
        return {
            (question.task, question.id): (
                digest([question.prompt, [image.sha256 for image in question.images]]),
                digest(question.row),
            )
            for question in self.questions
        }


@dataclass(frozen=True)
class Side:
    """What is compared: a checkpoint, or a method by checkpoints of several training seeds."""

    name: str
    runs: tuple[Run, ...]
    """One or more."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those that every run has verdicts of."""
        return tuple(t for t in self.runs[0].tasks if all(t in run.tasks for run in self.runs))

    def groups(self, task: str) -> list[str]:
        """Groups of a task beyond the whole of it."""
        return [name for of, name in self.runs[0].verdicts if of == task and name != "all"]

    def seeds(self) -> list[int | None]:
        """Return the training seed of each run, None where its checkpoint does not tell."""
        return [
            as_kind(run.card.made.settings.get("seed"), int | None, f"{run.folder}/run.json: seed")
            if run.card.made
            else None
            for run in self.runs
        ]


def read_run(folder: Path, name: str | None = None, protocol: str | None = None) -> Run:
    """Read a run folder.

    Args:
        folder: Of the run.
        name: To call it by; None: the folder's.
        protocol: Whose verdicts; None: those of the run itself.

    Raises:
        UserError: It is no run, was not scored by the protocol, or a file is broken.
    """
    card, place = read_card(folder), folder
    protocol = protocol and tasks.resolved(protocol)
    if protocol is not None and {task.protocol for task in card.tasks} != {protocol}:
        place = scored_folder(folder, protocol)
        if not (place / "run.json").exists():
            raise UserError(
                f"{folder} was not scored by {protocol}: "
                f"`driftbench score {folder} --protocol {protocol}` does that"
            )
        card = dataclasses.replace(read_card(place), name=card.name)
    with working(f"reading {folder}"):
        verdicts = _verdicts(place, folder)
    name = name or folder.resolve().name
    return Run(name=name, folder=place, card=card, verdicts=verdicts)


def _verdicts(place: Path, folder: Path) -> dict[Where, list[Verdict]]:
    """Read the verdicts at a place, those of a run folder."""
    verdicts: dict[Where, list[Verdict]] = {}
    seen: set[tuple[str, str, int]] = set()
    for verdict in read_verdicts(place):
        answer = verdict.task, verdict.id, verdict.sample
        if answer in seen:
            raise UserError(
                f"{place / 'verdicts.jsonl'} has two verdicts on an answer to {verdict.id} of "
                f"{verdict.task}: `driftbench score {folder}` writes it anew"
            )
        seen.add(answer)
        for group in verdict.groups:
            verdicts.setdefault((verdict.task, group), []).append(verdict)
    return verdicts


def root(folder: Path) -> Path:
    """Return the run folder with the questions and responses of a folder with verdicts."""
    return folder.parent.parent if folder.parent.name == SCORED else folder


def run_folders(path: Path) -> list[Path]:
    """Return the folder if it is a run, else the runs right in it."""
    if (path / "run.json").exists():
        return [path]
    return sorted(card.parent for card in path.glob("*/run.json"))


def short_names(folders: Sequence[Path]) -> list[str]:
    """Name each folder by the shortest end of its path that tells it from the others.

    Raises:
        UserError: A folder is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    for place, own in enumerate(parts):
        if own in parts[:place]:
            raise UserError(f"the run {folders[place]} is given twice")
    depth = 1
    while len({own[-depth:] for own in parts}) < len(parts):
        depth += 1
    return ["/".join(own[-depth:]) for own in parts]


def runs_in(path: Path) -> list[Path]:
    """Return the folder if it is a run, else the runs right in it.

    Raises:
        UserError: There is none.
    """
    if not path.is_dir():
        hint = near(path.name, [card.parent.name for card in path.parent.glob("*/run.json")])
        raise UserError(f"there is no run folder {path}{': ' + hint.rstrip() if hint else ''}")
    found = run_folders(path)
    if not found:
        raise UserError(f"{path} is not a run folder: it has no run.json, nor have folders in it")
    return found


def sides_of(
    named: Sequence[tuple[str | None, Sequence[Path]]], protocol: str | None = None
) -> list[Side]:
    """Read what is to be compared; a broken run beside others in a folder is left out, and told.

    Args:
        named: Name of a side and its runs, or folders of them; without a name each run is a side,
            named by the shortest end of its path that tells it from the others.
        protocol: As of `read_run`.

    Raises:
        UserError: A run that is named itself cannot be read or has no verdicts, no other can, or
            two sides have one name.
    """
    given = [(label, path) for label, paths in named for path in paths]
    kept = without_pictures([path for _, path in given])
    given = [(label, path) for label, path in given if path in kept]
    places = [(label, path, folder) for label, path in given for folder in runs_in(path)]
    short = short_names([folder for _, _, folder in places])
    alone = [name for name, (label, *_) in zip(short, places, strict=True) if not label]
    labels = [label for label, _ in named if label]
    names = [*labels, *alone]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two sides of the comparison are named {twice[0]}")
    found: dict[str, list[Run]] = {}
    for (label, path, folder), name in zip(places, short, strict=True):
        try:
            run = _graded(folder, name, protocol)
        except UserError as error:
            if folder == path:
                raise
            logging.getLogger(__name__).warning("left out: %s", printable(str(error)))
            continue
        found.setdefault(label or name, []).append(run)
    if lost := [label for label in labels if label not in found]:
        raise UserError(f"no run of {lost[0]} can be read")
    if not found:
        raise UserError("none of the runs can be read")
    return [Side(name, tuple(runs)) for name, runs in found.items()]


def _graded(folder: Path, name: str, protocol: str | None) -> Run:
    run = read_run(folder, name, protocol)
    if not run.verdicts:
        raise UserError(f"{folder} has no verdict yet: `driftbench score {folder}` makes them")
    return run


# What has to be alike


def unlike(a: RunCard, b: RunCard, task: str) -> list[str]:
    """Say which settings differ that have to agree for scores of a task to be comparable."""
    first, second = _settings(a, task), _settings(b, task)
    return [
        f"{name} {first[name]} against {second[name]}"
        for name in first
        if name in second and first[name] != second[name]
    ]


def _settings(card: RunCard, task: str) -> dict[str, Any]:
    found: dict[str, Any] = {"engine": f"{card.engine} {card.engine_version}", "dtype": card.dtype}
    if card.pixels:  # a text-only model has none
        found["pixels"] = card.pixels
    found |= dataclasses.asdict(card.sampling)
    del found["max_tokens"]  # the task's own holds
    found["template arguments"] = card.template_args
    for own in card.tasks:
        if own.name == task:
            for name in ("version", "revision", "protocol", "max_tokens"):
                found[name] = getattr(own, name)
    return found


def alike(a: Run, b: Run, task: str) -> bool:
    """Whether two runs put the same questions of a task to the model, where they share ids."""
    if a.paper == b.paper or not (a.paper and b.paper):
        return True
    return bool(_both(a, b, task)) and not reworded(a, b, task)


def reworded(a: Run, b: Run, task: str) -> set[str]:
    """Ids under which the model saw another prompt, or other pictures."""
    return {key[1] for key in _both(a, b, task) if a.asked[key][0] != b.asked[key][0]}


def other_questions(a: Run, b: Run, task: str) -> set[str]:
    """Ids under which it saw another question: another row of the benchmark, put otherwise."""
    return {id for id in reworded(a, b, task) if a.asked[task, id][1] != b.asked[task, id][1]}


def _both(a: Run, b: Run, task: str) -> list[Where]:
    """Questions that both were asked, where it is known of both what they were."""
    if a.paper == b.paper or not (a.paper and b.paper):
        return []
    return [key for key in a.asked if key[0] == task and key in b.asked]
