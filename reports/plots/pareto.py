"""Cost against score: what each checkpoint took to make, and which are not beaten on both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from common.provenance import Amount, cost_of, whole
from harness.statistics.compare import MEAN
from reports.blocks import Block, Row
from reports.plots import style
from reports.plots.names import Named, put
from reports.plots.style import INCHES, INK, Plot
from reports.tables import Table, overall, shown


@dataclass(frozen=True, kw_only=True)
class Point:
    """One checkpoint."""

    label: str
    cost: float
    """Of making it of what the study begins with, sampling included; 0 of the VLM."""
    score: float
    """Percent."""
    stderr: float
    kind: str
    """`given`, `merge` or `trained`."""


MOST_NAMES = 14
"""Beside the points of one plot."""

GIVEN = ("vlm", "reasoner", "base")
"""Runs of what a study begins with: they cost it nothing."""


@dataclass(frozen=True)
class Axis:
    """A cost that another machine, or a busy one, would find alike: no seconds on the clock."""

    name: str
    label: str
    amount: Amount


AXES = (
    Axis("flops", "computation of making it (FLOPs)", "flops"),
    Axis("processor", "processor seconds of making it", "processor_seconds"),
)


def points(table: Table, axis: Axis) -> list[Point]:
    """The points of a table, merges of its sweep included; a merge computes next to nothing."""
    block = table.block
    # α = 0 is the VLM byte for byte: once is enough.
    swept = [row for row in block.sweep if row.alpha]
    rows = {row.run.name: row for row in (*swept, *block.rows)}
    return [p for row in rows.values() if (p := _point(block, row, _making(block, row, axis)))]


def _point(block: Block, row: Row, cost: float | None) -> Point | None:
    cell = overall(block, row)
    if cost is None or cell is None:
        return None
    given = row.run.name in GIVEN or row.alpha == 0
    made = row.run.card.made
    kind = "given" if given else "merge" if made and made.method == "merge" else "trained"
    score, stderr = 100 * cell.score, 100 * cell.stderr
    return Point(label=row.label, cost=cost, score=score, stderr=stderr, kind=kind)


def _making(block: Block, row: Row, axis: Axis) -> float | None:
    if row.run.name in GIVEN or row.alpha == 0:
        return 0.0
    made = next((cost.made for cost in block.costs if cost.name == row.run.name), None)
    spent = cost_of(made or row.run.card.made)
    if row.alpha is not None:
        own = {"flops": spent.flops or 0.0, "processor_seconds": spent.processor_seconds or 0.0}
        spent = replace(spent, **own)  # type: ignore[arg-type]
    return whole(spent, axis.amount)


def front(points: Sequence[Point]) -> list[Point]:
    """Those of which no other is as cheap and as good, and better in one; by growing cost."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if not found or point.score > found[-1].score:
            found.append(point)
    return found


def stairs(points: Sequence[Point], left: float, right: float) -> list[tuple[float, float]]:
    """The corners of the front's line between two costs: each point's score up to the next one."""
    best = front(points)
    places = [*(max(point.cost, left) for point in best), right]
    steps = zip(best, pairwise(places), strict=True)
    return [(place, point.score) for point, ends in steps for place in ends]


def plots(tables: Sequence[Table]) -> list[list[Plot]]:
    """Cost against score with the Pareto front: of each table with costs, a plot an axis.

    The plots of one axis share their scales.
    """
    found: list[list[Plot]] = [[] for _ in tables]
    for axis in AXES:
        known = [points(table, axis) for table in tables]
        drawn = [own if len(own) > 1 and any(p.cost for p in own) else [] for own in known]
        every = [point for own in drawn for point in own]
        for plots, table, own in zip(found, tables, drawn, strict=True):
            if own:
                plots.append(_plot(table, axis, own, every))
    return found


def _plot(table: Table, axis: Axis, own: Sequence[Point], every: Sequence[Point]) -> Plot:
    block = table.block
    columns = shown(block)
    over = next((c.title for c in columns if c.group == MEAN), columns[0].task)
    text = (
        f"Accuracy ({over}) against the {axis.label}, with one standard error. The line is the "
        "Pareto front: no other checkpoint is as cheap and as good."
    )
    if any(not point.cost for point in own):
        text += (
            " What costs nothing stands at the left edge. A merge is shown at its own cost; "
            "choosing its α on validation questions takes the whole sweep."
        )
    if len(_nameable(own)) > MOST_NAMES:
        text += " Of so many checkpoints those on the line are named; the table of costs has all."
    name = f"cost_{axis.name}_{style.file_name(block.name)}"
    return Plot(name, block.title, text, partial(_figure, axis.label, own, every), block.title)


def _figure(label: str, found: Sequence[Point], every: Sequence[Point]) -> Any:
    """Draw some points on the scales of all."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(INCHES, 2.3), layout="constrained")
    axis = figure.subplots()
    paid = [point.cost for point in every if point.cost]
    left, right = min(paid) / 3, max(paid) * 1.1
    if left * 15 < right:
        axis.set_xscale("log")
        right *= 2
    elif any(not point.cost for point in every):
        left = 0.0
    place = {point: max(point.cost, left) for point in found}
    line = stairs(found, left, right)
    axis.plot(*zip(*line, strict=True), color=INK, linewidth=0.8, alpha=0.7)
    looks = dict(zip(("given", "trained", "merge"), style.STYLES, strict=False))
    for point in found:
        look = looks[point.kind]
        axis.errorbar(place[point], point.score, _error(point), **style.dot(look), clip_on=False)
    axis.set_xlim(left, right)
    if axis.get_xscale() == "log":
        style.log_ticks(axis.xaxis)
    else:
        axis.xaxis.set_major_formatter(EngFormatter())
    kinds = {point.kind for point in found}
    names = {"given": "given", "trained": "trained", "merge": "merged"}
    for kind in names if len(kinds) > 1 else ():
        if kind in kinds:
            axis.plot(
                [], [], label=names[kind], **(style.line(looks[kind]) | {"linestyle": "none"})
            )
    if len(kinds) > 1:
        figure.legend(loc="outside upper center", ncols=3, handletextpad=0.2)
    low = min(point.score - _error(point) for point in every)
    high = max(point.score + _error(point) for point in every)
    axis.set_ylim(low - 0.12 * (high - low) - 1, high + 0.12 * (high - low) + 1)
    axis.set_xlabel(label)
    axis.set_ylabel("accuracy (%)")
    axis.grid(axis="y", linewidth=0.4, alpha=0.25, color=INK)
    named = [
        Named(style.plain(p.label), place[p], p.score, looks[p.kind].color) for p in _named(found)
    ]
    put(axis, named, [(place[p], p.score, _error(p)) for p in found], line)
    return figure


def _nameable(found: Sequence[Point]) -> list[Point]:
    """All but merges that nothing chose."""
    return [p for p in found if p.kind != "merge" or p.label.startswith("best")]


def _named(found: Sequence[Point]) -> list[Point]:
    known, best = _nameable(found), front(found)
    return known if len(known) <= MOST_NAMES else [p for p in known if p in best]


def _error(point: Point) -> float:
    return point.stderr if point.stderr == point.stderr else 0.0
