"""`driftbench export`: a graded run in the form of another tool."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from common.command_line import placeable
from common.errors import UserError, near
from common.files import refuse_file, write_whole
from common.progress import working

FORMATS = ("lm-eval", "model-card", "hub", "inspect")


def export(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder.")],
    format: Annotated[str, Option(metavar="|".join(FORMATS), help="Whose form.")],
    out: Annotated[Path, Option(callback=placeable, help="File to write; for inspect, a folder.")],
    protocol: Annotated[str | None, Option(help="Whose verdicts; default: the run's.")] = None,
) -> None:
    """Write a graded run in the form of another tool.

    lm-eval: results.json. model-card: YAML for the head of a model card on the hub. hub: a file for
    a model's .eval_results on the hub. inspect: a log for Inspect View, one for each task.
    """
    from harness.export import hub, inspect_log, lm_eval
    from harness.statistics.sides import read_run

    if format not in FORMATS:
        raise UserError(
            f"there is no format {format!r}: {near(format, FORMATS)}the formats are "
            f"{', '.join(FORMATS)}"
        )
    graded = read_run(run, protocol=protocol)
    if not graded.verdicts:
        raise UserError(f"{run} has no verdict yet: `driftbench score {run}` makes them")
    card = graded.card
    if format != "inspect" and not card.finished:
        there = sum(len(graded.verdicts[task, "all"]) for task in graded.tasks)
        asked = sum(task.n for task in card.tasks) * card.sampling.n
        raise UserError(
            f"{run} is not finished, {there} of {asked} answers are graded, and {format} has no "
            "word for that: the same `driftbench eval` goes on, inspect's log says it"
        )
    if format == "inspect":
        refuse_file(out)
        out.mkdir(parents=True, exist_ok=True)
        for task in card.tasks:
            name = f"{card.name}_{task.name}.eval"  # a name on the hub has a slash
            path = out / name.replace("/", "_")
            with working(f"writing {path}"):
                inspect_log.write(graded, task, path)
            print(f"wrote {path}")
        return
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: expected a file")
    writers = {
        "lm-eval": lm_eval.results,
        "model-card": hub.model_card,
        "hub": hub.eval_results,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with working(f"writing {out}"):
        write_whole(out, writers[format](graded).encode())
    print(f"wrote {out}")
