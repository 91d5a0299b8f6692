"""`driftbench rows`: the right answers of a run as training rows."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from common.command_line import placeable
from common.errors import UserError
from common.progress import working


def rows(
    run: Annotated[Path, Argument(metavar="RUN", help="Run folder, graded.")],
    out: Annotated[
        Path,
        Option(callback=placeable, help="JSONL file to write, as `train` takes it."),
    ],
    every: Annotated[
        bool, Option("--all", help="All different right answers to a question, not one.")
    ] = False,
    inline: Annotated[
        bool,
        Option(
            "--inline",
            help="Write thoughts into the answer, in <think> and </think>, for a chat template "
            "that writes none.",
        ),
    ] = False,
    protocol: Annotated[str | None, Option(help="Whose verdicts; default: the run's.")] = None,
) -> None:
    """Write the right answers of a run as training rows.

    This is rejection sampling: what was wrong, unparsed, cut at the limit or failed is left out and
    counted. Beside the rows, a note says whose they are and what sampling them cost.
    """
    from common.text import some
    from harness.export.rows import write
    from harness.statistics.sides import read_run

    if out.suffix != ".jsonl":
        raise UserError(f"--out {out} is no name of rows: expected one that ends in .jsonl")
    graded = read_run(run, protocol=protocol)
    with working(f"writing {out}"):
        written = write(graded, out, every=every, inline=inline)
    print(
        f"{out}: {written.rows} rows of {written.answers} answers, to {written.questions} of "
        f"{written.asked} questions"
    )
    for why, count in sorted(written.left_out.items()):
        print(f"  left out: {count} answers {why}")
    print(f"do not measure what learns from them on these questions ({some(graded.tasks)})")
