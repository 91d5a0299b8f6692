"""Published numbers (`published/*.csv`), and where they stand beside ours.

    results.csv      table,family,vlm,reasoner,data,label,method,task,score,source
    merge_sweep.csv  family,vlm,reasoner,alpha,task,score,source
    cost.csv         label,gpus,gpu,hours,samples,source

Scores are in percent. A task is ours, after a colon a group of it or a metric of its summary.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from common.text import (
    csv_text,
    in_markdown,
    latex_row,
    latex_table,
    markdown_table,
    percent,
    signed,
    with_error,
)
from harness.runs import folder
from harness.statistics.compare import Finding
from reports.blocks import Block, Row

FOLDER = Path(__file__).parent / "published"

SURE = 1.959964
"""Standard errors beyond which a difference is supported (two-sided, 5 %)."""

NOT_PERCENT = {"MME"}
"""Tasks whose score is a sum of points."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One published score of what one of our runs is."""

    run: str
    label: str
    """Of the published row."""
    task: str
    ours: float
    """0 … 1."""
    stderr: float
    """Of ours; nan where it is not known."""
    published: float
    difference: float
    """Ours less the published."""
    error: float
    """Of the difference: the published run, of as many questions, has the error of a share."""
    source: str

    @property
    def finding(self) -> Finding:
        """What the difference shows; it cannot be told where no error is known."""
        if not math.isfinite(self.error):
            return "cannot be told"
        return "inside the noise" if abs(self.difference) < SURE * self.error else "supported"


@dataclass(frozen=True)
class Line:
    """A published sweep of merges on one task."""

    vlm: str
    task: str
    points: tuple[tuple[float, float], ...]
    """Share of the reasoner, score in percent."""
    source: str


@cache
def read(name: str) -> tuple[dict[str, str], ...]:
    """Read one of the files; lines that begin with # are remarks. Empty where it is missing."""
    path = FOLDER / name
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))


def beside(block: Block) -> list[Beside]:
    """Find the published scores of the runs of a block, in the order of its rows."""
    found: dict[tuple[str, str, str, float], Beside] = {}
    for row in block.rows:
        for entry in read("results.csv"):
            if entry["score"] and _same(block, row, entry):
                for each in _compared(row, entry):
                    # The same number stands in several tables of a paper.
                    key = (each.run, each.label, each.task, each.published)
                    found.setdefault(key, each)
    return list(found.values())


def _same(block: Block, row: Row, entry: dict[str, str]) -> bool:
    """In a study by family and run; elsewhere the run or its checkpoint bears a model's name."""
    if entry["family"] and entry["family"] == block.name:
        return bool(entry["method"]) and entry["method"] == row.run.name
    if entry["method"] not in ("", "vlm"):
        return False  # `DRIFT` is the name of a row, of no model
    names = (row.run.name, row.run.card.name, Path(row.run.card.checkpoint).name)
    return _bare(entry["label"]) in {_bare(name) for name in names}


def _bare(name: str) -> str:
    """`Qwen/Qwen2.5-VL-7B-Instruct` and `Qwen2.5-VL-7B` are the same."""
    last = re.sub(r"[-_](instruct|hf)$", "", name.rsplit("/", 1)[-1], flags=re.I)
    return re.sub(r"[^a-z0-9]+", "", last.lower())


def _compared(row: Row, entry: dict[str, str]) -> list[Beside]:
    task, _, part = entry["task"].partition(":")
    cell = row.run.cells.get((task, part.strip() or "all"))
    score, n = (cell.score, cell.n) if cell else (_metric(row, task, part.strip()), 0)
    if score is None or task in NOT_PERCENT:
        return []
    published = float(entry["score"]) / 100
    stderr = cell.stderr if cell else math.nan
    return [
        Beside(
            run=row.label,
            label=entry["label"],
            task=entry["task"],
            ours=score,
            stderr=stderr,
            published=published,
            difference=score - published,
            error=math.hypot(stderr, _share_error(published, n)),
            source=entry["source"],
        )
    ]


def _metric(row: Row, task: str, name: str) -> float | None:
    try:
        return folder.read_summary(row.run.folder).get(task, {}).get(name)
    except (OSError, ValueError):
        return None


def _share_error(share: float, n: int) -> float:
    return math.sqrt(max(0.0, share * (1 - share)) / (n - 1)) if n > 1 else math.nan


def sweeps(family: str, title: str, tasks: Sequence[str]) -> list[Line]:
    """Find the published merges of VLMs of one family, on some tasks, one line a VLM and task.

    Args:
        family: Name of the family's folder.
        title: Name of the family, with which the VLM's begins.
        tasks: As `merge_sweep.csv` names them.
    """
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    sources: dict[tuple[str, str], str] = {}
    for entry in read("merge_sweep.csv"):
        mine = entry["family"] == family or entry["vlm"].startswith(title)
        if mine and entry["score"] and entry["task"] in tasks and entry["task"] not in NOT_PERCENT:
            key = (entry["vlm"], entry["task"])
            lines.setdefault(key, []).append((float(entry["alpha"]), float(entry["score"])))
            sources[key] = entry["source"]
    return [
        Line(vlm, task, tuple(sorted(points)), sources[vlm, task])
        for (vlm, task), points in lines.items()
        if len(points) > 1
    ]


# As tables

HEADS = ("run", "published as", "task", "ours", "published", "difference", "", "source")
ALIGN = "lllrrrll"


def line(each: Beside) -> list[str]:
    """The cells of one line, in percent."""
    ours = with_error(each.ours, each.stderr)
    gap = f"{signed(each.difference)} ± {percent(each.error)}"
    published = percent(each.published)
    return [each.run, each.label, each.task, ours, published, gap, each.finding, each.source]


CAPTION = (
    "Published scores beside ours, in percent. The published runs give no errors: each is taken to "
    "have that of a share of as many questions, and the two to be independent, so that a "
    f"difference is supported from {SURE:.2f} of its standard errors."
)


def markdown(found: Sequence[Beside]) -> str:
    """Write the lines as a section of a Markdown document; nothing for none."""
    if not found:
        return ""
    rows = [list(map(in_markdown, line(each))) for each in found]
    return f"# Published beside ours\n\n{CAPTION}\n\n{markdown_table(HEADS, rows, ALIGN)}\n"


def latex(found: Sequence[Beside]) -> str:
    """Write the lines as one LaTeX table; nothing for none."""
    if not found:
        return ""
    rows = [latex_row(HEADS), r"\midrule", *(latex_row(line(each)) for each in found)]
    return latex_table(CAPTION, "published", ALIGN, rows)


def long_form(found: Sequence[Beside]) -> str:
    """Write the lines as CSV at full precision; what is not known is empty."""
    rows = [asdict(each) | {"finding": each.finding} for each in found]
    return csv_text([*Beside.__dataclass_fields__, "finding"], rows)
