"""Cost against score: what each checkpoint took to make, and which are not beaten on both."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from common.provenance import cost_of
from harness.statistics.compare import MEAN
from reports.blocks import Block, Row
from reports.plots import style
from reports.plots.style import INCHES, INK, Plot, Style
from reports.tables import Table, overall, shown


@dataclass(frozen=True, kw_only=True)
class Point:
    """One checkpoint."""

    label: str
    cost: float
    """Device seconds of making it of the VLM and the reasoner, or of asking it; 0 of the VLM."""
    score: float
    """Percent."""
    stderr: float
    kind: str
    """`given`, `merge` or `trained`."""


GIVEN = ("vlm", "reasoner", "base")
"""Runs of what a study begins with: they cost it nothing."""


def points(table: Table) -> tuple[str, list[Point]]:
    """What is on the horizontal axis, and the points of a table, merges of its sweep included."""
    block = table.block
    # α = 0 is the VLM byte for byte: once is enough.
    swept = [row for row in block.sweep if row.alpha]
    rows = {row.run.name: row for row in (*swept, *block.rows)}
    making = [p for row in rows.values() if (p := _point(block, row, _making(block, row)))]
    if any(point.cost for point in making):
        return "making it (device-seconds)", making
    asking = [p for row in rows.values() if (p := _point(block, row, row.run.card.seconds or None))]
    return "asking it (seconds)", asking


def _point(block: Block, row: Row, cost: float | None) -> Point | None:
    cell = overall(block, row)
    if cost is None or cell is None:
        return None
    given = row.run.name in GIVEN or row.alpha == 0
    kind = "given" if given else "trained" if row.alpha is None else "merge"
    score, stderr = 100 * cell.score, 100 * cell.stderr
    return Point(label=row.label, cost=cost, score=score, stderr=stderr, kind=kind)


def _making(block: Block, row: Row) -> float | None:
    if row.run.name in GIVEN or row.alpha == 0:
        return 0.0
    made = next((cost.made for cost in block.costs if cost.name == row.run.name), None)
    spent = cost_of(made or row.run.card.made)
    return None if spent.seconds is None else spent.seconds * (spent.devices or 1)


def front(points: Sequence[Point]) -> list[Point]:
    """Those of which no other is as cheap and as good, and better in one; by growing cost."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if not found or point.score > found[-1].score:
            found.append(point)
    return found


def plot(table: Table) -> Plot | None:
    """Cost against score with the Pareto front; None with fewer than two points or no cost."""
    axis, found = points(table)
    if len(found) < 2 or not any(point.cost for point in found):
        return None
    block = table.block
    columns = shown(block)
    over = next((c.title for c in columns if c.group == MEAN), columns[0].task)
    text = (
        f"Accuracy ({over}) against the cost of {axis}, with one standard error. The line is the "
        "Pareto front: no other checkpoint is as cheap and as good. "
    )
    if any(not point.cost for point in found):
        text += (
            "What the study begins with stands at the left edge. A merge is shown at its own "
            "cost; choosing its α on validation questions takes the whole sweep."
        )
    name = f"cost_{style.file_name(block.name)}"
    return Plot(name, block.title, text.strip(), partial(_figure, axis, found))


def _figure(label: str, found: Sequence[Point]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCHES, 2.3), layout="constrained")
    axis = figure.subplots()
    paid = [point.cost for point in found if point.cost]
    left, right = min(paid) / 3, max(paid) * 2.2
    if left * 30 < right:
        axis.set_xscale("log")
    elif any(not point.cost for point in found):
        left = 0.0
    place = {point: max(point.cost, left) for point in found}
    best = front(found)
    x = [place[point] for point in best]
    y = [point.score for point in best]
    axis.step([*x, right], [*y, y[-1]], where="post", color=INK, linewidth=0.8, alpha=0.7)
    looks = dict(zip(("given", "trained", "merge"), style.STYLES, strict=False))
    for point in found:
        look = looks[point.kind]
        error = point.stderr if point.stderr == point.stderr else 0.0
        axis.errorbar(place[point], point.score, error, **style.dot(look), clip_on=False)
    axis.set_xlim(left, right)
    _name(axis, found, place, looks)
    kinds = {point.kind for point in found}
    names = {"given": "given", "trained": "trained", "merge": "merged, a point an α"}
    for kind in names if len(kinds) > 1 else ():
        if kind in kinds:
            axis.plot(
                [], [], label=names[kind], **(style.line(looks[kind]) | {"linestyle": "none"})
            )
    if len(kinds) > 1:
        figure.legend(loc="outside upper center", ncols=3, handletextpad=0.2)
    axis.margins(y=0.12)
    axis.set_xlabel(f"cost of {label}")
    axis.set_ylabel("accuracy (%)")
    axis.grid(axis="y", linewidth=0.4, alpha=0.25, color=INK)
    return figure


def _name(
    axis: Any, found: Sequence[Point], place: dict[Point, float], looks: dict[str, Style]
) -> None:
    """Names beside the points; of the merges only that of the chosen one."""
    right = axis.get_xlim()[1]
    for point in found:
        if point.kind == "merge" and not point.label.startswith("best"):
            continue
        late = place[point] > right / 4
        # Two names on top of each other could not be read.
        under = any(
            0 <= other.score - point.score < 3 and other is not point and other.kind == point.kind
            for other in found
        )
        axis.annotate(
            style.plain(point.label),
            (place[point], point.score),
            xytext=(-4 if late else 4, -8 if under else 3),
            ha="right" if late else "left",
            textcoords="offset points",
            fontsize=6,
            color=looks[point.kind].color,
        )
