"""What a report shows: tables as blocks, a study's parts, and what all of them have in common.

A block is one table: rows are runs, columns are groups of questions.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from harness.runs.folder import read_questions
from harness.runs.schema import Cell, Question, RunCard
from harness.statistics.sides import Run
from harness.studies.step import Design
from reports.plots.maps import Distances
from reports.plots.training import Log


@dataclass(frozen=True)
class Column:
    """A group of questions."""

    title: str
    task: str
    group: str

    @property
    def key(self) -> tuple[str, str]:
        """Where `Run.cells` and `Run.verdicts` have it."""
        return self.task, self.group


@dataclass(frozen=True)
class Row:
    """A run under the name it has in the table."""

    label: str
    run: Run
    alpha: float | None = None
    """Share of the reasoner, of a merge."""
    method: str = ""
    """Name of the study's method; of a run that no method names, the run's."""


@dataclass(frozen=True)
class Choice:
    """How the best merge was chosen."""

    task: str
    alpha: float
    score: Cell
    """Of the chosen merge on `task`: the mean over its groups."""
    candidates: tuple[float, ...]


@dataclass(frozen=True)
class Cost:
    """What a checkpoint took to make and to ask."""

    name: str
    made: dict[str, Any]
    """`made.json`; empty where there is none."""
    asking: float | None
    """Seconds of its run; None if it was not asked."""


@dataclass(frozen=True)
class Asked:
    """A question, and a run folder beside which its pictures lie."""

    question: Question
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Block:
    """One table and what belongs to it."""

    name: str
    title: str
    columns: tuple[Column, ...]
    mean: bool
    """Whether the unweighted mean of the columns makes sense: they share no question."""
    rows: tuple[Row, ...]
    baseline: Row | None
    sweep: tuple[Row, ...]
    """Linear merges by growing α, α = 0 the VLM."""
    choice: Choice | None
    costs: tuple[Cost, ...]
    questions: dict[tuple[str, str], Asked]
    """By task and id."""
    notes: tuple[str, ...]
    """What is missing or not comparable, a sentence each."""
    logs: tuple[Log, ...] = ()
    """Of the trainings of its checkpoints."""
    distances: tuple[Distances, ...] = ()
    by_group: bool = False
    """Whether groups go down and runs across: the columns are categories of one kind."""


@dataclass(frozen=True)
class Step:
    """One step of a study, as `steps/<name>.json` has it."""

    name: str
    started: str
    """Sorts by time; empty if unknown."""
    seconds: float | None
    peak_memory_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One family and seed of a study."""

    family: str
    title: str
    seed: int
    folder: Path
    """Where its checkpoints lie, beside the folders of its runs."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """A method each, then the runs that no method names."""
    sweep: tuple[Row, ...]
    """As of `Block`."""
    choice: Choice | None
    distances: tuple[Distances, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a report is made of."""

    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    study: Design | None = None
    """What a study compares; None of any other runs."""
    parts: tuple[Part, ...] = ()
    """Of a study; the blocks are of its first seed."""
    steps: tuple[Step, ...] = ()


# What all have in common


def some_verdict(runs: Iterable[Run]) -> None:
    """Stop where no run was graded.

    Raises:
        UserError: That.
    """
    if not any(run.cells for run in runs):
        raise UserError("none of the runs has a verdict yet: let `driftbench eval` finish first")


def questions_of(runs: Sequence[Run], notes: list[str]) -> dict[tuple[str, str], Asked]:
    """Every question that any of the runs asked; notes those that were not the same everywhere."""
    questions: dict[tuple[str, str], Asked] = {}
    seen: set[bytes] = set()
    for run in runs:
        path = run.folder / "questions.jsonl"
        content = path.read_bytes() if path.exists() else b""
        if content in seen:
            continue
        seen.add(content)
        differing = 0
        for question in _read_questions(run):
            mine = Asked(question, run.folder)
            first = questions.setdefault((question.task, question.id), mine).question
            differing += (first.prompt, first.images) != (question.prompt, question.images)
        if differing:
            notes.append(
                f"{run.name} was asked {differing} questions in other words or with other "
                "pictures than the runs before it: its scores are not comparable."
            )
    return questions


def _read_questions(run: Run) -> list[Question]:
    try:
        return read_questions(run.folder)
    except (TypeError, KeyError) as error:
        raise UserError(f"{run.folder / 'questions.jsonl'} cannot be read: {error}") from error


def differences(rows: Sequence[Row], base: Row | None) -> list[str]:
    """Sentences on runs that are unfinished, or were asked otherwise than the baseline."""
    notes = [
        f"{row.label} is not finished: its numbers are of what was graded so far."
        for row in rows
        if not row.run.card.finished
    ]
    if base is None:
        return notes
    reference = _settings(base.run.card)
    for row in rows:
        mine = _settings(row.run.card)
        unlike = [
            f"{name} {mine[name]} against {reference[name]}"
            for name in reference
            if name in mine and mine[name] != reference[name]
        ]
        if unlike:
            notes.append(f"{row.label} was asked otherwise than {base.label}: {'; '.join(unlike)}.")
    return notes


def _settings(card: RunCard) -> dict[str, Any]:
    """What has to be alike for two scores to be comparable."""
    found: dict[str, Any] = {
        "engine": f"{card.engine} {card.engine_version}",
        "dtype": card.dtype,
        "limit": card.limit,
        **dataclasses.asdict(card.sampling),
    }
    if card.pixels:  # a text-only model has none
        found["pixels"] = card.pixels
    for task in card.tasks:
        for name in ("version", "revision", "protocol", "max_tokens"):
            found[f"{task.name} {name}"] = getattr(task, name)
    return found
