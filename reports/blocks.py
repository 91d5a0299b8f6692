"""What a report shows: tables as blocks, a study's parts, and what all of them have in common.

A block is one table: rows are runs, columns are groups of questions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError, near
from common.provenance import Made
from common.typed import as_kind
from harness.runs.schema import Cell, Question
from harness.statistics.sides import Run, root
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


def rho(row: Row) -> float:
    """How far toward the reasoner a merge lies: in 16 bits a small step is lost in part.

    Returns:
        The displacement that it reached; α, which a linear merge of exact numbers reaches, where
        nobody measured.
    """
    made = row.run.card.made
    reached = made.reached if made and made.reached else {}
    return as_kind(reached.get("rho", row.alpha or 0.0), float, f"{row.run.folder}: reached.rho")


def floor_of(question: Question, folder: Path) -> float | None:
    """Return the chance of a right guess, where the row of a run folder's question says it.

    Raises:
        UserError: It says something else.
    """
    where = f"{folder / 'questions.jsonl'}: floor of {question.task} {question.id}"
    found: float | None = as_kind(question.row.get("floor"), float | None, where)
    return found


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
    made: Made | None
    """None where nothing tells."""
    asking: float | None
    """Processor seconds of its run; None if it was not asked, or nobody counted."""


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
    rows: tuple[Row, ...]
    baseline: Row | None
    sweep: tuple[Row, ...]
    """Linear merges by growing α, α = 0 the VLM."""
    choice: Choice | None
    costs: tuple[Cost, ...]
    questions: dict[tuple[str, str], Asked]
    """By task and id."""
    notes: tuple[str, ...]
    """What is missing, a sentence each."""
    logs: tuple[Log, ...] = ()
    """Of the trainings of its checkpoints."""
    distances: tuple[Distances, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of a study, as `steps/<name>.json` has it."""

    name: str
    seconds: float | None
    started: float = 0.0
    """Since the epoch."""
    peak_memory_bytes: float | None = None


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
    folder: Path = Path()
    """Of a study."""
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


def only(row: Row, tasks: Sequence[str] | None) -> Row:
    """Leave out of a row what was said to other tasks; None leaves all."""
    if tasks is None:
        return row
    kept = {where: found for where, found in row.run.verdicts.items() if where[0] in tasks}
    card = replace(row.run.card, tasks=tuple(t for t in row.run.card.tasks if t.name in tasks))
    return replace(row, run=replace(row.run, verdicts=kept, card=card))


def answered(rows: Iterable[Row], tasks: Sequence[str]) -> None:
    """Stop where nothing was said to one of the tasks.

    Raises:
        UserError: That.
    """
    known = list(dict.fromkeys(task for row in rows for task in row.run.tasks))
    if not tasks:
        raise UserError(f"--tasks names none: there are answers to {', '.join(known)}")
    for task in tasks:
        if task not in known:
            raise UserError(
                f"none of the runs answered {task!r}: {near(task, known)}there are answers to "
                f"{', '.join(known)}"
            )


def questions_of(runs: Iterable[Run]) -> dict[tuple[str, str], Asked]:
    """Every question that any of the runs asked, as the first of them asked it."""
    questions: dict[tuple[str, str], Asked] = {}
    for run in {run.paper: run for run in reversed([*runs])}.values():
        folder = root(run.folder)
        for question in run.questions:
            questions[question.task, question.id] = Asked(question, folder)
    return questions
