"""What a study's methods cost and what they bring: score against computation, and the frontier."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from reports.plots import pareto
from reports.plots.study_tuning import dots
from reports.plots.style import INCHES, INK, Plot, head, log_ticks, plain
from reports.study import FamilyStudy, Study
from reports.study_rows import Mean
from reports.study_text import most_asked

AXES = (("flops", "floating point operations"), ("processor_seconds", "processor seconds"))
"""Fields of a method, each an axis of its own."""


def points(family: FamilyStudy, field: str, group: str) -> list[pareto.Point]:
    """Those methods whose score on a group and whose cost are known; their kind is the method."""
    found = []
    for method in family.methods:
        cost, score = getattr(method, field), method.scores.get(group)
        if isinstance(cost, Mean) and score:
            error = 100 * score.stderr if score.stderr == score.stderr else 0.0
            own = {"cost": cost.mean, "score": 100 * score.mean, "stderr": error}
            found.append(pareto.Point(label=method.label, kind=method.name, **own))
    return found


def plots(study: Study) -> list[Plot]:
    """The frontier of score against cost; none where no cost is known."""
    group = most_asked(study)[0]
    axes = [
        (field, name)
        for field, name in AXES
        if any(sum(p.cost > 0 for p in points(f, field, group)) > 1 for f in study.families)
    ]
    if not axes:
        return []
    names = " and ".join(name for _, name in axes)
    return [
        Plot(
            "frontier",
            f"What a method costs, and its {group}",
            f"{names.capitalize()} of all that a method takes beyond what every method begins with "
            f"(sampling and other models' training included), against {group}, means over the "
            "seeds of each method with one standard error. The line joins the methods that no "
            "other beats at the same cost or less; what costs nothing stands at the left edge.",
            partial(_figure, study, group, axes),
        )
    ]


def _figure(study: Study, group: str, axes: Sequence[tuple[str, str]]) -> Any:
    from matplotlib.figure import Figure

    families = [f for f in study.families if any(points(f, field, group) for field, _ in axes)]
    shown = {m.name: m.label for f in families for m in f.methods if any(
        getattr(m, field) for field, _ in axes)}  # fmt: skip
    looks = dots(shown)
    height = 0.4 + 2.4 * len(axes) + 0.13 * len(shown) / 3
    figure = Figure(figsize=(2 * INCHES, height), layout="constrained")
    panels = figure.subplots(len(axes), len(families), sharey=True, sharex="row", squeeze=False)
    handles: dict[str, Any] = {}
    for row, (field, name) in zip(panels, axes, strict=True):
        every = [p.cost for f in families for p in points(f, field, group) if p.cost > 0]
        ends = min(every) / 2.5, max(every) * 3
        for axis, family in zip(row, families, strict=True):
            own = points(family, field, group)
            _panel(axis, own, ends, looks)
            axis.set_xlabel(name)
            for point in own:
                handles.setdefault(
                    plain(shown[point.kind].partition(" (")[0], 30),
                    axis.plot([], [], **looks[point.kind])[0],
                )
        row[0].set_ylabel(f"{group} (%)")
    for axis, family in zip(panels[0], families, strict=True):
        head(axis, family.title)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=6)
    return figure


def _panel(
    axis: Any,
    found: Sequence[pareto.Point],
    ends: tuple[float, float],
    looks: Mapping[str, dict[str, Any]],
) -> None:
    axis.set_xscale("log")
    axis.set_xlim(*ends)
    log_ticks(axis.xaxis)
    axis.grid(linewidth=0.4, alpha=0.25, color=INK)
    for point in found:
        place = max(point.cost, ends[0])
        more = {"elinewidth": 0.7, "clip_on": False}
        axis.errorbar(place, point.score, point.stderr, **looks[point.kind], **more)
    if line := pareto.stairs(found, *ends):
        axis.plot(*zip(*line, strict=True), color=INK, linewidth=0.7, alpha=0.6)
