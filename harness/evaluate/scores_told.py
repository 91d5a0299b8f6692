"""What a finished run tells the trackers that it is to report to."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from common import tracking
from harness.runs.folder import read_card, read_cells, read_summary


def tell(names: Sequence[str], folder: Path) -> None:
    """Tell trackers the scores of a run folder, if it is finished.

    Args:
        names: As `common.tracking.trackers` gives them.
        folder: The run folder.

    Raises:
        UserError: A tracker refuses.
    """
    if names and (card := read_card(folder)).finished:
        tracking.tell(names, folder, asdict(card), numbers(folder))


def numbers(folder: Path) -> dict[str, float]:
    """Return what is told of each task: its cell for all questions, and its further metrics.

    Scores are shares, 0 … 1, and counts those of `cells.json`; an unknown error is left out.
    """
    fields = ("score", "stderr", "n", "unparsed", "truncated", "error")
    found = {
        f"{cell.task}/{field}": getattr(cell, field)
        for cell in read_cells(folder)
        if cell.group == "all"
        for field in fields
    }
    for task, metrics in read_summary(folder).items():
        found |= {f"{task}/{metric}": value for metric, value in metrics.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}
