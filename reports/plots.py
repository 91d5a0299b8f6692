"""Merge degradation: a panel per family, accuracy against the share of the reasoner.

The figure is drawn at the width of a printed column, so that its text is read at its true size. The
same blocks give the same bytes.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records import Cell
from reports.collect import Block, Row

INCHES = 3.4
"""Width of the figure: one column of a two-column page."""

GROUND = "#ffffff"
INK = "#1a1a19"
"""Text and axes; the page replaces it by its own text colour."""


@dataclass(frozen=True)
class Style:
    """How a group of questions is drawn: told apart by colour, by dashes and by marker."""

    color: str
    """Of Okabe and Ito's palette, which stays apart under colour blindness."""
    dashes: tuple[float, ...]
    """On and off lengths in points; empty for a solid line."""
    marker: str


STYLES = (
    Style("#0072b2", (), "o"),
    Style("#d55e00", (4, 1.5), "s"),
    Style("#009e73", (1.2, 1.2), "^"),
    Style("#cc79a7", (5, 1.5, 1.2, 1.5), "D"),
    Style("#e69f00", (2.5, 1), "v"),
    Style("#56b4e9", (7, 2), "P"),
)


def styles(blocks: Sequence[Block]) -> dict[str, Style]:
    """Give each group of questions its style, the same in every panel."""
    titles = dict.fromkeys(column.title for block in blocks for column in block.columns)
    return {title: STYLES[i % len(STYLES)] for i, title in enumerate(titles)}


def drawable(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks with a sweep of at least two merges."""
    return [block for block in blocks if len(block.sweep) > 1]


def degradation(blocks: Sequence[Block], png: Path, svg: Path) -> None:
    """Draw a panel per block, one under the other, with a common legend.

    Args:
        blocks: As `drawable` returns them, at least one.
        png: File to write, 200 dots an inch.
        svg: File to write, text as outlines.
    """
    from matplotlib.figure import Figure

    with _settings("path"):
        figure = Figure(figsize=(INCHES, 0.5 + 1.75 * len(blocks)), layout="constrained")
        axes = figure.subplots(len(blocks), 1, sharex=True, squeeze=False)[:, 0]
        for axis, block in zip(axes, blocks, strict=True):
            _panel(axis, block, styles(blocks))
            axis.set_title(block.title, loc="left", fontweight="bold")
        axes[-1].set_xlabel("share of the reasoner (α)")
        figure.legend(
            *_handles(styles(blocks)), loc="outside upper center", ncols=2, handlelength=3.2
        )
        figure.savefig(png, dpi=200, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})


def inline(block: Block, blocks: Sequence[Block]) -> str:
    """Draw one panel as an SVG element for a page: its text and axes take the page's colour."""
    import io

    from matplotlib.figure import Figure

    with _settings("none"):
        figure = Figure(figsize=(2.9, 2.15), layout="constrained")
        axis = figure.subplots()
        _panel(axis, block, styles(blocks))
        axis.set_xlabel("share of the reasoner (α)")
        figure.patch.set_visible(False)
        axis.patch.set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue())


def _embedded(text: str) -> str:
    """The bare element: sized and coloured by the page, without inline style, which it forbids."""
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"\s*<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    # Names such as axes_1 would occur in every panel of the page; nothing refers to them.
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    return re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), text)


def _attributes(style: str) -> str:
    pairs = [part.split(":", 1) for part in style.split(";") if ":" in part]
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs)


