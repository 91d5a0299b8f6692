"""Merge degradation: accuracy against how far a merge went, perception and reasoning apart."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from harness.runs.schema import Cell
from reports import published
from reports.blocks import Block, Column, Row, rho
from reports.plots import style as plots
from reports.plots.style import GREY, INCHES, INK, Plot, Style

SEEING = ("pope", "hallusionbench", "realworldqa", "mme", "mmstar")
"""Tasks that ask what is to be seen, besides groups named perception."""

CLOSE = 0.07
"""Share of the axis nearer than which two places cannot both be named."""


def drawable(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks with a sweep of at least two merges."""
    return [block for block in blocks if len(block.sweep) > 1]


def together(blocks: Sequence[Block]) -> Plot:
    """All families in one figure, one under the other, for print."""
    return Plot(
        "merge_degradation",
        "What merging does",
        "",
        partial(_figure, blocks, plots.styles(_titles(blocks)), published_behind=False),
    )


def single(block: Block, blocks: Sequence[Block]) -> Plot:
    """One family, with published sweeps behind; groups look the same in every family."""
    return Plot(
        f"merge_degradation_{plots.file_name(block.name)}",
        block.title,
        caption(block),
        partial(_figure, [block], plots.styles(_titles(blocks)), published_behind=True),
        block.title,
    )


def caption(block: Block) -> str:
    """Say whose the grey lines are."""
    lines = [line for _, columns in parts(block) for line in behind(block, columns)]
    if not lines:
        return ""
    named = dict.fromkeys(f"{line.vlm} on {line.task}" for line in lines)
    sources = ", ".join(dict.fromkeys(line.source for line in lines))
    return f"Grey: published merges, {'; '.join(named)} ({sources})."


def parts(block: Block) -> list[tuple[str, list[Column]]]:
    """The columns that ask to see and those that ask to reason, each where there are any."""
    seeing = [c for c in block.columns if "perception" in c.title or c.task in SEEING]
    rest = [column for column in block.columns if column not in seeing]
    if not seeing:
        return [("", rest)]
    return [(name, part) for name, part in (("perception", seeing), ("reasoning", rest)) if part]


def behind(block: Block, columns: Sequence[Column]) -> list[published.Line]:
    """Published sweeps of the family on the same tasks."""
    return published.sweeps(block.name, block.title, [column.task for column in columns])


def _titles(blocks: Sequence[Block]) -> list[str]:
    return list(dict.fromkeys(column.title for block in blocks for column in block.columns))


def _figure(blocks: Sequence[Block], style: dict[str, Style], published_behind: bool) -> Any:
    from matplotlib.figure import Figure

    rows = [(block, name, columns) for block in blocks for name, columns in parts(block)]
    figure = Figure(figsize=(INCHES, 0.55 + 1.25 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=len(blocks) == 1, squeeze=False)[:, 0]
    for i, (axis, (block, name, columns)) in enumerate(zip(axes, rows, strict=True)):
        if published_behind:
            _behind(axis, behind(block, columns), max(map(rho, block.sweep)))
        _panel(axis, block, columns, style)
        last = i + 1 == len(rows) or rows[i + 1][0] is not block
        first = not i or rows[i - 1][0] is not block
        axis.tick_params(labelbottom=last)
        axis.set_ylabel(f"{name}\n(%)" if name else "accuracy (%)")
        if first:
            if len(blocks) > 1:
                plots.head(axis, block.title)
            if block.choice:
                best = f"best on validation: α = {block.choice.alpha:g}"
                axis.set_title(best, loc="right", fontsize=6)
    axes[-1].set_xlabel("share α of the reasoner, at the ρ that it reached")
    used = {column.title: style[column.title] for _, _, columns in rows for column in columns}
    handles, labels = _handles(used)
    figure.legend(handles, labels, loc="outside upper center", ncols=2, handlelength=3.2)
    return figure


def _behind(axis: Any, lines: Sequence[published.Line], right: float) -> None:
    named: list[float] = []
    for known in lines:
        points = [(x, y) for x, y in known.points if x <= right]
        axis.plot(*zip(*points, strict=True), color=GREY, linewidth=0.9, zorder=1)
        x, y = points[-1]
        # Two names on top of each other could not be read.
        if all(abs(y - other) > 9 for other in named):
            named.append(y)
            text = plots.plain(f"{known.task}, {known.vlm}", 34)
            axis.text(x + 0.01 * right, y, text, fontsize=5.5, color=GREY, va="center", zorder=1)


def _panel(axis: Any, block: Block, columns: Sequence[Column], style: dict[str, Style]) -> None:
    right = max(map(rho, block.sweep))
    trained = _trained(block, right)
    for i, column in enumerate(columns):
        look = style[column.title]
        swept = [(rho(row), row.run.cells.get(column.key)) for row in block.sweep]
        x, y, error = _points(swept)
        if not x:
            continue
        low = [a - b for a, b in zip(y, error, strict=True)]
        high = [a + b for a, b in zip(y, error, strict=True)]
        axis.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0)
        axis.plot(x, y, **plots.line(look), zorder=3)
        # Side by side, so that groups with equal scores do not hide each other.
        aside = right * 0.028 * (i - (len(columns) - 1) / 2)
        x, y, error = _points(
            [(place + aside, row.run.cells.get(column.key)) for place, row in trained]
        )
        axis.errorbar(x, y, error, **plots.dot(look), zorder=4, clip_on=False)
    _frame(axis, block, right, trained)


