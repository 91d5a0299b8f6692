"""Plots of a study over seeds: its differences, score against displacement, each method by seed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from reports.plots import forest, study_frontier, study_tuning
from reports.plots.forest import Effect
from reports.plots.style import GREY, INCHES, INK, STYLES, Plot, Style, dot, head, in_lines, line
from reports.study import FamilyStudy, Study
from reports.study_rows import Mean
from reports.study_text import most_asked

ABREAST = 3
"""Families in one plot."""


def plots(study: Study) -> list[Plot]:
    """The plots that this study has something for."""
    found = _differences(study)
    for start in range(0, len(study.families), ABREAST):
        turn = f"_{start // ABREAST + 1}" if start else ""
        some = replace(study, families=study.families[start : start + ABREAST])
        found += (replace(plot, name=plot.name + turn) for plot in _of_families(some))
    return [*found, *_across(study), *study_tuning.plots(study)]


def _of_families(study: Study) -> list[Plot]:
    """Plots with a column a family."""
    found = []
    if any(family.sweep for family in study.families):
        found.append(
            Plot(
                "displacement",
                "Score against displacement",
                "How far toward the reasoner, and what it brings: linear merges (line; band: one "
                "standard error over seeds) and trained checkpoints, at the ρ that they reached.",
                partial(_displacement, study),
            )
        )
    if groups := most_asked(study)[:2]:
        found.append(
            Plot(
                "methods_by_seed",
                "Every method, seed by seed",
                "Points are seeds, bars the means with one standard error; dotted, what always the "
                f"same answer scores on {groups[0]}.",
                partial(_methods, study, groups),
            )
        )
        found += study_frontier.plots(study)
    return found


def _differences(study: Study) -> list[Plot]:
    """A forest of the primary claims' differences; of all where none is primary."""
    primary = [one for one in study.findings if one.claim.primary]
    shown = primary or study.findings
    if not shown:
        return []
    labels = {m.name: m.label for f in reversed(study.families) for m in f.methods}
    effects = [
        Effect(
            label=f"{_short(labels[one.claim.method])} − {_short(labels[one.claim.against])}",
            difference=one.found.difference,
            low=one.found.low,
            high=one.found.high,
            supported=one.verdict in ("supported", "contradicted"),
            group=one.claim.group,
            family=study.title(one.family),
        )
        for one in shown
    ]
    what = "primary claims" if primary else "claims, all of them exploratory"
    return [
        Plot(
            "differences",
            f"What helps: the differences of the {what}",
            "The first method less the second in points, mean over seeds with the 95 % interval of "
            "t over seeds. Filled: told apart from 0 by the exact test"
            + (f", corrected for all {study.declared}" if primary else "")
            + ", and above the floor.",
            partial(forest.figure, effects, "points"),
        )
    ]


def _short(label: str) -> str:
    """A label without what is said of it in brackets."""
    return label.partition(" (")[0]


def _displacement(study: Study) -> Any:
    from matplotlib.figure import Figure

    families = [family for family in study.families if family.sweep]
    groups = [g for g in families[0].groups if any(g in f.groups for f in families)]
    figure = Figure(figsize=(2 * INCHES, 0.5 + 1.25 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), len(families), sharex=True, sharey="row", squeeze=False)
    moved = dict.fromkeys(m.name for f in families for m in f.methods if m.rho)
    looks = dict(zip(moved, STYLES[1:], strict=False))
    handles: dict[str, Any] = {}
    for row, group in zip(axes, groups, strict=True):
        for axis, family in zip(row, families, strict=True):
            _panel(axis, family, group, looks, handles)
        row[0].set_ylabel(f"{group} (%)")
    for axis, family in zip(axes[0], families, strict=True):
        head(axis, family.title)
    for axis in axes[-1]:
        axis.set_xlabel("displacement ρ")
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3)
    return figure


def _panel(
    axis: Any,
    family: FamilyStudy,
    group: str,
    looks: dict[str, Style],
    handles: dict[str, Any],
) -> None:
    swept = family.sweep.items()
    points = [(family.reached[a], scores[group]) for a, scores in swept if group in scores]
    places = [place for place, _ in points]
    middle = [100 * mean.mean for _, mean in points]
    error = [0.0 if math.isnan(m.stderr) else 100 * m.stderr for _, m in points]
    (handles["merge"],) = axis.plot(places, middle, **line(STYLES[0]))
    low = [m - e for m, e in zip(middle, error, strict=True)]
    high = [m + e for m, e in zip(middle, error, strict=True)]
    axis.fill_between(places, low, high, color=STYLES[0].color, alpha=0.18, linewidth=0)
    if group in family.floors:
        axis.axhline(100 * family.floors[group], color=GREY, linewidth=0.7, linestyle=":")
    for name, look in looks.items():
        method = family.method(name)
        if method is None or method.rho is None or group not in method.scores:
            continue
        mean = method.scores[group]
        handles[method.label] = axis.errorbar(
            method.rho.mean,
            100 * mean.mean,
            xerr=_bar(method.rho, 1),
            yerr=_bar(mean, 100),
            **dot(look),
        )


