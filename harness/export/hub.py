"""A graded run → what the Hugging Face hub shows beside a model.

Both forms are huggingface_hub's own: `model-index` metadata of a model card (`EvalResult`), and a
file for `.eval_results/` (`EvalResultEntry`). Scores are in percent.
"""

import math
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

import yaml

import tasks
from common.errors import UserError
from harness.runs.schema import ELSEWHERE, Cell, TaskCard
from harness.statistics.sides import Run

if TYPE_CHECKING:
    from tasks.data import Source


def model_card(run: Run) -> str:
    """Return metadata for the head of a model card, between its two lines of dashes.

    Raises:
        UserError: None of its tasks has a data set on the hub.
    """
    from huggingface_hub import EvalResult, ModelCardData

    found = [
        EvalResult(
            task_type="image-text-to-text",
            dataset_type=source.repo,
            dataset_name=task.name,
            dataset_config=source.config,
            dataset_split=source.split,
            dataset_revision=task.commit,
            metric_type="accuracy",
            metric_name=f"accuracy ({task.protocol})",
            metric_value=round(100 * cell.score, 2),
            metric_args=_counts(cell),
        )
        for task, cell, source in _on_the_hub(run)
    ]
    data = ModelCardData(model_name=run.card.name, eval_results=found)
    return f"---\n{data.to_yaml()}\n---\n"


def eval_results(run: Run) -> str:
    """Return a file for a model's `.eval_results/`.

    Raises:
        UserError: None of its tasks has a data set on the hub.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = [
        EvalResultEntry(
            dataset_id=source.repo,
            task_id=task.name,
            value=round(100 * cell.score, 2),
            dataset_revision=task.commit,
            notes=_notes(run, task, cell),
        )
        for task, cell, source in _on_the_hub(run)
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def _on_the_hub(run: Run) -> "Iterator[tuple[TaskCard, Cell, Source]]":
    graded = [task for task in run.card.tasks if (task.name, "all") in run.cells]
    known = [task for task in graded if task.name in tasks.names()]
    sources = [(task, tasks.load(task.name).source) for task in known]
    if not any(source for _, source in sources):
        raise UserError(
            f"{run.folder} has no graded task whose data set is on the hub: it has "
            f"{', '.join(task.name for task in graded) or 'none that is graded'}"
        )
    for task, source in sources:
        if source:
            yield task, run.cells[task.name, "all"], source


def _counts(cell: Cell) -> dict[str, float]:
    """What a score hides; its error is left out where there is none."""
    error = {} if math.isnan(cell.stderr) else {"stderr": round(100 * cell.stderr, 2)}
    counts = {"unparsed": cell.unparsed, "truncated": cell.truncated, "errors": cell.error}
    return {**error, "n": cell.n, **counts}


def _notes(run: Run, task: TaskCard, cell: Cell) -> str:
    card, counts = run.card, _counts(cell)
    error = f" ± {counts['stderr']}" if "stderr" in counts else ""
    sampling = card.sampling
    drawn = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"
    asked = f"{card.engine} {card.engine_version}, {drawn}, at most {task.max_tokens} tokens"
    return (
        f"driftbench {version('driftbench')}, protocol {task.protocol}, task version "
        f"{task.version}: accuracy in percent{error} over {cell.n} questions, {cell.unparsed} "
        f"unparsed, {cell.truncated} truncated, {cell.error} errors; "
        + ("answers that another tool collected" if card.engine == ELSEWHERE else asked)
    )