def _points(
    cells: Iterable[tuple[float, Cell | None]],
) -> tuple[list[float], list[float], list[float]]:
    """Places, scores and standard errors in percent; an unknown error is drawn as none."""
    known = [(place, cell) for place, cell in cells if cell]
    errors = [100 * cell.stderr if math.isfinite(cell.stderr) else 0.0 for _, cell in known]
    return [place for place, _ in known], [100 * cell.score for _, cell in known], errors


def _frame(axis: Any, block: Block, right: float, trained: list[tuple[float, Row]]) -> None:
    ticks = _ticks(block, right)
    axis.set_xticks(
        [*ticks, *(place for place, _ in trained)],
        [*ticks.values(), *(_name(block, row) for _, row in trained)],
    )
    axis.set_xlim(-0.03 * right, right * (1.04 + 0.18 * len(trained)))
    axis.set_ylim(-2, 102)
    axis.set_yticks(range(0, 101, 25))
    axis.grid(axis="y", linewidth=0.4, alpha=0.25, color=INK)
    axis.axvline(0, linewidth=0.8, color=INK, alpha=0.6)
    if trained:
        axis.axvspan(right * 1.04, right * 2, color=INK, alpha=0.06, linewidth=0)
    if block.choice:
        chosen = next(rho(row) for row in block.sweep if row.alpha == block.choice.alpha)
        axis.axvline(chosen, linewidth=0.8, linestyle=(0, (1, 2)), color=INK)


def _ticks(block: Block, right: float) -> dict[float, str]:
    """Place → name of the merges: the ends and the chosen one first, others where there is room."""
    chosen = block.choice.alpha if block.choice else None
    order = sorted(
        block.sweep,
        key=lambda row: (
            row is not block.sweep[0],
            row is not block.sweep[-1],
            row.alpha != chosen,
        ),
    )
    kept: dict[float, str] = {}
    for row in order:
        place = rho(row)
        if all(abs(place - other) > CLOSE * right for other in kept):
            moved = place != row.alpha and abs(place - (row.alpha or 0.0)) > 0.02 * place
            kept[place] = f"{row.alpha:g}" + (f"\nρ {place:.2g}" if moved else "")
            if not row.alpha:
                kept[place] = "0\nVLM"
    return dict(sorted(kept.items()))


def _name(block: Block, row: Row) -> str:
    """A trained checkpoint, with the ρ that it reached where that was measured."""
    moves = [m for d in block.distances[:1] for m in d.displacements]
    reached = [move.rho for move in moves if move.checkpoint == row.run.name]
    return row.label + (f"\nρ {reached[0]:.2g}" if reached else "")


def _trained(block: Block, right: float) -> list[tuple[float, Row]]:
    """SFT and DRIFT, and where they stand to the right of the sweep."""
    rows = [row for row in block.rows if row.run.name in ("sft", "drift")]
    return [(right * (1.13 + 0.18 * i), row) for i, row in enumerate(rows)]


def _handles(style: dict[str, Style]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    drawn = [Line2D([], [], **plots.line(look)) for look in style.values()]
    return drawn, [plots.plain(name) for name in style]