def _bar(mean: Mean, factor: float) -> float:
    return 0.0 if math.isnan(mean.stderr) else factor * mean.stderr


def _methods(study: Study, groups: Sequence[str]) -> Any:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(m.name for f in study.families for m in f.methods))
    labels = {m.name: m.label for f in study.families for m in f.methods}
    names = [name for name in names if any(_shown(f, name, groups) for f in study.families)]
    figure = Figure(figsize=(2 * INCHES, 0.5 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(study.families), sharey=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axis, family in zip(axes, study.families, strict=True):
        for group, look, offset in zip(groups, STYLES, (-0.15, 0.15), strict=False):
            for place, name in enumerate(names):
                method = family.method(name)
                mean = method.scores.get(group) if method else None
                if mean is None:
                    continue
                height = place + offset
                (handles[group],) = axis.plot(
                    [100 * value for value in mean.values],
                    [height] * len(mean.values),
                    linestyle="none",
                    marker=look.marker,
                    markersize=2.6,
                    color=look.color,
                    alpha=0.5,
                    markeredgewidth=0,
                )
                axis.errorbar(
                    100 * mean.mean,
                    height,
                    xerr=_bar(mean, 100),
                    color=look.color,
                    marker="|",
                    markersize=6,
                    elinewidth=1.1,
                )
        if groups[0] in family.floors:
            axis.axvline(100 * family.floors[groups[0]], color=GREY, linewidth=0.7, linestyle=":")
        head(axis, family.title)
        axis.set_xlim(0, 103)
        axis.set_xlabel("accuracy (%)")
        for place in range(0, len(names), 2):
            axis.axhspan(place - 0.5, place + 0.5, color=INK, alpha=0.04, linewidth=0)
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2)
    axes[0].set_yticks(range(len(names)), [_short(labels[name]) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def _across(study: Study) -> list[Plot]:
    """Of many families what each of a few methods scores from one to the next."""
    groups = most_asked(study)[:2]
    names = dict.fromkeys(m.name for f in study.families for m in f.methods)
    shown = [name for name in names if any(_shown(f, name, groups[:1]) for f in study.families)]
    if len(study.families) <= ABREAST or not 0 < len(shown) <= len(STYLES):
        return []
    return [
        Plot(
            "across_families",
            "The same methods in every family",
            "Means over seeds with one standard error; dotted, what always the same answer scores.",
            partial(_rows_of_families, study, groups, shown),
        )
    ]


def _rows_of_families(study: Study, groups: Sequence[str], names: Sequence[str]) -> Any:
    from matplotlib.figure import Figure

    labels = {m.name: m.label for f in reversed(study.families) for m in f.methods}
    figure = Figure(figsize=(2 * INCHES, 0.7 + 0.5 * len(study.families)), layout="constrained")
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axis, group in zip(axes, groups, strict=True):
        for place, family in enumerate(study.families):
            for number, (name, look) in enumerate(zip(names, STYLES, strict=False)):
                method = family.method(name)
                mean = method.scores.get(group) if method else None
                if mean is not None:
                    handles[_short(labels[name])] = axis.errorbar(
                        100 * mean.mean,
                        place + 0.14 * (number - (len(names) - 1) / 2),
                        xerr=_bar(mean, 100),
                        **dot(look),
                    )
            if group in family.floors:
                floor = 100 * family.floors[group]
                axis.vlines(floor, place - 0.5, place + 0.5, GREY, ":", linewidth=0.7)
        for place in range(0, len(study.families), 2):
            axis.axhspan(place - 0.5, place + 0.5, color=INK, alpha=0.04, linewidth=0)
        head(axis, group)
        axis.set_xlim(0, 103)
        axis.set_xlabel("accuracy (%)")
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3)
    titles = [in_lines(family.title) for family in study.families]
    axes[0].set_yticks(range(len(titles)), titles)
    axes[0].set_ylim(len(titles) - 0.5, -0.5)
    return figure


def _shown(family: FamilyStudy, name: str, groups: Sequence[str]) -> bool:
    method = family.method(name)
    return method is not None and any(group in method.scores for group in groups)
