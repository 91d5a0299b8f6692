"""`driftbench reproduce`: a whole study, a part of it, or what it would take."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def reproduce(
    recipe: Annotated[str, Argument(help="pocket, paper, or a recipe file.")],
    out: Annotated[
        Path | None, Option(help="Default: runs/<recipe>, with --scale runs/<recipe>-<scale>.")
    ] = None,
    jobs: Annotated[int | None, Option(min=1, help="Steps at a time.")] = None,
    seeds: Annotated[
        int, Option(min=1, help="Make everything so often, from other random numbers.")
    ] = 1,
    controls: Annotated[
        bool, Option("--controls", help="Also the controls and ablations of the recipe.")
    ] = False,
    plan: Annotated[
        bool, Option("--plan", help="Only tell what the steps take; nothing is touched.")
    ] = False,
    only: Annotated[
        list[str] | None,
        Option(metavar="GLOB", help="Steps or stages of these names alone; may be repeated."),
    ] = None,
    start: Annotated[
        str | None,
        Option("--from", metavar="STEP", help="This step (or stage) and all that follows from it."),
    ] = None,
    gpus: Annotated[int, Option(min=1, help="GPUs to use.")] = 1,
    scale: Annotated[
        str | None,
        Option(metavar="NAME", help="The same steps on stand-ins: `pocket`, for paper."),
    ] = None,
) -> None:
    """Redo a whole study, end to end.

    The same command again skips the steps whose inputs are unchanged.
    """
    from harness.studies import plan as study_plan
    from harness.studies import recipe as study_recipe
    from harness.studies import runner as room

    study = study_recipe.load(recipe, seeds, controls, scale)
    room.check_gpus(study, gpus)
    chosen = study_plan.choose(study, only or [], start)
    if plan:
        study_plan.show(chosen, gpus)
        return
    name = Path(recipe).stem + (f"-{scale}" if scale else "")
    out = out or Path("runs") / name
    study_plan.check_reads(study, chosen, out)
    room.run(chosen, out, jobs, gpus)
