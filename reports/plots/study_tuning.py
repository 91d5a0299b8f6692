"""Plots of what a study tried: score against step size, and against what is to be kept."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from harness.studies.step import Tuning
from reports.plots.style import GREY, INCHES, INK, STYLES, Plot, file_name, head, line, plain
from reports.study import Study
from reports.study_rows import Mean
from reports.study_tuning import STEP_SIZE, Setting

CURVES = "tuning_"
"""Begins the names of the plots of curves."""
ABREAST = 4
"""Names of lines, over a panel."""
LABEL_ROOM = 0.09
"""Share of a panel's width that a label takes which stands slanted."""


def plots(study: Study) -> list[Plot]:
    """A plot of curves a family, and one of all settings; none where nothing was tried."""
    rule = study.tuning
    if rule is None or not study.settings:
        return []
    found = []
    for family in dict.fromkeys((one.family, one.title) for one in study.settings):
        own = [one for one in study.settings if one.family == family[0]]
        if any(one.axis for one in own):
            found.append(
                Plot(
                    f"{CURVES}{file_name(family[0])}",
                    f"What was tried: {family[1]}",
                    f"Score on {rule.group} of {rule.task} against step size, or the method's own "
                    "setting, a panel a method and a line for each of its other settings, which "
                    f"stand beside it; grey, the same trials' score on {rule.keeps or 'it'}. The "
                    "ring is the setting that was chosen.",
                    partial(_curves, own),
                )
            )
    if rule.keeps:
        found.append(
            Plot(
                "trade",
                f"{rule.group} against {rule.keeps}",
                "Every method at the setting that was chosen for it, means over the trials' seeds; "
                "grey, at the others. Left of the dotted line more than "
                f"{rule.points:g} points of {rule.keeps} are lost.",
                partial(_trade, study.settings, rule),
            )
        )
    return found


def _curves(tried: Sequence[Setting]) -> Any:
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(one.method for one in tried if one.axis))
    columns = min(4, len(methods))
    rows = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(2 * INCHES, 0.2 + 1.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axis in axes.flat[len(methods) :]:
        axis.set_visible(False)
    for axis, method in zip(axes.flat, methods, strict=False):
        own = [one for one in tried if one.method == method and one.axis]
        _curve(axis, own)
        lines = {one.line for one in own if one.line}
        above = math.ceil(len(lines) / ABREAST) + 1 if lines else 0
        axis.set_title(plain(own[0].label, 30), loc="left", fontsize=6.5, pad=3 + 6 * above)
    axes[0][0].set_ylim(0, 103)
    for row in axes:
        row[0].set_ylabel("accuracy (%)")
    return figure


def _curve(axis: Any, tried: Sequence[Setting]) -> None:
    name = tried[0].axis
    places = sorted({_place(one) for one in tried})
    if name == STEP_SIZE:
        axis.set_xscale("log")
    told = _apart(places, math.log if name == STEP_SIZE else float)
    axis.set_xticks(told, [f"{place:g}" for place in told], rotation=60, fontsize=5)
    axis.set_xticks([], minor=True)
    axis.margins(x=0.12)
    axis.set_xlabel("step size" if name == STEP_SIZE else plain(name), fontsize=6)
    axis.grid(linewidth=0.4, alpha=0.25, color=INK)
    lines = list(dict.fromkeys(one.line for one in tried))
    title, names = _named(lines)
    for number, text in enumerate(lines):
        look = STYLES[number % len(STYLES)]
        own = sorted((one for one in tried if one.line == text), key=_place)
        x, y = [_place(one) for one in own], [_percent(one.score) for one in own]
        grey = line(look) | {"color": GREY, "linewidth": 0.7, "markersize": 2}
        axis.plot(x, [_percent(one.kept) for one in own], **grey)
        again = HOLLOW if number >= len(STYLES) else {}
        axis.plot(x, y, label=names[number], **(line(look) | again))
    if any(lines):
        axis.legend(
            title=title,
            loc="lower left",
            bbox_to_anchor=(-0.05, 1.0),
            alignment="left",
            ncols=ABREAST,
            fontsize=4.5,
            title_fontsize=4.5,
            borderpad=0,
            handlelength=1.6,
            handletextpad=0.4,
            columnspacing=0.8,
            labelspacing=0.2,
        ).set_in_layout(False)  # the title leaves its room
    for one in (one for one in tried if one.chosen):
        axis.plot(_place(one), _percent(one.score), **RING)


def _named(lines: Sequence[str]) -> tuple[str, list[str]]:
    """The setting by which lines differ, and its values; no setting and whole texts of several."""
    parts = [text.rpartition(" ") for text in lines]
    if len({setting for setting, _, _ in parts}) > 1 or any("," in one[0] for one in parts):
        return "", [plain(text, 18) for text in lines]
    return plain(parts[0][0]), [plain(value, 9) for _, _, value in parts]


def _apart(places: Sequence[float], scale: Callable[[float], float]) -> list[float]:
    """Those of growing places whose labels have room."""
    kept: list[float] = []
    for place in places:
        span = scale(places[-1]) - scale(places[0])
        if not kept or scale(place) - scale(kept[-1]) > LABEL_ROOM * span:
            kept.append(place)
    return kept


HOLLOW: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 0.7}
"""Of lines whose colour comes again."""
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 7,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 0.9,
    "linestyle": "none",
}


