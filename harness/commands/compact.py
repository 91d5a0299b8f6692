"""`driftbench compact`: a run as one file for pandas."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from common.progress import working


def compact(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="Run folders.")],
) -> None:
    """Write the answers of runs, and their verdicts, for pandas.

    RUN/answers.parquet has a row for each answer; grading the run again removes it. The logs of
    shards become one; the run goes on, and is read, as before.
    """
    from harness.runs.export import compact as room
    from harness.runs.folder import read_card, without_pictures

    runs = without_pictures(runs)
    for run in runs:  # before anything is written
        read_card(run)
    for run in runs:
        with working(f"writing the answers of {run}"):
            path = room(run)
        print(path)
