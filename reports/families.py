"""A study's folder → its parts, a family and seed each, and a block a family.

Which runs belong to which method, and what is compared with what, says the study's own record
(`harness.studies.record`). A run beside them that no method names is a row under its own name.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import UserError
from common.provenance import read_made
from common.typed import as_kind, read_json
from common.typed import record as as_record
from drift.families import FAMILIES
from harness.statistics import scores
from harness.statistics.choice import best
from harness.statistics.compare import VALIDATION
from harness.statistics.sides import Run, read_run, run_folders
from harness.studies import record
from harness.studies.step import STATE, Design, Method
from reports.blocks import (
    Block,
    Choice,
    Column,
    Cost,
    Material,
    Part,
    Row,
    Step,
    answered,
    only,
    questions_of,
    rho,
    some_verdict,
)
from reports.plots import maps, training

WHOLE = "all, side by side"
"""Name of the step that stands for the whole study: seconds on the clock, memory at one time."""


def design_of(path: Path) -> Design | None:
    """Return what the study in a folder compares; None where it is none, or nothing tells."""
    design = record.read(path)
    if design is None:
        return None
    runs = [run.folder for method in design.methods for run in method.runs]
    runs += [trial.folder for trial in design.trials if design.tuning]
    return design if any((path / folder / "run.json").exists() for folder in runs) else None


def collect(
    path: Path, design: Design, baseline: str | None, tasks: Sequence[str] | None = None
) -> Material:
    """Read a study.

    Args:
        path: Its folder.
        design: What it compares.
        baseline: Name of the method or run to which the others are compared, instead of its own.
        tasks: Those to report; None: all but those on which something was chosen.

    Raises:
        UserError: A file is broken, nothing was graded, no row is called so, or no run answered one
            of the tasks.
    """
    parts = _parts(path, design)
    if tasks is not None:
        answered((row for part in parts for row in (*part.rows, *part.sweep)), tasks)
        parts = tuple(_narrowed(part, tasks) for part in parts)
    first: dict[str, Part] = {}
    for part in parts:
        first.setdefault(part.family, part)
    blocks = tuple(_block(part, baseline or design.baseline) for part in first.values())
    if baseline and not any(block.baseline for block in blocks):
        there = dict.fromkeys(row.method for block in blocks for row in block.rows)
        raise UserError(f"no row is the run {baseline!r}: there are {', '.join(there)}")
    if parts or not design.trials:
        some_verdict(row.run for block in blocks for row in (*block.rows, *block.sweep))
    steps = _steps(path / STATE)
    notes = [] if steps else [f"No cost of the steps: {path / STATE} has no file."]
    seeds = sorted({part.seed for part in parts})
    if len(seeds) > 1:
        notes.append(
            f"Tables, plots and questions are of seed {seeds[0]}, one of {len(seeds)} training "
            "seeds."
        )
    planned = dict.fromkeys(run.family for method in design.methods for run in method.runs)
    notes += [f"{title_of(one, design)} has no run yet." for one in planned if one not in first]
    return Material(
        title=path.resolve().name,
        blocks=blocks,
        notes=tuple(notes),
        study=design,
        folder=path,
        parts=parts,
        steps=steps,
    )


def title_of(family: str, design: Design) -> str:
    """Return the name of a family in tables."""
    return {**{one.model_type: one.name for one in FAMILIES}, **design.titles}.get(family, family)


# Parts


def _parts(path: Path, design: Design) -> tuple[Part, ...]:
    """Those that have runs, by seed, the families in the order of the study."""
    places: dict[tuple[int, str], dict[str, list[Path]]] = {}
    for method in design.methods:
        for run in method.runs:
            mine = places.setdefault((run.seed, run.family), {})
            mine.setdefault(method.name, []).append(path / run.folder)
    order = list(dict.fromkeys(family for _, family in places))
    named = {folder for own in places.values() for folders in own.values() for folder in folders}
    named |= {path / trial.folder for trial in design.trials}
    found = []
    for seed, family in sorted(places, key=lambda place: (place[0], order.index(place[1]))):
        folders = places[seed, family]
        beside = dict.fromkeys(folder.parent for own in folders.values() for folder in own)
        strangers = [f for place in beside for f in run_folders(place) if f not in named]
        part = _part(seed, family, design, folders, strangers)
        if part.rows or part.sweep:
            found.append(part)
    return tuple(found)


def _part(
    seed: int,
    family: str,
    design: Design,
    folders: Mapping[str, Sequence[Path]],
    strangers: Iterable[Path],
) -> Part:
    there = [f for own in folders.values() for f in own if (f / "run.json").exists()]
    runs = {folder: read_run(folder) for folder in dict.fromkeys((*there, *strangers))}
    validation = {method.chosen_on for method in design.methods}
    notes: list[str] = []
    rows: list[Row] = []
    choice: Choice | None = None
    for method in (one for one in design.methods if one.name in folders and not one.sweep):
        own = [runs[folder] for folder in folders[method.name] if folder in runs]
        if not own and method.name == "vlm" and (run := _unmerged(runs.values())):
            # α = 0 is the VLM byte for byte.
            notes.append(
                f"{method.label} has no run of its own; {run.name} holds the same weights."
            )
            rows.append(Row(method.label, run, 0.0, method.name))
        elif not own:
            notes.append(f"{method.label} was not run.")
        elif not method.chosen_on:
            rows.append(Row(method.label, own[0], _alpha(own[0]), method.name))
        elif chosen := _chosen(method, own, notes):
            run, found = chosen
            how = f"α = {found.alpha:g}" if found else run.name
            rows.append(Row(f"{method.label} ({how})", run, _alpha(run), method.name))
            choice = choice or found
    rows += [Row(runs[f].name, runs[f], _alpha(runs[f]), runs[f].name) for f in strangers]
    place = next(iter(folders.values()))[0].parents[1]
    return Part(
        family=family,
        title=title_of(family, design),
        seed=seed,
        folder=place,
        columns=_columns(
            runs.values(), lambda task: task not in validation and not task.endswith(VALIDATION)
        ),
        rows=tuple(rows),
        sweep=_sweep(runs.values(), vlm=next((r.run for r in rows if r.method == "vlm"), None)),
        choice=choice,
        distances=maps.read(place),
        notes=tuple(notes),
    )


def _narrowed(part: Part, tasks: Sequence[str]) -> Part:
    rows = tuple(only(row, tasks) for row in part.rows)
    sweep = tuple(only(row, tasks) for row in part.sweep)
    columns = _columns((row.run for row in (*rows, *sweep)), lambda task: True)
    columns = tuple(sorted(columns, key=lambda column: tasks.index(column.task)))
    return replace(part, rows=rows, sweep=sweep, columns=columns)


def _columns(runs: Iterable[Run], wanted: Callable[[str], bool]) -> tuple[Column, ...]:
    """The groups of one task beyond `all`; of several tasks, each as a whole."""
    keys = dict.fromkeys(key for run in runs for key in run.cells if wanted(key[0]))
    if len({task for task, _ in keys}) > 1:
        return tuple(Column(task, task, group) for task, group in keys if group == "all")
    groups = [Column(group, task, group) for task, group in keys if group != "all"]
    return tuple(groups or [Column(group, task, group) for task, group in keys])


def _chosen(
    method: Method, runs: Sequence[Run], notes: list[str]
) -> tuple[Run, Choice | None] | None:
    """Choose by the mean over the columns of the method's validation task.

    Args:
        method: With `chosen_on`.
        runs: Its runs, in the order of the record.
        notes: Get a sentence on what stands in the way, and on runs that are no candidates.

    Returns:
        The run, and among merges how their shares did; None where nothing can choose.
    """
    columns = _columns(runs, lambda task: task == method.chosen_on)
    if not columns:
        notes.append(
            f"There is no {method.label}: no run has answers to {method.chosen_on}, and choosing "
            "on the test questions would flatter it."
        )
        return None
    asked = [max(run.cells[c.key].n for run in runs if c.key in run.cells) for c in columns]
    scored = {}
    for place, run in enumerate(runs):
        if [run.cells[c.key].n for c in columns if c.key in run.cells] == asked:
            verdicts = [run.verdicts[column.key] for column in columns]
            scored[place] = scores.cell(run.name, (method.chosen_on, "mean over groups"), *verdicts)
        else:
            notes.append(f"{run.name} is no candidate: its validation answers are incomplete.")
    kept = best({place: cell.score for place, cell in scored.items()})
    shares = {place: share for place in scored if (share := _alpha(runs[place])) is not None}
    if len(shares) < len(scored):
        return runs[kept], None
    score, candidates = scored[kept], tuple(shares.values())
    return runs[kept], Choice(method.chosen_on, shares[kept], score, candidates)


def _sweep(runs: Collection[Run], vlm: Run | None) -> tuple[Row, ...]:
    """The linear merges of the VLM by growing α; at α = 0 itself, where no merge is."""
    points: dict[float, Row] = {}
    for alpha, run in _merges(runs, vlm):
        row = Row(f"merge α = {alpha:g}", run, alpha)
        if abs(rho(row) - alpha) > 0.02 * alpha:
            row = replace(row, label=f"{row.label}, ρ = {rho(row):.2g}")
        points.setdefault(alpha, row)
    if points and vlm:
        points.setdefault(0.0, Row("merge α = 0", vlm, 0.0))
    return tuple(points[alpha] for alpha in sorted(points))


def _unmerged(runs: Collection[Run]) -> Run | None:
    return next((run for alpha, run in _merges(runs, None) if alpha == 0), None)


def _merges(runs: Collection[Run], vlm: Run | None) -> Iterator[tuple[float, Run]]:
    """Linear merges with their α; none of what another run holds, as SFT, then merge is."""
    others = {run.card.fingerprint for run in runs if run is not vlm and _alpha(run) is None}
    for run in runs:
        alpha, made = _alpha(run), run.card.made
        if alpha is None or not made:
            continue
        if not any(one.role == "vlm" and one.fingerprint in others for one in made.parents):
            yield alpha, run


def _alpha(run: Run) -> float | None:
    """Share of the reasoner if the run is of a linear merge with one, the same in all layers."""
    made = run.card.made
    if not made or made.method != "merge" or made.settings.get("method") != "linear":
        return None
    if made.settings.get("by_layer") or {one.role for one in made.parents} & {"other", "prior"}:
        return None
    where = f"{run.folder}/run.json: made.settings.alpha"
    return as_kind(made.settings.get("alpha"), float | None, where)


# Blocks


def _block(part: Part, baseline: str) -> Block:
    runs = {row.run.folder: row.run for row in (*part.rows, *part.sweep)}
    named = (row for row in part.rows if baseline in (row.method, row.run.name))
    base = next(named if baseline else iter(part.rows), None)
    made = {place.parent.name: place for place in sorted(part.folder.glob("*/made.json"))}
    # In the order of the table, so that each keeps its look in every plot.
    order = [name for name in made if name not in {run.name for run in runs.values()}]
    order += [row.run.name for row in part.rows]
    names = sorted(made, key=lambda name: order.index(name) if name in order else len(order))
    logs = [training.read(made[name].parent) for name in names]
    return Block(
        name=part.family,
        title=part.title,
        columns=part.columns,
        rows=part.rows,
        baseline=base,
        sweep=part.sweep,
        choice=part.choice,
        costs=tuple(_costs({name: made[name] for name in names}, runs.values())),
        questions=questions_of(runs.values()),
        notes=part.notes,
        logs=tuple(log for log in logs if log),
        distances=part.distances,
    )


def _costs(made: Mapping[str, Path], runs: Iterable[Run]) -> Iterator[Cost]:
    """Of every checkpoint of a family, asked or not."""
    asked = {run.name: run for run in runs}
    for name, place in made.items():
        asking = asked[name].card.processor_seconds or None if name in asked else None
        yield Cost(name, read_made(place.parent), asking)
    for name, run in asked.items():
        if name not in made:
            yield Cost(name, run.card.made, run.card.processor_seconds or None)


def _steps(folder: Path) -> tuple[Step, ...]:
    """The steps in the order in which they started, then the study as a whole."""
    found = []
    for file in folder.glob("*.json"):
        content = read_json(file)
        if "seconds" in content:  # other files there are the scheduler's own
            name = WHOLE if file.stem == "study" else file.stem
            found.append(as_record(Step, {"name": name} | content, file, part=True))
    return tuple(sorted(found, key=lambda step: (step.name == WHOLE, step.started, step.name)))
