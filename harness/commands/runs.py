"""`driftbench runs`: what is on disk."""

import datetime
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument

from common.errors import UserError
from common.progress import working
from common.terminal import print_table
from common.text import percent, printable


def runs(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to look, at any depth.")] = Path(
        "runs"
    ),
) -> None:
    """List the runs on disk."""
    from harness.runs.folder import read_card, read_cells

    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name the one that holds the runs")
    rows: list[tuple[str, ...]] = []
    broken = []
    read = []
    with working(f"looking into {folder}"):
        for path in _cards(folder):
            try:
                read.append((path, read_card(path.parent), read_cells(path.parent)))
            except UserError as error:
                broken.append(str(error))
    for path, card, cells in read:
        scores = {cell.task: percent(cell.score) for cell in cells if cell.group == "all"}
        name = str(path.parent.relative_to(folder)) if path.parent != folder else card.name
        when = datetime.datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
        finished = "yes" if card.finished else "no"
        for place, task in enumerate(card.tasks):
            head = [name, Path(card.checkpoint).name] if place == 0 else ["", ""]
            tail = [finished, when] if place == 0 else ["", ""]
            rows.append((*head, task.name, f"{task.n:,}", scores.get(task.name, "–"), *tail))
    if not rows and not broken:
        raise UserError(f"{folder} holds no run: `driftbench eval` writes them")
    heads = ("run", "checkpoint", "task", "n", "score", "finished", "written")
    print_table(heads, rows, "lllrrll")
    for sentence in broken:
        print(printable(sentence), file=sys.stderr)


def _cards(folder: Path) -> list[Path]:
    from harness.runs.folder import SCORED

    found = folder.rglob("run.json")
    return sorted(path for path in found if path.parent.parent.name != SCORED)