def _panel(axis: Any, block: Block, style: dict[str, Style]) -> None:
    right = max(row.alpha or 0.0 for row in block.sweep)
    trained = _trained(block, right)
    for i, column in enumerate(block.columns):
        look = style[column.title]
        swept = [(row.alpha or 0.0, row.run.cells.get(column.key)) for row in block.sweep]
        x, y, error = _points(swept)
        if not x:
            continue
        low = [a - b for a, b in zip(y, error, strict=True)]
        high = [a + b for a, b in zip(y, error, strict=True)]
        axis.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0)
        axis.plot(x, y, **_line(look), zorder=3)
        # Side by side, so that groups with equal scores do not hide each other.
        aside = right * 0.028 * (i - (len(block.columns) - 1) / 2)
        x, y, error = _points(
            [(place + aside, row.run.cells.get(column.key)) for place, row in trained]
        )
        axis.errorbar(x, y, error, **_dot(look), zorder=4, clip_on=False)
    _frame(axis, block, right, trained)


def _points(
    cells: Iterable[tuple[float, Cell | None]],
) -> tuple[list[float], list[float], list[float]]:
    """Places, scores and standard errors in percent; an unknown error is drawn as none."""
    known = [(place, cell) for place, cell in cells if cell]
    errors = [100 * cell.stderr if math.isfinite(cell.stderr) else 0.0 for _, cell in known]
    return [place for place, _ in known], [100 * cell.score for _, cell in known], errors


def _frame(axis: Any, block: Block, right: float, trained: list[tuple[float, Row]]) -> None:
    alphas = [row.alpha or 0.0 for row in block.sweep]
    ticks = alphas[:: math.ceil(len(alphas) / 6)]
    names = [f"{tick:g}" if tick else "0\nVLM" for tick in ticks]
    axis.set_xticks(
        [*ticks, *(place for place, _ in trained)], [*names, *(row.label for _, row in trained)]
    )
    axis.set_xlim(-0.03 * right, right * (1.04 + 0.18 * len(trained)))
    axis.set_ylim(-2, 102)
    axis.set_yticks(range(0, 101, 25))
    axis.set_ylabel("accuracy (%)")
    axis.grid(axis="y", linewidth=0.4, alpha=0.25, color=INK)
    axis.axvline(0, linewidth=0.8, color=INK, alpha=0.6)
    if trained:
        axis.axvspan(right * 1.04, right * 2, color=INK, alpha=0.06, linewidth=0)
    if block.choice:
        alpha = block.choice.alpha
        axis.axvline(alpha, linewidth=0.8, linestyle=(0, (1, 2)), color=INK)
        axis.set_title(f"best on validation: α = {alpha:g}", loc="right", fontsize=6)


def _trained(block: Block, right: float) -> list[tuple[float, Row]]:
    """SFT and DRIFT, and where they stand to the right of the sweep."""
    rows = [row for row in block.rows if row.run.name in ("sft", "drift")]
    return [(right * (1.13 + 0.18 * i), row) for i, row in enumerate(rows)]


def _line(look: Style) -> dict[str, Any]:
    return {
        "color": look.color,
        "linestyle": (0, look.dashes) if look.dashes else "-",
        "linewidth": 1.2,
        "marker": look.marker,
        "markersize": 3,
        "markeredgewidth": 0,
    }


def _dot(look: Style) -> dict[str, Any]:
    return {
        "color": look.color,
        "linestyle": "none",
        "elinewidth": 0.7,
        "marker": look.marker,
        "markersize": 3.4,
        "markeredgewidth": 0,
    }


def _handles(style: dict[str, Style]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], **_line(look)) for look in style.values()], list(style)


@contextmanager
def _settings(fonttype: str) -> Iterator[None]:
    import matplotlib

    # A fixed salt for the names inside the SVG; without it every run writes other bytes.
    own: Any = {
        "svg.hashsalt": "driftbench",
        "svg.fonttype": fonttype,
        "font.family": "DejaVu Sans",
        "font.size": 7,
        "axes.titlesize": 7.5,
        "axes.labelsize": 7,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": GROUND,
        "axes.facecolor": GROUND,
        "savefig.facecolor": GROUND,
    }
    # The user's own matplotlibrc must not change the figure.
    defaults: Any = matplotlib.rcParamsDefault
    with matplotlib.rc_context({**defaults, **own}):
        yield
