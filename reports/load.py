"""Run folders → blocks: everything a report shows, read from disk, missing pieces named.

Two kinds of input:

    a study      <study>/seed-0/<family>/runs/<checkpoint>/ (without the seed in a study of one
                 seed made before there were several) and <study>/steps/*.json: a block per family
    run folders  any runs, the rows in the order given: a block for the tasks that the same runs
                 answered

A block is one table: rows are runs, columns are groups of questions.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from harness.runs.folder import read_questions
from harness.runs.schema import Cell, Question, RunCard
from harness.statistics import scores
from harness.statistics.sides import Run, read_run, run_folders, short_names
from reports.plots import maps, training
from reports.plots.maps import Distances
from reports.plots.training import Log

FAMILIES = {"qwen2_5_vl": "Qwen2.5-VL", "llava_next": "LLaVA-NeXT", "idefics3": "Idefics3"}
"""Folder name → title, in the order of the report; other families follow by name."""

VALIDATION = "_validation"
"""Ends the name of the task on which the best merge is chosen."""

WHOLE = "all, side by side"
"""Name of the step that stands for the whole study: seconds on the clock, memory at one time."""


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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Material:
    """All that a report is made of."""

    title: str
    study: bool
    blocks: tuple[Block, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    seeds: tuple[Path, ...] = ()
    """Folders of the seeds of a study; the blocks are of the first. Empty without that level."""


def collect(paths: Sequence[Path], baseline: str | None = None) -> Material:
    """Read a study folder, or run folders.

    Args:
        paths: One study folder; or run folders, or folders that hold run folders.
        baseline: Name of the run to which the others are compared; by default `sft` in a study,
            else the first run.

    Raises:
        UserError: Nothing to report at a path, a broken file, no run of the baseline's name.
    """
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder: expected a study folder or run folders")
    studies = [_is_study(path) for path in paths]
    if len(paths) == 1 and studies[0]:
        return _study(paths[0], baseline)
    if any(studies):
        raise UserError("give either one study folder or run folders, not both")
    return _runs(paths, baseline)


# A study


def seed_folders(path: Path) -> tuple[Path, ...]:
    """Return `seed-0`, `seed-1`, … of a study that hold a family with runs; empty without any."""
    found = [folder for folder in path.glob("seed-*") if family_folders(folder)]
    return tuple(sorted(found, key=lambda folder: (len(folder.name), folder.name)))


def family_folders(path: Path) -> list[Path]:
    """Return the folders of families that have runs, in the order of the report."""
    order = list(FAMILIES)
    found = [folder for folder in path.iterdir() if _children(folder / "runs")]
    return sorted(
        found, key=lambda f: (order.index(f.name) if f.name in order else len(order), f.name)
    )


def _is_study(path: Path) -> bool:
    return bool(seed_folders(path) or family_folders(path))


def _study(path: Path, baseline: str | None) -> Material:
    seeds = seed_folders(path)
    root = seeds[0] if seeds else path
    folders = family_folders(root)
    blocks = tuple(_family(folder, baseline) for folder in folders)
    _some_verdict(run for block in blocks for run in _runs_of(block))
    steps = _steps(path / "steps")
    notes = [] if steps else [f"No cost of the steps: {path / 'steps'} has no file."]
    if len(seeds) > 1:
        notes.append(
            f"Tables, plots and questions are of {root.name}, one of {len(seeds)} training seeds."
        )
    notes += [
        f"{folder.name} has checkpoints but no run: {folder / 'runs'} is missing."
        for folder in sorted(root.iterdir())
        if any(folder.glob("*/made.json")) and folder not in folders and folder not in seeds
    ]
    return Material(path.resolve().name, True, blocks, steps, tuple(notes), seeds)


def _family(folder: Path, baseline: str | None) -> Block:
    runs = {run.name: run for run in map(read_run, _children(folder / "runs"))}
    columns = columns_of(runs.values(), validation=False)
    notes: list[str] = []
    sweep = sweep_of(runs)
    choice = choose(sweep, columns_of(runs.values(), validation=True), notes)
    rows = _study_rows(runs, sweep, choice, notes)
    wanted = baseline or "sft"
    base = next((row for row in rows if row.run.name == wanted), None)
    if baseline and not base:
        raise UserError(
            f"no row of {folder.name} is the run {baseline!r}: there are "
            + ", ".join(row.run.name for row in rows)
        )
    questions = _questions([row.run for row in rows] + [row.run for row in sweep], notes)
    return Block(
        name=folder.name,
        title=FAMILIES.get(folder.name, folder.name),
        columns=columns,
        mean=len(columns) > 1,
        rows=rows,
        baseline=base,
        sweep=sweep,
        choice=choice,
        costs=_costs(folder, runs),
        questions=questions,
        notes=(*notes, *_differences(rows, base)),
        logs=tuple(log for place in _checkpoints(folder) if (log := training.read(place))),
        distances=maps.read(folder),
    )


def _checkpoints(folder: Path) -> list[Path]:
    """SFT and DRIFT first: they keep their look in every plot."""
    first = ["drift", "sft"]
    places = [path.parent for path in folder.glob("*/made.json")]
    return sorted(
        places, key=lambda p: (first.index(p.name) if p.name in first else len(first), p.name)
    )


def sweep_of(runs: dict[str, Run]) -> tuple[Row, ...]:
    """Return the linear merges among runs by growing α; at α = 0 the VLM, where no merge is."""
    points = {}
    for run in runs.values():
        alpha = _alpha(run)
        if alpha is not None:
            points[alpha] = Row(f"merge α = {alpha:g}", run, alpha)
    # α = 0 is the VLM byte for byte, so its run stands in for the merge.
    if points and "vlm" in runs:
        points.setdefault(0.0, Row("merge α = 0", runs["vlm"], 0.0))
    return tuple(points[alpha] for alpha in sorted(points))


def _alpha(run: Run) -> float | None:
    """Share of the reasoner if the run is of a linear merge, by `made.json` or else by its name."""
    made = run.card.made
    if made is None:
        match = re.fullmatch(r"merge-(\d+(?:\.\d+)?)", run.name)
        return float(match[1]) if match else None
    settings = made.get("settings") or {}
    if made.get("method") != "merge" or settings.get("method") != "linear":
        return None
    return float(settings["alpha"]) if "alpha" in settings else None


def choose(sweep: tuple[Row, ...], columns: tuple[Column, ...], notes: list[str]) -> Choice | None:
    """Choose the merge with the highest mean over validation columns, the smaller α in a tie.

    Args:
        sweep: See `sweep_of`.
        columns: Of the validation questions.
        notes: Get a sentence on what stands in the way, and on merges that are no candidates.
    """
    if not sweep:
        notes.append("No merge was run, so there is no best merge.")
        return None
    if not columns:
        notes.append(
            f"No best merge: no run holds a task that ends in {VALIDATION}, and choosing on the "
            "test questions would flatter it."
        )
        return None
    scored = {}
    counts = [[r.run.cells[c.key].n for r in sweep if c.key in r.run.cells] for c in columns]
    asked = [max(count, default=0) for count in counts]
    for row in sweep:
        cells = [row.run.cells[c.key] for c in columns if c.key in row.run.cells]
        if [cell.n for cell in cells] == asked:
            verdicts = [row.run.verdicts[c.key] for c in columns]
            scored[row.alpha or 0.0] = scores.cell(row.run.name, (cells[0].task, "mean"), *verdicts)
        else:
            notes.append(f"{row.run.name} is no candidate: its validation answers are incomplete.")
    if not scored:
        return None
    best = max(scored, key=lambda alpha: (scored[alpha].score, -alpha))
    return Choice(columns[0].task, best, scored[best], tuple(scored))


def _study_rows(
    runs: dict[str, Run], sweep: tuple[Row, ...], choice: Choice | None, notes: list[str]
) -> tuple[Row, ...]:
    rows = []
    if "vlm" in runs:
        rows.append(Row("VLM", runs["vlm"]))
    elif sweep and sweep[0].alpha == 0:
        rows.append(Row("VLM", sweep[0].run))
        notes.append(f"The VLM has no run of its own; {sweep[0].run.name} holds the same weights.")
    else:
        notes.append("The VLM was not run.")
    if "reasoner" in runs:
        rows.append(Row("reasoner", runs["reasoner"]))
    if choice:
        best = next(row for row in sweep if row.alpha == choice.alpha)
        rows.append(Row(f"best merge (α = {choice.alpha:g})", best.run, best.alpha))
    for name, label in (("sft", "SFT"), ("drift", "DRIFT")):
        if name in runs:
            rows.append(Row(label, runs[name]))
    notes += [f"{name} was not run." for name in ("reasoner", "sft", "drift") if name not in runs]
    shown = {row.run.name for row in (*rows, *sweep)}
    return (*rows, *(Row(name, run) for name, run in runs.items() if name not in shown))


def _costs(folder: Path, runs: dict[str, Run]) -> tuple[Cost, ...]:
    """Of every checkpoint of the family, in the order in which a study makes them."""
    order = ["base", "reasoner", "vlm", "sft", "drift"]
    made = {path.parent.name: _read_json(path) for path in sorted(folder.glob("*/made.json"))}
    for name, run in runs.items():
        made.setdefault(name, run.card.made or {})
    names = sorted(made, key=lambda n: (order.index(n) if n in order else len(order), n))
    return tuple(
        Cost(name, made[name], runs[name].card.seconds if name in runs else None) for name in names
    )


def _steps(folder: Path) -> tuple[Step, ...]:
    """The steps in the order in which they started, then the study as a whole."""
    found = []
    for file in folder.glob("*.json"):
        content = _read_json(file)
        if "seconds" in content:  # other files there are the scheduler's own
            name = content.get("name") or (WHOLE if file.stem == "study" else file.stem)
            started = str(content.get("started") or "")
            found.append(Step(name, started, content["seconds"], content.get("peak_memory_bytes")))
    return tuple(sorted(found, key=lambda step: (step.name == WHOLE, step.started, step.name)))


# Any runs


def _runs(paths: Sequence[Path], baseline: str | None) -> Material:
    folders = []
    for path in paths:
        found = run_folders(path)
        if not found:
            raise UserError(
                f"{path} holds no run: expected run.json in it, or in folders under it "
                "(`driftbench eval` writes them)"
            )
        folders += found
    names = short_names(folders)
    rows = tuple(
        Row(name, read_run(folder, name)) for folder, name in zip(folders, names, strict=True)
    )
    _some_verdict(row.run for row in rows)
    base = next((row for row in rows if row.run.name == (baseline or names[0])), None)
    if base is None:
        raise UserError(f"no run is named {baseline!r}: there are {', '.join(names)}")
    blocks = [_together(tasks, answered, base) for answered, tasks in _answered(rows)]
    if len(blocks) == 1 and blocks[0].mean:
        blocks[0] = dataclasses.replace(blocks[0], name="all tasks", title="all tasks")
    notes = [f"{row.label} has no verdict yet." for row in rows if not row.run.cells]
    title = ", ".join(names) if len(names) <= 4 else f"{len(names)} runs"
    return Material(title, False, tuple(blocks), (), tuple(notes))


def _answered(rows: Sequence[Row]) -> list[tuple[tuple[Row, ...], list[str]]]:
    """The tasks, put together where the same runs answered them."""
    found: dict[tuple[int, ...], list[str]] = {}
    for task in dict.fromkeys(task for row in rows for task, _ in row.run.cells):
        places = tuple(i for i, row in enumerate(rows) if (task, "all") in row.run.cells)
        found.setdefault(places, []).append(task)
    return [(tuple(rows[i] for i in places), tasks) for places, tasks in found.items()]


def _together(tasks: Sequence[str], rows: tuple[Row, ...], base: Row) -> Block:
    """One block of the tasks that the same runs answered."""
    mine = next((row for row in rows if row is base), rows[0])
    notes: list[str] = []
    if mine is not base:
        notes.append(f"{base.label} has no answers here: compared with {mine.label}.")
    questions = {
        key: asked
        for key, asked in _questions([row.run for row in rows], notes).items()
        if key[0] in tasks
    }
    logs = (training.read(Path(row.run.card.checkpoint)) for row in rows)
    return Block(
        name=", ".join(tasks),
        title=", ".join(tasks),
        columns=tuple(Column(task, task, "all") for task in tasks),
        mean=len(tasks) > 1,
        rows=rows,
        baseline=mine,
        sweep=(),
        choice=None,
        costs=tuple(Cost(row.label, row.run.card.made or {}, row.run.card.seconds) for row in rows),
        questions=questions,
        notes=(*notes, *_differences(rows, mine)),
        logs=tuple(log for log in logs if log),
    )


# Shared


def _children(path: Path) -> list[Path]:
    return sorted(file.parent for file in path.glob("*/run.json"))


def _runs_of(block: Block) -> list[Run]:
    return [row.run for row in (*block.rows, *block.sweep)]


def _some_verdict(runs: Iterable[Run]) -> None:
    if not any(run.cells for run in runs):
        raise UserError("none of the runs has a verdict yet: let `driftbench eval` finish first")


def columns_of(runs: Iterable[Run], *, validation: bool) -> tuple[Column, ...]:
    """The groups of a study's one task beyond `all`; of several tasks, each as a whole."""
    keys = dict.fromkeys(
        key for run in runs for key in run.cells if key[0].endswith(VALIDATION) == validation
    )
    if len({task for task, _ in keys}) > 1:
        return tuple(Column(task, task, group) for task, group in keys if group == "all")
    groups = [Column(group, task, group) for task, group in keys if group != "all"]
    return tuple(groups or [Column(group, task, group) for task, group in keys])


def _questions(runs: Sequence[Run], notes: list[str]) -> dict[tuple[str, str], Asked]:
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


def _differences(rows: Sequence[Row], base: Row | None) -> list[str]:
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content
