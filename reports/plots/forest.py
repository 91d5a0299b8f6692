"""A forest plot: differences with their intervals, a column a family, a row of panels a group."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.statistics.compare import Difference
from reports.plots import style
from reports.plots.style import INCHES, INK, STYLES

LINE = 0.155
"""Inches from one difference to the next below it."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One difference."""

    label: str
    """What is compared: the same in every column."""
    difference: float
    """−1 … 1."""
    low: float
    """Low end of its interval; nan or infinite where nothing is known."""
    high: float
    supported: bool
    """Whether it is told apart from 0 after correction: its mark is filled."""
    group: str = ""
    """Of questions: has its own row of panels, with a scale of its own."""
    family: str = ""
    """Has its own column."""


def effect(one: Difference, *, label: str, group: str = "", family: str = "") -> Effect:
    """A difference of a comparison, as it is drawn."""
    supported = one.finding == "supported"
    ends = {"difference": one.difference, "low": one.low, "high": one.high}
    return Effect(label=label, group=group, family=family, supported=supported, **ends)


def figure(effects: Sequence[Effect], xlabel: str) -> Any:
    """Draw differences in points.

    What has no difference in a family leaves its place there empty. The panels of one row share
    their scale, so that lengths can be compared across families.

    Args:
        effects: At least one; groups, families and labels come in the order of their first effect.
        xlabel: What the points are, as `points above SFT`.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(one.family for one in effects))
    rows: dict[str, list[str]] = {}
    for one in effects:
        labels = rows.setdefault(one.group, [])
        if one.label not in labels:
            labels.append(one.label)
    heights = [len(labels) + bool(group) for group, labels in rows.items()]
    figure = Figure(figsize=(_width(len(families)), _height(heights, families)))
    figure.set_layout_engine("constrained", h_pad=0.02, hspace=0.02)
    axes = figure.subplots(
        len(rows),
        len(families),
        sharex="row",
        sharey="row",
        squeeze=False,
        height_ratios=heights,
    )
    for line, (group, labels) in zip(axes, rows.items(), strict=True):
        for axis, family in zip(line, families, strict=True):
            own = [one for one in effects if (one.group, one.family) == (group, family)]
            _panel(axis, own, labels)
        _names(line[0], group, labels)
    for axis, family in zip(axes[0], families, strict=True):
        style.head(axis, family)
    figure.supxlabel(style.plain(xlabel, 60), fontsize=7)
    return figure


def _width(columns: int) -> float:
    """A printed column for one family, the page's width for two or three, then wider."""
    return INCHES if columns < 2 else max(2 * INCHES, 1.5 + 1.6 * columns)


def _height(heights: Sequence[int], families: Sequence[str]) -> float:
    return 0.3 + 0.2 * any(families) + sum(0.28 + LINE * height for height in heights)


def _panel(axis: Any, effects: Sequence[Effect], labels: Sequence[str]) -> None:
    look = STYLES[0]
    axis.axvline(0, linewidth=0.7, color=INK, alpha=0.7)
    axis.grid(axis="x", linewidth=0.4, alpha=0.25, color=INK)
    axis.tick_params(axis="y", length=0)
    for one in effects:
        place = labels.index(one.label)
        ends = [end if math.isfinite(end) else one.difference for end in (one.low, one.high)]
        axis.plot([100 * end for end in ends], [place, place], color=look.color, linewidth=1)
        axis.plot(
            [100 * one.difference],
            [place],
            marker=look.marker,
            markersize=4,
            markerfacecolor=look.color if one.supported else style.GROUND,
            markeredgecolor=look.color,
            markeredgewidth=0.9,
        )


def _names(axis: Any, group: str, labels: Sequence[str]) -> None:
    """Names at the left, the group's above them as a head."""
    names = [style.plain(label, 34) for label in labels]
    head = [style.plain(group, 34)] if group else []
    axis.set_yticks(range(-len(head), len(labels)), [*head, *names])
    axis.set_ylim(len(labels) - 0.4, -0.6 - len(head))
    if head:
        axis.get_yticklabels()[0].set_fontweight("bold")