def _place(one: Setting) -> float:
    return float(one.settings[one.axis])


def _trade(tried: Sequence[Setting], rule: Tuning) -> Any:
    from matplotlib.figure import Figure

    families = dict.fromkeys((one.family, one.title) for one in tried if one.kept)
    looks = dots(dict.fromkeys(one.method for one in tried))
    columns = min(3, len(families))
    rows = math.ceil(len(families) / columns)
    height = 2.3 * rows + 0.12 * len(looks) / 3
    figure = Figure(figsize=(2 * INCHES, 0.4 + height), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(families) :]:
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis, (family, title) in zip(axes.flat, families, strict=False):
        for one in sorted((t for t in tried if t.family == family and t.kept), key=_chosen):
            look = looks[one.method] if one.chosen else OTHER
            (dot,) = axis.plot(_percent(one.kept), _percent(one.score), **look)
            if one.chosen:
                handles.setdefault(plain(one.label, 34), dot)
            if one.method == rule.against:
                lost = _percent(one.kept) - rule.points
                axis.axvline(lost, color=GREY, linewidth=0.8, linestyle=":")
        head(axis, title)
        axis.grid(linewidth=0.4, alpha=0.25, color=INK)
    for axis in axes[-1]:
        axis.set_xlabel(f"{rule.keeps} (%)")
    for row in axes:
        row[0].set_ylabel(f"{rule.group} (%)")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=6)
    return figure


OTHER: dict[str, Any] = {
    "marker": ".",
    "color": GREY,
    "markersize": 3,
    "markeredgewidth": 0,
    "alpha": 0.6,
    "linestyle": "none",
}


def _chosen(one: Setting) -> bool:
    return one.chosen


def dots(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give each method a mark of its own; beyond six colours come again, hollow and smaller."""
    found = {}
    for place, name in enumerate(methods):
        again, look = place // len(STYLES), STYLES[place % len(STYLES)]
        # Another marker with the same colour, so that three times six stay apart.
        marker = STYLES[(place + again) % len(STYLES)].marker
        found[name] = {
            "marker": marker,
            "color": look.color,
            "markerfacecolor": "none" if again % 2 else look.color,
            "markersize": 3.6 - 0.4 * again,
            "markeredgewidth": 0.7,
            "linestyle": "none",
        }
    return found


def _percent(mean: Mean | None) -> float:
    return 100 * mean.mean if mean else math.nan
