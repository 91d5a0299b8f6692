"""The door: the command line, and the public Python API.

    import driftbench

    results = driftbench.load("runs/sft", "runs/drift")   # or a study's folder
    results.cells, results.answers, results.costs         # pandas DataFrames
    driftbench.compare("runs/sft", "runs/drift")          # as `driftbench compare` has it
    driftbench.evaluate("path/or/hub-id", tasks="mathvista", out="runs/mine")

What is bad about the input is told by a `UserError`, in one sentence.
"""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    import pandas

    from driftbench.results import Results

__all__ = ["UserError", "compare", "evaluate", "load"]


def load(*paths: str | Path, baseline: str | None = None) -> "Results":
    """Read a study, or runs, as `driftbench report` does.

    Args:
        paths: A study's folder; or run folders, or folders of them.
        baseline: Name of the run to compare with; None: that of the study, else the first.

    Raises:
        UserError: There is nothing to read, or a file is broken.
    """
    from driftbench.results import Results
    from harness.commands import as_typed
    from reports.cli import report
    from reports.load import collect

    if not paths:
        raise UserError("load() was given no path: expected a study's folder, or run folders")
    given = as_typed.checked(as_typed.context_of(report), {"baseline": baseline})
    return Results(collect(_paths(paths, "load()"), **given))


def compare(
    *runs: str | Path,
    baseline: str | None = None,
    tasks: str | Sequence[str] | None = None,
    groups: bool = False,
    metric: str = "mean",
    protocol: str | None = None,
    **methods: str | Path | Sequence[str | Path],
) -> "pandas.DataFrame":
    """Compare runs with a baseline: the numbers of `driftbench compare`.

    Args:
        runs: Run folders, or folders of them.
        baseline: Name of the side that the others are compared with; None: the first.
        tasks: Those to compare; None: all but validation splits.
        groups: Compare the mean over tasks and the groups of each too.
        metric: `mean`, `maj` or `pass@K`, of several answers to a question.
        protocol: Whose verdicts; None: the run's own.
        methods: Name → run folders, one for each training seed, compared as one side.

    Returns:
        A row a difference; the fields are those of `harness.statistics.compare.Difference`. What
        the reader has to know besides is in `attrs["notes"]`.

    Raises:
        UserError: The runs cannot be compared.
    """
    import dataclasses

    import pandas

    from drift.options import words
    from harness.commands import as_typed
    from harness.commands.compare import compare as command
    from harness.statistics import compare as comparison
    from harness.statistics.sides import sides_of

    given = {"baseline": baseline, "tasks": tasks, "groups": groups, "metric": metric}
    taken = as_typed.checked(as_typed.context_of(command), given | {"protocol": protocol})
    wanted = words(taken.pop("tasks")) if tasks is not None else None
    if wanted == ():
        raise UserError("tasks names none: expected those to compare, or None for all")
    named: list[tuple[str | None, list[Path]]] = [(None, _paths(runs, "compare()"))]
    named += [(name, _paths(paths, name)) for name, paths in methods.items()]
    sides = sides_of(named, taken.pop("protocol", None))
    if len(sides) < 2:
        raise UserError(f"compare() was given {len(sides)} sides: it takes two or more")
    found = comparison.compare(sides, tasks=wanted, **taken)
    names = [field.name for field in dataclasses.fields(comparison.Difference)]
    frame = pandas.DataFrame(map(dataclasses.asdict, found.differences), columns=names)
    frame.attrs["notes"] = list(found.notes)
    return frame


def evaluate(
    *checkpoints: str | Path, tasks: str | Sequence[str], out: str | Path, **options: Any
) -> "Results":
    """Ask checkpoints the questions of tasks, and grade the answers, as `driftbench eval` does.

    Args:
        checkpoints: Folders or hub ids, or names that are served.
        tasks: Benchmarks, or groups of them.
        out: Run folder; of several checkpoints, one for each in it. Part of this run in it is
            completed.
        options: Any other option of `driftbench eval`, with `_` for `-`.

    Raises:
        UserError: As the command would say.
    """
    from harness.commands import as_typed
    from harness.commands.evaluate import evaluate as command

    context = as_typed.context_of(command)
    words = _places(checkpoints, "evaluate()")
    as_typed.parse(context, words, {**options, "tasks": tasks, "out": out})
    if context.params["data_parallel"] > 1:
        raise UserError(
            "data_parallel starts the command line anew in each process: use `driftbench eval "
            "--data-parallel`, and load() what it writes"
        )
    if context.params["dry_run"]:
        raise UserError("dry_run leaves nothing to load: use `driftbench eval --dry-run`")
    context.command.invoke(context)
    return load(context.params["out"])


def _paths(given: Any, whose: str) -> list[Path]:
    return [Path(place) for place in _places(given, whose)]


def _places(given: Any, whose: str) -> list[str]:
    """Return one place, or several, as a list of texts."""
    from harness.commands.as_typed import each

    places = each(given)
    for place in places:
        if not isinstance(place, str | PathLike):
            raise UserError(f"{whose} was given {place!r} for a path: expected text or a Path")
    return [fspath(place) for place in places]
