"""Plots of what a study tried: score against step size, and against what is to be kept."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from reports.plots.style import GREY, INCHES, INK, STYLES, Plot, file_name, line, plain
from reports.study import Study
from reports.study_rows import Mean
from reports.study_tuning import STEP_SIZE, Setting

CURVES = "tuning_"
"""Begins the names of the plots of curves."""


def plots(study: Study) -> list[Plot]:
    """A plot of curves a family, and one of all settings; none where nothing was tried."""
    rule = study.tuning
    if rule is None or not study.settings:
        return []
    found = []
    for family in study.families:
        own = [one for one in study.settings if one.family == family.name]
        if any(STEP_SIZE in one.settings for one in own):
            found.append(
                Plot(
                    f"{CURVES}{file_name(family.name)}",
                    f"What was tried: {family.title}",
                    f"Score on {rule.group} of {rule.task} against step size, a panel a method and "
                    "a line for each of its other settings; grey, the same trials' score on "
                    f"{rule.keeps or 'it'}. The ring is the setting that was chosen.",
                    partial(_curves, own),
                )
            )
    found.append(
        Plot(
            "trade",
            f"{rule.group} against {rule.keeps}" if rule.keeps else rule.group,
            "Every setting of every method, means over the trials' seeds; the ring is the setting "
            f"that was chosen. Left of the dotted line more than {rule.points:g} points of "
            f"{rule.keeps} are lost.",
            partial(_trade, study),
        )
    )
    return found if rule.keeps else found[:-1]


def _curves(tried: Sequence[Setting]) -> Any:
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(one.method for one in tried if STEP_SIZE in one.settings))
    columns = min(4, len(methods))
    rows = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(2 * INCHES, 0.4 + 1.45 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(methods) :]:
        axis.set_visible(False)
    for axis, method in zip(axes.flat, methods, strict=False):
        own = [one for one in tried if one.method == method and STEP_SIZE in one.settings]
        _curve(axis, own)
        axis.set_title(plain(own[0].label, 30), loc="left")
    axes[0][0].set_ylim(0, 103)
    sizes = sorted({_step_size(one) for one in tried if STEP_SIZE in one.settings})
    axes[0][0].set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes[0][0].set_xticks([], minor=True)
    for row in axes:
        row[0].set_ylabel("accuracy (%)")
    for place in range(len(methods)):
        if place + columns >= len(methods):
            axes.flat[place].set_xlabel("step size")
            axes.flat[place].tick_params(labelbottom=True)
    return figure


def _curve(axis: Any, tried: Sequence[Setting]) -> None:
    lines = list(dict.fromkeys(one.line for one in tried))
    axis.set_xscale("log")
    axis.grid(linewidth=0.4, alpha=0.25, color=INK)
    for name, look in zip(lines, (STYLES * len(lines)), strict=False):
        own = sorted((one for one in tried if one.line == name), key=_step_size)
        x = [_step_size(one) for one in own]
        kept = [100 * one.kept.mean if one.kept else math.nan for one in own]
        grey = line(look) | {"color": GREY, "linewidth": 0.7, "markersize": 2}
        axis.plot(x, kept, **grey)
        axis.plot(x, [100 * one.score.mean for one in own], label=plain(name, 24), **line(look))
    for one in (one for one in tried if one.chosen):
        axis.plot(_step_size(one), 100 * one.score.mean, **RING)
    if any(lines):
        axis.legend(loc="best", fontsize=5, handlelength=2, labelspacing=0.2)


RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 8,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 0.9,
    "linestyle": "none",
}


def _step_size(one: Setting) -> float:
    return float(one.settings[STEP_SIZE])


def _trade(study: Study) -> Any:
    from matplotlib.figure import Figure

    rule = study.tuning
    families = [f for f in study.families if any(s.family == f.name for s in study.settings)]
    figure = Figure(figsize=(2 * INCHES, 2.9), layout="constrained")
    axes = figure.subplots(1, len(families), sharex=True, sharey=True, squeeze=False)[0]
    looks = dots({one.method: one.label for one in study.settings})
    handles: dict[str, Any] = {}
    for axis, family in zip(axes, families, strict=True):
        own = [one for one in study.settings if one.family == family.name and one.kept]
        for one in own:
            (dot,) = axis.plot(_percent(one.kept), _percent(one.score), **looks[one.method])
            handles.setdefault(plain(one.label, 30), dot)
            if one.chosen:
                axis.plot(_percent(one.kept), _percent(one.score), **RING)
        before = [one for one in own if rule and one.method == rule.against]
        if rule and before:
            axis.axvline(
                _percent(before[0].kept) - rule.points, color=GREY, linewidth=0.8, linestyle=":"
            )
        axis.set_title(family.title, loc="left", fontweight="bold")
        axis.grid(linewidth=0.4, alpha=0.25, color=INK)
        axis.set_xlabel(f"{rule.keeps if rule else ''} (%)")
    axes[0].set_ylabel(f"{rule.group if rule else ''} (%)")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=6)
    return figure


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
