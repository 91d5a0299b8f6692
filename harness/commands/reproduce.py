"""`driftbench reproduce`: a whole study, a part of it, or what it would take."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from common.command_line import completing, placeable
from common.files import refuse_below_file
from common.progress import working


def _studies() -> tuple[str, ...]:
    from harness.studies.load import BUNDLED

    return BUNDLED


Study = Annotated[
    str,
    Argument(
        help="pocket, paper, small, or a Python file that defines study().",
        autocompletion=completing(_studies),
    ),
]
Out = Annotated[
    Path | None,
    Option(callback=placeable, help="Default: runs/<study>, with --scale runs/<study>-<scale>."),
]
Seeds = Annotated[int, Option(min=1, help="Repeat the study with this many seeds.")]
Controls = Annotated[
    bool, Option("--controls", help="Also the controls and ablations of the study.")
]
Only = Annotated[
    list[str] | None,
    Option(metavar="GLOB", help="Steps or stages of these names alone; may be repeated."),
]
Start = Annotated[
    str | None,
    Option("--from", metavar="STEP", help="This step (or stage) and all that follows from it."),
]
Settings = Annotated[
    list[str] | None,
    Option("--set", metavar="NAME=VALUE", help="A setting of the study's own; may be repeated."),
]


def reproduce(
    study: Study,
    out: Out = None,
    jobs: Annotated[int | None, Option(min=1, help="Steps at a time.")] = None,
    seeds: Seeds = 1,
    controls: Controls = False,
    plan: Annotated[
        bool, Option("--plan", help="Only tell what the steps take; nothing is touched.")
    ] = False,
    only: Only = None,
    start: Start = None,
    gpus: Annotated[int, Option(min=1, help="GPUs to use.")] = 1,
    scale: Annotated[
        str | None,
        Option(metavar="NAME", help="The same steps on stand-ins: `pocket`, for paper and small."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Redo a whole study, end to end.

    The same command again skips the steps whose inputs are unchanged.
    """
    from harness.studies import load, runner
    from harness.studies import plan as study_plan

    with working(f"laying out the steps of {study}"):
        made = load.load(
            study, seeds=seeds, controls=controls, scale=scale, settings=settings or ()
        )
    runner.check_gpus(made, gpus)
    chosen = study_plan.choose(made, only or [], start)
    if plan:
        study_plan.show(made, chosen, gpus)
        return
    name = Path(study).stem + (f"-{scale}" if scale else "")
    out = out or Path("runs") / name
    refuse_below_file(out)
    study_plan.check_reads(made, chosen, out)
    runner.run(made, out, jobs, gpus, steps=chosen)
